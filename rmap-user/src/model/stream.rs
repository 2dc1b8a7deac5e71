//! The door of the model: inputs go in, processes and their address spaces are read.
//!
//! Comes in: events, runs of faults, and snapshots, each at its place in the stream. Goes out:
//! [`Processes`], always with everything in it that came in.
//!
//! Most faults are first writes to one page after the other. Such faults are held back as one run and
//! applied at once, which means the same and costs a fraction. Whoever reads has them applied first.

use std::mem;
use std::ops::Range;

use super::arch::Arch;
use super::counting::Place;
use super::journal::Change;
use super::owners::PAGE;
use super::process::Processes;
use super::space::AddressSpace;
use crate::trace::{Body, Event, FaultRun, MmKey, Rewrites, Run, Snapshot, StackHash};

/// Everything that is known of a session's memory.
#[derive(Debug)]
pub struct Model {
    processes: Processes,
    /// Faults that are still to be applied, all at once.
    run: Option<FaultRun>,
    /// Memory for the next run's times.
    times: Vec<u64>,
    /// Thread and address of the last fault.
    last: (u32, u64),
    /// Where the stream stands, and where it stood before the run that is held back.
    place: Place,
    run_begins: Place,
    /// Somebody wants to see what each single event changes.
    watched: bool,
}

impl Model {
    /// No process yet, on a machine with these system calls.
    #[must_use]
    pub fn new(arch: Arch) -> Self {
        Self {
            processes: Processes::new(arch),
            run: None,
            times: Vec::new(),
            last: (0, 0),
            place: Place::default(),
            run_begins: Place::default(),
            watched: false,
        }
    }

    /// Keeps a journal of the owners in some ranges of a space that is still to come, for
    /// [`Model::changes`].
    pub fn watch(&mut self, key: MmKey, ranges: Vec<Range<u64>>) {
        self.watched = true;
        self.processes.watch(key, ranges);
    }

    /// The owners that changed in the watched ranges of a space since the last call.
    pub fn changes(&mut self, key: MmKey) -> Vec<Change> {
        self.apply_run();
        self.processes.changes(key)
    }

    /// A window begins here: what comes from now on is apart from what came before
    /// ([`PathTable::in_window`](super::PathTable::in_window)).
    pub fn begin_window(&mut self) {
        self.apply_run();
        self.processes.begin_window();
    }

    /// Where the stream stands: behind what was applied last.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// An input passes that is none of the model's.
    pub const fn pass(&mut self) {
        self.place.number += 1;
    }

    /// Applies an event.
    pub fn event(&mut self, event: &Event) {
        let before = self.place;
        self.go_on(1, event.time_ns);
        if self.run.as_mut().is_some_and(|run| run.take(event)) {
            return;
        }
        self.apply_run();
        if self.goes_on(event) {
            self.run = FaultRun::begin(event, &mut self.times);
            self.run_begins = before;
        }
        if self.run.is_none() {
            self.processes.set_place(self.place);
            self.processes.event(event);
        }
    }

    /// Applies faults of one run.
    pub fn faults(&mut self, run: &FaultRun) {
        self.apply_run();
        let last_ns = run.times_ns.iter().copied().max().unwrap_or_default();
        let before = self.place;
        self.go_on(run.times_ns.len() as u64, last_ns);
        self.processes.faults(run, before);
    }

    /// Takes frames of a language runtime that belong to a user stack: `hash` names both together.
    /// `cut`: not all of them are there.
    pub fn join(&mut self, hash: StackHash, native: StackHash, runs: Vec<Run>, cut: bool) {
        self.processes.join(hash, native, runs, cut);
    }

    /// Applies a snapshot. Gives the position of its process in [`Processes::all`].
    pub fn snapshot(&mut self, snapshot: &Snapshot) -> usize {
        self.apply_run();
        self.go_on(1, snapshot.time_ns);
        self.processes.set_place(self.place);
        self.processes.snapshot(snapshot)
    }

    /// Applies a step of watching a process's memory for writes.
    pub fn rewrites(&mut self, rewrites: &Rewrites) {
        self.apply_run();
        self.go_on(1, rewrites.time_ns);
        self.processes.set_place(self.place);
        self.processes.rewrites(rewrites);
    }

    /// The position in [`Processes::all`] of a process, which is new if no event has reported it.
    pub fn meet(&mut self, pid: u32, time_ns: u64) -> usize {
        self.apply_run();
        self.processes.meet(pid, time_ns)
    }

    /// Takes the address space of a process out, to make room. Later events of it change nothing.
    pub fn take_space(&mut self, index: usize) -> Option<AddressSpace> {
        self.apply_run();
        self.processes.take_space(index)
    }

    /// The state, with everything that came in.
    pub fn processes(&mut self) -> &Processes {
        self.apply_run();
        &self.processes
    }

    /// Whether an event is a fault one page beside the last one: only then a run may begin.
    fn goes_on(&mut self, event: &Event) -> bool {
        let Body::Fault(fault) = &event.body else { return false };
        let (tid, address) = mem::replace(&mut self.last, (event.tid, fault.address));
        !self.watched && tid == event.tid && address.abs_diff(fault.address) == PAGE
    }

    /// So many inputs more, up to a time.
    fn go_on(&mut self, inputs: u64, time_ns: u64) {
        self.place.number += inputs;
        self.place.time_ns = self.place.time_ns.max(time_ns);
    }

    fn apply_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        self.processes.faults(&run, self.run_begins);
        self.times = run.times_ns;
    }
}
