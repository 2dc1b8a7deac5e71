//! A session: the one consumer of the stream of inputs, live and replayed alike, so that both report
//! the same.
//!
//! Comes in: [`Input`]s in their order. Goes out, at any moment: [`Findings`], a report whose stacks
//! have no frames yet, with the addresses for them; [`names`] gives them their frames. Pure: no root,
//! no I/O.
//!
//! * `process`: what is kept of each process; [`modules`]: which code is mapped where;
//! * `when`: where in the stream a moment is; [`moments`]: states before the end; `window`: what came
//!   between two of them; `samples` and `curves`: sizes through the session;
//! * [`findings`]: the report at a moment, its `segments` and their `breakdown`; [`names`]: frames;
//! * `rewrites`: memory that is watched for writes; `malloc`: live blocks of allocators;
//! * [`history`]: what happened to some addresses, for `rmap explain`.

mod breakdown;
mod curves;
#[cfg(test)]
mod file_tests;
pub mod findings;
pub mod heap;
pub mod history;
#[cfg(test)]
mod history_tests;
mod malloc;
pub mod modules;
pub mod moments;
pub mod names;
mod process;
mod rewrites;
mod samples;
mod segments;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth_tests;
mod when;
mod window;
#[cfg(test)]
mod window_tests;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::attribution::{Context, RewriteTotals, set_retained};
use crate::model::{Arch, How, Ledger, Model, Place};
use crate::report::Mode;
use crate::runtime::Runtimes;
use crate::symbol::ModuleMap;
use crate::trace::{
    Body, Code, Event, FaultRun, FileId, Fork, Heap, Input, Losses, MmKey, Moment, ProcessFacts,
    Snapshot,
};

pub use findings::{Closing, Findings, RawStack};
pub use history::{Piece, Target};
pub use modules::{Binaries, NoBinaries};
pub use moments::{State, Want};
pub use when::Survey;

use history::Histories;
use modules::Modules;
use moments::Moments;
use process::Case;
use when::Marks;

/// What is asked of a session besides its state at the end.
#[derive(Debug, Default)]
pub struct Question {
    /// The states that are wanted, by the inputs up to them.
    pub states: Vec<(u64, Want)>,
    /// Sizes are sampled so many times a session, from this time on, so far apart (ns).
    pub samples: Option<(u64, u64)>,
    /// The time that the state was asked for by, on `CLOCK_MONOTONIC`.
    pub state_ns: Option<u64>,
    /// Where a window begins: the report is of what came from there on.
    pub window: Option<Place>,
    /// Names of files that a first pass has met, for mappings of which no snapshot stands before.
    pub files: FileNames,
    /// The addresses of which the history is asked for.
    pub targets: Vec<Target>,
}

/// Names of files, by what maps shows of them.
pub type FileNames = FxHashMap<FileId, String>;

/// Adds the names of the files that a snapshot shows.
pub fn add_names(files: &mut FileNames, snapshot: &Snapshot) {
    for segment in snapshot.segments.iter().filter(|segment| segment.has_file()) {
        let file = FileId { device: segment.device, inode: segment.inode };
        files.entry(file).or_insert_with(|| segment.name.clone());
    }
}

/// A session under way.
pub struct Session {
    mode: Mode,
    started_ns: u64,
    last_ns: u64,
    model: Model,
    modules: Modules,
    cases: FxHashMap<usize, Case>,
    losses: Losses,
    /// Processes that ended with no snapshot at their exit.
    without_exit: u64,
    moments: Moments,
    marks: Marks,
    /// Names of files, from snapshots.
    files: FileNames,
    /// The histories that are asked for.
    histories: Option<Box<Histories>>,
    /// Frames and code of language runtimes.
    runtimes: Runtimes,
    /// What an allocator holds, for the snapshot that comes next.
    heap: Option<Box<Heap>>,
}

impl Session {
    /// A session on some machine that began at a moment of `CLOCK_MONOTONIC`. `binaries` finds the
    /// files with code that inputs name by number.
    #[must_use]
    pub fn new(
        arch: Arch,
        mode: Mode,
        started_ns: u64,
        question: Question,
        binaries: Box<dyn Binaries>,
    ) -> Self {
        let mut model = Model::new(arch);
        let moments = Moments::new(&question);
        let Question { files, targets, .. } = question;
        let histories =
            (!targets.is_empty()).then(|| Box::new(Histories::begin(targets, &mut model)));
        Self {
            mode,
            started_ns,
            last_ns: started_ns,
            model,
            modules: Modules::new(binaries),
            cases: FxHashMap::default(),
            losses: Losses::default(),
            without_exit: 0,
            files,
            moments,
            marks: Marks::default(),
            histories,
            runtimes: Runtimes::default(),
            heap: None,
        }
    }

    /// Takes the next input.
    pub fn apply(&mut self, input: &Input) {
        match input {
            Input::Event(event) => self.event(event),
            Input::Faults(run) => self.faults(run),
            Input::Snapshot(snapshot) => self.snapshot(snapshot),
            Input::Heap(heap) => {
                self.model.pass();
                self.heap = Some(heap.clone());
            }
            Input::Process(pid, facts) => self.process(*pid, facts),
            Input::Lost(losses) => {
                self.model.pass();
                self.losses = *losses;
            }
            Input::Code(pid, time_ns, code) => self.code(*pid, *time_ns, code),
            Input::Mark(time_ns, name) => {
                self.last_ns = self.last_ns.max(*time_ns);
                self.model.pass();
                self.marks.add(*time_ns, name);
            }
            Input::Rewrites(rewrites) => {
                self.last_ns = self.last_ns.max(rewrites.time_ns);
                self.model.rewrites(rewrites);
            }
            Input::Written(key, names) => {
                self.model.pass();
                self.modules.set_names(*key, names);
            }
        }
        self.reach();
    }

    /// The address space of the program that a process runs now; `None` if it is not known.
    #[must_use]
    pub fn space_of(&mut self, pid: u32) -> Option<MmKey> {
        let processes = self.model.processes();
        processes.all().get(processes.index(pid)?)?.space
    }

    /// The code that the program which a process runs now has mapped, as far as inputs reported it.
    #[must_use]
    pub fn code_of(&mut self, pid: u32) -> Option<&ModuleMap> {
        let key = self.space_of(pid)?;
        self.modules.of(key)
    }

    /// Whether any process was met.
    #[must_use]
    pub fn has_processes(&mut self) -> bool {
        !self.model.processes().all().is_empty()
    }

    /// The latest time among the inputs, on `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// The code of all address spaces.
    #[must_use]
    pub const fn modules(&self) -> &Modules {
        &self.modules
    }

    fn event(&mut self, event: &Event) {
        self.sample_before(event.time_ns);
        self.last_ns = self.last_ns.max(event.time_ns);
        self.model.event(event);
        let who = (event.pid, event.tid);
        self.moments.pace(
            self.model.processes(),
            who,
            &[event.time_ns],
            matches!(event.body, Body::Fault(_)),
        );
        if let Body::Runtime(runtime) = &event.body
            && let Some(joined) = self.runtimes.take(runtime)
        {
            self.model.join(joined.hash, joined.native, joined.runs, joined.cut);
        }
        if let Some(histories) = &mut self.histories {
            histories.event(event, &mut self.model);
        }
        match &event.body {
            Body::Fork(fork) if !fork.thread => self.forked(event.pid, fork),
            Body::Exit { group_dead: true, .. } => self.ended(event.pid),
            _ => {}
        }
    }

    fn faults(&mut self, run: &FaultRun) {
        // A state may be wanted in the middle of a run.
        let number = self.model.place().number + run.times_ns.len() as u64;
        let time_ns = run.times_ns.iter().copied().max().unwrap_or_default();
        if self.histories.is_some() || self.moments.wants(Place { number, time_ns }) {
            return run.events().for_each(|event| {
                self.event(&event);
                self.reach();
            });
        }
        self.last_ns = run.times_ns.iter().fold(self.last_ns, |last, time_ns| last.max(*time_ns));
        self.model.faults(run);
        let who = (run.first.pid, run.first.tid);
        self.moments.pace(self.model.processes(), who, &run.times_ns, true);
    }

    fn forked(&mut self, parent: u32, fork: &Fork) {
        let (parent, child) = (self.space_of(parent), self.space_of(fork.child_pid));
        self.modules.inherit(parent, child);
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        self.sample_before(snapshot.time_ns);
        self.last_ns = self.last_ns.max(snapshot.time_ns);
        let heap = self.heap.take();
        let heap = heap.filter(|heap| heap.pid == snapshot.pid && heap.time_ns == snapshot.time_ns);
        let index = self.model.snapshot(snapshot);
        let case = self.cases.entry(index).or_default();
        case.peak_rss = case.peak_rss.max(snapshot.peak_rss);
        case.meet_threads(snapshot);
        let processes = self.model.processes();
        let Some(key) = processes.space_at(index).map(|space| space.key()) else { return };
        let dies = processes.dies_with(index);
        let exits = snapshot.moment == Moment::AtExit;
        // What went of a memory that several processes run in is reported with its owner, and if
        // that ends first, with the one that inherits it. A memory has one history, its owner's.
        let others = processes.own_space(index).is_none() || exits && !dies;
        let watched =
            !others && self.histories.as_ref().is_some_and(|histories| histories.knows(key));
        let born = matches!(snapshot.moment, Moment::Forked | Moment::Executed);
        case.keep(snapshot);
        add_names(&mut self.files, snapshot);
        if born && !watched {
            return;
        }
        let Some(space) = processes.space_at(index) else { return };
        case.count(snapshot);
        let context = Context {
            started_ns: self.started_ns,
            lost: self.losses.events > 0,
            before: &case.before,
            history: &|segment| case.history(segment),
        };
        let mut seen = crate::attribution::attribute(space, snapshot, &context);
        if let Some(log) = space.rewrites().filter(|_| !others) {
            let written = seen.segments.iter().filter_map(|segment| segment.rewritten.as_ref());
            let written = written.map(|rewritten| rewritten.written).sum();
            case.rewrites = Some(RewriteTotals::of(log, written));
        }
        if let Some(heap) = &heap {
            set_retained(space, &heap.free, &mut seen.segments);
        }
        if !born {
            case.see(snapshot, space, &seen, others, exits && dies);
            if let Some(last) = &mut case.result {
                last.heap = heap.map(Arc::from);
            }
        }
        if let Some(histories) = self.histories.as_mut().filter(|_| watched) {
            let (segments, started_ns) = (&seen.segments, self.started_ns);
            histories.snapshot(snapshot, segments, started_ns, key, &mut self.model);
        }
        if exits && dies {
            // Nothing of it can change any more, so its pages need no room.
            drop(self.model.take_space(index));
        }
    }

    fn process(&mut self, pid: u32, facts: &ProcessFacts) {
        self.model.pass();
        let index = self.model.meet(pid, self.last_ns);
        self.cases.entry(index).or_default().facts.update(facts);
    }

    fn code(&mut self, pid: u32, time_ns: u64, code: &[Code]) {
        self.model.pass();
        if let Some(key) = self.space_of(pid) {
            self.modules.update(key, time_ns, code);
        }
    }

    /// A process has ended; its memory is kept no longer.
    fn ended(&mut self, pid: u32) {
        let Some(index) = self.model.processes().index(pid) else { return };
        let Some(space) = self.model.take_space(index) else { return };
        self.without_exit += 1;
        let (mut ledger, blocks) = (Ledger::default(), space.blocks().clone());
        space.close(Some(How::Exit), &mut ledger);
        self.cases.entry(index).or_default().end(ledger, blocks, self.last_ns);
    }
}
