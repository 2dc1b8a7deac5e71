//! What is locked in an address space, and how.

use std::ops::Range;

use super::range_map::RangeMap;

/// How memory is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Its pages are brought in at once.
    Resident,
    /// Its pages stay once they are there (`MLOCK_ONFAULT`, `MCL_ONFAULT`).
    OnFault,
}

/// What is locked in one address space.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    pub(super) ranges: RangeMap<Lock>,
    /// How mappings that are still to come will be (`MCL_FUTURE`).
    pub(super) future: Option<Lock>,
}

impl Locks {
    /// Takes over what a snapshot shows of a range. Whether pages come at once is not shown.
    pub fn show(&mut self, range: Range<u64>, locked: bool) {
        if !locked {
            self.ranges.cut(range);
            return;
        }
        for gap in self.ranges.gaps(range) {
            self.ranges.insert(gap, Lock::Resident);
        }
    }
}
