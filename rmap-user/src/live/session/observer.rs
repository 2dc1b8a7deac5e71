//! From the ptrace engine's thread to the session's: every stop that matters becomes a
//! [`Message`], and the engine waits until the session is done with it, but no longer than
//! [`BOUND`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self as sync, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::live::ptrace::{Descriptor, Observer, Status};

/// What the engine tells.
#[derive(Debug)]
pub(super) enum Message {
    /// A thread stands still until `done` is dropped.
    Stop {
        /// Where it stands.
        at: Stop,
        /// Dropped when the session is done.
        done: Hold,
    },
    /// A process is not followed any longer.
    Unfollowed {
        /// The process.
        pid: u32,
        /// Why.
        reason: String,
    },
    /// What came of asking for a userfaultfd of a process.
    Descriptor {
        /// The process.
        pid: u32,
        /// The descriptor, or why there is none.
        taken: Descriptor,
        /// How long the process stood for it.
        stood: Duration,
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
    /// Nowhere: everybody is about to be let go.
    Last,
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

/// Keeps a thread standing until it is dropped, or until the bound.
#[derive(Debug)]
pub(super) struct Hold {
    _done: sync::Sender<()>,
    gone: Arc<AtomicBool>,
}

impl Hold {
    /// The thread goes on already.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// How long a thread stands for the session at most. A file of the thread's own choice may be on a
/// file system that never answers. The time in which the session reads the memory of a process
/// from `/proc` comes on top: the kernel answers there, and without it there is no snapshot.
pub(super) const BOUND: Duration = Duration::from_secs(1);

/// How often it is looked whether memory is being read.
const SLICE: Duration = Duration::from_millis(20);

/// What the session says of its work, and the engine of its waits.
#[derive(Debug, Default)]
pub(super) struct Standing {
    reading: AtomicBool,
    cut: AtomicU64,
}

impl Standing {
    /// Does `read`, which takes as long as the kernel needs for a process's memory.
    pub(super) fn reading<T>(&self, read: impl FnOnce() -> T) -> T {
        self.reading.store(true, Ordering::SeqCst);
        let result = read();
        self.reading.store(false, Ordering::SeqCst);
        result
    }

    /// What it means for the report that threads went on before the session was done with them;
    /// `None` if none did.
    pub(super) fn trouble(&self) -> Option<String> {
        let cut = self.cut.load(Ordering::SeqCst);
        (cut > 0).then(|| {
            format!(
                "{cut} stops of processes were ended after {} s, before rmap had looked (a file \
                 system did not answer, or rmap had too much to read); their snapshots may be \
                 missing or late",
                BOUND.as_secs()
            )
        })
    }
}

/// The engine's observer.
pub(super) struct Forwarder {
    sender: mpsc::UnboundedSender<Message>,
    standing: Arc<Standing>,
    /// A stop that the session was not done with in time.
    unanswered: Option<sync::Receiver<()>>,
}

impl Forwarder {
    pub(super) const fn new(
        sender: mpsc::UnboundedSender<Message>,
        standing: Arc<Standing>,
    ) -> Self {
        Self { sender, standing, unanswered: None }
    }

    /// Tells the session and waits for it, within the bound. If the session is gone, nobody waits; nor
    /// does anybody while it is late with an earlier stop.
    fn stop(&mut self, at: Stop) {
        let late = self.is_late();
        let (sender, wait) = sync::channel();
        let gone = Arc::new(AtomicBool::new(late));
        let done = Hold { _done: sender, gone: Arc::clone(&gone) };
        if self.sender.send(Message::Stop { at, done }).is_err() {
            return;
        }
        let mut left = if late { Duration::ZERO } else { BOUND };
        while !left.is_zero() {
            match wait.recv_timeout(SLICE) {
                // The session has dropped its end.
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if self.standing.reading.load(Ordering::SeqCst) => {}
                Err(RecvTimeoutError::Timeout) => left = left.saturating_sub(SLICE),
            }
        }
        gone.store(true, Ordering::SeqCst);
        self.standing.cut.fetch_add(1, Ordering::SeqCst);
        if !late {
            self.unanswered = Some(wait);
        }
    }

    /// Whether the session is not done yet with a stop that was ended.
    fn is_late(&mut self) -> bool {
        let late = self.unanswered.as_ref().map(sync::Receiver::try_recv);
        let late = late == Some(Err(TryRecvError::Empty));
        if !late {
            self.unanswered = None;
        }
        late
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

    fn about_to_leave(&mut self) {
        self.stop(Stop::Last);
    }

    fn unfollowed(&mut self, pid: u32, reason: &str) {
        // If the session is gone, nobody wants to know.
        let _ = self.sender.send(Message::Unfollowed { pid, reason: reason.to_owned() });
    }

    fn descriptor(&mut self, pid: u32, taken: Descriptor, stood: Duration) {
        let _ = self.sender.send(Message::Descriptor { pid, taken, stood });
    }

    fn ended(&mut self, pid: u32, _status: Status) {
        let _ = self.sender.send(Message::Ended { pid });
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    const STOP: Stop = Stop::Forked { pid: 1, tid: 1 };

    fn hold(message: Option<Message>) -> Hold {
        match message {
            Some(Message::Stop { done, .. }) => done,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_session_that_does_not_answer_keeps_threads_for_the_bound_alone() {
        let (sender, mut messages) = mpsc::unbounded_channel();
        let standing = Arc::new(Standing::default());
        let mut forwarder = Forwarder::new(sender, Arc::clone(&standing));
        let begun = Instant::now();
        forwarder.stop(STOP);
        let waited = begun.elapsed();
        assert!(waited >= BOUND - 2 * SLICE, "{waited:?}");
        // Those that come meanwhile do not wait in turn.
        let begun = Instant::now();
        (0..100).for_each(|_| forwarder.stop(STOP));
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        assert!(standing.trouble().unwrap().starts_with("101 stops"));

        // When it is done with the first, it is waited for again.
        let first = hold(messages.blocking_recv());
        assert!(first.is_gone());
        drop(first);
        (0..100).for_each(|_| drop(hold(messages.blocking_recv())));
        let session = thread::spawn(move || hold(messages.blocking_recv()).is_gone());
        forwarder.stop(STOP);
        assert!(!session.join().unwrap());
        assert!(standing.trouble().unwrap().starts_with("101 stops"));
    }

    #[test]
    fn a_snapshot_takes_the_time_that_it_needs() {
        let (sender, mut messages) = mpsc::unbounded_channel();
        let standing = Arc::new(Standing::default());
        let mut forwarder = Forwarder::new(sender, Arc::clone(&standing));
        let session = thread::spawn({
            let standing = Arc::clone(&standing);
            move || {
                let held = hold(messages.blocking_recv());
                standing.reading(|| thread::sleep(BOUND + BOUND / 2));
                held.is_gone()
            }
        });
        forwarder.stop(STOP);
        assert!(!session.join().unwrap());
        assert_eq!(standing.trouble(), None);
    }

    #[test]
    fn a_session_that_is_gone_keeps_nobody() {
        let (sender, messages) = mpsc::unbounded_channel();
        drop(messages);
        Forwarder::new(sender, Arc::default()).stop(STOP);
    }
}
