//! The tracer thread: takes tracees (it starts a command, or seizes processes that run) and
//! answers each stop of each of them.
//!
//! Comes in: a prepared command or process ids, and an observer. Goes out: the observer's calls and
//! the command's status. ptrace(2) has the stops; what it leaves open is told where it matters.
//! `halt` stops whole processes, at the start and at the end.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::child::{Child, Plan};
use super::sys::{self, Stop};
use super::table::{Birth, Table};
use super::taken::{Asking, Taken};
use super::task::{Fate, Kin};
use super::{Error, Find, Observer, Shared, Started, Status, task};
use crate::live::privileges;

/// How long a process's exit may wait for its other threads, see [`Engine::settle`].
const SETTLE: Duration = Duration::from_secs(1);

/// How often processes are looked for at the start, until no more are found.
const ROUNDS: u32 = 100;

/// What a tracer thread begins with.
pub(super) enum Subject {
    /// A command to start.
    Command(Plan),
    /// Processes that run, each once, and how to find those that come to them.
    Processes(Vec<u32>, Option<Find>),
}

/// The tracer thread's work. Its end, be it by an error or a panic, lets all tracees go on.
pub(super) fn run(
    subject: &mut Subject,
    follow: bool,
    observer: Box<dyn Observer>,
    shared: &Shared,
    started: &Sender<Started>,
) -> Result<Option<Status>, Error> {
    /// Tells the end also if the observer panics.
    struct Done<'a>(&'a Shared);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.done.store(true, Ordering::SeqCst);
        }
    }
    let _done = Done(shared);
    let mut observer = observer;
    // Signals to rmap are for its other threads.
    sys::set_blocked_signals(u64::MAX);
    // If SIGCHLD were ignored, a command that was let go would leave no status.
    if sys::is_ignored(libc::SIGCHLD) {
        sys::set_ignored(libc::SIGCHLD, false);
    }
    let mut engine = Engine {
        follow,
        observer: observer.as_mut(),
        shared,
        started,
        command: None,
        launching: None,
        table: Table::default(),
        unclaimed: HashMap::new(),
        refused: Vec::new(),
        asking: Vec::new(),
        status: None,
        find: None,
        found: HashSet::new(),
    };
    match subject {
        Subject::Command(plan) => engine.launch(plan)?,
        Subject::Processes(pids, find) => {
            let _ = privileges::limit();
            sys::unblock_wake();
            engine.found.extend(pids.iter().copied());
            for pid in pids.iter() {
                engine.attach(*pid);
            }
            engine.find = find.as_mut();
            // Those that came meanwhile, and those that came while these were attached to.
            (0..ROUNDS).any(|_| !engine.attach_found());
            // An owner that is gone does not need to know.
            let pid = pids.first().copied().unwrap_or(0);
            let _ = started.send(Started { pid, tid: sys::own_tid() });
        }
    }
    engine.follow_all()
}

/// The ptrace options of a process.
pub(super) const fn options(threads_only: bool) -> i32 {
    if threads_only { sys::THREADS_ONLY } else { sys::DESCENDANTS }
}

pub(super) struct Engine<'a> {
    pub(super) follow: bool,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) shared: &'a Shared,
    started: &'a Sender<Started>,
    /// The command's process, if rmap started one.
    command: Option<u32>,
    /// The same until it execs.
    launching: Option<(Child, &'a Plan)>,
    pub(super) table: Table,
    /// New processes that stand before their first instruction, of which the parent's stop was
    /// not seen yet, with the parent of `/proc`.
    unclaimed: HashMap<u32, u32>,
    /// Threads to be let go at their next stop: the first one of a new process, for instance.
    pub(super) refused: Vec<u32>,
    /// Threads that stand until another process is let go of.
    pub(super) asking: Vec<Asking>,
    status: Option<Status>,
    /// Finds processes that belong to those that were attached to.
    find: Option<&'a mut Find>,
    /// What it found last.
    found: HashSet<u32>,
}

impl<'a> Engine<'a> {
    /// Starts the command's process and lets it exec.
    fn launch(&mut self, plan: &'a Plan) -> Result<(), Error> {
        let child = plan.start()?;
        // The child alone still has to become another user. A refusal takes nothing away.
        let _ = privileges::limit();
        sys::unblock_wake();
        let command = child.pid;
        if let Err(source) = sys::seize(command, options(!self.follow)) {
            drop(child);
            sys::reap_untraced(command);
            return Err(Error::Seize { source });
        }
        self.observer.armed(command);
        child.go();
        self.table.add_process(command, None, !self.follow);
        self.command = Some(command);
        self.launching = Some((child, plan));
        Ok(())
    }

    /// Until nobody is left, or to the order to detach.
    fn follow_all(mut self) -> Result<Option<Status>, Error> {
        let mut signals = 0;
        while !self.shared.detach.load(Ordering::SeqCst) {
            if self.shared.look.swap(false, Ordering::SeqCst) {
                self.attach_found();
            }
            if !self.round(&mut signals)? && !self.attach_found() {
                return Ok(self.status);
            }
        }
        if self.launching.is_none() {
            self.leave_all();
        }
        Ok(self.status)
    }

    /// Attaches to processes that were found and are not followed. False if there are none.
    fn attach_found(&mut self) -> bool {
        let Some(find) = &mut self.find else { return false };
        let now: HashSet<u32> = find().into_iter().collect();
        let mut new: Vec<u32> = now.difference(&self.found).copied().collect();
        new.sort_unstable();
        self.found = now;
        // Those that followed ones made are tracees already, or their events are about to come.
        let own = sys::own_tid().unsigned_abs();
        new.retain(|pid| {
            self.table.process(*pid).is_none() && task::tracer(*pid, *pid) != Some(own)
        });
        for pid in &new {
            self.attach(*pid);
        }
        !new.is_empty()
    }

    /// Answers a tracee's stop that was not taken yet.
    pub(super) fn stopped(&mut self, tid: u32, stop: Stop) {
        // Only the delivery of a signal must not be taken, lest the signal is lost with rmap. An
        // exec by another thread than the leader must be: before, the kernel takes requests for
        // it as meant for the former leader and refuses them (looks_like_a_spurious_pid).
        if stop.event == 0 {
            self.answer(Taken { tid, stop, message: None });
        } else if let Some(taken) = Taken::take(tid) {
            self.answer(taken);
        }
    }

    /// Answers a stop.
    pub(super) fn answer(&mut self, taken: Taken) {
        let Taken { tid, stop, .. } = taken;
        if !self.admit(tid, stop) {
            return;
        }
        match stop.event {
            0 if stop.signal == libc::SIGSTOP && self.asked(tid) => {}
            // A signal on its way: it goes on with all that is known of it (siginfo).
            0 => sys::deliver(tid, stop.signal),
            sys::EVENT_STOP => match stop.signal {
                libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => sys::listen(tid),
                _ => sys::resume(tid),
            },
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                self.made(taken);
                sys::resume(tid);
            }
            libc::PTRACE_EVENT_EXEC => self.executed(tid, taken.message_tid().unwrap_or(tid)),
            libc::PTRACE_EVENT_EXIT => self.exiting(tid),
            _ => sys::resume(tid),
        }
    }

    /// A tracee's first stop tells of its process. False if it is to be left as it is.
    fn admit(&mut self, tid: u32, stop: Stop) -> bool {
        if let Some(at) = self.refused.iter().position(|&refused| refused == tid) {
            self.refused.swap_remove(at);
            // A signal that is under delivery is delivered.
            let probes = stop.signal == libc::SIGSTOP && sys::asked(tid).is_some();
            sys::detach(tid, if stop.event == 0 && !probes { stop.signal } else { 0 });
            return false;
        }
        if self.table.process_of(tid).is_none() {
            // It came here before its creator's stop.
            let Some(kin) = Kin::read(tid) else {
                sys::resume(tid);
                return false;
            };
            if kin.pid != tid {
                self.table.add_thread(kin.pid, tid);
            } else if stop.event == sys::EVENT_STOP {
                self.unclaimed.insert(tid, kin.parent);
                return false;
            } else if !self.adopt(kin.parent, tid, false) {
                sys::detach(tid, 0);
                return false;
            }
        }
        self.announce(tid);
        true
    }

    /// Tells the observer of a process that now stands for the first time.
    fn announce(&mut self, tid: u32) {
        let birth = self.table.process(tid).and_then(|process| process.birth.take());
        if let Some(Birth { parent, shares_mm }) = birth {
            self.observer.forked(parent, tid, tid, shares_mm);
        }
    }

    /// A tracee stands at the event of its new thread or process.
    pub(super) fn made(&mut self, taken: Taken) {
        if let Some(new) = taken.message_tid() {
            self.created(taken.tid, new, taken.stop.event == libc::PTRACE_EVENT_VFORK);
        }
    }

    /// A tracee's new thread or process.
    fn created(&mut self, creator: u32, new: u32, vfork: bool) {
        let Some(parent) = self.table.process_of(creator) else { return };
        if sys::is_thread_of(parent, new) {
            self.table.add_thread(parent, new);
        } else if self.unclaimed.remove(&new).is_some() {
            self.claim(parent, new, vfork);
        } else if !sys::is_thread_of(new, new) {
            // A thread that came, went and was reaped before its creator's stop was shown.
        } else if self.table.process_of(new).is_none() && !self.adopt(parent, new, vfork) {
            self.refused.push(new);
        }
    }

    /// Takes a new process into the table. False if its parent's children are not followed.
    fn adopt(&mut self, parent: u32, new: u32, vfork: bool) -> bool {
        if self.table.process(parent).is_some_and(|parent| parent.threads_only) {
            return false;
        }
        let shares_mm = sys::same_memory(parent, new).unwrap_or(vfork);
        self.table.add_process(new, Some(Birth { parent, shares_mm }), false);
        true
    }

    /// A new process that stood waiting for its parent's stop.
    fn claim(&mut self, parent: u32, new: u32, vfork: bool) {
        if self.adopt(parent, new, vfork) {
            self.announce(new);
            sys::resume(new);
        } else {
            sys::detach(new, 0);
        }
    }

    /// A thread that is killed in its fork shows no stop for it: claim what nobody will.
    fn claim_all(&mut self) {
        for (new, parent) in std::mem::take(&mut self.unclaimed) {
            self.claim(parent, new, false);
        }
    }

    fn executed(&mut self, pid: u32, former_tid: u32) {
        self.table.exec(pid);
        if Some(pid) == self.command && self.launching.take().is_some() {
            // An owner that is gone does not need to know.
            let _ = self.started.send(Started { pid, tid: sys::own_tid() });
        }
        self.observer.executed(pid, pid, former_tid);
        sys::resume(pid);
    }

    fn exiting(&mut self, tid: u32) {
        if let Some(pid) = self.table.process_of(tid)
            && self.launching.is_none()
        {
            self.settle(pid, tid);
            let exit = self.table.exit(pid, tid);
            self.observer.exiting(pid, tid, exit.last_thread, exit.shares_mm);
        }
        self.claim_all();
        sys::resume(tid);
    }

    /// Finds the threads that die without a stop, when a whole process ends.
    ///
    /// A thread with `SIGKILL` pending when it comes to its exit stop does not stop there
    /// (`ptrace_stop`), as when two threads call exit_group at once. If it came last, nobody would
    /// be the last thread. So the first thread of an ending process waits here until no other has
    /// that signal pending: then each is past its exit stop, in it, or will come to it.
    ///
    /// The threads that exec ends look alike but for the one that calls exec, which waits for
    /// them and has no `SIGKILL` pending: it keeps nobody here.
    fn settle(&mut self, pid: u32, tid: u32) {
        let mut others = self.table.others(pid, tid);
        if others.is_empty() || !self.ends_process(pid, tid) {
            return;
        }
        let begin = Instant::now();
        loop {
            others.retain(|&other| match Fate::read(pid, other) {
                Fate::Dead => {
                    self.table.forget_dead(pid, other);
                    false
                }
                Fate::Killed => true,
                Fate::Open => false,
            });
            if others.is_empty() || begin.elapsed() > SETTLE {
                break;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        if let Some(process) = self.table.process(pid) {
            process.settled = true;
        }
    }

    /// Whether a thread's exit is part of the end of its process, which was not settled yet.
    fn ends_process(&mut self, pid: u32, tid: u32) -> bool {
        let settled = self.table.process(pid).is_none_or(|process| process.settled);
        let by_signal = || sys::event_message(tid).is_some_and(|status| status & 0x7f != 0);
        !settled && (by_signal() || sys::in_exit_group(tid))
    }

    /// A tracee has ended.
    ///
    /// # Errors
    /// It was the command, before it could exec.
    pub(super) fn dead(&mut self, tid: u32, status: Status) -> Result<(), Error> {
        if Some(tid) == self.command {
            let mut reaped = self.shared.reaped.lock().unwrap_or_else(PoisonError::into_inner);
            sys::reap(tid);
            *reaped = true;
            self.status = Some(status);
        } else {
            sys::reap(tid);
        }
        self.refused.retain(|&refused| refused != tid);
        self.unclaimed.remove(&tid);
        let let_go = self.command.filter(|command| *command == tid);
        if let Some(pid) = self.table.reaped(tid).or(let_go)
            && self.launching.is_none()
        {
            self.observer.ended(pid, status);
        }
        self.claim_all();
        if Some(tid) == self.command
            && let Some((child, plan)) = self.launching.take()
        {
            let signal = match status {
                Status::Signal(signal) => Some(signal),
                Status::Code(_) => None,
            };
            return Err(plan.failure(child, signal));
        }
        Ok(())
    }
}
