//! Which processes belong to what was attached to, now.
//!
//! Comes in: the roots of trees, or a control group. Goes out: process ids, each time anew. rmap itself
//! and its workers are never among them.

use std::collections::{HashMap, HashSet};

use super::obstacle::obstacle;
use crate::live::{cgroup, cgroup::Group, procfs};

/// Finds them.
#[derive(Debug)]
pub(super) struct Members {
    of: Of,
    /// What was found last, with whether it can be traced: looking takes a while.
    known: HashMap<u32, bool>,
}

#[derive(Debug)]
enum Of {
    /// What ran below these processes at some time stays theirs, though its parent ends.
    Trees(HashSet<u32>),
    Group(Group),
}

impl Members {
    /// Processes and their descendants.
    pub(super) fn trees(roots: Vec<u32>) -> Self {
        Self { of: Of::Trees(roots.into_iter().collect()), known: HashMap::new() }
    }

    /// The processes of a group.
    pub(super) fn group(group: Group) -> Self {
        Self { of: Of::Group(group), known: HashMap::new() }
    }

    /// Whether processes may come that are no children of those that are followed.
    pub(super) const fn may_join(&self) -> bool {
        matches!(self.of, Of::Group(_))
    }

    /// Those that can be traced, in the order of their ids.
    ///
    /// # Errors
    /// The group is gone.
    pub(super) fn find(&mut self) -> Result<Vec<u32>, cgroup::Error> {
        let found = match &mut self.of {
            Of::Trees(pids) => {
                *pids = below(pids, &parents());
                pids.iter().copied().collect()
            }
            Of::Group(group) => group.members()?,
        };
        let mut known = HashMap::with_capacity(found.len());
        for pid in found {
            let can = self.known.get(&pid).copied();
            known.insert(pid, can.unwrap_or_else(|| !is_own(pid) && obstacle(pid).is_none()));
        }
        self.known = known;
        let mut pids: Vec<u32> =
            self.known.iter().filter(|(_, can)| **can).map(|(pid, _)| *pid).collect();
        pids.sort_unstable();
        Ok(pids)
    }
}

/// Whether a process is rmap, or one of its workers.
fn is_own(mut pid: u32) -> bool {
    let own = std::process::id();
    // A worker is a child of rmap's or of another worker.
    for _ in 0..4 {
        if pid == own {
            return true;
        }
        match parent(pid) {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

fn parent(pid: u32) -> Option<u32> {
    procfs::Status::of(pid).ok()?.number("PPid")
}

/// The parent of each process that there is.
fn parents() -> HashMap<u32, u32> {
    let processes = ::procfs::process::all_processes().into_iter().flatten().flatten();
    let kin = |process: ::procfs::process::Process| {
        let pid = u32::try_from(process.pid()).ok()?;
        Some((pid, parent(pid)?))
    };
    processes.filter_map(kin).collect()
}

/// Those of `roots` that are there, and all of which a parent is among them.
fn below(roots: &HashSet<u32>, parents: &HashMap<u32, u32>) -> HashSet<u32> {
    let mut found: HashSet<u32> =
        roots.iter().copied().filter(|root| parents.contains_key(root)).collect();
    loop {
        let before = found.len();
        let more = parents.iter().filter(|(_, parent)| found.contains(parent));
        let more: Vec<u32> = more.map(|(pid, _)| *pid).collect();
        found.extend(more);
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_all_descendants() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 4), (7, 5)]);
        let found = |roots: &[u32]| {
            let mut found: Vec<u32> =
                below(&roots.iter().copied().collect(), &parents).into_iter().collect();
            found.sort_unstable();
            found
        };
        assert_eq!(found(&[2]), [2, 3, 4, 6]);
        assert_eq!(found(&[5]), [5, 7]);
        assert_eq!(found(&[2, 9]), [2, 3, 4, 6], "one that has ended");
    }

    #[test]
    fn rmap_and_its_children_are_no_members() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_own(std::process::id()) && is_own(child.id()));
        assert!(!is_own(1));
        let mut members = Members::trees(vec![std::process::id()]);
        let found = members.find().unwrap();
        assert!(!found.contains(&child.id()) && !found.contains(&std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
