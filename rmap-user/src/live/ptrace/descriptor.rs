//! Takes a userfaultfd out of a process: made in it, taken by `pidfd_getfd`, closed in it, so that
//! rmap has the only reference and nothing is left behind.
//!
//! Comes in: processes that the session asks for ([`super::Tracer::request_descriptor`]). Goes out:
//! [`super::Observer::descriptor`]. The process stands meanwhile, less than a millisecond.
//!
//! userfaultfd(2) makes descriptors for the caller's own memory alone. `UFFD_USER_MODE_ONLY` is
//! allowed to everybody (since Linux 5.11), and faults in the kernel need no more where
//! write-protection is asynchronous.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::PoisonError;
use std::time::Instant;

use super::engine::{Engine, options};
use super::inject::{Caller, Refusal};
use super::sys::{self, Stop};
use super::tracee;
use crate::live::procfs::{Status, read_text};

/// What came of a request.
#[derive(Debug)]
pub enum Descriptor {
    /// A userfaultfd of the process's memory.
    Taken(OwnedFd),
    /// Not at this moment; ask again.
    NotNow,
    /// Why there is none.
    Refused(String),
}

impl From<Refusal> for Descriptor {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotNow => Self::NotNow,
            Refusal::Never(why) => Self::Refused(why),
        }
    }
}

/// `UFFD_USER_MODE_ONLY` of `include/uapi/linux/userfaultfd.h`.
const USER_MODE_ONLY: u64 = 1;

/// What a link in `/proc/PID/fd` of such a descriptor says.
const NAME: &str = "anon_inode:[userfaultfd]";

impl Engine<'_> {
    /// Does what was asked for since the last time.
    pub(super) fn take_descriptors(&mut self) {
        let mut requests = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let pids = std::mem::take(&mut *requests);
        drop(requests);
        for pid in pids {
            let begin = Instant::now();
            let taken = self.take_descriptor(pid);
            self.observer.descriptor(pid, taken, begin.elapsed());
        }
    }

    fn take_descriptor(&mut self, pid: u32) -> Descriptor {
        let Some(threads_only) = self.table.process(pid).map(|process| process.threads_only) else {
            return Descriptor::Refused("ptrace does not stop it".to_owned());
        };
        let facts = match Facts::read(pid) {
            Ok(facts) => facts,
            Err(refusal) => return refusal.into(),
        };
        let halted = self.halt(pid, false);
        let mut taken = Descriptor::NotNow;
        // A thread that waits in a call is never where it must not be moved from, but any will do.
        for tid in self.table.threads_of(pid).into_iter().filter(|_| halted.all) {
            let interrupted = Stop { signal: libc::SIGTRAP, event: sys::EVENT_STOP };
            if sys::peek_stop(tid) != Some(interrupted) {
                continue;
            }
            match take(pid, tid, &facts, options(threads_only)) {
                Ok(fd) => taken = Descriptor::Taken(fd),
                Err(Refusal::NotNow) => continue,
                Err(refusal) => taken = refusal.into(),
            }
            break;
        }
        self.go_on(pid);
        taken
    }
}

/// Makes the three calls in a thread of a process that stands.
fn take(pid: u32, tid: u32, facts: &Facts, options: i32) -> Result<OwnedFd, Refusal> {
    let mut caller = Caller::begin(tid, facts.call, options, facts.seccomp)?;
    let made = make(pid, &mut caller);
    caller.end();
    made
}

fn make(pid: u32, caller: &mut Caller) -> Result<OwnedFd, Refusal> {
    let never = |what: &str, source: io::Error| Refusal::Never(format!("cannot {what}: {source}"));
    let flags = USER_MODE_ONLY | (libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;
    let number = caller.call(libc::SYS_userfaultfd, [flags, 0, 0])?;
    let number = match i32::try_from(number) {
        Ok(number) if number >= 0 => number.unsigned_abs(),
        Ok(errno) => {
            let source = io::Error::from_raw_os_error(errno.wrapping_neg());
            return Err(never("call userfaultfd in it", source));
        }
        Err(_) => return Err(Refusal::NotNow),
    };
    let fd = tracee::descriptor_of(pid, number);
    let closed = caller.call(libc::SYS_close, [number.into(), 0, 0]);
    let fd = fd.map_err(|source| never("take the descriptor out of it", source))?;
    closed?;
    // Its memory and its table of descriptors are its own: trust what the kernel says.
    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if link.is_ok_and(|link| link.as_os_str() == NAME) {
        Ok(fd)
    } else {
        Err(Refusal::Never("another descriptor came out of it".to_owned()))
    }
}

/// What must be known before a process is stopped for it.
struct Facts {
    /// The address of a `syscall` instruction.
    call: u64,
    seccomp: bool,
}

impl Facts {
    fn read(pid: u32) -> Result<Self, Refusal> {
        let gone = |source: io::Error| Refusal::Never(format!("it has ended ({source})"));
        let status = Status::of(pid).map_err(gone)?;
        let maps = read_text(format!("/proc/{pid}/maps")).map_err(gone)?;
        if uses_userfaultfd(pid) {
            let why = "it uses userfaultfd itself, and a mapping can have only one";
            return Err(Refusal::Never(why.to_owned()));
        }
        let call = find_vdso(&maps).and_then(|vdso| find_call(&vdso));
        Ok(Self {
            // In the middle of an exec there is none yet.
            call: call.ok_or(Refusal::NotNow)?,
            seccomp: status.field("Seccomp").is_some_and(|mode| mode != "0"),
        })
    }
}

/// The address of the first `syscall` instruction of a process's vDSO. All 64-bit processes have the same
/// one, so rmap reads its own: what it reads of another's becomes resident there, and nobody there has
/// touched it.
fn find_call(vdso: &Range<u64>) -> Option<u64> {
    let own = read_text("/proc/self/maps").ok()?;
    let own = find_vdso(&own).filter(|own| own.end - own.start == vdso.end - vdso.start)?;
    let image = tracee::memory(std::process::id(), &own).ok()?;
    let place = image.windows(2).position(|bytes| bytes == tracee::SYSCALL)?;
    Some(vdso.start + place as u64)
}

/// Where the vDSO lies, by the lines of maps.
fn find_vdso(maps: &str) -> Option<Range<u64>> {
    maps.lines().find(|line| line.ends_with(" [vdso]")).and_then(range)
}

/// Whether a process has a userfaultfd open.
fn uses_userfaultfd(pid: u32) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.as_os_str() == NAME)
}

/// The addresses of a line of maps.
fn range(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(number(start)?..number(end)?)
}
