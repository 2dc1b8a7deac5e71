//! Which files a process executes, and the files themselves.
//!
//! Comes in: a process. Goes out: its executable mappings as [`Module`]s, each with the very file
//! that is mapped, open, for the library's room `symbol` (and for unwind tables). The
//! [`Catalogue`] knows every file once, whichever processes map it, so a scan opens only what is
//! new: at exec, and whenever a mapping with code appears.
//!
//! A file is opened through `/proc/PID/map_files`, which leads to the mapped inode itself: deleted,
//! replaced, in another mount namespace or a memfd. That needs `CAP_CHECKPOINT_RESTORE` or
//! `CAP_SYS_ADMIN`; without them the path in the process's root is opened and believed if it has
//! the inode that maps shows. The device is not compared: on btrfs and overlayfs maps shows
//! another than `stat` does. For the same reason maps' device and inode name a file only within
//! one mount namespace and path.

mod maps;
mod needed;

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::maps::Line;
use super::procfs::read_file;
use crate::symbol::module::Stamp;
use crate::symbol::{Binary, Module};

/// Of the vDSO, in bytes.
const VDSO_MAX: u64 = 1 << 20;
/// The highest address of a 32-bit process.
const MAX_32: u64 = u32::MAX as u64;

/// All files that were seen with code in them.
#[derive(Debug)]
pub struct Catalogue {
    limit: usize,
    kept: usize,
    /// What maps shows, to the file.
    by_maps: HashMap<Seen, Arc<Binary>>,
    /// What `stat` shows, to the same.
    by_stamp: HashMap<Stamp, Arc<Binary>>,
    /// What the programs of each mount namespace loaded, as far as their headers told.
    forecasts: HashMap<(u64, Stamp), Vec<Arc<Binary>>>,
    vdso: Option<Vdso>,
}

/// How maps names a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    mount_namespace: u64,
    device: (u32, u32),
    inode: u64,
    path: String,
}

#[derive(Debug)]
struct Vdso {
    size: u64,
    binary: Arc<Binary>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new(512)
    }
}

impl Catalogue {
    /// An empty one that keeps up to `limit` files open. What comes later is known by its build
    /// id and looked for by its path at the end.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: 0,
            by_maps: HashMap::new(),
            by_stamp: HashMap::new(),
            forecasts: HashMap::new(),
            vdso: None,
        }
    }

    /// How many files it keeps open.
    #[must_use]
    pub const fn kept(&self) -> usize {
        self.kept
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
        let module = |line: Line| {
            let binary = self.binary(&process, mount_namespace, &line);
            let Line { range, offset, device, inode, path } = line;
            Module { range, offset, path, device, inode, binary }
        };
        Ok(maps::executable(&text).into_iter().map(module).collect())
    }

    /// The files that the program of a process will load when it starts, as far as its headers
    /// tell. The process must stand behind its exec. The next process of the same program is taken
    /// for one that loads the same, whatever its environment says: builds execute the same few
    /// programs thousands of times.
    pub fn forecast(&mut self, pid: u32) -> Vec<Arc<Binary>> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let program = fs::metadata(process.join("exe")).map(|meta| Stamp::from(&meta));
        let program = program.ok().map(|stamp| (mount_namespace(&process), stamp));
        if let Some(known) = program.as_ref().and_then(|program| self.forecasts.get(program))
            && known.iter().all(|binary| is_unchanged(binary))
        {
            return known.clone();
        }
        let files: Vec<_> =
            needed::of_process(pid).into_iter().map(|file| self.keep(file)).collect();
        self.forecasts.extend(program.map(|program| (program, files.clone())));
        files
    }

    fn binary(&mut self, process: &Path, mount_namespace: u64, line: &Line) -> Option<Arc<Binary>> {
        if line.path == "[vdso]" {
            return self.vdso(line);
        }
        if line.inode == 0 {
            return None;
        }
        let seen = Seen {
            mount_namespace,
            device: line.device,
            inode: line.inode,
            path: line.path.clone(),
        };
        if let Some(known) = self.by_maps.get(&seen)
            && is_unchanged(known)
        {
            return Some(Arc::clone(known));
        }
        let binary = match open(process, line) {
            Ok(file) => self.keep(file),
            // Not remembered: the next scan may have more luck.
            Err(why) => return Some(Arc::new(Binary::without_file(None, why))),
        };
        self.by_maps.insert(seen, Arc::clone(&binary));
        Some(binary)
    }

    /// The file's entry, which is made if there is none for its present content.
    fn keep(&mut self, file: File) -> Arc<Binary> {
        let stamp = file.metadata().map(|meta| Stamp::from(&meta));
        if let Some(known) = stamp.ok().and_then(|stamp| self.by_stamp.get(&stamp)) {
            return Arc::clone(known);
        }
        let mut binary = match Binary::keep(file) {
            Ok(binary) => binary,
            Err(error) => return Arc::new(Binary::without_file(None, error.to_string())),
        };
        if self.kept < self.limit {
            self.kept += 1;
        } else {
            binary.file = None;
            binary.why_no_file = Some(format!("more than {} files would be kept", self.limit));
        }
        let stamp = binary.stamp;
        let binary = Arc::new(binary);
        self.by_stamp.extend(stamp.map(|stamp| (stamp, Arc::clone(&binary))));
        binary
    }

    /// The kernel gives all 64-bit processes the same image, so it is taken from our own memory:
    /// reading the other's would make its pages resident.
    fn vdso(&mut self, line: &Line) -> Option<Arc<Binary>> {
        if self.vdso.is_none() {
            self.vdso = own_vdso().ok();
        }
        let own = self.vdso.as_ref()?;
        let same = line.range.start > MAX_32 && line.range.end - line.range.start == own.size;
        same.then(|| Arc::clone(&own.binary))
    }
}

/// The inode of a process's mount namespace, 0 if it cannot be seen.
fn mount_namespace(process: &Path) -> u64 {
    fs::metadata(process.join("ns/mnt")).map_or(0, |meta| meta.ino())
}

/// The file has not been written over since it was opened.
fn is_unchanged(binary: &Binary) -> bool {
    binary.file.as_ref().is_none_or(|file| {
        file.metadata().is_ok_and(|meta| Some(Stamp::from(&meta)) == binary.stamp)
    })
}

/// Opens the file of a mapping.
fn open(process: &Path, line: &Line) -> Result<File, String> {
    let range = &line.range;
    let direct = process.join("map_files").join(format!("{:x}-{:x}", range.start, range.end));
    let direct = open_regular(&direct, |_| true);
    let error = match direct {
        Ok(file) => return Ok(file),
        Err(error) => error,
    };
    let path = line.path.strip_prefix('/').ok_or_else(|| format!("map_files: {error}"))?;
    open_regular(&process.join("root").join(path), |meta| meta.ino() == line.inode)
        .map_err(|second| format!("map_files: {error}; by its path: {second}"))
}

/// Opens regular files only, and looks before: opening a device or a FIFO does things.
fn open_regular(path: &Path, is_it: impl Fn(&Metadata) -> bool) -> io::Result<File> {
    let fits = |meta: &Metadata| meta.is_file() && is_it(meta);
    let wrong = || io::Error::other("not the file that is mapped");
    if !fits(&fs::metadata(path)?) {
        return Err(wrong());
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if fits(&file.metadata()?) { Ok(file) } else { Err(wrong()) }
}

/// A copy of this process's own vDSO.
fn own_vdso() -> io::Result<Vdso> {
    let missing = || io::Error::other("this process has no vDSO of a known size");
    let lines = maps::executable(&fs::read("/proc/self/maps")?);
    let line = lines.into_iter().find(|line| line.path == "[vdso]").ok_or_else(missing)?;
    let size = line.range.end - line.range.start;
    if size > VDSO_MAX {
        return Err(missing());
    }
    let mut image = vec![0; usize::try_from(size).map_err(|_| missing())?];
    File::open("/proc/self/mem")?.read_exact_at(&mut image, line.range.start)?;
    let memory =
        nix::sys::memfd::memfd_create(c"rmap-vdso", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(&image)?;
    Ok(Vdso { size, binary: Arc::new(Binary::keep(file)?) })
}

/// Takes any bytes as the text of `/proc/PID/maps`. For fuzzing: it must not panic.
pub fn fuzz_entry(bytes: &[u8]) {
    let _ = maps::executable(bytes);
}

#[cfg(test)]
mod tests;
