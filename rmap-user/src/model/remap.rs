//! Calls that change mappings: what is mapped afterwards, and what is no longer resident.

use std::ops::Range;

use super::call::{Advice, MapOp, Mremap, NewMapping};
use super::candidates::Candidate;
use super::cause::{Cause, How};
use super::mapping::{Actor, Call, InstanceId, Origin, Vma};
use super::owners::{Owner, PAGE, page_up};
use super::path::{PathId, StackRef};
use super::space::{AddressSpace, Populated};
use crate::trace::FileId;

/// What `mremap` has taken from the old range and not yet put anywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    old: Range<u64>,
    vmas: Vec<(Range<u64>, Vma)>,
    owners: Vec<(Range<u64>, Owner)>,
    around: Vec<(u64, Candidate)>,
    populated: Vec<(Range<u64>, Populated)>,
    lazy_free: Vec<(Range<u64>, Option<StackRef>)>,
    lost: Vec<(Range<u64>, ())>,
}

impl AddressSpace {
    /// Applies a call.
    pub fn remap(&mut self, op: MapOp, actor: Actor) {
        match op {
            MapOp::Mmap(new) => self.mmap(&new, actor),
            MapOp::Munmap(range) => {
                self.release(range.clone(), Some((How::Munmap, actor.stack)));
                self.mappings.unmap(range);
            }
            MapOp::MremapEntry(mremap) => self.mremap_entry(&mremap, actor),
            MapOp::MremapExit(mremap, result) => self.mremap_exit(&mremap, result, actor),
            MapOp::BrkEntry(to) => self.brk_entry(to, actor),
            MapOp::BrkExit(to) => self.brk_exit(to, actor),
            MapOp::Mprotect(range, prot) => self.mappings.protect(range, prot),
            MapOp::Madvise(range, advice) => self.madvise(range, advice, actor),
            // Its size comes with the next snapshot; until then the segment's call is kept.
            MapOp::Shmat(at) => self.shmat(at, actor),
            MapOp::Shmdt(at) => self.shmdt(at, actor),
            MapOp::Mlock(range) => self.populate(range, true, Cause::Populate, actor),
            MapOp::Mlockall { current, future } => {
                self.lock_future |= future;
                if current {
                    let all: Vec<_> = self
                        .mappings
                        .vmas()
                        .iter()
                        .filter(|(_, vma)| vma.prot != 0)
                        .map(|(range, _)| range)
                        .collect();
                    for range in all {
                        self.populate(range, true, Cause::Populate, actor);
                    }
                }
            }
        }
    }

    fn mmap(&mut self, new: &NewMapping, actor: Actor) {
        let range = new.range.clone();
        self.release(range.clone(), new.fixed.then_some((How::MmapFixed, actor.stack)));
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
        if (new.populate || self.lock_future) && new.prot != 0 {
            // Shared files are populated as by a read.
            self.populate(range, !new.shared, Cause::Populate, actor);
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
            Advice::Dontneed => self.drop_pages(range, How::Dontneed, actor.stack),
            Advice::Remove => self.release(range, Some((How::Remove, actor.stack))),
            Advice::Free => {
                let pieces: Vec<_> = self
                    .mappings
                    .vmas()
                    .within(range)
                    .filter(|(_, vma)| vma.is_private_anonymous())
                    .map(|(piece, _)| piece)
                    .collect();
                for piece in pieces {
                    self.owners.claim(piece.clone(), None, Some(PathId::NONE));
                    self.lazy_free.insert(piece, actor.stack);
                }
            }
            Advice::PopulateRead => self.populate(range, false, Cause::Populate, actor),
            Advice::PopulateWrite => self.populate(range, true, Cause::Populate, actor),
            Advice::Collapse => self.populate(range, true, Cause::Collapse, actor),
            Advice::Merge(true) => {
                self.mergeable.insert(range, ());
            }
            Advice::Merge(false) => {
                self.mergeable.cut(range);
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
            self.release(gone, Some((How::Brk, actor.stack)));
        }
    }

    fn brk_exit(&mut self, to: u64, actor: Actor) {
        let Some(now) = self.brk.replace(to) else { return };
        let (old_end, new_end) = (page_up(now), page_up(to));
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
            if self.lock_future {
                self.populate(old_end..new_end, true, Cause::Populate, actor);
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
        self.release(whole.start..end, Some((How::Shmdt, actor.stack)));
        self.mappings.unmap(whole.start..end);
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
        }
        for (range, vma) in kept {
            self.mappings.map(range, vma);
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

    /// Takes all that is known of a range out.
    fn detach(&mut self, old: Range<u64>) -> InFlight {
        let mut owners = Vec::new();
        self.owners.take(old.clone(), |run, owner| owners.push((run, owner)));
        self.arounds.forget(&old);
        InFlight {
            vmas: self.mappings.detach(old.clone()),
            owners,
            around: self.around.cut(old.clone()),
            populated: self.populated.cut(old.clone()),
            lazy_free: self.lazy_free.cut(old.clone()),
            lost: self.lost.cut(old.clone()),
            old,
        }
    }

    /// Puts what was taken `shift` bytes further up, as far as `size` reaches; drops the rest.
    /// Claims that others made there meanwhile stay.
    fn put(&mut self, taken: InFlight, shift: u64, size: u64) {
        let end = taken.old.start.saturating_add(size);
        let to = |range: &Range<u64>| {
            let clipped = range.start..range.end.min(end);
            (clipped.start < clipped.end)
                .then(|| clipped.start.wrapping_add(shift)..clipped.end.wrapping_add(shift))
        };
        for (range, vma) in taken.vmas {
            if range.end > end {
                self.mappings.reap(&[(range.start.max(end)..range.end, vma)]);
            }
            if let Some(range) = to(&range) {
                self.mappings.attach(range, Vma { base: shifted(&vma, shift), ..vma });
            }
        }
        for (range, owner) in taken.owners {
            if let Some(range) = to(&range) {
                self.owners.update(range, |now| if now.is_nobody() { owner } else { now });
            }
        }
        for (start, candidate) in taken.around {
            if let Some(window) = to(&(start..candidate.end)) {
                self.around.add(window.start, Candidate { end: window.end, ..candidate });
            }
        }
        for (range, populated) in taken.populated {
            if let Some(range) = to(&range) {
                self.populated.insert(range, populated);
            }
        }
        for (range, stack) in taken.lazy_free {
            if let Some(range) = to(&range) {
                self.lazy_free.insert(range, stack);
            }
        }
        for (range, ()) in taken.lost {
            if let Some(range) = to(&range) {
                self.lost.insert(range, ());
            }
        }
    }

    /// The instance of the heap, if there is one.
    #[must_use]
    pub const fn heap(&self) -> Option<InstanceId> {
        self.heap
    }
}

const fn shifted(vma: &Vma, shift: u64) -> u64 {
    if vma.file || vma.shared { vma.base.wrapping_add(shift) } else { vma.base }
}
