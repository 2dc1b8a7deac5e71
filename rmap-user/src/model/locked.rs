//! Locked memory: what `mlock`, `mlockall`, `MAP_LOCKED` and calls on locked mappings bring in.
//!
//! Comes in: those calls, and what a snapshot shows locked. Goes out: ranges in
//! [`AddressSpace::populated`], of which the next snapshot shows what came. The rules are those of
//! `mm/mlock.c`, `mprotect_fixup` (`mm/mprotect.c`) and `mm_populate` (`mm/gup.c`).

use std::ops::Range;

use super::cause::Cause;
use super::lock::{Lock, Locks};
use super::mapping::{Actor, Call, Vma};
use super::space::AddressSpace;

/// `PROT_WRITE`.
const WRITE: u8 = 2;

impl AddressSpace {
    /// `mlock`: locks what is mapped, up to the first gap, and brings it in.
    pub(super) fn lock(&mut self, range: Range<u64>, lock: Lock, actor: Actor) {
        let end = self.mapped_until(&range);
        self.locks.ranges.insert(range.start..end.max(range.start), lock);
        if lock == Lock::Resident {
            self.populate_mapped(range, actor);
        }
    }

    /// `mlockall`: each call replaces what an earlier one said of the future.
    pub(super) fn lock_all(&mut self, current: bool, future: bool, lock: Lock, actor: Actor) {
        self.locks.future = future.then_some(lock);
        if !current {
            return;
        }
        let mapped: Vec<_> = self.mappings.vmas().iter().map(|(range, _)| range).collect();
        for range in mapped {
            self.locks.ranges.insert(range, lock);
        }
        if lock == Lock::Resident {
            self.populate_mapped(0..u64::MAX, actor);
        }
    }

    /// `munlock`.
    pub(super) fn unlock(&mut self, range: Range<u64>) {
        self.locks.ranges.cut(range);
    }

    /// `munlockall`.
    pub(super) fn unlock_all(&mut self) {
        self.locks = Locks::default();
    }

    /// A mapping has just been made, or has grown. `locked`: by its own flag. Says whether its
    /// pages were brought in.
    pub(super) fn lock_new(&mut self, range: Range<u64>, locked: bool) -> bool {
        self.locks.ranges.cut(range.clone());
        let lock = if locked { Some(Lock::Resident) } else { self.locks.future };
        if let Some(lock) = lock {
            self.locks.ranges.insert(range, lock);
        }
        lock == Some(Lock::Resident)
    }

    /// `mremap` has made a mapping longer: a locked one brings the new part in.
    pub(super) fn lock_grown(&mut self, from: u64, grown: Range<u64>, actor: Actor) {
        let Some(lock) = self.locks.ranges.find(from).map(|(_, lock)| *lock) else { return };
        self.locks.ranges.insert(grown.clone(), lock);
        if lock == Lock::Resident {
            self.populate_mapped(grown, actor);
        }
    }

    /// Before a range gets another protection: private memory that is locked and becomes writable
    /// is brought in.
    pub(super) fn protect_locked(&mut self, range: &Range<u64>, prot: u8, actor: Actor) {
        if prot & WRITE == 0 || self.locks.ranges.is_empty() {
            return;
        }
        let becomes = |vma: &Vma| !vma.shared && vma.prot & WRITE == 0;
        let vmas = self.mappings.vmas().within(range.clone());
        let written: Vec<_> =
            vmas.filter(|(_, vma)| becomes(vma)).map(|(piece, _)| piece).collect();
        for piece in written {
            let locked: Vec<_> = self
                .locks
                .ranges
                .within(piece)
                .filter(|(_, lock)| **lock == Lock::Resident)
                .map(|(part, _)| part)
                .collect();
            for part in locked {
                self.populate(part, true, Cause::Populate, actor);
            }
        }
    }

    /// Brings in what is mapped in a range and may be read or written: private memory that may be
    /// written as by a write, everything else as by a read. What is not known to be mapped is taken
    /// for private memory.
    pub(super) fn populate_mapped(&mut self, range: Range<u64>, actor: Actor) {
        let vmas = self.mappings.vmas();
        let mut parts: Vec<_> = vmas
            .within(range.clone())
            .filter(|(_, vma)| vma.prot != 0)
            .map(|(part, vma)| (part, !vma.shared && vma.prot & WRITE != 0))
            .collect();
        if range.end != u64::MAX {
            parts.extend(vmas.gaps(range).into_iter().map(|gap| (gap, true)));
        }
        for (part, write) in parts {
            self.populate(part, write, Cause::Populate, actor);
        }
    }

    /// By whom pages of locked memory came that no call and no fault reported: whoever made the
    /// mapping, as the lock was there before it.
    #[must_use]
    pub fn locked_by(&self, address: u64) -> Option<Actor> {
        let (_, lock) = self.locks.ranges.find(address)?;
        let (_, vma) = self.mappings.vmas().find(address)?;
        let made = match vma.origin.call {
            Call::Mmap | Call::Brk | Call::Mremap | Call::Shmat => true,
            Call::Exec | Call::Stack | Call::Fork | Call::Unknown => false,
        };
        (*lock == Lock::Resident && made && !vma.inherited).then_some(vma.origin.actor)
    }

    /// Where the first gap in what is mapped begins.
    pub(super) fn mapped_until(&self, range: &Range<u64>) -> u64 {
        let gaps = self.mappings.vmas().gaps(range.clone());
        gaps.first().map_or(range.end, |gap| gap.start)
    }
}
