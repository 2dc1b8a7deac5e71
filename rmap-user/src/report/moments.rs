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

/// How something held more and more.
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

/// An owner that held more and more: one function, over all call paths of which it is the owner frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GrowingOwner {
    /// Its name, as the rows of a report show it. Not safe to print as is.
    pub owner: String,
    /// Its source file and the lines at which it allocates, `app.py:12,40`. Not safe to print as is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The program or library, or the source file of an interpreted one. Not safe to print as is.
    pub module: String,
    /// Its call paths, as far as they changed in the time that was judged.
    pub stacks: Vec<StackId>,
    /// What it held at the end, or before the process gave its memory back to exit.
    pub bytes: u64,
    /// How fast, since when.
    #[serde(flatten)]
    pub growth: Growth,
    /// What it held at the points of `timeline`.
    pub curve: Vec<u64>,
}

/// What call paths and segments held at the points of a process's timeline, from which growth is judged
/// when functions have names. It is in no JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Curves {
    /// The points: those of the timeline.
    pub points: Vec<ProcessPoint>,
    /// The process has ended within the session, so it may have given memory back to exit.
    pub ended: bool,
    /// Call paths of which the bytes changed; over all segments.
    pub paths: Vec<PathCurve>,
    /// Of each segment of the process in their order; empty where nothing changed.
    pub segments: Vec<Vec<u64>>,
}

/// A point of a process's timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessPoint {
    /// When.
    pub at_ns: u64,
    /// RSS then.
    pub rss_bytes: u64,
    /// From the process's start up to then.
    pub pace: Pace,
}

/// What a call path held at the points of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathCurve {
    /// The call path.
    pub stack: Option<StackId>,
    /// Why the pages had become resident.
    pub cause: Cause,
    /// Bytes at each point.
    pub bytes: Vec<u64>,
}

/// How busy a process was touching new memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The time that its threads did little else: of each pause before a page came what a rate of
    /// 64 MiB a second would need.
    pub touching_ns: u64,
    /// Bytes that became resident, those too that are not there any more.
    pub came_bytes: u64,
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
