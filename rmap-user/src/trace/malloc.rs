//! What the allocator's shim of `--malloc` reports, or probes at an allocator's functions: plain data.
//!
//! Comes in: nothing; [`super::decode`] makes calls of the probes' records, a recording holds them. Goes
//! out: the types. Sizes are bytes.

use super::stack_hash::StackHash;

/// A report of either. The event's `pid`, `tid` and `mm` are those of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MallocCall {
    /// What happened.
    pub step: MallocStep,
    /// The block's address.
    pub address: u64,
    /// The bytes that were asked for.
    pub size: u64,
    /// Bytes from one picked byte to the next on average.
    pub mean: u64,
    /// The caller's user stack, of what was picked.
    pub stack: Option<StackHash>,
}

/// What happened in an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MallocStep {
    /// The shim is in the process.
    Loaded,
    /// The first allocation has come through it.
    Begun,
    /// An allocation was picked.
    Picked,
    /// A picked one was freed.
    Freed,
    /// `realloc` is about to free a picked one.
    Moving,
    /// It could not, and the picked one is live again.
    Stayed,
    /// An allocation was picked, and there is no room to know its end.
    Unkept,
    /// Probes were attached to the allocator's own functions, in a process that ran before.
    Attached,
}

impl MallocStep {
    /// Every step. Its place is its number in the probes' records and in a recording.
    pub const ALL: [Self; 8] = [
        Self::Loaded,
        Self::Begun,
        Self::Picked,
        Self::Freed,
        Self::Moving,
        Self::Stayed,
        Self::Unkept,
        Self::Attached,
    ];
}
