//! Creates, opens and replaces, at the [`Place`] that a path leads to.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::owners::Owners;
use super::place::{Place, Target, descriptor_path, find, is};
use super::{Why, unless_gone, write_to};

/// How long a reader of a named pipe may let it wait.
const READER: Duration = Duration::from_secs(1);
/// The rest between two looks for one.
const REST: Duration = Duration::from_millis(20);
/// Names that are tried for a temporary file. They are random, so that nobody can take them all.
const TRIES: usize = 16;

const NEW: OFlag = OFlag::O_WRONLY.union(OFlag::O_CLOEXEC);
const NAMED: OFlag = NEW.union(OFlag::O_CREAT).union(OFlag::O_EXCL).union(OFlag::O_NOFOLLOW);

/// Permission bits without the set-id and sticky bits.
const PERMISSIONS: u32 = 0o777;

/// What is at a place, judged.
enum Judged {
    /// A new file is to be made.
    New,
    /// A file of the caller's or root's is to be replaced.
    Replace(FileStat),
    /// Something else is to be written as it is.
    Open(File),
}

pub(super) fn check(path: &Path, owners: &Owners) -> Result<(), Why> {
    let place = find(path, owners)?;
    if let Target::File(_, status) = &place.target {
        refuse(status, owners)?;
        if !is(status, SFlag::S_IFREG) {
            return Ok(());
        }
    } else if let Target::Descriptor(_) = place.target {
        return judge(&place, owners).map(drop);
    }
    Unnamed::create(&place, Mode::from_bits_truncate(0o600)).map(drop)
}

pub(super) fn save(
    path: &Path,
    owners: &Owners,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Why> {
    let place = find(path, owners)?;
    let old = match judge(&place, owners)? {
        Judged::Open(file) => return Ok(unless_gone(write_to(&file, write))?),
        Judged::Replace(old) => Some(old),
        Judged::New => None,
    };
    // The umask takes from these.
    let new = Unnamed::create(&place, Mode::from_bits_truncate(0o666))?;
    match old {
        Some(old) => {
            fchown(&new.file, Some(old.st_uid), Some(old.st_gid))?;
            new.file.set_permissions(Permissions::from_mode(old.st_mode & PERMISSIONS))?;
        }
        None => owners.give(&new.file)?,
    }
    write_to(&new.file, write)?;
    new.file.sync_all()?;
    new.publish(owners)
}

pub(super) fn keep(path: &Path, owners: &Owners) -> Result<File, Why> {
    let place = find(path, owners)?;
    match judge(&place, owners)? {
        Judged::Open(file) => return Ok(file),
        Judged::Replace(_) => {
            unlinkat(&place.directory, place.name.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
        }
        Judged::New => {}
    }
    let mode = Mode::from_bits_truncate(0o600);
    let file = File::from(openat(&place.directory, place.name.as_os_str(), NAMED, mode)?);
    owners.give(&file)?;
    Ok(file)
}

/// Refuses what rmap must not touch.
fn refuse(status: &FileStat, owners: &Owners) -> Result<(), Why> {
    for (kind, name) in [(SFlag::S_IFBLK, "block device"), (SFlag::S_IFSOCK, "socket")] {
        if is(status, kind) {
            return Err(Why::Special(name));
        }
    }
    if is(status, SFlag::S_IFDIR) {
        return Err(Why::Directory);
    }
    if owners.trust(status.st_uid) { Ok(()) } else { Err(Why::Foreign { owner: status.st_uid }) }
}

fn judge(place: &Place, owners: &Owners) -> Result<Judged, Why> {
    match &place.target {
        Target::Absent => Ok(Judged::New),
        Target::Descriptor(number) => {
            // SAFETY: it is duplicated at once; the kernel refuses a number that is not open.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*number) };
            Ok(Judged::Open(File::from(descriptor.try_clone_to_owned()?)))
        }
        Target::File(found, status) => {
            refuse(status, owners)?;
            if is(status, SFlag::S_IFREG) {
                return Ok(Judged::Replace(*status));
            }
            open(found, is(status, SFlag::S_IFIFO)).map(Judged::Open)
        }
    }
}

/// Opens a pipe or a device for writing, never waiting: for a reader a second at most.
fn open(found: &impl AsFd, pipe: bool) -> Result<File, Why> {
    let begun = Instant::now();
    let mut options = OpenOptions::new();
    options.write(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
    let file = loop {
        match options.open(descriptor_path(found)) {
            Ok(file) => break file,
            Err(error) if pipe && error.raw_os_error() == Some(libc::ENXIO) => {
                if begun.elapsed() > READER {
                    return Err(Why::Unread);
                }
                thread::sleep(REST);
            }
            Err(error) => return Err(error.into()),
        }
    };
    // Whoever reads slowly is waited for.
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(file)
}

/// A file without a name, or with a temporary one where the file system knows no other.
struct Unnamed<'a> {
    place: &'a Place,
    file: File,
    temporary: Option<OsString>,
}

impl<'a> Unnamed<'a> {
    fn create(place: &'a Place, mode: Mode) -> Result<Self, Why> {
        match openat(&place.directory, ".", NEW | OFlag::O_TMPFILE, mode) {
            Ok(file) => return Ok(Self { place, file: file.into(), temporary: None }),
            // What kernels and file systems without it say (open(2)).
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
        let (name, file) = unused(|name| openat(&place.directory, name.as_os_str(), NAMED, mode))?;
        Ok(Self { place, file: file.into(), temporary: Some(name) })
    }

    /// Gives the file the name of its place.
    fn publish(mut self, owners: &Owners) -> Result<(), Why> {
        let (directory, name) = (&self.place.directory, self.place.name.as_os_str());
        if self.temporary.is_none() {
            match self.link(name) {
                // What has the name now must be one that may be replaced.
                Err(Errno::EEXIST) => {}
                result => return Ok(result?),
            }
        }
        if let Ok(found) = openat(directory, name, super::place::LOOK, Mode::empty()) {
            let status = nix::sys::stat::fstat(&found)?;
            refuse(&status, owners)?;
        }
        let temporary = match self.temporary.take() {
            Some(temporary) => temporary,
            None => unused(|temporary| self.link(temporary))?.0,
        };
        let renamed = renameat(directory, temporary.as_os_str(), directory, name);
        self.temporary = renamed.is_err().then_some(temporary);
        Ok(renamed?)
    }

    fn link(&self, name: &std::ffi::OsStr) -> nix::Result<()> {
        let from = descriptor_path(&self.file);
        linkat(AT_FDCWD, &from, &self.place.directory, name, AtFlags::AT_SYMLINK_FOLLOW)
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            // The first error is the one that matters.
            let _ = unlinkat(&self.place.directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Does something with a name that nobody has. The name is short: the file's own may be as long as
/// a name may be.
fn unused<T>(make: impl Fn(&OsString) -> nix::Result<T>) -> nix::Result<(OsString, T)> {
    for _ in 0..TRIES {
        let random = RandomState::new().build_hasher().finish();
        let name = OsString::from(format!(".rmap-{random:016x}.tmp"));
        match make(&name) {
            Err(Errno::EEXIST) => {}
            result => return result.map(|made| (name, made)),
        }
    }
    Err(Errno::EEXIST)
}
