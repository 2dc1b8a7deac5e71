//! From counted pages to attributed segments: paths with what they did, reasons, who mapped.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::count::{Count, Setting, Tally};
use super::pattern::{History, pattern};
use super::reason::{Reason, Residuals};
use super::rewrites;
use super::segment::{self, MappedBy, PathShare, Residual, Sizes};
use crate::model::{AddressSpace, Call, InstanceId, Origin, PAGE, PathId, StackRef, Stats};
use crate::trace::{Segment, Snapshot};

/// What a report of a segment needs besides the model and the snapshot.
pub struct Context<'a> {
    /// The start of the session, on `CLOCK_MONOTONIC`.
    pub started_ns: u64,
    /// Events were lost.
    pub lost: bool,
    /// The segments when tracing of the process began; empty if it began with the process.
    pub before: &'a [Segment],
    /// How a segment went through the snapshots.
    pub history: &'a dyn Fn(&Segment) -> History,
}

/// What a snapshot says of a process.
#[derive(Clone, Debug, Default)]
pub struct Attributed {
    /// The segments.
    pub segments: Vec<segment::Segment>,
    /// What paths did in mappings that the snapshot does not show: path, pages touched.
    pub elsewhere: Vec<(PathId, u64)>,
}

/// A path's part of a segment, while it is put together.
#[derive(Default)]
struct Part {
    count: Count,
    stats: Stats,
}

type Parts = FxHashMap<PathId, Part>;

/// Joins a space with a snapshot.
#[must_use]
pub fn attribute(space: &AddressSpace, snapshot: &Snapshot, context: &Context<'_>) -> Attributed {
    let pieces: Vec<_> =
        snapshot.segments.iter().map(|s| space.instances_in(s.start..s.end)).collect();
    let mut places: FxHashMap<InstanceId, Vec<(usize, u64)>> = FxHashMap::default();
    for (at, pieces) in pieces.iter().enumerate() {
        for (range, instance) in pieces {
            let places = places.entry(*instance).or_default();
            match places.last_mut() {
                Some((last, bytes)) if *last == at => *bytes += range.end - range.start,
                _ => places.push((at, range.end - range.start)),
            }
        }
    }
    let mut setting =
        Setting { moment: snapshot.moment, lost: context.lost, unplaced: space.unplaced().clone() };
    let mut tally = Tally::new(space);
    let mut weights: FxHashMap<(InstanceId, PathId), Vec<(usize, u64)>> = FxHashMap::default();
    let mut parts: Vec<Parts> = Vec::with_capacity(snapshot.segments.len());
    let mut residuals: Vec<Residuals> = Vec::with_capacity(snapshot.segments.len());
    let mut candidates: Vec<Vec<StackRef>> = Vec::with_capacity(snapshot.segments.len());
    for (at, (segment, pieces)) in snapshot.segments.iter().zip(&pieces).enumerate() {
        // The page map shows pages of hugetlbfs, smaps counts them apart from Rss.
        let none: &[_] = &[];
        let pages = if segment.hugetlb > 0 || segment.vm_flags.has("ht") {
            Some(none)
        } else {
            snapshot.pages.as_deref()
        };
        for (range, instance) in pieces {
            let spread = places.get(instance).is_some_and(|places| places.len() > 1);
            tally.piece(space, segment, pages, range.clone(), |count, owner| {
                if spread {
                    add_weight(&mut weights, (*instance, owner.resident), at, count);
                    if owner.dirty != owner.resident {
                        add_weight(&mut weights, (*instance, owner.dirty), at, count);
                    }
                }
            });
        }
        let (counts, rest, may_have_written) = tally.finish(segment, pages.is_some(), &mut setting);
        candidates.push(stacks_of(space, &may_have_written));
        let counts =
            counts.into_iter().map(|(path, count)| (path, Part { count, stats: Stats::default() }));
        parts.push(counts.collect());
        residuals.push(rest);
    }
    let elsewhere = share_stats(space, &places, &weights, &mut parts);
    let before = before_of(context.before, &snapshot.segments);
    let rewrites = rewrites::Reader::new(space, context.started_ns);
    let segments = snapshot
        .segments
        .iter()
        .zip(parts)
        .zip(residuals)
        .enumerate()
        .map(|(at, ((segment, parts), residuals))| {
            let again = rewrites.as_ref().and_then(|log| log.range(&(segment.start..segment.end)));
            let (rewritten, writers) = again.unzip();
            let mut paths = paths(space, parts, context.started_ns);
            paths.extend(writers.into_iter().flatten());
            segment::Segment {
                shown: segment.clone(),
                before: before[at],
                pattern: pattern(segment, &(context.history)(segment)),
                mapped_by: mapped_by(space, segment, context.started_ns),
                paths,
                rewritten: rewritten.map(Box::new),
                residuals: residuals
                    .iter()
                    .map(|(reason, rss, dirty)| Residual {
                        reason,
                        rss,
                        dirty,
                        candidates: match reason {
                            Reason::SharedWriteWithoutFault => std::mem::take(&mut candidates[at]),
                            _ => Vec::new(),
                        },
                    })
                    .collect(),
            }
        })
        .collect();
    Attributed { segments, elsewhere }
}

/// The stacks of paths, each once.
fn stacks_of(space: &AddressSpace, paths: &[PathId]) -> Vec<StackRef> {
    let mut stacks: Vec<StackRef> =
        paths.iter().filter_map(|path| space.paths().get(*path)?.stack).collect();
    stacks.sort_unstable();
    stacks.dedup();
    stacks
}

fn add_weight(
    weights: &mut FxHashMap<(InstanceId, PathId), Vec<(usize, u64)>>,
    key: (InstanceId, PathId),
    at: usize,
    pages: u64,
) {
    if [PathId::NONE, PathId::BEFORE, PathId::STRANGER, PathId::LOST].contains(&key.1) {
        return;
    }
    let weights = weights.entry(key).or_default();
    match weights.last_mut() {
        Some((last, sum)) if *last == at => *sum += pages,
        _ => weights.push((at, pages)),
    }
}

/// Gives what paths did in each mapping to the segments that show it. A mapping that several
/// segments show is shared out by the pages that the path owns in each.
fn share_stats(
    space: &AddressSpace,
    places: &FxHashMap<InstanceId, Vec<(usize, u64)>>,
    weights: &FxHashMap<(InstanceId, PathId), Vec<(usize, u64)>>,
    parts: &mut [Parts],
) -> Vec<(PathId, u64)> {
    let mut elsewhere = Vec::new();
    // What was done in memory of which no mapping was known comes last: its segments are those
    // where a path owns more than it did in the mappings that are known.
    let known = space.mappings().instances().filter(|id| *id != InstanceId::UNKNOWN);
    for instance in known.chain([InstanceId::UNKNOWN]) {
        let places = places.get(&instance).map_or(&[][..], Vec::as_slice);
        for (path, stats) in space.mappings().stats(instance) {
            let by_pages = if instance == InstanceId::UNKNOWN {
                // Its mapping became known later, as that of a program which was being loaded.
                unaccounted(path, parts)
            } else {
                weights.get(&(instance, path)).cloned().unwrap_or_default()
            };
            if by_pages.is_empty() {
                let most = places.iter().max_by_key(|(at, bytes)| (*bytes, Reverse(*at)));
                match most {
                    Some((at, _)) => parts[*at].entry(path).or_default().stats.merge(stats),
                    None => elsewhere.push((path, stats.touched_pages)),
                }
                continue;
            }
            // Shares of the running sum, so that they add up to the whole.
            let whole: u64 = by_pages.iter().map(|(_, pages)| pages).sum();
            let share = |of: u64, pages: u64| {
                u64::try_from(u128::from(of) * u128::from(pages) / u128::from(whole.max(1)))
                    .unwrap_or(of)
            };
            let mut sum = 0;
            for (at, pages) in by_pages {
                let part = |of: u64| share(of, sum + pages) - share(of, sum);
                let part = Stats {
                    touched_pages: part(stats.touched_pages),
                    faults: part(stats.faults),
                    ..stats.clone()
                };
                sum += pages;
                parts[at].entry(path).or_default().stats.merge(&part);
            }
        }
    }
    elsewhere.sort_unstable();
    elsewhere
}

/// The segments in which a path owns more pages than it is known to have touched there, with how
/// many.
fn unaccounted(path: PathId, parts: &[Parts]) -> Vec<(usize, u64)> {
    let count = |parts: &Parts| {
        parts.get(&path).map_or(0, |part| {
            part.count.rss.max(part.count.dirty).saturating_sub(part.stats.touched_pages)
        })
    };
    parts.iter().map(count).enumerate().filter(|(_, pages)| *pages > 0).collect()
}

fn paths(space: &AddressSpace, parts: Parts, started_ns: u64) -> Vec<PathShare> {
    let mut paths: Vec<PathShare> = parts
        .into_iter()
        .filter_map(|(id, Part { count, stats })| {
            let path = space.paths().get(id)?;
            let idle = count == Count::default() && stats.touched_pages == 0 && stats.faults == 0;
            (!idle).then(|| PathShare {
                stack: path.stack,
                cause: path.cause,
                rss: count.rss * PAGE,
                dirty: count.dirty * PAGE,
                // A part of what was touched may be known of another segment alone.
                touched: stats.touched_pages.max(count.rss).max(count.dirty) * PAGE,
                faults: stats.faults,
                first_ns: stats.first_ns.saturating_sub(started_ns),
                last_ns: stats.last_ns.saturating_sub(started_ns),
                tids: stats.tids,
                in_window: space.paths().in_window(id),
                rewrites: 0,
                rewritten: 0,
                retained: None,
            })
        })
        .collect();
    // Most segments have one path, and there may be a hundred thousand of them.
    paths.shrink_to_fit();
    paths.sort_by(|a, b| {
        let size = |p: &PathShare| Reverse((p.rss, p.dirty, p.touched));
        let rest = |p: &PathShare| (p.first_ns, p.stack, p.cause.as_str());
        size(a).cmp(&size(b)).then_with(|| rest(a).cmp(&rest(b)))
    });
    paths
}

/// Who made most of a segment; nobody where it was there before tracing began. What a child was
/// born with was made by the fork; the parent's part of the report tells of what it copied.
fn mapped_by(space: &AddressSpace, segment: &Segment, started_ns: u64) -> Option<MappedBy> {
    let mut best: Option<(u64, Origin)> = None;
    let mut run: Option<(u64, Origin)> = None;
    for (range, vma) in space.mappings().vmas().within(segment.start..segment.end) {
        let bytes = range.end - range.start;
        let by = match space.fork_path() {
            Some((_, actor)) if vma.inherited => Origin { call: Call::Fork, actor },
            _ => vma.origin,
        };
        run = match run {
            Some((sum, origin)) if origin == by => Some((sum + bytes, origin)),
            Some(_) | None => Some((bytes, by)),
        };
        if run.map(|(sum, _)| sum) > best.map(|(sum, _)| sum) {
            best = run;
        }
    }
    let (_, origin) = best?;
    let actor = origin.actor;
    (origin.call != Call::Unknown && actor.tid != 0).then(|| MappedBy {
        call: origin.call,
        stack: actor.stack,
        pid: actor.pid,
        tid: actor.tid,
        at_ns: actor.time_ns.saturating_sub(started_ns),
    })
}

/// The sizes before, for each segment of now: those of the segments of then that lie under it for
/// the most part.
fn before_of(then: &[Segment], now: &[Segment]) -> Vec<Sizes> {
    let mut before = vec![Sizes::default(); now.len()];
    for old in then {
        let first = now.partition_point(|segment| segment.end <= old.start);
        let overlap = |new: &Segment| new.end.min(old.end) - new.start.max(old.start);
        let under = now[first..]
            .iter()
            .enumerate()
            .take_while(|(_, new)| new.start < old.end)
            .max_by_key(|(at, new)| (overlap(new), Reverse(*at)));
        if let Some((at, _)) = under {
            before[first + at].add(old);
        }
    }
    before
}
