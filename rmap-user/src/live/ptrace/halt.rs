//! Whole processes that are stopped for a moment: when rmap attaches to them, and when it lets them
//! go.
//!
//! Comes in: a process id. Goes out: the observer's call while all threads stand, and threads that
//! go on as they were: a signal that was on its way is delivered, a group stop stays one.
//!
//! `PTRACE_INTERRUPT` stops a thread when it leaves the kernel. One that sleeps there and cannot be
//! woken (state D: a parent in vfork, a disk that does not answer) keeps the others standing no
//! longer than [`PATIENCE`]; then the process is told not to have stood.

use std::collections::HashSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::engine::{Engine, options};
use super::{sys, task};

/// How long the threads that stand already wait for one that does not.
const PATIENCE: Duration = Duration::from_millis(100);

/// The longest rest between two looks at threads that are to stop.
const LONGEST_REST: Duration = Duration::from_millis(1);

/// How often a process is tried to be seized that refuses.
const TRIES: u32 = 50;

const GONE: &str = "it ended before rmap could attach to it";
const LATE: &str = "a thread did not leave the kernel in time to be stopped, so what it did \
                    meanwhile may be missing in a snapshot";

/// Why no thread of a process was seized.
enum Refusal {
    Gone,
    Traced(u32),
    Refused(io::Error),
}

impl Refusal {
    fn text(&self) -> String {
        const SO: &str = "so it is not stopped: its snapshots are of a running process, and there \
                          is none at its exit";
        match self {
            Self::Gone => GONE.to_owned(),
            Self::Traced(tracer) => {
                let name = std::fs::read_to_string(format!("/proc/{tracer}/comm"));
                let name = name.map(|name| format!(" ({})", name.trim_end())).unwrap_or_default();
                format!("process {tracer}{name} traces it already, {SO}")
            }
            Self::Refused(source) => format!("ptrace refused ({source}), {SO}"),
        }
    }
}

impl Engine<'_> {
    /// Takes a process that runs, and tells the observer while it stands. One that may not be
    /// stopped is told as it runs.
    pub(super) fn attach(&mut self, pid: u32) {
        let refusal = self.seize_all(pid, !self.follow);
        let seized = self.table.process(pid).is_some();
        if let Some(refusal) = &refusal {
            self.observer.unfollowed(pid, &refusal.text());
        }
        if !seized {
            if !matches!(refusal, Some(Refusal::Gone)) {
                self.observer.attached(pid, living(pid), false);
            }
            return;
        }
        self.observer.about_to_stop(pid);
        let halted = self.halt(pid, true);
        if !halted.all {
            self.observer.unfollowed(pid, LATE);
        }
        // One that is ending already is seen at its exit, if it comes to it.
        let tid = halted.tid.unwrap_or_else(|| living(pid));
        self.observer.attached(pid, tid, halted.all && refusal.is_none());
        if halted.executed {
            sys::resume(pid);
        }
        self.go_on(pid);
    }

    /// Stops each process once more, tells the observer, and lets it run: what becomes of it from
    /// then on is not seen.
    pub(super) fn leave_all(&mut self) {
        self.observer.about_to_leave();
        let mut left = HashSet::new();
        while let Some(pid) = self.table.pids().into_iter().find(|pid| left.insert(*pid)) {
            self.observer.about_to_stop(pid);
            let halted = self.halt(pid, false);
            if let Some(tid) = halted.tid {
                self.observer.leaving(pid, tid, halted.all);
            }
            self.go_on(pid);
        }
        self.answer_stopped();
        // Whoever still waits for another to be let go makes its call again, alone.
        for asking in std::mem::take(&mut self.asking) {
            sys::resume(asking.tid);
        }
    }

    /// Seizes every thread, until no new one appears: those that seized threads make are seized
    /// with them.
    fn seize_all(&mut self, pid: u32, threads_only: bool) -> Option<Refusal> {
        let traced = |tid: u32| task::tracer(pid, tid).filter(|tracer| *tracer != 0);
        let threads = task::threads(pid);
        if let Some(tracer) = threads.iter().find_map(|tid| traced(*tid)) {
            return Some(Refusal::Traced(tracer));
        }
        self.table.add_running(pid, threads_only);
        let mut tries = 0;
        let refusal = loop {
            let mut refusal = None;
            let found = self.seize_new(pid, threads_only, &mut refusal);
            // The kernel refuses a thread that is about to take its leader's place in an exec, too.
            if matches!(refusal, Some(Refusal::Refused(_))) && tries < TRIES {
                tries += 1;
                thread::sleep(LONGEST_REST);
            } else if !found {
                break refusal;
            }
        };
        if self.table.threads_of(pid).is_empty() {
            self.table.remove_process(pid);
            return Some(refusal.unwrap_or(Refusal::Gone));
        }
        refusal
    }

    /// Seizes the threads that are not followed yet. False if there were none.
    fn seize_new(&mut self, pid: u32, threads_only: bool, refusal: &mut Option<Refusal>) -> bool {
        let mut found = false;
        for tid in task::threads(pid) {
            if self.table.process_of(tid) == Some(pid) {
                continue;
            }
            let source = match sys::seize(tid, options(threads_only)) {
                Ok(()) => {
                    self.table.add_thread(pid, tid);
                    found = true;
                    continue;
                }
                Err(source) => source,
            };
            // A dead leader cannot be seized, nor a thread that was seized with its creator.
            match task::tracer(pid, tid) {
                Some(tracer) if tracer == sys::own_tid().unsigned_abs() => {
                    self.table.add_thread(pid, tid);
                    found = true;
                }
                None => {}
                Some(_) if task::has_ended(pid, tid) => {}
                Some(0) => *refusal = Some(Refusal::Refused(source)),
                Some(tracer) => *refusal = Some(Refusal::Traced(tracer)),
            }
        }
        found
    }

    /// Stops all threads of a process. `new`: the observer does not know the process yet, so a
    /// program that it executes meanwhile is its first one.
    pub(super) fn halt(&mut self, pid: u32, new: bool) -> Halted {
        let deadline = Instant::now() + PATIENCE;
        let mut rest = Duration::from_micros(20);
        let mut asked = HashSet::new();
        let mut executed = false;
        loop {
            let mut halted = Halted { tid: None, all: true, executed };
            let patient = rest == LONGEST_REST;
            // Threads that were made since are tracees already.
            for tid in task::threads(pid) {
                if self.table.process_of(tid).is_none()
                    && task::tracer(pid, tid) == Some(sys::own_tid().unsigned_abs())
                {
                    self.table.add_thread(pid, tid);
                }
            }
            for tid in self.table.threads_of(pid) {
                match sys::peek_stop(tid) {
                    Some(stop) if stop.event == libc::PTRACE_EVENT_EXEC && !new => {
                        self.stopped(tid, stop);
                        asked.clear();
                        halted.all = false;
                    }
                    Some(stop) => {
                        if stop.event == libc::PTRACE_EVENT_EXEC {
                            // The other threads are gone.
                            sys::take_stop(tid);
                            self.table.exec(pid);
                            executed = true;
                        }
                        halted.tid = Some(tid);
                    }
                    None if executed && tid == pid => halted.tid = Some(tid),
                    None if self.is_asking(tid) => halted.tid = Some(tid),
                    None if asked.insert(tid) => {
                        sys::interrupt(tid);
                        halted.all = false;
                    }
                    // Most stop at once, and asking for each of them takes time.
                    None if patient && task::has_ended(pid, tid) => {}
                    None => halted.all = false,
                }
            }
            halted.executed = executed;
            if halted.all || Instant::now() >= deadline {
                return halted;
            }
            thread::sleep(rest);
            rest = (rest * 2).min(LONGEST_REST);
        }
    }

    /// Answers the stop that each thread of a process is in.
    pub(super) fn go_on(&mut self, pid: u32) {
        for tid in self.table.threads_of(pid) {
            if let Some(stop) = sys::peek_stop(tid) {
                self.stopped(tid, stop);
            }
        }
    }
}

/// How a process stands.
pub(super) struct Halted {
    /// A thread that stands.
    pub(super) tid: Option<u32>,
    /// No thread runs.
    pub(super) all: bool,
    /// It executed another program meanwhile, and stands behind that.
    executed: bool,
}

/// A thread of a process that has its memory; the leader if there is none.
fn living(pid: u32) -> u32 {
    task::threads(pid).into_iter().find(|tid| !task::has_ended(pid, *tid)).unwrap_or(pid)
}
