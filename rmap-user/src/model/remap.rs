//! Calls that change mappings: what is mapped afterwards, and what is no longer resident.
//!
//! `undo` has those that give memory back, `locked` those that lock it.

use std::ops::Range;

use super::call::{Advice, MapOp, Mremap, NewMapping};
use super::cause::{Cause, How};
use super::mapping::{Actor, Call, InstanceId, Origin, Vma};
use super::owners::{PAGE, page_up};
use super::populated::Populated;
use super::space::AddressSpace;
use super::taken::shifted;
use crate::trace::FileId;

impl AddressSpace {
    /// Applies a call.
    pub fn remap(&mut self, op: MapOp, actor: Actor) {
        // A call that the thread made before is over, and if it had failed that would be known.
        if !matches!(op, MapOp::Failed(..) | MapOp::BrkExit(_)) {
            self.went_well(actor.tid);
        }
        match op {
            MapOp::Mmap(new) => self.mmap(&new, actor),
            MapOp::Munmap(range) => self.unmap(range, How::Munmap, actor),
            MapOp::MremapEntry(mremap) => self.mremap_entry(&mremap, actor),
            MapOp::MremapExit(mremap, result) => self.mremap_exit(&mremap, result, actor),
            MapOp::BrkEntry(to) => self.brk_entry(to, actor),
            MapOp::BrkExit(to) => self.brk_exit(to, actor),
            MapOp::Mprotect(range, prot) => self.protect(range, prot, actor),
            MapOp::Madvise(range, advice) => self.madvise(range, advice, actor),
            // Its size comes with the next snapshot; until then the segment's call is kept.
            MapOp::Shmat(at) => self.shmat(at, actor),
            MapOp::Shmdt(at) => self.shmdt(at, actor),
            MapOp::Mlock(range, lock) => self.lock(range, lock, actor),
            MapOp::Mlockall { current, future, lock } => {
                self.lock_all(current, future, lock, actor);
            }
            MapOp::Munlock(range) => self.unlock(range),
            MapOp::Munlockall => self.unlock_all(),
            MapOp::Failed(failed, error) => self.failed(failed, error, actor),
        }
    }

    pub(super) fn protect(&mut self, range: Range<u64>, prot: u8, actor: Actor) {
        self.protect_locked(&range, prot, actor);
        self.mappings.protect(range, prot);
    }

    fn mmap(&mut self, new: &NewMapping, actor: Actor) {
        let range = new.range.clone();
        self.release(range.clone(), new.fixed.then_some((How::MmapFixed, actor.stack)));
        if let Some(rewrites) = &mut self.rewrites {
            rewrites.replaced(&range);
        }
        let instance = self.mappings.new_instance();
        let vma = Vma {
            instance,
            origin: Origin { call: Call::Mmap, actor },
            file: new.file,
            shared: new.shared,
            grows_down: new.grows_down,
            inherited: false,
            prot: new.prot,
            base: match (new.file, new.shared) {
                (true, _) => range.start.wrapping_sub(new.offset),
                (false, true) => range.start,
                (false, false) => 0,
            },
            id: new.id.or_else(|| (new.shared && !new.file).then(|| self.nameless(actor))),
        };
        self.mappings.map(range.clone(), vma);
        self.mergeable.cut(range.clone());
        self.unmerged.cut(range.clone());
        if self.lock_new(range.clone(), new.locked) || new.populate {
            self.populate_mapped(range, actor);
        }
    }

    /// Shared memory without a name of its own: nobody has it but who inherits it. No device has
    /// this number (kernel `include/linux/kdev_t.h`).
    const fn nameless(&self, actor: Actor) -> FileId {
        FileId { device: (u32::MAX, self.key.0), inode: actor.time_ns }
    }

    /// Notes that a call brought a range in. Who did so before keeps what he brought.
    pub(super) fn populate(&mut self, range: Range<u64>, write: bool, cause: Cause, actor: Actor) {
        let path = self.paths.intern(actor.stack, cause);
        let populated = Populated { path, tid: actor.tid, time_ns: actor.time_ns, write };
        for gap in self.populated.gaps(range) {
            self.populated.insert(gap, populated);
        }
    }

    fn madvise(&mut self, range: Range<u64>, advice: Advice, actor: Actor) {
        match advice {
            Advice::Dontneed => self.give_up(range, advice, How::Dontneed, actor),
            Advice::Guard => self.give_up(range, advice, How::Guard, actor),
            Advice::Remove => self.give_up(range, advice, How::Remove, actor),
            Advice::Free => self.give_up(range, advice, How::Free, actor),
            Advice::PopulateRead => self.populate(range, false, Cause::Populate, actor),
            Advice::PopulateWrite => self.populate(range, true, Cause::Populate, actor),
            Advice::Collapse => self.populate(range, true, Cause::Collapse, actor),
            Advice::Merge(true) => {
                self.unmerged.cut(range.clone());
                self.mergeable.insert(range, ());
            }
            Advice::Merge(false) => {
                for (part, ()) in self.mergeable.cut(range) {
                    self.unmerged.insert(part, ());
                }
            }
            Advice::Pageout => {
                self.paged_out.insert(range, actor.stack);
            }
        }
    }

    fn brk_entry(&mut self, to: u64, actor: Actor) {
        let Some(now) = self.brk.filter(|now| to < *now && to != 0) else { return };
        // A break below the heap is refused.
        let heap = self.mappings.vmas().last_below(page_up(now)).map(|(range, _)| range.start);
        let gone = page_up(to)..page_up(now);
        if heap.is_some_and(|start| start <= gone.start) && !gone.is_empty() {
            self.unmap(gone, How::Brk, actor);
        }
    }

    fn brk_exit(&mut self, to: u64, actor: Actor) {
        let Some(now) = self.brk.replace(to) else { return };
        let (old_end, new_end) = (page_up(now), page_up(to));
        if new_end < old_end {
            self.went_well(actor.tid);
        } else {
            self.brk_refused(actor.tid);
        }
        if new_end < old_end {
            self.release(new_end..old_end, Some((How::Brk, actor.stack)));
            self.mappings.unmap(new_end..old_end);
        } else if old_end < new_end {
            let below = self
                .mappings
                .vmas()
                .last_below(old_end)
                .filter(|(range, vma)| range.end == old_end && Some(vma.instance) == self.heap)
                .map(|(_, vma)| *vma);
            let vma = below.unwrap_or_else(|| {
                let new = self.anonymous(Origin { call: Call::Brk, actor });
                self.heap = Some(new.instance);
                new
            });
            // Nothing is released: nobody was there, unless a call before this one was missed, and
            // then what has come since is still there.
            self.mappings.map(old_end..new_end, vma);
            if self.lock_new(old_end..new_end, false) {
                self.populate_mapped(old_end..new_end, actor);
            }
        }
    }

    /// The size of the segment is not part of the call, so one page stands for it until a
    /// snapshot shows the rest.
    fn shmat(&mut self, at: u64, actor: Actor) {
        let instance = self.mappings.new_instance();
        let vma = Vma {
            instance,
            origin: Origin { call: Call::Shmat, actor },
            file: true,
            shared: true,
            grows_down: false,
            inherited: false,
            prot: 3,
            base: at,
            id: None,
        };
        self.release(at..at + PAGE, None);
        self.mappings.map(at..at + PAGE, vma);
        if self.lock_new(at..at + PAGE, false) {
            self.populate_mapped(at..at + PAGE, actor);
        }
    }

    fn shmdt(&mut self, at: u64, actor: Actor) {
        let vmas = self.mappings.vmas();
        let Some((range, vma)) = vmas.find(at).filter(|(_, v)| v.origin.call == Call::Shmat) else {
            return;
        };
        let instance = vma.instance;
        // Pages behind the first may have been touched with no mapping known.
        let next = vmas.first_from(range.end).map_or(u64::MAX - PAGE, |(next, _)| next.start);
        let whole = if range.end - range.start == PAGE { range.start..next } else { range };
        let end = vmas
            .within(whole.clone())
            .filter(|(_, vma)| vma.instance == instance)
            .last()
            .map_or(whole.end, |(piece, _)| piece.end.max(whole.end));
        self.unmap(whole.start..end, How::Shmdt, actor);
    }

    fn mremap_entry(&mut self, mremap: &Mremap, actor: Actor) {
        let in_flight = self.detach(mremap.old.clone());
        if let Some(lost) = self.in_flight.insert(actor.tid, in_flight) {
            // The exit of an earlier call was not seen: what it took is where it was, at best.
            self.put(lost, 0, u64::MAX);
        }
    }

    fn mremap_exit(&mut self, mremap: &Mremap, result: Option<u64>, actor: Actor) {
        let old = mremap.old.clone();
        let taken = match self.in_flight.remove(&actor.tid) {
            Some(taken) if taken.old == old => taken,
            Some(lost) => {
                self.put(lost, 0, u64::MAX);
                self.detach(old.clone())
            }
            None => self.detach(old.clone()),
        };
        let Some(new) = result else {
            self.put(taken, 0, u64::MAX);
            self.mremap_failed(mremap, actor);
            return;
        };
        let old_size = old.end - old.start;
        let target = new..new.saturating_add(mremap.new_size);
        let moved = new != old.start || old_size == 0;
        let origin = Origin { call: Call::Mremap, actor };
        let mut kept = Vec::new();
        if old_size == 0 {
            self.second_mapping(old.start, target, origin);
            return;
        }
        let mut taken = taken;
        if moved {
            // Other threads may have touched the old range between entry and effect.
            if self.mappings.vmas().within(old.clone()).next().is_none() {
                let mut late = self.detach(old.clone());
                late.owners.append(&mut taken.owners);
                taken.owners = late.owners;
                taken.around.append(&mut late.around);
            }
            self.release(target.clone(), Some((How::Mremap, actor.stack)));
            if let Some(rewrites) = &mut self.rewrites {
                rewrites.replaced(&target);
                rewrites.moved(&old, new.wrapping_sub(old.start));
            }
            self.mappings.unmap(target.clone());
            if mremap.keep_old {
                kept.clone_from(&taken.vmas);
            }
            for (_, vma) in &mut taken.vmas {
                vma.origin = origin;
            }
        } else if old.end < target.end {
            self.release(old.end..target.end, None);
        }
        let last = taken.vmas.last().map(|(_, vma)| *vma);
        let shrunk: u64 = taken
            .owners
            .iter()
            .filter(|(_, owner)| owner.resident.is_some())
            .map(|(run, _)| {
                run.end.saturating_sub(run.start.max(old.start + mremap.new_size)) / PAGE
            })
            .sum();
        self.credit(How::Mremap, actor.stack, shrunk);
        self.put(taken, new.wrapping_sub(old.start), mremap.new_size);
        if old_size < mremap.new_size {
            let shift = new.wrapping_sub(old.start);
            let vma = last.map_or_else(
                || self.anonymous(origin),
                |vma| Vma { base: shifted(&vma, shift), ..vma },
            );
            self.mappings.map(new + old_size..target.end, vma);
            self.lock_grown(new, new + old_size..target.end, actor);
        }
        for (range, vma) in kept {
            self.mappings.map(range, vma);
        }
    }

    /// One that was to go to a certain address has unmapped what was there, and what it was to cut
    /// off, before it can fail (`mremap_to`, `mm/mremap.c`).
    fn mremap_failed(&mut self, mremap: &Mremap, actor: Actor) {
        let Some(target) = mremap.fixed else { return };
        let (old, size) = (&mremap.old, mremap.new_size);
        let target = target..target.saturating_add(size);
        let apart = target.end <= old.start || old.end <= target.start;
        if apart && !target.is_empty() {
            self.doubt(target, How::Mremap, actor.stack);
            let rest = old.start.saturating_add(size)..old.end;
            if !rest.is_empty() {
                self.doubt(rest, How::Mremap, actor.stack);
            }
        }
    }

    /// `mremap` of no bytes of a shared mapping makes a second one of the same memory.
    fn second_mapping(&mut self, of: u64, target: Range<u64>, origin: Origin) {
        let first = self.mappings.vmas().find(of).map(|(_, vma)| *vma);
        self.release(target.clone(), Some((How::Mremap, origin.actor.stack)));
        let new = self.anonymous(origin);
        let vma = first.map_or(new, |first| Vma {
            instance: new.instance,
            origin,
            base: shifted(&first, target.start.wrapping_sub(of)),
            inherited: false,
            ..first
        });
        self.mappings.map(target, vma);
    }

    /// A new instance of private anonymous memory.
    fn anonymous(&mut self, origin: Origin) -> Vma {
        Vma {
            instance: self.mappings.new_instance(),
            origin,
            file: false,
            shared: false,
            grows_down: false,
            inherited: false,
            prot: 3,
            base: 0,
            id: None,
        }
    }

    /// The instance of the heap, if there is one.
    #[must_use]
    pub const fn heap(&self) -> Option<InstanceId> {
        self.heap
    }
}
