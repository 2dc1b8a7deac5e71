//! Memory read ahead.
//!
//! Comes in: addresses that mostly rise. Goes out: the bytes there. Where chunks are large only their
//! headers' pages are read; where they are small, more and more at once.

use super::Memory;

/// The least that is read at once, and the most.
const LEAST: u64 = 4096;
const MOST: u64 = 256 << 10;

/// A piece of a process's memory.
pub struct Window<'a> {
    memory: &'a mut dyn Memory,
    late: &'a mut dyn FnMut() -> bool,
    /// Nothing is read from here on.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    ahead: u64,
    /// The time was over before everything was read.
    pub is_late: bool,
}

impl<'a> Window<'a> {
    /// Over memory up to `end`.
    pub fn new(memory: &'a mut dyn Memory, end: u64, late: &'a mut dyn FnMut() -> bool) -> Self {
        Self { memory, late, end, start: 0, bytes: Vec::new(), ahead: LEAST, is_late: false }
    }

    /// `length` bytes at an address; `None` where not all of them are there.
    pub fn get(&mut self, at: u64, length: u64) -> Option<&[u8]> {
        if self.place(at, length).is_none() {
            self.fill(at, length);
        }
        let place = self.place(at, length)?;
        self.bytes.get(place)
    }

    /// A little-endian word.
    pub fn word(&mut self, at: u64) -> Option<u64> {
        self.get(at, 8).and_then(|bytes| word(bytes, 0))
    }

    fn place(&self, at: u64, length: u64) -> Option<std::ops::Range<usize>> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(usize::try_from(length).ok()?)?;
        (to <= self.bytes.len()).then_some(from..to)
    }

    fn fill(&mut self, at: u64, length: u64) {
        let behind = self.start + self.bytes.len() as u64;
        let goes_on = at >= self.start && at < behind.saturating_add(LEAST);
        self.ahead = if goes_on { (self.ahead * 2).min(MOST) } else { LEAST };
        self.start = at;
        self.bytes.clear();
        if self.is_late || (self.late)() {
            self.is_late = true;
            return;
        }
        // Up to the end of a page, so that the next read begins with one.
        let ahead = self.ahead.max(length);
        let to = at.saturating_add(ahead).next_multiple_of(LEAST).min(self.end.max(at + length));
        let want = usize::try_from(to.saturating_sub(at)).unwrap_or(0);
        self.bytes.resize(want, 0);
        let got = self.memory.read(at, &mut self.bytes).min(want);
        self.bytes.truncate(got);
    }
}

/// The word that begins at an offset.
pub fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
