//! A control group of a test's own, with books of its memory.
//!
//! Comes in: a name. Goes out: a [`Group`], or why there is none here. When it goes, what still runs in
//! it is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{eventually, pause};

/// A group with the memory controller.
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes it, in version 1 or 2, whichever has the memory controller.
    ///
    /// # Errors
    /// This machine has no such file system, or it cannot be written.
    pub fn make(name: &str) -> Result<Self, String> {
        let first = Path::new("/sys/fs/cgroup/memory");
        let second = Path::new("/sys/fs/cgroup");
        let root = if first.join("memory.usage_in_bytes").exists() || first.join("tasks").exists() {
            first
        } else if second.join("cgroup.controllers").exists() {
            let control = second.join("cgroup.subtree_control");
            fs::write(&control, "+memory")
                .map_err(|error| format!("{}: {error}", control.display()))?;
            second
        } else {
            return Err("no cgroup file system with the memory controller is mounted".to_owned());
        };
        let path = root.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path })
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A group inside of it.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn inner(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// A shell that goes into a group of this path and then executes a command.
    #[must_use]
    pub fn command(path: &Path, words: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let procs = path.join("cgroup.procs");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(procs).args(words);
        command
    }

    /// The processes in it, those of the groups below it left out.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        members(&self.path)
    }
}

fn members(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

impl Drop for Group {
    fn drop(&mut self) {
        let inner = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let inner: Vec<PathBuf> =
            inner.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
        for path in inner.iter().chain([&self.path]) {
            for _ in 0..100 {
                let left = members(path);
                for pid in &left {
                    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
                if left.is_empty() && fs::remove_dir(path).is_ok() {
                    break;
                }
                pause(10);
            }
        }
    }
}

/// Waits until so many processes are in a group.
///
/// # Panics
/// It does not come to it.
pub fn await_members(group: &Group, many: usize) -> Vec<u32> {
    eventually("processes in the group", || {
        let members = group.members();
        (members.len() >= many).then_some(members)
    })
}
