//! Why a snapshot could not be taken.

use std::io;
use std::path::PathBuf;

use super::smaps::TextError;

/// Why a snapshot could not be taken: what was read, of whom, what came, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thread, or not any more.
    #[error(
        "cannot read {}: process {pid} (thread {tid}) does not exist, or has just ended; \
         check the number with `ps`",
        path.display()
    )]
    Gone {
        /// The process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// The file that was tried.
        path: PathBuf,
    },
    /// The thread has no memory of its own: a kernel thread, or one that has already exited.
    #[error(
        "{} is empty: process {pid} (thread {tid}) has no memory; it is a kernel thread, or it \
         has exited and waits to be reaped",
        path.display()
    )]
    NoMemory {
        /// The process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// The file that was read.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error(
        "cannot read {}: {source}; run as root, or as the owner of process {pid} with \
         CAP_SYS_PTRACE",
        path.display()
    )]
    Denied {
        /// The process.
        pid: u32,
        /// The file that was tried.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another error of the file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file that was tried.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file's text is not what the kernel documents.
    #[error("cannot understand {}: {source}; please report this with the kernel's version", path.display())]
    Text {
        /// The file that was read.
        path: PathBuf,
        /// Where, and what is wrong.
        source: TextError,
    },
}

impl Error {
    pub(super) fn from_io(pid: u32, tid: u32, path: PathBuf, source: io::Error) -> Self {
        let missing =
            source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(libc::ESRCH);
        if missing {
            // Newer kernels refuse to open smaps of a task without memory; its directory is
            // still there then.
            let task = path.parent().is_some_and(std::path::Path::exists);
            return if task && source.kind() != io::ErrorKind::NotFound {
                Self::NoMemory { pid, tid, path }
            } else {
                Self::Gone { pid, tid, path }
            };
        }
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { pid, path, source },
            _ => Self::Read { path, source },
        }
    }

    /// The process is not there, or has no memory: not an error of rmap's, but of timing.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. } | Self::NoMemory { .. })
    }
}
