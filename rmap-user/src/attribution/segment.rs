//! What a snapshot's segments hold and who is responsible for it, in the model's own terms.
//!
//! Comes in: nothing; [`super::attribute`] fills it. Goes out: plain data in which a stack is a
//! [`StackRef`] of the model. The session makes the report's segments of it, with stack ids.

use crate::model::StackRef;
use crate::terms::{Cause, MapCallKind, Pattern, Reason};
use crate::trace;

/// One segment of a snapshot with who is responsible for its bytes: for RSS and Dirty alike
/// Σ paths + Σ residuals = what smaps shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The segment as the snapshot has it.
    pub shown: trace::Segment,
    /// Its sizes when tracing began.
    pub before: Sizes,
    /// What the sizes show.
    pub pattern: Option<Pattern>,
    /// Who made most of the mapping.
    pub mapped_by: Option<MappedBy>,
    /// The largest first.
    pub paths: Vec<PathShare>,
    /// What no path explains.
    pub residuals: Vec<Residual>,
    /// How much of it is written again, where that was watched.
    pub rewritten: Option<Box<Rewritten>>,
}

/// Sizes of a segment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// `Rss`.
    pub rss: u64,
    /// `Shared_Dirty` + `Private_Dirty`.
    pub dirty: u64,
    /// `Swap`.
    pub swap: u64,
}

impl Sizes {
    /// Those of a segment in a snapshot.
    #[must_use]
    pub const fn of(segment: &trace::Segment) -> Self {
        Self { rss: segment.rss, dirty: segment.dirty, swap: segment.swap }
    }

    /// Adds those of a segment in a snapshot.
    pub const fn add(&mut self, segment: &trace::Segment) {
        self.rss += segment.rss;
        self.dirty += segment.dirty;
        self.swap += segment.swap;
    }
}

/// Who made a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedBy {
    /// By which call.
    pub call: MapCallKind,
    /// The caller's stack.
    pub stack: Option<StackRef>,
    /// The process that called.
    pub pid: u32,
    /// The thread that called.
    pub tid: u32,
    /// When, since the start of the session.
    pub at_ns: u64,
}

/// One call path's share of a segment. Sizes are bytes, times are since the start of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathShare {
    /// The call path; `None` where the kernel did it with no code of the process to name.
    pub stack: Option<StackRef>,
    /// Why the pages became resident or dirty.
    pub cause: Cause,
    /// Of the segment's RSS, what this path last made resident.
    pub rss: u64,
    /// Of the segment's Dirty, what this path last made dirty.
    pub dirty: u64,
    /// What it made resident or dirty altogether, freed memory included.
    pub touched: u64,
    /// Faults that it took.
    pub faults: u64,
    /// Its first.
    pub first_ns: u64,
    /// Its last.
    pub last_ns: u64,
    /// The threads that took them.
    pub tids: Vec<u32>,
    /// It came in the window that is asked for; without one everything did.
    pub in_window: bool,
    /// How often it wrote a protected page again.
    pub rewrites: u64,
    /// Bytes that it writes again within a period.
    pub rewritten: u64,
    /// Bytes of `rss` that the allocator has free; `None` where its structures were not read.
    pub retained: Option<u64>,
}

impl PathShare {
    /// Adds what the same call path did elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.rss += other.rss;
        self.dirty += other.dirty;
        self.touched += other.touched;
        self.faults += other.faults;
        self.rewrites += other.rewrites;
        self.rewritten += other.rewritten;
        self.retained = self.retained.or(other.retained).map(|own| {
            let both = self.retained.is_some() && other.retained.is_some();
            own + other.retained.filter(|_| both).unwrap_or(0)
        });
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        for tid in &other.tids {
            if let Err(at) = self.tids.binary_search(tid) {
                self.tids.insert(at, *tid);
            }
        }
    }
}

/// Bytes that no call path explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residual {
    /// Why.
    pub reason: Reason,
    /// Bytes of RSS; negative if more was attributed than there is.
    pub rss: i64,
    /// Bytes of Dirty; may be negative.
    pub dirty: i64,
    /// The stacks that may have done it, where some are known.
    pub candidates: Vec<StackRef>,
}

/// How much of some memory is written again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The period in nanoseconds.
    pub period_ns: u64,
    /// Pages that are rewritten within the period: the mean of all periods, or an estimate.
    pub pages: u64,
    /// The bounds between which that number lies with a probability of 95 %; `None`: it was counted.
    pub bounds: Option<(u64, u64)>,
    /// Of drawn pages: pages that are rewritten within other periods.
    pub curve: Vec<(u64, u64)>,
    /// Bytes that were watched.
    pub watched: u64,
    /// Pages that were there and watched at the latest look.
    pub resident: u64,
    /// Pages that are rewritten within 100 ms, if that is known.
    pub hot: Option<u64>,
    /// How often scans called a page written.
    pub written: u64,
    /// How often no fault has shown by whom.
    pub no_fault: u64,
    /// Pages that were drawn.
    pub arms: u64,
}
