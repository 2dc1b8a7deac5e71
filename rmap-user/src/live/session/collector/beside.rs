//! Processes that ran before rmap came, and go on when it is gone.
//!
//! Comes in: a process that stands still, with what lets it go on. Goes out: its first or its last
//! snapshot. It stands as long as it is read; what follows from that is found out afterwards.

use std::sync::mpsc::Sender;

use super::{Collector, Image};
use crate::{live::procfs, snapshot::Moment};

impl Collector {
    /// Begins with a process that ran before, and lets it run as soon as it was read. What happens
    /// from the start of its tracing on comes behind the snapshot, also if it was in it already: a
    /// page has the owner that came last.
    pub(super) fn meet(&mut self, pid: u32, tid: u32, stood: bool, done: Sender<()>) {
        if let Err(error) = self.probes.trace(pid) {
            self.troubles.push(("probes", format!("process {pid} is not traced: {error}")));
            return;
        }
        let moment = if stood { Moment::Start } else { Moment::StartRunning };
        let snapshot = procfs::take(tid, pid, moment, true);
        let code = self.catalogue.scan(tid).map(|modules| (procfs::monotonic_ns(), modules));
        if let Ok((_, modules)) = &code
            && self.probes.show(pid, modules.iter()).is_err()
        {
            self.failed_tables += 1;
        }
        drop(done);
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.probes.untrace(pid);
                self.troubles.push(("attach", error.to_string()));
                return;
            }
        };
        self.tell(pid, tid);
        self.count_lost();
        self.see(&snapshot);
        self.running.insert(pid);
        if !stood {
            self.unstopped.insert(pid);
        }
        let Some(instance) = self.investigation.instance(pid) else { return };
        self.perf_maps.insert(pid, (instance, None));
        if let Ok((time_ns, modules)) = code {
            self.investigation.code(pid, time_ns, &modules);
            self.modules.entry(instance).or_default().update(time_ns, modules);
        }
    }

    /// Looks at a process for the last time, and lets it run as soon as it was read: its events end
    /// there.
    pub(super) fn part(&mut self, pid: u32, tid: u32, stood: bool, done: Sender<()>) {
        let moment = if stood { Moment::Left } else { Moment::Live };
        if !stood {
            self.drain();
        }
        let snapshot = self.take(tid, pid, moment);
        self.probes.untrace(pid);
        drop(done);
        self.drain();
        self.scan(pid, tid, Image::Known);
        self.count_lost();
        match snapshot {
            Ok(snapshot) => self.investigation.snapshot(&snapshot),
            Err(_) => self.failed_snapshots += 1,
        }
        self.tell(pid, tid);
        self.read_names(pid, tid);
        self.ended(pid);
    }

    /// Makes the unwind tables of the code that a process has mapped, so that it need not stand
    /// still as long as that takes.
    pub(super) fn prepare(&mut self, pid: u32) {
        let Ok(modules) = self.catalogue.scan(pid) else { return };
        let files: Vec<_> = modules.into_iter().filter_map(|module| module.binary).collect();
        if self.probes.prepare(&files).is_err() {
            self.failed_tables += 1;
        }
    }
}
