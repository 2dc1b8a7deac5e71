//! Why a process cannot be attached to.
//!
//! Comes in: a process id. Goes out: one line that says why, and what to do; or nothing.

use procfs::process::{Process, StatFlags};

use crate::live::procfs::Status;

/// Why there is nothing to attach to, and what to do.
pub(super) fn obstacle(pid: u32) -> Option<String> {
    if pid == std::process::id() {
        return Some("it is rmap itself; name another process".to_owned());
    }
    let Ok(status) = Status::of(pid) else {
        return Some(
            "there is no such process; look for it with `ps -e` or `pgrep NAME`".to_owned(),
        );
    };
    let field = |name: &str| status.field(name).unwrap_or_default();
    let process = field("Tgid");
    if process != pid.to_string() {
        return Some(format!("it is a thread of process {process}; name that one"));
    }
    // A leader that ended before its threads is a zombie too, and the process goes on.
    let alone = status.number("Threads").unwrap_or(1) <= 1;
    if field("State").starts_with(['Z', 'X']) && alone {
        return Some(
            "it has ended and waits for its parent to take notice (a zombie), so its memory is \
             gone; name one that runs"
                .to_owned(),
        );
    }
    // A kernel thread has no such line, and neither has who has given up his memory and is not yet
    // a zombie (kernel `do_exit`).
    if status.field("VmSize").is_none() && alone {
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
    use std::time::Duration;

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
