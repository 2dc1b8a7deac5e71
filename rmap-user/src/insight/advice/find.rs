//! The evidence of each rule.

use std::collections::BTreeSet;

use crate::insight::group::By;
use crate::insight::heap;
use crate::insight::kind;
use crate::insight::malloc;
use crate::insight::names;
use crate::insight::owner::Owner;
use crate::insight::part::{Part, Parts};
use crate::insight::rewrites::{self, Again};
use crate::insight::rules::Rules;
use crate::insight::unnamed::unnamed;
use crate::report::{GrowingOwner, Kind, Pattern, Process, Segment};

use super::Evidence;

const MIB: i128 = 1 << 20;

/// Bytes in MiB with one decimal.
fn mib(bytes: i128) -> String {
    let tenths = (bytes.max(0) * 10 + MIB / 2) / MIB;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn evidence(bytes: i128, text: String) -> Evidence {
    Evidence { bytes: u64::try_from(bytes.max(0)).unwrap_or(u64::MAX), text }
}

/// The places of the parts that a rule is about.
fn those(parts: &Parts<'_>, wanted: impl Fn(&Part<'_>) -> bool) -> Vec<usize> {
    parts.all.iter().enumerate().filter(|(_, part)| wanted(part)).map(|(at, _)| at).collect()
}

/// The owner of most of some parts.
fn owner(parts: &Parts<'_>, chosen: &[usize]) -> String {
    let groups = parts.group(chosen.to_vec(), &[By::Owner]);
    groups.first().map(|group| group.label.name.clone()).unwrap_or_default()
}

/// The largest by a key: a segment, a file.
fn largest(parts: &Parts<'_>, chosen: &[usize], by: By) -> String {
    let groups = parts.group(chosen.to_vec(), &[by]);
    groups.first().map(|group| group.label.name.clone()).unwrap_or_default()
}

fn many(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}

fn is_python(parts: &Parts<'_>, part: &Part<'_>) -> bool {
    let exe = parts.process(part).map_or("", |process| names::base(&process.exe));
    exe.starts_with("python")
}

/// Copies after fork: who wrote, in how many parents and children.
fn copies(parts: &Parts<'_>, python: bool) -> Option<Evidence> {
    let chosen = those(parts, |part| {
        part.attributed && part.why == "fork-cow" && is_python(parts, part) == python
    });
    let bytes = parts.sum(&chosen).dirty;
    let dirty: i128 = parts.all.iter().map(|part| part.bytes.dirty).sum();
    if bytes < 16 * MIB || bytes.saturating_mul(20) < dirty {
        return None;
    }
    let processes: BTreeSet<usize> =
        chosen.iter().filter_map(|at| parts.all.get(*at)).map(|part| part.process).collect();
    let pids: BTreeSet<u32> = parts.report.processes.iter().map(|process| process.pid).collect();
    let children = processes
        .iter()
        .filter_map(|at| parts.report.processes.get(*at))
        .filter(|process| pids.contains(&process.parent_pid))
        .count();
    let sides = match (processes.len() - children, children) {
        (0, children) => many(children, "child", "children"),
        (parents, 0) => many(parents, "parent", "parents"),
        (parents, children) => format!(
            "{} and {}",
            many(parents, "parent", "parents"),
            many(children, "child", "children")
        ),
    };
    let text = format!(
        "{} were copied by writes after fork, in {sides}, most of it by {}",
        mib(bytes),
        owner(parts, &chosen)
    );
    Some(evidence(bytes, text))
}

pub fn fork_copies(parts: &Parts<'_>) -> Option<Evidence> {
    copies(parts, false)
}

pub fn fork_copies_python(parts: &Parts<'_>) -> Option<Evidence> {
    copies(parts, true)
}

pub fn relocations(parts: &Parts<'_>) -> Option<Evidence> {
    let relocates = |part: &Part<'_>| {
        let owner = part.stack.and_then(|stack| parts.owners.owner(stack));
        owner == Some(Owner::Relocations) && part.bytes.dirty > 0 && kind::is_file(part.segment)
    };
    let chosen = those(parts, relocates);
    let bytes = parts.sum(&chosen).dirty;
    let of = |chosen: &[usize]| {
        let parts = chosen.iter().filter_map(|at| parts.all.get(*at));
        parts.map(|part| part.process).collect::<BTreeSet<usize>>().len()
    };
    let processes = of(&chosen);
    if bytes < 16 * MIB || processes < 8 {
        return None;
    }
    let text = format!(
        "{} of library data were relocated in {processes} processes, most of it of {}",
        mib(bytes),
        largest(parts, &chosen, By::Segment)
    );
    Some(evidence(bytes, text))
}

pub fn madv_free(parts: &Parts<'_>) -> Option<Evidence> {
    let mut bytes = 0;
    let mut most: Option<(u64, &Segment)> = None;
    for segment in parts.report.processes.iter().flat_map(|process| &process.segments) {
        let given_up = segment.breakdown.lazyfree_bytes.unwrap_or(0);
        bytes += i128::from(given_up);
        if given_up > most.map_or(0, |(most, _)| most) {
            most = Some((given_up, segment));
        }
    }
    let (_, segment) = most.filter(|_| bytes >= 16 * MIB)?;
    let held = those(parts, |part| std::ptr::eq(part.segment, segment));
    let text = format!(
        "{} were given up by MADV_FREE and are still resident, most of it in {} of {}",
        mib(bytes),
        kind::short_name(segment),
        owner(parts, &held)
    );
    Some(evidence(bytes, text))
}

/// Whether a segment is an arena of glibc's. Other allocators' have their own names, and other limits.
pub(super) fn is_glibcs_arena(segment: &Segment) -> bool {
    let glibcs = |label: &str| label.starts_with("[malloc arena");
    segment.kind == Some(Kind::MallocArena) && segment.label.as_deref().is_none_or(glibcs)
}

pub fn malloc_arenas(parts: &Parts<'_>) -> Option<Evidence> {
    let chosen = those(parts, |part| is_glibcs_arena(part.segment));
    let bytes = parts.sum(&chosen).rss;
    let arenas: BTreeSet<(usize, u64)> = chosen
        .iter()
        .filter_map(|at| parts.all.get(*at))
        .map(|part| (part.process, part.segment.start.0))
        .collect();
    if arenas.len() < 8 || bytes < 32 * MIB {
        return None;
    }
    let text = format!(
        "{} are in {} malloc arenas, most of it of {}",
        mib(bytes),
        arenas.len(),
        owner(parts, &chosen)
    );
    Some(evidence(bytes, text))
}

pub fn heap_free(parts: &Parts<'_>) -> Option<Evidence> {
    let held = heap::held(parts).filter(|held| held.trim.is_some())?;
    let free = i128::from(held.free);
    if free < 16 * MIB || free.saturating_mul(4) < i128::from(held.resident) {
        return None;
    }
    let mut text = format!(
        "{} of {} of the heaps are free, {} of that in whole pages",
        mib(free),
        mib(held.resident.into()),
        mib(held.trim.unwrap_or(0).into()),
    );
    if let Some(first) = held.touchers.first() {
        text.push_str(&format!(", most of it first touched by {}", first.name));
    }
    Some(evidence(free, text))
}

pub fn populated(parts: &Parts<'_>) -> Option<Evidence> {
    let chosen = those(parts, |part| part.attributed && part.why == "populate");
    let sum = parts.sum(&chosen);
    let bytes = sum.rss - sum.dirty;
    if bytes < 32 * MIB {
        return None;
    }
    let text = format!(
        "{} were made resident in advance and never written, most of it by {}",
        mib(bytes),
        owner(parts, &chosen)
    );
    Some(evidence(bytes, text))
}

pub fn page_cache_dirt(parts: &Parts<'_>) -> Option<Evidence> {
    let chosen = those(parts, |part| part.why == "page-cache-write" && part.bytes.dirty > 0);
    let bytes = parts.sum(&chosen).dirty;
    if bytes < 32 * MIB {
        return None;
    }
    let text = format!(
        "{} of mapped files are dirty by write(2), most of it of {} by {}",
        mib(bytes),
        largest(parts, &chosen, By::Segment),
        owner(parts, &chosen)
    );
    Some(evidence(bytes, text))
}

pub fn growth(parts: &Parts<'_>) -> Option<Evidence> {
    live_growing(parts).or_else(|| still_growing(parts)).or_else(|| rising(parts))
}

/// The owner whose live blocks grow fastest, where allocations were sampled.
fn live_growing(parts: &Parts<'_>) -> Option<Evidence> {
    let live = malloc::growing(parts)?;
    let text = format!(
        "growing: {} holds {} in malloc's live blocks, {} a second more, and still grew at the end",
        live.owner,
        mib(live.bytes.into()),
        mib(live.bytes_per_s.into())
    );
    Some(evidence(live.bytes.into(), text))
}

/// So many owners that still grew are named.
const GROWING_NAMED: usize = 2;

/// What gives functions of Node's programs names.
const NODE_NAMES: &str =
    " (node --perf-basic-prof --interpreted-frames-native-stack names its functions)";

/// The owners of a process that grow. Where allocations were sampled, those are left out that grow in
/// allocators' memory alone: who touched a page first does not say whose it is now.
fn growing_pages(process: &Process) -> impl Iterator<Item = &GrowingOwner> {
    let sampled = process.malloc.as_deref().is_some_and(malloc::is_sampled);
    let elsewhere = move |grown: &&GrowingOwner| {
        let mut others = process.segments.iter().filter(|segment| !is_mallocs(segment));
        others.any(|segment| {
            let mut paths = segment.paths.iter().filter(|path| path.rss_bytes > 0);
            paths.any(|path| path.stack.is_some_and(|stack| grown.stacks.contains(&stack)))
        })
    };
    process.growth.iter().filter(move |grown| !sampled || elsewhere(grown))
}

/// The owners that grow fastest of those that still did at the end, by the events.
fn still_growing(parts: &Parts<'_>) -> Option<Evidence> {
    let processes = parts.report.processes.iter();
    let mut still: Vec<&GrowingOwner> =
        processes.flat_map(growing_pages).filter(|grown| grown.growth.still).collect();
    still.sort_by_key(|grown| std::cmp::Reverse(grown.growth.bytes_per_s));
    let bytes = still.iter().map(|grown| i128::from(grown.bytes)).sum();
    let tenths = |ns: u64| format!("{}.{}", ns / 1_000_000_000, ns / 100_000_000 % 10);
    let said = still.iter().take(GROWING_NAMED).map(|grown| {
        let place = grown.place.as_ref().map_or(String::new(), |place| format!(" ({place})"));
        format!(
            "{}{place} holds {}, {} a second more since {} s, and still grew at the end",
            grown.owner,
            mib(grown.bytes.into()),
            mib(i128::from(grown.growth.bytes_per_s)),
            tenths(grown.growth.since_ns)
        )
    });
    let said: Vec<String> = said.collect();
    let unnamed = parts.report.processes.iter().any(|process| {
        names::base(&process.exe).starts_with("node")
            && !process.growth.is_empty()
            && process.growth.iter().all(|grown| grown.place.is_none())
    });
    let hint = if unnamed { NODE_NAMES } else { "" };
    let more = match still.len().saturating_sub(GROWING_NAMED) {
        0 => String::new(),
        more => format!("; {}", many(more, "more owner grew", "more owners grew")),
    };
    (!said.is_empty()).then(|| evidence(bytes, format!("growing: {}{more}{hint}", said.join("; "))))
}

/// Whether an allocator hands out the segment's memory.
fn is_mallocs(segment: &Segment) -> bool {
    heap::is_allocators(segment) || segment.kind == Some(Kind::MallocBlock)
}

/// The segment that rose most through the snapshots.
fn rising(parts: &Parts<'_>) -> Option<Evidence> {
    let grown = |segment: &Segment| {
        i128::from(segment.rss_bytes.after) - i128::from(segment.rss_bytes.before)
    };
    let segments = parts.report.processes.iter().flat_map(|process| &process.segments);
    let sampled = parts.report.processes.iter().filter_map(|process| process.malloc.as_deref());
    let sampled = sampled.into_iter().any(malloc::is_sampled);
    let growing = segments.filter(|segment| !sampled || !is_mallocs(segment)).filter(|segment| {
        segment.pattern.as_ref().is_some_and(|pattern| *pattern == Pattern::Growing)
    });
    let segment = growing.max_by_key(|segment| grown(segment))?;
    let bytes = grown(segment);
    if bytes < 8 * MIB {
        return None;
    }
    let held = those(parts, |part| std::ptr::eq(part.segment, segment) && part.attributed);
    let text = format!(
        "{} rose from snapshot to snapshot, by {}, most of it by {}",
        kind::short_name(segment),
        mib(bytes),
        owner(parts, &held)
    );
    Some(evidence(bytes, text))
}

pub fn rewritten(parts: &Parts<'_>) -> Option<Evidence> {
    let again = Again::of(parts.report)?;
    let how = parts.report.session.rewrites.as_ref()?;
    let (bytes, there) =
        (i128::from(again.rewritten), i128::from(again.rewritten) + i128::from(again.cold));
    if there < 64 * MIB || bytes < MIB || bytes.saturating_mul(4) > there {
        return None;
    }
    let mut owners = rewrites::writers(parts.report, &Rules::built_in()).into_iter();
    let most = owners.next()?.group.label.name;
    let period = how.period_ns.div_ceil(1_000_000);
    let text = format!(
        "{} of {} are written again within {period} ms, most of it by {most}",
        mib(bytes),
        mib(there)
    );
    Some(evidence(bytes, text))
}

pub fn huge_pages(parts: &Parts<'_>) -> Option<Evidence> {
    let chosen = those(parts, |part| part.attributed && part.why == "huge-page");
    let bytes = parts.sum(&chosen).rss;
    if bytes < 64 * MIB || bytes.saturating_mul(2) < parts.total().rss {
        return None;
    }
    let text = format!(
        "{} came as huge pages, which count in full once a byte is written, most of it by {}",
        mib(bytes),
        owner(parts, &chosen)
    );
    Some(evidence(bytes, text))
}

pub fn no_names(parts: &Parts<'_>) -> Option<Evidence> {
    let files = unnamed(parts);
    let first = files.first()?;
    let bytes: i128 = files.iter().map(|file| i128::from(file.bytes)).sum();
    let package = first.debug_package.as_ref();
    let package = package.map(|name| format!(", package {name}")).unwrap_or_default();
    let text = format!(
        "{} are owned by code without names, {} of it in {}, whose debug file is {}{package}",
        mib(bytes),
        if files.len() == 1 { "all".to_owned() } else { mib(first.bytes.into()) },
        names::base(&first.module),
        first.debug_file,
    );
    Some(evidence(bytes, text))
}
