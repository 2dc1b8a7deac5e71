//! How much of a segment is written again, how often and by whom.
//!
//! Comes in: what the model kept of watched memory ([`RewriteLog`]). Goes out: for a range of
//! addresses the pages that are rewritten within a period, by call path, and the identity
//! Σ paths + no fault = what scans called written; of drawn pages an estimate for any period.
//!
//! The estimate: pages are drawn uniformly, each is watched from then on. Of the `n` draws that were
//! watched for τ, `k` were written within τ; so about `N · k / n` of the `N` pages that are there are
//! rewritten within τ. The interval is Wilson's.

use std::collections::BTreeMap;
use std::ops::Range;

use super::segment::{PathShare, Rewritten};
use crate::model::{AddressSpace, Arm, PAGE, PathId, RewriteLog};

/// A write within so long is hot.
pub const HOT_NS: u64 = 100_000_000;

/// The periods of the curve.
const CURVE_NS: [u64; 9] = [
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
    3_000_000_000,
    10_000_000_000,
];

/// The two-sided 95 % quantile of the normal distribution.
const NORMAL_95: f64 = 1.959_963_985;

/// What watching an address space came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewriteTotals {
    /// Every page was protected each period.
    pub exact: bool,
    /// The period in nanoseconds.
    pub period_ns: u64,
    /// Pages that were drawn.
    pub arms: u64,
    /// Faults on protected pages.
    pub faults: u64,
    /// Scans.
    pub scans: u64,
    /// How often scans called a page written; and of that, in mappings that are gone.
    pub written: u64,
    /// Of it, in mappings that are gone.
    pub gone: u64,
    /// How long the process stood for it.
    pub stood_ns: u64,
}

impl RewriteTotals {
    /// Of an address space; `written`: what segments show of it.
    #[must_use]
    pub fn of(log: &RewriteLog, written: u64) -> Self {
        Self {
            exact: log.is_exact(),
            period_ns: log.period_ns(),
            arms: log.arms().len() as u64,
            faults: log.faults(),
            scans: log.scans().into(),
            written: log.written(),
            gone: log.written().saturating_sub(written),
            stood_ns: log.stood_ns(),
        }
    }
}

/// Reads a log, range by range.
pub(super) struct Reader<'a> {
    space: &'a AddressSpace,
    log: &'a RewriteLog,
    /// In the order of the addresses.
    arms: Vec<Arm>,
    started_ns: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(space: &'a AddressSpace, started_ns: u64) -> Option<Self> {
        let log = space.rewrites()?;
        let mut arms = log.arms().to_vec();
        arms.sort_unstable_by_key(|arm| (arm.page, arm.at_ns));
        Some(Self { space, log, arms, started_ns })
    }

    /// What is written again in a range, and by whom. `None`: none of it was watched.
    pub(super) fn range(&self, range: &Range<u64>) -> Option<(Rewritten, Vec<PathShare>)> {
        let (watched, since) = self.log.watched_in(range);
        let (counts, no_fault) = self.log.counts_in(range);
        if watched == 0 && counts.is_empty() && no_fault == 0 {
            return None;
        }
        let resident = self.log.pages_in(range);
        let period_ns = self.log.period_ns();
        let written = counts.values().sum::<u64>() + no_fault;
        let mut whole = Rewritten { period_ns, watched, resident, ..Rewritten::default() };
        let within: BTreeMap<PathId, u64>;
        if self.log.is_exact() {
            // The first scan that takes new memory protects it.
            let periods =
                u64::from(self.log.scans().saturating_sub(since)).saturating_sub(1).max(1);
            let mean = |count: u64| (count + periods / 2) / periods;
            within = counts.iter().map(|(path, count)| (*path, mean(*count))).collect();
            whole.pages = mean(written);
            (whole.written, whole.no_fault) = (written, no_fault);
            whole.hot = (period_ns <= HOT_NS).then_some(whole.pages);
        } else {
            let first = self.arms.partition_point(|arm| arm.page < range.start);
            let end = self.arms.partition_point(|arm| arm.page < range.end);
            let drawn = Drawn { arms: &self.arms[first..end], until_ns: self.log.last_ns() };
            whole.arms = drawn.arms.len() as u64;
            let (n, by_path) = drawn.within(period_ns);
            let k = by_path.values().sum();
            whole.pages = scaled(resident, k, n);
            whole.bounds = Some(bounds(resident, k, n));
            let sum = |by_path: BTreeMap<PathId, u64>| by_path.values().sum::<u64>();
            let at = |period_ns| {
                let (n, by_path) = drawn.within(period_ns);
                (n > 0).then(|| scaled(resident, sum(by_path), n))
            };
            whole.curve = CURVE_NS.iter().filter_map(|ns| Some((*ns, at(*ns)?))).collect();
            whole.hot = (period_ns >= HOT_NS).then(|| at(HOT_NS)).flatten();
            within = by_path.iter().map(|(path, k)| (*path, scaled(resident, *k, n))).collect();
        }
        let paths = counts
            .iter()
            .filter_map(|(path, count)| {
                self.share(*path, *count, within.get(path).copied().unwrap_or(0))
            })
            .collect();
        Some((whole, paths))
    }

    fn share(&self, id: PathId, count: u64, pages: u64) -> Option<PathShare> {
        let path = self.space.paths().get(id)?;
        let stats = self.log.stats(id);
        let relative = |ns: u64| ns.saturating_sub(self.started_ns);
        Some(PathShare {
            stack: path.stack,
            cause: path.cause,
            rss: 0,
            dirty: 0,
            touched: 0,
            faults: count,
            first_ns: relative(stats.first_ns),
            last_ns: relative(stats.last_ns),
            tids: stats.tids,
            in_window: self.space.paths().in_window(id),
            rewrites: count,
            rewritten: pages * PAGE,
            retained: None,
        })
    }
}

/// Drawn pages of a range.
struct Drawn<'a> {
    arms: &'a [Arm],
    /// The session watched until then.
    until_ns: u64,
}

impl Drawn<'_> {
    /// How many were watched for a period, and how many of those were written within it, by whom.
    /// Which draws count must not depend on what became of them, but for memory that is gone.
    fn within(&self, period_ns: u64) -> (u64, BTreeMap<PathId, u64>) {
        let mut n = 0;
        let mut by_path: BTreeMap<PathId, u64> = BTreeMap::new();
        for arm in self.arms {
            let end = arm.at_ns.saturating_add(period_ns);
            if end > self.until_ns {
                continue;
            }
            match arm.written {
                Some((path, at)) if at <= end => *by_path.entry(path).or_default() += 1,
                None if arm.until_ns != 0 && arm.until_ns < end => continue,
                _ => {}
            }
            n += 1;
        }
        (n, by_path)
    }
}

/// `of · k / n`, rounded.
fn scaled(of: u64, k: u64, n: u64) -> u64 {
    let n = u128::from(n.max(1));
    let whole = (u128::from(of) * u128::from(k) + n / 2) / n;
    u64::try_from(whole).unwrap_or(u64::MAX)
}

/// Wilson's interval, in pages.
fn bounds(of: u64, k: u64, n: u64) -> (u64, u64) {
    if n == 0 {
        return (0, of);
    }
    let (of, n, p) = (of as f64, n as f64, k as f64 / n as f64);
    let z2 = NORMAL_95 * NORMAL_95;
    let middle = p + z2 / (2.0 * n);
    let reach = NORMAL_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = of / (1.0 + z2 / n);
    let low = ((middle - reach) * scale).max(0.0).floor();
    let high = ((middle + reach) * scale).min(of).ceil();
    (low as u64, high as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cause, PathTable};

    #[test]
    fn draws_that_were_watched_long_enough_count_whatever_became_of_them() {
        let path = PathTable::default().intern(None, Cause::Rewrite);
        let arm = |at_ns, written: Option<u64>, until_ns| Arm {
            page: 0,
            at_ns,
            written: written.map(|at| (path, at)),
            until_ns,
        };
        let arms = [
            arm(0, Some(50), 0),
            arm(0, Some(500), 0),
            arm(0, None, 0),
            arm(0, None, 60),
            arm(950, Some(960), 0),
        ];
        let drawn = Drawn { arms: &arms, until_ns: 1000 };
        let (n, by_path) = drawn.within(100);
        assert_eq!((n, by_path.values().sum::<u64>()), (3, 1));
        let (n, by_path) = drawn.within(600);
        assert_eq!((n, by_path.values().sum::<u64>()), (3, 2));
        assert_eq!(scaled(300, 1, 3), 100);
    }

    #[test]
    fn bounds_hold_the_estimate_and_stay_within_what_is_there() {
        for (of, k, n) in [(1000, 0, 10), (1000, 10, 10), (1000, 5, 10), (7, 1, 3), (0, 0, 5)] {
            let (low, high) = bounds(of, k, n);
            let estimate = scaled(of, k, n);
            assert!(
                low <= estimate && estimate <= high && high <= of,
                "{of} {k} {n}: {low} {high}"
            );
        }
        assert_eq!(bounds(10, 0, 0), (0, 10), "nothing is known");
        let (low, high) = bounds(100_000, 500, 1000);
        assert!((46_000..=47_500).contains(&low) && (52_500..=54_000).contains(&high));
    }
}
