//! Calls that give memory back, until it is known whether they did.
//!
//! Such a call is reported before it takes effect, because another thread may be given the same
//! addresses as soon as it has; if it fails, that is reported at its end. What it takes out of the
//! model is kept until then, one call a thread. Comes in: the beginnings and the failures of calls.
//! Goes out: the address space as the kernel left it. Where a failure leaves open how much was
//! done ([`Doubt`]), the next snapshot decides.

use std::ops::Range;

use super::call::{Advice, Failed};
use super::cause::{Cause, How};
use super::lock::Lock;
use super::mapping::{Actor, Vma};
use super::path::{PathId, StackRef};
use super::pending::{Doubt, Pending};
use super::space::AddressSpace;
use super::taken::Taken;

/// `ENOMEM`.
const ENOMEM: i32 = 12;
/// `EINVAL`.
const EINVAL: i32 = 22;

/// How much of a range a failed `madvise` went through.
enum Reach {
    /// All that is mapped.
    All,
    /// Up to an address.
    Until(u64),
    /// Not known.
    Unknown,
}

impl AddressSpace {
    /// `munmap`, `shmdt` and a break that is lowered: takes a range out.
    pub(super) fn unmap(&mut self, range: Range<u64>, how: How, actor: Actor) {
        let taken = self.detach(range);
        self.credit(how, actor.stack, taken.resident_pages(0));
        self.wait(actor, Pending { taken, how, stack: actor.stack, advice: None });
    }

    /// Notes who gave memory up by MADV_FREE: while it stays resident, it is that path's.
    fn given_up(&mut self, part: &Range<u64>, actor: Actor) {
        self.lazy_free.insert(part.clone(), actor.stack);
        let path = self.paths.intern(actor.stack, Cause::GivenUp);
        for (_, instance) in self.instances_in(part.clone()) {
            self.mappings.stats_mut(instance, path).add(0, 0, actor.tid, actor.time_ns);
        }
    }

    /// Advice by which pages go, or are dirty no longer; the mappings stay.
    pub(super) fn give_up(&mut self, range: Range<u64>, advice: Advice, how: How, actor: Actor) {
        let mut taken = Taken::of(range.clone());
        let applies = |vma: &Vma| match advice {
            Advice::Remove => vma.shared && vma.file,
            Advice::Free => vma.is_private_anonymous(),
            _ => true,
        };
        let vmas = self.mappings.vmas();
        let mut parts: Vec<_> = vmas
            .within(range.clone())
            .filter(|(_, vma)| applies(vma))
            .map(|(part, vma)| (part, vma.shared))
            .collect();
        if advice == Advice::Dontneed {
            // What is not known to be mapped may be all the same.
            parts.extend(vmas.gaps(range).into_iter().map(|gap| (gap, false)));
        }
        for (part, shared) in parts {
            if advice == Advice::Free {
                self.owners.walk(part.clone(), |run, owner| taken.owners.push((run, owner)));
                taken.lazy_free.extend(self.lazy_free.cut(part.clone()));
                self.owners.claim(part.clone(), None, Some(PathId::NONE));
                self.given_up(&part, actor);
                continue;
            }
            let kept = self.take_pages(part);
            self.credit(how, actor.stack, kept.resident_pages(0));
            // The dirtiness of pages of a file moves to the folio, and shows again when they are
            // mapped again.
            if shared && advice != Advice::Remove {
                for (run, owner) in kept.owners.iter().filter(|(_, o)| o.dirty.is_some()) {
                    self.owners.claim(run.clone(), None, Some(owner.dirty));
                }
            }
            taken.append(kept);
        }
        let stack = actor.stack;
        self.wait(actor, Pending { taken, how, stack, advice: Some(advice) });
    }

    fn wait(&mut self, actor: Actor, pending: Pending) {
        if let Some(earlier) = self.pending.insert(actor.tid, pending) {
            self.mappings.reap(&earlier.taken.vmas);
        }
    }

    /// The thread does something else: its last call has done what it was asked.
    pub(super) fn went_well(&mut self, tid: u32) {
        if let Some(pending) = self.pending.remove(&tid) {
            self.mappings.reap(&pending.taken.vmas);
        }
    }

    /// The same of all threads. What fails later than a snapshot of a process that runs is taken
    /// for done.
    pub fn all_went_well(&mut self) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            self.mappings.reap(&pending.taken.vmas);
        }
    }

    /// A call has failed.
    pub(super) fn failed(&mut self, failed: Failed, error: i32, actor: Actor) {
        match failed {
            Failed::Munmap(range) => self.undo_unmap(actor.tid, How::Munmap, |old| *old == range),
            Failed::Shmdt(at) => self.undo_unmap(actor.tid, How::Shmdt, |old| old.start == at),
            Failed::Madvise(range, advice) => self.madvise_failed(&range, advice, error, actor),
            Failed::Mprotect(range, prot) => {
                // It goes from mapping to mapping, and stops at the first gap.
                let end = if error == ENOMEM { self.mapped_until(&range) } else { range.start };
                if range.start < end && end < range.end {
                    self.protect(range.start..end, prot, actor);
                }
            }
            Failed::Mlock(range, lock) => {
                // Locks up to a gap and brings nothing in; with no gap, locks all and stops while it
                // brings pages in, as at memory that may not be read.
                let end = self.mapped_until(&range);
                if range.start < end {
                    self.locks.ranges.insert(range.start..end, lock);
                }
                if end == range.end && lock == Lock::Resident {
                    self.populate_mapped(range, actor);
                }
            }
            Failed::MmapOver(range) => self.doubt(range, How::MmapFixed, actor.stack),
        }
    }

    /// Remembers that a call may have given a range back.
    pub(super) fn doubt(&mut self, range: Range<u64>, how: How, stack: Option<StackRef>) {
        self.doubts.insert(range, Doubt { how, stack });
    }

    /// A page is found not to be there: a call that seemed to fail had given it back.
    pub fn doubt_confirmed(&mut self, range: Range<u64>) {
        for (piece, doubt) in self.doubts.cut(range) {
            self.release(piece, Some((doubt.how, doubt.stack)));
        }
    }

    /// A call that lowered the break was refused.
    pub(super) fn brk_refused(&mut self, tid: u32) {
        self.undo(tid, 0);
    }

    fn madvise_failed(&mut self, range: &Range<u64>, advice: Advice, error: i32, actor: Actor) {
        let matches =
            |pending: &Pending| pending.advice == Some(advice) && pending.taken.old == *range;
        if !self.pending.get(&actor.tid).is_some_and(matches) {
            return;
        }
        match self.reach(range, advice, error) {
            Reach::All => self.went_well(actor.tid),
            Reach::Until(end) => self.undo(actor.tid, end),
            Reach::Unknown => {
                let Some(how) = self.pending.get(&actor.tid).map(|pending| pending.how) else {
                    return;
                };
                self.undo(actor.tid, 0);
                if advice != Advice::Free {
                    self.doubt(range.clone(), how, actor.stack);
                }
            }
        }
    }

    /// How far the kernel goes (`madvise_walk_vmas`, `mm/madvise.c`): over gaps, which are an error
    /// at the end, and up to the first mapping that the advice does not suit.
    fn reach(&self, range: &Range<u64>, advice: Advice, error: i32) -> Reach {
        if error == ENOMEM {
            return Reach::All;
        }
        let suits = |vma: &Vma| match advice {
            Advice::Free => vma.is_private_anonymous(),
            Advice::Remove => vma.shared && vma.file && vma.prot & 2 != 0,
            _ => true,
        };
        if error != EINVAL && advice != Advice::Remove {
            return Reach::Unknown;
        }
        let mut vmas = self.mappings.vmas().within(range.clone());
        let first = vmas.find_map(|(piece, vma)| {
            if !suits(vma) {
                return Some(piece.start);
            }
            self.locks.ranges.within(piece).next().map(|(locked, _)| locked.start)
        });
        first.map_or(Reach::Unknown, Reach::Until)
    }

    /// The thread's call has unmapped nothing, if it is the last that is known of it.
    fn undo_unmap(&mut self, tid: u32, how: How, is: impl Fn(&Range<u64>) -> bool) {
        let last = self.pending.get(&tid);
        if last.is_some_and(|last| last.how == how && is(&last.taken.old)) {
            self.undo(tid, 0);
        }
    }

    /// Puts back what the thread's call took, from an address on.
    fn undo(&mut self, tid: u32, from: u64) {
        let Some(Pending { taken, how, stack, advice }) = self.pending.remove(&tid) else { return };
        if advice != Some(Advice::Free) {
            self.discredit(how, stack, taken.resident_pages(from));
            self.put_back(taken, from);
            return;
        }
        let rest = |run: &Range<u64>| run.start.max(from)..run.end.max(from);
        for (run, before) in &taken.owners {
            self.owners.update(rest(run), |now| {
                let same = now.dirty.is_none() && now.resident == before.resident;
                if same { *before } else { now }
            });
        }
        self.lazy_free.cut(rest(&taken.old));
        for (run, by) in taken.lazy_free {
            let run = rest(&run);
            if !run.is_empty() {
                self.lazy_free.insert(run, by);
            }
        }
    }
}
