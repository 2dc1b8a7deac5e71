//! Values that no kernel gives, and amounts of work that no file of this size is worth.
//!
//! Comes in: an [`Input`] from outside. Goes out: nothing, or what is wrong with it. The model
//! trusts what the kernel has checked (a call that succeeded names a range that exists); in a
//! recording from anybody that is checked here.

use std::collections::BTreeMap;
use std::ops::Range;

use super::varint::Bad;
use crate::model::{Arch, MapOp};
use crate::trace::{
    Body, Event, FaultRun, Input, Missing, Moment, RewriteStep, Rewrites, Snapshot,
};

/// Addresses of user space end below (x86-64 with five levels: 2⁵⁶; arm64: 2⁵²).
const USER_END: u64 = 1 << 57;
/// No file has more pages (`MAX_LFS_FILESIZE`, kernel `include/linux/fs.h`).
const FILE_PAGES: u64 = 1 << 51;
/// The model keeps owners by 2 MiB.
const LEAF: u64 = 2 << 20;
/// Leaves of 2 MiB that all processes may have at once: 64 TiB.
const LEAVES_MAX: u64 = 1 << 25;
/// Work in leaves that a file of any size may ask for, and for each of its bytes.
const WORK_FREE: u64 = 1 << 28;
const WORK_BY_BYTE: u64 = 1 << 12;
/// Executable mappings of all processes at all times, to which the file's bytes are added: 10 000
/// processes with 400 each.
const CODE_FREE: u64 = 1 << 22;
/// Work for each that a process has, whenever more come or are inherited.
const CODE_WORK: u64 = 8;

const BEYOND: Bad = Bad("a time beyond all times");
const OUTSIDE: Bad = Bad("a fault outside of user space");

/// What was asked for so far.
#[derive(Debug)]
pub(crate) struct Limits {
    arch: Arch,
    work: u64,
    leaves: BTreeMap<u32, u64>,
    processes: u64,
    /// Executable mappings that each process was said to have, and all of them.
    code: BTreeMap<u32, u64>,
    all_code: u64,
}

impl Limits {
    pub(crate) fn new(arch: Arch) -> Self {
        let (leaves, code) = (BTreeMap::new(), BTreeMap::new());
        Self { arch, work: 0, leaves, processes: 0, code, all_code: 0 }
    }

    /// Checks an input; `read`: bytes of the file so far.
    pub(crate) fn check(&mut self, input: &Input, read: u64) -> Result<(), Bad> {
        let work = match input {
            Input::Event(event) => self.event(event, read)?,
            Input::Faults(run) => Self::run(run)?,
            Input::Snapshot(snapshot) => self.snapshot(snapshot)?,
            Input::Code(pid, _, code) => {
                if code.iter().any(|code| code.start >= code.end) {
                    return Err(Bad("an empty mapping"));
                }
                self.code(*pid, code.len() as u64, read)?
            }
            Input::Process(..) | Input::Written(..) | Input::Mark(..) => 0,
            Input::Rewrites(rewrites) => Self::rewrites(rewrites)?,
            Input::Heap(heap) => {
                if heap.time_ns > i64::MAX as u64 {
                    return Err(BEYOND);
                }
                heap.free.len() as u64
            }
            Input::Lost(lost) => {
                if [lost.events, lost.stacks, lost.snapshots].iter().any(|n| *n > USER_END) {
                    return Err(Bad("more was lost than there can be"));
                }
                0
            }
        };
        self.work = self.work.saturating_add(work);
        if self.work > WORK_FREE.saturating_add(read.saturating_mul(WORK_BY_BYTE)) {
            return Err(Bad("it asks for more work than a recording of its size can"));
        }
        Ok(())
    }

    /// Checks a run of faults as each of them.
    fn run(run: &FaultRun) -> Result<u64, Bad> {
        let Body::Fault(fault) = &run.first.body else { return Err(Bad("a run of no faults")) };
        if run.times_ns.iter().any(|time_ns| *time_ns > i64::MAX as u64) {
            return Err(BEYOND);
        }
        // The first one outside is outside by less than what wraps around.
        let last =
            i128::from(fault.address) + i128::from(run.stride) * (run.times_ns.len() as i128 - 1);
        if fault.address >= USER_END || !(0..i128::from(USER_END)).contains(&last) {
            return Err(OUTSIDE);
        }
        Ok(0)
    }

    /// Pages that are watched: all that were written are looked at.
    fn rewrites(rewrites: &Rewrites) -> Result<u64, Bad> {
        if rewrites.time_ns > i64::MAX as u64 {
            return Err(BEYOND);
        }
        let ranges = match &rewrites.step {
            RewriteStep::Watched(ranges)
            | RewriteStep::Written(ranges)
            | RewriteStep::Present(ranges) => ranges,
            RewriteStep::Armed(pages) if pages.iter().any(|page| *page >= USER_END) => {
                return Err(OUTSIDE);
            }
            RewriteStep::Begin { period_ns: 0, .. } => return Err(Bad("a period of no time")),
            RewriteStep::Armed(_) | RewriteStep::Begin { .. } | RewriteStep::End => return Ok(0),
        };
        if ranges.iter().any(|range| range.is_empty() || range.end > USER_END) {
            return Err(Bad("a range of pages that is empty or outside of user space"));
        }
        let pages = |range: &Range<u64>| (range.end - range.start) / 4096;
        Ok(match &rewrites.step {
            RewriteStep::Written(_) => ranges.iter().map(pages).sum(),
            _ => ranges.len() as u64,
        })
    }

    /// More executable mappings of a process, which are compared with all that it had.
    fn code(&mut self, pid: u32, more: u64, read: u64) -> Result<u64, Bad> {
        let known = self.code.entry(pid).or_default();
        *known = known.saturating_add(more);
        self.all_code = self.all_code.saturating_add(more);
        if self.all_code > CODE_FREE.saturating_add(read) {
            return Err(Bad("more mappings with code than a recording of its size can have"));
        }
        Ok(known.saturating_mul(CODE_WORK))
    }

    fn event(&mut self, event: &Event, read: u64) -> Result<u64, Bad> {
        if event.time_ns > i64::MAX as u64 {
            return Err(BEYOND);
        }
        match &event.body {
            Body::Fault(fault) if fault.address >= USER_END => Err(OUTSIDE),
            Body::Missing(Missing::Pages(pages)) if pages.start >= USER_END => {
                Err(Bad("pages outside of user space"))
            }
            // Goes through all that is owned.
            Body::Missing(Missing::Pages(_)) => Ok(1),
            Body::Missing(Missing::Space { .. } | Missing::Anywhere) => {
                Ok(self.leaves.values().fold(self.processes, |sum, of| sum.saturating_add(*of)))
            }
            Body::Map(call) => {
                let Some(op) = MapOp::of(call, self.arch) else { return Ok(0) };
                // At a call's entry the program says what it likes; the model bears that.
                let end = match &op {
                    MapOp::Mmap(new) => new.range.end,
                    MapOp::Mprotect(range, _) | MapOp::Mlock(range, _) => range.end,
                    MapOp::MremapExit(mremap, Some(to)) => {
                        mremap.old.end.max(to.saturating_add(mremap.new_size))
                    }
                    MapOp::BrkExit(to) | MapOp::Shmat(to) => *to,
                    MapOp::Munmap(_)
                    | MapOp::Shmdt(_)
                    | MapOp::MremapEntry(_)
                    | MapOp::MremapExit(_, None)
                    | MapOp::BrkEntry(_)
                    | MapOp::Madvise(..)
                    | MapOp::Munlock(_)
                    | MapOp::Munlockall
                    | MapOp::Failed(..)
                    | MapOp::Mlockall { .. } => 0,
                };
                if end >= USER_END {
                    return Err(Bad("a call that succeeded outside of user space"));
                }
                // MADV_FREE goes through what is mapped by leaves.
                Ok(match op {
                    MapOp::Madvise(range, _) => (range.end - range.start).min(USER_END) / LEAF / 64,
                    _ => 0,
                })
            }
            Body::File(change) => {
                if change.index >= FILE_PAGES || u64::from(change.pages) > LEAF {
                    return Err(Bad("pages beyond the end of any file"));
                }
                Ok(self.processes / 64 + u64::from(change.pages) / 512)
            }
            Body::Fork(fork) => {
                self.processes += u64::from(!fork.thread);
                // A child has its parent's.
                let inherited = match self.code.get(&event.pid) {
                    Some(known) if !fork.thread => *known,
                    _ => 0,
                };
                let work = self.code(fork.child_pid, inherited, read)?;
                Ok((self.processes / 64).saturating_add(work))
            }
            Body::Exit { group_dead: true, .. } => {
                self.leaves.remove(&event.pid);
                Ok(self.processes / 64)
            }
            _ => Ok(0),
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<u64, Bad> {
        if snapshot.time_ns > i64::MAX as u64 || snapshot.peak_rss > USER_END {
            return Err(Bad("a snapshot beyond all times or sizes"));
        }
        let mut sum = 0_u64;
        for segment in &snapshot.segments {
            if segment.start >= segment.end || (segment.start | segment.end) % 4096 != 0 {
                return Err(Bad("a segment that is empty or no whole pages"));
            }
            let sizes = [segment.rss, segment.dirty, segment.swap, segment.lazy_free];
            let parts = segment.breakdown.iter().map(|(_, bytes)| bytes);
            sum = sizes.into_iter().chain(parts).fold(sum, u64::saturating_add);
        }
        if sum > 4 * USER_END {
            return Err(Bad("segments larger than user space"));
        }
        let mut leaves = 0_u64;
        for run in snapshot.pages.iter().flatten() {
            let range = &run.range;
            if range.is_empty() || (range.start | range.end) % 4096 != 0 {
                return Err(Bad("a run of pages that is empty or no whole pages"));
            }
            leaves = leaves.saturating_add((range.end - range.start).div_ceil(LEAF));
        }
        self.leaves.insert(snapshot.pid, leaves);
        let all = self.leaves.values().fold(0_u64, |sum, leaves| sum.saturating_add(*leaves));
        if snapshot.moment == Moment::AtExit {
            self.leaves.remove(&snapshot.pid);
        }
        if all > LEAVES_MAX {
            return Err(Bad("more resident memory than any machine has"));
        }
        Ok(leaves)
    }
}
