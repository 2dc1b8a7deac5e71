//! The walk over the chunks of a part, from the first to top.
//!
//! Comes in: a part and its memory. Goes out: [`Walked`]: sums, free chunks with their links, chunks
//! in use that may be in a list, thread caches. A chunk is free when the next one says so
//! (`PREV_INUSE` is clear) and knows its size (`prev_size`); glibc `malloc/malloc.c`, "chunks".

use super::arena::{Arena, Part, Places};
use super::bits::{Bits, GRAIN};
use super::window::{Window, word};

/// The lowest bits of a chunk's size are flags.
const FLAGS: u64 = 7;
const PREV_INUSE: u64 = 1;
const IS_MAPPED: u64 = 2;

/// The smallest chunk; the marks at the end of a heap that malloc left are smaller.
const LEAST: u64 = 32;
const FENCE: u64 = 16;

/// Chunks in thread caches and fastbins are not larger.
const CACHED_MOST: u64 = 0x410;

/// Free chunks that are kept for the check of the bins.
const MOST_FREE: usize = 16 << 20;

/// How a walk ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The page of a header is not resident, or time or room were over.
    Absent(u64),
    /// Behind it is memory that somebody else took from the system.
    Foreign(u64),
    /// A header is impossible.
    Broken(u64),
}

/// What was found in a part.
#[derive(Debug)]
pub struct Walked {
    /// The part.
    pub part: Part,
    /// Bytes of chunks in use, lists of freed ones included; of free ones; of top.
    pub used: u64,
    /// Bytes of free chunks.
    pub free: u64,
    /// Bytes of top.
    pub top: u64,
    /// Chunks without top.
    pub chunks: u64,
    /// Free chunks with their forward links, in the order of their addresses.
    pub free_chunks: Vec<(u64, u64)>,
    /// Which bytes are free.
    pub bits: Bits,
    /// Chunks in use that may be linked, with what stands where the link would be.
    pub linked: Linked,
    /// What threads keep: for each size, how many, and the first.
    pub caches: Vec<Cache>,
    /// Free chunks of which the next one knows another size.
    pub odd: u64,
    /// Where and how it ended early.
    pub stop: Option<Stop>,
}

/// Chunks that may be in a list: address and size in one word, and the stored link.
#[derive(Debug, Default)]
pub struct Linked(Vec<(u64, u64)>);

impl Linked {
    fn push(&mut self, at: u64, size: u64, link: u64) {
        self.0.push((((at / GRAIN) << 8) | (size / GRAIN), link));
    }

    /// The size and the stored link of the chunk at an address.
    pub fn get(&self, at: u64) -> Option<(u64, u64)> {
        let place = self.0.partition_point(|(key, _)| key >> 8 < at / GRAIN);
        let (key, link) = self.0.get(place)?;
        (key >> 8 == at / GRAIN && at.is_multiple_of(GRAIN)).then_some((key % 256 * GRAIN, *link))
    }
}

/// One thread's cache: number of chunks and first memory for each size from 32 on.
#[derive(Debug)]
pub struct Cache(pub Vec<(u64, u64)>);

/// A chunk of which the next one will say whether it is in use.
struct Pending {
    at: u64,
    size: u64,
    link: Option<u64>,
    cache: Option<Cache>,
}

/// Walks a part.
pub fn walk(part: &Part, arena: &Arena, places: &Places, window: Window<'_>) -> Walked {
    let walked = Walked {
        part: part.clone(),
        used: 0,
        free: 0,
        top: 0,
        chunks: 0,
        free_chunks: Vec::new(),
        bits: Bits::default(),
        linked: Linked::default(),
        caches: Vec::new(),
        odd: 0,
        stop: None,
    };
    let mut walk = Walk { walked, places, window, plain_links: arena.plain_links };
    walk.walked.stop = walk.all();
    walk.walked
}

struct Walk<'a, 'w> {
    walked: Walked,
    places: &'a Places,
    window: Window<'w>,
    plain_links: bool,
}

impl Walk<'_, '_> {
    fn all(&mut self) -> Option<Stop> {
        let part = self.walked.part.clone();
        let mut at = part.range.start;
        let mut pending: Option<Pending> = None;
        loop {
            let Some(head) = self.window.get(at, 16) else { return Some(Stop::Absent(at)) };
            let (before, head) = (word(head, 0)?, word(head, 8)?);
            let size = head & !FLAGS;
            let is_top = part.top == Some(at);
            let fence = part.top.is_none() || part.is_main;
            if let Some(pending) = pending.take() {
                self.decide(pending, head & PREV_INUSE != 0, before);
            }
            if is_top {
                self.walked.top = size;
                let fits = size >= FENCE && at.checked_add(size) == Some(part.range.end);
                // The top of a thread's heap ends where the heap does.
                return (!fits).then_some(Stop::Broken(at));
            }
            // The chunk before the mark may be free, and the mark behind it never is.
            if fence && (size == FENCE || (size == 0 && head & PREV_INUSE != 0)) {
                return self.fence(at, size);
            }
            let end = at.saturating_add(size);
            let limit = part.top.unwrap_or(part.range.end);
            if size < LEAST || !size.is_multiple_of(GRAIN) || end > limit || head & IS_MAPPED != 0 {
                // Whoever took memory from the system before malloc left no chunks there.
                let first = at == part.range.start;
                return Some(if first { Stop::Foreign(at) } else { Stop::Broken(at) });
            }
            if self.walked.free_chunks.len() > MOST_FREE {
                return Some(Stop::Absent(at));
            }
            let link = self.window.word(at + 16);
            let cache = self.cache(at, size);
            pending = Some(Pending { at, size, link, cache });
            at = end;
        }
    }

    /// The marks behind the last chunk of a heap that is full, or where the program break was moved by
    /// somebody else.
    fn fence(&mut self, at: u64, size: u64) -> Option<Stop> {
        let (part, top) = (self.walked.part.range.clone(), self.walked.part.top);
        if top.is_some() {
            return Some(Stop::Foreign(at));
        }
        self.walked.used += part.end.saturating_sub(at).min(2 * FENCE);
        (at + size + FENCE < part.end).then_some(Stop::Broken(at))
    }

    fn decide(&mut self, chunk: Pending, in_use: bool, size_before: u64) {
        let Pending { at, size, link, cache } = chunk;
        let walked = &mut self.walked;
        walked.chunks += 1;
        if !in_use {
            walked.free += size;
            walked.odd += u64::from(size_before != size);
            walked.bits.mark(&(at..at + size));
            walked.free_chunks.push((at, link.unwrap_or(0)));
            return;
        }
        walked.used += size;
        walked.caches.extend(cache);
        let Some(link) = link.filter(|_| size <= CACHED_MOST) else { return };
        let next = if self.plain_links { link } else { link ^ ((at + 16) >> 12) };
        // What is at the end of a list has no next one.
        if next == 0 || self.places.has(next) {
            walked.linked.push(at, size, link);
        }
    }

    /// The cache of a thread, if a chunk looks like one: numbers and lists agree.
    fn cache(&mut self, at: u64, size: u64) -> Option<Cache> {
        let (bins, width) = match size {
            0x250 => (64, 1),
            0x290 => (64, 2),
            0x300 => (76, 2),
            _ => return None,
        };
        let length = bins * width + bins * 8;
        let places = self.places;
        let bytes = self.window.get(at + 16, length as u64)?;
        let mut numbers = Vec::with_capacity(bins);
        for bin in 0..bins {
            let low = u64::from(*bytes.get(bin * width)?);
            let high = if width == 2 { u64::from(*bytes.get(bin * 2 + 1)?) } else { 0 };
            numbers.push((low | (high << 8), word(bytes, bins * width + bin * 8)?));
        }
        if bins == 76 {
            // Since 2.42 what is counted is the room that is left.
            let room = numbers.iter().find(|(_, first)| *first == 0).map(|(room, _)| *room)?;
            for (number, _) in &mut numbers {
                *number = room.checked_sub(*number)?;
            }
        }
        let agree = |(number, first): &(u64, u64)| match first {
            0 => *number == 0,
            first => places.has(*first),
        };
        let any = numbers.iter().any(|(_, first)| *first != 0);
        (any && numbers.iter().all(agree)).then_some(Cache(numbers))
    }
}
