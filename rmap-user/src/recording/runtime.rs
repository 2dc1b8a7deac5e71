//! Frames and code of language runtimes as bytes of a recording.
//!
//! Comes in: a [`Runtime`] part of an event. Goes out: bytes, and the same part from them.

use super::varint::{Bad, Reader, put, put_bytes, put_signed};
use crate::trace::{
    CodeId, PythonCode, PythonEnd, PythonFrame, PythonStack, PythonTable, Runtime, StackHash,
    StackPointers,
};

const POINTERS: u8 = 0;
const PYTHON_STACK: u8 = 1;
const PYTHON_CODE: u8 = 2;
const PYTHON_TABLE: u8 = 3;

/// Writes one part.
pub(super) fn put_runtime(out: &mut Vec<u8>, runtime: &Runtime) {
    match runtime {
        Runtime::Pointers(pointers) => {
            out.push(POINTERS);
            put(out, pointers.stack.0);
            put(out, pointers.offsets.len() as u64);
            let mut last = 0_i64;
            for offset in &pointers.offsets {
                put_signed(out, i64::from(*offset) - last);
                last = i64::from(*offset);
            }
        }
        Runtime::Stack(stack) => {
            out.push(PYTHON_STACK);
            put(out, stack.hash.0);
            put(out, stack.native.0);
            put(out, stack.end.status().into());
            put(out, stack.frames.len() as u64);
            for frame in &stack.frames {
                put(out, frame.code.0);
                put_signed(out, frame.at.into());
                // Nothing lies at a distance of 0.
                put(out, frame.end.map_or(0, |object| 1 + object.map_or(0, |object| object)));
            }
        }
        Runtime::Code(code) => {
            out.push(PYTHON_CODE);
            put(out, code.id.0);
            out.push(code.minor);
            put(out, code.line.into());
            put_text(out, code.name.as_deref());
            put_text(out, code.file.as_deref());
            put_bytes(out, &code.table);
        }
        Runtime::Table(table) => {
            out.push(PYTHON_TABLE);
            put(out, table.code.0);
            put(out, table.at.into());
            put_bytes(out, &table.bytes);
        }
    }
}

/// Reads one part.
pub(super) fn runtime(from: &mut Reader<'_>) -> Result<Runtime, Bad> {
    Ok(match from.byte()? {
        POINTERS => {
            let stack = StackHash(from.number()?);
            let (mut last, mut offsets) = (0_i64, Vec::new());
            for _ in 0..from.count()? {
                last = last.wrapping_add(from.signed()?);
                let offset = u32::try_from(last);
                offsets.push(offset.map_err(|_| Bad("a stack pointer beyond its stack"))?);
            }
            Runtime::Pointers(StackPointers { stack, offsets })
        }
        PYTHON_STACK => {
            let (hash, native) = (StackHash(from.number()?), StackHash(from.number()?));
            let end = PythonEnd::of_status(u16::try_from(from.small()?).unwrap_or(u16::MAX));
            let mut frames = Vec::new();
            for _ in 0..from.count()? {
                let (code, at) = (CodeId(from.number()?), from.small_signed()?);
                let end = from.number()?.checked_sub(1);
                let end = end.map(|object| Some(object).filter(|object| *object != 0));
                frames.push(PythonFrame { code, at, end });
            }
            Runtime::Stack(PythonStack { hash, native, end, frames })
        }
        PYTHON_CODE => Runtime::Code(PythonCode {
            id: CodeId(from.number()?),
            minor: from.byte()?,
            line: from.small()?,
            name: text(from)?,
            file: text(from)?,
            table: from.bytes()?.to_vec(),
        }),
        PYTHON_TABLE => Runtime::Table(PythonTable {
            code: CodeId(from.number()?),
            at: from.small()?,
            bytes: from.bytes()?.to_vec(),
        }),
        _ => return Err(Bad("a runtime's part of no known kind")),
    })
}

/// A text that may be missing: a byte that says so, then the text.
fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(text.is_some().into());
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

fn text(from: &mut Reader<'_>) -> Result<Option<String>, Bad> {
    if from.byte()? == 0 { Ok(None) } else { from.text().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read_as_it_was_written() {
        let frame = |code, at, end| PythonFrame { code: CodeId(code), at, end };
        let parts = [
            Runtime::Pointers(StackPointers {
                stack: StackHash(u64::MAX),
                offsets: vec![0, 96, u32::MAX, 8],
            }),
            Runtime::Stack(PythonStack {
                hash: StackHash(1),
                native: StackHash(2),
                end: PythonEnd::Truncated,
                frames: vec![
                    frame(9, -2, None),
                    frame(u64::MAX, 40, Some(Some(72))),
                    frame(3, 0, Some(None)),
                ],
            }),
            Runtime::Code(PythonCode {
                id: CodeId(9),
                minor: 13,
                line: 40,
                name: Some("C.f.<locals>.é".to_owned()),
                file: None,
                table: vec![1, 2, 3],
            }),
            Runtime::Table(PythonTable { code: CodeId(9), at: 3, bytes: vec![4] }),
        ];
        for part in parts {
            let mut bytes = Vec::new();
            put_runtime(&mut bytes, &part);
            let mut from = Reader(&bytes);
            assert_eq!(runtime(&mut from).as_ref(), Ok(&part));
            assert!(from.0.is_empty());
            for cut in 0..bytes.len() {
                assert!(runtime(&mut Reader(&bytes[..cut])).is_err(), "{part:?} cut at {cut}");
            }
        }
    }
}
