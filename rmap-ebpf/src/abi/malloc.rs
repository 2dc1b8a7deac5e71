//! What the allocator's shim reports (`rmap-malloc/shim.c`), or probes at an allocator's own functions,
//! and the record of it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;

/// [`Header::kind`] of a [`MallocRecord`].
pub const KIND_MALLOC: u16 = 20;

/// Picked blocks of all processes that can be live at once, where allocators have probes of their own.
pub const MALLOC_LIVE_MAX: u32 = 1 << 18;

/// The shim is in the process.
pub const MALLOC_LOADED: u64 = 0;
/// The first allocation of the process, or of one of its threads, has come through it.
pub const MALLOC_BEGUN: u64 = 1;
/// An allocation was picked.
pub const MALLOC_PICKED: u64 = 2;
/// A picked one was freed.
pub const MALLOC_FREED: u64 = 3;
/// `realloc` is about to free a picked one.
pub const MALLOC_MOVING: u64 = 4;
/// It could not, and the picked one is live again.
pub const MALLOC_STAYED: u64 = 5;
/// An allocation was picked, and there is no room to know it again.
pub const MALLOC_UNKEPT: u64 = 6;

/// What happened in an allocator.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MallocRecord {
    /// `KIND_MALLOC`.
    pub header: Header,
    /// One of the `MALLOC_` constants.
    pub what: u64,
    /// The block.
    pub address: u64,
    /// The bytes that were asked for.
    pub size: u64,
    /// Bytes from one picked byte to the next on average.
    pub mean: u64,
    /// The [`StackRecord::hash`](super::StackRecord::hash) of the caller's user stack; 0 where there is
    /// none, or none is needed.
    pub stack: u64,
}

const _: () = assert!(size_of::<MallocRecord>() == 72);
