//! What a session is made from: one stream of inputs, live and replayed alike.
//!
//! Comes in: nothing; `live` and a recording produce inputs. Goes out: [`Input`] and its parts, plain
//! typed data.
//!
//! * [`event`]: what the probes reported; [`decode`]: their records become events;
//! * [`python`]: what they reported of CPython's frames;
//! * [`rewrites`]: memory that is watched for writes;
//! * [`heap`]: what an allocator holds, from its own structures;
//! * [`malloc`]: which of its blocks are picked, and freed;
//! * [`snapshot`]: one process's memory at one moment; [`pages`]: its runs of pages, cut to a range.

pub mod decode;
mod error;
pub mod event;
pub mod heap;
pub mod malloc;
pub mod pages;
pub mod python;
pub mod rewrites;
pub mod snapshot;
mod stack_hash;

pub use crate::terms::HeapState;
pub use decode::{DecodeError, fuzz_entry};
pub use event::{
    Access, Body, Delta, Entry, Event, Fault, FaultRun, FileChange, FileId, Fork, MapCall, Missing,
    MissingPages, MmId, RawStack, Rewrite, Rss, Stack, StackEnd, StackHash,
};
pub use heap::{Allocator, FreeRun, Heap, HeapPart, HeapSums};
pub use malloc::{MallocCall, MallocStep};
pub use python::{
    CodeId, PythonCode, PythonEnd, PythonFrame, PythonStack, PythonTable, Run, Runtime,
    StackPointers,
};
pub use rewrites::{RewriteStep, Rewrites};
pub use snapshot::{
    Breakdown, Measure, Moment, PageKind, PageRun, PageState, Segment, Snapshot, Thread, VmFlags,
};

/// Names one address space among all that a session meets: the model numbers them in the order in
/// which it meets them. Unlike the kernel's `mm` it is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MmKey(pub u32);

/// One input of a session, in the order in which they count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One event.
    Event(Event),
    /// Faults of one run: each of them is an event.
    Faults(FaultRun),
    /// One process's memory. Losses up to it come before it.
    Snapshot(Snapshot),
    /// What an allocator holds in a process, by its own structures. The snapshot of the same stop comes
    /// next.
    Heap(Box<Heap>),
    /// Facts about a process; they may come again, for example after an exec.
    Process(u32, ProcessFacts),
    /// The losses so far, over the whole session.
    Lost(Losses),
    /// The executable mappings of a process as they are at a time (`CLOCK_MONOTONIC`, ns).
    Code(u32, u64, Vec<Code>),
    /// The names that a program wrote for its own code, as they stand in its perf map file.
    Written(MmKey, Vec<u8>),
    /// Somebody gave this moment a name (`CLOCK_MONOTONIC`, ns).
    Mark(u64, String),
    /// A step of watching a process's memory for writes.
    Rewrites(Rewrites),
}

/// What is known of a process besides its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Its command line, its parts joined by blanks.
    pub command: String,
    /// The program's path.
    pub exe: String,
    /// Its parent; `None` if it is not known, or reported by an event.
    pub parent_pid: Option<u32>,
}

impl ProcessFacts {
    /// Takes what is newer: a title that the process gave itself, the names of a new program. Who
    /// made it stays, though its parent may have ended before it; and so does a name of which
    /// nothing is left at its exit.
    pub fn update(&mut self, newer: &Self) {
        if !newer.command.is_empty() {
            self.command.clone_from(&newer.command);
        }
        if !newer.exe.is_empty() {
            self.exe.clone_from(&newer.exe);
        }
        self.parent_pid = self.parent_pid.or(newer.parent_pid);
    }
}

/// Counts of what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records that found no room in the ring buffer, or that could not be read.
    pub events: u64,
    /// Stacks that found no room in the ring buffer.
    pub stacks: u64,
    /// Snapshots that failed. Processes that end without one are not among them.
    pub snapshots: u64,
}

/// One executable mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset in the file.
    pub offset: u64,
    /// As in maps.
    pub path: String,
    /// As in maps.
    pub device: (u32, u32),
    /// As in maps.
    pub inode: u64,
    /// The number of the file (with this path) in the session; `None` if there is no file.
    pub file: Option<u32>,
    /// Its build id.
    pub build_id: Option<String>,
    /// What the file's virtual addresses have over its offsets here, as far as that is known.
    pub bias: Option<i64>,
}
