//! Names kills for want of memory: whose, in which control group, at which limit.
//!
//! Comes in: processes as they begin, fork, and end by SIGKILL. Goes out: [`Oom`]s. The kernel counts its
//! kills by group and for the whole machine; one that died by SIGKILL while a count rose was killed for
//! want of memory.

use std::collections::HashMap;

use crate::live::memory_group::{MemoryGroup, all_kills};
use crate::report::Oom;

/// Groups of so many processes are kept.
const MOST: usize = 1 << 16;
/// What `wait(2)` shows of a process that SIGKILL ended.
const SIGKILL: i32 = 9;

/// The groups of the processes of a session, and the counts when they were met.
#[derive(Debug, Default)]
pub(super) struct OomWatch {
    groups: Vec<(MemoryGroup, Option<u64>)>,
    /// By process: the position in `groups`; `None`: none counts its memory.
    of: HashMap<u32, Option<usize>>,
    all: Option<u64>,
    found: Vec<Oom>,
}

impl OomWatch {
    /// A process runs, or runs another program.
    pub(super) fn begins(&mut self, pid: u32) {
        if self.all.is_none() {
            self.all = all_kills();
        }
        if self.of.len() >= MOST {
            return;
        }
        let group = MemoryGroup::of(pid).map(|group| {
            let known = self.groups.iter().position(|(known, _)| *known == group);
            known.unwrap_or_else(|| {
                let kills = group.kills();
                self.groups.push((group, kills));
                self.groups.len() - 1
            })
        });
        self.of.insert(pid, group);
    }

    /// A process was made; it begins in the group of its parent.
    pub(super) fn forked(&mut self, parent: u32, child: u32) {
        if let Some(group) = self.of.get(&parent).copied().filter(|_| self.of.len() < MOST) {
            self.of.insert(child, group);
        }
    }

    /// A process has ended, with this status of `wait(2)`, at a time after the start.
    pub(super) fn ended(&mut self, pid: u32, status: i32, at_ns: u64) {
        let Some(group) = self.of.remove(&pid) else { return };
        if status & 0x7f != SIGKILL {
            return;
        }
        if let Some((group, kills)) = group.and_then(|at| self.groups.get_mut(at))
            && let Some(now) = group.kills()
            && kills.replace(now).is_some_and(|before| now > before)
        {
            let cgroup = Some(group.name.clone());
            self.found.push(Oom { pid, at_ns, cgroup, limit_bytes: group.limit() });
            self.all = all_kills();
            return;
        }
        let now = all_kills();
        if now > self.all && self.all.is_some() {
            self.found.push(Oom { pid, at_ns, cgroup: None, limit_bytes: None });
        }
        self.all = now.or(self.all);
    }

    /// The kills so far.
    pub(super) fn take(&mut self) -> Vec<Oom> {
        std::mem::take(&mut self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_in_another_way_is_no_kill() {
        let mut watch = OomWatch::default();
        let pid = std::process::id();
        watch.begins(pid);
        watch.forked(pid, 7);
        watch.ended(7, 0, 10);
        watch.ended(8, SIGKILL, 10);
        assert!(watch.take().is_empty());
        assert_eq!(watch.of.len(), 1);
    }
}
