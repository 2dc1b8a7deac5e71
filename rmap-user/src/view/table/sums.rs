//! Sums over segments, and what share of them is explained.

use crate::report::{BeforeAfter, Process, Segment};
use crate::view::number;

/// Sizes of one or more segments, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Of the address ranges.
    pub size: u128,
    /// Resident.
    pub rss: Sum,
    /// Dirty.
    pub dirty: Sum,
    /// In swap.
    pub swap: Sum,
}

/// One size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// At the start.
    pub before: u128,
    /// At the end.
    pub after: u128,
    /// What is not explained of it, each part without its sign.
    pub unexplained: u128,
}

impl Sum {
    fn add(&mut self, sizes: BeforeAfter) {
        self.before += u128::from(sizes.before);
        self.after += u128::from(sizes.after);
    }

    /// Bytes that are explained: never negative, and never all where anything is unexplained.
    pub const fn explained(self) -> u128 {
        self.after.saturating_sub(self.unexplained)
    }

    /// The share explained in words. What is 0 and has nothing unexplained has no share.
    pub fn share(self) -> String {
        if self.after == 0 && self.unexplained > 0 {
            return "0 %".to_owned();
        }
        number::share(self.explained(), self.after)
    }

    /// As the report has it, for the text of figures.
    pub fn sizes(self) -> BeforeAfter {
        let clamp = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        BeforeAfter { before: clamp(self.before), after: clamp(self.after) }
    }

    /// At the end, as text.
    pub fn kib(self) -> String {
        number::kib(self.sizes().after)
    }
}

impl Sums {
    /// Of some segments.
    pub fn of<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> Self {
        let mut sums = Self::default();
        for segment in segments {
            sums.size += u128::from(segment.size_bytes);
            sums.rss.add(segment.rss_bytes);
            sums.dirty.add(segment.dirty_bytes);
            sums.swap.add(segment.swap_bytes);
            for rest in &segment.unexplained {
                sums.rss.unexplained += u128::from(rest.rss_bytes.unsigned_abs());
                sums.dirty.unexplained += u128::from(rest.dirty_bytes.unsigned_abs());
            }
        }
        sums
    }

    /// What a process had before in mappings that it has no more: what its own sums have more than
    /// those of its segments.
    pub fn gone(process: &Process, all: &Self) -> Self {
        let gone = |sizes: BeforeAfter, sum: Sum| Sum {
            before: u128::from(sizes.before).saturating_sub(sum.before),
            ..Sum::default()
        };
        Self {
            size: 0,
            rss: gone(process.rss_bytes, all.rss),
            dirty: gone(process.dirty_bytes, all.dirty),
            swap: gone(process.swap_bytes, all.swap),
        }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        let sum = |a: Sum, b: Sum| Sum {
            before: a.before + b.before,
            after: a.after + b.after,
            unexplained: a.unexplained + b.unexplained,
        };
        Self {
            size: self.size + other.size,
            rss: sum(self.rss, other.rss),
            dirty: sum(self.dirty, other.dirty),
            swap: sum(self.swap, other.swap),
        }
    }

    /// The size as text.
    pub fn size_kib(&self) -> String {
        number::kib(u64::try_from(self.size).unwrap_or(u64::MAX))
    }

    /// The lower one of the shares explained of RSS and of Dirty.
    pub fn share(&self) -> String {
        let (rss, dirty) = (self.rss, self.dirty);
        let is_none = |sum: Sum| sum.after == 0 && sum.unexplained == 0;
        if is_none(dirty) {
            return rss.share();
        }
        if is_none(rss) {
            return dirty.share();
        }
        // a/b < c/d as a·d < c·b, with 0/0 taken as 0/1.
        let low = |a: Sum, b: Sum| {
            a.explained().saturating_mul(b.after.max(1))
                < b.explained().saturating_mul(a.after.max(1))
        };
        if low(dirty, rss) { dirty.share() } else { rss.share() }
    }

    /// Whether anything is not explained.
    pub const fn has_unexplained(&self) -> bool {
        self.rss.unexplained > 0 || self.dirty.unexplained > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(after: u128, unexplained: u128) -> Sum {
        Sum { before: 0, after, unexplained }
    }

    #[test]
    fn the_lower_share_counts() {
        let share = |rss, dirty| Sums { rss, dirty, ..Sums::default() }.share();
        assert_eq!(share(sum(100, 0), sum(100, 25)), "75 %");
        assert_eq!(share(sum(100, 50), sum(100, 25)), "50 %");
        assert_eq!(share(sum(100, 0), sum(0, 0)), "100 %");
        assert_eq!(share(sum(0, 0), sum(0, 0)), "-");
        assert_eq!(share(sum(0, 4), sum(0, 0)), "0 %");
        assert_eq!(share(sum(100, 0), sum(10, 40)), "0 %");
    }
}
