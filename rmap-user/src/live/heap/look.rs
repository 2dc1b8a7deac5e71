//! One look at the heaps of a process that runs: it is stopped, read and let go.
//!
//! Comes in: a process and a limit. Goes out: a [`Look`]. Where malloc was at work in several threads
//! and the sums do not agree, the process runs for a millisecond and is stopped again.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Read, read};
use crate::heap::is_worth_another_look;
use crate::live::procfs;
use crate::live::ptrace::{self, Observer, Status};
use crate::trace::{Heap, Moment, Snapshot};

/// How often a process is stopped whose sums do not agree.
const TRIES: u32 = 5;

/// How long it runs in between.
const REST: Duration = Duration::from_millis(1);

/// What a look found.
#[derive(Debug)]
pub struct Look {
    /// The process's memory.
    pub snapshot: Snapshot,
    /// Its heaps.
    pub heap: Heap,
    /// How long it stood, in all.
    pub stood: Duration,
    /// How often it was stopped.
    pub stops: u32,
}

/// Why there is no look.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be stopped or read.
    #[error("cannot look at the heap of process {pid}: {why}")]
    Process {
        /// The process.
        pid: u32,
        /// What came.
        why: String,
    },
    /// The tracer thread could not be started, or failed.
    #[error(transparent)]
    Tracer(#[from] ptrace::Error),
}

/// Stops a process, reads its heaps and lets it go as it was.
///
/// # Errors
/// It is not there, may not be stopped or read.
pub fn look(pid: u32, limit: Duration) -> Result<Look, Error> {
    let failed = |why: &str| Error::Process { pid, why: why.to_owned() };
    if pid == std::process::id() {
        return Err(failed("it is rmap itself; name another process"));
    }
    if fs::metadata(format!("/proc/{pid}")).is_err() {
        return Err(failed("there is no such process; look for it with `ps -e` or `pgrep NAME`"));
    }
    let (mut stood, mut stops) = (Duration::ZERO, 0);
    loop {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let observer = Looker { limit: limit.saturating_sub(stood), seen: Arc::clone(&seen) };
        let tracer = ptrace::attach(vec![pid], None, false, Box::new(observer))?;
        tracer.detach_all();
        tracer.join()?;
        let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        stops += 1;
        stood += seen.stood;
        let Some((snapshot, read)) = seen.read else {
            return Err(failed(seen.why.as_deref().unwrap_or("it has ended")));
        };
        let heap = read.finish(&snapshot);
        let again = is_worth_another_look(&heap) && stops < TRIES && stood < limit;
        if !again {
            return Ok(Look { snapshot, heap, stood, stops });
        }
        thread::sleep(REST);
    }
}

/// What came of one stop.
#[derive(Debug, Default)]
struct Seen {
    read: Option<(Snapshot, Read)>,
    why: Option<String>,
    stood: Duration,
}

/// Reads when the process stands.
struct Looker {
    limit: Duration,
    seen: Arc<Mutex<Seen>>,
}

impl Looker {
    fn set(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Observer for Looker {
    fn armed(&mut self, _: u32) {}

    fn about_to_stop(&mut self, _: u32) {}

    fn attached(&mut self, pid: u32, tid: u32, stood: bool) {
        if !stood {
            return;
        }
        let begun = Instant::now();
        let taken = procfs::take(tid, pid, Moment::Start, true);
        match taken {
            Ok(snapshot) => match read(tid, &snapshot, self.limit) {
                Some(read) => self.set(|seen| seen.read = Some((snapshot, read))),
                None => self.set(|seen| seen.why = Some(format!("/proc/{tid}/mem is refused"))),
            },
            Err(error) => self.set(|seen| seen.why = Some(error.to_string())),
        }
        self.set(|seen| seen.stood = begun.elapsed());
    }

    fn about_to_leave(&mut self) {}

    fn leaving(&mut self, _: u32, _: u32, _: bool) {}

    fn executed(&mut self, _: u32, _: u32, _: u32) {}

    fn forked(&mut self, _: u32, _: u32, _: u32, _: bool) {}

    fn exiting(&mut self, _: u32, _: u32, _: bool, _: bool) {}

    fn yielded(&mut self, _: u32, _: u32, _: bool, _: &str) {}

    fn unfollowed(&mut self, _: u32, reason: &str) {
        self.set(|seen| seen.why = Some(reason.to_owned()));
    }

    fn ended(&mut self, _: u32, _: Status) {}
}
