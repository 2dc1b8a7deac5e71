//! What an allocator holds, of a segment, and the document of `rmap heap`.
//!
//! Comes in: nothing; [`crate::session`] fills it. Goes out: serde types. Sizes are bytes.

pub use crate::terms::HeapState;
use serde::{Deserialize, Serialize};

use super::{Address, Host};

/// The `schema` of the JSON of `rmap heap`.
pub const HEAP_SCHEMA: &str = "rmap.heap/1";

/// What the structures of an allocator say of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SegmentHeap {
    /// Whose structures were read: `glibc` or `pymalloc`.
    pub allocator: String,
    /// The arena: 0 is the main one; `None` if the segment holds parts of several.
    pub arena: Option<u32>,
    /// Whether the sums can be believed.
    pub state: HeapState,
    /// Where the walk ended early, or the corrupt header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Address>,
    /// Bytes of it that are resident.
    pub resident_bytes: u64,
    /// The sums; missing where a header is corrupt.
    #[serde(flatten)]
    pub sums: Option<HeapBytes>,
}

/// What the chunks of a segment add up to, their headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeapBytes {
    /// Chunks that the program holds.
    pub live_bytes: u64,
    /// Freed chunks that threads keep for themselves.
    pub thread_cache_bytes: u64,
    /// Freed chunks in fastbins, which are not merged with their neighbours.
    pub fastbin_bytes: u64,
    /// Freed chunks in bins.
    pub free_bytes: u64,
    /// The free chunk at the end.
    pub top_bytes: u64,
    /// Resident bytes that `malloc_trim(0)` would return.
    pub whole_free_resident_bytes: u64,
    /// Resident bytes of other pages that hold free bytes.
    pub partly_free_resident_bytes: u64,
    /// The free bytes in those.
    pub free_within_bytes: u64,
    /// Chunks, free ones included.
    pub chunks: u64,
}

impl HeapBytes {
    /// Resident bytes that are free.
    #[must_use]
    pub const fn free_resident(&self) -> u64 {
        self.whole_free_resident_bytes.saturating_add(self.free_within_bytes)
    }

    /// Adds another's.
    pub const fn add(&mut self, other: &Self) {
        self.live_bytes += other.live_bytes;
        self.thread_cache_bytes += other.thread_cache_bytes;
        self.fastbin_bytes += other.fastbin_bytes;
        self.free_bytes += other.free_bytes;
        self.top_bytes += other.top_bytes;
        self.whole_free_resident_bytes += other.whole_free_resident_bytes;
        self.partly_free_resident_bytes += other.partly_free_resident_bytes;
        self.free_within_bytes += other.free_within_bytes;
        self.chunks += other.chunks;
    }
}

/// The document of `rmap heap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeapReport {
    /// [`HEAP_SCHEMA`].
    pub schema: String,
    /// The version of rmap that made it.
    pub rmap_version: String,
    /// The machine.
    pub host: Host,
    /// The process.
    pub pid: u32,
    /// Its command line. Not safe to print as is.
    pub command: String,
    /// The program's path. Not safe to print as is.
    pub exe: String,
    /// How long it stood in all.
    pub stopped_ns: u64,
    /// How often it was stopped: again where the sums did not agree.
    pub stops: u32,
    /// Σ Rss of smaps.
    pub rss_bytes: u64,
    /// What `malloc_trim(0)` would return of it; missing where the sums cannot be believed.
    pub trim_would_return_bytes: Option<u64>,
    /// Allocators that were recognized and whose memory is not walked.
    pub others: Vec<OtherAllocator>,
    /// Segments with memory of an allocator, in the order of their addresses.
    pub segments: Vec<HeapSegment>,
}

/// An allocator that was recognized by its module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OtherAllocator {
    /// For example `jemalloc`.
    pub allocator: String,
    /// The file. Not safe to print as is.
    pub module: String,
    /// What says how much is live.
    pub ask: String,
}

/// One segment of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeapSegment {
    /// First byte.
    pub start: Address,
    /// First byte behind it.
    pub end: Address,
    /// As in maps. Not safe to print as is.
    pub name: String,
    /// `Rss`.
    pub rss_bytes: u64,
    /// What the allocator's structures say.
    pub heap: SegmentHeap,
}
