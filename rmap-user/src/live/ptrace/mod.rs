//! Launches a command, or attaches to processes that run, and follows them and their descendants by
//! ptrace, so that others can look at a process while it stands still: just after exec, as a freshly
//! forked child, at its exit; and where rmap attaches to it and lets it go.
//!
//! Comes in: a [`Launch`] or process ids, and an [`Observer`]. Goes out: the observer's calls, on
//! the tracer thread, and at the end the command's [`Status`].
//!
//! The program is disturbed as little as the kernel allows:
//!
//! * Every signal is delivered as it came; group stops stay group stops (`PTRACE_LISTEN`).
//! * The command gets the signal dispositions and the mask that rmap itself was started with, see
//!   `inherited`; the environment, the directory and the standard descriptors are rmap's. As another
//!   user it has the environment of a login, a session of its own, and no capability.
//! * Tracees are not killed with their tracer. The stop of a signal under delivery is looked at
//!   with `WNOWAIT` and not taken, so the signal is not lost when rmap is killed in that moment.
//!   Detaching is therefore nothing but the end of the tracer thread: the kernel releases its
//!   tracees, as it does when rmap is killed.
//! * A process that another one traces by ptrace, or is about to, is let go when that happens, see
//!   [`Observer::yielded`]. The tracer thread learns of it from the probes.
//!
//! Only the tracer thread may make ptrace requests, and it alone waits for its children
//! (`__WNOTHREAD`), so other children of rmap are never taken away from their owners.
//!
//! `SIGURG` belongs to this module: it wakes the tracer thread, and its handler (which does
//! nothing) stays in place.

mod child;
mod credentials;
mod descriptor;
mod engine;
mod error;
mod halt;
mod inherited;
mod inject;
mod round;
mod sys;
mod table;
mod taken;
mod task;
#[cfg(test)]
mod tests;
mod tracee;
mod yielding;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use credentials::Credentials;
pub use descriptor::Descriptor;
use engine::Subject;
pub use error::Error;

pub(in crate::live) use sys::same_memory;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program; searched in `PATH` if it has no slash.
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// As whom it runs; `None`: as rmap does.
    pub credentials: Option<Credentials>,
    /// Whether its descendants are followed as well.
    pub follow: bool,
    /// Whether it leads a session of its own, without the terminal of rmap's caller.
    pub own_session: bool,
    /// Variables of its environment that are set beside what it would have.
    pub variables: Vec<(OsString, OsString)>,
    /// The terminal of that session. The standard descriptors that are rmap's own terminal are this
    /// one then.
    pub terminal: Option<Arc<OwnedFd>>,
    /// What it writes goes here, and it has nothing to read.
    pub output: Option<Arc<OwnedFd>>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It exited with this status, 0 to 255.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Status {
    /// The exit status by which a shell shows it: 128 + N for signal N.
    #[must_use]
    pub const fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Is told what the followed processes do, while the thread in question stands still.
///
/// All calls come on the tracer thread, and every tracee that stops meanwhile waits for it, so be
/// quick. The first calls can come before [`spawn`] has returned: never wait here for the caller
/// of [`spawn`]. The observer is dropped when the tracer thread ends, not before; what was let go
/// is free when [`Tracer::join`] has returned.
///
/// A process can end without having stood at its exit: when `SIGKILL` hits it in the few
/// instructions between its own call of exit and the stop. Then [`Observer::ended`] comes without
/// [`Observer::exiting`] for the last thread.
pub trait Observer: Send {
    /// The command's process is there and waits; it execs after this call. Its memory is still a
    /// copy of rmap's.
    fn armed(&mut self, pid: u32);
    /// A process that runs is about to be stopped, for one of the two calls below. Return when there
    /// is time for that: it stands as long as they take.
    fn about_to_stop(&mut self, pid: u32);
    /// A process that ran before rmap was seized, and stands with all its threads. `stood` is false
    /// if it could not be stopped, or not all of it; why was told by [`Observer::unfollowed`].
    /// Read `/proc/TID/…`: the leader may be a zombie.
    fn attached(&mut self, pid: u32, tid: u32, stood: bool);
    /// The process stands for the last time before rmap lets it go; `stood` as above.
    fn leaving(&mut self, pid: u32, tid: u32, stood: bool);
    /// The process stands before the first instruction of a new program; `tid` equals `pid`.
    /// `former_tid` is the thread that called exec; all others are gone.
    fn executed(&mut self, pid: u32, tid: u32, former_tid: u32);
    /// A new process stands before its first instruction (or, if it was killed at once, at its
    /// exit, unchanged). The parent may run on. `shares_mm`: it runs in its parent's memory
    /// (vfork, `CLONE_VM`). If `parent` was killed in the fork, it is the one of `/proc`.
    fn forked(&mut self, parent: u32, child_pid: u32, child_tid: u32, shares_mm: bool);
    /// A thread stands at its exit. If `last_thread`, the memory of the process is still whole and
    /// nobody changes it any more, unless `shares_mm`: another followed process lives on in it.
    /// Read `/proc/TID/…`, not `/proc/PID/…`: the leader may be a zombie, which shows no memory.
    fn exiting(&mut self, pid: u32, tid: u32, last_thread: bool, shares_mm: bool);
    /// The process stands for the last time before rmap lets it go to another tracer, for the
    /// reason in the text; it is not stopped any more. `stood` as above.
    fn yielded(&mut self, pid: u32, tid: u32, stood: bool, reason: &str);
    /// Everybody is about to be let go: no thread must be stopped by the probes any more.
    fn about_to_leave(&mut self);
    /// Something of this process will not be seen, and why: see the text.
    fn unfollowed(&mut self, pid: u32, reason: &str);
    /// What came of [`Tracer::request_descriptor`], and how long the process stood for it.
    fn descriptor(&mut self, _pid: u32, _taken: Descriptor, _stood: Duration) {}
    /// The process is gone. Of processes let go for good, only the command itself is reported.
    fn ended(&mut self, pid: u32, status: Status);
}

/// A launched command, or attached processes, with their tracer thread.
///
/// Dropped without [`Tracer::join`], the thread goes on until all followed processes have ended.
#[derive(Debug)]
pub struct Tracer {
    pid: u32,
    tid: i32,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Option<Status>, Error>>,
}

/// Finds processes that belong to those that were attached to. Called on the tracer thread, at the
/// start until nobody new is found, and at each [`Tracer::look`].
pub type Find = Box<dyn FnMut() -> Vec<u32> + Send>;

/// What the tracer thread and its owner both look at.
#[derive(Debug, Default)]
struct Shared {
    /// The owner asks the thread to look for more processes.
    look: AtomicBool,
    /// The owner asks the thread to let everything go.
    detach: AtomicBool,
    /// The thread has left its loop.
    done: AtomicBool,
    /// The command was reaped: its PID may belong to another process now.
    reaped: Mutex<bool>,
    /// Processes of which a userfaultfd is asked for.
    requests: Mutex<BTreeSet<u32>>,
}

/// The tracer thread's first word: the command's PID and the thread's own TID.
struct Started {
    pid: u32,
    tid: i32,
}

/// Starts the command; returns when it stands at its first exec, or with the reason why it cannot.
///
/// # Errors
/// See [`Error`]; nothing of the command is left behind then.
pub fn spawn(launch: Launch, observer: Box<dyn Observer>) -> Result<Tracer, Error> {
    let plan = child::Plan::new(&launch)?;
    start(Subject::Command(plan), launch.follow, observer)
}

/// Waits for a child of rmap's that is traced no longer. `None`: it is none, or nobody knows how it ended.
#[must_use]
pub fn wait_for(pid: u32) -> Option<Status> {
    use nix::sys::wait::{WaitStatus, waitpid};
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Some(Status::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Some(Status::Signal(signal as i32)),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Attaches to processes that run (each named once); returns when the observer knows of each, or
/// with the reason why there is no tracer thread. The observer also learns of a process that cannot
/// be traced, or is gone. `find` finds others that belong to them.
///
/// # Errors
/// [`Error::Thread`].
pub fn attach(
    pids: Vec<u32>,
    find: Option<Find>,
    follow: bool,
    observer: Box<dyn Observer>,
) -> Result<Tracer, Error> {
    let tracer = start(Subject::Processes(pids, find), follow, observer)?;
    // Signals to rmap are not theirs.
    *tracer.shared.reaped.lock().unwrap_or_else(PoisonError::into_inner) = true;
    Ok(tracer)
}

fn start(mut subject: Subject, follow: bool, observer: Box<dyn Observer>) -> Result<Tracer, Error> {
    sys::install_wake_handler().map_err(|source| Error::Thread { source })?;
    let shared = Arc::new(Shared::default());
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("rmap-ptrace".into())
        .spawn({
            let shared = Arc::clone(&shared);
            move || engine::run(&mut subject, follow, observer, &shared, &sender)
        })
        .map_err(|source| Error::Thread { source })?;
    match receiver.recv() {
        Ok(Started { pid, tid }) => Ok(Tracer { pid, tid, shared, thread }),
        // The thread ended without a word: its result has the reason.
        Err(mpsc::RecvError) => match thread.join() {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Err(Error::Panicked),
        },
    }
}

impl Tracer {
    /// The command's PID, or the first of those that were attached to.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the command (only to it, not to its descendants). Does nothing once the
    /// command has ended.
    pub fn forward_signal(&self, sig: i32) {
        // The lock keeps the tracer thread from reaping the command, so the PID is still its own.
        let reaped = self.shared.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            sys::kill(self.pid, sig);
        }
    }

    /// The same for the command's process group, which is its own if it leads a session.
    pub fn forward_to_group(&self, sig: i32) {
        let reaped = self.shared.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            sys::kill_group(self.pid, sig);
        }
    }

    /// Asks the tracer thread to let all processes go on alone, and to end. Returns at once; an
    /// observer's call in progress is finished first, and [`Observer::leaving`] comes for each
    /// process. [`Tracer::join`] waits for the end.
    ///
    /// The command stays a child of this process: reap it if this process lives on, but not
    /// before [`Tracer::join`] has returned, or the wait takes a stop that is not meant for it.
    pub fn detach_all(&self) {
        if self.shared.detach.swap(true, Ordering::SeqCst) {
            return;
        }
        let (shared, tid) = (Arc::clone(&self.shared), self.tid);
        let wake = move || {
            // Once is not enough: the signal may come just before the thread blocks.
            while !shared.done.load(Ordering::SeqCst) {
                sys::wake(tid);
                thread::sleep(Duration::from_millis(10));
            }
        };
        if thread::Builder::new().name("rmap-detach".into()).spawn(wake).is_err() {
            // No thread to be had: the next stop of any tracee, or this one signal, must do.
            sys::wake(self.tid);
        }
    }

    /// Asks for a userfaultfd of a process's memory: [`Observer::descriptor`] brings it. Returns at
    /// once. A request may be overslept until the next stop of any tracee: ask again.
    pub fn request_descriptor(&self, pid: u32) {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
        sys::wake(self.tid);
    }

    /// Asks the tracer thread to look for more processes. Returns at once. One that is missed, because
    /// the thread was about to wait, is found by the next call.
    pub fn look(&self) {
        if !self.shared.done.load(Ordering::SeqCst) {
            self.shared.look.store(true, Ordering::SeqCst);
            sys::wake(self.tid);
        }
    }

    /// Waits for the end of the tracer thread, and until nobody is traced any more; gives the command's status, `None` if it was let go
    /// before it ended.
    ///
    /// # Errors
    /// When waiting failed in the kernel, or an observer panicked.
    pub fn join(self) -> Result<Option<Status>, Error> {
        let result = self.thread.join().unwrap_or(Err(Error::Panicked));
        // The kernel lets the tracees go when the thread is gone for it too, a little later.
        while sys::is_own_thread(self.tid) {
            thread::sleep(Duration::from_micros(50));
        }
        result
    }
}
