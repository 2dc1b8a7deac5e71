//! A report cut into the parts that every answer is made of.
//!
//! Comes in: a report. Goes out: one [`Part`] for each call path's share of a segment and one for
//! each residual. Σ parts is the RSS and the Dirty of all processes, to the byte.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::sync::LazyLock;

use rustc_hash::FxHashSet;

use crate::report::{Cause, MallocPath, Process, Report, Segment, StackId};

use super::kind;
use super::owner::Owners;
use super::rules::Rules;

/// Resident and dirty bytes. Residuals may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes {
    /// Resident.
    pub rss: i128,
    /// Dirty.
    pub dirty: i128,
}

impl Add for Bytes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rss: self.rss + other.rss, dirty: self.dirty + other.dirty }
    }
}

impl Sub for Bytes {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { rss: self.rss - other.rss, dirty: self.dirty - other.dirty }
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

impl Bytes {
    /// How much room it deserves: what is not there and what is too much count alike.
    #[must_use]
    pub const fn weight(self) -> (u128, u128) {
        (self.rss.unsigned_abs(), self.dirty.unsigned_abs())
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.rss == 0 && self.dirty == 0
    }
}

/// One call path's share of one segment, or one residual of it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The process, by its place in the report.
    pub process: usize,
    /// Where the bytes are.
    pub segment: &'a Segment,
    /// The call path; `None` for residuals, and where the kernel acted by itself.
    pub stack: Option<StackId>,
    /// The cause, or the residual's reason.
    pub why: &'a str,
    /// Whether it is a call path's; else it is a residual.
    pub attributed: bool,
    /// A clean page of a program or a library that runs here. Whoever came by first brought it in,
    /// so it belongs to the file rather than to a frame.
    pub code: bool,
    /// The threads of the call path.
    pub tids: &'a [u32],
    /// How much it is.
    pub bytes: Bytes,
    /// What of it the allocator has free; `None` where that is not known.
    pub retained: Option<u64>,
}

/// All parts of a report, with the owner of each call path.
pub struct Parts<'a> {
    /// The report.
    pub report: &'a Report,
    /// In the order of the report, without those of no bytes.
    pub all: Vec<Part<'a>>,
    /// The owners of its call paths.
    pub owners: Owners<'a>,
}

impl<'a> Parts<'a> {
    /// The parts of a report.
    #[must_use]
    pub fn of(report: &'a Report, rules: &Rules) -> Self {
        let mut all = Vec::new();
        for (process, found) in report.processes.iter().enumerate() {
            let runs = found.segments.iter().filter(|segment| segment.perms.contains('x'));
            let programs: FxHashSet<&str> =
                runs.filter(|s| kind::is_file(s)).map(|segment| segment.name.as_str()).collect();
            for segment in &found.segments {
                let of_program = programs.contains(segment.name.as_str());
                let parts = of_segment(process, segment).filter(|part| !part.bytes.is_zero());
                all.extend(parts.map(|part| Part {
                    code: of_program && part.code && part.bytes.dirty == 0,
                    ..part
                }));
            }
        }
        Self { report, all, owners: Owners::of(&report.stacks, rules) }
    }

    /// The call paths that write again to memory that was watched: `rss` is what they write again
    /// within a period.
    #[must_use]
    pub fn of_rewrites(report: &'a Report, rules: &Rules) -> Self {
        let mut all = Vec::new();
        for (process, found) in report.processes.iter().enumerate() {
            for segment in &found.segments {
                let parts = of_segment(process, segment).zip(&segment.paths);
                all.extend(parts.filter(|(_, path)| path.rewritten_bytes > 0).map(
                    |(part, path)| Part {
                        bytes: Bytes { rss: path.rewritten_bytes.into(), dirty: 0 },
                        ..part
                    },
                ));
            }
        }
        Self { report, all, owners: Owners::of(&report.stacks, rules) }
    }

    /// The call paths that hold live blocks of an allocator: `rss` is the estimate of their bytes. They
    /// are in no segment.
    #[must_use]
    pub fn of_live(report: &'a Report, rules: &Rules) -> Self {
        static NOWHERE: LazyLock<Segment> = LazyLock::new(Segment::default);
        let part = |(process, path): (usize, &MallocPath)| Part {
            process,
            segment: &NOWHERE,
            stack: path.stack,
            why: "live",
            attributed: true,
            code: false,
            tids: &[],
            bytes: Bytes { rss: path.live_bytes.into(), dirty: 0 },
            retained: None,
        };
        let all = live_paths(report).map(part).collect();
        Self { report, all, owners: Owners::of(&report.stacks, rules) }
    }

    /// The process of a part.
    #[must_use]
    pub fn process(&self, part: &Part<'_>) -> Option<&'a Process> {
        self.report.processes.get(part.process)
    }

    /// What some parts are together.
    #[must_use]
    pub fn sum(&self, parts: &[usize]) -> Bytes {
        parts.iter().filter_map(|at| self.all.get(*at)).map(|part| part.bytes).sum()
    }

    /// What all parts are together.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.all.iter().map(|part| part.bytes).sum()
    }

    /// What no call path explains.
    #[must_use]
    pub fn unattributed(&self) -> Bytes {
        self.all.iter().filter(|part| !part.attributed).map(|part| part.bytes).sum()
    }
}

fn of_segment(process: usize, segment: &Segment) -> impl Iterator<Item = Part<'_>> {
    let paths = segment.paths.iter().map(move |path| Part {
        process,
        segment,
        stack: path.stack,
        why: path.cause.as_str(),
        attributed: true,
        code: path.cause == Cause::FileRead,
        tids: &path.tids,
        bytes: Bytes { rss: path.rss_bytes.into(), dirty: path.dirty_bytes.into() },
        retained: path.retained_bytes,
    });
    let residuals = segment.unexplained.iter().map(move |rest| Part {
        process,
        segment,
        stack: None,
        why: rest.reason.as_str(),
        attributed: false,
        code: false,
        tids: &[],
        bytes: Bytes { rss: rest.rss_bytes.into(), dirty: rest.dirty_bytes.into() },
        retained: None,
    });
    paths.chain(residuals)
}

/// Every call path with live blocks, with its process's place in the report, in the order of
/// [`Parts::of_live`].
pub(super) fn live_paths(report: &Report) -> impl Iterator<Item = (usize, &MallocPath)> {
    let all = report.processes.iter().enumerate();
    all.flat_map(|(process, found)| {
        let paths = found.malloc.iter().flat_map(|malloc| &malloc.paths);
        paths.filter(|path| path.live_bytes > 0).map(move |path| (process, path))
    })
}
