//! rmap beside a process that runs already.
//!
//! Comes in: a process. Goes out: an `rmap attach` that watches it, how the process stands while it
//! is watched and afterwards, and whether a server's answers are right.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::{Running, SOON, eventually, patience, status_field};
use crate::rmap::reports;

/// `rmap attach` that writes both reports and a recording into `dir`, with every row.
#[must_use]
pub fn rmap_attach(dir: &Path, pids: &[u32]) -> Command {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut command = reports(dir, "attach");
    command.arg("-p").arg(pids.join(","));
    command
}

/// Waits until rmap has looked at all processes and let them go on: its tracer waits for stops of
/// any of them, which it does not before.
///
/// # Panics
/// It does not come to it.
pub fn await_attached(rmap: &Running) {
    let waits = format!("{} ", libc::SYS_waitid);
    eventually("rmap has attached", || {
        threads(rmap.pid()).into_iter().find(|tid| {
            let read = |name| {
                std::fs::read_to_string(format!("/proc/{}/task/{tid}/{name}", rmap.pid()))
                    .unwrap_or_default()
            };
            read("comm").trim_end() == "rmap-ptrace" && read("syscall").starts_with(&waits)
        })
    });
}

/// The threads of a process.
#[must_use]
pub fn threads(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Checks that no thread of the process is traced or stopped.
///
/// # Panics
/// One is.
pub fn assert_free(pid: u32) {
    let threads = threads(pid);
    assert!(!threads.is_empty(), "process {pid} is gone");
    for tid in threads {
        // A thread that was just woken may need a moment to run.
        eventually("no thread is traced or stopped", || {
            let tracer = status_field(tid, "TracerPid:").unwrap_or_else(|| "0".to_owned());
            let state = status_field(tid, "State:").unwrap_or_default();
            (tracer == "0" && !state.starts_with(['t', 'T'])).then_some(())
        });
    }
}

/// A client of `worker.c`: asks until it is told to stop, and counts the answers.
///
/// # Panics
/// An answer is wrong, or does not come.
#[must_use]
pub fn ask(socket: &Path, first_seed: u64, stop: &AtomicBool) -> u64 {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(patience(SOON))).unwrap();
    let (mut seed, mut answers) = (first_seed, 0);
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&seed.to_ne_bytes()).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(u64::from_ne_bytes(answer), right_answer(seed), "seed {seed}");
        answers += 1;
        seed = next(seed);
    }
    answers
}

const fn next(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// What `worker.c` must answer.
fn right_answer(mut seed: u64) -> u64 {
    let bytes = (1 + seed % 61) * 4096;
    let mut sum = 0;
    for _ in (0..bytes).step_by(512) {
        seed = next(seed);
        sum += seed >> 56;
    }
    sum
}
