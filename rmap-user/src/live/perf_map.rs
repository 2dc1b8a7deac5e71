//! Finds the perf map file of a process.
//!
//! Comes in: a thread that still has its root directory. Goes out: the
//! `/tmp/perf-PID.map` that its process sees, PID being the one in its own PID namespace; or why
//! the file is not used. The traced program chooses what stands there, so the path is resolved
//! below its root, and the file must be a regular one of the program's user or of root. It is
//! looked at (`O_PATH`) before it is opened: opening a device or a FIFO does things.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::foreign::{self, Foreign, Root};
use super::procfs::Status;
use crate::symbol::Stamp;

/// A perf map file.
pub struct Found {
    /// Which version of the file it is.
    pub stamp: Stamp,
    /// Looked at, not open for reading.
    file: File,
    path: String,
}

/// Looks for the file of the process of thread `tid`; `None` if there is none, or if the thread is
/// gone.
///
/// # Errors
/// One line that says which file is not used, and why.
pub fn find(tid: u32) -> Result<Option<Found>, String> {
    let Ok(status) = Status::of(tid) else { return Ok(None) };
    let Some((pid, user)) = identity(&status) else { return Ok(None) };
    let Ok(root) = Root::of(tid) else { return Ok(None) };
    let path = format!("/tmp/perf-{pid}.map");
    let refused = |why: &dyn std::fmt::Display| format!("{path} of process {pid}: {why}");
    let file = match root.look(Path::new(&path), OFlag::O_NOFOLLOW) {
        Ok(file) => file,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(None);
        }
        Err(error) => return Err(refused(&error)),
    };
    let meta = file.metadata().map_err(|error| refused(&error))?;
    if !meta.is_file() {
        return Err(refused(&"not a regular file"));
    }
    if meta.uid() != user && meta.uid() != 0 {
        return Err(refused(&format_args!(
            "it belongs to user {}, the process to user {user}",
            meta.uid()
        )));
    }
    Ok(Some(Found { stamp: Stamp::from(&meta), file, path }))
}

impl Found {
    /// Opens it.
    ///
    /// # Errors
    /// One line that says why it could not be opened.
    pub fn open(&self) -> Result<Foreign, String> {
        foreign::open_found(&self.file).map_err(|error| format!("{}: {error}", self.path))
    }
}

/// The process id in the innermost PID namespace, and the effective user, of `/proc/PID/status`.
fn identity(status: &Status) -> Option<(u32, u32)> {
    let pid = status.field("NStgid")?.split_ascii_whitespace().next_back()?.parse().ok()?;
    let user = status.field("Uid")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((pid, user))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_process_is_known_by_its_innermost_id_and_its_effective_user() {
        let status = "Name:\ta\nTgid:\t70\nUid:\t1\t2\t3\t4\nNStgid:\t70\t5\nNSpid:\t71\t6\n";
        assert_eq!(identity(&status.into()), Some((5, 2)));
        assert_eq!(identity(&"Name:\ta\n".into()), None);
    }

    #[test]
    fn only_a_regular_file_counts() {
        let own = std::process::id();
        let path = format!("/tmp/perf-{own}.map");
        assert!(find(own).is_ok_and(|found| found.is_none()));
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let link = find(own);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let folder = find(own);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "1 1 f\n").unwrap();
        let file = find(own);
        fs::remove_file(&path).unwrap();
        assert!(link.is_err_and(|why| why.contains("not a regular file")));
        assert!(folder.is_err());
        let file = file.unwrap().unwrap().open().unwrap().file;
        assert_eq!(foreign::read_at_most(&file, 10).unwrap(), b"1 1 f\n");
    }
}
