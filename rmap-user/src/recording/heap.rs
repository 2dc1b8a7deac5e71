//! What an allocator holds, as bytes.
//!
//! Comes in: a [`Heap`]. Goes out: bytes, and the same from them.

use std::ops::Range;

use super::varint::{Bad, Reader, put};
use crate::trace::{Allocator, FreeRun, Heap, HeapPart, HeapState, HeapSums};

/// Writes a heap.
pub(super) fn put_heap(out: &mut Vec<u8>, heap: &Heap) {
    for number in [heap.time_ns, heap.pid.into(), heap.walk_ns, heap.parts.len() as u64] {
        put(out, number);
    }
    for part in &heap.parts {
        out.push(place(&Allocator::ALL, part.allocator));
        out.push(place(&HeapState::ALL, part.state));
        put_range(out, &part.range);
        put(out, part.arena.into());
        // No heap is at 0.
        put(out, part.stopped_at.unwrap_or(0));
        put(out, part.resident);
        numbers(part.sums).into_iter().for_each(|number| put(out, number));
    }
    put(out, heap.free.len() as u64);
    let mut last = 0;
    for run in &heap.free {
        put(out, run.range.start.wrapping_sub(last));
        put(out, run.range.end.wrapping_sub(run.range.start));
        put(out, run.free.into());
        last = run.range.end;
    }
    put(out, heap.trim.len() as u64);
    heap.trim.iter().for_each(|range| put_range(out, range));
}

/// Reads a heap.
pub(super) fn heap(from: &mut Reader<'_>) -> Result<Heap, Bad> {
    let (time_ns, pid, walk_ns) = (from.number()?, from.small()?, from.number()?);
    let mut heap = Heap { time_ns, pid, walk_ns, ..Heap::default() };
    for _ in 0..from.count()? {
        let allocator = Allocator::ALL.get(usize::from(from.byte()?)).copied();
        let state = HeapState::ALL.get(usize::from(from.byte()?)).copied();
        let (Some(allocator), Some(state)) = (allocator, state) else {
            return Err(Bad("a heap of no known kind"));
        };
        let (range, arena) = (range(from)?, from.small()?);
        let stopped_at = Some(from.number()?).filter(|at| *at != 0);
        let resident = size(from)?;
        let mut sums = [0; 9];
        for sum in &mut sums {
            *sum = size(from)?;
        }
        let sums = sums_of(sums);
        heap.parts.push(HeapPart { allocator, range, arena, state, stopped_at, resident, sums });
    }
    let mut last = 0_u64;
    for _ in 0..from.count()? {
        let start = last.checked_add(from.number()?);
        let size = from.number()?;
        let end = start.and_then(|start| start.checked_add(size));
        let (Some(start), Some(end)) = (start, end) else { return Err(BEYOND) };
        let free = from.small()?;
        if size == 0 || (start | end) % 4096 != 0 || free > 4096 {
            return Err(Bad("free pages that are none"));
        }
        heap.free.push(FreeRun { range: start..end, free });
        last = end;
    }
    for _ in 0..from.count()? {
        heap.trim.push(range(from)?);
    }
    Ok(heap)
}

const BEYOND: Bad = Bad("a heap beyond all addresses");

fn place<T: PartialEq>(all: &[T], one: T) -> u8 {
    all.iter().position(|known| *known == one).unwrap_or(0) as u8
}

fn put_range(out: &mut Vec<u8>, range: &Range<u64>) {
    put(out, range.start);
    put(out, range.end.saturating_sub(range.start));
}

fn range(from: &mut Reader<'_>) -> Result<Range<u64>, Bad> {
    let start = from.number()?;
    let end = start.checked_add(from.number()?).ok_or(BEYOND)?;
    Ok(start..end)
}

/// No sum is larger than an address space, so that adding them up stays below all bounds.
fn size(from: &mut Reader<'_>) -> Result<u64, Bad> {
    from.number().and_then(|size| if size >> 48 == 0 { Ok(size) } else { Err(BEYOND) })
}

fn numbers(sums: HeapSums) -> [u64; 9] {
    let HeapSums { live, thread_cache, fastbin, free, top, .. } = sums;
    let HeapSums { whole_free_resident, partly_free_resident, free_within, chunks, .. } = sums;
    let lists = [live, thread_cache, fastbin, free, top];
    let pages = [whole_free_resident, partly_free_resident, free_within, chunks];
    let mut all = [0; 9];
    all.iter_mut().zip(lists.into_iter().chain(pages)).for_each(|(to, from)| *to = from);
    all
}

const fn sums_of(numbers: [u64; 9]) -> HeapSums {
    let [live, thread_cache, fastbin, free, top, whole, partly, free_within, chunks] = numbers;
    HeapSums {
        live,
        thread_cache,
        fastbin,
        free,
        top,
        whole_free_resident: whole,
        partly_free_resident: partly,
        free_within,
        chunks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_is_read_as_it_was_written_and_nothing_cut_is_taken() {
        let part = |start: u64, state, stopped_at| HeapPart {
            allocator: Allocator::Glibc,
            range: start..start + 8192,
            arena: 3,
            state,
            stopped_at,
            resident: 4096,
            sums: sums_of([1, 2, 3, 4, 5, 6, 7, 8, 9]),
        };
        let written = Heap {
            time_ns: 5,
            pid: 7,
            walk_ns: 9,
            parts: vec![
                part(4096, HeapState::Consistent, None),
                part(1 << 40, HeapState::Inconsistent, Some(1 << 41)),
            ],
            free: vec![
                FreeRun { range: 4096..8192, free: 16 },
                FreeRun { range: 1 << 40..(1 << 40) + 8192, free: 4096 },
            ],
            trim: Vec::from_iter(Some(1 << 40..(1 << 40) + 8192)),
        };
        let mut out = Vec::new();
        put_heap(&mut out, &written);
        assert_eq!(heap(&mut Reader(&out)).ok(), Some(written));
        for cut in 0..out.len() {
            assert!(heap(&mut Reader(&out[..cut])).is_err(), "cut at {cut}");
        }
    }
}
