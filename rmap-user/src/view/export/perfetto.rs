//! A trace for Perfetto (<https://ui.perfetto.dev>, `protos/perfetto/trace`): for each process
//! counters of its resident memory by kind, and a track for each segment with its faults.
//!
//! Comes in: a report, and the course of the session. Goes out: a `Trace` of track events, times in
//! nanoseconds since the start of the session. Faults that one thread took one after the other in a
//! segment by one code path are one slice, from the first to the last, with their number and their
//! bytes. Threads take faults at the same time, so each of several has a track of its own.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;

use crate::report::course::{Course, FaultAt, ProcessCourse, SizesAt};
use crate::report::{Cause, Named, Process, Report, Segment, StackId, TimelinePoint};
use crate::view::chain::{Key, Stacks};
use crate::view::number;
use crate::view::order::{Keys, Listing, Sort};
use crate::view::samples::segment_name;
use crate::view::select::{NothingMeant, Selection};
use crate::view::text;

use super::proto::Message;

/// Fields of `TracePacket`.
mod packet {
    pub const TIMESTAMP: u64 = 8;
    pub const SEQUENCE: u64 = 10;
    pub const TRACK_EVENT: u64 = 11;
    pub const SEQUENCE_FLAGS: u64 = 13;
    pub const TRACK_DESCRIPTOR: u64 = 60;
}

/// `TrackEvent.Type`.
mod kind {
    pub const SLICE_BEGIN: u64 = 1;
    pub const SLICE_END: u64 = 2;
    pub const COUNTER: u64 = 4;
}

/// `CounterDescriptor.UNIT_SIZE_BYTES`.
const UNIT_SIZE_BYTES: u64 = 3;
/// `SEQ_INCREMENTAL_STATE_CLEARED`: the sequence begins.
const SEQUENCE_BEGINS: u64 = 1;
/// Counters have no more points than about this many: what moves in less of the session's time is
/// told by its last value.
const POINTS: u64 = 4000;

/// The counters of a process, by name; `None` where a point does not tell.
type Counter = (&'static str, fn(&SizesAt) -> Option<u64>);
const COUNTERS: [Counter; 6] = [
    ("RSS", |s| Some(s.anon.saturating_add(s.file).saturating_add(s.shmem))),
    ("RSS: anonymous", |s| Some(s.anon)),
    ("RSS: files", |s| Some(s.file)),
    ("RSS: shared memory", |s| Some(s.shmem)),
    ("Swap", |s| Some(s.swap)),
    ("Dirty (at snapshots)", |s| s.dirty),
];

/// The counters of a process's timeline, by name.
type KindCounter = (&'static str, fn(&TimelinePoint) -> u64);
const KINDS: [KindCounter; 3] = [
    ("RSS: heap (brk)", |point| point.heap_bytes),
    ("RSS: stack", |point| point.stack_bytes),
    ("Dirty (by the events)", |point| point.dirty_bytes),
];

/// Writes the trace.
///
/// # Errors
/// The writer's.
pub fn write(
    report: &Report,
    course: &Course,
    listing: Listing,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut trace = Trace { out, tracks: 0, begun: false };
    let stacks = Stacks::new(&report.stacks);
    let step = report.session.duration_ns / POINTS;
    for (process, course) in report.processes.iter().zip(&course.processes) {
        let parent = trace.process(process)?;
        trace.counters(parent, course, step)?;
        trace.timeline(parent, process)?;
        trace.segments(parent, process, course, &stacks, listing)?;
    }
    Ok(())
}

/// The part of a report that is meant, with the course of its processes. Where segments are chosen,
/// their faults are; the counters are those of the processes all the same.
///
/// # Errors
/// Nothing is left.
pub fn part(
    report: Report,
    mut course: Course,
    selection: &Selection,
) -> Result<(Report, Course), NothingMeant> {
    if selection.is_all() {
        return Ok((report, course));
    }
    // A process id may have been used twice: the start tells them apart.
    let key = |process: &Process| (process.pid, process.started_ns);
    let mut courses: HashMap<_, ProcessCourse> =
        report.processes.iter().map(key).zip(course.processes).collect();
    let part = selection.of(report)?;
    course.processes = part
        .processes
        .iter()
        .map(|process| {
            let mut course = courses.remove(&key(process)).unwrap_or_default();
            if !selection.segments.is_empty() {
                let places = Places::new(process);
                course.faults.retain(|fault| places.of(fault.address).is_some());
            }
            course
        })
        .collect();
    Ok((part, course))
}

/// Packets on their way out.
struct Trace<'a> {
    out: &'a mut dyn io::Write,
    /// Tracks so far; the next one's id is one more.
    tracks: u64,
    begun: bool,
}

impl Trace<'_> {
    /// Writes a packet of the one sequence that there is.
    fn packet(&mut self, mut packet: Message) -> io::Result<()> {
        packet.number(packet::SEQUENCE, 1);
        if !self.begun {
            packet.number(packet::SEQUENCE_FLAGS, SEQUENCE_BEGINS);
            self.begun = true;
        }
        let mut trace = Message::default();
        trace.message(1, &packet);
        self.out.write_all(&trace.0)
    }

    /// Describes a track, and gives its id.
    fn track(&mut self, mut descriptor: Message) -> io::Result<u64> {
        self.tracks += 1;
        descriptor.number(1, self.tracks);
        let mut packet = Message::default();
        packet.message(packet::TRACK_DESCRIPTOR, &descriptor);
        self.packet(packet)?;
        Ok(self.tracks)
    }

    fn child(&mut self, parent: u64, name: &str, counter: bool) -> io::Result<u64> {
        let mut descriptor = Message::default();
        descriptor.bytes(2, name.as_bytes());
        descriptor.number(5, parent);
        if counter {
            let mut unit = Message::default();
            unit.number(3, UNIT_SIZE_BYTES);
            descriptor.message(8, &unit);
        }
        self.track(descriptor)
    }

    fn process(&mut self, process: &Process) -> io::Result<u64> {
        let mut inner = Message::default();
        inner.number(1, process.pid.into());
        inner.bytes(2, text::clean(&process.command).as_bytes());
        inner.bytes(6, text::clean(&process.exe).as_bytes());
        let mut descriptor = Message::default();
        descriptor.message(3, &inner);
        self.track(descriptor)
    }

    fn event(&mut self, at_ns: u64, track: u64, kind: u64, mut event: Message) -> io::Result<()> {
        event.number(9, kind);
        event.number(11, track);
        let mut packet = Message::default();
        packet.number(packet::TIMESTAMP, at_ns);
        packet.message(packet::TRACK_EVENT, &event);
        self.packet(packet)
    }

    /// The counters: of points nearer than `step` the last one, snapshots always.
    fn counters(&mut self, parent: u64, course: &ProcessCourse, step: u64) -> io::Result<()> {
        for (name, value) in COUNTERS {
            let points: Vec<(u64, u64)> =
                course.sizes.iter().filter_map(|s| Some((s.at_ns, value(s)?))).collect();
            if points.iter().all(|(_, value)| *value == 0) {
                continue;
            }
            let track = self.child(parent, name, true)?;
            let mut told: Option<(u64, u64)> = None;
            for (at, &(at_ns, value)) in points.iter().enumerate() {
                let next = points.get(at + 1);
                let soon = next.is_some_and(|(next, _)| *next < told.map_or(0, |t| t.0) + step);
                if soon || told.is_some_and(|(_, last)| last == value) {
                    continue;
                }
                let mut event = Message::default();
                event.number(30, value);
                self.event(at_ns, track, kind::COUNTER, event)?;
                told = Some((at_ns, value));
            }
        }
        Ok(())
    }

    /// What the timeline has beside them.
    fn timeline(&mut self, parent: u64, process: &Process) -> io::Result<()> {
        for (name, value) in KINDS {
            if process.timeline.iter().all(|point| value(point) == 0) {
                continue;
            }
            let track = self.child(parent, name, true)?;
            for point in &process.timeline {
                let mut event = Message::default();
                event.number(30, value(point));
                self.event(point.at_ns, track, kind::COUNTER, event)?;
            }
        }
        Ok(())
    }

    /// The segments' tracks.
    fn segments(
        &mut self,
        parent: u64,
        process: &Process,
        course: &ProcessCourse,
        stacks: &Stacks<'_>,
        listing: Listing,
    ) -> io::Result<()> {
        let places = Places::new(process);
        let mut by_place: BTreeMap<Option<usize>, Vec<&FaultAt>> = BTreeMap::new();
        for fault in &course.faults {
            by_place.entry(places.of(fault.address)).or_default().push(fault);
        }
        let mut lanes: Vec<Lane<'_>> = by_place
            .into_iter()
            .map(|(at, faults)| Lane {
                segment: at.and_then(|at| process.segments.get(at)),
                faults,
            })
            .collect();
        put_in_order(&mut lanes, listing.sort.unwrap_or_default());
        let shown = listing.top.unwrap_or(usize::MAX).min(lanes.len());
        let left = lanes.split_off(shown);
        for lane in &lanes {
            let name = lane.name();
            self.lane(parent, &name, &[lane], process, stacks)?;
        }
        if !left.is_empty() {
            let name = format!("[{} more]", left.len());
            self.lane(parent, &name, &left.iter().collect::<Vec<_>>(), process, stacks)?;
        }
        Ok(())
    }

    /// A track for each thread that took faults there.
    fn lane(
        &mut self,
        parent: u64,
        name: &str,
        lanes: &[&Lane<'_>],
        process: &Process,
        stacks: &Stacks<'_>,
    ) -> io::Result<()> {
        let mut threads: BTreeMap<u32, Vec<(&FaultAt, Option<&Segment>)>> = BTreeMap::new();
        for lane in lanes {
            for fault in &lane.faults {
                threads.entry(fault.tid).or_default().push((fault, lane.segment));
            }
        }
        let several = threads.len() > 1;
        for (tid, mut faults) in threads {
            faults.sort_by_key(|(fault, _)| fault.at_ns);
            let name = if several { format!("{name}, thread {tid}") } else { name.to_owned() };
            let track = self.child(parent, &name, false)?;
            for run in runs(&faults) {
                self.slice(track, &run, process, stacks)?;
            }
        }
        Ok(())
    }

    fn slice(
        &mut self,
        track: u64,
        run: &Run<'_>,
        process: &Process,
        stacks: &Stacks<'_>,
    ) -> io::Result<()> {
        // A part of a report has not all stacks.
        let stack = run.stack.filter(|id| !matches!(stacks.key(Some(*id)), Key::Missing(_)));
        let chain = stack.map(|stack| stacks.chain(&[Some(stack)]));
        let cause = cause(run, process);
        let name = match &chain {
            Some(chain) => chain.up_to(&process.exe),
            None => format!("[{cause}]"),
        };
        let mut event = Message::default();
        event.bytes(22, cause.as_bytes());
        event.bytes(23, name.as_bytes());
        let mut annotate = |name: &str, field: u64, value: Result<u64, &str>| {
            let mut inner = Message::default();
            inner.bytes(10, name.as_bytes());
            match value {
                Ok(number) => inner.number(field, number),
                Err(text) => inner.bytes(field, text.as_bytes()),
            }
            event.message(4, &inner);
        };
        annotate("faults", 3, Ok(run.faults));
        annotate("touched_bytes", 3, Ok(run.bytes));
        annotate("touched", 6, Err(&number::size(run.bytes)));
        annotate("cause", 6, Err(&cause));
        annotate("thread", 3, Ok(run.tid.into()));
        annotate("address", 7, Ok(run.address));
        if let Some(chain) = &chain {
            annotate("code path", 6, Err(&chain.text()));
        }
        self.event(run.time.start, track, kind::SLICE_BEGIN, event)?;
        self.event(run.time.end, track, kind::SLICE_END, Message::default())
    }
}

/// The faults of one segment; `None`: of what is gone.
struct Lane<'a> {
    segment: Option<&'a Segment>,
    faults: Vec<&'a FaultAt>,
}

impl Lane<'_> {
    fn name(&self) -> String {
        let Some(segment) = self.segment else { return "[gone]".to_owned() };
        format!("{} {} {}", segment_name(segment), text::clean(&segment.perms), segment.start)
    }
}

fn put_in_order(lanes: &mut [Lane<'_>], sort: Sort) {
    let of = |lane: &Lane<'_>, size: fn(&Segment) -> i128| lane.segment.map_or(0, size);
    let keys = Keys {
        total: &|l| of(l, |s| i128::from(s.rss_bytes.after) + i128::from(s.dirty_bytes.after)),
        rss: &|l| of(l, |s| s.rss_bytes.after.into()),
        dirty: &|l| of(l, |s| s.dirty_bytes.after.into()),
        growth: &|l| of(l, |s| number::change(s.rss_bytes) + number::change(s.dirty_bytes)),
        address: Some(&|l| l.segment.map_or(u64::MAX, |s| s.start.0)),
        name: &Lane::name,
    };
    sort.order(lanes, &keys);
}

/// The segments of a process by address.
struct Places(BTreeMap<u64, (u64, usize)>);

impl Places {
    fn new(process: &Process) -> Self {
        let place = |(at, segment): (usize, &Segment)| (segment.start.0, (segment.end.0, at));
        Self(process.segments.iter().enumerate().map(place).collect())
    }

    fn of(&self, address: u64) -> Option<usize> {
        let (_, (end, at)) = self.0.range(..=address).next_back()?;
        (address < *end).then_some(*at)
    }
}

/// Faults of one thread in one segment by one code path.
struct Run<'a> {
    segment: Option<&'a Segment>,
    tid: u32,
    stack: Option<StackId>,
    time: Range<u64>,
    faults: u64,
    /// Touched by them; the part of a path's faults is reckoned from all of them.
    bytes: u64,
    address: u64,
}

fn runs<'a>(faults: &[(&FaultAt, Option<&'a Segment>)]) -> Vec<Run<'a>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    for (fault, segment) in faults {
        let same = |run: &Run<'_>| {
            let of = |segment: Option<&Segment>| segment.map(std::ptr::from_ref);
            run.stack == fault.stack && of(run.segment) == of(*segment)
        };
        match runs.last_mut() {
            Some(run) if same(run) => {
                run.time.end = fault.at_ns;
                run.faults += 1;
                run.bytes = run.bytes.saturating_add(fault.bytes);
            }
            _ => runs.push(Run {
                segment: *segment,
                tid: fault.tid,
                stack: fault.stack,
                time: fault.at_ns..fault.at_ns,
                faults: 1,
                bytes: fault.bytes,
                address: fault.address,
            }),
        }
    }
    runs
}

/// The cause that the report gives for the code path there; several where it cannot be told which.
fn cause(run: &Run<'_>, process: &Process) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut add = |cause: &Named<Cause>| {
        let cause = text::clean(cause.as_str());
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    };
    match run.segment {
        Some(segment) => segment
            .paths
            .iter()
            .filter(|path| path.stack == run.stack)
            .filter(|path| path.first_ns <= run.time.end && run.time.start <= path.last_ns)
            .for_each(|path| add(&path.cause)),
        None => process
            .gone
            .iter()
            .filter(|gone| gone.stack == run.stack)
            .for_each(|gone| add(&gone.cause)),
    }
    if causes.is_empty() { "fault".to_owned() } else { causes.join(" or ") }
}
