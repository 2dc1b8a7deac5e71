//! What a segment's sizes show at a glance.

use crate::terms::Pattern;
use crate::trace::Segment;

/// Below this RSS a segment is too small to be called `written` or `growing`.
pub const NOTABLE_BYTES: u64 = 64 << 10;
/// `written`: Dirty is at least this share of RSS, in percent.
pub const WRITTEN_PERCENT: u64 = 80;
/// `read-mostly`: RSS is at least this share of the size, in percent.
pub const READ_RESIDENT_PERCENT: u64 = 50;
/// `read-mostly`: Dirty is at most this share of RSS, in percent.
pub const READ_DIRTY_PERCENT: u64 = 20;
/// `reserved`: RSS is below this share of the size, in percent.
pub const RESERVED_PERCENT: u64 = 10;
/// `reserved`: Dirty is below this, whatever the size: what was written is no reservation.
pub const RESERVED_DIRTY_BYTES: u64 = 1 << 20;
/// `growing`: at least so many snapshots.
pub const GROWING_SNAPSHOTS: u32 = 3;
/// `growing`: the last size is above the first by at least this share, in percent, and by
/// `NOTABLE_BYTES`.
pub const GROWING_PERCENT: u64 = 10;

/// How one size went through the snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trend {
    snapshots: u32,
    rises: u32,
    fell: bool,
    first: u64,
    last: u64,
}

impl Trend {
    /// Adds the size at the next snapshot.
    pub const fn add(&mut self, bytes: u64) {
        if self.snapshots == 0 {
            self.first = bytes;
        } else if bytes > self.last {
            self.rises += 1;
        } else if bytes < self.last {
            self.fell = true;
        }
        self.snapshots += 1;
        self.last = bytes;
    }

    /// It never fell, rose between at least `GROWING_SNAPSHOTS` snapshots and by a margin.
    #[must_use]
    pub fn grows(&self) -> bool {
        let margin = NOTABLE_BYTES.max(self.first / 100 * GROWING_PERCENT);
        !self.fell
            && self.snapshots >= GROWING_SNAPSHOTS
            && self.rises + 1 >= GROWING_SNAPSHOTS
            && self.last >= self.first + margin
    }
}

/// How a segment went through the snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Its RSS.
    pub rss: Trend,
    /// Its Dirty.
    pub dirty: Trend,
}

/// The pattern of a segment; `growing` goes before the others.
#[must_use]
pub fn pattern(segment: &Segment, history: &History) -> Option<Pattern> {
    let percent = |part: u64, of: u64| u128::from(part) * 100 / u128::from(of.max(1));
    let (rss, dirty) = (segment.rss, segment.dirty);
    if history.rss.grows() || history.dirty.grows() {
        Some(Pattern::Growing)
    } else if percent(rss, segment.size()) < u128::from(RESERVED_PERCENT)
        && dirty < RESERVED_DIRTY_BYTES
    {
        Some(Pattern::Reserved)
    } else if rss >= NOTABLE_BYTES && percent(dirty, rss) >= u128::from(WRITTEN_PERCENT) {
        Some(Pattern::Written)
    } else if percent(rss, segment.size()) >= u128::from(READ_RESIDENT_PERCENT)
        && percent(dirty, rss) <= u128::from(READ_DIRTY_PERCENT)
    {
        Some(Pattern::ReadMostly)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: u64, rss: u64, dirty: u64, before: &[u64]) -> Option<Pattern> {
        let mut history = History::default();
        before.iter().chain([&rss]).for_each(|bytes| history.rss.add(*bytes << 10));
        let segment =
            Segment { end: size << 10, rss: rss << 10, dirty: dirty << 10, ..Segment::default() };
        pattern(&segment, &history)
    }

    #[test]
    fn much_dirty_memory_is_never_a_reservation() {
        const MIB: u64 = 1 << 10;
        for (size, rss, dirty, expected) in [
            (64 * MIB, MIB, 1000, Some(Pattern::Reserved)),
            (1024 * MIB, 55 * MIB, 55 * MIB, Some(Pattern::Written)),
            (1024 * MIB, 60 * MIB, 30 * MIB, None),
            (1024 * MIB, 60 * MIB, 0, Some(Pattern::Reserved)),
            (u64::MAX >> 12, 55 * MIB, 55 * MIB, Some(Pattern::Written)),
            (1024 * MIB, 0, 0, Some(Pattern::Reserved)),
        ] {
            assert_eq!(of(size, rss, dirty, &[]), expected, "{size} {rss} {dirty} KiB");
        }
    }

    #[test]
    fn the_patterns_are_those_that_their_thresholds_say() {
        assert_eq!(of(1000, 900, 800, &[]), Some(Pattern::Written));
        assert_eq!(of(1000, 900, 100, &[]), Some(Pattern::ReadMostly));
        assert_eq!(of(1000, 90, 90, &[]), Some(Pattern::Reserved));
        assert_eq!(of(1000, 300, 100, &[]), None);
        assert_eq!(of(16, 12, 12, &[]), None, "too small");
        assert_eq!(of(1000, 900, 900, &[100, 500]), Some(Pattern::Growing));
        assert_eq!(of(1000, 900, 900, &[500, 100]), Some(Pattern::Written), "it fell");
        assert_eq!(of(1000, 900, 900, &[890, 895]), Some(Pattern::Written), "hardly");
    }
}
