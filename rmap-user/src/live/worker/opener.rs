//! The process that opens foreign files: privileged, and it parses nothing.
//!
//! Comes in: requests of rmap. Goes out: descriptors to the reader's process, with the request; and
//! answers to what needs no reader. A file system that never answers holds this process alone;
//! rmap ends it at the deadline and starts another.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::super::foreign::{self, Foreign, Root};
use super::packages;
use super::protocol::{Answer, Opened, Place, Request, Task};
use crate::symbol::Stamp;

/// Files of the loader's configuration that are read, and bytes of each.
const CONFIGURATION_FILES: usize = 256;
const CONFIGURATION_MAX: u64 = 64 << 10;
/// Folders that the loader's configuration may name.
const FOLDERS_MAX: usize = 256;

/// Where systems keep what they are made of.
const SYSTEM_FOLDERS: [&str; 9] =
    ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt", "/nix/store", "/gnu/store"];

/// What comes of a request.
#[derive(Debug)]
pub enum Done {
    /// The answer, and the bytes behind it.
    Answer(Answer, Vec<u8>),
    /// Work for the reader, with descriptors.
    Task(Task, Vec<OwnedFd>),
}

/// Opens what a request names. `copy` is the copy of symbols that came with it.
#[must_use]
pub fn open(request: Request, copy: Option<OwnedFd>) -> Done {
    match request {
        Request::Text { pid, name, most } => match text(pid, &name, most) {
            Ok(bytes) => Done::Answer(Answer::Bytes, bytes),
            Err(error) => Done::Answer(Answer::Refused(error.to_string()), Vec::new()),
        },
        Request::LoaderPaths { pid } => {
            Done::Answer(Answer::Paths(loader_paths(pid).unwrap_or_default()), Vec::new())
        }
        Request::Find { pid, names, folders, lookups } => {
            Done::Answer(find(pid, &names, &folders, lookups), Vec::new())
        }
        Request::Packages { pid, files } => {
            let root = Root::of(pid).or_else(|_| Root::at(Path::new("/")));
            let none = |_| vec![None; files.len()];
            let packages = root.map(|root| packages::of(&root, &files)).unwrap_or_else(none);
            Done::Answer(Answer::Packages(packages), Vec::new())
        }
        Request::Stamps(places) => {
            let stamps = places.iter().map(|place| stamp(place).ok()).collect();
            Done::Answer(Answer::Stamps(stamps), Vec::new())
        }
        Request::PerfMapStamp { tid } => {
            let answer = match super::super::perf_map::find(tid) {
                Ok(Some(found)) => Answer::Stamps(vec![Some(found.stamp)]),
                Ok(None) => Answer::Nothing,
                Err(why) => Answer::Refused(why),
            };
            Done::Answer(answer, Vec::new())
        }
        Request::Module { ref place, .. } | Request::Allocator { ref place } => {
            match open_place(place) {
                Ok(foreign) => {
                    let opened = describe(&foreign);
                    let files = vec![foreign.file.into()];
                    Done::Task(Task { request, files: vec![Ok(opened)], copy: false }, files)
                }
                Err(why) => Done::Answer(Answer::Refused(why), Vec::new()),
            }
        }
        Request::Table => Done::Task(Task { request, files: Vec::new(), copy: false }, Vec::new()),
        Request::PerfMap { tid, not, .. } => match super::super::perf_map::find(tid) {
            Ok(Some(found)) if Some(found.stamp) != not => match found.open() {
                Ok(foreign) => {
                    let opened = Opened { lasting: false, ..describe(&foreign) };
                    let task = Task { request, files: vec![Ok(opened)], copy: false };
                    Done::Task(task, vec![foreign.file.into()])
                }
                Err(why) => Done::Answer(Answer::Refused(why), Vec::new()),
            },
            Ok(_) => Done::Answer(Answer::Nothing, Vec::new()),
            Err(why) => Done::Answer(Answer::Refused(why), Vec::new()),
        },
        Request::Names(ref wanted) => {
            let paths = wanted.own.iter().chain(&wanted.separate);
            let mut descriptors = Vec::new();
            let files = paths
                .map(|path| match foreign::open_here(Path::new(path)) {
                    Ok(foreign) => {
                        let opened = describe(&foreign);
                        descriptors.push(OwnedFd::from(foreign.file));
                        Ok(opened)
                    }
                    Err(error) => Err(error.to_string()),
                })
                .collect();
            let has_copy = copy.is_some();
            descriptors.extend(copy);
            Done::Task(Task { request, files, copy: has_copy }, descriptors)
        }
    }
}

/// The descriptors of a task, to be sent.
#[must_use]
pub fn borrowed(files: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    files.iter().map(AsFd::as_fd).collect()
}

fn text(pid: u32, name: &str, most: u64) -> io::Result<Vec<u8>> {
    if !matches!(name, "cmdline" | "environ") {
        return Err(io::Error::other("not a text that is read"));
    }
    let mut bytes = Vec::new();
    fs::File::open(format!("/proc/{pid}/{name}"))?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open_place(place: &Place) -> Result<Foreign, String> {
    let text = |error: io::Error| error.to_string();
    match place {
        Place::Mapping { pid, start, end, inode, path } => {
            let error = match foreign::open_mapping(*pid, *start, *end) {
                Ok(foreign) => return Ok(foreign),
                Err(error) => error,
            };
            if !path.starts_with('/') {
                return Err(format!("map_files: {error}"));
            }
            Root::of(*pid)
                .and_then(|root| root.open(Path::new(path)))
                .and_then(|foreign| match foreign.meta.ino() == *inode {
                    true => Ok(foreign),
                    false => Err(io::Error::other("not the file that is mapped")),
                })
                .map_err(|second| format!("map_files: {error}; by its path: {second}"))
        }
        Place::Exe { pid } => foreign::open_exe(*pid).map_err(text),
        Place::Below { pid, path } => {
            Root::of(*pid).and_then(|root| root.open(Path::new(path))).map_err(text)
        }
        Place::Here { path } => foreign::open_here(Path::new(path)).map_err(text),
    }
}

fn stamp(place: &Place) -> io::Result<Stamp> {
    let meta = match place {
        Place::Mapping { pid, start, end, inode, path } => {
            match fs::metadata(format!("/proc/{pid}/map_files/{start:x}-{end:x}")) {
                Ok(meta) => meta,
                Err(error) => {
                    let found = Root::of(*pid)?.look(Path::new(path), OFlag::empty())?;
                    let meta = found.metadata()?;
                    if meta.ino() != *inode {
                        return Err(error);
                    }
                    meta
                }
            }
        }
        Place::Exe { pid } => fs::metadata(format!("/proc/{pid}/exe"))?,
        Place::Below { pid, path } => {
            Root::of(*pid)?.look(Path::new(path), OFlag::empty())?.metadata()?
        }
        Place::Here { path } => fs::metadata(path)?,
    };
    Ok(Stamp::from(&meta))
}

/// What the reader and rmap should know of an opened file.
fn describe(foreign: &Foreign) -> Opened {
    let systems = foreign::is_systems(foreign);
    let path = fs::read_link(foreign::own_path(&foreign.file)).unwrap_or_default();
    // A link that ends in ` (deleted)`, or leads into another mount namespace, is found out here.
    let same = fs::metadata(&path).is_ok_and(|meta| Stamp::from(&meta) == foreign.stamp);
    let here = same && path.to_str().is_some();
    let system_folder = SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder));
    let lasting = systems && here && system_folder && is_on_the_systems_device(foreign);
    let path = path.to_string_lossy().into_owned();
    Opened { stamp: foreign.stamp, systems, path, here, lasting }
}

/// Whether a file is on the file system of `/` or `/usr`, and not on one that was mounted below.
fn is_on_the_systems_device(foreign: &Foreign) -> bool {
    ["/", "/usr"]
        .iter()
        .any(|root| fs::metadata(root).is_ok_and(|meta| meta.dev() == foreign.meta.dev()))
}

/// The folders that `/etc/ld.so.conf.d` of a process names.
fn loader_paths(pid: u32) -> io::Result<Vec<String>> {
    let root = Root::of(pid)?;
    let folder = Path::new("/etc/ld.so.conf.d");
    let mut folders = Vec::new();
    for name in root.list(folder, CONFIGURATION_FILES)? {
        let Ok(file) = root.open_no_link(&folder.join(name)) else { continue };
        let Ok(text) = foreign::read_at_most(&file.file, CONFIGURATION_MAX) else { continue };
        for line in text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"/")) {
            if folders.len() >= FOLDERS_MAX {
                return Ok(folders);
            }
            folders.extend(std::str::from_utf8(line).ok().map(str::to_owned));
        }
    }
    Ok(folders)
}

/// Looks for libraries. A folder that is not there is asked for once.
fn find(pid: u32, names: &[(String, Vec<u32>)], folders: &[String], lookups: u32) -> Answer {
    let Ok(root) = Root::of(pid) else { return Answer::Found(vec![None; names.len()], true) };
    let mut left = lookups;
    let mut missing: HashMap<u32, bool> = HashMap::new();
    let mut spend = || match left.checked_sub(1) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let mut all = true;
    let found = names.iter().map(|(name, places)| {
        for place in places {
            let folder = folders.get(*place as usize)?;
            let is_missing = *missing.entry(*place).or_insert_with(|| {
                spend() && root.look(Path::new(folder), OFlag::O_DIRECTORY).is_err()
            });
            if is_missing {
                continue;
            }
            if !spend() {
                all = false;
                return None;
            }
            let path = PathBuf::from(folder).join(OsString::from(name));
            let Ok(file) = root.look(&path, OFlag::empty()) else { continue };
            let meta = file.metadata().ok().filter(fs::Metadata::is_file);
            if let (Some(meta), Some(path)) = (meta, path.to_str()) {
                return Some((path.to_owned(), Stamp::from(&meta)));
            }
        }
        None
    });
    let found = found.collect();
    Answer::Found(found, all)
}
