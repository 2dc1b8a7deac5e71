//! Swap, and limits of memory, for a test that needs them. Both are gone when their value is dropped.
//!
//! Comes in: a test's turn on the machine. Goes out: guards.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::Machine;
use crate::process::run;

/// A swap file that is in use.
pub struct Swap {
    file: PathBuf,
}

impl Swap {
    /// Makes a file of 64 MiB in the test's directory, and swaps to it.
    ///
    /// # Errors
    /// The kernel or the file system cannot.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn on(machine: &Machine) -> Result<Self, String> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = machine.scratch().join("swap");
        // Holes are refused, so it is written.
        std::fs::write(&file, vec![0; 64 << 20]).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        for program in ["mkswap", "swapon"] {
            let ended = run(Command::new(program).arg(&file));
            if ended.code() != 0 {
                return Err(format!("{program}: {}", ended.err().trim()));
            }
        }
        Ok(Self { file })
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _ = run(Command::new("swapoff").arg(&self.file));
    }
}

/// A group of processes that may have only so much memory.
pub struct Group {
    dir: PathBuf,
    limit: PathBuf,
}

impl Group {
    /// Makes a group with a limit in bytes, by the version of control groups that has memory here.
    ///
    /// # Errors
    /// Neither has, or no group can be made: then why.
    ///
    /// # Panics
    /// `/proc` is not there.
    pub fn new(limit: u64) -> Result<Self, String> {
        let (root, file) = controller(&std::fs::read_to_string("/proc/self/mounts").unwrap())?;
        if file == LIMIT_V2 {
            // It may be on already.
            let _ = std::fs::write(root.join("cgroup.subtree_control"), "+memory");
        }
        let dir = root.join(format!("rmap-test-{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let group = Self { limit: dir.join(file), dir };
        // Where the controller does not serve there is no such file, and none can be made.
        std::fs::write(&group.limit, limit.to_string())
            .map_err(|error| format!("{}: {error}", group.limit.display()))?;
        Ok(group)
    }

    /// The file that a process writes its own id into to be in the group.
    #[must_use]
    pub fn members(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// The file that a number of bytes is written into to have another limit.
    #[must_use]
    pub fn limit(&self) -> &Path {
        &self.limit
    }
}

/// The limit of a group of version 1, and of version 2, in bytes.
const LIMIT_V1: &str = "memory.limit_in_bytes";
const LIMIT_V2: &str = "memory.max";

/// Where groups with a limit of memory are made, and the file of the limit: version 1 where it has
/// the controller, else version 2.
fn controller(mounts: &str) -> Result<(PathBuf, &'static str), String> {
    let mounts = || {
        mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?, words.next()?))
        })
    };
    let memory = |options: &str| options.split(',').any(|option| option == "memory");
    let old = mounts().find(|(_, kind, options)| *kind == "cgroup" && memory(options));
    if let Some((root, ..)) = old {
        return Ok((root.into(), LIMIT_V1));
    }
    let Some((root, ..)) = mounts().find(|(_, kind, _)| *kind == "cgroup2") else {
        return Err("no control groups are mounted, of neither version".to_owned());
    };
    let path = Path::new(root).join("cgroup.controllers");
    let controllers = std::fs::read_to_string(&path).unwrap_or_default();
    if controllers.split_whitespace().any(|controller| controller == "memory") {
        return Ok((root.into(), LIMIT_V2));
    }
    Err(format!("{} does not list memory: {:?}", path.display(), controllers.trim()))
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT_V1, controller};

    #[test]
    fn the_version_that_has_memory_is_taken() {
        let v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                  cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                  cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(controller(v1), Ok(("/sys/fs/cgroup/memory".into(), LIMIT_V1)));
        let none = controller("proc /proc proc rw 0 0\n").unwrap_err();
        assert!(none.contains("neither"), "{none}");
        let empty = controller("cgroup2 /nowhere/cgroup cgroup2 rw 0 0\n").unwrap_err();
        assert!(empty.contains("/nowhere/cgroup/cgroup.controllers does not list"), "{empty}");
    }
}
