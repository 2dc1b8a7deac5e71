//! Creates every file that rmap writes for a person: reports, exports, recordings.
//!
//! Comes in: a path and what to write. Goes out: a new file that takes the name when it is whole,
//! or one line that says why not. rmap often runs as root in folders that others can write to, so:
//!
//! * A path never leads through another user's symbolic link, see `place`; nor into a file, pipe
//!   or device of another user.
//! * A file that exists is replaced, never written into. It keeps its owner and permissions, but no
//!   set-id bit.
//! * A file has no name before it is whole (`O_TMPFILE`), so that a kill leaves nothing. A recording
//!   grows during its session and must be readable after a kill, so it has its name from the start.
//! * Under sudo a new file belongs to the user who called it.
//!
//! `rmap-user/tests/rooms.rs` fails if another module creates files.

mod create;
mod owners;
mod place;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use owners::Owners;

/// Why a file cannot be written, in one line.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {why}", path.display())]
pub struct Error {
    /// The path, as it was given.
    path: PathBuf,
    /// The reason, and what to do.
    why: Why,
}

/// The reason.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    System(#[from] nix::Error),
    #[error("its directory is not usable: {0}")]
    NoDirectory(nix::Error),
    #[error("it is a directory")]
    Directory,
    #[error("it is a {0}; name a file")]
    Special(&'static str),
    #[error("it belongs to user {owner}; remove it, or name another file")]
    Foreign { owner: u32 },
    #[error("{} is a link of user {owner}, who chooses where it leads; name the file itself", link.display())]
    Link { link: PathBuf, owner: u32 },
    #[error("nobody reads this pipe")]
    Unread,
}

/// Finds out early what could not be written: before a long run, not after it.
///
/// # Errors
/// What [`save`] and [`keep`] would fail with now.
pub fn check(path: &Path) -> Result<(), Error> {
    create::check(path, &Owners::current()).map_err(failed(path))
}

/// Writes a file whole or not at all. What is no regular file (a pipe, `/dev/stdout`) is written as
/// it is.
///
/// # Errors
/// The reason; what the name stood for before is unchanged then. A reader of a pipe that has gone is
/// none.
pub fn save(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    create::save(path, &Owners::current(), write).map_err(failed(path))
}

/// Creates a file that is readable for its owner alone (mode 0600) and has its name at once, to be
/// written during a session. What had the name before is removed. A pipe or a device is opened as it
/// is.
///
/// # Errors
/// The reason.
pub fn keep(path: &Path) -> Result<File, Error> {
    create::keep(path, &Owners::current()).map_err(failed(path))
}

/// A reader that has gone is no error.
///
/// # Errors
/// Every other error.
pub fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn failed(path: &Path) -> impl FnOnce(Why) -> Error {
    |why| Error { path: path.to_owned(), why }
}

fn write_to(file: &File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    let result = write(&mut out).and_then(|()| out.flush());
    // Not once more when it is dropped.
    let _ = out.into_parts();
    result
}
