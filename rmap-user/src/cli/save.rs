//! Files that are written whole or not at all.
//!
//! Comes in: a path and a function that writes. Goes out: the file; or an error, with neither a
//! half-written file nor a temporary one left behind, and what was there before still there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Says early that a file could not be written: before a long run, not after it.
///
/// # Errors
/// The path is a directory, or its directory is not there.
pub fn check(path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(!path.is_dir(), "cannot write {}: it is a directory", path.display());
    let directory = directory_of(path);
    let there = fs::metadata(directory)
        .with_context(|| format!("cannot write {}: its directory is not usable", path.display()))?;
    anyhow::ensure!(
        there.is_dir(),
        "cannot write {}: {} is no directory",
        path.display(),
        directory.display()
    );
    Ok(())
}

/// Writes a file whole or not at all: to a temporary file in the same directory, which then takes
/// the name. What is no regular file (a pipe, `/dev/stdout`) is written as it is. A symbolic link
/// stays one, and an existing file keeps its permissions.
///
/// # Errors
/// What was attempted on which file. A reader of a pipe that has gone is none.
pub fn save(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let old = fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        let file = OpenOptions::new().write(true).open(path).with_context(failed)?;
        return unless_gone(write_to(&file, write)).with_context(failed);
    }
    let target = if old.is_some() { fs::canonicalize(path) } else { Ok(path.to_owned()) };
    let target = target.with_context(failed)?;

    let (temporary, file) = Temporary::beside(&target).with_context(failed)?;
    if let Some(old) = old {
        file.set_permissions(old.permissions()).with_context(failed)?;
    }
    write_to(&file, write).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    temporary.rename(&target).with_context(failed)
}

/// A reader that has gone is no error of ours.
///
/// # Errors
/// Every other error.
pub fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn write_to(file: &File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    let result = write(&mut out).and_then(|()| out.flush());
    // Not once more when it is dropped.
    let _ = out.into_parts();
    result
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A temporary file that goes with the value unless it was renamed.
struct Temporary(Option<PathBuf>);

impl Temporary {
    /// A new file in the directory of `target`.
    fn beside(target: &Path) -> io::Result<(Self, File)> {
        let directory = directory_of(target);
        let mut tries = 0..100;
        loop {
            let Some(n) = tries.next() else {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            };
            // The name is short: `target`'s own may be as long as a name may be.
            let path = directory.join(format!(".rmap-{}-{n}.tmp", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Self(Some(path)), file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        if let Some(path) = &self.0 {
            fs::rename(path, target)?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // There is nobody to tell, and the first error is the one that matters.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.json");
        fs::write(&path, "old").unwrap();
        let error = save(&path, |out| {
            out.write_all(&[b'x'; 100_000])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!("cannot write {}: no storage space", path.display())
        );
        assert_eq!(names(directory.path()), ["out.json"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }

    #[test]
    fn a_link_and_permissions_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real"), directory.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        save(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_full_device_is_told_in_one_line() {
        let error = save(Path::new("/dev/full"), |out| out.write_all(b"x")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("cannot write /dev/full: No space left"), "{text}");
        assert!(!text.contains('\n'));
    }

    #[test]
    fn what_cannot_work_is_told_early() {
        let directory = tempfile::tempdir().unwrap();
        assert!(check(directory.path()).is_err());
        assert!(check(&directory.path().join("no/such")).is_err());
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(check(&directory.path().join("file/x")).is_err());
        assert!(check(&directory.path().join("new")).is_ok());
        assert!(check(Path::new("new")).is_ok());
    }
}
