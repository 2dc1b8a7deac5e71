//! The immutable result of an investigation, as `rmap.report/1`.
//!
//! Comes in: nothing; [`crate::session`] fills it. Goes out: serde types whose names and order
//! are the JSON's own. Sizes are bytes, addresses and names are strings in JSON alone ([`Address`],
//! [`Named`]), times are nanoseconds since the start of the session. `docs/report.md` describes
//! every field.

mod breakdown;
mod cgroup;
mod check;
pub mod course;
mod frames;
pub mod grouped;
pub mod heap;
mod kind;
mod malloc;
mod moments;
mod named;
mod rewrites;
#[cfg(test)]
mod schema_tests;
mod stacks;
pub mod story;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use breakdown::{Breakdown, Totals};
pub use cgroup::{Cgroup, CgroupBooks, CgroupPages, CgroupPressure, CgroupRest};
pub use check::{IdentityError, check_identity};
pub use frames::Frames;
pub use malloc::{ALLOCATOR_PROBE, MALLOC_PROBE, Malloc, MallocPath, MallocState};
pub use moments::{
    Curves, GivenBack, GrowingOwner, Growth, Mark, Oom, Pace, PathCurve, Peak, ProcessPoint,
    SessionPeak, Span, TimelinePoint, Window,
};
pub use named::{Address, Named, NotAnAddress, StackId};
pub use rewrites::{CurvePoint, Rewrites, Rewritten, Unattributed};
pub use stacks::merge_stacks;
pub use story::{Explanation, Story};

pub use crate::terms::{Cause, Kind, MapCallKind, Pattern, Reason, ReleaseKind};

/// The `schema` of the JSON report.
pub const SCHEMA: &str = "rmap.report/1";

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of rmap that made it.
    pub rmap_version: String,
    /// The machine.
    pub host: Host,
    /// What was traced, when and how it ended.
    pub session: Session,
    /// What was seen, and what was lost.
    pub coverage: Coverage,
    /// The sums over all processes.
    #[serde(default)]
    pub totals: Totals,
    /// The control group that was attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Box<Cgroup>>,
    /// Processes that the kernel killed for want of memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oom: Vec<Oom>,
    /// The first process is the command (or the first PID).
    pub processes: Vec<Process>,
    /// Every stack that is named above, in the order of its id.
    pub stacks: Vec<Stack>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Host {
    /// As `uname -r`.
    pub kernel: String,
    /// As `uname -m`.
    pub arch: String,
    /// Bytes in a page.
    pub page_bytes: u64,
    /// CPUs online.
    pub cpus: u32,
}

/// How the session came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `rmap run`.
    Run,
    /// `rmap attach`.
    Attach,
}

/// What was traced, when and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Session {
    /// `rmap run` or `rmap attach`.
    pub mode: Mode,
    /// The command and its arguments; `None` for `attach`.
    pub command: Option<Vec<String>>,
    /// The processes that were named, or the command's.
    pub pids: Vec<u32>,
    /// RFC 3339.
    pub started_at: String,
    /// From the start to the last event or snapshot.
    pub duration_ns: u64,
    /// The state that is reported is that of this moment, not of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ns: Option<u64>,
    /// How the command ended; `None` if it goes on.
    pub exit: Option<Exit>,
    /// What a person should know of how it was run, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// When all processes together held most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<SessionPeak>,
    /// Sizes, call paths and what was freed are those of this window: what came after its beginning
    /// and was still there at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// Moments that were given names, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// How memory was watched for writes (`--rewrites`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrites: Option<Rewrites>,
}

/// A moment of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// Its end.
    #[default]
    End,
    /// When RSS by the events, summed over the processes that lived, was highest.
    Peak,
    /// So many nanoseconds after its start.
    Time(u64),
    /// When it was marked with this name.
    Mark(String),
}

/// What is asked of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its state at a moment.
    State(At),
    /// What came after the first moment and was still there at the second.
    Window(At, At),
}

impl Default for Asked {
    fn default() -> Self {
        Self::State(At::End)
    }
}

impl Asked {
    /// The moments in it.
    pub fn moments(&self) -> impl Iterator<Item = &At> {
        let (first, second) = match self {
            Self::State(at) => (at, None),
            Self::Window(from, to) => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// By `exit`, with this status.
    Code(i32),
    /// By a signal, for example `SIGKILL`.
    Signal(String),
}

/// What was seen, and what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Coverage {
    /// Every probe of the plan.
    pub probes: Vec<Probe>,
    /// What was lost; zeros are said too.
    pub lost: Lost,
    /// How the walks of stacks ended, in faults.
    pub unwind: Unwind,
    /// Packages of files whose functions have no names, where much memory came through them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
}

/// Which package of the system has a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Package {
    /// The file's, in lower-case hex.
    pub build_id: String,
    /// The package's name, as dpkg has it.
    pub name: String,
}

/// One probe of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Probe {
    /// For example `tp_btf:page_fault_user`.
    pub name: String,
    /// Whether it served.
    pub attached: bool,
    /// Why not, and what follows.
    pub why_not: Option<String>,
}

/// What was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lost {
    /// Records that found no room in the ring buffer, or that could not be read.
    pub events: u64,
    /// Stacks that found no room in the ring buffer.
    pub stacks: u64,
    /// Snapshots that failed, or that could not be taken.
    pub snapshots: u64,
}

/// How the walks of stacks ended, counted in faults and in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unwind {
    /// At the outermost frame.
    pub complete: u64,
    /// Before it.
    pub incomplete: u64,
    /// The same, by reason.
    pub reasons: std::collections::BTreeMap<String, u64>,
    /// The same in bytes that the code paths of those stacks touched.
    #[serde(default)]
    pub bytes: UnwindBytes,
}

/// How the walks of stacks ended, counted in bytes touched (`touched_bytes` of all paths).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnwindBytes {
    /// At the outermost frame.
    pub complete: u64,
    /// Before it.
    pub incomplete: u64,
    /// The same, by reason.
    pub reasons: std::collections::BTreeMap<String, u64>,
}

/// A size at the start of the session (or of the process) and at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BeforeAfter {
    /// At the start; 0 for what began later.
    pub before: u64,
    /// At the last snapshot.
    pub after: u64,
}

/// Which snapshot `after` is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotKind {
    /// The process stood at its exit.
    AtExit,
    /// The process goes on.
    Live,
    /// It ended before another could be taken.
    LastPeriodic,
    /// No snapshot stands at this moment: sizes are those that the events add up to.
    Events,
    /// There is none.
    None,
}

/// One process (an address space's last program).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Process {
    /// Its process id in the initial PID namespace.
    pub pid: u32,
    /// Its parent's, 0 if not known.
    pub parent_pid: u32,
    /// Its command line, its parts joined by blanks.
    pub command: String,
    /// The program's path.
    pub exe: String,
    /// Its start.
    pub started_ns: u64,
    /// Its end; `None` if it goes on.
    pub ended_ns: Option<u64>,
    /// Which snapshot the sizes are of.
    pub snapshot: SnapshotKind,
    /// When it was taken; `None` if there is none.
    #[serde(default)]
    pub snapshot_ns: Option<u64>,
    /// Σ Rss of smaps.
    pub rss_bytes: BeforeAfter,
    /// Σ Shared_Dirty + Private_Dirty of smaps.
    pub dirty_bytes: BeforeAfter,
    /// Σ Swap of smaps.
    pub swap_bytes: BeforeAfter,
    /// How RSS divides: the sums over the segments.
    #[serde(flatten)]
    pub breakdown: Breakdown,
    /// Highest resident size (`VmHWM`).
    pub peak_rss_bytes: u64,
    /// Threads that were seen at snapshots, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<Thread>,
    /// The process at the moment at which its resident memory was largest, by the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// What the window that was asked for began and ended with, and what went within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Its sizes through the session, at most 1,000 points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelinePoint>,
    /// Owners that held more and more and still did at the end, the fastest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub growth: Vec<GrowingOwner>,
    /// What `growth` is judged from.
    #[serde(skip)]
    pub curves: Curves,
    /// In the order of their addresses.
    pub segments: Vec<Segment>,
    /// Code paths that touched memory of which nothing is left.
    pub gone: Vec<Gone>,
    /// Who gave memory back.
    pub released: Vec<Released>,
    /// What `malloc_trim(0)` would return; missing without `--heap`, and where the structures of the
    /// heap contradict each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trim_would_return_bytes: Option<u64>,
    /// The live blocks of its allocator; missing without `--malloc`, and where the shim is not in the
    /// process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malloc: Option<Box<Malloc>>,
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Thread {
    /// Its id.
    pub tid: u32,
    /// The last name that was seen (`comm`). Not safe to print as is.
    pub name: String,
    /// Where its stack was in use at the last snapshot; `None` if it was gone or ran then.
    pub stack_pointer: Option<Address>,
}

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Segment {
    /// First byte.
    pub start: Address,
    /// First byte behind it.
    pub end: Address,
    /// For example `rw-p`.
    pub perms: String,
    /// Offset in the file.
    pub offset: u64,
    /// Major and minor in hex, for example `fe:00`.
    pub device: String,
    /// 0 if there is no file.
    pub inode: u64,
    /// As in maps; empty for anonymous memory. Not safe to print as is.
    pub name: String,
    /// `end` − `start`.
    pub size_bytes: u64,
    /// `Rss`.
    pub rss_bytes: BeforeAfter,
    /// `Shared_Dirty` + `Private_Dirty`.
    pub dirty_bytes: BeforeAfter,
    /// `Swap`.
    pub swap_bytes: BeforeAfter,
    /// `Private_Hugetlb` + `Shared_Hugetlb`, which are part of no other size.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hugetlb_bytes: u64,
    /// How RSS divides.
    #[serde(flatten)]
    pub breakdown: Breakdown,
    /// `THPeligible`: the kernel may use huge pages here (since Linux 5.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thp_eligible: Option<bool>,
    /// `VmFlags`, two letters each, blanks between them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vm_flags: String,
    /// What kind of memory it is.
    #[serde(default, with = "kind", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<Named<Kind>>"))]
    pub kind: Option<Kind>,
    /// A name that says more than that of maps, for example `[malloc arena 3]`. Not safe to print
    /// as is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `kind` and `label` follow from a likeness alone: nobody who knows has said so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inferred: bool,
    /// What the sizes show; `None` where they show nothing of note.
    pub pattern: Option<Named<Pattern>>,
    /// Who made the mapping.
    pub mapped_by: Option<MappedBy>,
    /// Who is responsible for the pages that are resident or dirty at the last snapshot, the
    /// largest first, and who touched pages of it that are not.
    pub paths: Vec<Path>,
    /// What no code path explains. Σ paths + Σ unexplained = after, for rss and dirty alike.
    pub unexplained: Vec<Unexplained>,
    /// How much of it is written again, where that was watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<Box<Rewritten>>,
    /// What the structures of an allocator say of it; missing without `--heap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap: Option<Box<heap::SegmentHeap>>,
}

impl Segment {
    /// A segment of which nothing but the place and the name is known.
    #[must_use]
    pub fn of_addresses(range: &Range<u64>, name: &str) -> Self {
        Self {
            start: Address(range.start),
            end: Address(range.end),
            name: name.to_owned(),
            size_bytes: range.end.saturating_sub(range.start),
            ..Self::default()
        }
    }
}

/// Who made a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MappedBy {
    /// By which call.
    pub call: Named<MapCallKind>,
    /// The caller's stack.
    pub stack: Option<StackId>,
    /// The process that called.
    pub pid: u32,
    /// The thread that called.
    pub tid: u32,
    /// When.
    pub at_ns: u64,
}

/// One code path's share of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Path {
    /// The code path; `None` where the kernel did it with no code of the process to name.
    pub stack: Option<StackId>,
    /// Why the pages became resident or dirty.
    pub cause: Named<Cause>,
    /// Of the segment's RSS, the bytes that this path last made resident.
    pub rss_bytes: u64,
    /// Of the segment's Dirty, the bytes that this path last made dirty.
    pub dirty_bytes: u64,
    /// Bytes that it made resident or dirty in all, freed ones included.
    pub touched_bytes: u64,
    /// Faults that it took.
    pub faults: u64,
    /// Its first.
    pub first_ns: u64,
    /// Its last.
    pub last_ns: u64,
    /// The threads that took them.
    pub tids: Vec<u32>,
    /// Bytes of `rss_bytes` that the allocator has free; missing without `--heap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_bytes: Option<u64>,
    /// Only of an owner's that holds more and more: how the call path did, over all segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
    /// How often it wrote again to a page that was watched; of drawn pages, faults on them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rewrites: u64,
    /// Bytes that it writes again within a period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rewritten_bytes: u64,
}

/// What no code path explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unexplained {
    /// Why.
    pub reason: Named<Reason>,
    /// May be negative: more was attributed than there is.
    pub rss_bytes: i64,
    /// May be negative.
    pub dirty_bytes: i64,
    /// Stacks of those who may have done it, where that can be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<StackId>,
}

/// A code path that touched memory of which nothing is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gone {
    /// The code path.
    pub stack: Option<StackId>,
    /// Why the pages became resident or dirty.
    pub cause: Named<Cause>,
    /// Bytes that it made resident or dirty in all.
    pub touched_bytes: u64,
    /// In how many mappings.
    pub segments: u64,
}

/// Who gave memory back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Released {
    /// The code path; `None` where there is none.
    pub stack: Option<StackId>,
    /// How.
    pub how: Named<ReleaseKind>,
    /// Bytes that were resident.
    pub rss_bytes: u64,
}

/// One user stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stack {
    /// Its id in this report.
    pub id: StackId,
    /// Whether it was walked to its outermost frame.
    pub complete: bool,
    /// From the innermost outwards; inlined functions are frames of their own.
    #[cfg_attr(test, schemars(with = "Vec<Frame>"))]
    pub frames: Frames,
}

/// One frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Frame {
    /// The function's name, demangled; `None` if it could not be found.
    pub function: Option<String>,
    /// The file that holds the code, or its name in brackets.
    pub module: String,
    /// Lower-case hex.
    pub build_id: Option<String>,
    /// The instruction's virtual address as the file has it.
    pub offset: Address,
    /// The source file.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
    /// The function was inlined into the next frame's.
    pub inlined: bool,
    /// The language, where a runtime says it: `python` or `javascript`. Then `module` is the source
    /// file. In Python `offset` is the instruction's place in the function's bytecode; in JavaScript
    /// it is the address in the process, and `line` is where the function begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

impl Frame {
    /// A place in a module of which nothing else is known.
    #[must_use]
    pub fn at(module: &str, offset: u64) -> Self {
        Self { module: module.to_owned(), offset: Address(offset), ..Self::default() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}
