//! The story of a segment, as `rmap.explain/1`: what happened to its pages, one thing after the
//! other, and whose they are in the end.
//!
//! Comes in: nothing; `investigate` fills it. Goes out: serde types whose names and order are the
//! JSON's own, with the units of [`super::Report`]. `docs/report.md` describes every field.
//!
//! Nothing is lost on the way: Σ [`Happening::rss_bytes`] + Σ unexplained of the segment is its RSS
//! at the last snapshot, to the byte, where nothing came `since`; the same holds for dirty.

use serde::{Deserialize, Serialize};

use super::{Address, Coverage, Host, Segment, Session, SnapshotKind, Stack, StackId, named};

/// The `schema` of the JSON.
pub const STORY_SCHEMA: &str = "rmap.explain/1";

/// The stories of all segments that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explanation {
    /// [`STORY_SCHEMA`].
    pub schema: String,
    /// The version of rmap that made it.
    pub rmap_version: String,
    /// The machine.
    pub host: Host,
    /// What was traced, when and how it ended.
    pub session: Session,
    /// What was seen, and what was lost.
    pub coverage: Coverage,
    /// One for each segment.
    pub stories: Vec<Story>,
    /// Further segments that were asked for, smaller than these, and are not told of.
    #[serde(default)]
    pub left_out: u64,
    /// Every stack that is named above.
    pub stacks: Vec<Stack>,
}

/// The story of one segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Story {
    /// The process.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// The program's path.
    pub exe: String,
    /// When the process ended; `None` if it goes on.
    pub ended_ns: Option<u64>,
    /// Which snapshot `segment` and `pages` are of.
    pub snapshot: SnapshotKind,
    /// When that was taken.
    pub snapshot_ns: Option<u64>,
    /// The first address that is told of.
    pub start: Address,
    /// The first address behind.
    pub end: Address,
    /// The name of the mapping, also where it is gone.
    pub name: String,
    /// Where it was before `mremap` moved it, the earliest last.
    pub moved_from: Vec<MovedFrom>,
    /// Mappings that were at these addresses before, and of which nothing is told.
    pub earlier_mappings: u64,
    /// As in the report; `None` if it is no longer mapped.
    pub segment: Option<Segment>,
    /// What happened, in the order in which it began.
    pub events: Vec<Happening>,
    /// Its sizes at each snapshot.
    pub states: Vec<State>,
    /// What came after the last snapshot, and is in `events`.
    pub since: Amount,
    /// Whose pages they are at the last snapshot, in the order of their addresses.
    pub pages: Vec<Pages>,
}

/// An earlier place of a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MovedFrom {
    /// First byte.
    pub start: Address,
    /// First byte behind it.
    pub end: Address,
    /// When it moved.
    pub until_ns: u64,
}

/// RSS and Dirty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Amount {
    /// Resident bytes.
    pub rss_bytes: i64,
    /// Dirty bytes.
    pub dirty_bytes: i64,
}

/// Things that happened of one kind, by one code path, within some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Happening {
    /// `map`, `grow`, `unmap`, `protect`, `fork`, `fault`, `found`, `free`, `clean`, `move`,
    /// `missing`.
    pub what: String,
    /// The call, the cause, or how it was given back.
    pub name: String,
    /// The code; `None` where there is none to name.
    pub stack: Option<StackId>,
    /// The first of them.
    pub first_ns: u64,
    /// The last of them.
    pub last_ns: u64,
    /// How many.
    pub times: u64,
    /// By which RSS changed.
    pub rss_bytes: i64,
    /// By which Dirty changed.
    pub dirty_bytes: i64,
    /// Pages that changed hands, or became resident or dirty.
    pub touched_bytes: u64,
    /// By which what is mapped changed.
    pub mapped_bytes: i64,
    /// The lowest address that it was about; empty in JSON if there is none.
    #[serde(with = "named::or_empty")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub start: Option<Address>,
    /// The first address behind the highest.
    #[serde(with = "named::or_empty")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub end: Option<Address>,
    /// The threads.
    pub tids: Vec<u32>,
}

/// What smaps said at a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct State {
    /// When.
    pub at_ns: u64,
    /// Bytes that are mapped.
    pub size_bytes: u64,
    /// `Rss`.
    pub rss_bytes: u64,
    /// `Shared_Dirty` + `Private_Dirty`.
    pub dirty_bytes: u64,
    /// `Swap`.
    pub swap_bytes: u64,
    /// What code paths explain of it: what came less what went up to then.
    pub explained: Amount,
}

/// Neighbouring pages that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pages {
    /// First byte.
    pub start: Address,
    /// First byte behind it.
    pub end: Address,
    /// `anonymous`, `file`, `zero` or `swapped`.
    pub state: String,
    /// Mapped by a huge entry.
    pub huge: bool,
    /// Who made them resident: the place of the path in the segment's `paths`.
    pub resident: Option<u32>,
    /// Who made them dirty.
    pub dirty: Option<u32>,
    /// They were there before tracing began.
    pub before: bool,
}
