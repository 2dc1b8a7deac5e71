//! Memory that came with no fault: pinned (`O_DIRECT`, io_uring), filled for userfaultfd, written by
//! another process, or by khugepaged. The call names the memory, seldom all of it; a snapshot shows
//! which of it came.

use super::arch::Syscall;
use super::call::around;
use super::cause::Cause;
use super::mapping::Actor;
use super::path::PathId;
use super::space::AddressSpace;
use super::unplaced::Unnamed;
use crate::trace::Rss;

/// A call may name more memory than its record holds: then so many pages may be its own.
const MORE: u64 = 1 << 40;
/// The type byte of userfaultfd's ioctls (`UFFDIO`, kernel `include/uapi/linux/userfaultfd.h`).
const USERFAULTFD: u64 = 0xaa;

impl AddressSpace {
    /// Applies an access with no fault. `own`: the acting thread runs in this space. `syscall`:
    /// what the model knows of the call in which it was.
    pub fn access(&mut self, rss: &Rss, actor: Actor, syscall: Option<Syscall>, own: bool) {
        if rss.actor.is_none() {
            self.unplaced.collapse = true;
            return;
        }
        let fills = syscall == Some(Syscall::Ioctl) && rss.request >> 8 & 0xff == USERFAULTFD;
        let cause = match own {
            _ if fills => Cause::UserFault,
            true => Cause::Pinned,
            false => Cause::RemoteWrite,
        };
        // What is written to a file is read from memory.
        let write = !(own && syscall == Some(Syscall::WriteOther));
        for range in rss.ranges.iter().filter_map(|(start, bytes)| around(*start, *bytes)) {
            self.populate(range, write, cause, actor);
        }
        if rss.ranges.is_empty() || rss.more {
            let path = self.paths.intern(actor.stack, cause);
            self.unnamed(path, actor, own, if rss.more { MORE } else { 1 });
        }
    }

    fn unnamed(&mut self, path: PathId, actor: Actor, own: bool, pages: u64) {
        let budget = if own { &mut self.unplaced.pinned } else { &mut self.unplaced.remote };
        *budget = budget.saturating_add(pages);
        let known = self.unplaced.by.iter_mut().find(|by| by.path == path && by.own == own);
        if let Some(known) = known {
            known.pages = known.pages.saturating_add(pages);
        } else {
            let (tid, time_ns) = (actor.tid, actor.time_ns);
            self.unplaced.by.push(Unnamed { path, tid, time_ns, own, pages });
        }
    }
}
