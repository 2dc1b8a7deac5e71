//! Who holds more and more.
//!
//! Comes in: the curves of a report's call paths and segments. Goes out: the owners that still grew at
//! the end, in the report; each of their call paths that rose, and the segments where those lie. An
//! interpreter's leak spreads over many call paths, none of which grows for itself: so the curves of all
//! call paths of one owner are added before they are judged ([`curve`]).
//!
//! Three things look like growth and are none. A process that ends gives memory back just before: what
//! counts is the time up to there (`judged`). And a program that builds something large touches new
//! memory all the time, without a pause; one that leaks does other work between (`is_built`). And a Java
//! virtual machine fills the heap that it was given before it collects much (`HEAP_NS`).

pub mod curve;

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::names;
use super::owner::{self, Owner, Owners};
use super::rules::Rules;
use crate::report::{
    Cause, Curves, GrowingOwner, Growth, Kind, MallocPath, PathCurve, Pattern, Process, Report,
    StackId,
};

/// The memory given back to exit is no more than the last so many of a hundred points.
const EXIT_PERCENT: usize = 15;
/// After its highest point a process that gives memory back to exit rises by no more than this share of
/// it, in percent.
const EXIT_RISE_PERCENT: u64 = 2;
/// What was built took no longer.
const BUILT_NS: u64 = 10_000_000_000;
/// A process that builds touches new memory for this share of the time, in percent.
const BUSY_PERCENT: u64 = 40;
/// And of what it touched this share is still there, in percent.
const KEPT_PERCENT: u64 = 50;

/// What may lie in the heap of a Java virtual machine must have grown for so long.
const HEAP_NS: u64 = 30_000_000_000;

/// What call paths have in common that are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Whose<'a> {
    /// A function by its number in [`Owners`].
    Function(u32),
    /// Code without names, such as a JIT compiler's, by its module.
    Unnamed(&'a str),
    /// No function.
    Plain(Owner),
    /// The kernel, with no code of the process to name.
    Kernel,
}

/// Names the owners of a report that hold more and more. A report without curves stays as it is.
pub fn judge(report: &mut Report, rules: &Rules) {
    let owners = Owners::of(&report.stacks, rules);
    let found: Vec<Option<Found>> = report
        .processes
        .iter()
        .map(|process| (!process.curves.points.is_empty()).then(|| Found::of(process, &owners)))
        .collect();
    for (process, found) in report.processes.iter_mut().zip(found) {
        if let Some(found) = found {
            found.put(process);
        }
        if let Some(malloc) = &mut process.malloc {
            malloc.paths.iter_mut().for_each(judge_live);
        }
    }
}

/// A rise in live blocks of fewer picked ones than this may be chance.
const CHANCE: f64 = 8.0;

/// Whether a call path's live blocks still grew, by the curve of their estimates. What may be chance is
/// no growth.
fn judge_live(path: &mut MallocPath) {
    let Some(growth) = curve::growth(&path.curve) else { return };
    let each = path.live_bytes as f64 / path.sampled.max(1) as f64;
    if curve::rise(&path.curve) as f64 >= each * CHANCE.max(2.0 * (path.sampled as f64).sqrt()) {
        path.growth = Some(growth);
    }
}

/// What was found of a process.
#[derive(Default)]
struct Found {
    owners: Vec<GrowingOwner>,
    /// Call paths of those owners that rose themselves.
    paths: FxHashMap<(Option<StackId>, Cause), Growth>,
    /// The segments of which the curve grows, by position.
    segments: BTreeSet<usize>,
}

impl Found {
    fn of(process: &Process, owners: &Owners<'_>) -> Self {
        let curves = &process.curves;
        let end = judged(curves);
        let mut groups: FxHashMap<Whose<'_>, Vec<&PathCurve>> = FxHashMap::default();
        for path in &curves.paths {
            groups.entry(whose(path.stack, owners)).or_default().push(path);
        }
        let is_java = is_java(process);
        let mut found = Self::default();
        for (whose, paths) in groups {
            let sum = sum(&paths, curves.points.len());
            let curve = timed(curves, &sum, end);
            let Some(growth) = curve::growth(&curve) else { continue };
            let lasted = curve.last().map_or(0, |(at, _)| at.saturating_sub(growth.since_ns));
            let fills = is_java && lasted < HEAP_NS && of_java(&paths, owners);
            if fills || is_built(curves, growth.since_ns, end) {
                continue;
            }
            for path in &paths {
                let curve = timed(curves, &path.bytes, end);
                if curve::rise(&curve) > 0 {
                    let growth = Growth { bytes_per_s: curve::last_slope(&curve), ..growth };
                    found.paths.insert((path.stack, path.cause), growth);
                }
            }
            let bytes = curve.last().map_or(0, |(_, bytes)| *bytes);
            found.owners.push(named(
                whose,
                &paths,
                owners,
                GrowingOwner {
                    owner: String::new(),
                    place: None,
                    module: String::new(),
                    stacks: Vec::new(),
                    bytes,
                    growth,
                    curve: sum,
                },
            ));
        }
        let speed =
            |owner: &GrowingOwner| std::cmp::Reverse((owner.growth.bytes_per_s, owner.bytes));
        found
            .owners
            .sort_by(|a, b| (speed(a), &a.owner, &a.stacks).cmp(&(speed(b), &b.owner, &b.stacks)));
        let segments = curves.segments.iter().enumerate();
        let grows = |bytes: &Vec<u64>| {
            bytes.len() == curves.points.len()
                && curve::growth(&timed(curves, bytes, end)).is_some()
        };
        found.segments = segments.filter(|(_, bytes)| grows(bytes)).map(|(at, _)| at).collect();
        found
    }

    fn put(self, process: &mut Process) {
        for (at, segment) in process.segments.iter_mut().enumerate() {
            let mut growing = 0;
            for path in &mut segment.paths {
                let cause = path.cause.known();
                path.growth = cause.and_then(|cause| self.paths.get(&(path.stack, cause))).copied();
                growing += if path.growth.is_some() { path.rss_bytes } else { 0 };
            }
            // It is no growth if its owners only built something.
            if self.segments.contains(&at) && growing > 0 {
                segment.pattern = Some(Pattern::Growing.into());
            }
        }
        process.growth = self.owners;
    }
}

/// How many points count: those before a process that ended gave its memory back.
fn judged(curves: &Curves) -> usize {
    let all = curves.points.len();
    if !curves.ended {
        return all;
    }
    let rss = |at: usize| curves.points.get(at).map_or(0, |point| point.rss_bytes);
    let Some(highest) = (0..all).max_by_key(|at| rss(*at)) else { return all };
    let mut floor = u64::MAX;
    let mut most_up = 0;
    for at in highest..all {
        floor = floor.min(rss(at));
        most_up = most_up.max(rss(at) - floor);
    }
    let late = highest * 100 >= all * (100 - EXIT_PERCENT);
    if late && most_up * 100 <= rss(highest) * EXIT_RISE_PERCENT { highest + 1 } else { all }
}

/// Whether a process did little else between a time and a point than to touch new memory that it kept.
fn is_built(curves: &Curves, since_ns: u64, end: usize) -> bool {
    let from = curves.points.iter().rfind(|point| point.at_ns <= since_ns);
    let to = end.checked_sub(1).and_then(|at| curves.points.get(at));
    let (Some(from), Some(to)) = (from, to) else { return false };
    let lasted = to.at_ns.saturating_sub(from.at_ns);
    let touching = to.pace.touching_ns.saturating_sub(from.pace.touching_ns);
    let came = to.pace.came_bytes.saturating_sub(from.pace.came_bytes);
    let kept = to.rss_bytes.saturating_sub(from.rss_bytes);
    lasted < BUILT_NS
        && touching.saturating_mul(100) >= lasted.saturating_mul(BUSY_PERCENT)
        && kept.saturating_mul(100) >= came.saturating_mul(KEPT_PERCENT)
}

/// Whether a process is a Java virtual machine, which fills its heap up to a limit.
fn is_java(process: &Process) -> bool {
    names::base(&process.exe) == "java"
        || process.segments.iter().any(|segment| segment.kind == Some(Kind::JavaHeap))
}

/// Whether call paths may have touched the heap of a Java virtual machine: they are Java's own code, which
/// is in no file, or the machine's.
fn of_java(paths: &[&PathCurve], owners: &Owners<'_>) -> bool {
    paths.iter().filter_map(|path| Some(owners.owner_frame(path.stack?)?.1)).any(|frame| {
        frame.module.starts_with('[') || names::base(&frame.module).starts_with("libjvm.so")
    })
}

fn whose<'a>(stack: Option<StackId>, owners: &Owners<'a>) -> Whose<'a> {
    let Some(stack) = stack else { return Whose::Kernel };
    match owners.owner_frame(stack) {
        Some((_, frame)) if frame.function.is_none() => Whose::Unnamed(&frame.module),
        Some((function, _)) => Whose::Function(function),
        None => Whose::Plain(owners.owner(stack).unwrap_or(Owner::Unknown)),
    }
}

fn sum(paths: &[&PathCurve], points: usize) -> Vec<u64> {
    let mut sum = vec![0; points];
    for path in paths {
        sum.iter_mut().zip(&path.bytes).for_each(|(sum, bytes)| *sum += bytes);
    }
    sum
}

/// The points that count, with their times.
fn timed(curves: &Curves, bytes: &[u64], end: usize) -> Vec<(u64, u64)> {
    let times = curves.points.iter().map(|point| point.at_ns);
    times.zip(bytes.iter().copied()).take(end).collect()
}

/// Gives an owner its names.
fn named(
    whose: Whose<'_>,
    paths: &[&PathCurve],
    owners: &Owners<'_>,
    mut grown: GrowingOwner,
) -> GrowingOwner {
    let stacks: BTreeSet<StackId> = paths.iter().filter_map(|path| path.stack).collect();
    let frames: Vec<_> =
        stacks.iter().filter_map(|stack| Some(owners.owner_frame(*stack)?.1)).collect();
    match (whose, frames.first()) {
        (Whose::Function(_), Some(frame)) => {
            grown.owner = owner::display(frame);
            grown.module.clone_from(&frame.module);
            let lines: BTreeSet<u32> = frames.iter().filter_map(|frame| frame.line).collect();
            grown.place = frame.file.as_deref().map(|file| names::place(file, &lines));
        }
        (Whose::Unnamed(module), Some(frame)) => {
            grown.module.clone_from(&frame.module);
            let names: BTreeSet<String> =
                frames.iter().map(|frame| owner::display(frame)).collect();
            let one = names.len() == 1;
            grown.owner = match names.into_iter().next() {
                Some(name) if one && !module.starts_with('[') => name,
                _ => format!("{} code without names", names::base(module)),
            };
        }
        (Whose::Kernel, _) => grown.owner = "[kernel]".to_owned(),
        (Whose::Plain(Owner::Relocations | Owner::Loading), _) => {
            grown.owner = "[loading of libraries]".to_owned();
        }
        (Whose::Plain(Owner::StartUp), _) => grown.owner = "[program start-up]".to_owned(),
        _ => grown.owner = "[stack without a function]".to_owned(),
    }
    grown.stacks = stacks.into_iter().collect();
    grown
}

#[cfg(test)]
mod tests;
