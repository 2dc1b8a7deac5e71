//! Probes at the allocators of the processes of a session (`rmap attach --malloc`).
//!
//! Comes in: processes as they are met, forked, execute and end, and the records of what was picked.
//! Goes out: probes in them, and which picked blocks live, for the kernel; what cannot be watched, as
//! notes.
//!
//! A process that was forked has its parent's picked blocks until it frees them, so the kernel must
//! know them under its address space too. One that shares its parent's memory (`vfork`) is seen by the
//! parent's probes, and has its own from its exec on.

use std::collections::{HashMap, HashSet};

use super::losses::LossCounter;
use crate::{
    live::{modules::Site, probes::Probes},
    symbol::Stamp,
    trace::{Body, Event, MallocStep, MmId},
};

/// The name of what is noted.
const NAME: &str = "malloc";

/// Where the functions of a process are, and by whose mapping each file is opened.
type Sites = Vec<(u32, Site)>;

/// The allocators of all processes.
#[derive(Default)]
pub(super) struct AllocatorTracker {
    sites: HashMap<u32, Sites>,
    /// Processes that have probes of their own.
    probed: HashSet<u32>,
    /// Late files that were noted.
    noted: HashSet<Stamp>,
    /// Picked blocks that live.
    live: HashMap<MmId, HashSet<u64>>,
    /// The address space of each process.
    spaces: HashMap<u32, MmId>,
}

impl AllocatorTracker {
    /// Attaches to a process; whether it has functions that are known.
    pub(super) fn attach(
        &mut self,
        probes: &mut Probes,
        losses: &mut LossCounter,
        pid: u32,
        sites: Vec<Site>,
    ) -> bool {
        let sites: Sites = sites.into_iter().map(|site| (pid, site)).collect();
        self.attach_all(probes, losses, pid, sites)
    }

    /// A process was forked, with memory of its own: its code is its parent's.
    pub(super) fn forked(
        &mut self,
        probes: &mut Probes,
        losses: &mut LossCounter,
        parent: u32,
        pid: u32,
    ) {
        let sites = self.sites.get(&parent).cloned().unwrap_or_default();
        let own = sites.into_iter().map(|(_, site)| (pid, site)).collect();
        self.attach_all(probes, losses, pid, own);
    }

    /// A process has executed a program, which has these functions in its own file. The probes of the
    /// one before serve again where it maps the same files.
    pub(super) fn executed(
        &mut self,
        probes: &mut Probes,
        losses: &mut LossCounter,
        pid: u32,
        own: Vec<Site>,
    ) {
        let mut sites: Sites = Vec::new();
        if !self.probed.contains(&pid) {
            sites.extend(self.sites.get(&pid).cloned().unwrap_or_default());
        }
        sites.extend(own.into_iter().map(|site| (pid, site)));
        if !sites.is_empty() {
            self.attach_all(probes, losses, pid, sites);
        }
    }

    fn attach_all(
        &mut self,
        probes: &mut Probes,
        losses: &mut LossCounter,
        pid: u32,
        sites: Sites,
    ) -> bool {
        let known = self.sites.entry(pid).or_default();
        match probes.attach_allocators(pid, &sites) {
            Ok(functions) => {
                for site in sites {
                    if !known.iter().any(|(_, one)| one.stamp == site.1.stamp) {
                        known.push(site);
                    }
                }
                self.probed.insert(pid);
                functions > 0
            }
            Err(why) => {
                losses.note(NAME, format!("allocations of process {pid} are not sampled: {why}"));
                false
            }
        }
    }

    /// A process has mapped code: notes files with functions of an allocator that are not watched.
    pub(super) fn mapped(&mut self, losses: &mut LossCounter, pid: u32, sites: &[Site]) {
        let Some(known) = self.sites.get(&pid) else { return };
        for site in sites {
            let watched = known.iter().any(|(_, one)| one.stamp == site.stamp);
            if !watched && self.noted.insert(site.stamp) {
                losses.note(NAME, format!(
                    "process {pid} has mapped {}, an allocator, since rmap attached to it: what that \
                     allocates is not sampled; attach again",
                    site.path
                ));
            }
        }
    }

    /// An event, after the session has taken it.
    pub(super) fn event(&mut self, probes: &mut Probes, losses: &mut LossCounter, event: &Event) {
        match &event.body {
            Body::Malloc(call) => {
                self.spaces.insert(event.pid, event.mm);
                let live = self.live.entry(event.mm).or_default();
                match call.step {
                    MallocStep::Picked | MallocStep::Stayed => {
                        live.insert(call.address);
                    }
                    MallocStep::Freed | MallocStep::Moving => {
                        live.remove(&call.address);
                    }
                    _ => {}
                }
            }
            Body::Fork(fork) if !fork.thread && !fork.same_mm => {
                let space = self.spaces.get(&event.pid).unwrap_or(&event.mm);
                let live = self.live.get(space).cloned().unwrap_or_default();
                if let Err(error) = probes.add_live(fork.child_mm.0, live.iter().copied()) {
                    losses.note(
                        NAME,
                        format!(
                            "process {}: frees of its parent's blocks are not all seen: {error}",
                            fork.child_pid
                        ),
                    );
                }
                self.live.insert(fork.child_mm, live);
                self.spaces.insert(fork.child_pid, fork.child_mm);
            }
            // Nobody stops it before it executes something.
            Body::Fork(fork) if !fork.thread => {
                if let Some(sites) = self.sites.get(&event.pid).cloned() {
                    self.sites.insert(fork.child_pid, sites);
                }
                if let Some(space) = self.spaces.get(&event.pid).copied() {
                    self.spaces.insert(fork.child_pid, space);
                }
            }
            Body::Exec { .. } => self.leave_space(probes, event.pid),
            Body::Exit { group_dead: true, .. } => {
                self.leave_space(probes, event.pid);
                self.sites.remove(&event.pid);
                if self.probed.remove(&event.pid) {
                    probes.allocators_ended(event.pid);
                }
            }
            _ => {}
        }
    }

    /// A process is let go.
    pub(super) fn part(&mut self, probes: &mut Probes, pid: u32) {
        self.sites.remove(&pid);
        if self.probed.remove(&pid) {
            probes.detach_allocators(pid);
        }
    }

    /// A process has another address space now, or none.
    fn leave_space(&mut self, probes: &mut Probes, pid: u32) {
        let Some(space) = self.spaces.remove(&pid) else { return };
        if !self.spaces.values().any(|other| *other == space)
            && let Some(live) = self.live.remove(&space)
        {
            probes.forget_live(space.0, live.into_iter());
        }
    }
}
