//! States of a session before its end: at its peak, at any place of the stream, and in between.
//!
//! Comes in: which states are wanted, before the first input. Goes out: each process at those places.
//! Where no input has changed a process's pages since its last snapshot, its state is what the kernel
//! showed; otherwise it is the model's word, and what the last snapshot left unexplained is carried over
//! as `between-snapshots`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::curves::curves;
use super::process::{AtSnapshot, Case};
use super::samples::{Paces, ProcessSample, Sample};
use super::segments::report_path;
use super::window::{Begun, joined};
use super::{FileNames, Question, Session};
use crate::attribution::{Context, PathShare, Segment, attribute, by_events, carry};
use crate::model::{Counts, Ledger, Peak, Place, Processes, StackRef};
use crate::report::{self, Curves, SnapshotKind, StackId};
use crate::terms::Cause;

/// The end is below this share of the peak, in percent: then the peak leads.
const LEADS_PERCENT: u64 = 80;
/// Unless they differ by less than this: what a shell and its children hold for a moment.
const LEADS_BYTES: u64 = 4 << 20;
/// So many processes have a peak of their own in the report, those with the highest.
const PEAKS_MAX: usize = 512;
/// Samples of a session: the usual number, the least, and how many pages they may go through in all.
const SAMPLES_USUAL: usize = 120;
const SAMPLES_LEAST: usize = 24;
const SAMPLED_PAGES: usize = 24 << 20;
/// More samples of a session are not kept.
const SAMPLES_MAX: usize = 1000;

/// A state that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Every process that lives.
    Everything,
    /// One process, by its position in [`Processes::all`].
    Process(usize),
}

/// Every process that lived at a place.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) place: Place,
    /// By position in [`Processes::all`].
    pub(super) processes: BTreeMap<usize, AtSnapshot>,
}

/// The states that are wanted, and those that were reached.
#[derive(Debug, Default)]
pub(super) struct Moments {
    /// In the order of the stream.
    wanted: Vec<(u64, Want)>,
    next: usize,
    /// The state at the place of [`Want::Everything`].
    pub(super) state: Option<State>,
    /// Of each process its own, as [`Want::Process`] asked for.
    pub(super) peaks: BTreeMap<usize, (Place, AtSnapshot)>,
    /// In the order of time.
    pub(super) samples: Vec<Sample>,
    /// The time of the next sample, and from one to the next, ns.
    next_sample: Option<(u64, u64)>,
    paces: Paces,
    /// Where a window is to begin, and where one has.
    window: Option<Place>,
    pub(super) begun: Option<Begun>,
    /// The time that was asked for, on `CLOCK_MONOTONIC`: nothing has changed up to it.
    state_ns: Option<u64>,
}

impl Moments {
    /// What is asked for. A window from the very start began with nothing.
    pub(super) fn new(question: &Question) -> Self {
        let mut wanted = question.states.clone();
        wanted.sort_unstable();
        let begun = question.window.filter(|place| place.number == 0);
        Self {
            wanted,
            next_sample: question.samples,
            window: question.window.filter(|place| place.number > 0),
            begun: begun.map(|place| Begun { place, ..Begun::default() }),
            state_ns: question.state_ns,
            ..Self::default()
        }
    }

    /// Whether something is wanted at a place.
    pub(super) fn wants(&self, place: Place) -> bool {
        self.next_number().is_some_and(|number| number <= place.number)
            || self.wants_sample(place.time_ns)
            || self.window.is_some_and(|window| window.number <= place.number)
    }

    /// Whether a sample is wanted from before a time.
    fn wants_sample(&self, time_ns: u64) -> bool {
        self.next_sample.is_some_and(|(at_ns, _)| at_ns < time_ns)
    }

    /// Nothing comes from where the stream stands until a time: takes the samples from before it. A long
    /// silence is many equal ones.
    fn sample(&mut self, time_ns: u64, processes: &Processes, place: Place) {
        let Some((at_ns, every_ns)) = &mut self.next_sample else { return };
        let sample = Sample::of(processes, place, &self.paces);
        while *at_ns < time_ns && self.samples.len() < SAMPLES_MAX {
            self.samples.push(Sample { at_ns: *at_ns, ..sample.clone() });
            *at_ns += (*every_ns).max(1);
        }
    }

    /// A window is to begin where the stream stands. It is asked for once.
    fn take_window(&mut self, place: Place) -> Option<Place> {
        self.window.take_if(|window| window.number <= place.number)
    }

    /// Threads of a process did something at these times.
    pub(super) fn pace(
        &mut self,
        processes: &Processes,
        who: (u32, u32),
        times_ns: &[u64],
        faults: bool,
    ) {
        if self.next_sample.is_some() {
            self.paces.add(processes, who, times_ns, faults);
        }
    }

    /// Adds to a process of the report what its peak and its samples show. `whole`: the report is of the
    /// session's end; else it gets what growth is judged from alone.
    pub(super) fn add_to(
        &self,
        index: usize,
        whole: bool,
        shown: &mut report::Process,
        relative: &dyn Fn(u64) -> u64,
        number: &mut dyn FnMut(StackRef) -> StackId,
    ) {
        if whole && let Some((place, process)) = self.peaks.get(&index) {
            shown.peak =
                Some(peak_of(process, relative(place.time_ns), shown.peak_rss_bytes, number));
        }
        let samples = self.samples.iter();
        let samples = samples
            .filter_map(|sample| Some((relative(sample.at_ns), sample.processes.get(&index)?)));
        let samples: Vec<(u64, &ProcessSample)> = samples.collect();
        if whole {
            shown.timeline = samples.iter().map(|(at, sample)| sample.kinds.point(*at)).collect();
        }
        let segments: Vec<_> =
            shown.segments.iter().map(|segment| segment.start.0..segment.end.0).collect();
        shown.curves =
            Curves { ended: shown.ended_ns.is_some(), ..curves(&samples, &segments, number) };
        if let Some(malloc) = &mut shown.malloc {
            for (at, sample) in &samples {
                let held =
                    sample.live.iter().map(|(stack, bytes)| (stack.map(&mut *number), *bytes));
                let held: BTreeMap<Option<StackId>, u64> = held.collect();
                for path in &mut malloc.paths {
                    path.curve.push((*at, held.get(&path.stack).copied().unwrap_or(0)));
                }
            }
        }
    }

    /// The next place that is wanted, in inputs from the start.
    pub(super) fn next_number(&self) -> Option<u64> {
        self.wanted.get(self.next).map(|(number, _)| *number)
    }

    /// The stream stands at a place: takes what is wanted there.
    pub(super) fn reach(&mut self, place: Place, session: &View<'_>) {
        while let Some(&(number, want)) = self.wanted.get(self.next)
            && number <= place.number
        {
            self.next += 1;
            match want {
                Want::Everything => {
                    let mut state = session.state(place);
                    state.place.time_ns = self.state_ns.unwrap_or(place.time_ns);
                    self.state = Some(state);
                }
                Want::Process(index) => {
                    if let Some(process) = session.process(index, place) {
                        self.peaks.insert(index, (place, process));
                    }
                }
            }
        }
    }
}

/// A process's peak as the report has it.
fn peak_of(
    process: &AtSnapshot,
    at_ns: u64,
    vm_hwm_bytes: u64,
    number: &mut dyn FnMut(StackRef) -> StackId,
) -> report::Peak {
    let mut paths: BTreeMap<(Option<StackRef>, Cause), PathShare> = BTreeMap::new();
    let (mut rss_bytes, mut dirty_bytes) = (0, 0);
    for segment in &*process.segments {
        rss_bytes += segment.shown.rss;
        dirty_bytes += segment.shown.dirty;
        for path in segment.paths.iter().filter(|path| path.rss + path.dirty > 0) {
            match paths.entry((path.stack, path.cause)) {
                Entry::Occupied(mut all) => all.get_mut().merge(path),
                Entry::Vacant(new) => drop(new.insert(path.clone())),
            }
        }
    }
    let mut paths: Vec<PathShare> = paths.into_values().collect();
    paths.sort_by_key(|path| std::cmp::Reverse((path.rss, path.dirty)));
    let paths = paths.iter().map(|path| report_path(path, &mut |stack| number(stack)));
    let between_snapshots_bytes = vm_hwm_bytes.saturating_sub(rss_bytes);
    let paths = paths.collect();
    report::Peak { at_ns, rss_bytes, dirty_bytes, vm_hwm_bytes, between_snapshots_bytes, paths }
}

/// A session, to be looked at.
pub(super) struct View<'a> {
    pub(super) processes: &'a Processes,
    pub(super) cases: &'a dyn Fn(usize) -> Option<&'a Case>,
    pub(super) started_ns: u64,
    pub(super) lost: bool,
    pub(super) files: &'a FileNames,
}

impl View<'_> {
    /// Every process that lives.
    pub(super) fn state(&self, place: Place) -> State {
        let living = self.processes.all().iter().enumerate();
        let living = living.filter(|(_, process)| process.ended_ns.is_none());
        let processes = living.filter_map(|(index, _)| Some((index, self.process(index, place)?)));
        State { place, processes: processes.collect() }
    }

    /// A process at the place where the stream stands; `None` if nothing is known of its memory, or
    /// another process reports it.
    pub(super) fn process(&self, index: usize, place: Place) -> Option<AtSnapshot> {
        let unknown = Case::default();
        let case = (self.cases)(index).unwrap_or(&unknown);
        let Some(space) = self.processes.own_space(index) else { return case.result.clone() };
        let last = case.result.as_ref();
        if let Some(last) = last.filter(|_| case.seen_changes == space.owners().change_count()) {
            // Blocks come and go without a page that does.
            return Some(AtSnapshot { blocks: space.blocks().clone(), ..last.clone() });
        }
        let pid = self.processes.all().get(index)?.pid;
        let snapshot = by_events(space, &case.last, self.files, pid, place.time_ns);
        let context = Context {
            started_ns: self.started_ns,
            lost: self.lost,
            before: &case.before,
            history: &|segment| case.history(segment),
        };
        let mut seen = attribute(space, &snapshot, &context);
        carry(&mut seen.segments, last.map_or(&[], |last| &last.segments));
        let mut ledger = Ledger::default();
        super::process::fill(&mut ledger, space, &seen);
        let (kind, key, time_ns) = (SnapshotKind::Events, Some(space.key()), place.time_ns);
        let (segments, blocks) = (seen.segments.into(), space.blocks().clone());
        Some(AtSnapshot { kind, time_ns, key, segments, ledger, heap: None, blocks })
    }
}

impl State {
    /// The same, of a time at which nothing had changed since.
    #[must_use]
    pub const fn at(mut self, time_ns: u64) -> Self {
        self.place.time_ns = time_ns;
        self
    }

    /// Whether a report should lead with this state: little of it is left at the end.
    #[must_use]
    pub fn leads(&self, end: &report::Report) -> bool {
        let sum = |segments: &[Segment]| -> u64 {
            segments.iter().map(|segment| segment.shown.rss).sum()
        };
        let then: u64 = self.processes.values().map(|process| sum(&process.segments)).sum();
        // Processes that ended one after the other never held together what the report adds up: the
        // end is what those hold that go on, or what the last one held.
        let last = end.processes.iter().map(|process| process.ended_ns.unwrap_or(u64::MAX)).max();
        let now: u64 = end
            .processes
            .iter()
            .filter(|process| Some(process.ended_ns.unwrap_or(u64::MAX)) == last)
            .map(|process| process.rss_bytes.after)
            .sum();
        now * 100 < then * LEADS_PERCENT && then - now >= LEADS_BYTES
    }
}

impl Session {
    /// The moments that a second pass over the same inputs should stop at: the session's peak, each
    /// process's own, and samples up to the end (`CLOCK_MONOTONIC`, ns).
    #[must_use]
    pub fn moments_of(&mut self, ended_ns: u64) -> Question {
        let processes = self.model.processes();
        let peak = processes.peak();
        let mut own: Vec<(u64, usize)> = (0..processes.all().len())
            .map(|index| (processes.peak_of(index), index))
            .filter(|(peak, _)| peak.counts.resident > 0)
            .map(|(peak, index)| (peak.place.number, index))
            .collect();
        own.sort_by_key(|(_, index)| std::cmp::Reverse(processes.peak_of(*index).counts.resident));
        own.truncate(PEAKS_MAX);
        let mut states: Vec<(u64, Want)> =
            own.into_iter().map(|(number, index)| (number, Want::Process(index))).collect();
        if peak.counts.resident > 0 {
            states.push((peak.place.number, Want::Everything));
        }
        // A sample goes through all pages that have owners.
        let pages = usize::try_from(peak.counts.resident).unwrap_or(usize::MAX);
        let many = (SAMPLED_PAGES / pages.max(1)).clamp(SAMPLES_LEAST, SAMPLES_USUAL) as u64;
        let whole = ended_ns.saturating_sub(self.started_ns);
        let every_ns = (whole / many).max(1);
        let samples = Some((self.started_ns + every_ns, every_ns));
        Question { states, samples, files: self.files.clone(), ..Question::default() }
    }

    /// When all processes together held most, by the events.
    #[must_use]
    pub fn peak(&mut self) -> Peak {
        self.model.processes().peak()
    }

    /// The state that [`Want::Everything`] asked for, if the stream came so far.
    pub fn take_state(&mut self) -> Option<State> {
        self.moments.state.take()
    }

    /// The pages of all processes now, by the events.
    #[must_use]
    pub fn counts(&mut self) -> Counts {
        self.model.processes().counts()
    }

    /// Where the stream stands.
    #[must_use]
    pub fn place(&self) -> Place {
        self.model.place()
    }

    /// The state of every process where the stream stands.
    #[must_use]
    pub fn state(&mut self) -> State {
        let place = self.model.place();
        self.view(|view| view.state(place))
    }

    pub(super) fn view<T>(&mut self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let cases = &self.cases;
        look(&View {
            processes: self.model.processes(),
            cases: &|index| cases.get(&index),
            started_ns: self.started_ns,
            lost: self.losses.events > 0,
            files: &self.files,
        })
    }

    /// What comes next comes at a time: takes the samples from before it.
    pub(super) fn sample_before(&mut self, time_ns: u64) {
        if self.moments.wants_sample(time_ns) {
            let place = self.model.place();
            self.moments.sample(time_ns, self.model.processes(), place);
        }
    }

    /// Takes the states that are wanted where the stream stands.
    pub(super) fn reach(&mut self) {
        let place = self.model.place();
        if !self.moments.wants(place) {
            return;
        }
        let mut moments = std::mem::take(&mut self.moments);
        if let Some(asked) = moments.take_window(place) {
            moments.begun = Some(self.begin_window(asked));
        }
        self.view(|view| moments.reach(place, view));
        self.moments = moments;
    }

    /// What comes from now on is apart from what came before.
    fn begin_window(&mut self, place: Place) -> Begun {
        let state = self.view(|view| view.state(place));
        let processes = self.model.processes().all();
        let ledgers = state.processes.iter().filter_map(|(index, process)| {
            let past = &processes.get(*index)?.past;
            Some((*index, joined(process.ledger.clone(), past)))
        });
        let ledgers = ledgers.collect();
        // What the last snapshot showed is older too.
        let shown = self.cases.values_mut().filter_map(|case| case.result.as_mut());
        for result in shown {
            let segments = Arc::make_mut(&mut result.segments).iter_mut();
            segments.flat_map(|segment| &mut segment.paths).for_each(|path| path.in_window = false);
        }
        self.model.begin_window();
        Begun { place, processes: state.processes, ledgers }
    }
}
