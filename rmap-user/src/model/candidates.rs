//! Pages of which the number is known but not yet which they are.
//!
//! A fault on a file maps up to 15 neighbours as well (fault-around), the ones that are in the
//! page cache; `O_DIRECT` brings in pages of a buffer. How many is told by the counters; which
//! ones only a snapshot shows. Until then the claim is kept as a window.

use std::collections::BTreeMap;
use std::ops::Range;

use super::path::PathId;

/// A claim of some pages in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// End of the window.
    pub end: u64,
    /// Pages that it may still claim.
    pub remaining: u32,
    /// Who claims.
    pub path: PathId,
    /// The number is exact: pages beyond it are not its own.
    pub exact: bool,
}

/// Claims, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    // By start of the window, then by age.
    windows: BTreeMap<(u64, u32), Candidate>,
    next: u32,
    longest: u64,
}

impl Candidates {
    /// Adds a claim.
    pub fn add(&mut self, start: u64, candidate: Candidate) {
        let age = self.next;
        self.next = self.next.wrapping_add(1);
        self.put(start, age, candidate);
    }

    fn put(&mut self, start: u64, age: u32, candidate: Candidate) {
        self.longest = self.longest.max(candidate.end - start);
        self.windows.insert((start, age), candidate);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// One page that was claimed was replaced by another: the oldest claim over it has one less.
    pub fn consume(&mut self, page: u64) {
        let lowest = page.saturating_sub(self.longest);
        let oldest = self
            .windows
            .range_mut((lowest, 0)..=(page, u32::MAX))
            .filter(|(_, c)| c.end > page && c.remaining > 0)
            .min_by_key(|((_, age), _)| *age);
        if let Some((_, candidate)) = oldest {
            candidate.remaining -= 1;
        }
    }

    /// Takes a range out of all windows. Gives back the windows that lay in it wholly, by their
    /// start, in the order of age.
    pub fn cut(&mut self, range: Range<u64>) -> Vec<(u64, Candidate)> {
        if self.windows.is_empty() || range.is_empty() {
            return Vec::new();
        }
        let lowest = range.start.saturating_sub(self.longest);
        let hit: Vec<(u64, u32)> = self
            .windows
            .range((lowest, 0)..(range.end, 0))
            .filter(|(_, candidate)| candidate.end > range.start)
            .map(|(key, _)| *key)
            .collect();
        let mut whole = Vec::new();
        for (start, age) in hit {
            let Some(candidate) = self.windows.remove(&(start, age)) else { continue };
            if start >= range.start && candidate.end <= range.end {
                whole.push((age, start, candidate));
                continue;
            }
            // How many of its pages lay in the part that is cut is not known.
            let rest = Candidate { exact: false, ..candidate };
            if start < range.start {
                self.put(start, age, Candidate { end: range.start, ..rest });
            }
            if candidate.end > range.end {
                self.put(range.end, age, rest);
            }
        }
        whole.sort_unstable_by_key(|(age, _, _)| *age);
        whole.into_iter().map(|(_, start, candidate)| (start, candidate)).collect()
    }

    /// Shows every claim, the oldest first, and lets it be changed; those for which `keep` says
    /// no are dropped.
    pub fn settle(&mut self, mut keep: impl FnMut(u64, &mut Candidate) -> bool) {
        let mut order: Vec<(u32, u64)> =
            self.windows.keys().map(|(start, age)| (*age, *start)).collect();
        order.sort_unstable();
        for (age, start) in order {
            let key = (start, age);
            if self.windows.get_mut(&key).is_some_and(|candidate| !keep(start, candidate)) {
                self.windows.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cause, PathTable};

    fn candidate(end: u64, remaining: u32) -> Candidate {
        let path = PathTable::default().intern(None, Cause::FileRead);
        Candidate { end, remaining, path, exact: true }
    }

    #[test]
    fn cutting_clips_windows_and_gives_back_whole_ones() {
        let mut candidates = Candidates::default();
        candidates.add(0x10000, candidate(0x20000, 3));
        candidates.add(0x20000, candidate(0x30000, 4));
        let whole = candidates.cut(0x18000..0x30000);
        assert_eq!(whole, [(0x20000, candidate(0x30000, 4))]);
        let mut left = Vec::new();
        candidates.settle(|start, c| {
            left.push((start, *c));
            true
        });
        assert_eq!(left, [(0x10000, Candidate { exact: false, ..candidate(0x18000, 3) })]);
    }

    #[test]
    fn a_page_replaced_is_taken_from_the_oldest_claim() {
        let mut candidates = Candidates::default();
        candidates.add(0x10000, candidate(0x20000, 1));
        candidates.add(0x10000, candidate(0x20000, 2));
        candidates.consume(0x12000);
        candidates.consume(0x13000);
        let mut left = Vec::new();
        candidates.settle(|_, c| {
            left.push(c.remaining);
            false
        });
        assert_eq!(left, [0, 1]);
        assert!(candidates.is_empty());
    }
}
