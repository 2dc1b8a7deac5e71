//! Who writes again to memory that is watched (`--rewrites`), apart from whose the pages are.
//!
//! Comes in: faults on protected pages, and the steps of whoever protects them ([`RewriteStep`]).
//! Goes out: by page and call path how often it was written again, and of drawn pages when.
//!
//! With every page protected each period, a scan says which pages were written, and faults say by
//! whom. The fault of a page may be reported before or behind the scan that takes it, so both are
//! counted against each other, the oldest first: a written page takes a fault of its own that no
//! scan has taken, or waits for one. What waits in the end was written with no fault.

use std::collections::BTreeMap;
use std::ops::Range;

use rustc_hash::FxHashMap;

use super::owners::PAGE;
use super::path::PathId;
use super::range_map::RangeMap;
use super::stats::Stats;
use crate::trace::RewriteStep;

/// Most drawn pages that are kept of an address space, 40 bytes each.
const MOST_ARMS: usize = 4 << 20;

/// A page that was drawn and protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// Its address.
    pub page: u64,
    /// When, on `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Who wrote it first since then, and when.
    pub written: Option<(PathId, u64)>,
    /// Until when it was watched, if it was not written before; 0: it still is.
    pub until_ns: u64,
}

/// What is known of the watched memory of one address space.
#[derive(Clone, Debug, Default)]
pub struct RewriteLog {
    exact: bool,
    period_ns: u64,
    last_ns: u64,
    stood_ns: u64,
    scans: u32,
    /// What is watched, and how many scans there were before.
    watched: RangeMap<u32>,
    /// What is protected, as far as it is known: the scan's word is what counts.
    armed: RangeMap<()>,
    /// The oldest fault of a page that no scan has taken, and younger ones.
    waiting: BTreeMap<u64, PathId>,
    younger: BTreeMap<u64, Vec<PathId>>,
    /// How often scans called a page written that no fault has come for.
    owing: BTreeMap<u64, u32>,
    /// How often a page was written again, by page and call path.
    counts: BTreeMap<(u64, PathId), u32>,
    faults: u64,
    written: u64,
    stats: FxHashMap<PathId, Stats>,
    present: Vec<Range<u64>>,
    arms: Vec<Arm>,
    /// The places in `arms` of pages that were not written since.
    open: BTreeMap<u64, Vec<u32>>,
}

impl RewriteLog {
    /// Takes a step.
    pub(super) fn step(&mut self, step: &RewriteStep, time_ns: u64) {
        self.last_ns = self.last_ns.max(time_ns);
        match step {
            RewriteStep::Begin { exact, period_ns, stood_ns } => {
                if self.period_ns == 0 {
                    (self.exact, self.period_ns) = (*exact, (*period_ns).max(1));
                }
                self.stood_ns = self.stood_ns.saturating_add(*stood_ns);
            }
            RewriteStep::Watched(ranges) => self.watch(ranges),
            RewriteStep::Written(ranges) => {
                self.scans = self.scans.saturating_add(1);
                ranges.iter().for_each(|range| self.scanned(range.clone()));
            }
            RewriteStep::Present(ranges) => self.present.clone_from(ranges),
            RewriteStep::Armed(pages) => pages.iter().for_each(|page| self.arm(*page, time_ns)),
            RewriteStep::End => self.watch(&[]),
        }
    }

    /// A fault on a protected page.
    pub(super) fn fault(&mut self, page: u64, path: PathId, tid: u32, time_ns: u64) {
        self.faults += 1;
        self.stats.entry(path).or_default().add(0, 1, tid, time_ns);
        if !self.exact {
            self.drawn_page_written(page, path, time_ns);
        } else if self.owing.contains_key(&page) {
            self.pay(page);
            self.count(page, path);
        } else if let Some(oldest) = self.waiting.insert(page, path) {
            self.waiting.insert(page, oldest);
            self.younger.entry(page).or_default().push(path);
        }
    }

    /// The pages of a range are no longer there.
    pub(super) fn released(&mut self, range: &Range<u64>) {
        self.armed.cut(range.clone());
        self.close(range);
    }

    /// Another mapping takes the place of what was there.
    pub(super) fn replaced(&mut self, range: &Range<u64>) {
        self.released(range);
        let taken: Vec<(u64, PathId)> =
            self.counts.range(from(range)..to(range)).map(|(key, _)| *key).collect();
        for key in taken {
            self.counts.remove(&key);
        }
        let taken: Vec<u64> = self.owing.range(range.clone()).map(|(page, _)| *page).collect();
        for page in taken {
            self.owing.remove(&page);
        }
    }

    /// Memory was moved; at its new place it is not watched yet.
    pub(super) fn moved(&mut self, old: &Range<u64>, shift: u64) {
        self.released(old);
        let taken: Vec<((u64, PathId), u32)> =
            self.counts.range(from(old)..to(old)).map(|(key, count)| (*key, *count)).collect();
        for (key, count) in taken {
            self.counts.remove(&key);
            *self.counts.entry((key.0.wrapping_add(shift), key.1)).or_default() += count;
        }
        shifted(&mut self.waiting, old, shift);
        shifted(&mut self.younger, old, shift);
        shifted(&mut self.owing, old, shift);
    }

    /// Whether a page is protected, as far as it is known.
    pub(super) fn is_armed(&self, page: u64) -> bool {
        self.armed.find(page).is_some() || self.open.contains_key(&page)
    }

    fn watch(&mut self, ranges: &[Range<u64>]) {
        let mut watched = RangeMap::default();
        for range in ranges {
            let known: Vec<_> =
                self.watched.within(range.clone()).map(|(part, since)| (part, *since)).collect();
            watched.insert(range.clone(), self.scans);
            for (part, since) in known {
                watched.insert(part, since);
            }
        }
        let mut last = 0;
        for range in ranges {
            self.close(&(last..range.start));
            last = range.end;
        }
        self.close(&(last..u64::MAX));
        // At the end all that was watched is still to be reported.
        if !ranges.is_empty() {
            self.watched = watched;
        }
    }

    /// A scan calls pages written, and has protected them.
    fn scanned(&mut self, range: Range<u64>) {
        let armed: Vec<_> = self.armed.within(range.clone()).map(|(part, ())| part).collect();
        for part in armed {
            for page in part.step_by(PAGE as usize) {
                if !self.waiting.contains_key(&page) {
                    *self.owing.entry(page).or_default() += 1;
                    self.written += 1;
                }
            }
        }
        let waiting: Vec<u64> = self.waiting.range(range.clone()).map(|(page, _)| *page).collect();
        for page in waiting {
            if let Some(path) = self.take_waiting(page) {
                self.count(page, path);
                self.written += 1;
            }
        }
        self.armed.insert(range, ());
    }

    fn take_waiting(&mut self, page: u64) -> Option<PathId> {
        let path = self.waiting.remove(&page)?;
        if let Some(younger) = self.younger.get_mut(&page) {
            let next = younger.remove(0);
            if younger.is_empty() {
                self.younger.remove(&page);
            }
            self.waiting.insert(page, next);
        }
        Some(path)
    }

    fn pay(&mut self, page: u64) {
        if let Some(count) = self.owing.get_mut(&page) {
            *count -= 1;
            if *count == 0 {
                self.owing.remove(&page);
            }
        }
    }

    fn count(&mut self, page: u64, path: PathId) {
        *self.counts.entry((page, path)).or_default() += 1;
    }

    fn arm(&mut self, page: u64, at_ns: u64) {
        if let Ok(place) = u32::try_from(self.arms.len())
            && self.arms.len() < MOST_ARMS
        {
            self.arms.push(Arm { page, at_ns, written: None, until_ns: 0 });
            self.open.entry(page).or_default().push(place);
        }
    }

    fn drawn_page_written(&mut self, page: u64, path: PathId, time_ns: u64) {
        let Some(mut places) = self.open.remove(&page) else { return };
        self.count(page, path);
        // A fault may be reported behind a later arm of the page.
        places.retain(|place| match self.arms.get_mut(*place as usize) {
            Some(arm) if arm.at_ns <= time_ns => {
                arm.written = Some((path, time_ns));
                false
            }
            Some(_) => true,
            None => false,
        });
        if !places.is_empty() {
            self.open.insert(page, places);
        }
    }

    /// Drawn pages of a range are watched no longer.
    fn close(&mut self, range: &Range<u64>) {
        if range.start >= range.end || self.open.is_empty() {
            return;
        }
        let pages: Vec<u64> = self.open.range(range.clone()).map(|(page, _)| *page).collect();
        for place in pages.iter().filter_map(|page| self.open.remove(page)).flatten() {
            if let Some(arm) = self.arms.get_mut(place as usize) {
                arm.until_ns = self.last_ns;
            }
        }
    }

    /// Every page is protected each period; else pages are drawn.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.exact
    }

    /// The period in nanoseconds; of drawn pages, within which a write counts.
    #[must_use]
    pub const fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// The last step, on `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// How long the process stood for it.
    #[must_use]
    pub const fn stood_ns(&self) -> u64 {
        self.stood_ns
    }

    /// Faults on protected pages.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.faults
    }

    /// How often scans called a protected page written, over all pages.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// How many scans there were.
    #[must_use]
    pub const fn scans(&self) -> u32 {
        self.scans
    }

    /// Drawn pages, in the order of their arms.
    #[must_use]
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// How often pages of a range were written again, by call path, and how often with no fault.
    #[must_use]
    pub fn counts_in(&self, range: &Range<u64>) -> (BTreeMap<PathId, u64>, u64) {
        let mut paths: BTreeMap<PathId, u64> = BTreeMap::new();
        for ((_, path), count) in self.counts.range(from(range)..to(range)) {
            *paths.entry(*path).or_default() += u64::from(*count);
        }
        let no_fault = self.owing.range(range.clone()).map(|(_, count)| u64::from(*count)).sum();
        (paths, no_fault)
    }

    /// Watched bytes of a range, and the fewest scans before any of them was watched.
    #[must_use]
    pub fn watched_in(&self, range: &Range<u64>) -> (u64, u32) {
        self.watched.within(range.clone()).fold((0, u32::MAX), |(bytes, first), (part, since)| {
            (bytes + part.end - part.start, first.min(*since))
        })
    }

    /// Pages of a range that are there and watched, by the latest look.
    #[must_use]
    pub fn pages_in(&self, range: &Range<u64>) -> u64 {
        if self.exact {
            let armed = self.armed.within(range.clone());
            return armed.map(|(part, ())| (part.end - part.start) / PAGE).sum();
        }
        let cut = |run: &Range<u64>| run.start.max(range.start)..run.end.min(range.end);
        let runs = self.present.iter().map(cut).filter(|run| run.start < run.end);
        runs.map(|run| (run.end - run.start) / PAGE).sum()
    }

    /// When a call path wrote, and its threads.
    #[must_use]
    pub fn stats(&self, path: PathId) -> Stats {
        self.stats.get(&path).cloned().unwrap_or_default()
    }
}

/// Moves what is kept of pages.
fn shifted<T>(pages: &mut BTreeMap<u64, T>, old: &Range<u64>, shift: u64) {
    let taken: Vec<u64> = pages.range(old.clone()).map(|(page, _)| *page).collect();
    for page in taken {
        if let Some(value) = pages.remove(&page) {
            pages.insert(page.wrapping_add(shift), value);
        }
    }
}

const fn from(range: &Range<u64>) -> (u64, PathId) {
    (range.start, PathId::NONE)
}

const fn to(range: &Range<u64>) -> (u64, PathId) {
    (range.end, PathId::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cause, PathTable};

    const P: u64 = PAGE;

    fn run(range: Range<u64>) -> Vec<Range<u64>> {
        [range].into()
    }

    fn begun(exact: bool) -> (RewriteLog, [PathId; 2]) {
        let mut paths = PathTable::default();
        let path = |paths: &mut PathTable, cause| paths.intern(None, cause);
        let two = [path(&mut paths, Cause::Rewrite), path(&mut paths, Cause::Exec)];
        let mut log = RewriteLog::default();
        log.step(&RewriteStep::Begin { exact, period_ns: 1000, stood_ns: 5 }, 1);
        log.step(&RewriteStep::Watched(run(0..100 * P)), 1);
        (log, two)
    }

    fn all(log: &RewriteLog) -> (Vec<u64>, u64) {
        let (paths, no_fault) = log.counts_in(&(0..u64::MAX));
        (paths.into_values().collect(), no_fault)
    }

    #[test]
    fn scans_and_faults_meet_in_either_order_and_add_up() {
        let (mut log, [one, two]) = begun(true);
        log.step(&RewriteStep::Written(run(0..10 * P)), 2);
        assert_eq!((log.written(), all(&log)), (0, (vec![], 0)), "they were not protected before");
        // Page 0 before its scan, page 1 behind it, page 2 twice, page 3 with no fault at all.
        log.fault(0, one, 1, 3);
        log.fault(2 * P, one, 1, 3);
        log.fault(2 * P, two, 1, 4);
        log.step(&RewriteStep::Written(run(0..4 * P)), 5);
        log.fault(P, two, 2, 6);
        log.step(&RewriteStep::Written(run(2 * P..3 * P)), 7);
        assert_eq!(log.written(), 5);
        assert_eq!(all(&log), (vec![2, 2], 1));
        let (paths, no_fault) = log.counts_in(&(3 * P..4 * P));
        assert_eq!((paths.len(), no_fault), (0, 1));
        assert_eq!(log.stats(two).tids, [1, 2]);
    }

    #[test]
    fn what_is_unmapped_and_comes_again_is_not_protected() {
        let (mut log, [one, _]) = begun(true);
        log.step(&RewriteStep::Written(run(0..4 * P)), 2);
        log.fault(0, one, 1, 3);
        log.step(&RewriteStep::Written(run(0..P)), 4);
        log.replaced(&(0..2 * P));
        log.step(&RewriteStep::Written(run(0..2 * P)), 5);
        assert_eq!((log.written(), all(&log)), (1, (vec![], 0)));
        assert_eq!(log.pages_in(&(0..100 * P)), 4);
    }

    #[test]
    fn what_is_moved_keeps_its_counts() {
        let (mut log, [one, _]) = begun(true);
        log.step(&RewriteStep::Written(run(0..4 * P)), 2);
        log.fault(P, one, 1, 3);
        log.step(&RewriteStep::Written(run(P..2 * P)), 4);
        log.fault(2 * P, one, 1, 5);
        log.moved(&(0..4 * P), 50 * P);
        log.step(&RewriteStep::Written(run(50 * P..54 * P)), 6);
        assert_eq!(log.counts_in(&(51 * P..53 * P)).0.into_values().sum::<u64>(), 2);
        assert_eq!(log.pages_in(&(0..100 * P)), 4);
    }

    #[test]
    fn a_fault_ends_the_arms_that_came_before_it() {
        let (mut log, [one, _]) = begun(false);
        log.step(&RewriteStep::Present(run(0..10 * P)), 2);
        log.step(&RewriteStep::Armed(vec![0, P, 2 * P]), 10);
        log.step(&RewriteStep::Armed(vec![0]), 20);
        log.fault(0, one, 1, 15);
        log.fault(9 * P, one, 1, 15);
        log.released(&(2 * P..3 * P));
        let ends: Vec<_> = log.arms().iter().map(|arm| (arm.written, arm.until_ns)).collect();
        assert_eq!(ends, [(Some((one, 15)), 0), (None, 0), (None, 20), (None, 0)]);
        assert_eq!((log.faults(), all(&log)), (2, (vec![1], 0)));
        assert_eq!(log.pages_in(&(8 * P..20 * P)), 2);
    }
}
