//! The one place where files that others control are opened.
//!
//! Comes in: where a file is (a mapping of a process, a path below a process's root, a path on this
//! machine). Goes out: a regular file, open for reading, and its [`Stamp`]; or why not. Whoever owns
//! the path chooses what stands there: a FIFO, a device, a link out of its root, a file with a
//! write lease. So the path is resolved by `openat2` below the process's own root, the file is
//! looked at (`O_PATH`) before it is opened, and it is opened without waiting. A file system that
//! never answers can still hold whoever calls: only the opener's process ([`super::worker`]) does.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use crate::symbol::Stamp;

/// Larger files are not opened, in bytes.
pub const FILE_MAX: u64 = 16 << 30;
/// How often a file with a lease is asked for again, and the pause between.
const LEASE_ATTEMPTS: u32 = 3;
const LEASE_PAUSE: Duration = Duration::from_millis(2);

/// A foreign file that was opened.
#[derive(Debug)]
pub struct Foreign {
    /// Open for reading.
    pub file: File,
    /// Which version of which file it is.
    pub stamp: Stamp,
    /// What `stat` says of it.
    pub meta: Metadata,
}

/// The root directory of a process.
#[derive(Debug)]
pub struct Root(File);

impl Root {
    /// The root of the process (or of its thread) `pid`.
    ///
    /// # Errors
    /// It is gone, or not ours to look at.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::at(Path::new(&format!("/proc/{pid}/root")))
    }

    /// A directory that is taken for a root.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn at(path: &Path) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        Ok(Self(File::options().read(true).custom_flags(flags).open(path)?))
    }

    /// Opens a regular file below the root. Links are followed, but never out of it.
    ///
    /// # Errors
    /// There is none, or it is not one that is read.
    pub fn open(&self, path: &Path) -> io::Result<Foreign> {
        open_found(&self.look(path, OFlag::empty())?)
    }

    /// The same for a file that must be none of a link.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open_no_link(&self, path: &Path) -> io::Result<Foreign> {
        open_found(&self.look(path, OFlag::O_NOFOLLOW)?)
    }

    /// What stands at a path, without opening it.
    ///
    /// # Errors
    /// Nothing, or the path cannot be followed.
    pub fn look(&self, path: &Path, more: OFlag) -> io::Result<File> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | more)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(openat2(&self.0, path, how)?.into())
    }

    /// The names of the entries of a directory below the root, `most` of them at most.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list(&self, path: &Path, most: usize) -> io::Result<Vec<std::ffi::OsString>> {
        let directory = self.look(path, OFlag::O_DIRECTORY)?;
        let entries = std::fs::read_dir(own_path(&directory))?;
        Ok(entries.take(most).flatten().map(|entry| entry.file_name()).collect())
    }
}

/// Opens the file of a mapping: the inode itself, deleted or not, in any mount namespace. It needs
/// `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`.
///
/// # Errors
/// There is no such mapping, or it is not ours to open.
pub fn open_mapping(pid: u32, start: u64, end: u64) -> io::Result<Foreign> {
    open_found(&look(format!("/proc/{pid}/map_files/{start:x}-{end:x}"))?)
}

/// Opens the program that a process executes.
///
/// # Errors
/// It is gone, or not ours to look at.
pub fn open_exe(pid: u32) -> io::Result<Foreign> {
    open_found(&look(format!("/proc/{pid}/exe"))?)
}

/// Opens a regular file by its path on this machine.
///
/// # Errors
/// There is none, or it is not one that is read.
pub fn open_here(path: &Path) -> io::Result<Foreign> {
    open_found(&look(path)?)
}

/// Reads a file up to a limit, in pieces; a file that is longer is an error.
///
/// # Errors
/// It is longer, or reading failed.
pub fn read_at_most(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("larger than {most} bytes")));
    }
    Ok(bytes)
}

fn look(path: impl AsRef<Path>) -> io::Result<File> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    Ok(openat2(AT_FDCWD, path.as_ref(), how)?.into())
}

/// The path of an open file that always leads to it.
pub fn own_path(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Opens what was looked at. With `O_NONBLOCK` a FIFO, a device or a lease fails at once.
///
/// # Errors
/// It is no regular file, it is too large, or somebody holds a lease on it.
pub fn open_found(found: &File) -> io::Result<Foreign> {
    let meta = found.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if meta.len() > FILE_MAX {
        return Err(io::Error::other(format!("larger than {FILE_MAX} bytes")));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags);
    let path = own_path(&found.as_fd());
    let mut attempt = 1;
    let file: File = loop {
        match openat2(AT_FDCWD, path.as_str(), how) {
            Ok(file) => break file.into(),
            Err(Errno::EAGAIN) if attempt < LEASE_ATTEMPTS => {
                attempt += 1;
                thread::sleep(LEASE_PAUSE);
            }
            Err(Errno::EAGAIN) => {
                return Err(io::Error::other("another process holds a lease on it"));
            }
            Err(error) => return Err(error.into()),
        }
    };
    let meta = file.metadata()?;
    Ok(Foreign { stamp: Stamp::from(&meta), meta, file })
}

/// Whether a file is one of the system's: root's, and nobody else may write to it, on a file system
/// that says so of itself truly. One that a user mounted (FUSE, an image, a network's) says of the
/// owner what its maker chose; such mounts are `nosuid`.
#[must_use]
pub fn is_systems(foreign: &Foreign) -> bool {
    foreign.meta.uid() == 0
        && foreign.meta.mode() & 0o022 == 0
        && nix::sys::statvfs::fstatvfs(&foreign.file).is_ok_and(|about| {
            use nix::sys::statvfs::FsFlags;
            !about.flags().intersects(FsFlags::ST_NOSUID | FsFlags::ST_NODEV)
        })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_fifo_a_directory_and_a_device_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path()).unwrap();
        nix::unistd::mkfifo(&folder.path().join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in ["/fifo", "/"] {
            let error = root.open(Path::new(path)).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file", "{path}");
        }
        assert!(open_here(Path::new("/dev/tty")).is_err());
        assert!(open_here(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn links_stay_below_the_root() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "inside").unwrap();
        symlink("/a", folder.path().join("absolute")).unwrap();
        symlink("../../../../a", folder.path().join("climbing")).unwrap();
        symlink("/proc/self/exe", folder.path().join("magic")).unwrap();
        let root = Root::at(folder.path()).unwrap();
        for path in ["absolute", "/climbing", "/../a"] {
            let found = root.open(Path::new(path)).unwrap();
            assert_eq!(read_at_most(&found.file, 100).unwrap(), b"inside", "{path}");
        }
        assert!(root.open(Path::new("magic")).is_err());
        assert!(root.open_no_link(Path::new("absolute")).is_err());
    }

    #[test]
    fn a_lease_is_waited_for_a_moment_only() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"x").unwrap();
        // The signal that would ask for the lease is ignored, as a hostile holder does.
        // SAFETY: the calls take numbers.
        let held = unsafe {
            libc::signal(libc::SIGIO, libc::SIG_IGN);
            libc::fcntl(file.as_file().as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
        };
        if held != 0 {
            println!("SKIP a_lease_is_waited_for_a_moment_only: no leases here");
            return;
        }
        let begun = std::time::Instant::now();
        let error = open_here(file.path()).unwrap_err();
        assert!(error.to_string().contains("lease"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_file_longer_than_the_limit_is_an_error() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 11]).unwrap();
        let open = || open_here(file.path()).unwrap();
        assert_eq!(read_at_most(&open().file, 11).unwrap().len(), 11);
        assert!(read_at_most(&open().file, 10).is_err());
    }
}
