//! Folders in which a person has symbols and debug information, for files that are not here.
//!
//! Comes in: folders (in the manner of `/usr/lib/debug`, or with files of any names), and a build
//! id. Goes out: open files of that build id, the one that tells most first; and what was not used
//! although its name says that it was meant. A name alone proves nothing.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::debug_file::{by_build_id, open_regular};
use super::elf::{Headers, Sections};
use super::module::Stamp;

/// Entries that are looked at, in all folders and those below them.
const ENTRIES_MAX: usize = 200_000;
/// Folders below folders; links to folders are not followed.
const DEPTH_MAX: usize = 32;
/// Files of one build id: the program itself, its debug file, and copies.
const FILES_MAX: usize = 4;
/// What the debug file of a program is called, behind the program's name.
const ENDINGS: [&str; 4] = ["", ".debug", ".dbg", ".sym"];

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot look for symbols in {}", folder.display())]
pub struct FolderError {
    folder: PathBuf,
    source: io::Error,
}

/// The folders; none by default. They are gone through once, and only if that is needed.
#[derive(Debug, Default)]
pub struct Folders {
    roots: Vec<PathBuf>,
    /// What this machine has is left aside.
    alone: bool,
    /// The same, because nobody asked for it.
    unasked: bool,
    index: OnceLock<Index>,
}

/// What came of looking for the files of a recording, for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sought {
    /// Files of the recording with poor names or none.
    pub files: u64,
    /// Those of which something was found.
    pub found: u64,
    /// What was not used, or not wholly, and why: a line each.
    pub refused: Vec<String>,
}

impl Sought {
    pub(super) fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.found += other.found;
        self.refused.extend_from_slice(&other.refused);
    }
}

/// All ELF files in the folders.
#[derive(Debug, Default)]
struct Index {
    by_id: HashMap<String, Vec<PathBuf>>,
    by_name: HashMap<String, (PathBuf, Option<String>)>,
    entries: usize,
}

impl Folders {
    /// Folders, each of which may also be a single file.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn new(roots: Vec<PathBuf>) -> Result<Self, FolderError> {
        for folder in &roots {
            let readable = if folder.is_dir() {
                fs::read_dir(folder).map(drop)
            } else {
                open_regular(folder).map(drop)
            };
            readable.map_err(|source| FolderError { folder: folder.clone(), source })?;
        }
        Ok(Self { roots, ..Self::default() })
    }

    /// None, and not even what this machine has: a recording is read as it is, with the same names
    /// on every machine.
    #[must_use]
    pub fn alone() -> Self {
        Self { alone: true, ..Self::default() }
    }

    /// The same where a person may want more, and is told how to get it: root opens files for a
    /// recording, which names the paths, only if that is asked for.
    #[must_use]
    pub fn unasked() -> Self {
        Self { alone: true, unasked: true, ..Self::default() }
    }

    /// Whether names would have been looked for if somebody had asked.
    pub(super) const fn is_unasked(&self) -> bool {
        self.unasked
    }

    /// Whether this machine's own files are left aside.
    pub(super) const fn is_alone(&self) -> bool {
        self.alone
    }

    /// There are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Files of a build id, those with debug information first, then those with symbols.
    pub(super) fn find(&self, build_id: &str) -> Vec<(File, Sections)> {
        if self.roots.is_empty() {
            return Vec::new();
        }
        let by_id = self.roots.iter().flat_map(|root| {
            [by_build_id(&root.join(".build-id"), build_id), by_build_id(root, build_id)]
        });
        let by_id: Vec<PathBuf> = by_id.flatten().flatten().collect();
        let mut found = open_all(&by_id, build_id);
        if found.iter().all(|(_, sections)| !sections.has_dwarf() && !sections.has_symbols) {
            let listed = self.index().by_id.get(build_id).map_or(&[][..], Vec::as_slice);
            found = open_all(&[&by_id[..], listed].concat(), build_id);
        }
        found.sort_by_key(|(_, sections)| (!sections.has_dwarf(), !sections.has_symbols));
        found.truncate(FILES_MAX);
        found
    }

    /// Why the file that is named as if it were that of a module is not used, if there is one.
    pub(super) fn mismatch(&self, module: &str, build_id: Option<&str>) -> Option<String> {
        if self.roots.is_empty() {
            return None;
        }
        let base = Path::new(module).file_name()?.to_str()?;
        let index = self.index();
        let mut named = ENDINGS.iter();
        let (path, own) = named.find_map(|ending| index.by_name.get(&format!("{base}{ending}")))?;
        let why = match (build_id, own) {
            (None, _) => "that has no build id by which it could be known".to_owned(),
            (Some(_), None) => "it has no build id".to_owned(),
            (Some(wanted), Some(own)) if own != wanted => {
                format!("its build id is {own}, not {wanted}")
            }
            (Some(_), Some(_)) => "it cannot be read".to_owned(),
        };
        Some(format!("{} is not used for {module}: {why}", path.display()))
    }

    /// What a person should know of how the search went.
    #[must_use]
    pub fn notes(&self, sought: &Sought) -> Vec<String> {
        let mut notes = sought.refused.clone();
        if self.unasked && sought.files > 0 {
            notes.push(format!(
                "names in {} files are missing: root opens no file that a recording names, unless \
                 --symbols DIR is given",
                sought.files
            ));
        }
        if self.roots.is_empty() {
            return notes;
        }
        if sought.files > 0 && sought.found == 0 && notes.is_empty() {
            let folders: Vec<_> =
                self.roots.iter().map(|root| root.display().to_string()).collect();
            notes.push(format!(
                "nothing in {} is of use: no file there has the build id of one whose names are \
                 missing",
                folders.join(", ")
            ));
        }
        if self.index.get().is_some_and(|index| index.entries >= ENTRIES_MAX) {
            notes.push(format!(
                "only the first {ENTRIES_MAX} entries of the folders with symbols were looked at"
            ));
        }
        notes
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            for root in &self.roots {
                if root.is_dir() {
                    index.folder(root, 0);
                } else {
                    index.file(root);
                }
            }
            index
        })
    }
}

impl Index {
    fn folder(&mut self, folder: &Path, depth: usize) {
        // What cannot be read has nothing for us; the folders that were named could be.
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> =
            entries.take(ENTRIES_MAX.saturating_sub(self.entries)).map(|e| e.path()).collect();
        paths.sort();
        for path in paths {
            if self.entries >= ENTRIES_MAX {
                return;
            }
            self.entries += 1;
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
            if !is_folder {
                self.file(&path);
            } else if depth < DEPTH_MAX {
                self.folder(&path, depth + 1);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let headers = open_regular(path).ok().and_then(|file| Headers::read(&file).ok());
        let Some(headers) = headers else { return };
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            let named = || (path.to_owned(), headers.build_id.clone());
            self.by_name.entry(name.to_owned()).or_insert_with(named);
        }
        if let Some(id) = headers.build_id {
            self.by_id.entry(id).or_default().push(path.to_owned());
        }
    }
}

/// Those of the files that have the build id and can be used, each once.
fn open_all(paths: &[PathBuf], build_id: &str) -> Vec<(File, Sections)> {
    let mut seen = HashSet::new();
    let open = |path: &PathBuf| {
        let file = open_regular(path).ok()?;
        let new = seen.insert(Stamp::from(&file.metadata().ok()?));
        let is_it = new && Headers::read(&file).ok()?.build_id.as_deref() == Some(build_id);
        is_it.then(|| Sections::read(&file).ok().map(|sections| (file, sections))).flatten()
    };
    paths.iter().filter_map(open).collect()
}
