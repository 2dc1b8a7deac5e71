//! What changes hands in some ranges of an address space, for the story of a segment.
//!
//! Comes in: ranges to watch; [`super::PageOwners`] writes down every change in them. Goes out:
//! the changes, in their order. Where nobody watches there is no journal, and no cost.

use std::ops::Range;

use super::owner::Owner;

/// Pages of which the owner changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whole pages.
    pub pages: Range<u64>,
    /// Whose they were.
    pub old: Owner,
    /// Whose they are.
    pub new: Owner,
}

/// The changes of one address space.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// In the order of their addresses, apart from each other.
    ranges: Vec<Range<u64>>,
    changes: Vec<Change>,
}

impl Journal {
    /// Watches these ranges, which may overlap.
    #[must_use]
    pub fn of(ranges: &[Range<u64>]) -> Self {
        let mut sorted: Vec<Range<u64>> =
            ranges.iter().filter(|r| !r.is_empty()).cloned().collect();
        sorted.sort_by_key(|range| range.start);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for range in sorted {
            match ranges.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => ranges.push(range),
            }
        }
        Self { ranges, changes: Vec::new() }
    }

    /// The parts of a range that are watched.
    pub fn within(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
        let first = self.ranges.partition_point(|watched| watched.end <= range.start);
        let parts: Vec<Range<u64>> = self.ranges[first..]
            .iter()
            .take_while(|watched| watched.start < range.end)
            .map(|watched| watched.start.max(range.start)..watched.end.min(range.end))
            .collect();
        parts.into_iter()
    }

    /// Writes one down. Neighbours that change alike are one.
    pub fn add(&mut self, change: Change) {
        match self.changes.last_mut() {
            Some(last)
                if last.pages.end == change.pages.start
                    && (last.old, last.new) == (change.old, change.new) =>
            {
                last.pages.end = change.pages.end;
            }
            _ => self.changes.push(change),
        }
    }

    /// Takes what was written down.
    pub fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}
