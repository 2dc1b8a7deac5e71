//! Where a path leads: a directory, and a name in it.
//!
//! Comes in: a path. Goes out: a [`Place`]. The path is walked component by component, each from the
//! descriptor of the one before, so that nobody can exchange a part of it meanwhile. A symbolic link
//! is followed if it belongs to root or to the user for whom rmap works, and refused otherwise.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::read_link;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::Why;
use super::owners::Owners;

/// Links that a path may lead through, as in the kernel (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

pub(super) const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A name in a directory.
pub(super) struct Place {
    pub(super) directory: OwnedFd,
    pub(super) name: OsString,
    pub(super) target: Target,
}

/// What the name stands for.
pub(super) enum Target {
    /// Nothing yet.
    Absent,
    /// A file of some kind that is no link. The descriptor is of `O_PATH`.
    File(OwnedFd, FileStat),
    /// A descriptor of this process (`/dev/stdout`, `/dev/fd/63`).
    Descriptor(i32),
}

/// Walks a path.
pub(super) fn find(path: &Path, owners: &Owners) -> Result<Place, Why> {
    let mut directory = start(path.as_os_str())?;
    let mut left = components(path.as_os_str());
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Why::Directory);
    }
    let mut walked = PathBuf::from(if path.is_absolute() { "/" } else { "" });
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        let last = left.is_empty();
        if name == "." || name == ".." {
            directory = open_directory(&directory, &name)?;
            walked.push(&name);
            continue;
        }
        let found = match openat(&directory, name.as_os_str(), LOOK, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::ENOENT) if last => {
                return Ok(Place { directory, name, target: Target::Absent });
            }
            Err(error) if last => return Err(error.into()),
            Err(error) => return Err(Why::NoDirectory(error)),
        };
        let status = fstat(&found)?;
        if !is(&status, SFlag::S_IFLNK) {
            if last {
                return Ok(Place { directory, name, target: Target::File(found, status) });
            }
            directory = found;
            walked.push(&name);
            continue;
        }
        if !owners.trust(status.st_uid) {
            return Err(Why::Link { link: walked.join(&name), owner: status.st_uid });
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::ELOOP.into());
        }
        if fstatfs(&directory)?.filesystem_type() == PROC_SUPER_MAGIC {
            // Links of /proc lead to what their text does not name; the kernel follows them.
            if !last {
                directory = open_directory(&directory, &name)?;
                walked.push(&name);
                continue;
            }
            if let Some(number) = own_descriptor(&directory, &name) {
                return Ok(Place { directory, name, target: Target::Descriptor(number) });
            }
            let found = openat(
                &directory,
                name.as_os_str(),
                OFlag::O_PATH | OFlag::O_CLOEXEC,
                Mode::empty(),
            )?;
            let status = fstat(&found)?;
            if is(&status, SFlag::S_IFREG) {
                return Err(Why::Special("link of /proc"));
            }
            return Ok(Place { directory, name, target: Target::File(found, status) });
        }
        let to = readlinkat(&found, "")?;
        if to.as_bytes().starts_with(b"/") {
            directory = start(&to)?;
            walked = PathBuf::from("/");
        }
        for component in components(&to).into_iter().rev() {
            left.push_front(component);
        }
    }
    // It ended in a dot, or was empty.
    Err(if path.as_os_str().is_empty() { Errno::ENOENT.into() } else { Why::Directory })
}

/// Whether a file is of a type.
pub(super) fn is(status: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) == kind
}

/// The directory in which a path begins.
fn start(path: &OsStr) -> Result<OwnedFd, Why> {
    let place = if path.as_bytes().starts_with(b"/") { "/" } else { "." };
    Ok(openat(
        AT_FDCWD,
        place,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|&byte| byte == b'/').filter(|part| !part.is_empty());
    parts.map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

fn open_directory(directory: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Why> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::empty()).map_err(Why::NoDirectory)
}

/// The number, if the directory is `/proc/self/fd`.
fn own_descriptor(directory: &impl AsFd, name: &OsStr) -> Option<i32> {
    let path = read_link(descriptor_path(directory)).ok()?;
    let own = format!("/{}/fd", std::process::id());
    path.as_os_str().as_bytes().ends_with(own.as_bytes()).then(|| name.to_str()?.parse().ok())?
}

/// The name in `/proc` of a descriptor of this process.
pub(super) fn descriptor_path(descriptor: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd()))
}
