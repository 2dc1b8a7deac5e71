//! The books of the control group that is attached to, through a session.
//!
//! Comes in: the group, and the processes that are traced. Goes out: its [`Cgroup`], with what of the
//! last charge the processes' pages are.

use crate::live::cgroup::Group;
use crate::live::procfs;
use crate::report::Cgroup;

/// How often the books are read in between (ns): who removes the group with its last process takes
/// them along.
const EVERY: u64 = 1_000_000_000;

/// The books so far.
pub(super) struct Ledger {
    group: Group,
    started_ns: u64,
    read_ns: u64,
    cgroup: Cgroup,
}

impl Ledger {
    /// Reads the first books.
    pub(super) fn open(group: Group, started_ns: u64) -> Self {
        let now = procfs::monotonic_ns();
        let cgroup = group.begin(now.saturating_sub(started_ns));
        Self { group, started_ns, read_ns: now, cgroup }
    }

    fn read(&mut self) -> bool {
        self.read_ns = procfs::monotonic_ns();
        let books = self.group.books(self.read_ns.saturating_sub(self.started_ns));
        let is_there = books.is_some();
        if is_there {
            self.cgroup.after = books;
        }
        is_there
    }

    /// Reads the books once more, if it is time to.
    pub(super) fn look(&mut self) {
        if procfs::monotonic_ns().saturating_sub(self.read_ns) >= EVERY {
            self.read();
        }
    }

    /// Reads the last books, and whose pages the processes map. They go on meanwhile.
    pub(super) fn close(&mut self, pids: &[u32]) {
        if self.cgroup.before.is_none() {
            return;
        }
        match self.group.pages(pids) {
            Ok(pages) => self.cgroup.pages = Some(pages),
            Err(error) => self
                .cgroup
                .notes
                .push(format!("to whom the processes' pages are charged cannot be read: {error}")),
        }
        self.read();
    }

    /// Ends a session. Where no books were read before the processes ended, they have no pages.
    pub(super) fn end(mut self) -> Cgroup {
        if self.cgroup.pages.is_none() && self.cgroup.before.is_some() {
            let is_there = self.read();
            if !is_there && self.cgroup.after.is_some() {
                let note =
                    "the group was removed before the session ended; these are its last books";
                self.cgroup.notes.push(note.to_owned());
            }
            if is_there && self.cgroup.notes.is_empty() {
                self.cgroup.pages = Some(Default::default());
            }
        }
        self.cgroup.divide();
        self.cgroup
    }
}
