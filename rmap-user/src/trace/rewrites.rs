//! What is known of memory that is watched to see who writes to it again (`--rewrites`).
//!
//! Comes in: nothing; `live` makes it, a recording holds it. Goes out: the types. The faults
//! themselves are events ([`super::Fault::rewrite`]).

use std::ops::Range;

/// One step of watching a process's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrites {
    /// The process.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds. A page that faulted later is not meant.
    pub time_ns: u64,
    /// What was done.
    pub step: RewriteStep,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewriteStep {
    /// Watching begins.
    Begin {
        /// Every page is protected each period; else pages are drawn.
        exact: bool,
        /// The period in nanoseconds; of drawn pages, within which a write counts as warm.
        period_ns: u64,
        /// How long the process stood for it, in nanoseconds.
        stood_ns: u64,
    },
    /// From now on this memory is watched, and no other.
    Watched(Vec<Range<u64>>),
    /// These pages were written since they were protected last, or have come since. They are
    /// protected again.
    Written(Vec<Range<u64>>),
    /// These pages are there: those that are protected next are drawn from them.
    Present(Vec<Range<u64>>),
    /// These pages (addresses) were drawn and protected.
    Armed(Vec<u64>),
    /// Watching ends.
    End,
}
