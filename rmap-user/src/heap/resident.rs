//! Which pages of a process are there.
//!
//! Comes in: a snapshot. Goes out: ranges, cut to what is asked for.

use std::ops::Range;

use crate::trace::Snapshot;
use crate::trace::pages::is_resident;

/// Which pages of a process are there.
#[derive(Debug)]
pub struct Resident(Vec<Range<u64>>);

impl Resident {
    /// As a snapshot shows them.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let runs = snapshot.pages.iter().flatten().filter(|run| is_resident(run.kind));
        for run in runs {
            match ranges.last_mut() {
                Some(last) if last.end == run.range.start => last.end = run.range.end,
                _ => ranges.push(run.range.clone()),
            }
        }
        Self(ranges)
    }

    /// The resident parts of a range.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.0.partition_point(|run| run.end <= range.start);
        let from_first = self.0.get(first..).unwrap_or_default();
        from_first
            .iter()
            .take_while(move |run| run.start < range.end)
            .map(move |run| run.start.max(range.start)..run.end.min(range.end))
    }

    /// Resident bytes of a range.
    #[must_use]
    pub fn bytes(&self, range: Range<u64>) -> u64 {
        self.within(range).map(|run| run.end - run.start).sum()
    }

    /// From an address on, the end of what is resident without a gap; `None` if the address is not.
    #[must_use]
    pub fn end_of(&self, at: u64) -> Option<u64> {
        let place = self.0.partition_point(|range| range.end <= at);
        self.0.get(place).filter(|range| range.contains(&at)).map(|range| range.end)
    }
}
