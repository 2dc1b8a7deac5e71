//! Chunks as pages: what of a part is resident, free in pages that stay, and returned by trimming.
//!
//! Comes in: a walked part and its lists. Goes out: the part's sums and the free bytes of each resident
//! page, added to a [`Heap`].

use std::ops::Range;

use super::chunks::{Stop, Walked};
use super::resident::Resident;
use crate::trace::{Allocator, FreeRun, Heap, HeapPart, HeapState, HeapSums};

const PAGE: u64 = 4096;

/// malloc keeps the header and links of a free chunk whose pages it gives back
/// (`sizeof (struct malloc_chunk)`), and `MINSIZE` of top.
const HEADER: u64 = 48;
const LEAST_TOP: u64 = 32;

/// Freed chunks of a part that look used.
pub struct Lists<'a> {
    /// In fastbins.
    pub fast: &'a [Range<u64>],
    /// In caches of threads.
    pub cached: &'a [Range<u64>],
}

/// Adds a part to a heap.
pub fn add(
    heap: &mut Heap,
    walked: Walked,
    lists: &Lists<'_>,
    (arena, state): (u32, HeapState),
    resident: &Resident,
) {
    let Walked { part, used, free, top, chunks, mut bits, stop, .. } = walked;
    let pages = part.range.start & !(PAGE - 1)..part.range.end;
    let stopped_at = stop.map(|stop| match stop {
        Stop::Absent(at) | Stop::Foreign(at) | Stop::Broken(at) => at,
    });
    let mut added = HeapPart {
        allocator: Allocator::Glibc,
        range: part.range.clone(),
        arena,
        state,
        stopped_at,
        resident: resident.bytes(pages.clone()),
        sums: HeapSums::default(),
    };
    if state == HeapState::Inconsistent {
        heap.parts.push(added);
        return;
    }
    let sum = |ranges: &[Range<u64>]| ranges.iter().map(|r| r.end - r.start).sum::<u64>();
    let (fastbin, thread_cache) = (sum(lists.fast), sum(lists.cached));
    lists.fast.iter().for_each(|range| bits.mark(range));
    let runs = bits.runs();
    let mut trim: Vec<Range<u64>> = runs
        .iter()
        .filter(|run| part.top != Some(run.end))
        .filter_map(|run| {
            let start = (run.start + HEADER).next_multiple_of(PAGE);
            let end = run.end & !(PAGE - 1);
            (run.end - run.start >= PAGE - 1 + HEADER && start < end).then_some(start..end)
        })
        .collect();
    if let (Some(top_at), true) = (part.top, part.trims) {
        let merged = runs.last().filter(|run| run.end == top_at);
        let start = merged.map_or(top_at, |run| run.start);
        let area = (part.range.end - start).saturating_sub(LEAST_TOP + 1);
        trim.push(part.range.end - (area & !(PAGE - 1))..part.range.end);
    }
    let trim: Vec<Range<u64>> =
        trim.into_iter().flat_map(|range| resident.within(range).collect::<Vec<_>>()).collect();
    lists.cached.iter().for_each(|range| bits.mark(range));
    let mut sums = HeapSums {
        live: used.saturating_sub(fastbin).saturating_sub(thread_cache),
        thread_cache,
        fastbin,
        free,
        top,
        chunks,
        whole_free_resident: sum(&trim),
        ..HeapSums::default()
    };
    let mut returned = trim.iter().peekable();
    for run in resident.within(pages) {
        for page in (run.start..run.end).step_by(PAGE as usize) {
            while returned.peek().is_some_and(|range| range.end <= page) {
                returned.next();
            }
            let whole = returned.peek().is_some_and(|range| range.contains(&page));
            let in_top = part
                .top
                .map_or(0, |at| (page + PAGE).min(part.range.end).saturating_sub(page.max(at)));
            let free = if whole { PAGE } else { (bits.in_page(page) + in_top).min(PAGE) };
            if free == 0 {
                continue;
            }
            if !whole {
                sums.partly_free_resident += PAGE;
                sums.free_within += free;
            }
            let run = FreeRun { range: page..page + PAGE, free: free as u32 };
            match heap.free.last_mut() {
                Some(last) if last.range.end == page && last.free == run.free => {
                    last.range.end = run.range.end;
                }
                _ => heap.free.push(run),
            }
        }
    }
    heap.trim.extend(trim);
    added.sums = sums;
    heap.parts.push(added);
}
