//! Who is followed: processes, their threads, and who shares memory with whom.
//!
//! Comes in: what the kernel's stops say. Goes out: whether a thread is its process's last, and
//! whether a memory has another process. No system calls here.

use std::collections::{HashMap, HashSet};

/// The followed processes and threads.
#[derive(Debug, Default)]
pub(super) struct Table {
    processes: HashMap<u32, Process>,
    /// Every thread that was not reaped, with its process.
    threads: HashMap<u32, Thread>,
    memories: u64,
    /// Threads that were ever added.
    added: u64,
}

/// A followed thread.
#[derive(Clone, Copy, Debug)]
struct Thread {
    process: u32,
    /// Lower: followed for longer.
    age: u64,
}

/// A followed process.
#[derive(Debug)]
pub(super) struct Process {
    /// Threads that have not stood at their exit.
    alive: HashSet<u32>,
    /// Equal numbers: the same memory.
    memory: u64,
    /// The fork it came from, until the observer was told.
    pub(super) birth: Option<Birth>,
    /// Only its threads are followed, not the processes it creates.
    pub(super) threads_only: bool,
    /// [`Table::forget_dead`] was done for its end.
    pub(super) settled: bool,
    /// Its leader was dead before it was followed, and will not be reaped here.
    leaderless: bool,
}

/// How a process came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    pub(super) parent: u32,
    pub(super) shares_mm: bool,
}

/// What a thread's exit means for its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) last_thread: bool,
    pub(super) shares_mm: bool,
}

impl Table {
    /// The process of a thread.
    pub(super) fn process_of(&self, tid: u32) -> Option<u32> {
        self.threads.get(&tid).map(|thread| thread.process)
    }

    /// A process by its PID.
    pub(super) fn process(&mut self, pid: u32) -> Option<&mut Process> {
        self.processes.get_mut(&pid)
    }

    /// A new process, with one thread.
    pub(super) fn add_process(&mut self, pid: u32, birth: Option<Birth>, threads_only: bool) {
        let shared = birth.filter(|birth| birth.shares_mm);
        let memory = shared.and_then(|birth| self.processes.get(&birth.parent)).map(|p| p.memory);
        let memory = memory.unwrap_or_else(|| self.new_memory());
        self.processes.insert(
            pid,
            Process {
                alive: HashSet::from([pid]),
                memory,
                birth,
                threads_only,
                settled: false,
                leaderless: false,
            },
        );
        self.insert_thread(pid, pid);
    }

    /// A process that ran before, of which each thread is to be added. Its leader may be dead.
    pub(super) fn add_running(&mut self, pid: u32, threads_only: bool) {
        self.add_process(pid, None, threads_only);
        self.threads.remove(&pid);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.alive.clear();
            process.leaderless = true;
        }
    }

    /// All processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }

    /// The threads of a process that were not reaped.
    pub(super) fn threads_of(&self, pid: u32) -> Vec<u32> {
        let own = self.threads.iter().filter(|(_, thread)| thread.process == pid);
        own.map(|(tid, _)| *tid).collect()
    }

    /// When a thread was added, for sorting: the oldest first, the unknown last.
    pub(super) fn age(&self, tid: u32) -> u64 {
        self.threads.get(&tid).map_or(u64::MAX, |thread| thread.age)
    }

    /// All threads that were not reaped, the oldest first.
    pub(super) fn by_age(&self) -> Vec<u32> {
        let mut threads: Vec<_> = self.threads.iter().map(|(tid, t)| (t.age, *tid)).collect();
        threads.sort_unstable();
        threads.into_iter().map(|(_, tid)| tid).collect()
    }

    fn insert_thread(&mut self, pid: u32, tid: u32) {
        self.added += 1;
        self.threads.insert(tid, Thread { process: pid, age: self.added });
    }

    /// A new thread; known already is no error.
    pub(super) fn add_thread(&mut self, pid: u32, tid: u32) {
        if self.threads.contains_key(&tid) {
            return;
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.alive.insert(tid);
            process.leaderless &= tid != pid;
            self.insert_thread(pid, tid);
        }
    }

    /// Exec: one thread stays, with the process's number, in a new memory.
    pub(super) fn exec(&mut self, pid: u32) {
        let memory = self.new_memory();
        let age = self.age(pid);
        self.threads.retain(|_, thread| thread.process != pid);
        self.threads.insert(pid, Thread { process: pid, age });
        if let Some(process) = self.processes.get_mut(&pid) {
            process.alive = HashSet::from([pid]);
            process.memory = memory;
            process.settled = false;
            process.leaderless = false;
        }
    }

    /// The other threads of a process that have not stood at their exit.
    pub(super) fn others(&self, pid: u32, tid: u32) -> Vec<u32> {
        let alive = self.processes.get(&pid).map(|process| &process.alive);
        alive.into_iter().flatten().copied().filter(|&other| other != tid).collect()
    }

    /// A thread stands at its exit.
    pub(super) fn exit(&mut self, pid: u32, tid: u32) -> Exit {
        let Some(process) = self.processes.get_mut(&pid) else {
            return Exit { last_thread: false, shares_mm: false };
        };
        process.alive.remove(&tid);
        let (last_thread, memory) = (process.alive.is_empty(), process.memory);
        let shares_mm = self.processes.iter().any(|(&other, process)| {
            other != pid && process.memory == memory && !process.alive.is_empty()
        });
        Exit { last_thread, shares_mm }
    }

    /// A thread that will not stand at its exit any more.
    pub(super) fn forget_dead(&mut self, pid: u32, tid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.alive.remove(&tid);
        }
    }

    /// A thread was reaped. Gives its process if that ended by it: the leader is reaped last,
    /// unless it was dead before anybody followed it.
    pub(super) fn reaped(&mut self, tid: u32) -> Option<u32> {
        let pid = self.threads.remove(&tid)?.process;
        let leaderless = self.processes.get(&pid).is_some_and(|process| process.leaderless);
        if pid == tid || leaderless && !self.threads.values().any(|thread| thread.process == pid) {
            self.remove_process(pid);
            return Some(pid);
        }
        self.forget_dead(pid, tid);
        None
    }

    /// A process is not followed any more.
    pub(super) fn remove_process(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.threads.retain(|_, thread| thread.process != pid);
    }

    fn new_memory(&mut self) -> u64 {
        self.memories += 1;
        self.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn exit(last_thread: bool, shares_mm: bool) -> Exit {
        Exit { last_thread, shares_mm }
    }

    #[test]
    fn the_last_thread_need_not_be_the_leader() {
        let mut table = Table::default();
        table.add_process(10, None, false);
        table.add_thread(10, 11);
        table.add_thread(10, 12);
        assert_eq!(table.exit(10, 10), exit(false, false));
        assert_eq!(table.exit(10, 12), exit(false, false));
        assert_eq!(table.reaped(12), None);
        assert_eq!(table.exit(10, 11), exit(true, false));
        assert_eq!(table.reaped(11), None);
        assert_eq!(table.reaped(10), Some(10));
        assert!(table.process(10).is_none());
    }

    #[test]
    fn a_thread_that_died_without_a_stop_is_not_waited_for() {
        let mut table = Table::default();
        table.add_process(10, None, false);
        table.add_thread(10, 11);
        assert_eq!(table.reaped(11), None);
        assert_eq!(table.exit(10, 10), exit(true, false));
    }

    #[test]
    fn without_its_leader_a_process_ends_with_its_last_thread() {
        let mut table = Table::default();
        table.add_running(10, false);
        table.add_thread(10, 11);
        table.add_thread(10, 12);
        assert_eq!(table.process_of(10), None);
        assert_eq!(table.exit(10, 12), exit(false, false));
        assert_eq!(table.reaped(12), None);
        assert_eq!(table.exit(10, 11), exit(true, false));
        assert_eq!(table.reaped(11), Some(10));
        assert!(table.process(10).is_none());
    }

    #[test]
    fn threads_are_listed_by_age_and_keep_it_through_exec() {
        let mut table = Table::default();
        table.add_process(30, None, false);
        table.add_thread(30, 20);
        table.add_process(10, None, false);
        table.add_thread(30, 20);
        table.exec(30);
        assert_eq!(table.by_age(), [30, 10]);
        table.add_thread(10, 5);
        assert_eq!(table.by_age(), [30, 10, 5]);
        assert!(table.age(30) < table.age(5) && table.age(5) < table.age(99));
    }

    #[test]
    fn exec_leaves_one_thread_and_ends_the_sharing() {
        let mut table = Table::default();
        table.add_process(10, None, false);
        let birth = Birth { parent: 10, shares_mm: true };
        table.add_process(20, Some(birth), false);
        table.add_thread(20, 21);
        table.exec(20);
        assert_eq!(table.process_of(21), None);
        assert_eq!(table.exit(20, 20), exit(true, false));
    }

    #[test]
    fn a_vforked_child_shares_until_its_parent_is_at_its_exit() {
        let mut table = Table::default();
        table.add_process(10, None, false);
        let birth = Birth { parent: 10, shares_mm: true };
        table.add_process(20, Some(birth), false);
        table.add_process(30, Some(Birth { parent: 10, shares_mm: false }), false);
        assert_eq!(table.exit(20, 20), exit(true, true));
        assert_eq!(table.exit(10, 10), exit(true, false));
        assert_eq!(table.exit(30, 30), exit(true, false));
    }
}
