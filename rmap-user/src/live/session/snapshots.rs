//! Snapshots of traced processes, and which processes there are to take them of.
//!
//! Comes in: processes as they come and go. Goes out: [`Input::Snapshot`]s, with the dirty bits of
//! page tables where they are needed.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
};

use super::{feed::Feed, losses::LossCounter};
use crate::live::ptrace::same_memory;
use crate::{
    live::{
        probes::Probes,
        procfs::{self, KnownFolios},
    },
    trace::{Input, MmId, Moment, Snapshot},
};

/// The processes of a session.
#[derive(Default)]
pub(super) struct Snapshotter {
    /// Processes that run a program of their own now.
    running: BTreeSet<u32>,
    /// Those among them that ptrace does not stop, so that only events report their end.
    unstopped: BTreeSet<u32>,
    /// The address space that each process runs in, as the kernel names it.
    spaces: HashMap<u32, MmId>,
    /// Where large folios of files lie.
    folios: KnownFolios,
}

impl Snapshotter {
    /// A process runs. `stopped`: ptrace stops it where a snapshot is to be taken.
    pub(super) fn runs(&mut self, pid: u32, stopped: bool) {
        self.running.insert(pid);
        if !stopped {
            self.unstopped.insert(pid);
        }
    }

    /// A process runs on without being stopped.
    pub(super) fn yielded(&mut self, pid: u32) {
        self.unstopped.insert(pid);
    }

    /// A process was forked; it is stopped where its parent is.
    pub(super) fn forked(&mut self, parent: u32, child: u32, mm: MmId) {
        let stopped = !self.unstopped.contains(&parent);
        self.runs(child, stopped);
        self.spaces.insert(child, mm);
    }

    /// A process executed a program in a new address space.
    pub(super) fn executed(&mut self, pid: u32, mm: MmId) {
        self.spaces.insert(pid, mm);
    }

    /// An event of a process in an address space.
    pub(super) fn seen(&mut self, pid: u32, mm: MmId) {
        self.spaces.entry(pid).or_insert(mm);
    }

    /// A process that is known already and has the memory of this one.
    pub(super) fn sharer_of(&self, pid: u32) -> Option<u32> {
        let shares = |other: &&u32| **other != pid && same_memory(pid, **other) == Some(true);
        self.running.iter().find(shares).copied()
    }

    /// A process has ended, or is let go.
    pub(super) fn ended(&mut self, pid: u32) {
        self.running.remove(&pid);
        self.unstopped.remove(&pid);
    }

    /// The memory of a process is gone.
    pub(super) fn gone(&mut self, pid: u32) {
        self.spaces.remove(&pid);
    }

    /// The processes that run and that ptrace stops.
    pub(super) fn stopped_ones(&self) -> impl Iterator<Item = u32> {
        self.running.difference(&self.unstopped).copied()
    }

    /// The processes that run, which are no longer counted as running: whoever still is, is added
    /// again.
    pub(super) fn take_running(&mut self) -> BTreeSet<u32> {
        mem::take(&mut self.running)
    }

    /// The processes that run.
    pub(super) fn running(&self) -> Vec<u32> {
        self.running.iter().copied().collect()
    }

    /// A process that was said to run is not there any more.
    pub(super) fn missed(&mut self, pid: u32) {
        self.unstopped.remove(&pid);
    }

    /// Whether processes run of which ptrace does not report the end.
    pub(super) fn has_unstopped(&self) -> bool {
        !self.unstopped.is_empty()
    }

    /// Takes a snapshot, with the dirty bits of the process's page table where they are needed.
    pub(super) fn take(
        &mut self,
        probes: &mut Probes,
        tid: u32,
        pid: u32,
        moment: Moment,
    ) -> Result<Snapshot, procfs::Error> {
        let mut snapshot = procfs::take_knowing(tid, pid, moment, true, &mut self.folios)?;
        let begins = moment.begins() || matches!(moment, Moment::Forked | Moment::Executed);
        if let Some(mm) = self.spaces.get(&pid).filter(|_| !begins) {
            probes.add_dirty_bits(mm.0, &mut snapshot);
        }
        Ok(snapshot)
    }
}

/// Hands a snapshot on. Writes to the files in it are reported from now on.
pub(super) fn hand_on(
    probes: &mut Probes,
    feed: &mut Feed,
    losses: &mut LossCounter,
    snapshot: Snapshot,
) {
    watch(probes, losses, &snapshot);
    feed.apply(&Input::Snapshot(snapshot));
}

/// Has writes to the files of a snapshot reported.
pub(super) fn watch(probes: &mut Probes, losses: &mut LossCounter, snapshot: &Snapshot) {
    let ends = matches!(snapshot.moment, Moment::AtExit | Moment::Left | Moment::Live);
    let files = snapshot.segments.iter().filter(|segment| segment.has_file() && !ends);
    for segment in files {
        if let Err(error) = probes.watch(segment.device, segment.inode) {
            losses.note("mapped-files", error.to_string());
            break;
        }
    }
}
