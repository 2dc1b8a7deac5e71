//! Finds the separate debug file of a binary.
//!
//! Comes in: a build id, and the name in `.gnu_debuglink`. Goes out: an open file of the same
//! build id. The places are gdb's: `/usr/lib/debug/.build-id/xx/yyy.debug`, then the link's name
//! beside the binary, in `.debug/` there, and in `/usr/lib/debug` + its directory. Binaries
//! without a build id have none: a name alone proves nothing. Folders that a person names are
//! [`folders`](super::folders).

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::elf::Headers;

const DEBUG_ROOT: &str = "/usr/lib/debug";
/// `O_NONBLOCK`: a FIFO in the place of a file must not stop us.
const NONBLOCK: i32 = 0o4000;

/// The debug file of the binary that was mapped as `path`.
pub(super) fn find(build_id: &str, debug_link: Option<&str>, path: &str) -> Option<File> {
    candidates(build_id, debug_link, path).iter().find_map(|candidate| {
        let file = open_regular(candidate).ok()?;
        (Headers::read(&file).ok()?.build_id.as_deref() == Some(build_id)).then_some(file)
    })
}

/// Where the debug file of the binary may be that was mapped as `path`, the better first.
#[must_use]
pub fn candidates(build_id: &str, debug_link: Option<&str>, path: &str) -> Vec<PathBuf> {
    let by_id = by_build_id(&Path::new(DEBUG_ROOT).join(".build-id"), build_id);
    let Some([by_id, _]) = by_id else { return Vec::new() };
    let mut candidates = vec![by_id];
    if let (Some(link), Some(directory)) = (debug_link, Path::new(path).parent())
        && directory.is_absolute()
    {
        let inside = directory.strip_prefix("/").unwrap_or(directory);
        let places: [PathBuf; 3] =
            [directory.join(".debug"), directory.to_owned(), Path::new(DEBUG_ROOT).join(inside)];
        candidates.extend(places.map(|place| place.join(link)).into_iter().filter(|candidate| {
            candidate != Path::new(path) // A link to itself.
        }));
    }
    candidates
}

/// The paths in a folder of build ids: of the debug file, and of the file itself. `None`: what a
/// recording has as build id is none, and must not become part of a path.
pub(super) fn by_build_id(folder: &Path, build_id: &str) -> Option<[PathBuf; 2]> {
    let hex = build_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (first, rest) = build_id.split_at_checked(2).filter(|(_, rest)| hex && !rest.is_empty())?;
    let folder = folder.join(first);
    Some([folder.join(format!("{rest}.debug")), folder.join(rest)])
}

/// Opens a regular file, never waiting for anybody. It looks before: opening a device does things.
pub(super) fn open_regular(path: &Path) -> std::io::Result<File> {
    let wrong = || std::io::Error::other("not a regular file");
    if !fs::metadata(path)?.is_file() {
        return Err(wrong());
    }
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(wrong()) }
}
