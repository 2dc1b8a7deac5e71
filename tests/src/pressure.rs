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
}

impl Group {
    /// Makes a group with a limit in bytes, by either version of control groups.
    ///
    /// # Errors
    /// Neither version has the memory controller where a group could be made.
    pub fn new(limit: u64) -> Result<Self, String> {
        let name = format!("rmap-test-{}", std::process::id());
        let places =
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (root, file) in places {
            if root.ends_with("cgroup") {
                let _ = std::fs::write(Path::new(root).join("cgroup.subtree_control"), "+memory");
            }
            let dir = Path::new(root).join(&name);
            if std::fs::create_dir(&dir).is_err() {
                continue;
            }
            let group = Self { dir };
            if std::fs::write(group.dir.join(file), limit.to_string()).is_ok() {
                return Ok(group);
            }
        }
        Err("no group of processes with a limit of memory can be made here".to_owned())
    }

    /// The file that a process writes its own id into to be in the group.
    #[must_use]
    pub fn members(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}
