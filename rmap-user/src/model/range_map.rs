//! Address ranges that do not overlap, each with a value: mappings, populated ranges, ranges
//! given up by `MADV_FREE`.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges with values; neighbours of equal value are joined.
#[derive(Clone, Debug)]
pub struct RangeMap<T> {
    ranges: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for RangeMap<T> {
    fn default() -> Self {
        Self { ranges: BTreeMap::new() }
    }
}

impl<T: Clone + PartialEq> RangeMap<T> {
    /// The range that holds an address.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(Range<u64>, &T)> {
        let (start, (end, value)) = self.ranges.range(..=address).next_back()?;
        (address < *end).then_some((*start..*end, value))
    }

    /// The first range that starts at an address or above it.
    #[must_use]
    pub fn first_from(&self, address: u64) -> Option<(Range<u64>, &T)> {
        let (start, (end, value)) = self.ranges.range(address..).next()?;
        Some((*start..*end, value))
    }

    /// The last range that starts below an address.
    #[must_use]
    pub fn last_below(&self, address: u64) -> Option<(Range<u64>, &T)> {
        let (start, (end, value)) = self.ranges.range(..address).next_back()?;
        Some((*start..*end, value))
    }

    /// All ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u64>, &T)> {
        self.ranges.iter().map(|(start, (end, value))| (*start..*end, value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The parts of a range that are set, in order.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, &T)> {
        let first = self.find(range.start).map_or(range.start, |(found, _)| found.start);
        let end = range.end.max(first);
        self.ranges.range(first..end).map(move |(start, (end, value))| {
            ((*start).max(range.start)..(*end).min(range.end), value)
        })
    }

    /// The parts of a range that are not set, in order.
    #[must_use]
    pub fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for (part, _) in self.within(range.clone()) {
            if at < part.start {
                gaps.push(at..part.start);
            }
            at = part.end;
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// Takes a range out, and gives back what was there.
    pub fn cut(&mut self, range: Range<u64>) -> Vec<(Range<u64>, T)> {
        let mut out = Vec::new();
        if range.is_empty() {
            return out;
        }
        if let Some((found, value)) = self.find(range.start) {
            let value = value.clone();
            if found.start < range.start {
                if let Some((end, _)) = self.ranges.get_mut(&found.start) {
                    *end = range.start;
                }
                if found.end > range.end {
                    self.ranges.insert(range.end, (found.end, value.clone()));
                    return vec![(range, value)];
                }
                out.push((range.start..found.end, value));
            }
        }
        while let Some((found, _)) = self.first_from(range.start) {
            if found.start >= range.end {
                break;
            }
            let Some((end, value)) = self.ranges.remove(&found.start) else { break };
            if end > range.end {
                self.ranges.insert(range.end, (end, value.clone()));
            }
            out.push((found.start..end.min(range.end), value));
        }
        out
    }

    /// Sets a range, and gives back what was there.
    pub fn insert(&mut self, mut range: Range<u64>, value: T) -> Vec<(Range<u64>, T)> {
        if range.is_empty() {
            return Vec::new();
        }
        let old = self.cut(range.clone());
        if let Some((below, _)) = self
            .last_below(range.start)
            .filter(|(below, v)| below.end == range.start && **v == value)
        {
            range.start = below.start;
        }
        if let Some((above, _)) =
            self.first_from(range.end).filter(|(above, v)| above.start == range.end && **v == value)
        {
            self.ranges.remove(&above.start);
            range.end = above.end;
        }
        self.ranges.insert(range.start, (range.end, value));
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_those_of_a_naive_map(
            ops in proptest::collection::vec((0u64..60, 0u64..30, proptest::option::of(0u8..3)), 0..40)
        ) {
            let mut map = RangeMap::default();
            let mut naive = [None; 100];
            for (start, len, value) in ops {
                let range = start..start + len;
                let old = match value {
                    Some(value) => map.insert(range.clone(), value),
                    None => map.cut(range.clone()),
                };
                let mut expected = Vec::new();
                for at in range {
                    if let Some(was) = naive[at as usize] {
                        expected.push((at, was));
                    }
                    naive[at as usize] = value;
                }
                let old: Vec<_> = old.into_iter().flat_map(|(r, v)| r.map(move |a| (a, v))).collect();
                prop_assert_eq!(old, expected);
            }
            let mut last: Option<(u64, u8)> = None;
            for (range, value) in map.iter() {
                prop_assert!(range.start < range.end);
                prop_assert!(last != Some((range.start, *value)), "equal neighbours are joined");
                last = Some((range.end, *value));
            }
            for at in 0..100u64 {
                prop_assert_eq!(map.find(at).map(|(_, v)| *v), naive[at as usize]);
            }
            let set: Vec<_> = map.within(10..70).flat_map(|(r, v)| r.map(move |a| (a, *v))).collect();
            let expected: Vec<_> =
                (10..70u64).filter_map(|a| Some((a, naive[a as usize]?))).collect();
            prop_assert_eq!(&set, &expected);
            let gaps: usize = map.gaps(10..70).into_iter().map(|r| r.count()).sum();
            prop_assert_eq!(gaps + set.len(), 60);
        }
    }
}
