//! From what was watched for writes to the report's part on it.
//!
//! Comes in: sizes in pages of [`crate::attribution`]. Goes out: the report's.

use crate::attribution::{RewriteTotals, Rewritten};
use crate::model::PAGE;
use crate::report;

/// A segment's part.
pub(super) fn rewritten(of: &Rewritten) -> report::Rewritten {
    let hot = of.hot.map(|pages| pages.min(of.pages));
    let resident = of.resident.max(of.pages);
    report::Rewritten {
        period_ns: of.period_ns,
        pages: of.pages,
        bytes_per_s: per_second(of.pages, of.period_ns),
        ci95: of.bounds.map(|(low, high)| vec![low, high]).unwrap_or_default(),
        curve: of
            .curve
            .iter()
            .map(|(tau_ns, pages)| report::CurvePoint { tau_ns: *tau_ns, pages: *pages })
            .collect(),
        watched_bytes: of.watched,
        hot_bytes: hot.map(|pages| pages * PAGE),
        warm_bytes: (of.pages - hot.unwrap_or(0)) * PAGE,
        cold_bytes: (resident - of.pages) * PAGE,
        written_pages: of.written,
        unattributed: if of.no_fault == 0 {
            Vec::new()
        } else {
            vec![report::Unattributed { reason: "no-fault".to_owned(), pages: of.no_fault }]
        },
        arms: of.arms,
    }
}

/// Bytes a second.
fn per_second(pages: u64, period_ns: u64) -> u64 {
    const SECOND_NS: u128 = 1_000_000_000;
    let bytes = u128::from(pages) * u128::from(PAGE) * SECOND_NS;
    u64::try_from(bytes / u128::from(period_ns.max(1))).unwrap_or(u64::MAX)
}

/// The session's part: the sums over its processes. `None`: nothing was watched.
pub(super) fn session<'a>(
    all: impl Iterator<Item = &'a RewriteTotals>,
) -> Option<report::Rewrites> {
    let mut all = all.peekable();
    let first = *all.peek()?;
    let mut sum = report::Rewrites {
        mode: if first.exact { "exact" } else { "sampled" }.to_owned(),
        method: "userfaultfd".to_owned(),
        period_ns: first.period_ns,
        ..report::Rewrites::default()
    };
    for of in all {
        sum.arms += of.arms;
        sum.faults += of.faults;
        sum.scans += of.scans;
        sum.written_pages += of.written;
        sum.gone_pages += of.gone;
        sum.stop_ns += of.stood_ns;
    }
    Some(sum)
}
