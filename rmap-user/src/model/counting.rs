//! How many pages an address space holds, and all of a session together, at any moment and at their
//! peaks.
//!
//! Comes in: changes of [`super::PageOwners`], each at a [`Place`] of the stream. Goes out: counts of
//! resident and dirty pages, and the place at which the resident ones were most.

use std::cell::RefCell;
use std::rc::Rc;

/// A place in the stream of inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// How many inputs come up to here; each fault of a run counts.
    pub number: u64,
    /// The time of the last of them, on `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

/// Pages by the model's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Resident.
    pub resident: u64,
    /// Dirty.
    pub dirty: u64,
}

/// The highest count, and where it was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// The pages then.
    pub counts: Counts,
    /// Where in the stream.
    pub place: Place,
}

impl Peak {
    fn raise(&mut self, counts: Counts, place: Place) {
        if counts.resident > self.counts.resident {
            *self = Self { counts, place };
        }
    }
}

/// All address spaces of a session together.
#[derive(Debug, Default)]
struct Totals {
    now: Place,
    counts: Counts,
    peak: Peak,
}

/// The totals, shared by all spaces of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum(Rc<RefCell<Totals>>);

impl Sum {
    /// What follows happens there.
    pub(super) fn set_place(&self, place: Place) {
        self.0.borrow_mut().now = place;
    }

    pub(super) fn counts(&self) -> Counts {
        self.0.borrow().counts
    }

    pub(super) fn peak(&self) -> Peak {
        self.0.borrow().peak
    }
}

/// The pages of one address space. They count in the [`Sum`] until it is dropped.
#[derive(Debug, Default)]
pub(super) struct PageCount {
    counts: Counts,
    peak: Peak,
    /// Pages that became resident, those too that are not there any more.
    came: u64,
    /// Changes whenever pages come or go.
    changes: u64,
    sum: Option<Sum>,
}

impl PageCount {
    /// Counts in a sum from now on.
    pub(super) fn count_in(&mut self, sum: &Sum) {
        let add = self.counts;
        self.sum = Some(sum.clone());
        let mut totals = sum.0.borrow_mut();
        totals.counts.resident += add.resident;
        totals.counts.dirty += add.dirty;
        let (counts, now) = (totals.counts, totals.now);
        totals.peak.raise(counts, now);
        self.peak.raise(add, now);
    }

    /// Pages came or went.
    pub(super) fn change(&mut self, resident: i64, dirty: i64) {
        if (resident, dirty) == (0, 0) {
            return;
        }
        let by = |counts: &mut Counts| {
            counts.resident = counts.resident.saturating_add_signed(resident);
            counts.dirty = counts.dirty.saturating_add_signed(dirty);
        };
        by(&mut self.counts);
        self.came = self.came.saturating_add(resident.max(0).unsigned_abs());
        self.changes += 1;
        let Some(sum) = &self.sum else { return };
        let mut totals = sum.0.borrow_mut();
        by(&mut totals.counts);
        if resident > 0 {
            let (counts, now) = (totals.counts, totals.now);
            totals.peak.raise(counts, now);
            self.peak.raise(self.counts, now);
        }
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) const fn peak(&self) -> Peak {
        self.peak
    }

    pub(super) const fn came(&self) -> u64 {
        self.came
    }

    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }
}

impl Clone for PageCount {
    /// A copy counts in no sum: it is a second view of the same pages.
    fn clone(&self) -> Self {
        let Self { counts, peak, came, changes, sum: _ } = *self;
        Self { counts, peak, came, changes, sum: None }
    }
}

impl Drop for PageCount {
    fn drop(&mut self) {
        if let Some(sum) = &self.sum {
            let mut totals = sum.0.borrow_mut();
            let Counts { resident, dirty } = self.counts;
            totals.counts.resident = totals.counts.resident.saturating_sub(resident);
            totals.counts.dirty = totals.counts.dirty.saturating_sub(dirty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_knows_its_peak_and_forgets_what_is_dropped() {
        let sum = Sum::default();
        let (mut one, mut other) = (PageCount::default(), PageCount::default());
        one.count_in(&sum);
        other.count_in(&sum);
        let at = |number| Place { number, time_ns: 10 * number };
        sum.set_place(at(1));
        one.change(5, 4);
        sum.set_place(at(2));
        other.change(3, 0);
        sum.set_place(at(3));
        one.change(-4, -4);
        sum.set_place(at(4));
        other.change(2, 2);
        assert_eq!(sum.counts(), Counts { resident: 6, dirty: 2 });
        assert_eq!(sum.peak(), Peak { counts: Counts { resident: 8, dirty: 4 }, place: at(2) });
        assert_eq!(one.peak().place, at(1));
        assert_eq!(other.peak(), Peak { counts: Counts { resident: 5, dirty: 2 }, place: at(4) });
        let copy = other.clone();
        drop(other);
        drop(copy);
        assert_eq!(sum.counts(), Counts { resident: 1, dirty: 0 });
    }
}
