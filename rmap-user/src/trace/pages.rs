//! The runs of pages of a snapshot, cut to a range.

use std::ops::Range;

use super::snapshot::{PageKind, PageRun, PageState};

/// The runs that lie in a range, cut to it.
pub fn within(
    pages: &[PageRun],
    range: Range<u64>,
) -> impl Iterator<Item = (Range<u64>, PageKind)> {
    let first = pages.partition_point(|run| run.range.end <= range.start);
    pages[first..]
        .iter()
        .take_while(move |run| run.range.start < range.end)
        .map(move |run| (run.range.start.max(range.start)..run.range.end.min(range.end), run.kind))
}

/// Whether smaps counts such pages in Rss.
#[must_use]
pub const fn is_resident(kind: PageKind) -> bool {
    match kind.state {
        PageState::Anonymous | PageState::File => true,
        PageState::Zero | PageState::Swapped => false,
    }
}
