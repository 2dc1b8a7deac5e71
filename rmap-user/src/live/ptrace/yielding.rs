//! Answers threads that the probes have stopped (`rmap-ebpf/src/hold.rs`), and lets go of processes
//! that another tracer needs: a thread has one tracer at most.
//!
//! Comes in: a SIGSTOP of the kernel's that the probes send to a thread of ours that calls ptrace(2),
//! or clone(2) with `CLONE_UNTRACED` (`rmap-ebpf/src/probes/tracing.rs`). Goes out: a call that
//! succeeds as it does alone. Whoever was asked for is let go of, and the call is made again: ptrace
//! has failed by then, so the thread's registers are put back before it; clone has not begun, and the
//! kernel repeats it by itself.
//!
//! What a program only could do, by its symbols, decides nothing.

use std::thread;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::sys::{self, Asked};
use super::taken::{Asking, Taken};
use super::task;

/// How long a thread that was stopped may take to show it.
const PATIENCE: Duration = Duration::from_millis(200);

const TRACED: &str = "another process traces it by ptrace, so rmap let it go: from then on its \
                      snapshots are of a running process, and there is none at its exit";
const UNTRACED: &str = "it made a process that is not to be traced (CLONE_UNTRACED), as leak \
                        sanitizers do to look at their own threads, so rmap let it go: from then \
                        on its snapshots are of a running process, and there is none at its exit";

impl Engine<'_> {
    /// Answers the delivery of a SIGSTOP that the probes sent. False if it is another's.
    pub(super) fn asked(&mut self, tid: u32) -> bool {
        let Some(asked) = sys::asked(tid) else { return false };
        let own = self.table.process_of(tid);
        let asking = match asked {
            // The call has done what it should, or failed for a reason of its own.
            Asked::Nothing => None,
            Asked::Untraced => own.map(|pid| Asking { tid, wanted: pid, why: UNTRACED }),
            Asked::Tracer => own.map(|pid| Asking { tid, wanted: pid, why: TRACED }),
            Asked::Tracee(target) => self
                .owner(target)
                .filter(|target| Some(*target) != own)
                .map(|wanted| Asking { tid, wanted, why: TRACED }),
        };
        if sys::take_stop(tid).is_none_or(|taken| taken.event != 0) {
            return true;
        }
        match asking {
            // From here on the call is made again whoever lets the thread go.
            Some(asking) if asked == Asked::Untraced || sys::repeat_call(tid) => {
                self.asking.push(asking);
            }
            Some(_) | None => sys::resume(tid),
        }
        true
    }

    /// The process of a thread that this tracer has, or is about to see for the first time.
    fn owner(&self, tid: u32) -> Option<u32> {
        let unseen = || {
            let own = sys::own_tid().unsigned_abs();
            (task::tracer(tid, tid) == Some(own)).then_some(tid)
        };
        self.table.process_of(tid).or_else(unseen)
    }

    /// Whether a thread stands because it has asked.
    pub(super) fn is_asking(&self, tid: u32) -> bool {
        self.asking.iter().any(|asking| asking.tid == tid)
    }

    /// Answers the threads that the probes have stopped, until none is left: whoever was let go would
    /// stay stopped.
    pub(super) fn answer_stopped(&mut self) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let mut left = false;
            for tid in self.table.by_age() {
                let stop = sys::peek_stop(tid).filter(|stop| stop.event == 0);
                if stop.is_some_and(|stop| stop.signal == libc::SIGSTOP) && self.asked(tid) {
                    continue;
                }
                let pid = self.table.process_of(tid).unwrap_or(tid);
                left |= task::is_being_stopped(pid, tid);
            }
            if !left {
                return;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Lets go of whoever was asked for.
    pub(super) fn yield_all(&mut self) {
        while let Some(&Asking { tid, wanted, why }) = self.asking.first() {
            if self.table.process(wanted).is_some() {
                self.yield_process(wanted, why);
            }
            // One that was let go itself goes on already. Where nobody was let go, because the one
            // that is asked for has not stood yet, the thread asks again.
            if let Some(at) = self.asking.iter().position(|asking| asking.tid == tid) {
                self.asking.remove(at);
                sys::resume(tid);
            }
        }
    }

    /// Lets go of a process: all of its threads.
    fn yield_process(&mut self, pid: u32, why: &str) {
        let halted = self.halt(pid, false);
        let standing = halted.tid.unwrap_or(pid);
        self.observer.yielded(pid, standing, halted.all, why);
        for tid in self.table.threads_of(pid) {
            if self.is_asking(tid) {
                self.asking.retain(|asking| asking.tid != tid);
                sys::detach(tid, 0);
                continue;
            }
            match sys::peek_stop(tid) {
                // The probes have just stopped it: the signal must not go with it.
                Some(stop) if stop.event != 0 && task::is_being_stopped(pid, tid) => {
                    if let Some(taken) = Taken::take(tid) {
                        self.made(taken);
                    }
                    self.refused.push(tid);
                    sys::resume(tid);
                }
                Some(stop) if stop.event == 0 && stop.signal == libc::SIGSTOP => {
                    // It asks, too: its call is to be made again, without the signal.
                    if !self.asked(tid) {
                        sys::detach(tid, stop.signal);
                    } else if self.is_asking(tid) {
                        self.asking.retain(|asking| asking.tid != tid);
                        sys::detach(tid, 0);
                    } else {
                        // It went on.
                        self.refused.push(tid);
                        sys::interrupt(tid);
                    }
                }
                Some(stop) if stop.event == 0 => sys::detach(tid, stop.signal),
                Some(_) => {
                    if let Some(taken) = Taken::take(tid) {
                        self.made(taken);
                    }
                    sys::detach(tid, 0);
                }
                None => self.refused.push(tid),
            }
        }
        self.table.remove_process(pid);
    }
}
