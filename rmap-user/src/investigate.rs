//! From a stream of events and snapshots to a report. A live session and a recording both call
//! this, so that they say the same.
//!
//! Comes in: [`Event`]s in the order of the ring, [`Snapshot`]s at their place among them, facts
//! about processes, counts of what was lost. Goes out: [`Findings`], a report in which stacks have
//! no frames yet, and the addresses for the frames. Pure: no root, no I/O.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::event::{Body, Event, FaultRun, StackEnd};
use crate::model::{Arch, How, KnownStack, Ledger, MmKey, PAGE, Path, Processes, StackRef, Stacks};
use crate::reconcile::{self, Context, History, reconcile};
use crate::report::{self, Lost, Mode, Report, SnapshotKind};
use crate::snapshot::{Moment, Segment, Snapshot};

use chronicle::Chronicles;
pub use chronicle::{Piece, Target};

/// What is known of a process besides its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Its command line, its parts joined by blanks.
    pub command: String,
    /// The program's path.
    pub exe: String,
    /// Its parent; `None` if it is not known, or told by an event.
    pub parent_pid: Option<u32>,
}

impl ProcessFacts {
    /// Takes what is newer: a title that the process gave itself, the names of a new program. Who
    /// made it stays, though its parent may have ended before it; and so does a name of which
    /// nothing is left at its exit.
    fn update(&mut self, newer: Self) {
        if !newer.command.is_empty() {
            self.command = newer.command;
        }
        if !newer.exe.is_empty() {
            self.exe = newer.exe;
        }
        self.parent_pid = self.parent_pid.or(newer.parent_pid);
    }
}

/// What the end of a session adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// The machine.
    pub host: report::Host,
    /// The command and its arguments; `None` for `attach`.
    pub command: Option<Vec<String>>,
    /// The processes that were named, or the command's.
    pub pids: Vec<u32>,
    /// RFC 3339.
    pub started_at: String,
    /// The end, on `CLOCK_MONOTONIC`.
    pub ended_ns: u64,
    /// How the command ended.
    pub exit: Option<report::Exit>,
    /// Every probe of the plan.
    pub probes: Vec<report::Probe>,
}

/// A user stack by its addresses, to be given functions and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// Its id in the report.
    pub id: u32,
    /// The address space that the addresses are in: one for each program that a process ran.
    pub instance: MmKey,
    /// The process.
    pub pid: u32,
    /// When it was first seen, on `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// Innermost first: the first is the instruction itself, the others are return addresses.
    /// Empty if the stack was lost.
    pub ips: Vec<u64>,
    /// How the walk ended; [`StackEnd::Unknown`] if the stack was lost.
    pub end: StackEnd,
}

/// The result.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// The report; its stacks have no frames.
    pub report: Report,
    /// The addresses for the frames, in the order of the report's stacks.
    pub stacks: Vec<RawStack>,
    /// The address space of each process of the report, at its snapshot.
    pub spaces: Vec<Option<MmKey>>,
    /// The stories that were asked for.
    pub stories: Vec<report::Story>,
}

/// An investigation under way.
pub struct Investigation {
    mode: Mode,
    started_ns: u64,
    last_ns: u64,
    processes: Processes,
    cases: FxHashMap<usize, Case>,
    lost: Lost,
    /// Processes that ended with no snapshot at their exit.
    without_exit: u64,
    /// The moment, on `CLOCK_MONOTONIC`, of which the state is asked for; `None`: the end.
    at_ns: Option<u64>,
    /// The stories that are asked for.
    chronicles: Option<Box<Chronicles>>,
}

/// What is kept of a process besides its address space.
#[derive(Default)]
struct Case {
    facts: ProcessFacts,
    before: Vec<Segment>,
    history: FxHashMap<u64, History>,
    peak_rss: u64,
    result: Option<Outcome>,
}

/// A process at its latest snapshot, as the report has it.
struct Outcome {
    kind: SnapshotKind,
    time_ns: u64,
    /// The address space that was looked at.
    key: Option<MmKey>,
    segments: Vec<report::Segment>,
    ledger: Ledger,
}

impl Investigation {
    /// A session that began at a moment of `CLOCK_MONOTONIC`, on the machine that rmap was built
    /// for.
    #[must_use]
    pub fn new(mode: Mode, started_ns: u64) -> Self {
        Self::on(Arch::native(), mode, started_ns)
    }

    /// The same for another machine, as for a recording.
    #[must_use]
    pub fn on(arch: Arch, mode: Mode, started_ns: u64) -> Self {
        Self {
            mode,
            started_ns,
            last_ns: started_ns,
            processes: Processes::new(arch),
            cases: FxHashMap::default(),
            lost: Lost::default(),
            without_exit: 0,
            at_ns: None,
            chronicles: None,
        }
    }

    /// Tells the stories of some segments too. To be called before anything is added: the targets
    /// are known from a session that was the same.
    pub fn explain(&mut self, targets: Vec<Target>) {
        self.chronicles = Some(Box::new(Chronicles::begin(targets, &mut self.processes)));
    }

    /// The state is that of a moment, not of the end: nothing that came later will be added.
    /// Processes that have ended by then are left out, and each snapshot counts, also the one
    /// behind an exec or a fork.
    pub const fn stop_at(&mut self, at_ns: u64) {
        self.at_ns = Some(at_ns);
    }

    /// Adds an event.
    pub fn event(&mut self, event: &Event) {
        self.last_ns = self.last_ns.max(event.time_ns);
        self.processes.event(event);
        if let Some(chronicles) = &mut self.chronicles {
            chronicles.event(event, &mut self.processes);
        }
        if let Body::Exit { group_dead: true, .. } = event.body {
            self.ended(event.pid);
        }
    }

    /// Adds faults of one run.
    pub fn faults(&mut self, run: &FaultRun) {
        if self.chronicles.is_some() {
            return run.events().for_each(|event| self.event(&event));
        }
        self.last_ns = run.times_ns.iter().fold(self.last_ns, |last, time_ns| last.max(*time_ns));
        self.processes.faults(run);
    }

    /// Adds a snapshot. Counts of what was lost so far must be given before it.
    pub fn snapshot(&mut self, snapshot: &Snapshot) {
        self.last_ns = self.last_ns.max(snapshot.time_ns);
        let index = self.place(snapshot);
        // The state at a moment is of a process that still stands.
        let exits = snapshot.moment == Moment::AtExit && self.at_ns.is_none();
        let dies = self.processes.dies_with(index);
        let last = exits && dies;
        // What went of a memory that several processes run in is reported with its owner, and if
        // that ends first, with the one that inherits it.
        let others =
            self.processes.own_space(index).is_none() || snapshot.moment == Moment::AtExit && !dies;
        let case = self.cases.entry(index).or_default();
        case.peak_rss = case.peak_rss.max(snapshot.peak_rss);
        let Some((space, files)) = self.processes.space_and_files(index) else { return };
        reconcile::absorb(space, files, snapshot);
        let born = matches!(snapshot.moment, Moment::Forked | Moment::Executed);
        // A memory has one story, its owner's.
        let told = !others && self.chronicles.as_ref().is_some_and(|told| told.knows(space.key));
        if born && self.at_ns.is_none() && !told {
            return;
        }
        for segment in snapshot.segments.iter().filter(|_| !born) {
            let history = case.history.entry(history_key(segment)).or_default();
            history.rss.add(segment.rss);
            history.dirty.add(segment.dirty);
        }
        if snapshot.moment.begins() {
            case.before.clone_from(&snapshot.segments);
        }
        let kind = match snapshot.moment {
            Moment::AtExit => SnapshotKind::AtExit,
            Moment::Live | Moment::Left => SnapshotKind::Live,
            Moment::Start
            | Moment::StartRunning
            | Moment::Periodic
            | Moment::Forked
            | Moment::Executed => SnapshotKind::LastPeriodic,
        };
        let history = |segment: &Segment| {
            case.history.get(&history_key(segment)).copied().unwrap_or_default()
        };
        let context = Context {
            started_ns: self.started_ns,
            lost: self.lost.events > 0,
            before: &case.before,
            history: &history,
        };
        let reconciled = reconcile(space, snapshot, &context);
        if let Some(chronicles) = self.chronicles.as_mut().filter(|_| told) {
            let changes = space.owners.changes();
            let segments = &reconciled.segments;
            chronicles.snapshot(snapshot, space, &changes, segments, self.started_ns);
            if born && self.at_ns.is_none() {
                return;
            }
        }
        let mut ledger = Ledger::default();
        if !others {
            for (path, pages, instances) in space.mappings.gone() {
                add_gone(&mut ledger, space.paths.get(path), pages, instances);
            }
            for (path, pages) in reconciled.elsewhere {
                add_gone(&mut ledger, space.paths.get(path), pages, 1);
            }
            for (stack, how, bytes) in space.released() {
                *ledger.released.entry((stack, how)).or_default() += bytes;
            }
        }
        let segments = reconciled.segments;
        let rss: u64 = segments.iter().map(|segment| segment.rss_bytes.after).sum();
        if last && rss > 0 {
            ledger.released.insert((None, How::Exit), rss);
        }
        let key = (!others).then_some(space.key);
        case.result = Some(Outcome { kind, time_ns: snapshot.time_ns, key, segments, ledger });
        if kind == SnapshotKind::AtExit && dies {
            // Nothing of it can change any more, so its pages need no room.
            drop(self.processes.take_space(index));
        }
    }

    /// Adds what is known of a process. May be called again, for example after an exec.
    pub fn process(&mut self, pid: u32, facts: ProcessFacts) {
        let index = self.processes.meet(pid, self.last_ns);
        self.cases.entry(index).or_default().facts.update(facts);
    }

    /// Sets what was lost so far, over the whole session. Processes without a snapshot at their
    /// exit are counted here and come on top.
    pub const fn lost(&mut self, lost: Lost) {
        self.lost = lost;
    }

    /// The address space of the program that a process runs now: the [`RawStack::instance`] of
    /// the stacks that it has. `None` if it is not known.
    #[must_use]
    pub fn instance(&self, pid: u32) -> Option<MmKey> {
        self.processes.all().get(self.processes.index(pid)?)?.space
    }

    /// Whether any process was met.
    #[must_use]
    pub fn has_processes(&self) -> bool {
        !self.processes.all().is_empty()
    }

    /// All stacks that were seen so far, those too that the report will not name; without ids.
    #[must_use]
    pub fn all_stacks(&self) -> Vec<RawStack> {
        let stacks = self.processes.stacks();
        stacks.iter().map(|known| raw_stack(stacks, known, u32::MAX)).collect()
    }

    /// Ends the investigation.
    #[must_use]
    pub fn finish(mut self, closing: Closing) -> Findings {
        self.last_ns = self.last_ns.max(closing.ended_ns);
        let mut numbers = Numbers::default();
        let (mut processes, mut spaces) = (Vec::new(), Vec::new());
        for index in 0..self.processes.all().len() {
            let ended_ns = self.processes.all()[index].ended_ns;
            if self.at_ns.is_some_and(|at| ended_ns.is_some_and(|ended| ended <= at)) {
                continue;
            }
            let mut case = self.cases.remove(&index).unwrap_or_default();
            spaces.push(case.result.as_ref().and_then(|result| result.key));
            processes.push(self.process_report(index, &mut case, &mut numbers));
        }
        let started_ns = self.started_ns;
        let relative = |ns: u64| ns.saturating_sub(started_ns);
        let stories = self.chronicles.take().map_or_else(Vec::new, |chronicles| {
            chronicles.stories(&processes, relative, |stack| numbers.of(stack))
        });
        let mut unwind = self.unwind();
        self.lost.snapshots += self.without_exit;
        let stacks: Vec<RawStack> = numbers
            .order
            .iter()
            .zip(0..)
            .filter_map(|(stack, id)| {
                let stacks = self.processes.stacks();
                let known = stacks.get(*stack)?;
                Some(raw_stack(stacks, known, id))
            })
            .collect();
        unwind.bytes = unwind_bytes(&processes, &stacks);
        let mut report = Report {
            schema: report::SCHEMA.to_owned(),
            rmap_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: closing.host,
            session: report::Session {
                mode: self.mode,
                command: closing.command,
                pids: closing.pids,
                started_at: closing.started_at,
                duration_ns: self.at_ns.unwrap_or(self.last_ns).saturating_sub(self.started_ns),
                at_ns: self.at_ns.map(|at| at.saturating_sub(self.started_ns)),
                exit: closing.exit,
            },
            coverage: report::Coverage { probes: closing.probes, lost: self.lost, unwind },
            totals: report::Totals::default(),
            processes,
            stacks: stacks
                .iter()
                .map(|stack| report::Stack {
                    id: stack.id,
                    complete: stack.end == StackEnd::Complete,
                    frames: Vec::new(),
                })
                .collect(),
        };
        report.sum_up();
        debug_assert!(report::check_identity(&report).is_ok());
        Findings { report, stacks, spaces, stories }
    }

    /// The process of a snapshot, with a space to put what it shows into. Where the event of its
    /// birth or of its exec was lost, the snapshot stands for it.
    fn place(&mut self, snapshot: &Snapshot) -> usize {
        let index = self.processes.meet(snapshot.pid, snapshot.time_ns);
        let fresh = self.processes.own_space(index).is_some_and(|s| s.fresh_exec.is_some());
        if snapshot.moment == Moment::Executed && !fresh {
            self.processes.drop_program(index);
        }
        let process = &self.processes.all()[index];
        let ended = process.ended_ns.is_some();
        if process.space.is_none() && !ended {
            self.processes.give_space(index);
            if let Some(space) = self.processes.own_space_mut(index) {
                space.attached();
            }
        }
        index
    }

    /// A process has ended; its memory is kept no longer.
    fn ended(&mut self, pid: u32) {
        let Some(index) = self.processes.index(pid) else { return };
        if let Some(space) = self.processes.take_space(index) {
            self.without_exit += 1;
            let case = self.cases.entry(index).or_default();
            let mut ledger = Ledger::default();
            space.close(Some(How::Exit), &mut ledger);
            match &mut case.result {
                Some(last) => last.ledger.released = ledger.released,
                None => {
                    case.result = Some(Outcome {
                        kind: SnapshotKind::None,
                        time_ns: self.last_ns,
                        key: None,
                        segments: Vec::new(),
                        ledger,
                    });
                }
            }
        }
    }

    fn process_report(
        &mut self,
        index: usize,
        case: &mut Case,
        numbers: &mut Numbers,
    ) -> report::Process {
        // A process that goes on without any snapshot: what its paths touched is all there is.
        if case.result.is_none()
            && let Some(space) = self.processes.take_space(index)
        {
            let mut ledger = Ledger::default();
            space.close(None, &mut ledger);
            let segments = Vec::new();
            let kind = SnapshotKind::None;
            let time_ns = self.last_ns;
            case.result = Some(Outcome { kind, time_ns, key: None, segments, ledger });
        }
        let process = &self.processes.all()[index];
        let result = case.result.take();
        let taken_ns = result.as_ref().filter(|r| r.kind != SnapshotKind::None).map(|r| r.time_ns);
        let at_exit = result.as_ref().filter(|r| r.kind == SnapshotKind::AtExit).map(|r| r.time_ns);
        let (kind, mut segments, ledger) = result
            .map_or((SnapshotKind::None, Vec::new(), Ledger::default()), |result| {
                (result.kind, result.segments, result.ledger)
            });
        for segment in &mut segments {
            if let Some(stack) = segment.mapped_by.as_mut().and_then(|by| by.stack.as_mut()) {
                *stack = numbers.of(StackRef(*stack));
            }
            for path in &mut segment.paths {
                path.stack = path.stack.map(|stack| numbers.of(StackRef(stack)));
            }
            for stack in segment.unexplained.iter_mut().flat_map(|rest| &mut rest.candidates) {
                *stack = numbers.of(StackRef(*stack));
            }
        }
        let relative = |ns: u64| ns.saturating_sub(self.started_ns);
        let sum = |of: fn(&report::Segment) -> report::BeforeAfter, before: u64| {
            let after = segments.iter().map(|segment| of(segment).after).sum();
            report::BeforeAfter { before, after }
        };
        let before = |of: fn(&Segment) -> u64| case.before.iter().map(of).sum();
        let rss_bytes = sum(|s| s.rss_bytes, before(|s| s.rss));
        let mut shown = report::Process {
            pid: process.pid,
            parent_pid: process.parent_pid.or(case.facts.parent_pid).unwrap_or(0),
            command: std::mem::take(&mut case.facts.command),
            exe: std::mem::take(&mut case.facts.exe),
            started_ns: relative(process.started_ns),
            ended_ns: process.ended_ns.or(at_exit).map(relative),
            snapshot: kind,
            snapshot_ns: taken_ns.map(relative),
            rss_bytes,
            dirty_bytes: sum(|s| s.dirty_bytes, before(|s| s.dirty)),
            swap_bytes: sum(|s| s.swap_bytes, before(|s| s.swap)),
            peak_rss_bytes: case.peak_rss.max(rss_bytes.after),
            gone: gone(&process.past, &ledger, numbers),
            released: released(&process.past, &ledger, numbers),
            segments,
            breakdown: report::Breakdown::default(),
        };
        shown.sum_up();
        shown
    }

    /// How the walks ended, in faults.
    fn unwind(&self) -> report::Unwind {
        let stacks = self.processes.stacks();
        let mut unwind = report::Unwind::default();
        let ends = stacks.iter().map(|stack| {
            let content = stacks.content(stack);
            (content.map_or("lost", |content| end_name(content.end)), stack.faults)
        });
        for (name, faults) in ends.chain([(end_name(StackEnd::None), stacks.faults_without)]) {
            if faults == 0 {
                continue;
            }
            if name == end_name(StackEnd::Complete) {
                unwind.complete += faults;
            } else {
                unwind.incomplete += faults;
                *unwind.reasons.entry(name.to_owned()).or_default() += faults;
            }
        }
        unwind
    }
}

/// How the walks ended, in bytes that their paths touched. Paths in which the kernel acted with no
/// code of the process to name have no walk.
fn unwind_bytes(processes: &[report::Process], stacks: &[RawStack]) -> report::UnwindBytes {
    let mut bytes = report::UnwindBytes::default();
    let paths = processes.iter().flat_map(|process| {
        let there = process.segments.iter().flat_map(|segment| &segment.paths);
        let there = there.map(|path| (path.stack, path.touched_bytes));
        there.chain(process.gone.iter().map(|gone| (gone.stack, gone.touched_bytes)))
    });
    for (stack, touched) in paths {
        let end = stack.and_then(|stack| stacks.get(stack as usize)).map(|stack| stack.end);
        match end {
            None => {}
            _ if touched == 0 => {}
            Some(StackEnd::Complete) => bytes.complete += touched,
            Some(end) => {
                bytes.incomplete += touched;
                *bytes.reasons.entry(end_name(end).to_owned()).or_default() += touched;
            }
        }
    }
    bytes
}

fn raw_stack(stacks: &Stacks, known: &KnownStack, id: u32) -> RawStack {
    let content = stacks.content(known);
    RawStack {
        id,
        instance: known.space,
        pid: known.pid,
        first_ns: known.first_ns,
        ips: content.map(|content| content.ips.to_vec()).unwrap_or_default(),
        end: content.map_or(StackEnd::Unknown, |content| content.end),
    }
}

/// Numbers stacks in the order in which the report names them.
#[derive(Default)]
struct Numbers {
    ids: FxHashMap<StackRef, u32>,
    order: Vec<StackRef>,
}

impl Numbers {
    fn of(&mut self, stack: StackRef) -> u32 {
        *self.ids.entry(stack).or_insert_with(|| {
            self.order.push(stack);
            u32::try_from(self.order.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// A segment through the snapshots: by its start, a stack by its end.
fn history_key(segment: &Segment) -> u64 {
    if segment.name == "[stack]" { segment.end } else { segment.start }
}

fn add_gone(ledger: &mut Ledger, path: Option<Path>, pages: u64, instances: u64) {
    if let Some(path) = path.filter(|_| pages > 0) {
        let gone = ledger.gone.entry(path).or_default();
        gone.0 += pages * PAGE;
        gone.1 += instances;
    }
}

fn gone(past: &Ledger, now: &Ledger, numbers: &mut Numbers) -> Vec<report::Gone> {
    let mut sum: BTreeMap<Path, (u64, u64)> = BTreeMap::new();
    for (path, (bytes, segments)) in past.gone.iter().chain(&now.gone) {
        let gone = sum.entry(*path).or_default();
        gone.0 += bytes;
        gone.1 += segments;
    }
    let mut gone: Vec<_> = sum.into_iter().collect();
    gone.sort_by_key(|(path, (bytes, _))| (std::cmp::Reverse(*bytes), *path));
    gone.into_iter()
        .map(|(path, (touched_bytes, segments))| report::Gone {
            stack: path.stack.map(|stack| numbers.of(stack)),
            cause: path.cause.as_str().to_owned(),
            touched_bytes,
            segments,
        })
        .collect()
}

fn released(past: &Ledger, now: &Ledger, numbers: &mut Numbers) -> Vec<report::Released> {
    let mut sum: BTreeMap<_, u64> = BTreeMap::new();
    for ((stack, how), bytes) in past.released.iter().chain(&now.released) {
        *sum.entry((*stack, how.as_str())).or_default() += bytes;
    }
    let mut released: Vec<_> = sum.into_iter().collect();
    released.sort_by_key(|(key, bytes)| (std::cmp::Reverse(*bytes), *key));
    released
        .into_iter()
        .map(|((stack, how), rss_bytes)| report::Released {
            stack: stack.map(|stack| numbers.of(stack)),
            how: how.to_owned(),
            rss_bytes,
        })
        .collect()
}

/// The name of a walk's end in the report.
const fn end_name(end: StackEnd) -> &'static str {
    match end {
        StackEnd::Complete => "complete",
        StackEnd::Approximate => "approximate",
        StackEnd::Truncated => "truncated",
        StackEnd::Unreadable => "unreadable",
        StackEnd::NoMapping => "no-mapping",
        StackEnd::NoRow => "no-row",
        StackEnd::Unsupported => "unsupported",
        StackEnd::Inconsistent => "inconsistent",
        StackEnd::None => "none",
        StackEnd::Unknown => "unknown",
    }
}

mod chronicle;
mod entries;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod story_tests;
#[cfg(test)]
mod tests;
