//! RSS through the session, in one line.
//!
//! Comes in: the timelines of a report's processes. Goes out: a line of bars, each as high as the most
//! that was held in its part of the time.

use std::collections::BTreeMap;
use std::io;

use crate::report::Report;
use crate::view::paint::{Line, Page, Paint};

use crate::view::unit::Unit;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Bars of a line, at most.
const WIDTH: usize = 60;
/// Fewer points are no curve.
const LEAST: usize = 8;

/// RSS of all processes together at each point of the timelines.
#[must_use]
pub fn course(report: &Report) -> Vec<u64> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    for point in report.processes.iter().flat_map(|process| &process.timeline) {
        let sum = sums.entry(point.at_ns).or_default();
        *sum = sum.saturating_add(point.rss_bytes());
    }
    sums.into_values().collect()
}

/// The line; nothing where there is no curve.
pub(super) fn line(course: &[u64], unit: Unit, page: &mut Page<'_>) -> io::Result<()> {
    let most = course.iter().copied().max().unwrap_or(0);
    if course.len() < LEAST || most == 0 {
        return Ok(());
    }
    let room = page.style.width.unwrap_or(100).saturating_sub(34).clamp(LEAST, WIDTH);
    let bars = bars(course, room);
    let line = Line::of("RSS through the session: ", Paint::Plain)
        .and(bars, Paint::Dim)
        .and(format!(" {}", unit.size(most.into())), Paint::Plain);
    page.line(&line)
}

/// So many bars at most, each the highest of its points.
fn bars(course: &[u64], room: usize) -> String {
    let most = course.iter().copied().max().unwrap_or(0).max(1);
    let count = course.len().min(room);
    let highest = |bar: usize| {
        let at = |bar: usize| bar * course.len() / count;
        course[at(bar)..at(bar + 1)].iter().copied().max().unwrap_or(0)
    };
    let level = |bytes: u64| {
        let level = u128::from(bytes) * (BARS.len() as u128 - 1) / u128::from(most);
        BARS[usize::try_from(level).unwrap_or(0).min(BARS.len() - 1)]
    };
    (0..count).map(|bar| level(highest(bar))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_the_most_in_its_part() {
        assert_eq!(bars(&[0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(bars(&[0, 0, 70, 0, 10, 0, 0, 0], 4), "▁█▂▁");
        assert_eq!(bars(&[5; 100], 10), "██████████");
    }
}
