//! rmap beside a process that runs already.
//!
//! Comes in: a process. Goes out: an `rmap attach` that watches it, and how the process stands
//! while it is watched and afterwards.

use std::path::Path;
use std::process::Command;

use crate::process::{Running, eventually, status_field};
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
