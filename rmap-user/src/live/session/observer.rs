//! From the ptrace engine's thread to the session's: every stop that matters becomes a
//! [`Message`], and the engine waits until the session is done with it.

use std::sync::mpsc as sync;

use tokio::sync::mpsc;

use crate::live::ptrace::{Observer, Status};

/// What the engine tells.
#[derive(Debug)]
pub(super) enum Message {
    /// A thread stands still until `done` is dropped.
    Stop {
        /// Where it stands.
        at: Stop,
        /// Dropped when the session is done.
        done: sync::Sender<()>,
    },
    /// A process is not followed any longer.
    Unfollowed {
        /// The process.
        pid: u32,
        /// Why.
        reason: String,
    },
    /// A process has ended.
    Ended {
        /// The process.
        pid: u32,
    },
}

/// Where a thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The command's process, before it executes the command.
    Armed {
        /// The process.
        pid: u32,
    },
    /// Nowhere yet: a process that runs is about to be stopped.
    Soon {
        /// The process.
        pid: u32,
    },
    /// A process that ran before.
    Attached {
        /// The process.
        pid: u32,
        /// A thread that has its memory.
        tid: u32,
        /// All of it stands.
        stood: bool,
    },
    /// A process that goes on without rmap.
    Leaving {
        /// The process.
        pid: u32,
        /// A thread that has its memory.
        tid: u32,
        /// All of it stands.
        stood: bool,
    },
    /// A process that rmap lets go to another tracer.
    Yielded {
        /// The process.
        pid: u32,
        /// A thread that has its memory.
        tid: u32,
    },
    /// A program was loaded.
    Executed {
        /// The process.
        pid: u32,
        /// The thread, which is its leader now.
        tid: u32,
    },
    /// A child with a copy of its parent's memory was made.
    Forked {
        /// The child.
        pid: u32,
        /// Its thread.
        tid: u32,
    },
    /// The last thread of a process exits, and with it the memory if nobody else runs in it.
    Exiting {
        /// The process.
        pid: u32,
        /// The thread.
        tid: u32,
    },
}

/// The engine's observer.
pub(super) struct Forwarder {
    sender: mpsc::UnboundedSender<Message>,
}

impl Forwarder {
    pub(super) const fn new(sender: mpsc::UnboundedSender<Message>) -> Self {
        Self { sender }
    }

    /// Tells the session and waits for it. If the session is gone, nobody waits.
    fn stop(&self, at: Stop) {
        let (done, wait) = sync::channel();
        if self.sender.send(Message::Stop { at, done }).is_ok() {
            // An error is what ends the wait: the session has dropped its end.
            let _ = wait.recv();
        }
    }
}

impl Observer for Forwarder {
    fn armed(&mut self, pid: u32) {
        self.stop(Stop::Armed { pid });
    }

    fn about_to_stop(&mut self, pid: u32) {
        self.stop(Stop::Soon { pid });
    }

    fn attached(&mut self, pid: u32, tid: u32, stood: bool) {
        self.stop(Stop::Attached { pid, tid, stood });
    }

    fn leaving(&mut self, pid: u32, tid: u32, stood: bool) {
        self.stop(Stop::Leaving { pid, tid, stood });
    }

    fn executed(&mut self, pid: u32, tid: u32, _former_tid: u32) {
        self.stop(Stop::Executed { pid, tid });
    }

    fn forked(&mut self, _parent: u32, child_pid: u32, child_tid: u32, shares_mm: bool) {
        if !shares_mm {
            self.stop(Stop::Forked { pid: child_pid, tid: child_tid });
        }
    }

    fn exiting(&mut self, pid: u32, tid: u32, last_thread: bool, _shares_mm: bool) {
        if last_thread {
            self.stop(Stop::Exiting { pid, tid });
        }
    }

    fn yielded(&mut self, pid: u32, tid: u32, _stood: bool, reason: &str) {
        self.stop(Stop::Yielded { pid, tid });
        self.unfollowed(pid, reason);
    }

    fn unfollowed(&mut self, pid: u32, reason: &str) {
        // If the session is gone, nobody wants to know.
        let _ = self.sender.send(Message::Unfollowed { pid, reason: reason.to_owned() });
    }

    fn ended(&mut self, pid: u32, _status: Status) {
        let _ = self.sender.send(Message::Ended { pid });
    }
}
