//! What executable memory an address space has, when, and of which file.
//!
//! Comes in: modules as `live` finds them in `/proc/PID/maps`. Goes out: for an address and a
//! time, the [`Module`].

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::hash::Hash;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::elf;
use super::perf_map::PerfMap;
use crate::report::Frame;
use crate::runtime::python::Found;

/// A file with code, shared by all mappings and processes that have it.
#[derive(Debug)]
pub struct Binary {
    /// Lower-case hex, as it was when the file was first seen.
    pub build_id: Option<String>,
    /// The file, or a copy of what its names need. A traced process's own files are never kept
    /// open: their file systems could not be unmounted.
    pub file: Option<File>,
    /// By which path it can be opened again on this machine.
    pub path: Option<String>,
    /// By which path it was opened, wherever that leads.
    pub opened_as: Option<String>,
    /// It is one of the system's, and stays where it is.
    pub is_lasting: bool,
    /// `file` has its debug information, if there is any.
    pub file_has_debug: bool,
    /// Only root may have written it: it may take longer.
    pub is_systems: bool,
    /// The name of its debug file.
    pub debug_link: Option<String>,
    /// Whether it is a CPython, and which one.
    pub python: Found,
    /// Offsets of code to which signal handlers return.
    pub trampolines: HashSet<u64>,
    /// Why `file` is `None`.
    pub why_no_file: Option<String>,
    /// What the file was when it was opened.
    pub stamp: Option<Stamp>,
    /// What its program headers said when it was first seen.
    pub headers: Option<elf::Headers>,
    /// The names that a recording has for it.
    pub names: OnceLock<Names>,
}

/// The names of places in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By file offset, innermost first. Their module and build id are the file's.
    pub frames: HashMap<u64, Vec<Frame>>,
    /// Offsets of code to which signal handlers return.
    pub trampolines: HashSet<u64>,
    /// Of file offsets that were mapped, the virtual address minus the offset, as the file has it.
    biases: Vec<(Range<u64>, i64)>,
}

impl Names {
    /// More segments with code than this no linker makes.
    const BIASES_MAX: usize = 16;

    /// Names alone.
    #[must_use]
    pub fn of(frames: HashMap<u64, Vec<Frame>>) -> Self {
        Self { frames, ..Self::default() }
    }

    /// Notes where the bytes at these file offsets lie: the virtual address minus the offset.
    pub fn add_bias(&mut self, offsets: Range<u64>, bias: i64) {
        let known = self.biases.iter_mut().find(|(_, known)| *known == bias);
        if let Some((known, _)) = known {
            *known = known.start.min(offsets.start)..known.end.max(offsets.end);
        } else if self.biases.len() < Self::BIASES_MAX {
            self.biases.push((offsets, bias));
        }
    }

    /// The virtual address, as the file has it, of the byte at a file offset.
    #[must_use]
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        if self.biases.is_empty() {
            return self.named_address(offset);
        }
        let (_, bias) = self.biases.iter().find(|(offsets, _)| offsets.contains(&offset))?;
        Some(offset.wrapping_add_signed(*bias))
    }

    /// The same from the names alone: they have addresses, but offsets if the headers could not be
    /// read when they were made. One that has a function, or that is no offset, shows that they
    /// could.
    fn named_address(&self, offset: u64) -> Option<u64> {
        let address = |frames: &[Frame]| Some(frames.first()?.offset.0);
        let shows = self.frames.iter().any(|(at, frames)| {
            frames.iter().any(|frame| frame.function.is_some()) || address(frames) != Some(*at)
        });
        shows.then(|| address(self.frames.get(&offset)?)).flatten()
    }
}

/// Tells one version of a file from another, as `stat(2)` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// `st_dev`; on btrfs and overlayfs not the device that maps shows.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Of the content, in seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Of the content or of what `stat` shows, in seconds and nanoseconds: no owner can set it.
    pub changed: (i64, i64),
}

impl Stamp {
    /// Whether it is the same content of the same file: a link that was made or removed, or another
    /// mode, changes nothing of that.
    #[must_use]
    pub fn has_same_content(&self, other: &Self) -> bool {
        Self { changed: other.changed, ..*self } == *other
    }
}

impl From<&Metadata> for Stamp {
    fn from(m: &Metadata) -> Self {
        Self {
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        }
    }
}

impl Binary {
    /// Keeps `file` and reads its build id; a file that is no ELF has none.
    ///
    /// # Errors
    /// The file cannot be asked for its metadata.
    pub fn keep(file: File) -> io::Result<Self> {
        let stamp = Stamp::from(&file.metadata()?);
        let headers = elf::Headers::read(&file).ok();
        Ok(Self {
            build_id: headers.as_ref().and_then(|headers| headers.build_id.clone()),
            file: Some(file),
            path: None,
            opened_as: None,
            is_lasting: false,
            file_has_debug: true,
            is_systems: false,
            debug_link: None,
            python: Found::Nothing,
            trampolines: HashSet::new(),
            why_no_file: None,
            stamp: Some(stamp),
            headers,
            names: OnceLock::new(),
        })
    }

    /// A file that could not be opened, or that a recording names.
    #[must_use]
    pub fn without_file(build_id: Option<String>, why: impl Into<String>) -> Self {
        Self {
            build_id,
            file: None,
            path: None,
            opened_as: None,
            is_lasting: false,
            file_has_debug: true,
            is_systems: false,
            debug_link: None,
            python: Found::Nothing,
            trampolines: HashSet::new(),
            why_no_file: Some(why.into()),
            stamp: None,
            headers: None,
            names: OnceLock::new(),
        }
    }
}

/// One executable mapping.
#[derive(Clone, Debug)]
pub struct Module {
    /// Addresses in the process.
    pub range: Range<u64>,
    /// The file offset of the first byte.
    pub offset: u64,
    /// As in maps: may end in ` (deleted)`, be a name in brackets, or empty. Not safe to print.
    pub path: String,
    /// As in maps.
    pub device: (u32, u32),
    /// As in maps; 0 if there is no file.
    pub inode: u64,
    /// The file; `None` for anonymous memory.
    pub binary: Option<Arc<Binary>>,
}

impl Module {
    /// What a frame's `module` is: the path without ` (deleted)`, `[anon]` for memory without a
    /// name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.path.strip_suffix(" (deleted)").unwrap_or(&self.path) {
            "" => "[anon]",
            name => name,
        }
    }

    /// The file offsets that are mapped.
    #[must_use]
    pub const fn offsets(&self) -> Range<u64> {
        let size = self.range.end.saturating_sub(self.range.start);
        self.offset..self.offset.saturating_add(size)
    }

    fn is_same_mapping(&self, other: &Self) -> bool {
        self.range == other.range
            && self.offset == other.offset
            && self.device == other.device
            && self.inode == other.inode
            && self.name() == other.name()
    }

    /// The part of it that lies in `range`.
    fn part(&self, range: Range<u64>) -> Self {
        let offset = self.offset.wrapping_add(range.start.wrapping_sub(self.range.start));
        Self { range, offset, ..self.clone() }
    }
}

/// The executable mappings of one address space through time.
///
/// A clone is what a forked child starts with.
#[derive(Clone, Debug, Default)]
pub struct ModuleMap {
    /// In the order of their first address. Shared with forked copies until one changes.
    entries: Arc<Vec<Entry>>,
    /// For each entry, the highest end of it and all before it.
    highest_end: Arc<Vec<u64>>,
    /// The names that the program wrote for code without a file.
    names: Option<Arc<PerfMap>>,
}

#[derive(Clone, Debug)]
struct Entry {
    since: u64,
    until: u64,
    module: Module,
}

impl Entry {
    fn lives(&self) -> bool {
        self.until == u64::MAX
    }
}

impl ModuleMap {
    /// An empty one, for a new address space.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A forked child has its parent's modules: `from` and `to` are their places in `maps`, which are
    /// one and the same after vfork. Does nothing if one of them is not known.
    pub fn inherit<K: Copy + Eq + Hash>(
        maps: &mut HashMap<K, Self>,
        from: Option<K>,
        to: Option<K>,
    ) {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
            && let Some(map) = maps.get(&from).cloned()
        {
            maps.insert(to, map);
        }
    }

    /// Takes over all executable mappings as they are at `time_ns`: what is not among them ends,
    /// what was there already goes on.
    pub fn update(&mut self, time_ns: u64, modules: Vec<Module>) {
        if self.is_living(&modules) {
            return;
        }
        let mut fresh: Vec<Option<Module>> = modules.into_iter().map(Some).collect();
        let starts = fresh.iter().flatten().map(|module| module.range.start);
        let by_start: HashMap<u64, usize> = starts.zip(0..).collect();
        let entries = Arc::make_mut(&mut self.entries);
        for entry in entries.iter_mut().filter(|entry| entry.lives()) {
            let place = by_start.get(&entry.module.range.start);
            let same = place.and_then(|place| fresh.get_mut(*place)).filter(|module| {
                module.as_ref().is_some_and(|module| module.is_same_mapping(&entry.module))
            });
            match same {
                Some(module) => *module = None,
                None => entry.until = time_ns,
            }
        }
        let fresh = fresh.into_iter().flatten();
        entries.extend(fresh.map(|module| Entry { since: time_ns, until: u64::MAX, module }));
        self.index();
    }

    /// Takes over one mapping made at `time_ns`, in place of what was there.
    pub fn add(&mut self, time_ns: u64, module: Module) {
        let new = module.range.clone();
        let mut rests = vec![module];
        let entries = Arc::make_mut(&mut self.entries);
        for entry in entries.iter_mut().filter(|entry| entry.lives()) {
            let old = entry.module.range.clone();
            if old.start < new.end && new.start < old.end {
                entry.until = time_ns;
                if old.start < new.start {
                    rests.push(entry.module.part(old.start..new.start));
                }
                if new.end < old.end {
                    rests.push(entry.module.part(new.end..old.end));
                }
            }
        }
        let rests = rests.into_iter();
        entries.extend(rests.map(|module| Entry { since: time_ns, until: u64::MAX, module }));
        self.index();
    }

    /// What was mapped at `address` at `time_ns`. A mapping is often seen later than its code
    /// runs: where nothing was known at that time, it is what was seen there first afterwards.
    #[must_use]
    pub fn find(&self, address: u64, time_ns: u64) -> Option<&Module> {
        let mut later: Option<&Entry> = None;
        let behind = self.entries.partition_point(|entry| entry.module.range.start <= address);
        for (entry, highest_end) in
            self.entries[..behind].iter().zip(&self.highest_end[..behind]).rev()
        {
            if *highest_end <= address {
                break;
            }
            if !entry.module.range.contains(&address) || entry.until <= time_ns {
                continue;
            }
            if entry.since <= time_ns {
                return Some(&entry.module);
            }
            if later.is_none_or(|later| entry.since < later.since) {
                later = Some(entry);
            }
        }
        later.map(|entry| &entry.module)
    }

    /// Whether executable mappings, read later, can be those of the same program: its own file,
    /// which is the first in the order of addresses, is still mapped where it was. Another program
    /// takes its place, and never the other way round.
    #[must_use]
    pub fn is_same_program(&self, modules: &[Module]) -> bool {
        match self.living().find(|module| module.inode != 0) {
            Some(own) => modules.iter().any(|module| module.is_same_mapping(own)),
            None => false,
        }
    }

    /// The mappings that live, in the order of their addresses.
    pub fn living(&self) -> impl Iterator<Item = &Module> {
        self.entries.iter().filter(|entry| entry.lives()).map(|entry| &entry.module)
    }

    /// Takes over the names that the program wrote, in place of those that it wrote before.
    pub fn set_names(&mut self, names: Arc<PerfMap>) {
        self.names = Some(names);
    }

    /// The name that the program wrote for the code at an address that no file holds.
    #[must_use]
    pub fn written_name(&self, address: u64) -> Option<&str> {
        self.names.as_ref()?.find(address)
    }

    /// Whether these are the mappings that live, in the order of their addresses.
    fn is_living(&self, modules: &[Module]) -> bool {
        let mut living = self.living();
        modules.iter().all(|module| {
            living.next().is_some_and(|own| {
                own.is_same_mapping(module) && own.binary.is_some() == module.binary.is_some()
            })
        }) && living.next().is_none()
    }

    fn index(&mut self) {
        let entries = Arc::make_mut(&mut self.entries);
        entries.sort_by_key(|entry| entry.module.range.start);
        let mut highest = 0;
        let ends = entries.iter().map(|entry| {
            highest = highest.max(entry.module.range.end);
            highest
        });
        self.highest_end = Arc::new(ends.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(range: Range<u64>, offset: u64, path: &str) -> Module {
        Module { range, offset, path: path.into(), device: (8, 1), inode: 7, binary: None }
    }

    fn name(map: &ModuleMap, address: u64, time: u64) -> Option<&str> {
        map.find(address, time).map(Module::name)
    }

    #[test]
    fn a_library_that_goes_and_another_that_takes_its_place() {
        let mut map = ModuleMap::new();
        map.update(10, vec![module(0..100, 0, "/a"), module(200..300, 0, "/old (deleted)")]);
        map.update(20, vec![module(0..100, 0, "/a")]);
        map.update(30, vec![module(0..100, 0, "/a"), module(250..400, 0, "/new")]);
        assert_eq!(name(&map, 50, 0), Some("/a"), "seen later than it ran");
        assert_eq!(name(&map, 50, 99), Some("/a"));
        assert_eq!(name(&map, 260, 15), Some("/old"));
        assert_eq!(name(&map, 260, 25), Some("/new"), "not the one that is gone");
        assert_eq!(name(&map, 210, 25), None);
        assert_eq!(name(&map, 399, 31), Some("/new"));
        assert_eq!(name(&map, 400, 31), None);
        assert_eq!(map.living().count(), 2);
    }

    #[test]
    fn another_program_is_known_by_its_own_file() {
        let mut map = ModuleMap::new();
        map.update(10, vec![module(100..200, 0, "/program"), module(800..900, 0, "/ld.so")]);
        let more = [
            module(100..200, 0, "/program"),
            module(600..700, 0, "/library"),
            module(800..900, 0, "/ld.so"),
        ];
        assert!(map.is_same_program(&more));
        assert!(!map.is_same_program(&[module(800..900, 0, "/ld.so")]), "the linker alone");
        let other = [module(100..200, 0, "/other"), module(800..900, 0, "/ld.so")];
        assert!(!map.is_same_program(&other), "in the same place");
        assert!(!ModuleMap::new().is_same_program(&more), "nothing is known of it yet");
    }

    #[test]
    fn one_mapping_over_the_middle_of_another() {
        let mut map = ModuleMap::new();
        map.add(1, module(100..400, 0x1000, "/a"));
        map.add(2, module(200..300, 0, ""));
        assert_eq!(name(&map, 250, 1), Some("/a"));
        assert_eq!(name(&map, 250, 2), Some("[anon]"));
        assert_eq!(map.find(150, 2).map(|m| m.offset), Some(0x1000));
        assert_eq!(map.find(350, 2).map(|m| m.offset), Some(0x1000 + 200));
    }
}
