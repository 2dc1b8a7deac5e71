//! Takes a part out of an address space, to put it elsewhere (`mremap`) or back (a call that failed).
//!
//! Comes in: a range. Goes out: all that is known of it ([`Taken`]); and that, entered again.

use std::ops::Range;

use super::candidates::Candidate;
use super::mapping::Vma;
use super::space::AddressSpace;
use super::taken::{Taken, shifted};

impl AddressSpace {
    /// Takes all that is known of a range out.
    pub(super) fn detach(&mut self, old: Range<u64>) -> Taken {
        let taken = self.take_pages(old.clone());
        Taken {
            vmas: self.mappings.detach(old.clone()),
            mergeable: self.mergeable.cut(old.clone()),
            locks: self.locks.ranges.cut(old),
            ..taken
        }
    }

    /// Takes out what is known of the pages of a range; it stays mapped.
    pub(super) fn take_pages(&mut self, old: Range<u64>) -> Taken {
        let mut owners = Vec::new();
        self.owners.take(old.clone(), |run, owner| owners.push((run, owner)));
        self.found_dirty.cut(old.clone());
        if let Some(rewrites) = &mut self.rewrites {
            rewrites.released(&old);
        }
        Taken {
            owners,
            around: self.around.cut(old.clone()),
            lazy_free: self.lazy_free.cut(old.clone()),
            windows: self.arounds.take(&old),
            populated: self.populated.cut(old.clone()),
            paged_out: self.paged_out.cut(old.clone()),
            lost: self.lost.cut(old.clone()),
            old,
            ..Taken::default()
        }
    }

    /// Puts what was taken `shift` bytes further up, as far as `size` reaches; drops the rest.
    /// Claims that others made there meanwhile stay.
    pub(super) fn put(&mut self, taken: Taken, shift: u64, size: u64) {
        let end = taken.old.start.saturating_add(size);
        for (range, vma) in &taken.vmas {
            if range.end > end {
                self.mappings.reap(&[(range.start.max(end)..range.end, *vma)]);
            }
        }
        let part = taken.old.start..end;
        self.enter(taken, shift, &part);
    }

    /// Puts what was taken where it was, from an address on.
    pub(super) fn put_back(&mut self, mut taken: Taken, from: u64) {
        self.arounds.put_back(std::mem::take(&mut taken.windows), from);
        self.enter(taken, 0, &(from..u64::MAX));
    }

    fn enter(&mut self, taken: Taken, shift: u64, part: &Range<u64>) {
        let to = |range: &Range<u64>| {
            let clipped = range.start.max(part.start)..range.end.min(part.end);
            (clipped.start < clipped.end)
                .then(|| clipped.start.wrapping_add(shift)..clipped.end.wrapping_add(shift))
        };
        for (range, vma) in taken.vmas {
            if let Some(range) = to(&range) {
                self.mappings.attach(range, Vma { base: shifted(&vma, shift), ..vma });
            }
        }
        for (range, owner) in taken.owners {
            let Some(range) = to(&range) else { continue };
            self.owners.update(range, |now| {
                let free =
                    now.resident.is_none() && (now.dirty.is_none() || now.dirty == owner.dirty);
                if free { owner } else { now }
            });
        }
        for (start, candidate) in taken.around {
            if let Some(window) = to(&(start..candidate.end)) {
                self.around.add(window.start, Candidate { end: window.end, ..candidate });
            }
        }
        for (range, populated) in taken.populated {
            to(&range).map(|range| self.populated.insert(range, populated));
        }
        for (range, stack) in taken.lazy_free {
            to(&range).map(|range| self.lazy_free.insert(range, stack));
        }
        for (range, stack) in taken.paged_out {
            to(&range).map(|range| self.paged_out.insert(range, stack));
        }
        for (range, ()) in taken.mergeable {
            to(&range).map(|range| self.mergeable.insert(range, ()));
        }
        for (range, ()) in taken.lost {
            to(&range).map(|range| self.lost.insert(range, ()));
        }
        for (range, lock) in taken.locks {
            to(&range).map(|range| self.locks.ranges.insert(range, lock));
        }
    }
}
