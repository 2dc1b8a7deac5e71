//! Control groups: which group is meant, who is in it, and what the kernel's books say of it.
//!
//! Comes in: a path, or the id of a container or the name of a systemd unit. Goes out: a [`Group`],
//! its members as process ids, and its [`report::Cgroup`]. Version 1 and 2 of cgroups.
//!
//! * `mounts`: where the hierarchies are; `container`: the group of a container, by its name;
//! * `books`: the texts of a group as numbers; `pages`: to whom the pages of processes are charged.

mod books;
mod container;
mod mounts;
mod pages;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::report;
use mounts::Mount;

/// Groups below a group that are looked at, level by level: no service nests deeper.
const DEPTH: u32 = 32;

/// Why no group was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No hierarchy is mounted.
    #[error(
        "cannot look for a cgroup: no cgroup file system is mounted here (see /proc/self/mountinfo); mount one at /sys/fs/cgroup"
    )]
    NoMount,
    /// It is no group.
    #[error(
        "cannot attach to cgroup {path}: {why}; name a folder below {below}, or a path as in /proc/PID/cgroup"
    )]
    NotFound {
        /// As it was named.
        path: String,
        /// Why.
        why: String,
        /// Where the groups are.
        below: String,
    },
    /// No container has this id.
    #[error(
        "cannot find container {id}: no cgroup below {below} has that id; give the id that `docker ps`, `podman ps` or `crictl ps` shows, or the name of a systemd unit"
    )]
    NoContainer {
        /// As it was named.
        id: String,
        /// Where was looked.
        below: String,
    },
    /// More than one has.
    #[error("container {id} may be any of {}; give more of its id, or --cgroup PATH", found.join(", "))]
    Ambiguous {
        /// As it was named.
        id: String,
        /// The groups.
        found: Vec<String>,
    },
    /// The members cannot be read.
    #[error("cannot read the members of cgroup {path}: {source}")]
    Members {
        /// The group's folder.
        path: PathBuf,
        /// What came.
        source: io::Error,
    },
}

/// A control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    mount: Mount,
    /// Below the mount, without a slash in front.
    below: PathBuf,
}

impl Group {
    /// The group of a path: a folder of a cgroup file system, or a path below one.
    ///
    /// # Errors
    /// There is none.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let mounts = mounts::read();
        if mounts.is_empty() {
            return Err(Error::NoMount);
        }
        let whole = fs::canonicalize(path).ok();
        let direct = whole.as_deref().and_then(|whole| {
            let mount = mounts.iter().find(|mount| whole.starts_with(&mount.at))?;
            let below = whole.strip_prefix(&mount.at).ok()?.to_owned();
            Some(Self { mount: mount.clone(), below })
        });
        let relative = || {
            mounts.iter().find_map(|mount| {
                // A container sees the hierarchy from a root of its own.
                let below = path.strip_prefix(&mount.root).ok().filter(|_| path.is_absolute());
                let below = below.unwrap_or(path);
                let below = below.strip_prefix("/").unwrap_or(below).to_owned();
                let group = Self { mount: mount.clone(), below };
                (!group.below.as_os_str().is_empty() && group.exists()).then_some(group)
            })
        };
        let group = direct.or_else(relative).filter(Self::exists);
        group.ok_or_else(|| Error::NotFound {
            path: path.display().to_string(),
            why: match whole {
                Some(_) => "it is no folder of a cgroup file system".to_owned(),
                None => "there is no such folder".to_owned(),
            },
            below: places(&mounts),
        })
    }

    /// The group of a container by its id (the first digits are enough), or of a systemd unit.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn of_container(id: &str) -> Result<Self, Error> {
        let mounts = mounts::read();
        if mounts.is_empty() {
            return Err(Error::NoMount);
        }
        for mount in &mounts {
            match &container::find(&mount.at, id, DEPTH)[..] {
                [] => {}
                [below] => return Ok(Self { mount: mount.clone(), below: below.clone() }),
                found => {
                    let found = found.iter().map(|path| format!("/{}", path.display())).collect();
                    return Err(Error::Ambiguous { id: id.to_owned(), found });
                }
            }
        }
        Err(Error::NoContainer { id: id.to_owned(), below: places(&mounts) })
    }

    fn exists(&self) -> bool {
        self.folder().join("cgroup.procs").exists()
    }

    fn folder(&self) -> PathBuf {
        self.mount.at.join(&self.below)
    }

    /// Its path as the kernel names it.
    #[must_use]
    pub fn name(&self) -> String {
        let path = self.mount.root.join(&self.below).display().to_string();
        let short = path.trim_end_matches('/');
        if short.is_empty() { "/".to_owned() } else { short.to_owned() }
    }

    /// Its processes and those of the groups below it, in the order of their ids.
    ///
    /// # Errors
    /// The group is gone.
    pub fn members(&self) -> Result<Vec<u32>, Error> {
        let folder = self.folder();
        let mut pids =
            read_pids(&folder).map_err(|source| Error::Members { path: folder.clone(), source })?;
        for below in folders(&folder, DEPTH) {
            // One that went meanwhile has no processes; neither has one of threads (EOPNOTSUPP).
            pids.extend(read_pids(&below).unwrap_or_default());
        }
        pids.sort_unstable();
        pids.dedup();
        // 0 stands for a process of another PID namespace.
        pids.retain(|pid| *pid != 0);
        Ok(pids)
    }

    /// What the kernel says of it now; `None` if it has no memory controller, or is gone.
    pub fn books(&self, at_ns: u64) -> Option<report::CgroupBooks> {
        books::read(&self.folder(), self.mount.version, at_ns)
    }

    /// To whom the pages that these processes map are charged.
    ///
    /// # Errors
    /// The kernel does not report it.
    pub fn pages(&self, pids: &[u32]) -> io::Result<report::CgroupPages> {
        let folder = self.folder();
        let own = std::iter::once(folder.clone()).chain(folders(&folder, DEPTH));
        pages::count(pids, &own.filter_map(|folder| inode(&folder)).collect())
    }

    /// A report of it that holds no figures yet.
    #[must_use]
    pub fn begin(&self, at_ns: u64) -> report::Cgroup {
        let before = self.books(at_ns);
        let notes = if before.is_none() {
            vec![format!(
                "{} has no memory controller, so there are no books of it",
                self.folder().display()
            )]
        } else {
            Vec::new()
        };
        report::Cgroup {
            path: self.name(),
            version: self.mount.version,
            before,
            notes,
            ..report::Cgroup::default()
        }
    }
}

fn places(mounts: &[Mount]) -> String {
    // The first are those that keep books of memory.
    let places: Vec<String> =
        mounts.iter().take(2).map(|mount| mount.at.display().to_string()).collect();
    places.join(", ")
}

fn inode(folder: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(folder).ok().map(|data| data.ino())
}

fn read_pids(folder: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(folder.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// All groups below one.
fn folders(folder: &Path, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if depth == 0 {
        return found;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            found.extend(folders(&path, depth - 1));
            found.push(path);
        }
    }
    found
}
