//! The course of a session, gathered from the inputs of a recording.
//!
//! Comes in: inputs in their order; then the report that they make, and the addresses of its stacks.
//! Goes out: a [`Course`]. Which fault came when is told by the events; what a code path's faults
//! brought is told by the report, and each of them counts as much as the others. Snapshots put the
//! sizes right.

use std::collections::{BTreeMap, HashMap};

use crate::report::course::{Course, FaultAt, ProcessCourse, SizesAt};
use crate::report::{self, Report, StackId};
use crate::session::RawStack;
use crate::trace::{
    Body, Delta, Event, Input, MmId, Moment, PageState, Segment, Snapshot, StackHash,
};

/// Bytes in a page, in which the counters count.
const PAGE: u64 = 4096;

/// Anonymous memory, files, shared memory, swap.
type Kinds = [i64; 4];

/// What is gathered.
#[derive(Default)]
pub(super) struct Collector {
    started_ns: u64,
    stacks: HashMap<StackHash, Vec<u64>>,
    /// Whose address spaces these are: a counter may be moved by another process.
    spaces: HashMap<MmId, u32>,
    processes: HashMap<u32, Vec<(u64, What)>>,
}

/// What happened to the sizes of a process.
enum What {
    /// A fault, with the direction in which the counters moved.
    Fault { tid: u32, address: u64, stack: Option<StackHash>, signs: Kinds },
    /// A snapshot: RSS, of it anonymous, swap; and dirty bytes, if they were looked at.
    Seen([u64; 3], Option<u64>),
    /// Another program took its place.
    Fresh,
}

impl Collector {
    /// Of a session that began at a moment of `CLOCK_MONOTONIC`.
    pub(super) fn new(started_ns: u64) -> Self {
        Self { started_ns, ..Self::default() }
    }

    /// Adds an input.
    pub(super) fn input(&mut self, input: &Input) {
        match input {
            Input::Event(event) => self.event(event),
            Input::Faults(run) => run.events().for_each(|event| self.event(&event)),
            Input::Snapshot(snapshot) => self.snapshot(snapshot),
            Input::Heap(_)
            | Input::Process(..)
            | Input::Lost(..)
            | Input::Written(..)
            | Input::Rewrites(_)
            | Input::Code(..)
            | Input::Mark(..) => {}
        }
    }

    fn event(&mut self, event: &Event) {
        match &event.body {
            Body::Stack(stack) => {
                self.stacks.insert(stack.hash, stack.ips.clone());
            }
            Body::Fault(fault) => {
                let signs = kinds(&fault.delta).map(i64::signum);
                let (tid, address, stack) = (event.tid, fault.address, fault.stack);
                self.add(self.of(event), event.time_ns, What::Fault { tid, address, stack, signs });
            }
            Body::Exec { .. } => {
                self.spaces.insert(event.mm, event.pid);
                self.add(event.pid, event.time_ns, What::Fresh);
            }
            Body::Fork(fork) if !fork.same_mm => {
                self.spaces.insert(fork.child_mm, fork.child_pid);
                // A number that is used again is another process.
                self.processes.remove(&fork.child_pid);
            }
            Body::Fork(_)
            | Body::Map(_)
            | Body::Rss(_)
            | Body::File(_)
            | Body::Missing(_)
            | Body::Exit { .. }
            | Body::RawStack(_)
            | Body::Malloc(_)
            | Body::Runtime(_) => {}
        }
    }

    /// The process whose address space an event is about.
    fn of(&self, event: &Event) -> u32 {
        self.spaces.get(&event.mm).copied().unwrap_or(event.pid)
    }

    fn add(&mut self, pid: u32, time_ns: u64, what: What) {
        let at_ns = time_ns.saturating_sub(self.started_ns);
        self.processes.entry(pid).or_default().push((at_ns, what));
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        let sum = |of: fn(&Segment) -> u64| {
            snapshot.segments.iter().fold(0_u64, |sum, s| sum.saturating_add(of(s)))
        };
        let what = match snapshot.moment {
            // Of a new process or program the pages are looked at, not the sizes.
            Moment::Forked | Moment::Executed => {
                let Some(runs) = &snapshot.pages else { return };
                let pages = |state: PageState| {
                    let runs = runs.iter().filter(|run| run.kind.state == state);
                    runs.map(|run| run.range.end.saturating_sub(run.range.start))
                        .fold(0_u64, u64::saturating_add)
                };
                let anon = pages(PageState::Anonymous);
                let rss = anon.saturating_add(pages(PageState::File));
                What::Seen([rss, anon, pages(PageState::Swapped)], None)
            }
            Moment::Start
            | Moment::StartRunning
            | Moment::Periodic
            | Moment::Risen
            | Moment::Live
            | Moment::Left
            | Moment::AtExit => {
                let sizes = [sum(|s| s.rss), sum(|s| s.anonymous), sum(|s| s.swap)];
                What::Seen(sizes, Some(sum(|s| s.dirty)))
            }
        };
        self.add(snapshot.pid, snapshot.time_ns, what);
    }

    /// The course, beside the report that the same inputs made.
    pub(super) fn finish(mut self, report: &Report, stacks: &[RawStack]) -> Course {
        let plain = stacks.iter().filter(|stack| stack.runs.is_empty());
        let ids: HashMap<(u32, &[u64]), StackId> =
            plain.map(|stack| ((stack.pid, &stack.ips[..]), stack.id)).collect();
        // Those of a language runtime differ in more than their addresses.
        let joined: HashMap<(u32, StackHash), StackId> =
            stacks.iter().map(|stack| ((stack.pid, stack.hash), stack.id)).collect();
        let mut course = |process: &report::Process| {
            let mut log = self.processes.remove(&process.pid).unwrap_or_default();
            // Events of several processors come nearly in the order of time.
            log.sort_by_key(|(at_ns, _)| *at_ns);
            let id = |hash: Option<StackHash>| {
                if let Some(id) = joined.get(&(process.pid, hash?)) {
                    return Some(*id);
                }
                let ips = self.stacks.get(&hash?)?;
                ids.get(&(process.pid, &ips[..])).copied()
            };
            of_process(process, &log, id)
        };
        // A number that was used twice tells of its last bearer.
        let mut processes: Vec<ProcessCourse> =
            report.processes.iter().rev().map(&mut course).collect();
        processes.reverse();
        Course { processes }
    }
}

fn of_process(
    process: &report::Process,
    log: &[(u64, What)],
    id: impl Fn(Option<StackHash>) -> Option<StackId>,
) -> ProcessCourse {
    let mut course = ProcessCourse::default();
    let mut fault_kinds = Vec::new();
    for (at_ns, what) in log {
        if let What::Fault { tid, address, stack, signs } = *what {
            let stack = id(stack);
            course.faults.push(FaultAt { at_ns: *at_ns, tid, address, bytes: 0, stack });
            fault_kinds.push(signs);
        }
    }
    share_out(process, &mut course.faults);
    let mut faults = course.faults.iter().zip(fault_kinds);
    let mut now: Kinds = [0; 4];
    for (at_ns, what) in log {
        let mut dirty = None;
        match *what {
            What::Fault { .. } => {
                let Some((fault, signs)) = faults.next() else { continue };
                // What a page's place is taken from loses one page; what comes may be more.
                let came = i64::try_from(fault.bytes.max(PAGE)).unwrap_or(i64::MAX);
                let page = PAGE.cast_signed();
                add(&mut now, signs.map(|sign| if sign > 0 { came } else { sign * page }));
            }
            What::Fresh => now = [0; 4],
            What::Seen([rss, anon, swap], seen_dirty) => {
                let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
                // smaps does not tell files from shared memory: the counters do.
                let others = signed(rss.saturating_sub(anon));
                let shmem = now[2].clamp(0, others);
                now = [signed(anon), others - shmem, shmem, signed(swap)];
                dirty = seen_dirty;
            }
        }
        let [anon, file, shmem, swap] = now.map(|bytes| bytes.max(0).unsigned_abs());
        course.sizes.push(SizesAt { at_ns: *at_ns, anon, file, shmem, swap, dirty });
    }
    course
}

fn kinds(delta: &Delta) -> Kinds {
    [delta.anon, delta.file, delta.shmem, delta.swap].map(|by| by.unwrap_or_default().into())
}

fn add(now: &mut Kinds, by: Kinds) {
    now.iter_mut().zip(by).for_each(|(now, by)| *now = now.saturating_add(by));
}

/// The code paths of a segment.
type PathsByStack<'a> = HashMap<Option<StackId>, Vec<&'a report::Path>>;

/// Gives each fault its part of what its code path touched there.
fn share_out(process: &report::Process, faults: &mut [FaultAt]) {
    let mut segments: BTreeMap<u64, (u64, PathsByStack<'_>)> = BTreeMap::new();
    for segment in &process.segments {
        let mut paths = PathsByStack::new();
        for path in segment.paths.iter().filter(|path| path.faults > 0) {
            paths.entry(path.stack).or_default().push(path);
        }
        segments.insert(segment.start.0, (segment.end.0, paths));
    }
    let mut gone: HashMap<Option<StackId>, (u64, u64)> = HashMap::new();
    for path in &process.gone {
        let touched = &mut gone.entry(path.stack).or_default().0;
        *touched = touched.saturating_add(path.touched_bytes);
    }
    let mut lost = Vec::new();
    for fault in faults.iter_mut() {
        let segment = segments.range(..=fault.address).next_back();
        let Some((_, (_, paths))) = segment.filter(|(_, (end, _))| fault.address < *end) else {
            if let Some((_, faults)) = gone.get_mut(&fault.stack) {
                *faults += 1;
            }
            lost.push(fault);
            continue;
        };
        let at = fault.at_ns;
        let path = paths
            .get(&fault.stack)
            .and_then(|paths| paths.iter().find(|path| path.first_ns <= at && at <= path.last_ns));
        fault.bytes = path.map_or(0, |path| path.touched_bytes / path.faults);
    }
    for fault in lost {
        if let Some((touched, faults)) = gone.get(&fault.stack) {
            fault.bytes = touched / (*faults).max(1);
        }
    }
}
