//! What `/proc` tells of a process beside its memory.

use std::{fs, io::Read as _, time::Duration};

use procfs as procfs_crate;

use crate::{
    live::{
        procfs::{Status, read_text},
        worker::{Worker, protocol::Request},
    },
    report,
    trace::ProcessFacts,
};

/// Most bytes of a command line that are kept.
const COMMAND_MAX: u64 = 4096;
/// How long it is waited for.
const COMMAND_TIME: Duration = Duration::from_millis(500);

/// Reads what there is; a process that is gone has nothing. `pid` may be any thread of it that has
/// its memory.
pub(super) fn read(worker: &mut Worker, pid: u32) -> ProcessFacts {
    // It is memory of the process, which may be a file of a file system that never answers.
    let request = Request::Text { pid, name: "cmdline".to_owned(), most: COMMAND_MAX };
    let line = worker.ask(&request, None, COMMAND_TIME).map(|reply| reply.body).unwrap_or_default();
    with_line(pid, &line)
}

/// The same of a process that stands behind its exec: its arguments lie where the kernel has put them
/// just now, so nobody need be asked to read them.
pub(super) fn read_executed(pid: u32) -> ProcessFacts {
    let mut line = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/cmdline")) {
        let _ = file.take(COMMAND_MAX).read_to_end(&mut line);
    }
    with_line(pid, &line)
}

fn with_line(pid: u32, line: &[u8]) -> ProcessFacts {
    let text = |name: &str| read_text(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let parent_pid = Status::of(pid).ok().and_then(|status| status.number("PPid"));
    let parent_pid = parent_pid.filter(|parent| *parent != 0);
    let parts: Vec<_> = line
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    let exe = fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default();
    let comm = text("comm");
    let comm = comm.trim_end_matches('\n');
    let command = match parts.as_slice() {
        [] => comm.to_owned(),
        _ if is_own_name(comm, &parts, &exe) => format!("{} ({comm})", parts.join(" ")),
        _ => parts.join(" "),
    };
    ProcessFacts { command, exe, parent_pid }
}

/// Whether a process gave itself its short name (`PR_SET_NAME`). The kernel takes the first 15 bytes
/// of the program's or the script's file name.
fn is_own_name(comm: &str, parts: &[impl AsRef<str>], exe: &str) -> bool {
    let known = parts.iter().map(AsRef::as_ref).chain([exe]).any(|text| text.contains(comm));
    !comm.is_empty() && !known
}

/// The machine, and what there is of a process that is not traced.
#[must_use]
pub fn facts_of(pid: u32) -> (report::Host, ProcessFacts) {
    (host(), read(&mut Worker::default(), pid))
}

/// The machine.
pub(super) fn host() -> report::Host {
    let name = nix::sys::utsname::uname();
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    report::Host {
        kernel: name.as_ref().map(|name| text(name.release())).unwrap_or_default(),
        arch: name.as_ref().map(|name| text(name.machine())).unwrap_or_default(),
        page_bytes: procfs_crate::page_size(),
        cpus: aya::util::online_cpus().map_or(0, |cpus| cpus.len() as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::Worker;

    #[test]
    fn our_own_facts() {
        let facts = super::read(&mut Worker::default(), std::process::id());
        assert!(facts.parent_pid.is_some());
        assert!(!facts.command.is_empty());
        assert!(facts.exe.starts_with('/'));
    }

    #[test]
    fn arguments_are_the_same_whoever_reads_them() {
        let own = std::process::id();
        assert_eq!(super::read_executed(own), super::read(&mut Worker::default(), own));
    }

    #[test]
    fn a_short_name_of_its_own_is_recognised() {
        let is_own = |comm: &str, words: &[&str], exe| super::is_own_name(comm, words, exe);
        assert!(!is_own("sleep", &["sleep", "1"], "/usr/bin/sleep"));
        assert!(!is_own("a_long_name_of_", &["a title"], "/bin/a_long_name_of_a_program"));
        assert!(!is_own("script.py", &["/usr/bin/python3", "./script.py"], "/usr/bin/python3.11"));
        assert!(!is_own("nginx", &["nginx: worker process"], "/usr/sbin/nginx"));
        assert!(is_own("worker-1", &["./server", "-v"], "/srv/server"));
        assert!(!is_own("", &["x"], "/x"));
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        assert_eq!(super::read(&mut Worker::default(), u32::MAX), super::ProcessFacts::default());
    }
}
