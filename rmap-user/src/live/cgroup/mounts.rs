//! Where the hierarchies of cgroups are mounted.
//!
//! Comes in: `/proc/self/mountinfo`. Goes out: mounts, those that keep books of memory first.

use std::fs;
use std::path::PathBuf;

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The mount point.
    pub at: PathBuf,
    /// Which group is its root.
    pub root: PathBuf,
    /// 1 or 2.
    pub version: u8,
    /// It has the memory controller, or may have it (version 2).
    memory: bool,
}

/// All of them; none if there is no cgroup file system.
pub(super) fn read() -> Vec<Mount> {
    let mut mounts = parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    // Version 2 has it where version 1 has not taken it.
    let first = mounts.iter().any(|mount| mount.version == 1 && mount.memory);
    mounts.sort_by_key(|mount| match (mount.version, mount.memory) {
        (1, true) => 0,
        (2, _) => 1 + u8::from(first),
        _ => 3,
    });
    mounts
}

/// The lines of mountinfo, see proc_pid_mountinfo(5).
fn parse(text: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in text.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let front: Vec<&str> = front.split(' ').collect();
        let mut back = back.split(' ');
        let (kind, options) = (back.next().unwrap_or(""), back.nth(1).unwrap_or(""));
        let version = match kind {
            "cgroup" => 1,
            "cgroup2" => 2,
            _ => continue,
        };
        let (Some(root), Some(at)) = (front.get(3), front.get(4)) else { continue };
        let memory = version == 2 || options.split(',').any(|option| option == "memory");
        // The options of the super block may stand in front alone on old kernels.
        mounts.push(Mount { at: plain(at).into(), root: plain(root).into(), version, memory });
    }
    mounts
}

/// A path without the escapes of mountinfo (`\040` for a blank).
fn plain(path: &str) -> String {
    let mut out = Vec::new();
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(value) if bytes[at] == b'\\' => {
                out.push(value);
                at += 4;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_with_their_roots() {
        let text = "30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n\
                    31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n\
                    35 30 0:31 /docker/ab /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n\
                    36 30 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let found = parse(text);
        let shown: Vec<_> = found
            .iter()
            .map(|m| (m.at.to_str().unwrap(), m.root.to_str().unwrap(), m.version, m.memory))
            .collect();
        assert_eq!(
            shown,
            [
                ("/sys/fs/cgroup/unified", "/", 2, true),
                ("/sys/fs/cgroup/mem ory", "/docker/ab", 1, true),
                ("/sys/fs/cgroup/cpu", "/", 1, false),
            ]
        );
    }
}
