//! What the kernel side sends of CPython's frames, checked.
//!
//! Comes in: bytes of one record. Goes out: typed parts of an event, or an error that is counted.
//! Records are written with only as much as they have, so they are read by hand.

use rmap_ebpf::{abi, logic::python};
use zerocopy::FromBytes;

use super::error::DecodeError;
use super::stack_hash::StackHash;

/// Names one code object by a hash of its address, its address space and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeId(pub u64);

/// What is told of a language runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Where the frames of a user stack lie; comes before or after that stack.
    Pointers(StackPointers),
    /// The Python frames of a thread together with its user stack.
    Stack(PythonStack),
    /// A code object, before the first stack that names it.
    Code(PythonCode),
    /// A further piece of its line table.
    Table(PythonTable),
}

/// Where the frames of a user stack lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackPointers {
    /// The user stack.
    pub stack: StackHash,
    /// Each frame's stack pointer, in bytes above that of the innermost one; [`u32::MAX`] on
    /// another stack.
    pub offsets: Vec<u32>,
}

/// Python frames and a user stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonStack {
    /// The name of both together.
    pub hash: StackHash,
    /// The user stack.
    pub native: StackHash,
    /// How the walk ended.
    pub end: PythonEnd,
    /// Innermost first.
    pub frames: Vec<PythonFrame>,
}

/// One Python frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PythonFrame {
    /// What it runs.
    pub code: CodeId,
    /// The instruction, in bytes from the start of the bytecode; below 0 if it has not begun.
    pub at: i32,
    /// If it is the outermost frame of its evaluation loop: by how many bytes an object in that
    /// loop's C frame is above the stack pointer, where that is known.
    pub end: Option<Option<u64>>,
}

/// How a walk of Python frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PythonEnd {
    /// At the outermost frame.
    Complete,
    /// Deeper than [`abi::PYTHON_FRAMES`].
    Truncated,
    /// Memory could not be read.
    Unreadable,
    /// A frame has something else than code in that place.
    NotCode,
    /// A frame or its instruction lies where none can.
    OutOfRange,
    /// A status that this version does not know.
    Unknown,
}

impl PythonEnd {
    /// What one of the `PYTHON_` statuses of the abi says.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            abi::PYTHON_COMPLETE => Self::Complete,
            abi::PYTHON_TRUNCATED => Self::Truncated,
            abi::PYTHON_UNREADABLE => Self::Unreadable,
            abi::PYTHON_NOT_CODE => Self::NotCode,
            abi::PYTHON_OUT_OF_RANGE => Self::OutOfRange,
            _ => Self::Unknown,
        }
    }

    /// The status of the abi, for a recording.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Complete => abi::PYTHON_COMPLETE,
            Self::Truncated => abi::PYTHON_TRUNCATED,
            Self::Unreadable => abi::PYTHON_UNREADABLE,
            Self::NotCode => abi::PYTHON_NOT_CODE,
            Self::OutOfRange => abi::PYTHON_OUT_OF_RANGE,
            Self::Unknown => u16::MAX,
        }
    }
}

/// The definition of a code object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonCode {
    /// Its name.
    pub id: CodeId,
    /// CPython's minor version.
    pub minor: u8,
    /// `co_firstlineno`.
    pub line: u32,
    /// `co_qualname`; `co_name` before 3.11. Ends in `…` if there is more of it.
    pub name: Option<String>,
    /// `co_filename`, the same.
    pub file: Option<String>,
    /// The line table, or its beginning.
    pub table: Vec<u8>,
}

/// A further piece of a line table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonTable {
    /// The code object.
    pub code: CodeId,
    /// The place of its first byte in the table.
    pub at: u32,
    /// The piece.
    pub bytes: Vec<u8>,
}

/// Frames of one evaluation loop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The user frame that ran them, by its number from the innermost one on; `None`: not known.
    pub place: Option<u8>,
    /// Code and instruction of each, innermost first.
    pub frames: Box<[(CodeId, i32)]>,
}

/// Stands at the end of a name that may have been cut.
const ELLIPSIS: char = '…';

/// Reads one number, and goes on behind it.
fn take<T: FromBytes>(rest: &mut &[u8]) -> Option<T> {
    let (value, tail) = T::read_from_prefix(rest).ok()?;
    *rest = tail;
    Some(value)
}

/// Reads so many bytes, and goes on behind them.
fn take_bytes<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (bytes, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(bytes)
}

/// Reads a record of a kind of this file; `None` if it is of another one.
pub(super) fn decode(kind: u16, bytes: &[u8]) -> Option<Result<Runtime, DecodeError>> {
    let body = bytes.get(size_of::<abi::Header>()..).unwrap_or_default();
    let (read, need) = match kind {
        abi::KIND_STACK_POINTERS => (pointers(body), 48),
        abi::KIND_PYTHON_STACK => (stack(body), 56),
        abi::KIND_PYTHON_CODE => (code(body), 56 + abi::PYTHON_NAME + abi::PYTHON_FILE),
        abi::KIND_PYTHON_TABLE => (table(body), 48),
        _ => return None,
    };
    Some(read.ok_or(DecodeError::Short { kind, got: bytes.len(), need }))
}

fn pointers(mut rest: &[u8]) -> Option<Runtime> {
    let stack = StackHash(take(&mut rest)?);
    let count: u32 = take(&mut rest)?;
    let _: u32 = take(&mut rest)?;
    let count = (count as usize).min(abi::MAX_FRAMES);
    let offsets = (0..count).map(|_| take(&mut rest)).collect::<Option<_>>()?;
    Some(Runtime::Pointers(StackPointers { stack, offsets }))
}

fn stack(mut rest: &[u8]) -> Option<Runtime> {
    let (hash, native) = (StackHash(take(&mut rest)?), StackHash(take(&mut rest)?));
    let (status, count): (u16, u16) = (take(&mut rest)?, take(&mut rest)?);
    let _minor: u32 = take(&mut rest)?;
    let count = usize::from(count).min(abi::PYTHON_FRAMES);
    let frames = (0..count)
        .map(|_| {
            let frame: abi::PythonFrame = take(&mut rest)?;
            let end = (frame.end & 1 != 0).then(|| python::distance(frame.end));
            Some(PythonFrame { code: CodeId(frame.code), at: frame.at, end })
        })
        .collect::<Option<_>>()?;
    Some(Runtime::Stack(PythonStack { hash, native, end: PythonEnd::of_status(status), frames }))
}

fn code(mut rest: &[u8]) -> Option<Runtime> {
    let id = CodeId(take(&mut rest)?);
    let line: i32 = take(&mut rest)?;
    let minor: u16 = take(&mut rest)?;
    let (name_bytes, file_bytes): (u16, u16) = (take(&mut rest)?, take(&mut rest)?);
    let (name_width, file_width): (u8, u8) = (take(&mut rest)?, take(&mut rest)?);
    let table_bytes: u32 = take(&mut rest)?;
    let name = take_bytes(&mut rest, abi::PYTHON_NAME)?;
    let file = take_bytes(&mut rest, abi::PYTHON_FILE)?;
    let table = rest.get(..(table_bytes as usize).min(abi::PYTHON_PIECE))?;
    Some(Runtime::Code(PythonCode {
        id,
        minor: u8::try_from(minor).ok()?,
        line: u32::try_from(line).unwrap_or(0),
        name: text(name, name_bytes, name_width),
        file: text(file, file_bytes, file_width),
        table: table.to_vec(),
    }))
}

fn table(mut rest: &[u8]) -> Option<Runtime> {
    let code = CodeId(take(&mut rest)?);
    let (at, bytes): (u32, u32) = (take(&mut rest)?, take(&mut rest)?);
    let bytes = rest.get(..(bytes as usize).min(abi::PYTHON_PIECE))?.to_vec();
    Some(Runtime::Table(PythonTable { code, at, bytes }))
}

/// The characters of a `str`, `width` bytes each (PEP 393). What is no character becomes U+FFFD.
fn text(room: &[u8], bytes: u16, width: u8) -> Option<String> {
    let bytes = room.get(..usize::from(bytes)).filter(|bytes| !bytes.is_empty())?;
    let character = |code: u32| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut text: String = match width {
        1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        2 => {
            let units = bytes.as_chunks::<2>().0.iter();
            units.map(|unit| character(u16::from_ne_bytes(*unit).into())).collect()
        }
        4 => {
            let units = bytes.as_chunks::<4>().0.iter();
            units.map(|unit| character(u32::from_ne_bytes(*unit))).collect()
        }
        _ => return None,
    };
    if bytes.len() == room.len() {
        text.push(ELLIPSIS);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn names_of_every_width() {
        assert_eq!(text(b"f(\xe9)___", 4, 1).as_deref(), Some("f(é)"));
        let wide: Vec<u8> = "Ωx".encode_utf16().flat_map(u16::to_ne_bytes).chain([0; 4]).collect();
        assert_eq!(text(&wide, 4, 2).as_deref(), Some("Ωx"));
        let widest: Vec<u8> =
            ['🐍' as u32, 0xd800, 7].iter().flat_map(|code| code.to_ne_bytes()).collect();
        assert_eq!(text(&widest, 8, 4).as_deref(), Some("🐍\u{fffd}"));
        assert_eq!(text(b"cut", 3, 1).as_deref(), Some("cut…"));
        assert_eq!((text(b"x", 0, 1), text(b"xyz", 2, 3), text(b"x", 9, 1)), (None, None, None));
    }

    #[test]
    fn a_stack_is_as_long_as_it_says() {
        let mut record = abi::PythonStackRecord {
            header: abi::Header { kind: abi::KIND_PYTHON_STACK, ..Default::default() },
            hash: 3,
            native: 4,
            status: abi::PYTHON_TRUNCATED,
            count: 2,
            minor: 11,
            frames: [abi::PythonFrame::default(); abi::PYTHON_FRAMES],
        };
        record.frames[0] = abi::PythonFrame { code: 9, at: -2, end: 0 };
        record.frames[1] =
            abi::PythonFrame { code: 10, at: 6, end: python::end(0x7000_0040, 0x7000_0000) };
        let bytes = record.as_bytes();
        let Some(Ok(Runtime::Stack(stack))) = decode(abi::KIND_PYTHON_STACK, &bytes[..88]) else {
            panic!("not a stack");
        };
        let frame = |code, at, end| PythonFrame { code: CodeId(code), at, end };
        assert_eq!(stack.frames, [frame(9, -2, None), frame(10, 6, Some(Some(0x40)))]);
        assert_eq!((stack.native, stack.end), (StackHash(4), PythonEnd::Truncated));
        assert!(matches!(decode(abi::KIND_PYTHON_STACK, &bytes[..87]), Some(Err(_))));
        assert!(decode(abi::KIND_STACK, bytes).is_none());
    }
}
