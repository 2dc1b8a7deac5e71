//! The control group that limits a process's memory, in both versions of the kernel's interface.
//!
//! Comes in: a process id. Goes out: where its group is, the least limit on its way up, and how many
//! processes the kernel has killed there for want of memory. Kernel documents:
//! `admin-guide/cgroup-v2.rst` (`memory.max`, `memory.events`), `admin-guide/cgroup-v1/memory.rst`
//! (`memory.limit_in_bytes`, `memory.oom_control`).

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel shows the groups.
const ROOT: &str = "/sys/fs/cgroup";
/// Of a version 1 group without a limit: the largest number of pages (`PAGE_COUNTER_MAX`), about.
const NO_LIMIT: u64 = 1 << 62;

/// A group whose memory is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemoryGroup {
    /// As the process's `cgroup` file names it.
    pub name: String,
    /// Its folder, and above it the hierarchy's.
    folder: PathBuf,
    root: PathBuf,
    first: bool,
}

impl MemoryGroup {
    /// The group of a process; `None` if none counts its memory, or it is not shown here.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let list = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let (name, first) = parse(&list)?;
        let root = if first {
            PathBuf::from(ROOT).join("memory")
        } else if Path::new(ROOT).join("cgroup.controllers").exists() {
            PathBuf::from(ROOT)
        } else {
            PathBuf::from(ROOT).join("unified")
        };
        let folder = root.join(name.trim_start_matches('/'));
        let group = Self { name, folder, root, first };
        group.folder.is_dir().then_some(group)
    }

    /// The least limit of the group and those above it, bytes.
    pub(super) fn limit(&self) -> Option<u64> {
        let file = if self.first { "memory.limit_in_bytes" } else { "memory.max" };
        let above = self.folder.ancestors().take_while(|folder| folder.starts_with(&self.root));
        let limit = |folder: &Path| -> Option<u64> {
            fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
        };
        above.filter_map(limit).filter(|limit| *limit < NO_LIMIT).min()
    }

    /// Processes that the kernel has killed here, because the group had no memory left.
    pub(super) fn kills(&self) -> Option<u64> {
        let file = if self.first { "memory.oom_control" } else { "memory.events" };
        kills(&fs::read_to_string(self.folder.join(file)).ok()?)
    }
}

/// The group in a process's list, and whether it is one of version 1.
fn parse(list: &str) -> Option<(String, bool)> {
    let rows = || list.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let first = rows().find(|(kinds, _)| kinds.split(',').any(|kind| kind == "memory"));
    let second = || rows().find(|(kinds, _)| kinds.is_empty());
    let (name, is_first) = match first {
        Some((_, name)) => (name, true),
        None => (second()?.1, false),
    };
    // A name from outside of this namespace, or of a group that is gone, leads nowhere.
    (!name.contains("..") && !name.ends_with(" (deleted)")).then(|| (name.to_owned(), is_first))
}

/// The kernel's count in `memory.events` or `memory.oom_control`.
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Processes that the kernel has killed for want of memory on the whole machine.
pub(super) fn all_kills() -> Option<u64> {
    kills(&fs::read_to_string("/proc/vmstat").ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_that_counts_memory_is_found_in_both_versions() {
        let first = "8:pids:/\n4:cpu,memory:/build/1\n0::/\n";
        assert_eq!(parse(first), Some(("/build/1".to_owned(), true)));
        assert_eq!(parse("0::/user.slice/a\n"), Some(("/user.slice/a".to_owned(), false)));
        assert_eq!(parse("0::/../../a\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn kills_are_counted_by_either_file() {
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(kills("max 1\n"), None);
    }
}
