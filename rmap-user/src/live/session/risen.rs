//! When to take a snapshot because memory has risen, so that sizes near the peak are the kernel's.
//!
//! Comes in: how many pages the session holds by the events, and what snapshots cost. Goes out: whether
//! one is due: a tenth more than at the last one, not more often than their cost allows (a hundredth of
//! the time), and none that would take longer than the ring has room for.

use std::time::{Duration, Instant};

/// Less than this many pages is not looked at.
const LEAST: u64 = (16 << 20) / crate::model::PAGE;
/// The rest behind a snapshot, at least, and in times of what it took.
const REST: Duration = Duration::from_millis(100);
const TIMES: u32 = 150;
/// A snapshot may take so long: meanwhile nobody reads the ring.
const LONGEST: Duration = Duration::from_millis(20);
/// What a page costs before one was taken: some 25 ms a GiB.
const PAGE_COST_NS: u64 = 100;

/// The last snapshot of this kind.
#[derive(Debug)]
pub(super) struct Risen {
    pages: u64,
    next: Instant,
    page_cost_ns: u64,
}

impl Default for Risen {
    fn default() -> Self {
        Self { pages: 0, next: Instant::now(), page_cost_ns: PAGE_COST_NS }
    }
}

impl Risen {
    /// Whether one is due while the session holds so many pages.
    pub(super) fn is_due(&self, pages: u64, now: Instant) -> bool {
        let cost = Duration::from_nanos(self.page_cost_ns.saturating_mul(pages));
        pages >= LEAST
            && pages.saturating_mul(10) > self.pages.saturating_mul(11)
            && now >= self.next
            && cost <= LONGEST
    }

    /// Snapshots of all that holds so many pages were taken from then on.
    pub(super) fn taken(&mut self, pages: u64, since: Instant) {
        let cost = since.elapsed();
        let nanos = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        self.page_cost_ns = (nanos / pages.max(1)).max(PAGE_COST_NS / 4);
        self.pages = pages;
        self.next = Instant::now() + REST.max(cost * TIMES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_due_after_a_tenth_and_a_rest_and_where_it_is_cheap() {
        let begun = Instant::now();
        let mut risen = Risen::default();
        let later = begun + Duration::from_secs(60);
        assert!(!risen.is_due(LEAST - 1, later));
        assert!(risen.is_due(LEAST, later));
        risen.taken(LEAST, Instant::now());
        assert!(!risen.is_due(LEAST + LEAST / 20, later), "less than a tenth");
        assert!(risen.is_due(LEAST + LEAST / 5, later));
        assert!(!risen.is_due(2 * LEAST, begun), "too soon");
        assert!(!risen.is_due(u64::MAX / 20, later), "it would take too long");
    }
}
