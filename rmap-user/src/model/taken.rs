//! What a call takes out of a part of an address space, to put it elsewhere or back.
//!
//! Comes in: a range. Goes out: all that is known of it, which [`AddressSpace::put`] enters at
//! another address, and [`AddressSpace::put_back`] where it was.

use std::ops::Range;

use super::arounds::Window;
use super::candidates::Candidate;
use super::locked::Lock;
use super::mapping::Vma;
use super::owners::{Owner, PAGE};
use super::path::StackRef;
use super::space::{AddressSpace, Populated};

/// All that was known of a range.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    pub(super) old: Range<u64>,
    pub(super) vmas: Vec<(Range<u64>, Vma)>,
    pub(super) owners: Vec<(Range<u64>, Owner)>,
    pub(super) around: Vec<(u64, Candidate)>,
    pub(super) lazy_free: Vec<(Range<u64>, Option<StackRef>)>,
    windows: Vec<Window>,
    populated: Vec<(Range<u64>, Populated)>,
    paged_out: Vec<(Range<u64>, Option<StackRef>)>,
    mergeable: Vec<(Range<u64>, ())>,
    lost: Vec<(Range<u64>, ())>,
    locks: Vec<(Range<u64>, Lock)>,
}

impl Taken {
    /// Nothing yet, of a range.
    pub(super) fn of(old: Range<u64>) -> Self {
        Self { old, ..Self::default() }
    }

    /// Adds what was taken of another part.
    pub(super) fn append(&mut self, mut more: Self) {
        self.vmas.append(&mut more.vmas);
        self.owners.append(&mut more.owners);
        self.around.append(&mut more.around);
        self.lazy_free.append(&mut more.lazy_free);
        self.windows.append(&mut more.windows);
        self.populated.append(&mut more.populated);
        self.paged_out.append(&mut more.paged_out);
        self.mergeable.append(&mut more.mergeable);
        self.lost.append(&mut more.lost);
        self.locks.append(&mut more.locks);
    }

    /// Pages from an address on that were resident, as far as they are known.
    pub(super) fn resident_pages(&self, from: u64) -> u64 {
        let resident = self.owners.iter().filter(|(_, owner)| owner.resident.is_some());
        let owned: u64 =
            resident.map(|(run, _)| run.end.saturating_sub(run.start.max(from)) / PAGE).sum();
        let around = self.around.iter().filter(|(start, _)| *start >= from);
        owned + around.map(|(_, candidate)| u64::from(candidate.remaining)).sum::<u64>()
    }
}

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

/// Where the file of a mapping that moved `shift` bytes up begins.
pub(super) const fn shifted(vma: &Vma, shift: u64) -> u64 {
    if vma.file || vma.shared { vma.base.wrapping_add(shift) } else { vma.base }
}
