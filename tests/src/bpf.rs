//! Which BPF objects exist: asked of the kernel directly, with no library that rmap uses too.
//!
//! Comes in: a process id, or ids of objects. Goes out: whether they are still there.

use std::collections::BTreeSet;
use std::io;

const PROG_GET_NEXT_ID: libc::c_long = 11;
const MAP_GET_NEXT_ID: libc::c_long = 12;
const LINK_GET_NEXT_ID: libc::c_long = 31;

/// Ids of BPF programs, maps and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links.
    pub links: BTreeSet<u32>,
}

impl Objects {
    /// What the process holds by its file descriptors; empty if it is gone.
    #[must_use]
    pub fn held_by(pid: u32) -> Self {
        let mut held = Self::default();
        let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return held };
        for entry in entries.flatten() {
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            for line in text.lines() {
                let Some((key, value)) = line.split_once(':') else { continue };
                let Ok(id) = value.trim().parse() else { continue };
                match key {
                    // A link's file names its program too.
                    "prog_id" => held.programs.insert(id),
                    "map_id" => held.maps.insert(id),
                    "link_id" => held.links.insert(id),
                    _ => false,
                };
            }
        }
        held
    }

    /// Those of them that the kernel still knows.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn alive(&self) -> io::Result<Self> {
        let still = |command, ids: &BTreeSet<u32>| -> io::Result<BTreeSet<u32>> {
            Ok(all(command)?.intersection(ids).copied().collect())
        };
        Ok(Self {
            programs: still(PROG_GET_NEXT_ID, &self.programs)?,
            maps: still(MAP_GET_NEXT_ID, &self.maps)?,
            links: still(LINK_GET_NEXT_ID, &self.links)?,
        })
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: Self) {
        self.programs.extend(other.programs);
        self.maps.extend(other.maps);
        self.links.extend(other.links);
    }
}

/// Whether this process may ask.
///
/// # Errors
/// It may not.
pub fn allowed() -> io::Result<()> {
    next(PROG_GET_NEXT_ID, 0).map(|_| ())
}

fn all(command: libc::c_long) -> io::Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    let mut id = 0;
    while let Some(found) = next(command, id)? {
        ids.insert(found);
        id = found;
    }
    Ok(ids)
}

fn next(command: libc::c_long, id: u32) -> io::Result<Option<u32>> {
    // union bpf_attr, as BPF_*_GET_NEXT_ID reads it: start_id, next_id, open_flags.
    let mut attr = [id, 0u32, 0u32, 0u32];
    // SAFETY: the kernel reads and writes the 16 bytes that it is told of, which `attr` has.
    let got =
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(&attr)) };
    if got == 0 {
        return Ok(Some(attr[1]));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOENT) { Ok(None) } else { Err(error) }
}
