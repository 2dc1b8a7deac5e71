//! The lists of free chunks, held against the chunks.
//!
//! Comes in: arenas and what was walked of them. Goes out: whether both agree, and which chunks that
//! look used are in a fastbin or a thread's cache. All links were kept by the walk, so the process may
//! run again while they are followed.

use std::collections::HashMap;
use std::ops::Range;

use super::arena::Arena;
use super::chunks::{Stop, Walked};
use crate::trace::HeapState;

/// How many chunks of lists that do not agree make a state.
fn by_difference(difference: u64, threads: u64) -> HeapState {
    match difference {
        0 => HeapState::Consistent,
        some if some <= threads => HeapState::InFlight,
        _ => HeapState::Changing,
    }
}

/// Whether the bins of an arena name the free chunks that were walked, each once.
pub fn state(arena: &Arena, walked: &[Walked], threads: u64) -> HeapState {
    if walked.iter().any(|part| matches!(part.stop, Some(Stop::Broken(_)))) {
        return HeapState::Inconsistent;
    }
    if is_partly(arena, walked) {
        return HeapState::PartlyWalked;
    }
    let total: u64 = walked.iter().map(|part| part.free_chunks.len() as u64).sum();
    let odd: u64 = walked.iter().map(|part| part.odd).sum();
    let parts = Index::of(walked.iter().enumerate().map(|(part, of)| ((0, part), of)));
    let (mut linked, mut unknown) = (0, 0);
    for (bin, first) in arena.bins.iter().enumerate() {
        let head = arena.bins_at + bin as u64 * 16 - 16;
        let mut at = *first;
        while at != head {
            let Some(next) = link_of(&parts, walked, at) else {
                unknown += 1;
                break;
            };
            linked += 1;
            if linked > total {
                return HeapState::Changing;
            }
            at = next;
        }
    }
    by_difference((total - linked).max(unknown) + odd, threads)
}

fn is_partly(arena: &Arena, walked: &[Walked]) -> bool {
    arena.partly || walked.iter().any(|part| part.stop.is_some())
}

/// The forward link of a free chunk.
fn link_of(parts: &Index, walked: &[Walked], at: u64) -> Option<u64> {
    let part = walked.get(parts.find(at)?.1)?;
    let place = part.free_chunks.partition_point(|(chunk, _)| *chunk < at);
    let (chunk, link) = part.free_chunks.get(place)?;
    (*chunk == at).then_some(*link)
}

/// Parts by their addresses.
struct Index(Vec<(Range<u64>, (usize, usize))>);

impl Index {
    fn of<'a>(parts: impl Iterator<Item = ((usize, usize), &'a Walked)>) -> Self {
        let mut all: Vec<_> =
            parts.map(|(place, walked)| (walked.part.range.clone(), place)).collect();
        all.sort_by_key(|(range, _)| range.start);
        Self(all)
    }

    /// The arena and the part that an address is in.
    fn find(&self, at: u64) -> Option<(usize, usize)> {
        let place = self.0.partition_point(|(range, _)| range.end <= at);
        self.0.get(place).filter(|(range, _)| range.contains(&at)).map(|(_, place)| *place)
    }
}

/// Freed chunks that look used.
pub struct Caches<'a> {
    arenas: &'a [(Arena, Vec<Walked>)],
    parts: Index,
    /// By arena and part.
    fast: HashMap<(usize, usize), Vec<Range<u64>>>,
    cached: HashMap<(usize, usize), Vec<Range<u64>>>,
    /// Links that lead to nothing known, and chunks that are in two lists.
    odd: u64,
    partly: bool,
}

/// What [`Caches`] found.
#[derive(Debug, Default)]
pub struct Cached {
    fast: HashMap<(usize, usize), Vec<Range<u64>>>,
    cached: HashMap<(usize, usize), Vec<Range<u64>>>,
    odd: u64,
    partly: bool,
}

impl<'a> Caches<'a> {
    /// Follows all lists.
    pub fn of(arenas: &'a [(Arena, Vec<Walked>)]) -> Cached {
        let all = arenas.iter().enumerate().flat_map(|(arena, (_, walked))| {
            walked.iter().enumerate().map(move |(part, walked)| ((arena, part), walked))
        });
        let mut caches = Self {
            arenas,
            parts: Index::of(all),
            fast: HashMap::new(),
            cached: HashMap::new(),
            odd: 0,
            partly: arenas.iter().any(|(arena, walked)| is_partly(arena, walked)),
        };
        for (number, (arena, walked)) in arenas.iter().enumerate() {
            for (bin, first) in arena.fast.iter().enumerate() {
                caches.fastbin(number, bin as u64 * 16 + 32, *first);
            }
            let bins = walked.iter().flat_map(|part| &part.caches);
            for cache in bins {
                for (bin, (many, first)) in cache.0.iter().enumerate() {
                    caches.thread_cache(bin as u64 * 16 + 32, *many, *first);
                }
            }
        }
        let Self { mut fast, mut cached, mut odd, partly, .. } = caches;
        for ranges in fast.values_mut().chain(cached.values_mut()) {
            ranges.sort_by_key(|range| range.start);
            let before = ranges.len();
            ranges.dedup();
            odd += (before - ranges.len()) as u64;
        }
        Cached { fast, cached, odd, partly }
    }

    /// The part that a chunk is in, its size and the next link, as stored.
    fn chunk(&self, at: u64) -> Option<((usize, usize), u64, u64)> {
        let place = self.parts.find(at)?;
        let (_, walked) = self.arenas.get(place.0)?;
        let (size, link) = walked.get(place.1)?.linked.get(at)?;
        Some((place, size, link))
    }

    fn reveal(&self, place: usize, at: u64, link: u64) -> u64 {
        let plain = self.arenas.get(place).is_some_and(|(arena, _)| arena.plain_links);
        if plain { link } else { link ^ ((at + 16) >> 12) }
    }

    /// A fastbin: its links name chunks, all of its own arena.
    fn fastbin(&mut self, number: usize, size: u64, first: u64) {
        let mut at = first;
        let mut many = 0_u64;
        while at != 0 {
            let found =
                self.chunk(at).filter(|((arena, _), is, _)| *arena == number && *is == size);
            let Some((place, _, link)) = found.filter(|_| many < 1 << 32) else {
                // What is no list at all, as in a glibc without fastbins, holds nothing.
                self.odd += u64::from(many > 0 || self.is_chunk(at));
                return;
            };
            self.fast.entry(place).or_default().push(at..at + size);
            many += 1;
            at = self.reveal(place.0, at, link);
        }
    }

    fn is_chunk(&self, at: u64) -> bool {
        at.is_multiple_of(16) && self.parts.find(at).is_some()
    }

    /// A thread's list: its links name memory, of any arena.
    fn thread_cache(&mut self, size: u64, many: u64, first: u64) {
        let mut memory = first;
        let mut found = 0;
        while memory != 0 && found <= many {
            let at = memory.wrapping_sub(16);
            let Some((place, _, link)) = self.chunk(at).filter(|(_, is, _)| *is == size) else {
                break;
            };
            self.cached.entry(place).or_default().push(at..at + size);
            found += 1;
            memory = self.reveal(place.0, at, link);
        }
        self.odd += many.abs_diff(found);
    }
}

impl Cached {
    /// What the lists say of the state.
    pub fn state(&self, threads: u64) -> HeapState {
        // Chunks of memory that was not walked are not known.
        let state = by_difference(self.odd, threads);
        if self.partly { state.min(HeapState::PartlyWalked) } else { state }
    }

    /// The chunks in fastbins and in threads' caches of a part.
    pub fn of_part(&self, arena: usize, part: usize) -> (&[Range<u64>], &[Range<u64>]) {
        (
            self.fast.get(&(arena, part)).map_or(&[], Vec::as_slice),
            self.cached.get(&(arena, part)).map_or(&[], Vec::as_slice),
        )
    }
}
