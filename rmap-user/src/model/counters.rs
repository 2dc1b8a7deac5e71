//! Pages that came or went with no fault: `O_DIRECT`, ptrace, khugepaged, reclaim, truncation.
//! The counters tell how many, seldom where.

use super::arch::Syscall;
use super::candidates::Candidate;
use super::cause::{Cause, How};
use super::mapping::Actor;
use super::owners::page_down;
use super::space::AddressSpace;
use crate::event::Rss;

/// Pages that came with no fault and no address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unplaced {
    /// By the process's own access through the kernel, as with io_uring.
    pub pinned: u64,
    /// By another process.
    pub remote: u64,
    /// By the kernel, filling the holes of huge pages.
    pub collapse: u64,
}

impl AddressSpace {
    /// Applies counters that moved with no fault. `own`: the acting thread runs in this space.
    /// `syscall`: what the model knows of the call in which it was.
    pub fn counters(&mut self, rss: &Rss, actor: Actor, syscall: Option<Syscall>, own: bool) {
        let by = |member: Option<i32>| i64::from(member.unwrap_or(0));
        let delta = &rss.delta;
        let resident = by(delta.anon) + by(delta.file) + by(delta.shmem);
        if own {
            match syscall {
                Some(
                    Syscall::Mmap
                    | Syscall::Mprotect
                    | Syscall::Munmap
                    | Syscall::Brk
                    | Syscall::Mremap
                    | Syscall::Shmat
                    | Syscall::Shmdt
                    | Syscall::Mlock
                    | Syscall::Mlock2
                    | Syscall::Mlockall
                    | Syscall::Exec,
                ) => {}
                // What was given back by MADV_DONTNEED is counted at its entry.
                Some(Syscall::Madvise) => {
                    self.credit(How::Pageout, actor.stack, pages(by(delta.swap)));
                }
                Some(Syscall::Truncate) => {
                    self.credit(How::Truncate, actor.stack, pages(-resident));
                }
                Some(Syscall::ReadBuffer) if resident > 0 => self.pinned_read(rss, actor, resident),
                Some(Syscall::ReadBuffer | Syscall::WriteOther) | None => {
                    if rss.syscall.is_some() {
                        self.unplaced.pinned += pages(resident);
                    }
                    self.credit(How::Reclaim, None, pages(-resident));
                }
            }
            return;
        }
        if resident < 0 {
            let how = match syscall {
                Some(Syscall::Truncate) => How::Truncate,
                _ => How::Reclaim,
            };
            self.credit(how, None, pages(-resident));
        } else if rss.syscall.is_none() {
            self.unplaced.collapse += pages(by(delta.anon));
        } else {
            // A private copy of a file's page leaves the sum as it was.
            self.unplaced.remote += pages(resident.max(by(delta.anon)));
        }
    }

    /// A read past the page cache: its pages lie from the buffer's start on.
    fn pinned_read(&mut self, rss: &Rss, actor: Actor, resident: i64) {
        let start = page_down(rss.args[1]);
        let Some((range, vma)) = self.mappings.vmas().find(start) else {
            self.unplaced.pinned += pages(resident);
            return;
        };
        let instance = vma.instance;
        let path = self.paths.intern(actor.stack, Cause::Pinned);
        let remaining = u32::try_from(resident).unwrap_or(u32::MAX);
        self.pinned.add(start, Candidate { end: range.end, remaining, path, exact: true });
        self.mappings.stats_mut(instance, path).add(pages(resident), 0, actor.tid, actor.time_ns);
    }
}

fn pages(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
