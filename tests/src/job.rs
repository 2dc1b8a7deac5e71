//! A workload under rmap: its truth held against the report.
//!
//! Comes in: a workload's name and arguments. Goes out: a [`Job`], of which every check panics
//! with the part of the report that is wrong.

use std::ffi::OsString;
use std::path::Path;

use ::rmap::report::{Process, Report, Segment, SnapshotKind};

use crate::facts::{self, Owned};
use crate::machine::Machine;
use crate::process::Running;
use crate::rmap::{Traced, finish, rmap_run};
use crate::truth::{Smaps, Truth};

/// Bytes in the pages that workloads count.
pub const PAGE: u64 = 4096;

/// A workload that ran to its end under rmap.
pub struct Job {
    /// What rmap wrote.
    pub traced: Traced,
    /// What the workload said.
    pub truth: Truth,
}

/// A call of `rmap run` with the workload's binary and arguments.
#[must_use]
pub fn command(dir: &Path, binary: &Path, args: &[&str]) -> std::process::Command {
    let mut rmap = rmap_run(dir);
    rmap.arg(binary).args(args.iter().map(OsString::from));
    rmap
}

impl Machine {
    /// Runs the workload under rmap, with sound figures, nothing lost and status 0.
    ///
    /// # Panics
    /// It is not so.
    #[must_use]
    pub fn job(&self, workload: &str, args: &[&str]) -> Job {
        self.job_of(&crate::workload::build(workload), args)
    }

    /// The same with a binary that was built already.
    ///
    /// # Panics
    /// It is not so.
    #[must_use]
    pub fn job_of(&self, binary: &Path, args: &[&str]) -> Job {
        let mut rmap = command(self.scratch(), binary, args);
        Job::end(self.scratch(), Running::start(&mut rmap, None))
    }
}

impl Job {
    /// Waits for a workload that runs under rmap to end well.
    ///
    /// # Panics
    /// It does not end with status 0, or the report is not sound.
    #[must_use]
    pub fn end(dir: &Path, running: Running) -> Self {
        let job = Self::end_with_losses(dir, running);
        facts::assert_nothing_lost(&job.traced.report);
        job
    }

    /// The same where something may have been lost.
    ///
    /// # Panics
    /// As [`Job::end`].
    #[must_use]
    pub fn end_with_losses(dir: &Path, running: Running) -> Self {
        let traced = finish(dir, running);
        assert_eq!(traced.ended.code(), 0, "{}{}", traced.ended.out(), traced.ended.err());
        assert_eq!(traced.ended.err(), "", "rmap or the workload wrote to standard error");
        facts::assert_sound(&traced.report);
        let truth = Truth::parse(&traced.ended.stdout);
        Self { traced, truth }
    }

    /// The report.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.traced.report
    }

    /// The process that said the region.
    ///
    /// # Panics
    /// The report does not have it, or not as it was at its exit.
    #[must_use]
    pub fn process(&self, region: &str) -> &Process {
        let process = facts::process(self.report(), self.truth.region(region).pid);
        assert_eq!(process.snapshot, SnapshotKind::AtExit, "process {}", process.pid);
        process
    }

    /// The segment of the region.
    ///
    /// # Panics
    /// The report does not have it.
    #[must_use]
    pub fn segment(&self, region: &str) -> &Segment {
        facts::segment(self.process(region), &self.truth.region(region).start)
    }

    /// Checks that every region has the bounds and sizes that the workload read in its own smaps.
    ///
    /// # Panics
    /// One has not.
    pub fn expect_kernel_sizes(&self) {
        assert!(!self.truth.smaps.is_empty(), "the workload said no region");
        for Smaps { region, end, rss, dirty, swap, .. } in &self.truth.smaps {
            let segment = self.segment(region);
            assert_eq!(
                (segment.end.0, segment.rss_bytes.after, segment.dirty_bytes.after),
                (facts::address(end), *rss, *dirty),
                "{region}: the report's (end, rss, dirty) and smaps; {}",
                self.show(region)
            );
            assert_eq!(segment.swap_bytes.after, *swap, "{region}: swap");
        }
    }

    /// Checks that the function owns the pages that the workload said, resident and dirty, all
    /// through this cause.
    ///
    /// # Panics
    /// It does not.
    pub fn expect(&self, region: &str, function: &str, cause: &str) {
        let pages = self.pages(region, function);
        self.expect_pages(region, function, cause, pages, pages);
    }

    /// The pages that the workload said of the function.
    ///
    /// # Panics
    /// It said nothing.
    #[must_use]
    pub fn pages(&self, region: &str, function: &str) -> u64 {
        let said = |p: &&crate::truth::Pages| p.region == region && p.function == function;
        let found = self.truth.pages.iter().find(said);
        found.unwrap_or_else(|| panic!("nothing is said of {function} in {region}")).pages
    }

    /// Checks that the function owns so many pages, all through this cause.
    ///
    /// # Panics
    /// It does not.
    pub fn expect_pages(&self, region: &str, function: &str, cause: &str, rss: u64, dirty: u64) {
        let owned = self.owned(region, function);
        assert_eq!(
            (owned.rss, owned.dirty),
            (rss * PAGE, dirty * PAGE),
            "{function} in {region}: bytes (rss, dirty); {}",
            self.show(region)
        );
        assert!(
            owned.causes.iter().eq([cause]),
            "{function} in {region}: causes {:?}, not {cause}; {}",
            owned.causes,
            self.show(region)
        );
    }

    /// What the function owns in the region as its paths' innermost frame.
    #[must_use]
    pub fn owned(&self, region: &str, function: &str) -> Owned {
        facts::owned_by(self.report(), self.segment(region), &[function])
    }

    /// Checks that the function owns nothing in the region.
    ///
    /// # Panics
    /// It does.
    pub fn expect_nothing(&self, region: &str, function: &str) {
        let owned = self.owned(region, function);
        assert_eq!((owned.rss, owned.dirty), (0, 0), "{function}; {}", self.show(region));
    }

    /// Checks that code paths explain the whole region, resident and dirty.
    ///
    /// # Panics
    /// Something is unexplained.
    pub fn expect_whole(&self, region: &str) {
        let whole =
            self.segment(region).unexplained.iter().all(|u| u.rss_bytes == 0 && u.dirty_bytes == 0);
        assert!(whole, "{region} is not wholly explained; {}", self.show(region));
    }

    /// Bytes that the function gave back in this way.
    #[must_use]
    pub fn released(&self, region: &str, function: &str, how: &str) -> u64 {
        let of = |r: &&::rmap::report::Released| {
            r.how.as_str() == how && facts::leaf_is(self.report(), r.stack, &[function])
        };
        self.process(region).released.iter().filter(of).map(|r| r.rss_bytes).sum()
    }

    /// Bytes that the function touched in the whole process, gone ones included.
    #[must_use]
    pub fn touched(&self, region: &str, function: &str) -> u64 {
        let process = self.process(region);
        let is = |stack| facts::leaf_is(self.report(), stack, &[function]);
        let gone = process.gone.iter().filter(|g| is(g.stack)).map(|g| g.touched_bytes);
        let paths = process.segments.iter().flat_map(|segment| &segment.paths);
        let there = paths.filter(|p| is(p.stack)).map(|p| p.touched_bytes);
        gone.chain(there).sum()
    }

    /// The region's segment for a message.
    #[must_use]
    pub fn show(&self, region: &str) -> String {
        facts::show(self.report(), self.segment(region))
    }
}
