//! Where glibc's main arena is, with or without symbols.
//!
//! Comes in: writable private memory of files. Goes out: where an arena's bins begin. An empty bin
//! points at itself: it is a pair of words that both hold the address 16 bytes before them (glibc
//! `malloc/malloc.c`, `bin_at`). Of the 127 pairs in a row at least eight are empty in practice.

use super::Memory;
use super::resident::Resident;
use super::window::word;
use crate::trace::Segment;

/// Bins of an arena (`NBINS` − 1).
pub const BINS: u64 = 127;

/// Empty bins that are enough to know them.
const ENOUGH: usize = 8;

/// Of a larger segment the rest is not looked at.
const MOST: u64 = 64 << 20;

/// Runs of pairs that point at themselves: the first and the last of each, 127 pairs apart at most.
pub fn find(
    segment: &Segment,
    resident: &Resident,
    memory: &mut dyn Memory,
    late: &mut dyn FnMut() -> bool,
) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64, usize)> = Vec::new();
    let mut before = [0_u64; 2];
    let end = segment.end.min(segment.start.saturating_add(MOST));
    for range in resident.within(segment.start..end) {
        if late() {
            break;
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        let got = memory.read(range.start, &mut bytes);
        bytes.truncate(got);
        for (place, _) in bytes.chunks_exact(8).enumerate() {
            let at = range.start + place as u64 * 8;
            let value = word(&bytes, place * 8).unwrap_or(0);
            // The word before stands at `pair`, and both hold `pair - 16`.
            let pair = at.wrapping_sub(8);
            if value == pair.wrapping_sub(16) && before == [pair, value] {
                let same = found.iter_mut().rev().take(4).find(|(first, ..)| {
                    pair - *first < BINS * 16 && (pair - *first).is_multiple_of(16)
                });
                match same {
                    Some((_, last, many)) => (*last, *many) = (pair, *many + 1),
                    None => found.push((pair, pair, 1)),
                }
            }
            before = [at, value];
        }
    }
    let enough = found.into_iter().filter(|(.., many)| *many >= ENOUGH);
    enough.map(|(first, last, _)| (first, last)).collect()
}
