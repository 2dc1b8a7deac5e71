//! Who holds live blocks of an allocator: what a report of `--malloc` knows, by owner or call path.
//!
//! Comes in: a report. Goes out: [`Live`], sums over its processes, and [`Holder`]s. Estimates of several
//! call paths are independent of each other, so the distances from an estimate to its bounds add up as
//! the sides of right angles do.

use crate::report::{ALLOCATOR_PROBE, MALLOC_PROBE, Malloc, MallocPath, MallocState, Report};

use super::group::{By, Group};
use super::owner;
use super::part::{Parts, live_paths};

/// An estimate with its 95 % interval, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// The estimate.
    pub bytes: u64,
    /// The lowest and the highest.
    pub bounds: [u64; 2],
}

impl Estimate {
    /// The sum of independent ones.
    fn sum(all: impl Iterator<Item = (u64, [u64; 2])>) -> Self {
        let square = |distance: u64| (distance as f64).powi(2);
        let (mut bytes, mut below, mut above) = (0_u64, 0.0, 0.0);
        for (estimate, [low, high]) in all {
            bytes = bytes.saturating_add(estimate);
            below += square(estimate.saturating_sub(low));
            above += square(high.saturating_sub(estimate));
        }
        let (below, above) = (f64::sqrt(below) as u64, f64::sqrt(above) as u64);
        Self { bytes, bounds: [bytes.saturating_sub(below), bytes.saturating_add(above)] }
    }
}

/// Live blocks of all processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// How many bytes.
    pub bytes: Estimate,
    /// How many blocks.
    pub blocks: u64,
    /// How many of them were picked.
    pub sampled: u64,
    /// One byte in so many was picked.
    pub mean: u64,
    /// Picked blocks that could not be followed.
    pub unkept: u64,
    /// Processes that were sampled.
    pub processes: usize,
    /// Processes of which no allocation came through the shim: they have an allocator of their own.
    pub bypassed: usize,
    /// Processes of which nothing is known: they did not load the shim, or have no function of an
    /// allocator that is known.
    pub without: usize,
    /// Allocations are picked by probes at allocators' own functions, and not by the shim.
    pub attached: bool,
    /// Processes that ran before rmap came: what they allocated then is in no sum.
    pub since_attach: usize,
}

impl Live {
    /// Of a report; `None`: nobody asked for it.
    #[must_use]
    pub fn of(report: &Report) -> Option<Self> {
        if !is_asked(report) {
            return None;
        }
        let all = || report.processes.iter().filter_map(|process| process.malloc.as_deref());
        let mean = all().map(|malloc| malloc.mean_bytes).max().unwrap_or(0);
        let is = |state| all().filter(|malloc| malloc.state == state).count();
        let sum = |of: fn(&Malloc) -> u64| all().map(of).fold(0, u64::saturating_add);
        Some(Self {
            bytes: Estimate::sum(all().map(|malloc| (malloc.live_bytes, malloc.ci95))),
            blocks: sum(|malloc| malloc.live_count),
            sampled: sum(|malloc| malloc.sampled),
            mean,
            unkept: sum(|malloc| malloc.unkept),
            processes: is(MallocState::Sampled),
            bypassed: is(MallocState::Bypassed),
            without: report.processes.len() - all().count(),
            attached: is_attached(report),
            since_attach: all().filter(|malloc| malloc.since_attach).count(),
        })
    }
}

/// A group of call paths that hold live blocks.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Who.
    pub group: Group,
    /// How much.
    pub bytes: Estimate,
    /// How many blocks.
    pub blocks: u64,
    /// The fastest growth among its call paths, bytes a second.
    pub growth: Option<u64>,
    /// What was called on the way to the allocator, as [`Owners::via`](super::owner::Owners::via). Not
    /// safe to print as is.
    pub via: Vec<String>,
}

/// The holders by a key, those of most bytes first. `parts`: [`Parts::of_live`].
#[must_use]
pub fn holders(parts: &Parts<'_>, by: By) -> Vec<Holder> {
    let paths: Vec<&MallocPath> = live_paths(parts.report).map(|(_, path)| path).collect();
    let holder = |group: Group| {
        let of = || group.parts.iter().filter_map(|at| paths.get(*at));
        let growth = of().filter_map(|path| path.growth.filter(|growth| growth.still));
        let stack = of().max_by_key(|path| path.live_bytes).and_then(|path| path.stack);
        Holder {
            bytes: Estimate::sum(of().map(|path| (path.live_bytes, path.ci95))),
            blocks: of().map(|path| path.live_count).fold(0, u64::saturating_add),
            growth: growth.map(|growth| growth.bytes_per_s).max(),
            via: stack.map(|stack| parts.owners.via(stack)).unwrap_or_default(),
            group,
        }
    };
    parts.by(&[by]).into_iter().map(holder).collect()
}

/// Whether allocations were to be picked.
#[must_use]
pub fn is_asked(report: &Report) -> bool {
    report.coverage.probes.iter().any(|probe| probe.name == MALLOC_PROBE)
        || is_attached(report)
        || report.processes.iter().any(|process| process.malloc.is_some())
}

/// Whether allocations were to be picked by probes at allocators' own functions.
fn is_attached(report: &Report) -> bool {
    report.coverage.probes.iter().any(|probe| probe.name == ALLOCATOR_PROBE)
}

/// Whether a process's allocations were picked from.
pub(super) fn is_sampled(malloc: &Malloc) -> bool {
    malloc.state == MallocState::Sampled
}

/// The owner whose live blocks grow fastest.
pub(super) struct Growing {
    /// Its name. Not safe to print as is.
    pub owner: String,
    /// Estimate of what its growing call path holds.
    pub bytes: u64,
    /// How fast that grows.
    pub bytes_per_s: u64,
}

/// The owner of the call path whose live blocks grow fastest, of those that still did at the end.
pub(super) fn growing(parts: &Parts<'_>) -> Option<Growing> {
    let still = live_paths(parts.report).filter_map(|(process, path)| {
        let growth = path.growth.filter(|growth| growth.still)?;
        Some((process, path, growth.bytes_per_s))
    });
    let (_, path, bytes_per_s) = still.max_by_key(|(.., bytes_per_s)| *bytes_per_s)?;
    let stack = path.stack?;
    let frame = parts.owners.owner_frame(stack).map(|(_, frame)| owner::display(frame));
    let owner = frame.unwrap_or_else(|| "code with no name".to_owned());
    Some(Growing { owner, bytes: path.live_bytes, bytes_per_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_independent_estimates_add_up_as_squares() {
        let sum = Estimate::sum([(100, [70, 160]), (200, [160, 280])].into_iter());
        assert_eq!(sum, Estimate { bytes: 300, bounds: [250, 400] });
        assert_eq!(Estimate::sum([(5, [5, 5])].into_iter()).bounds, [5, 5]);
    }
}
