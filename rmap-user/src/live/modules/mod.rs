//! Which files a process executes, and what they say of themselves.
//!
//! Comes in: a process. Goes out: its executable mappings as [`Module`]s, each with what is known of
//! the file that is mapped, for the library's room `symbol`; and unwind tables, for `live/unwind`.
//! The [`Catalogue`] knows every file once, whichever processes map it, so a scan opens only what is
//! new: at exec, and whenever a mapping with code appears.
//!
//! A worker ([`super::worker`]) opens and reads the files, and closes them again: nothing of a
//! traced process's file systems stays open. What is kept is the path, what the file was (device,
//! inode, size, times, build id), and, unless it is one of the system's own that nobody will take
//! away, a copy of what its names need.
//!
//! A file is opened through `/proc/PID/map_files`, which leads to the mapped inode itself: deleted,
//! replaced, in another mount namespace or a memfd. That needs `CAP_CHECKPOINT_RESTORE` or
//! `CAP_SYS_ADMIN`; without them the path in the process's root is opened and believed if it has
//! the inode that maps shows. The device is not compared: on btrfs and overlayfs maps shows
//! another than `stat` does. For the same reason maps' device and inode name a file only within
//! one mount namespace and path.

mod allocators;
mod maps;
mod needed;
mod vdso;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::allocators::Functions;
pub use self::allocators::Site;
use self::maps::Line;
use self::vdso::Vdso;
use super::procfs::read_file;
use super::unwind::Fresh;
use super::worker::protocol::{Answer, ModuleAnswer, Needs, Place, Request};
use super::worker::{Failure, Worker};
use crate::symbol::{Binary, Module, Stamp};
use crate::unwind::cache::{self, Cache, DEFAULT_LIMIT};
use crate::unwind::table::Table;

/// Time for a file's headers, and for the table of one of the system's files and of another.
const TIME: Duration = Duration::from_millis(1000);
const SYSTEMS_TABLE_TIME: Duration = Duration::from_secs(10);
const TABLE_TIME: Duration = Duration::from_millis(2500);
/// Bytes of the copies of one session, and of one file, which are memory of rmap's.
const COPIES_MAX: u64 = 128 << 20;
const COPY_MAX: u64 = 48 << 20;
/// Processes whose last scan is remembered.
const SCANS_MAX: usize = 256;
/// Files that are named in one line.
const NAMED: usize = 3;

/// All files that were seen with code in them.
#[derive(Debug, Default)]
pub struct Catalogue {
    worker: Worker,
    /// Functions of allocators, by file.
    allocators: HashMap<Stamp, Functions>,
    /// Bytes of copies.
    copied: u64,
    /// What maps shows, to the file.
    by_maps: HashMap<Seen, Arc<Binary>>,
    /// What `stat` shows, to the same.
    by_stamp: HashMap<Stamp, Known>,
    /// What the programs of each mount namespace loaded, as far as their headers told.
    forecasts: HashMap<(u64, Stamp), Vec<Arc<Binary>>>,
    /// What a process had mapped when it was last looked at: of that no file need be asked again.
    scans: HashMap<u32, Vec<Line>>,
    vdso: Option<Vdso>,
    /// Who takes tables, and where they are kept on disk.
    tables: Option<(Fresh, Option<Cache>)>,
    /// Files without a table because they were too much, and why.
    refused: BTreeSet<String>,
}

/// A file, and what it needs to run.
#[derive(Clone, Debug)]
struct Known {
    binary: Arc<Binary>,
    needs: Arc<Needs>,
}

/// How maps names a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    mount_namespace: u64,
    device: (u32, u32),
    inode: u64,
    path: String,
}

impl Catalogue {
    /// An empty one that makes unwind tables too, and leaves them in `fresh`.
    #[must_use]
    pub fn with_tables(fresh: Fresh) -> Self {
        // SAFETY: the call only asks.
        let user = unsafe { libc::geteuid() };
        let variable = |name| std::env::var_os(name);
        let cache = Cache::place(
            user,
            variable("XDG_CACHE_HOME").as_deref().map(Path::new),
            variable("HOME").as_deref().map(Path::new),
        )
        .and_then(|place| Cache::open(&place, user, DEFAULT_LIMIT));
        // Without a cache the tables are built each time.
        let mut catalogue = Self { tables: Some((fresh, cache.ok())), ..Self::default() };
        catalogue.worker.start();
        catalogue
    }

    /// Who opens and reads foreign files.
    pub const fn worker(&mut self) -> &mut Worker {
        &mut self.worker
    }

    /// How many files it knows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_stamp.len()
    }

    /// One line about the files that have no table because they were too much, if there are any.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let first: Vec<&str> = self.refused.iter().take(NAMED).map(String::as_str).collect();
        let more = self.refused.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more files") } else { String::new() };
        let text = || format!("stacks end in code without a table: {}{more}", first.join("; "));
        (!first.is_empty()).then(text)
    }

    /// The executable mappings of a process as they are now, in the order of their addresses, for
    /// [`ModuleMap::update`](crate::symbol::ModuleMap::update). A file that cannot be opened is
    /// there with the reason.
    ///
    /// # Errors
    /// The process's maps cannot be read: it is gone, or it is not ours to look at.
    pub fn scan(&mut self, pid: u32) -> io::Result<Vec<Module>> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let text = read_file(process.join("maps"))?;
        let mount_namespace = mount_namespace(&process);
        let lines = maps::executable(&text);
        let before = self.scans.remove(&pid).unwrap_or_default();
        let before: HashSet<&Line> = before.iter().collect();
        let new: Vec<Line> = lines.iter().filter(|l| !before.contains(*l)).cloned().collect();
        self.ask(pid, mount_namespace, &new);
        let mut modules = Vec::with_capacity(lines.len());
        for line in &lines {
            let binary = self.binary(pid, mount_namespace, line);
            let Line { range, offset, device, inode, path } = line.clone();
            modules.push(Module { range, offset, path, device, inode, binary });
        }
        if self.scans.len() >= SCANS_MAX {
            self.scans.clear();
        }
        self.scans.insert(pid, lines);
        Ok(modules)
    }

    /// The files that the program of a process will load when it starts, as far as its headers
    /// tell. The process must stand behind its exec. The next process of the same program is taken
    /// for one that loads the same, whatever its environment says: builds execute the same few
    /// programs thousands of times. `program`: which file it is, where that is known.
    pub fn forecast(&mut self, pid: u32, program: Option<Stamp>) -> Vec<Arc<Binary>> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let program = program.or_else(|| {
            let exe = Request::Stamps(vec![Place::Exe { pid }]);
            match self.worker.ask(&exe, None, TIME).map(|reply| reply.answer) {
                Ok(Answer::Stamps(stamps)) => stamps.into_iter().flatten().next(),
                _ => None,
            }
        });
        let Some(stamp) = program else { return Vec::new() };
        let program = (mount_namespace(&process), stamp);
        if let Some(known) = self.forecasts.get(&program)
            && known.iter().all(|binary| !binary.is_lasting || is_unchanged(binary))
        {
            return known.clone();
        }
        let files = self.needed(pid);
        self.forecasts.insert(program, files.clone());
        files
    }

    /// Asks what the files of mappings are that were not there at the last scan, all at once: which
    /// are known by another name, and which are others now than when they were read.
    fn ask(&mut self, pid: u32, mount_namespace: u64, lines: &[Line]) {
        let mut places = Vec::new();
        let mut asked = Vec::new();
        for line in lines.iter().filter(|line| line.inode != 0) {
            let seen = seen(mount_namespace, line);
            let known = self.by_maps.get(&seen);
            if known.is_some_and(|known| known.is_lasting && is_unchanged(known)) {
                continue;
            }
            places.push(place(pid, line));
            asked.push((seen, known.and_then(|known| known.stamp)));
        }
        if places.is_empty() {
            return;
        }
        let request = Request::Stamps(places);
        let Ok(reply) = self.worker.ask(&request, None, TIME) else { return };
        let Answer::Stamps(stamps) = reply.answer else { return };
        for ((seen, known), now) in asked.into_iter().zip(stamps) {
            let Some(now) = now.filter(|now| Some(*now) != known) else { continue };
            match self.by_stamp.get(&now) {
                Some(file) => {
                    self.by_maps.insert(seen, Arc::clone(&file.binary));
                }
                // A file that could not be read, and is not another one, stays what it is.
                None if known.is_some() => {
                    self.by_maps.remove(&seen);
                }
                None => {}
            }
        }
    }

    fn binary(&mut self, pid: u32, mount_namespace: u64, line: &Line) -> Option<Arc<Binary>> {
        if line.path == "[vdso]" {
            return self.vdso(line);
        }
        if line.inode == 0 {
            return None;
        }
        let seen = seen(mount_namespace, line);
        if let Some(known) = self.by_maps.get(&seen) {
            return Some(Arc::clone(known));
        }
        let binary = match self.open(place(pid, line)) {
            Ok(known) => known.binary,
            Err(failure) => {
                let binary = Arc::new(Binary::without_file(None, failure.to_string()));
                // Else the next scan may have more luck.
                if failure.is_lasting() {
                    self.refused.insert(format!("{}: {failure}", line.path));
                    self.by_maps.insert(seen, Arc::clone(&binary));
                }
                return Some(binary);
            }
        };
        self.by_maps.insert(seen, Arc::clone(&binary));
        Some(binary)
    }

    /// The entry of the file at a place, which is made if there is none for its present content.
    fn open(&mut self, place: Place) -> Result<Known, Failure> {
        let copy_max = COPY_MAX.min(COPIES_MAX.saturating_sub(self.copied));
        let request = Request::Module { place: place.clone(), copy_max };
        let reply = self.worker.ask(&request, None, TIME)?;
        let Answer::Module(answer) = reply.answer else {
            return Err(Failure::Refused("its reader sent another answer".to_owned()));
        };
        if let Some(known) = self.by_stamp.get(&answer.opened.stamp) {
            return Ok(known.clone());
        }
        let ModuleAnswer {
            opened,
            headers,
            trampolines,
            debug_link,
            python,
            digest,
            needs,
            copied,
        } = *answer;
        let copied = copied.filter(|_| reply.copy.is_some());
        self.copied += copied.map_or(0, |(bytes, _)| bytes);
        let why = "its file is gone, and no copy of its symbols could be kept";
        let build_id = headers.as_ref().and_then(|headers| headers.build_id.clone());
        let binary = Arc::new(Binary {
            file: reply.copy.map(File::from),
            path: opened.here.then(|| opened.path.clone()),
            opened_as: Some(opened.path),
            file_has_debug: copied.is_some_and(|(_, has_debug)| has_debug),
            is_systems: opened.systems,
            is_lasting: opened.lasting,
            debug_link,
            python,
            trampolines: trampolines.into_iter().collect(),
            stamp: Some(opened.stamp),
            headers,
            ..Binary::without_file(build_id, why)
        });
        let known = Known { binary, needs: Arc::new(needs) };
        self.by_stamp.insert(opened.stamp, known.clone());
        if let Some(digest) = digest.as_deref().and_then(bytes_of_hex) {
            self.make_table(&known.binary, digest, place);
        }
        Ok(known)
    }

    /// Takes the table of the file that the worker has just read from the cache, or has it made.
    fn make_table(&mut self, binary: &Arc<Binary>, digest: Vec<u8>, place: Place) {
        let Some((fresh, cache)) = &self.tables else { return };
        if let Some(table) = cache.as_ref().and_then(|cache| cache.get(&digest)) {
            return fresh.put(binary, table);
        }
        let time = if binary.is_systems { SYSTEMS_TABLE_TIME } else { TABLE_TIME };
        let mut made = self.worker.ask(&Request::Table, None, time);
        if matches!(made, Err(Failure::Died)) {
            let again = Request::Module { place, copy_max: 0 };
            made = self.worker.ask(&again, None, TIME);
            if made.is_ok() {
                made = self.worker.ask(&Request::Table, None, time);
            }
        }
        let table = made.map(|reply| cache::decode(&reply.body));
        match table {
            Ok(Some(mut table)) => {
                table.build_id = digest;
                // A table that could not be kept is built again next time.
                if let Some(cache) = cache.as_ref().filter(|_| binary.is_systems) {
                    let _ = cache.put(&table);
                }
                fresh.put(binary, table);
            }
            // A file without code to walk has none.
            Err(Failure::Refused(_)) => {}
            Ok(None) => self.refuse(binary, "its reader made none"),
            Err(failure) => self.refuse(binary, &failure.to_string()),
        }
    }

    fn refuse(&mut self, binary: &Binary, why: &str) {
        let path = binary.opened_as.as_deref().unwrap_or("a file");
        self.refused.insert(format!("{path}: {why}"));
    }

    /// The kernel gives all 64-bit processes the same image, so it is taken from our own memory:
    /// reading the other's would make its pages resident.
    fn vdso(&mut self, line: &Line) -> Option<Arc<Binary>> {
        if self.vdso.is_none() {
            self.vdso = vdso::own().ok();
            if let (Some(own), Some((fresh, _))) = (&mut self.vdso, &self.tables)
                && let Ok(table) = Table::build(&own.image)
            {
                fresh.put(&own.binary, table);
            }
        }
        self.vdso.as_ref()?.of(line)
    }
}

fn seen(mount_namespace: u64, line: &Line) -> Seen {
    Seen { mount_namespace, device: line.device, inode: line.inode, path: line.path.clone() }
}

fn place(pid: u32, line: &Line) -> Place {
    let (start, end) = (line.range.start, line.range.end);
    Place::Mapping { pid, start, end, inode: line.inode, path: line.path.clone() }
}

/// The inode of a process's mount namespace, 0 if it cannot be seen.
fn mount_namespace(process: &Path) -> u64 {
    fs::metadata(process.join("ns/mnt")).map_or(0, |meta| meta.ino())
}

/// A file of the system's, which its path leads to, has not been written over since it was opened.
fn is_unchanged(binary: &Binary) -> bool {
    let now = binary.path.as_ref().and_then(|path| fs::metadata(path).ok());
    now.is_some_and(|meta| Some(Stamp::from(&meta)) == binary.stamp)
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Takes any bytes as the text of `/proc/PID/maps`. For fuzzing: it must not panic.
pub fn fuzz_entry(bytes: &[u8]) {
    let _ = maps::executable(bytes);
}

#[cfg(test)]
mod tests;
