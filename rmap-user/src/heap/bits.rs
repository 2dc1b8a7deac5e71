//! A bit for each 16 bytes of a part: whether they are free.
//!
//! Comes in: free chunks. Goes out: free bytes by page, and runs of free bytes: where two free chunks
//! touch, one run, as malloc itself merges them before it trims. Large chunks are kept as they are, so
//! that memory which nobody has touched takes no room here.

use std::collections::BTreeMap;
use std::ops::Range;

/// malloc's alignment on 64-bit machines.
pub const GRAIN: u64 = 16;

/// Bytes that one word, and one block of words, stand for.
const SPAN: u64 = 64 * GRAIN;
const BLOCK: u64 = 1 << 20;
const WORDS: usize = (BLOCK / SPAN) as usize;

const PAGE: u64 = 4096;

/// Which grains are marked.
#[derive(Clone, Debug, Default)]
pub struct Bits {
    blocks: BTreeMap<u64, Box<[u64; WORDS]>>,
    /// Ranges of a block or more, in the order in which they came.
    large: Vec<Range<u64>>,
}

impl Bits {
    /// Marks a range, which begins and ends at grains.
    pub fn mark(&mut self, range: &Range<u64>) {
        if range.end.saturating_sub(range.start) >= BLOCK {
            self.large.push(range.clone());
            return;
        }
        let (mut from, to) = (range.start / GRAIN, range.end / GRAIN);
        while from < to {
            let (at, bit) = (from * GRAIN, from % 64);
            let many = (64 - bit).min(to - from);
            let mask = if many == 64 { u64::MAX } else { ((1 << many) - 1) << bit };
            let block = self.blocks.entry(at / BLOCK).or_insert_with(|| Box::new([0; WORDS]));
            if let Some(word) = block.get_mut((at % BLOCK / SPAN) as usize) {
                *word |= mask;
            }
            from += many;
        }
    }

    /// The marked bytes of the page at `page`.
    pub fn in_page(&self, page: u64) -> u64 {
        let words = self.blocks.get(&(page / BLOCK)).map_or(0, |block| {
            let first = (page % BLOCK / SPAN) as usize;
            let words = block.get(first..first + (PAGE / SPAN) as usize).unwrap_or_default();
            words.iter().map(|word| u64::from(word.count_ones()) * GRAIN).sum()
        });
        let place = self.large.partition_point(|range| range.end <= page);
        // A page has the end of one and the begin of another at most.
        let large = self
            .large
            .iter()
            .skip(place)
            .take(2)
            .map(|range| range.end.min(page + PAGE).saturating_sub(range.start.max(page)));
        words + large.sum::<u64>()
    }

    /// The runs of marked bytes, in the order of their addresses.
    pub fn runs(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = self.large.clone();
        for (block, words) in &self.blocks {
            for (place, word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
                let base = block * BLOCK + place as u64 * SPAN;
                let (mut rest, mut bit) = (*word, 0);
                while rest != 0 {
                    let skip = rest.trailing_zeros();
                    rest >>= skip;
                    bit += skip;
                    let many = rest.trailing_ones();
                    let start = base + u64::from(bit) * GRAIN;
                    runs.push(start..start + u64::from(many) * GRAIN);
                    bit += many;
                    rest = rest.checked_shr(many).unwrap_or(0);
                }
            }
        }
        runs.sort_by_key(|run| run.start);
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(runs.len());
        for run in runs {
            match joined.last_mut() {
                Some(last) if last.end >= run.start => last.end = last.end.max(run.end),
                _ => joined.push(run),
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_ranges_come_back_merged_and_by_page() {
        let mut bits = Bits::default();
        bits.mark(&(0x1010..0x1030));
        bits.mark(&(0x1030..0x4000));
        bits.mark(&(0x4010..0x4020));
        assert_eq!(bits.runs(), [0x1010..0x4000, 0x4010..0x4020]);
        assert_eq!(bits.in_page(0x1000), 4096 - 16);
        assert_eq!(bits.in_page(0x2000), 4096);
        assert_eq!(bits.in_page(0x4000), 16);
        assert_eq!((bits.in_page(0x5000), bits.in_page(0)), (0, 0));
    }

    #[test]
    fn large_ranges_join_small_ones_and_take_no_room() {
        let mut bits = Bits::default();
        let far = 1 << 46;
        bits.mark(&(0x1000..0x1800));
        bits.mark(&(0x1800..far));
        bits.mark(&(far..far + 0x20));
        assert_eq!(bits.runs().as_slice(), std::slice::from_ref(&(0x1000..far + 0x20)));
        assert_eq!((bits.in_page(0x1000), bits.in_page(0x2000)), (4096, 4096));
        assert_eq!(bits.in_page(far), 0x20);
        assert_eq!(bits.blocks.len(), 2);
    }
}
