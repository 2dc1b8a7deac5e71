//! The allocator's shim of `rmap run --malloc` (`rmap-malloc/shim.c`), as a file that the command's
//! loader can map.
//!
//! Comes in: bytes from one picked byte to the next on average. Goes out: a file with that number in it,
//! in a folder that only root or rmap's own user can change, gone when the [`Shim`] is dropped; where its
//! uprobe belongs; and what `LD_PRELOAD` becomes.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::sys::statvfs::{FsFlags, statvfs};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use tempfile::TempDir;

/// The shim, built from `rmap-malloc` by `cargo xtask malloc`.
static SHIM: &[u8] = aya::include_bytes_aligned!(env!("RMAP_MALLOC_SHIM"));

/// The function that has the uprobe, and the number that is written into the copy.
const ENTRY: &str = "rmap_malloc_report";
const MEAN: &str = "rmap_malloc_mean";

/// Its name in a folder of its own.
const FILE: &str = "librmap-malloc.so";

/// The variable by which the loader is asked for it.
pub const VARIABLE: &str = "LD_PRELOAD";

/// Folders of the system, one of which may hold it. In `/tmp` and `/dev/shm` nobody but its owner can
/// rename or remove a folder (the sticky bit).
const FOLDERS: [&str; 4] = ["/run", "/dev/shm", "/tmp", "/var/tmp"];

/// Why there is no shim.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kept shim is not what it should be.
    #[error("the allocator's shim has no {0}; build rmap again")]
    Symbol(&'static str),
    /// There is no folder for it.
    #[error(
        "cannot make a file for the allocator's shim: none of {} is a folder of root's in which code \
         may be executed{why}; leave out --malloc",
        FOLDERS.join(", ")
    )]
    NoFolder {
        /// What came of the last one that might have been.
        why: String,
    },
}

/// The shim as a file.
#[derive(Debug)]
pub struct Shim {
    /// Removed with all that is in it.
    _folder: TempDir,
    path: PathBuf,
    entry: u64,
}

impl Shim {
    /// Makes the file.
    ///
    /// # Errors
    /// There is no folder for it.
    pub fn make(mean: u64) -> Result<Self, Error> {
        let mut bytes = SHIM.to_vec();
        let entry = offset(SHIM, ENTRY).ok_or(Error::Symbol(ENTRY))?;
        let place = offset(SHIM, MEAN).and_then(|at| usize::try_from(at).ok());
        let place = place.and_then(|at| bytes.get_mut(at..at + 8)).ok_or(Error::Symbol(MEAN))?;
        place.copy_from_slice(&mean.to_le_bytes());
        let mut why = String::new();
        for folder in FOLDERS.map(Path::new).into_iter().filter(|folder| is_safe(folder)) {
            match write(folder, &bytes) {
                Ok((folder, path)) => return Ok(Self { _folder: folder, path, entry }),
                Err(error) => why = format!(" ({}: {error})", folder.display()),
            }
        }
        Err(Error::NoFolder { why })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its uprobe belongs, in bytes from the beginning of the file.
    #[must_use]
    pub const fn entry(&self) -> u64 {
        self.entry
    }

    /// What [`VARIABLE`] becomes: the shim, and behind it what the command would have preloaded.
    #[must_use]
    pub fn preload(&self, own: Option<&OsStr>) -> OsString {
        let mut all = self.path.clone().into_os_string();
        if let Some(own) = own.filter(|own| !own.is_empty()) {
            all.push(":");
            all.push(own);
        }
        all
    }
}

/// Whether nobody but root and a file's owner can put another file in its place there, and code may be
/// executed.
fn is_safe(folder: &Path) -> bool {
    let Ok(about) = fs::symlink_metadata(folder) else { return false };
    let others = about.mode() & 0o022 != 0;
    let sticky = about.mode() & 0o1000 != 0;
    let executes = statvfs(folder).is_ok_and(|of| !of.flags().contains(FsFlags::ST_NOEXEC));
    // The loader takes both characters as the end of a name.
    let named = !folder.as_os_str().as_bytes().iter().any(|byte| b": ".contains(byte));
    about.is_dir() && about.uid() == 0 && (!others || sticky) && executes && named
}

/// The file in a new folder, for everybody to read.
fn write(folder: &Path, bytes: &[u8]) -> io::Result<(TempDir, PathBuf)> {
    let own = tempfile::Builder::new().prefix("rmap-").tempdir_in(folder)?;
    let path = own.path().join(FILE);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    // The command may be another user's.
    fs::set_permissions(own.path(), fs::Permissions::from_mode(0o711))?;
    Ok((own, path))
}

/// Where a symbol lies in a file.
fn offset(file: &[u8], name: &str) -> Option<u64> {
    let file = object::File::parse(file).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let (start, size) = section.file_range()?;
    let within = symbol.address().checked_sub(section.address()).filter(|at| *at < size)?;
    Some(start + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_has_the_number_that_was_asked_for_and_goes_with_its_folder() {
        let shim = Shim::make(12_345).unwrap();
        let copy = fs::read(shim.path()).unwrap();
        let differ: Vec<usize> = (0..copy.len()).filter(|at| copy[*at] != SHIM[*at]).collect();
        let at = usize::try_from(offset(SHIM, MEAN).unwrap()).unwrap();
        assert!(differ.iter().all(|byte| (at..at + 8).contains(byte)), "{differ:?}");
        assert_eq!(copy[at..at + 8], 12_345_u64.to_le_bytes());
        assert_eq!(SHIM[at..at + 8], (512_u64 << 10).to_le_bytes());
        // A nop that the kernel need not copy into the process, and one that no trampoline replaces.
        assert_eq!(SHIM[usize::try_from(shim.entry()).unwrap()..][..2], [0x90, 0xc3]);
        assert_eq!(fs::metadata(shim.path()).unwrap().mode() & 0o777, 0o444);
        let folder = shim.path().parent().unwrap().to_owned();
        drop(shim);
        assert!(!folder.exists());
    }

    #[test]
    fn what_a_command_preloads_itself_stays() {
        let shim = Shim::make(1).unwrap();
        let path = shim.path().to_str().unwrap();
        assert_eq!(shim.preload(None), path);
        assert_eq!(shim.preload(Some(OsStr::new(""))), path);
        assert_eq!(shim.preload(Some(OsStr::new("a.so b.so"))), *format!("{path}:a.so b.so"));
    }

    #[test]
    fn a_folder_that_others_write_to_is_not_safe() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_safe(folder.path()));
        assert!(!is_safe(Path::new("/nowhere")));
        assert!(!is_safe(Path::new("/etc/passwd")));
    }
}
