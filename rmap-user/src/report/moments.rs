//! What a report says of the time before its end: the peak, the sizes through the session, growth.

use serde::{Deserialize, Serialize};

use super::{Address, BeforeAfter, Cause, Named, Path, Reason, StackId};

/// A process at the moment at which its resident memory was largest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Peak {
    /// When.
    pub at_ns: u64,
    /// RSS by the events, or as the kernel showed it where a snapshot stands there.
    pub rss_bytes: u64,
    /// Dirty, likewise.
    pub dirty_bytes: u64,
    /// The highest RSS that the kernel counted (`VmHWM`), 0 if it could not be read.
    pub vm_hwm_bytes: u64,
    /// The difference of `vm_hwm_bytes` to `rss_bytes`, where the kernel counted more: it came and went
    /// between snapshots, with no event that says by whom.
    pub between_snapshots_bytes: u64,
    /// Who held it, over all segments; largest first.
    pub paths: Vec<Path>,
}

/// The whole session at the moment at which the resident memory of all its processes was largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionPeak {
    /// When.
    pub at_ns: u64,
    /// RSS of all processes.
    pub rss_bytes: u64,
    /// Dirty of all processes.
    pub dirty_bytes: u64,
}

/// The sizes of a process at a time, by the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TimelinePoint {
    /// When.
    pub at_ns: u64,
    /// Of the heap (`brk`).
    pub heap_bytes: u64,
    /// Of other anonymous memory.
    pub anonymous_bytes: u64,
    /// Of the page cache.
    pub file_bytes: u64,
    /// Of shared memory.
    pub shared_bytes: u64,
    /// Of the main thread's stack.
    pub stack_bytes: u64,
    /// Dirty, of all of it.
    pub dirty_bytes: u64,
}

impl TimelinePoint {
    /// RSS.
    #[must_use]
    pub const fn rss_bytes(&self) -> u64 {
        self.heap_bytes
            + self.anonymous_bytes
            + self.file_bytes
            + self.shared_bytes
            + self.stack_bytes
    }
}

/// A call path that held more and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Growth {
    /// How fast, in the last third of the session.
    pub bytes_per_s: u64,
    /// Since when.
    pub since_ns: u64,
    /// It still grew at the end.
    pub still: bool,
}

/// A moment that was given a name while the session went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Mark {
    /// The name. Not safe to print as is.
    pub name: String,
    /// When.
    pub at_ns: u64,
}

/// From one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Span {
    /// The first.
    pub from_ns: u64,
    /// The second.
    pub to_ns: u64,
}

/// A process through a window. For RSS and Dirty: before + what came − Σ `given_back` = after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Window {
    /// RSS at both moments, by the events or by a snapshot.
    pub rss_bytes: BeforeAfter,
    /// Dirty, likewise.
    pub dirty_bytes: BeforeAfter,
    /// What was there when the window began and was not when it ended, the largest first.
    pub given_back: Vec<GivenBack>,
}

/// What one call path held in a segment when a window began, and no longer when it ended: freed,
/// cleaned, moved, or taken over by another path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GivenBack {
    /// The segment's first byte when the window began.
    pub start: Address,
    /// First byte behind it.
    pub end: Address,
    /// Its name in maps. Not safe to print as is.
    pub name: String,
    /// The call path; `None` where the kernel did it, or where `reason` is.
    pub stack: Option<StackId>,
    /// Why the pages had become resident or dirty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Named<Cause>>,
    /// Why no call path explained them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Named<Reason>>,
    /// Bytes of RSS.
    pub rss_bytes: u64,
    /// Bytes of Dirty.
    pub dirty_bytes: u64,
}

/// A process that the kernel killed for want of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Oom {
    /// The process.
    pub pid: u32,
    /// When it ended.
    pub at_ns: u64,
    /// The control group that had no memory left; `None`: the whole machine had none. Not safe to print
    /// as is.
    pub cgroup: Option<String>,
    /// The least limit of the group and those above it; `None` if there is none.
    pub limit_bytes: Option<u64>,
}
