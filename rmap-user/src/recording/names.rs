//! The names of code in a recording: by file, and in it by offset.
//!
//! Comes in: names that were found, or a frame's bytes. Goes out: bytes for frames, or the names.

use std::collections::HashMap;

use super::frame;
use super::varint::{Bad, Reader, put, put_bytes};
use crate::report::Frame;
use crate::symbol::Names;

/// The names that were found for one file.
pub struct FileNames {
    /// Its number.
    pub number: u32,
    /// By offset.
    pub names: Names,
}

/// The names in parts that fit into frames.
pub(super) fn encode(files: &[FileNames]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    for file in files {
        let mut places: Vec<_> = file.names.frames.iter().collect();
        places.sort_by_key(|(offset, _)| **offset);
        for some in places.chunks(4096) {
            let mut part = Vec::new();
            put(&mut part, file.number.into());
            put(&mut part, some.len() as u64);
            for (offset, frames) in some {
                put(&mut part, **offset);
                part.push(file.names.trampolines.contains(*offset).into());
                put(&mut part, frames.len() as u64);
                for frame in *frames {
                    put_bytes(&mut part, frame.offset.to_string().as_bytes());
                    part.push(
                        u8::from(frame.inlined)
                            | u8::from(frame.function.is_some()) << 1
                            | u8::from(frame.file.is_some()) << 2,
                    );
                    put_bytes(&mut part, frame.function.as_deref().unwrap_or("").as_bytes());
                    put_bytes(&mut part, frame.file.as_deref().unwrap_or("").as_bytes());
                    put(&mut part, frame.line.map_or(0, |line| u64::from(line) + 1));
                }
            }
            match parts.last_mut() {
                Some(last) if last.len() + part.len() < frame::RAW_MAX / 8 => last.extend(part),
                _ => parts.push(part),
            }
        }
    }
    parts
}

/// Adds the names in a frame to those of their files, by number.
pub(crate) fn decode(payload: &[u8], files: &mut HashMap<u32, Names>) -> Result<(), Bad> {
    let mut from = Reader(payload);
    while !from.0.is_empty() {
        let number = from.small()?;
        let names = files.entry(number).or_default();
        for _ in 0..from.count()? {
            let offset = from.number()?;
            if from.byte()? != 0 {
                names.trampolines.insert(offset);
            }
            let mut frames = Vec::new();
            for _ in 0..from.count()? {
                let address = from.text()?.parse();
                let flags = from.byte()?;
                let (function, file) = (from.text()?, from.text()?);
                let line = from.number()?.checked_sub(1).map(u32::try_from).transpose();
                frames.push(Frame {
                    function: (flags & 2 != 0).then_some(function),
                    offset: address.map_err(|_| Bad("the address of a name is no hex"))?,
                    file: (flags & 4 != 0).then_some(file),
                    line: line.map_err(|_| Bad("the number of a line is too large"))?,
                    inlined: flags & 1 != 0,
                    ..Frame::default()
                });
            }
            names.frames.insert(offset, frames);
        }
    }
    Ok(())
}
