//! Who keeps writing: what a report knows of memory that was watched for writes.
//!
//! Comes in: a report. Goes out: [`Again`], sums over its segments, and owners by the bytes that they
//! write again within a period.

use crate::report::{Report, Segment};

use super::group::{By, Group};
use super::kind;
use super::part::Parts;
use super::rules::Rules;

/// Sums over all watched segments, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// Written again within a period.
    pub rewritten: u64,
    /// The bounds of that, where it is an estimate: the sums of the segments' own, which are wider
    /// than those of the sum.
    pub bounds: Option<[u64; 2]>,
    /// The part of it that is written again within 100 ms, if that is known of all.
    pub hot: Option<u64>,
    /// There, watched, and not written again within a period.
    pub cold: u64,
    /// By the second.
    pub per_second: u64,
    /// How often a written page has no call path.
    pub unattributed: u64,
}

/// The segments that were watched.
fn watched(report: &Report) -> impl Iterator<Item = &Segment> {
    let segments = report.processes.iter().flat_map(|process| &process.segments);
    segments.filter(|segment| segment.rewritten.is_some())
}

impl Again {
    /// Of a report; `None`: nothing was watched.
    #[must_use]
    pub fn of(report: &Report) -> Option<Self> {
        report.session.rewrites.as_ref()?;
        let page = report.host.page_bytes.max(1);
        let mut sum = Self { hot: Some(0), ..Self::default() };
        for rewritten in watched(report).filter_map(|segment| segment.rewritten.as_ref()) {
            sum.rewritten += rewritten.pages.saturating_mul(page);
            sum.hot = sum.hot.zip(rewritten.hot_bytes).map(|(sum, hot)| sum + hot);
            sum.cold += rewritten.cold_bytes;
            sum.per_second += rewritten.bytes_per_s;
            sum.unattributed += rewritten.unattributed.iter().map(|rest| rest.pages).sum::<u64>();
            if let [low, high] = rewritten.ci95[..] {
                let [l, h] = sum.bounds.unwrap_or_default();
                sum.bounds = Some([
                    l.saturating_add(low.saturating_mul(page)),
                    h.saturating_add(high.saturating_mul(page)),
                ]);
            }
        }
        Some(sum)
    }
}

/// A group of call paths that write again.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Who, and how much within a period.
    pub group: Group,
    /// Where most of it is. Not safe to print as is.
    pub place: String,
    /// In how many segments it is.
    pub segments: usize,
}

/// The owners that write again, those of most bytes first.
#[must_use]
pub fn writers(report: &Report, rules: &Rules) -> Vec<Writer> {
    let parts = Parts::of_rewrites(report, rules);
    let writer = |group: Group| {
        let places = parts.group(group.parts.clone(), &[By::Segment]);
        let most = group.parts.iter().filter_map(|at| parts.all.get(*at));
        let most = most.max_by_key(|part| part.bytes.rss);
        let place = most.map(|part| kind::short_name(part.segment).into_owned());
        Writer { group, place: place.unwrap_or_default(), segments: places.len() }
    };
    parts.by(&[By::Owner]).into_iter().map(writer).collect()
}
