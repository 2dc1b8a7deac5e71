//! What came after one place of the stream and is still there at another.
//!
//! Comes in: every process where the window begins and where it ends; paths say of what they hold
//! whether it came within ([`PathShare::in_window`]). Goes out: the process of the report with what came
//! alone, and beside it what it began with, ended with and gave back. For each segment, path and reason:
//! begun with + came − given back = ended with. Segments of both ends are held against each other where
//! their addresses overlap, since calls split and join them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::process::AtSnapshot;
use crate::attribution::{PathShare, Residual, Segment};
use crate::model::{Ledger, Path, Place, Process, StackRef};
use crate::report::{Address, BeforeAfter, GivenBack, StackId, Window};
use crate::terms::Reason;

/// Where a window began.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub(super) place: Place,
    /// Every process that lived, by position in [`Processes::all`](crate::model::Processes::all).
    pub(super) processes: BTreeMap<usize, AtSnapshot>,
    /// What each of them had freed until then.
    pub(super) ledgers: FxHashMap<usize, Ledger>,
}

impl Begun {
    /// What a process held.
    pub(super) fn segments(&self, index: usize) -> &[Segment] {
        self.processes.get(&index).map_or(&[], |process| &process.segments)
    }
}

/// Who held bytes: a call path, or a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Path(Path),
    Reason(Reason),
}

/// RSS and Dirty.
type Sizes = [i64; 2];

/// Segments of both ends whose addresses overlap, by position.
#[derive(Default)]
struct Cluster {
    then: Vec<usize>,
    now: Vec<usize>,
}

/// The segments with what came within the window alone, and what was given back.
pub(super) struct Came {
    pub(super) segments: Vec<Segment>,
    pub(super) window: Window,
    given_back: Vec<(usize, Who, Sizes)>,
}

impl Came {
    /// A process that held `then` where the window began, and holds `now` where it ends.
    pub(super) fn of(then: &[Segment], mut now: Vec<Segment>) -> Self {
        let sum = |segments: &[Segment]| -> [u64; 2] {
            let size = |of: fn(&Segment) -> u64| segments.iter().map(of).sum();
            [size(|segment| segment.shown.rss), size(|segment| segment.shown.dirty)]
        };
        let (before, after) = (sum(then), sum(&now));
        let mut given_back = Vec::new();
        for cluster in clusters(then, &now) {
            if cluster.then.is_empty() {
                cluster.now.iter().for_each(|at| keep_new(&mut now[*at]));
                continue;
            }
            let mut left: BTreeMap<Who, Sizes> = BTreeMap::new();
            for at in &cluster.then {
                add(&mut left, &then[*at], 1, |_| true);
            }
            for at in &cluster.now {
                add(&mut left, &now[*at], -1, |path| !path.in_window);
            }
            for at in &cluster.now {
                now[*at].paths.retain(|path| path.in_window);
                now[*at].residuals.clear();
            }
            let begun = cluster.then.first().copied().unwrap_or_default();
            let mut gone: Vec<(usize, Who, Sizes)> = Vec::new();
            let mut more = [0; 2];
            for (who, sizes) in left {
                // What is more at the end came within the window, or was moved here.
                let came = sizes.map(|bytes| -bytes.min(0));
                match cluster.now.first() {
                    _ if came == [0; 2] => {}
                    Some(at) => add_residual(&mut now[*at], reason_of(who), came),
                    None => more = [more[0] + came[0], more[1] + came[1]],
                }
                gone.push((begun, who, sizes.map(|bytes| bytes.max(0))));
            }
            less(&mut gone, more);
            given_back.extend(gone.into_iter().filter(|(_, _, sizes)| *sizes != [0; 2]));
        }
        let size = |at: usize| BeforeAfter { before: before[at], after: after[at] };
        let window = Window { rss_bytes: size(0), dirty_bytes: size(1), given_back: Vec::new() };
        given_back.sort_by_key(|(at, who, sizes)| (std::cmp::Reverse(*sizes), *at, *who));
        now.retain(|segment| !segment.paths.is_empty() || !segment.residuals.is_empty());
        now.iter_mut().for_each(sum_up);
        Self { segments: now, window, given_back }
    }

    /// The window as the report has it.
    pub(super) fn window(
        &self,
        then: &[Segment],
        number: &mut impl FnMut(StackRef) -> StackId,
    ) -> Window {
        let mut window = self.window.clone();
        for (at, who, sizes) in &self.given_back {
            let Some(segment) = then.get(*at) else { continue };
            let (path, reason) = match who {
                Who::Path(path) => (Some(path), None),
                Who::Reason(reason) => (None, Some(*reason)),
            };
            let [rss, dirty] = sizes.map(i64::unsigned_abs);
            window.given_back.push(GivenBack {
                start: Address(segment.shown.start),
                end: Address(segment.shown.end),
                name: segment.shown.name.clone(),
                stack: path.and_then(|path| path.stack).map(&mut *number),
                cause: path.map(|path| path.cause.into()),
                reason: reason.map(Into::into),
                rss_bytes: rss,
                dirty_bytes: dirty,
            });
        }
        window
    }
}

/// Adds what a segment's paths and reasons hold, `sign` times.
fn add(
    sum: &mut BTreeMap<Who, Sizes>,
    segment: &Segment,
    sign: i64,
    counts: impl Fn(&PathShare) -> bool,
) {
    let mut add = |who, rss: i64, dirty: i64| {
        let sizes = sum.entry(who).or_default();
        sizes[0] += sign * rss;
        sizes[1] += sign * dirty;
    };
    for path in segment.paths.iter().filter(|path| counts(path)) {
        let who = Who::Path(Path { stack: path.stack, cause: path.cause });
        add(who, path.rss.cast_signed(), path.dirty.cast_signed());
    }
    for rest in &segment.residuals {
        add(Who::Reason(rest.reason), rest.rss, rest.dirty);
    }
}

/// Of memory that was not mapped where the window began all came within, but what was moved here.
fn keep_new(segment: &mut Segment) {
    let mut moved = [0; 2];
    for path in segment.paths.iter().filter(|path| !path.in_window) {
        moved[0] += path.rss.cast_signed();
        moved[1] += path.dirty.cast_signed();
    }
    segment.paths.retain(|path| path.in_window);
    if moved != [0; 2] {
        add_residual(segment, Reason::BeforeWindow, moved);
    }
}

/// Why bytes that are more at the end have no call path of the window.
const fn reason_of(who: Who) -> Reason {
    match who {
        Who::Path(_) => Reason::BeforeWindow,
        Who::Reason(reason) => reason,
    }
}

/// Takes from what was given back what a negative residual had already taken from it.
fn less(gone: &mut [(usize, Who, Sizes)], mut more: Sizes) {
    gone.sort_by_key(|(.., sizes)| std::cmp::Reverse(*sizes));
    for (.., sizes) in gone {
        for (bytes, more) in sizes.iter_mut().zip(&mut more) {
            let part = (*bytes).min(*more);
            (*bytes, *more) = (*bytes - part, *more - part);
        }
    }
}

fn add_residual(segment: &mut Segment, reason: Reason, [rss, dirty]: Sizes) {
    match segment.residuals.iter_mut().find(|rest| rest.reason == reason) {
        Some(rest) => (rest.rss, rest.dirty) = (rest.rss + rss, rest.dirty + dirty),
        None => segment.residuals.push(Residual { reason, rss, dirty, candidates: Vec::new() }),
    }
}

/// Makes a segment's sizes those of what is left in it. How the kernel divides them is not known.
fn sum_up(segment: &mut Segment) {
    let paths = |of: fn(&PathShare) -> u64| segment.paths.iter().map(of).sum::<u64>();
    let rest = |of: fn(&Residual) -> i64| segment.residuals.iter().map(of).sum::<i64>();
    let rss = paths(|path| path.rss).saturating_add_signed(rest(|rest| rest.rss));
    let dirty = paths(|path| path.dirty).saturating_add_signed(rest(|rest| rest.dirty));
    let shown = &mut segment.shown;
    (shown.rss, shown.dirty, shown.swap) = (rss, dirty, 0);
    (shown.anonymous, shown.lazy_free, shown.hugetlb) = (0, 0, 0);
    shown.breakdown = crate::trace::Breakdown::default();
    segment.before = crate::attribution::Sizes::default();
    segment.pattern = None;
}

/// Groups the segments of both ends by overlapping addresses. Both are sorted by address.
fn clusters(then: &[Segment], now: &[Segment]) -> Vec<Cluster> {
    let mut all: Vec<(u64, u64, bool, usize)> = Vec::with_capacity(then.len() + now.len());
    for (is_then, segments) in [(true, then), (false, now)] {
        let places = segments.iter().zip(0..);
        all.extend(places.map(|(s, at)| (s.shown.start, s.shown.end, is_then, at)));
    }
    all.sort_unstable();
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut end = 0;
    for (start, own_end, is_then, at) in all {
        if start >= end || clusters.is_empty() {
            clusters.push(Cluster::default());
        }
        end = end.max(own_end);
        if let Some(cluster) = clusters.last_mut() {
            let side = if is_then { &mut cluster.then } else { &mut cluster.now };
            side.push(at);
        }
    }
    clusters
}

/// What was freed, or lost its mapping, between two ledgers.
pub(super) fn since(mut now: Ledger, then: &Ledger) -> Ledger {
    for (key, bytes) in &mut now.released {
        *bytes = bytes.saturating_sub(then.released.get(key).copied().unwrap_or(0));
    }
    for (path, (bytes, segments)) in &mut now.gone {
        let (old_bytes, old_segments) = then.gone.get(path).copied().unwrap_or((0, 0));
        *bytes = bytes.saturating_sub(old_bytes);
        *segments = segments.saturating_sub(old_segments);
    }
    now.released.retain(|_, bytes| *bytes > 0);
    now.gone.retain(|_, (bytes, _)| *bytes > 0);
    now
}

/// Both ledgers together.
pub(super) fn joined(mut one: Ledger, other: &Ledger) -> Ledger {
    for (key, bytes) in &other.released {
        *one.released.entry(*key).or_default() += bytes;
    }
    for (path, (bytes, segments)) in &other.gone {
        let gone = one.gone.entry(*path).or_default();
        gone.0 += bytes;
        gone.1 += segments;
    }
    one
}

/// The processes that lived through a window or a part of it. Of those that have ended by its end
/// nothing is left.
pub(super) fn processes(
    begun: &Begun,
    mut states: Vec<(usize, AtSnapshot)>,
    all: &[Process],
) -> Vec<(usize, AtSnapshot)> {
    let ended = |index: usize| all.get(index).and_then(|process| process.ended_ns);
    states.retain(|(index, _)| ended(*index).is_none_or(|ended| ended > begun.place.time_ns));
    let mut missing: Vec<usize> = begun.processes.keys().copied().collect();
    missing.retain(|index| states.iter().all(|(known, _)| known != index));
    let none = |index| {
        let time_ns = ended(index).unwrap_or(begun.place.time_ns);
        (index, AtSnapshot::none(time_ns, Ledger::default()))
    };
    states.extend(missing.into_iter().map(none));
    states.sort_by_key(|(index, _)| *index);
    states
}
