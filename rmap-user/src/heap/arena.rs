//! glibc's arenas and the memory that belongs to each.
//!
//! Comes in: a snapshot and memory. Goes out: [`Arena`]s with their [`Part`]s. Offsets are those of
//! `struct malloc_state` and `heap_info` (glibc `malloc/malloc.c`, `malloc/arena.c`); the fields are
//! found from the bins, whose neighbours are the same in all versions since 2.23: fastbins and top in
//! front, the binmap, `next` and `system_mem` behind.

use std::ops::Range;

use super::Memory;
use super::anchor::{self, BINS};
use super::resident::Resident;
use super::window::word;
use crate::trace::{Segment, Snapshot};

/// How `struct malloc_state` is laid out: since 2.27, before, and since 2.43.
const STATES: [State; 3] = [
    State { bins: 112, size: 2200, fast: 10 },
    State { bins: 104, size: 2192, fast: 10 },
    State { bins: 24, size: 2112, fast: 0 },
];
/// Size of `heap_info`: since 2.35, and before.
const HEAP_INFOS: [u64; 2] = [48, 32];
/// From the bins to `next` and `system_mem`.
const NEXT: usize = 2048;
const SYSTEM_MEM: usize = 2072;
/// A ring that has more arenas is none.
const MOST_ARENAS: usize = 4096;
/// Heaps of an arena, and bytes of one: more of it is none.
const MOST_PARTS: usize = 1 << 16;
const LARGEST_HEAP: u64 = 1 << 35;
/// `HEAP_MAX_SIZE` is 64 MiB; with huge pages (`glibc.malloc.hugetlb`) other powers of two.
const HEAP_SIZES: [u32; 16] = [26, 20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 31, 32, 33, 34, 35];
/// `NONCONTIGUOUS_BIT`: the main arena is not all in one piece.
const NONCONTIGUOUS: u32 = 2;

/// A layout.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Bytes in front of the bins.
    bins: u64,
    /// All bytes.
    size: u64,
    /// Fastbins, which stand in front of top and the last remainder.
    fast: usize,
}

/// One arena.
#[derive(Clone, Debug)]
pub struct Arena {
    /// Where its bins begin.
    pub bins_at: u64,
    /// The first chunk of each fastbin, 0 if it is empty.
    pub fast: Vec<u64>,
    /// The first chunk of each bin, or the bin itself.
    pub bins: Vec<u64>,
    /// The links of fastbins and thread caches are as they are (before glibc 2.32).
    pub plain_links: bool,
    /// Memory of it is not among the parts.
    pub partly: bool,
    /// Its memory.
    pub parts: Vec<Part>,
}

/// One contiguous piece of an arena's memory.
#[derive(Clone, Debug)]
pub struct Part {
    /// From the first chunk to the end, top included.
    pub range: Range<u64>,
    /// Where the first chunk begins, and where top does, if it is here.
    pub top: Option<u64>,
    /// It is a part of the main arena.
    pub is_main: bool,
    /// Trimming gives its top back.
    pub trims: bool,
}

/// Where chunks can be.
#[derive(Clone, Debug)]
pub struct Places(Vec<Range<u64>>);

impl Places {
    /// All parts of some arenas.
    pub fn of(arenas: &[Arena]) -> Self {
        let parts = arenas.iter().flat_map(|arena| &arena.parts);
        let mut ranges: Vec<Range<u64>> = parts.map(|part| part.range.clone()).collect();
        ranges.sort_by_key(|range| range.start);
        Self(ranges)
    }

    /// Whether a chunk can be at an address, or its memory begin there.
    pub fn has(&self, at: u64) -> bool {
        let place = self.0.partition_point(|range| range.end <= at);
        at.is_multiple_of(16) && self.0.get(place).is_some_and(|range| range.contains(&at))
    }
}

/// Words of a piece of memory.
fn read(memory: &mut dyn Memory, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    (memory.read(at, &mut bytes) == length).then_some(bytes)
}

fn read_word(memory: &mut dyn Memory, at: u64) -> Option<u64> {
    read(memory, at, 8).and_then(|bytes| word(&bytes, 0))
}

/// The arenas of every glibc in the process, the main one of each first.
pub fn find(
    snapshot: &Snapshot,
    resident: &Resident,
    memory: &mut dyn Memory,
    late: &mut dyn FnMut() -> bool,
) -> Vec<Arena> {
    let holds = |segment: &&Segment| {
        segment.is_private() && segment.is_writable() && segment.has_file() && segment.rss > 0
    };
    let mut arenas: Vec<Arena> = Vec::new();
    for segment in snapshot.segments.iter().filter(holds) {
        for (first, last) in anchor::find(segment, resident, memory, late) {
            if arenas.iter().any(|known| (known.bins_at..known.bins_at + 2032).contains(&first)) {
                continue;
            }
            let ring = ring(first, last, memory, late);
            let plain_links = has_plain_links(&segment.name);
            for (number, (base, state)) in ring.into_iter().enumerate() {
                let arena = if number == 0 {
                    main(base, state, snapshot, memory)
                } else {
                    other(base, state, memory)
                };
                arenas.extend(arena.map(|arena| Arena { plain_links, ..arena }));
            }
        }
    }
    arenas
}

/// Libraries of glibc before 2.34 have the version in their file's name.
fn has_plain_links(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    let version = file.strip_prefix("libc-2.").and_then(|rest| rest.split('.').next());
    version.and_then(|minor| minor.parse().ok()).is_some_and(|minor: u32| minor < 32)
}

/// The bases of the arenas of a ring, with how their structure is laid out. Where the bins begin is
/// known when the ring comes back to the arena that it began with.
fn ring(
    first: u64,
    last: u64,
    memory: &mut dyn Memory,
    late: &mut dyn FnMut() -> bool,
) -> Vec<(u64, State)> {
    let lowest = last.saturating_sub((BINS - 1) * 16);
    for bins in (lowest..=first).step_by(16) {
        for state in STATES {
            let Some(base) = bins.checked_sub(state.bins) else { continue };
            let mut ring = vec![(base, state)];
            let mut at = bins;
            while ring.len() <= MOST_ARENAS {
                if late() {
                    return Vec::new();
                }
                let Some(next) = read_word(memory, at + NEXT as u64) else { break };
                if next == base {
                    return ring;
                }
                let known = ring.iter().any(|(known, _)| *known == next);
                if known || next < 4096 || !next.is_multiple_of(8) || next >> 47 != 0 {
                    break;
                }
                ring.push((next, state));
                at = next + state.bins;
            }
        }
    }
    Vec::new()
}

/// What all arenas have: lists, top and the size that was taken from the system.
fn lists(base: u64, state: State, memory: &mut dyn Memory) -> Option<(Arena, u64, u64)> {
    let bins_at = base + state.bins;
    // Top and the last remainder stand between.
    let before = state.fast * 8 + 16;
    let bytes = read(memory, bins_at - before as u64, before + SYSTEM_MEM + 8)?;
    let at = |offset: usize| word(&bytes, offset);
    let mut fast = Vec::with_capacity(state.fast);
    for bin in 0..state.fast {
        fast.push(at(bin * 8)?);
    }
    let mut bins = Vec::with_capacity(BINS as usize);
    for bin in 0..BINS as usize {
        bins.push(at(before + bin * 16)?);
    }
    let (top, system) = (at(before - 16)?, at(before + SYSTEM_MEM)?);
    let arena = Arena { bins_at, fast, bins, plain_links: false, partly: false, parts: Vec::new() };
    Some((arena, top, system))
}

/// The main arena, whose memory lies below the program break.
fn main(base: u64, state: State, snapshot: &Snapshot, memory: &mut dyn Memory) -> Option<Arena> {
    let (mut arena, top, system) = lists(base, state, memory)?;
    if system == 0 {
        return None;
    }
    let flags = read_word(memory, base).map_or(0, |word| (word >> 32) as u32);
    let mut heap = snapshot.segments.iter().filter(|segment| segment.name == "[heap]");
    let Some(first) = heap.next() else { return Some(Arena { partly: true, ..arena }) };
    let mut range = first.start..first.end;
    for next in heap {
        if next.start == range.end {
            range.end = next.end;
        }
    }
    let size = read_word(memory, top.wrapping_add(8)).unwrap_or(0) & !7;
    let end = top.saturating_add(size);
    if !range.contains(&top) || end > range.end {
        return Some(Arena { partly: true, ..arena });
    }
    arena.partly = flags & NONCONTIGUOUS != 0 || end - range.start != system;
    let trims = flags & NONCONTIGUOUS == 0 && end == range.end;
    arena.parts = vec![Part { range: range.start..end, top: Some(top), is_main: true, trims }];
    Some(arena)
}

/// An arena of threads: a chain of heaps, the one with top first.
fn other(base: u64, state: State, memory: &mut dyn Memory) -> Option<Arena> {
    let (mut arena, top, system) = lists(base, state, memory)?;
    let own = HEAP_INFOS.into_iter().find(|size| {
        let heap = base.wrapping_sub(*size);
        heap.is_multiple_of(4096) && read_word(memory, heap) == Some(base)
    });
    let Some(info) = own else { return Some(Arena { partly: true, ..arena }) };
    let own = base - info;
    // Its memory begins 16 bytes behind the chunk, at a multiple of 16.
    let first = (base + state.size).next_multiple_of(16);
    let mut sum = 0_u64;
    let mut heap = heap_of(top, own, base, memory);
    while let Some(at) = heap {
        let Some(size) = read_word(memory, at + 16) else { break };
        if arena.parts.len() > MOST_PARTS || !(4096..=LARGEST_HEAP).contains(&size) || at >> 47 != 0
        {
            break;
        }
        sum = sum.saturating_add(size);
        let start = if at == own { first } else { at + info };
        let range = start..at + size;
        let top = range.contains(&top).then_some(top);
        arena.parts.push(Part { range, top, is_main: false, trims: false });
        if at == own {
            heap = None;
            continue;
        }
        let before = read_word(memory, at + 8);
        heap = before.filter(|before| *before != 0 && read_word(memory, *before) == Some(base));
    }
    arena.parts.reverse();
    let whole = arena.parts.first().is_some_and(|part| part.range.start == first);
    arena.partly = !whole || sum != system || !arena.parts.iter().any(|part| part.top.is_some());
    Some(arena)
}

/// The heap that top lies in.
fn heap_of(top: u64, own: u64, base: u64, memory: &mut dyn Memory) -> Option<u64> {
    let size = read_word(memory, own + 16)?;
    if (own..own.saturating_add(size)).contains(&top) {
        return Some(own);
    }
    HEAP_SIZES
        .into_iter()
        .map(|bits| top & !((1 << bits) - 1))
        .find(|heap| *heap != 0 && read_word(memory, *heap) == Some(base))
}
