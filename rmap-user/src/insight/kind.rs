//! What a segment is called where bytes are grouped: its kind and its name.
//!
//! Comes in: a segment that [`super::naming`] has seen. Goes out: words.

use std::borrow::Cow;

use crate::report::{Kind, Segment};

use super::names;

/// The name that tells a segment from others of its kind, in few letters: a path's last part;
/// `[anon]` where nothing is known; a `?` behind what is inferred.
#[must_use]
pub fn short_name(segment: &Segment) -> Cow<'_, str> {
    match &segment.label {
        // What is in brackets is no path, whatever it holds.
        Some(label) if segment.inferred => Cow::Owned(format!("{label}?")),
        Some(label) => Cow::Borrowed(label),
        None if segment.name.is_empty() => Cow::Borrowed("[anon]"),
        None => Cow::Borrowed(names::base(&segment.name)),
    }
}

/// Whether the segment is a part of a file, the program's or a library's.
#[must_use]
pub fn is_file(segment: &Segment) -> bool {
    segment.kind.is_some_and(|kind| match kind {
        Kind::FileCode | Kind::FileReadOnly | Kind::FileData | Kind::FileShared | Kind::Relro => {
            true
        }
        Kind::Stack
        | Kind::ThreadStack
        | Kind::Heap
        | Kind::MallocArena
        | Kind::MallocBlock
        | Kind::Pymalloc
        | Kind::JavaHeap
        | Kind::GoArena
        | Kind::V8Space
        | Kind::JitCode
        | Kind::Anonymous
        | Kind::NoAccess
        | Kind::Bss
        | Kind::SharedMemory
        | Kind::Memfd
        | Kind::Huge
        | Kind::Vdso
        | Kind::Device => false,
    })
}
