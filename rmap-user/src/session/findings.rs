//! The report of a session at a moment.
//!
//! Comes in: the model, and each process at its latest snapshot. Goes out: [`Findings`]: a report in
//! which stacks have no frames yet, and the addresses for the frames.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::process::{AtSnapshot, Case};
use super::segments::report_segment;
use super::window::{self, Begun, Came};
use super::{Session, State};
use crate::attribution::Sizes;
use crate::model::{KnownStack, Ledger, PAGE, Path, Process, StackRef, Stacks};
use crate::report::{self, Lost, Report, SnapshotKind, StackId};
use crate::runtime::python::Definitions;
use crate::trace::{MmKey, Run, StackEnd, StackHash, Thread};

/// What the end of a session adds.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// The control group that was attached to.
    pub cgroup: Option<report::Cgroup>,
    /// Processes that the kernel killed for want of memory.
    pub oom: Vec<report::Oom>,
    /// Packages of files whose functions have no names, as a recording has them.
    pub packages: Vec<report::Package>,
}

/// A user stack by its addresses, to be given functions and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// Its id in the report.
    pub id: StackId,
    /// The address space that the addresses are in: one for each program that a process ran.
    pub instance: MmKey,
    /// The process.
    pub pid: u32,
    /// When it was first seen, on `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// Innermost first: the first is the instruction itself, the others are return addresses.
    /// Empty if the stack was lost.
    pub ips: Arc<[u64]>,
    /// How the walk ended; [`StackEnd::Unknown`] if the stack was lost.
    pub end: StackEnd,
    /// Frames of a language runtime.
    pub runs: Box<[Run]>,
    /// Not all frames of the runtime are there.
    pub cut: bool,
    /// Its name in the events.
    pub hash: StackHash,
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
    /// The histories that were asked for.
    pub stories: Vec<report::Story>,
    /// What the frames of language runtimes are called.
    pub definitions: Arc<Definitions>,
}

impl Session {
    /// The report of the place that the session has come to. It may be asked for again and again.
    #[must_use]
    pub fn report(&mut self, closing: Closing) -> Findings {
        self.last_ns = self.last_ns.max(closing.ended_ns);
        let last_ns = self.last_ns;
        self.sample_before(last_ns.saturating_add(1));
        let all = self.model.processes().all().len();
        let last = |session: &mut Self, index: usize| {
            let case = session.cases.get(&index);
            case.and_then(|case| case.result.clone()).unwrap_or_else(|| {
                // A process that goes on without any snapshot: what its paths touched is all there is.
                let mut ledger = Ledger::default();
                if let Some(space) = session.model.processes().own_space(index) {
                    space.close(None, &mut ledger);
                }
                AtSnapshot::none(last_ns, ledger)
            })
        };
        let processes = (0..all).map(|index| (index, last(self, index))).collect();
        self.report_of(processes, None, closing)
    }

    /// The report of a state that came before.
    #[must_use]
    pub fn report_at(&mut self, state: &State, closing: Closing) -> Findings {
        let processes = state.processes.iter().map(|(index, last)| (*index, last.clone()));
        self.report_of(processes.collect(), Some(state.place.time_ns), closing)
    }

    fn report_of(
        &mut self,
        states: Vec<(usize, AtSnapshot)>,
        at_ns: Option<u64>,
        closing: Closing,
    ) -> Findings {
        let (started_ns, last_ns) = (self.started_ns, self.last_ns);
        let relative = |ns: u64| ns.saturating_sub(started_ns);
        let model = self.model.processes();
        let session_peak = model.peak();
        let begun = self.moments.begun.as_ref();
        let states = match begun {
            Some(begun) => window::processes(begun, states, model.all()),
            None => states,
        };
        let mut numbers = Numbers::default();
        let (mut processes, mut spaces) = (Vec::new(), Vec::new());
        let unknown = Case::default();
        for (index, last) in states {
            let Some(process) = model.all().get(index) else { continue };
            let case = self.cases.get(&index).unwrap_or(&unknown);
            spaces.push(last.key);
            let mut shown = match begun {
                None => {
                    let past = &process.past;
                    process_report(process, case, last, past, &relative, &mut numbers)
                }
                Some(begun) => {
                    window_report(process, case, (begun, index), last, &relative, &mut numbers)
                }
            };
            if begun.is_none() {
                let whole = at_ns.is_none();
                let number = &mut |stack| numbers.of(stack);
                self.moments.add_to(index, whole, &mut shown, &relative, number);
            }
            // What came later is none of that moment's business.
            shown.ended_ns =
                shown.ended_ns.filter(|ended| at_ns.is_none_or(|at| *ended <= relative(at)));
            processes.push(shown);
        }
        let stories = self.histories.as_ref().map_or_else(Vec::new, |histories| {
            histories.stories(&processes, relative, |stack| numbers.of(stack))
        });
        let stacks: Vec<RawStack> = numbers
            .order
            .iter()
            .zip(0..)
            .filter_map(|(stack, id)| {
                Some(raw_stack(model.stacks(), model.stacks().get(*stack)?, StackId(id)))
            })
            .collect();
        let mut unwind = unwind(model.stacks());
        unwind.bytes = unwind_bytes(&processes, &stacks);
        let lost = Lost {
            events: self.losses.events,
            stacks: self.losses.stacks,
            snapshots: self.losses.snapshots + self.without_exit,
        };
        let mut report = Report {
            schema: report::SCHEMA.to_owned(),
            rmap_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: closing.host,
            session: report::Session {
                mode: self.mode,
                command: closing.command,
                pids: closing.pids,
                started_at: closing.started_at,
                duration_ns: relative(at_ns.unwrap_or(last_ns)),
                at_ns: at_ns.map(relative),
                exit: closing.exit,
                notes: Vec::new(),
                rewrites: super::rewrites::session(
                    self.cases.values().filter_map(|case| case.rewrites.as_ref()),
                ),
                peak: (session_peak.counts.resident > 0).then(|| report::SessionPeak {
                    at_ns: relative(session_peak.place.time_ns),
                    rss_bytes: session_peak.counts.resident * PAGE,
                    dirty_bytes: session_peak.counts.dirty * PAGE,
                }),
                window: begun.map(|begun| report::Span {
                    from_ns: relative(begun.place.time_ns),
                    to_ns: relative(at_ns.unwrap_or(last_ns)),
                }),
                marks: self.marks.shown(relative),
            },
            coverage: report::Coverage {
                probes: closing.probes,
                lost,
                unwind,
                packages: closing.packages,
            },
            totals: report::Totals::default(),
            cgroup: closing.cgroup.map(Box::new),
            oom: closing.oom,
            processes,
            stacks: stacks
                .iter()
                .map(|stack| report::Stack {
                    id: stack.id,
                    complete: stack.end == StackEnd::Complete,
                    frames: report::Frames::default(),
                })
                .collect(),
        };
        report.sum_up();
        debug_assert!(report::check_identity(&report).is_ok());
        let definitions = self.runtimes.definitions();
        Findings { report, stacks, spaces, stories, definitions }
    }

    /// All stacks that were seen so far, those too that the report does not name; without ids.
    #[must_use]
    pub fn all_stacks(&mut self) -> Vec<RawStack> {
        let stacks = self.model.processes().stacks();
        stacks.iter().map(|known| raw_stack(stacks, known, StackId(u32::MAX))).collect()
    }
}

/// A process through a window, as the report has it: what came, and what it gave back.
fn window_report(
    process: &Process,
    case: &Case,
    (begun, index): (&Begun, usize),
    last: AtSnapshot,
    relative: &dyn Fn(u64) -> u64,
    numbers: &mut Numbers,
) -> report::Process {
    let then = begun.segments(index);
    let came = Came::of(then, last.segments.to_vec());
    let old = begun.ledgers.get(&index).cloned().unwrap_or_default();
    let ledger = window::since(window::joined(last.ledger, &process.past), &old);
    let last = AtSnapshot { segments: came.segments.as_slice().into(), ledger, ..last };
    let blocks = last.blocks.clone();
    let nothing = Ledger::default();
    let mut shown = process_report(process, case, last, &nothing, relative, numbers);
    for size in [&mut shown.rss_bytes, &mut shown.dirty_bytes, &mut shown.swap_bytes] {
        size.before = 0;
    }
    let from_ns = begun.place.time_ns;
    let number = &mut |stack| numbers.of(stack);
    shown.malloc = super::malloc::report(&blocks, from_ns, relative, number).map(Box::new);
    shown.window = Some(came.window(then, &mut |stack| numbers.of(stack)));
    shown
}

/// A process at its latest snapshot, as the report has it. `past`: what is left of the address spaces of
/// the programs that it ran before.
fn process_report(
    process: &Process,
    case: &Case,
    last: AtSnapshot,
    past: &Ledger,
    relative: &dyn Fn(u64) -> u64,
    numbers: &mut Numbers,
) -> report::Process {
    let AtSnapshot { kind, time_ns, key: _, segments, ledger, heap, blocks } = last;
    let mut after = Sizes::default();
    segments.iter().for_each(|segment| after.add(&segment.shown));
    let size = |before, after| report::BeforeAfter { before, after };
    let before = case.began_with;
    let rss_bytes = size(before.rss, after.rss);
    let dirty_bytes = size(before.dirty, after.dirty);
    let swap_bytes = size(before.swap, after.swap);
    let mut id = |stack| numbers.of(stack);
    let segments = segments
        .iter()
        .map(|segment| {
            let held =
                heap.as_deref().and_then(|heap| super::heap::of_segment(heap, &segment.shown));
            report::Segment { heap: held.map(Box::new), ..report_segment(segment, &mut id) }
        })
        .collect();
    let at_exit = (kind == SnapshotKind::AtExit).then_some(time_ns);
    let mut shown = report::Process {
        pid: process.pid,
        parent_pid: process.parent_pid.or(case.facts.parent_pid).unwrap_or(0),
        command: case.facts.command.clone(),
        exe: case.facts.exe.clone(),
        started_ns: relative(process.started_ns),
        ended_ns: process.ended_ns.or(at_exit).map(relative),
        snapshot: kind,
        snapshot_ns: (!matches!(kind, SnapshotKind::None | SnapshotKind::Events))
            .then(|| relative(time_ns)),
        rss_bytes,
        dirty_bytes,
        swap_bytes,
        peak_rss_bytes: case.peak_rss.max(rss_bytes.after),
        peak: None,
        timeline: Vec::new(),
        growth: Vec::new(),
        curves: report::Curves::default(),
        window: None,
        gone: gone(past, &ledger, numbers),
        released: released(past, &ledger, numbers),
        threads: threads(case),
        segments,
        breakdown: report::Breakdown::default(),
        trim_would_return_bytes: heap.as_deref().and_then(super::heap::trim),
        malloc: super::malloc::report(&blocks, 0, relative, &mut |stack| numbers.of(stack))
            .map(Box::new),
    };
    shown.sum_up();
    shown
}

fn threads(case: &Case) -> Vec<report::Thread> {
    let shown = |thread: &Thread| report::Thread {
        tid: thread.tid,
        name: thread.name.clone(),
        stack_pointer: thread.stack_pointer.map(report::Address),
    };
    case.threads.values().map(shown).collect()
}

/// How the walks ended, in faults.
fn unwind(stacks: &Stacks) -> report::Unwind {
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

/// Numbers stacks in the order in which the report names them.
#[derive(Default)]
pub(super) struct Numbers {
    ids: FxHashMap<StackRef, StackId>,
    order: Vec<StackRef>,
}

impl Numbers {
    pub(super) fn of(&mut self, stack: StackRef) -> StackId {
        *self.ids.entry(stack).or_insert_with(|| {
            self.order.push(stack);
            StackId(u32::try_from(self.order.len() - 1).unwrap_or(u32::MAX))
        })
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
        let end = stack.and_then(|stack| stacks.get(stack.0 as usize)).map(|stack| stack.end);
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

pub(super) fn raw_stack(stacks: &Stacks, known: &KnownStack, id: StackId) -> RawStack {
    let content = stacks.content(known);
    RawStack {
        id,
        instance: known.space,
        pid: known.pid,
        first_ns: known.first_ns,
        ips: content.map(|content| Arc::clone(&content.ips)).unwrap_or_default(),
        end: content.map_or(StackEnd::Unknown, |content| content.end),
        runs: content.map(|content| content.runs.clone()).unwrap_or_default(),
        cut: content.is_some_and(|content| content.cut),
        hash: known.hash,
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
            cause: path.cause.into(),
            touched_bytes,
            segments,
        })
        .collect()
}

fn released(past: &Ledger, now: &Ledger, numbers: &mut Numbers) -> Vec<report::Released> {
    let mut sum: BTreeMap<_, u64> = BTreeMap::new();
    for ((stack, how), bytes) in past.released.iter().chain(&now.released) {
        *sum.entry((*stack, *how)).or_default() += bytes;
    }
    let mut released: Vec<_> = sum.into_iter().collect();
    released.sort_by_key(|((stack, how), bytes)| (std::cmp::Reverse(*bytes), *stack, how.as_str()));
    released
        .into_iter()
        .map(|((stack, how), rss_bytes)| report::Released {
            stack: stack.map(|stack| numbers.of(stack)),
            how: how.into(),
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
