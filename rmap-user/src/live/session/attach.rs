//! Attaching to processes that run.
//!
//! Comes in: process ids. Goes out: the session's outcome, or one line that says which of them
//! cannot be attached to, and what to do.

use std::{collections::HashSet, fs, time::Duration};

use procfs::process::{Process, StatFlags};

use super::{Error, Outcome, Watch, trace, trace::Subject};
use crate::live::ptrace::same_memory;

/// What `rmap attach` attaches to, and how.
#[derive(Debug, Default)]
pub struct AttachSettings {
    /// The processes; one that is named twice counts once.
    pub pids: Vec<u32>,
    /// For how long; `None`: until they end, or somebody asks for the report.
    pub duration: Option<Duration>,
    /// How they are watched.
    pub watch: Watch,
}

/// Attaches to processes until they have ended, the time is over, or a signal asks for the report.
/// Then they are let go as they were. `traced` is called when tracing has ended and the report is
/// made.
///
/// # Errors
/// A process is not there or has no memory, the probes could not be loaded, or none of the processes
/// could be read; then they are as they were.
pub fn attach(settings: &AttachSettings, traced: impl FnOnce()) -> Result<Outcome, Error> {
    let mut seen = HashSet::new();
    let mut pids: Vec<u32> =
        settings.pids.iter().copied().filter(|pid| seen.insert(*pid)).collect();
    if pids.is_empty() {
        return Err(Error::Obstacle("there is no process to attach to".to_owned()));
    }
    for &pid in &pids {
        if let Some(why) = obstacle(pid) {
            return Err(Error::Obstacle(format!("cannot attach to process {pid}: {why}")));
        }
    }
    let sharers: Vec<u32> = sharers(&pids).collect();
    pids.extend(sharers);
    let subject = Subject::Processes { pids, duration: settings.duration };
    trace::start(subject, &settings.watch, traced, None)
}

/// Other processes that run in the memory of some (`CLONE_VM` without `CLONE_THREAD`): what they do
/// there is done to those too.
fn sharers(pids: &[u32]) -> impl Iterator<Item = u32> {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let others = all.filter_map(|process| u32::try_from(process.pid()).ok());
    others
        .filter(|other| !pids.contains(other) && *other != std::process::id())
        .filter(|other| pids.iter().any(|pid| same_memory(*pid, *other) == Some(true)))
        .filter(|other| obstacle(*other).is_none())
}

/// Why there is nothing to attach to, and what to do.
fn obstacle(pid: u32) -> Option<String> {
    if pid == std::process::id() {
        return Some("it is rmap itself; name another process".to_owned());
    }
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return Some(
            "there is no such process; look for it with `ps -e` or `pgrep NAME`".to_owned(),
        );
    };
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.map(str::trim).unwrap_or_default()
    };
    let process = field("Tgid:");
    if process != pid.to_string() {
        return Some(format!("it is a thread of process {process}; name that one"));
    }
    // A leader that ended before its threads is a zombie too, and the process goes on.
    let alone = field("Threads:").parse().unwrap_or(1_u32) <= 1;
    if field("State:").starts_with(['Z', 'X']) && alone {
        return Some(
            "it has ended and waits for its parent to take notice (a zombie), so its memory is \
             gone; name one that runs"
                .to_owned(),
        );
    }
    // A kernel thread has no such line, and neither has who has given up his memory and is not yet
    // a zombie (kernel `do_exit`).
    if !status.contains("\nVmSize:") && alone {
        let why = match is_kernel_thread(pid) {
            Some(true) => "is a thread of the kernel, which has no memory of its own",
            Some(false) => "is about to end, and its memory is gone",
            None => "has just ended",
        };
        return Some(format!("it {why}; name a program's process that runs"));
    }
    None
}

/// `None`: it is no longer there. By the flags in `stat` (`PF_KTHREAD`).
fn is_kernel_thread(pid: u32) -> Option<bool> {
    let stat = Process::new(i32::try_from(pid).ok()?).and_then(|process| process.stat()).ok()?;
    Some(StatFlags::from_bits_truncate(stat.flags).contains(StatFlags::PF_KTHREAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_attached_to_is_told_with_what_to_do() {
        let why = |pid| obstacle(pid).unwrap_or_default();
        assert!(why(std::process::id()).contains("rmap itself"));
        assert!(why(u32::MAX).contains("no such process"));
        assert_eq!(obstacle(std::os::unix::process::parent_id()), None);
    }

    #[test]
    fn a_thread_is_told_by_its_process() {
        let (send, receive) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _ = send.send(nix::unistd::gettid().as_raw().unsigned_abs());
            std::thread::park();
        });
        let tid = receive.recv().unwrap();
        let expected = format!("a thread of process {}", std::process::id());
        assert!(obstacle(tid).unwrap().contains(&expected), "{:?}", obstacle(tid));
        thread.thread().unpark();
        thread.join().unwrap();
    }

    #[test]
    fn a_process_that_ends_is_never_said_to_be_the_kernels() {
        // Many, for the moment between the end of its memory and the zombie is short.
        for _ in 0..200 {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            let pid = child.id();
            let begin = std::time::Instant::now();
            loop {
                match obstacle(pid) {
                    Some(why) if why.contains("zombie") => break,
                    Some(why) => assert!(why.contains("about to end"), "{why}"),
                    None => assert!(begin.elapsed() < Duration::from_secs(60), "it does not end"),
                }
            }
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_thread_of_the_kernel_is_told() {
        // Process 2 is the kernel's, except where a container has its own numbers.
        if is_kernel_thread(2) == Some(true) {
            assert!(obstacle(2).unwrap().contains("thread of the kernel"), "{:?}", obstacle(2));
        }
    }
}
