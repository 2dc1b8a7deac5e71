//! What an allocator's own structures say of the memory that it holds: plain data.
//!
//! Comes in: nothing; [`crate::heap`] reads the structures, a recording holds the result. Goes out:
//! the types. All addresses and sizes are bytes.

use std::ops::Range;

use crate::terms::HeapState;

/// The allocator's memory of one process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// `CLOCK_MONOTONIC` in nanoseconds: that of the snapshot which it belongs to.
    pub time_ns: u64,
    /// The process (tgid).
    pub pid: u32,
    /// How long the process stood for it, in nanoseconds.
    pub walk_ns: u64,
    /// The parts in the order of their addresses.
    pub parts: Vec<HeapPart>,
    /// Resident pages that hold free bytes, in the order of their addresses, neighbours with as many
    /// free bytes a page joined.
    pub free: Vec<FreeRun>,
    /// Resident bytes that `malloc_trim(0)` would return, in whole pages.
    pub trim: Vec<Range<u64>>,
}

/// One contiguous piece of an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapPart {
    /// Whose structures they are.
    pub allocator: Allocator,
    /// First byte, and first byte behind it, top included.
    pub range: Range<u64>,
    /// The arena: 0 is the main one, the others in the order of the ring.
    pub arena: u32,
    /// Whether the sums can be believed.
    pub state: HeapState,
    /// The address at which the walk ended early, or where a header is corrupt.
    pub stopped_at: Option<u64>,
    /// Resident bytes of `range`.
    pub resident: u64,
    /// What the chunks add up to.
    pub sums: HeapSums,
}

/// What the chunks of a part add up to, in bytes, their headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapSums {
    /// Chunks that the program holds, and the allocator's own structures among them.
    pub live: u64,
    /// Freed chunks that threads keep for themselves (tcache).
    pub thread_cache: u64,
    /// Freed chunks that are not merged with their neighbours (fastbins).
    pub fastbin: u64,
    /// Freed chunks in bins; free blocks of pools.
    pub free: u64,
    /// The chunk at the end that new ones are cut from.
    pub top: u64,
    /// Resident bytes that `malloc_trim(0)` would return.
    pub whole_free_resident: u64,
    /// Resident bytes of pages that hold free bytes and would not be returned.
    pub partly_free_resident: u64,
    /// The free bytes in those.
    pub free_within: u64,
    /// Chunks, free ones included, without top.
    pub chunks: u64,
}

/// Whose structures were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Allocator {
    /// The GNU C library's malloc.
    #[default]
    Glibc,
    /// CPython's allocator of small objects.
    Pymalloc,
}

impl Allocator {
    /// Every allocator. Its place is its number in a recording.
    pub const ALL: [Self; 2] = [Self::Glibc, Self::Pymalloc];

    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Pymalloc => "pymalloc",
        }
    }
}

/// Resident pages with equally many free bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeRun {
    /// Addresses of whole pages.
    pub range: Range<u64>,
    /// Free bytes in each of them, from 1 up to the bytes of a page.
    pub free: u32,
}

impl Heap {
    /// The worst state of its parts; `None` if there are none.
    #[must_use]
    pub fn state(&self) -> Option<HeapState> {
        self.parts.iter().map(|part| part.state).max()
    }
}
