//! What `/proc` tells of a tracee's thread.
//!
//! Comes in: a tid. Goes out: whose thread it is, who traces it, and whether it still comes to its
//! exit stop.

use crate::live::procfs::{Status, read_text};

/// Whose thread a new tracee is.
pub(super) struct Kin {
    pub(super) pid: u32,
    pub(super) parent: u32,
}

impl Kin {
    pub(super) fn read(tid: u32) -> Option<Self> {
        let status = Status::of(tid).ok()?;
        Some(Self { pid: status.number("Tgid")?, parent: status.number("PPid")? })
    }
}

/// The threads of a process, zombies too; none of one that is gone.
pub(super) fn threads(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a SIGSTOP to the thread itself is pending: the probes have just stopped it.
pub(super) fn is_being_stopped(pid: u32, tid: u32) -> bool {
    let pending = Status::of_thread(pid, tid).ok().and_then(|status| status.bits("SigPnd"));
    pending.is_some_and(|bits| bits & 1 << (libc::SIGSTOP - 1) != 0)
}

/// The thread that traces a thread, 0 for nobody; `None` if the thread is gone.
pub(super) fn tracer(pid: u32, tid: u32) -> Option<u32> {
    Status::of_thread(pid, tid).ok()?.number("TracerPid")
}

/// Whether a thread has ended, its memory given up: it is a zombie or gone.
pub(super) fn has_ended(pid: u32, tid: u32) -> bool {
    read_text(format!("/proc/{pid}/task/{tid}/stat"))
        .map_or(true, |stat| matches!(state(&stat), "Z" | "X"))
}

/// The state in the line of `/proc/PID/task/TID/stat`. The name before it may hold anything; it
/// ends at the last parenthesis.
fn state(stat: &str) -> &str {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_ascii_whitespace().next().unwrap_or("")
}

/// Whether a thread of an ending process still comes to its exit stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is past it.
    Dead,
    /// `SIGKILL` is pending: unknown yet.
    Killed,
    /// It comes to it, stands in it, or is not ended at all.
    Open,
}

impl Fate {
    pub(super) fn read(pid: u32, tid: u32) -> Self {
        read_text(format!("/proc/{pid}/task/{tid}/stat"))
            .map_or(Self::Dead, |stat| Self::parse(&stat))
    }

    /// From the line of `/proc/PID/task/TID/stat`, see proc_pid_stat(5).
    fn parse(stat: &str) -> Self {
        const EXITING: u64 = 0x4; // PF_EXITING of the kernel's sched.h
        // The name, field 2, may hold anything; it ends at the last parenthesis.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3);
        let bits = |number| field(number).and_then(|bits| bits.parse().ok()).unwrap_or(0_u64);
        if matches!(state(stat), "Z" | "X") || bits(9) & EXITING != 0 {
            Self::Dead
        } else if bits(31) & (1 << (libc::SIGKILL - 1)) != 0 {
            Self::Killed
        } else {
            Self::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(state: &str, flags: u64, pending: u64) -> String {
        let between = "0 ".repeat(21);
        format!("7 (a) R (b) {state} 1 2 3 4 5 {flags} {between}{pending} 0 0 0\n")
    }

    #[test]
    fn the_fate_of_a_thread() {
        assert_eq!(Fate::parse(&line("S", 0x40_0000, 0)), Fate::Open);
        assert_eq!(Fate::parse(&line("R", 0x40_0000, 1 << 8)), Fate::Killed);
        assert_eq!(Fate::parse(&line("t", 0x40_0000, 1 << 7)), Fate::Open);
        assert_eq!(Fate::parse(&line("Z", 0, 1 << 8)), Fate::Dead);
        assert_eq!(Fate::parse(&line("R", 0x40_0004, 1 << 8)), Fate::Dead);
        assert_eq!(Fate::parse(""), Fate::Open);
    }
}
