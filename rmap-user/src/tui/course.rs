//! RSS and Dirty through the session: for sparklines and rates.
//!
//! Comes in: points in time, one by one or all at once. Goes out: bars, and bytes a second.

use std::collections::BTreeMap;

use crate::report::Report;

/// Sizes at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Since the start of the session, ns.
    pub at_ns: u64,
    /// RSS of all processes.
    pub rss: u64,
    /// Dirty of all processes.
    pub dirty: u64,
}

/// Which size.
pub type Figure = fn(&Point) -> u64;

/// More points are joined in pairs.
const POINTS_MAX: usize = 4096;

/// A rate is that of so much time, ns.
const RATE_NS: u64 = 3_000_000_000;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Points in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    points: Vec<Point>,
}

impl Course {
    /// The timelines of a report's processes, added up.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let mut sums: BTreeMap<u64, Point> = BTreeMap::new();
        for point in report.processes.iter().flat_map(|process| &process.timeline) {
            let sum = sums.entry(point.at_ns).or_default();
            sum.at_ns = point.at_ns;
            sum.rss = sum.rss.saturating_add(point.rss_bytes());
            sum.dirty = sum.dirty.saturating_add(point.dirty_bytes);
        }
        Self { points: sums.into_values().collect() }
    }

    /// All points.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// One more, if it is later than all others.
    pub fn push(&mut self, point: Point) {
        if self.points.last().is_some_and(|last| last.at_ns >= point.at_ns) {
            return;
        }
        self.points.push(point);
        if self.points.len() > POINTS_MAX {
            self.points = self.points.chunks(2).filter_map(highest).collect();
        }
    }

    /// Bytes a second up to a time; `None` where there are no two points.
    #[must_use]
    pub fn rate(&self, at_ns: u64, figure: Figure) -> Option<i128> {
        let until = self.points.partition_point(|point| point.at_ns <= at_ns);
        let known = self.points.get(..until)?;
        let (last, earlier) = known.split_last()?;
        let near = |point: &&Point| last.at_ns - point.at_ns <= RATE_NS;
        let first = earlier.iter().rev().take_while(near).last().or(earlier.last())?;
        let span = i128::from(last.at_ns - first.at_ns).max(1);
        Some((i128::from(figure(last)) - i128::from(figure(first))) * 1_000_000_000 / span)
    }

    /// The highest value.
    #[must_use]
    pub fn most(&self, figure: Figure) -> u64 {
        self.points.iter().map(figure).max().unwrap_or(0)
    }

    /// So many bars at most, evenly spread in time, each as high as the most in its part; and the place
    /// of the bar that a time falls into.
    #[must_use]
    pub fn bars(&self, room: usize, figure: Figure, at_ns: u64) -> (String, usize) {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return (String::new(), 0);
        };
        let count = room.min(self.points.len()).max(1);
        let span = u128::from(last.at_ns - first.at_ns).max(1);
        let place = |at_ns: u64| {
            let since = u128::from(at_ns.saturating_sub(first.at_ns));
            usize::try_from(since * count as u128 / (span + 1)).unwrap_or(0).min(count - 1)
        };
        let mut bars: Vec<Option<u64>> = vec![None; count];
        for point in &self.points {
            if let Some(bar) = bars.get_mut(place(point.at_ns)) {
                *bar = (*bar).max(Some(figure(point)));
            }
        }
        let most = u128::from(self.most(figure)).max(1);
        let mut before = 0;
        let text = bars
            .into_iter()
            .map(|bar| {
                before = bar.unwrap_or(before);
                let level = u128::from(before) * (BARS.len() as u128 - 1) / most;
                BARS[usize::try_from(level).unwrap_or(0).min(BARS.len() - 1)]
            })
            .collect();
        (text, place(at_ns))
    }
}

fn highest(points: &[Point]) -> Option<Point> {
    points.iter().copied().max_by_key(|point| point.rss)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(values: &[u64]) -> Course {
        let mut course = Course::default();
        for (at, rss) in values.iter().enumerate() {
            course.push(Point { at_ns: at as u64 * 1_000_000_000, rss: *rss, dirty: 0 });
        }
        course
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let course = course(&[0, 0, 0, 0, 100, 200, 300]);
        assert_eq!(course.rate(u64::MAX, |point| point.rss), Some(100));
        assert_eq!(course.rate(2_000_000_000, |point| point.rss), Some(0));
        assert_eq!(course.rate(0, |point| point.rss), None);
        assert_eq!(Course::default().rate(1, |point| point.rss), None);
    }

    #[test]
    fn bars_are_spread_evenly_in_time() {
        let (bars, at) =
            course(&[0, 1, 2, 3, 4, 5, 6, 7]).bars(8, |point| point.rss, 3_000_000_000);
        assert_eq!((bars.as_str(), at), ("▁▂▃▄▅▆▇█", 3));
        // Where no point falls into a bar, what was before goes on.
        let mut late = course(&[7, 0]);
        late.push(Point { at_ns: 8_000_000_000, rss: 7, dirty: 0 });
        assert_eq!(late.bars(3, |point| point.rss, 0).0, "███");
        assert_eq!(late.bars(1, |point| point.dirty, 9).0, "▁");
    }

    #[test]
    fn points_do_not_pile_up_and_none_goes_back_in_time() {
        let mut course = course(&vec![1; POINTS_MAX * 3]);
        assert!(course.points().len() <= POINTS_MAX);
        let before = course.clone();
        course.push(Point::default());
        assert_eq!(course, before);
    }
}
