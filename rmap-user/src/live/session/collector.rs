//! Turns a live session into inputs: events from the ring buffer, snapshots and code at the stops, facts
//! about processes, counts of what was lost.
//!
//! Comes in: records of the ring, messages of the tracer. Goes out: inputs to the [`Feed`]; at the end
//! the report.
//!
//! Everything runs on the session's thread. At a stop the ring is drained first: the thread that
//! stands still has put all of its records there before, so what the snapshot shows and what the
//! events say belong together.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use rmap_ebpf::abi;
use rustc_hash::{FxHashMap, FxHashSet};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::io::unix::AsyncFd;

use crate::{
    live::{heap, modules::Site, probes::Probes, procfs, rewrite::Watch},
    recording::Recorder,
    report::{Asked, Cgroup, Exit, Mode},
    session::{Closing, Findings},
    symbol::{Module, ModuleMap},
    trace::{
        Body, Event, Fork, Input, MallocCall, MallocStep, MapCall, MmId, MmKey, Moment,
        ProcessFacts, RawStack, Runtime, Snapshot, Stack, StackEnd, StackPointers,
    },
};

use super::{
    allocators::AllocatorTracker,
    check::{Check, Checking},
    code::{CodeTracker, Image, To},
    facts,
    feed::{Feed, Found},
    losses::LossCounter,
    observer::{Hold, Message, Standing, Stop},
    oom::OomWatch,
    rewrites::{RewriteSettings, RewriteTracker, Steps},
    risen::Risen,
    snapshots::{Snapshotter, hand_on, watch},
    stream::Stream,
    until,
};

/// Records that one drain takes at most. The ring holds fewer, so all that were in it when the
/// drain began are taken, even while other processes go on writing.
const DRAIN_MAX: usize = (8 << 20) / size_of::<abi::Header>();

/// How long a record that is not finished is waited for, and the rest between two looks.
const PATIENCE: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_micros(50);

/// What came of a drain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    /// There were raw stacks.
    pub(super) raw: bool,
    /// It ended though records may be left, because others write as fast as it reads. Of those nobody
    /// is woken.
    pub(super) behind: bool,
}

/// One live session.
pub(super) struct Collector {
    probes: Probes,
    stream: Stream,
    feed: Feed,
    code: CodeTracker,
    snapshots: Snapshotter,
    losses: LossCounter,
    rewrites: RewriteTracker,
    /// What is known of the processes that live.
    facts: HashMap<u32, ProcessFacts>,
    /// Who forked them.
    parents: HashMap<u32, u32>,
    started_at: OffsetDateTime,
    /// The same on `CLOCK_MONOTONIC`.
    started_ns: u64,
    risen: Risen,
    oom: OomWatch,
    /// What the tracer and this thread say of their waits.
    standing: Arc<Standing>,
    /// Who checks the walks, if anybody.
    checking: Option<Checking>,
    /// Probes at allocators, if allocations are picked by them, and the bytes from one picked byte to the
    /// next on average.
    allocators: Option<(AllocatorTracker, u64)>,
    /// How long a process may stand for its heap, if heaps are read.
    heap_limit: Option<Duration>,
    /// What was read with the last snapshot.
    heap: Option<heap::Read>,
}

impl Collector {
    pub(super) fn new(
        mode: Mode,
        started_ns: u64,
        probes: Probes,
        stream: Stream,
        started_at: OffsetDateTime,
        recorder: Option<Recorder>,
        asked: Asked,
    ) -> Self {
        let code = CodeTracker::new(probes.tables().fresh());
        Self {
            probes,
            stream,
            feed: Feed::new(mode, started_ns, recorder, asked),
            code,
            snapshots: Snapshotter::default(),
            losses: LossCounter::default(),
            rewrites: RewriteTracker::new(None),
            facts: HashMap::new(),
            parents: HashMap::new(),
            started_at,
            started_ns,
            risen: Risen::default(),
            oom: OomWatch::default(),
            standing: Arc::default(),
            checking: None,
            allocators: None,
            heap_limit: None,
            heap: None,
        }
    }

    /// Shows walked stacks to `check`.
    pub(super) fn check_with(&mut self, check: Option<Check>) {
        self.checking = check.map(Checking::new);
    }

    /// Watches memory for writes. Gives how often [`Collector::watch`] is to be called.
    pub(super) fn watch_with(&mut self, settings: Option<RewriteSettings>) -> Option<Duration> {
        self.rewrites = RewriteTracker::new(settings);
        self.rewrites.pace()
    }

    /// Looks at watched memory. Gives the processes of which a descriptor is to be asked for.
    pub(super) fn watch(&mut self) -> Vec<u32> {
        self.drain();
        let steps = self.rewrites.tick();
        self.take_steps(steps);
        self.rewrites.wanted(self.snapshots.stopped_ones())
    }

    /// Before the ring is read again: faults on pages that were just protected mean nothing without
    /// the step that says so. A scan's steps may come before the faults that it takes.
    fn take_steps(&mut self, steps: Steps) {
        steps.into_iter().for_each(|step| self.feed.apply(&Input::Rewrites(step)));
    }

    /// Watching a process ends: what was written up to now.
    fn finish_watch(&mut self, pid: u32) -> Option<Watch> {
        self.drain();
        let (steps, watch) = self.rewrites.finish(pid);
        self.take_steps(steps);
        watch
    }

    /// Reads heaps at the last snapshot of each process that stands then.
    pub(super) const fn read_heaps(&mut self, limit: Option<Duration>) {
        self.heap_limit = limit;
    }

    /// Attaches to the allocators of the processes, with so many bytes from one picked byte to the next on
    /// average.
    pub(super) fn watch_allocators(&mut self, mean: Option<u64>) {
        self.allocators = mean.map(|mean| (AllocatorTracker::default(), mean));
    }

    /// What the tracer and this thread say of their waits.
    pub(super) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// Ready when there are records.
    pub(super) const fn ring(&self) -> &AsyncFd<RingBuf<MapData>> {
        self.stream.ring()
    }

    /// Takes what is in the ring.
    pub(super) fn drain(&mut self) -> Drained {
        let mut raw = false;
        self.stream.look(&self.probes);
        let mut left = DRAIN_MAX;
        let (end, begun) = (self.stream.end(), Instant::now());
        loop {
            while let Some(event) = self.stream.next() {
                raw |= matches!(event.body, Body::RawStack(_));
                self.event(event);
                left = left.saturating_sub(1);
                if left == 0 {
                    break;
                }
            }
            // Whoever fills the next record was put aside; what a thread that stands still has put
            // there may be behind it.
            if left > 0 && self.stream.is_before(end) && begun.elapsed() < PATIENCE {
                thread::sleep(REST);
                continue;
            }
            // Whoever stands still now has lost nothing since; others may go on losing.
            if !self.stream.look(&self.probes) || left == 0 {
                break;
            }
        }
        // What was lost is reported before a snapshot at the latest.
        for event in self.stream.rest() {
            self.event(event);
        }
        let (code, to) = self.code();
        code.read_made(to);
        Drained { raw, behind: left == 0 }
    }

    fn event(&mut self, event: Event) {
        match &event.body {
            Body::RawStack(raw) if raw.check => return self.check(event.pid, raw.as_ref().clone()),
            Body::RawStack(raw) => {
                let (stack, pointers) = self.finish_stack(event.pid, event.tid, raw);
                if let Some(pointers) = pointers {
                    let body = Body::Runtime(Box::new(Runtime::Pointers(pointers)));
                    self.feed.apply(&Input::Event(Event { body, ..event.clone() }));
                }
                let body = Body::Stack(stack);
                return self.feed.apply(&Input::Event(Event { body, ..event }));
            }
            Body::Stack(stack) => {
                let waited = self.checking.as_mut().and_then(|checking| checking.walked(stack));
                if let Some((pid, raw)) = waited {
                    self.check(pid, raw);
                }
            }
            _ => {}
        }
        let input = Input::Event(event);
        self.feed.apply(&input);
        if let Input::Event(event) = input {
            self.follow(&event);
            if let Some((allocators, _)) = &mut self.allocators {
                allocators.event(&mut self.probes, &mut self.losses, &event);
            }
        }
    }

    /// Does what an event asks for, after the session has taken it.
    fn follow(&mut self, event: &Event) {
        match &event.body {
            Body::Exec { .. } => {
                self.snapshots.executed(event.pid, event.mm);
                self.oom.begins(event.pid);
            }
            Body::Runtime(runtime) if matches!(**runtime, Runtime::Stack(_)) => {
                self.probes.has_python_frames(event.pid);
            }
            Body::Fault(_) => self.snapshots.seen(event.pid, event.mm),
            // What a library's end takes away must be known before it does.
            Body::Map(call) if maps_code(call) => {
                let (code, to) = self.code();
                code.mapped(to, event, call);
                self.find_late_allocators(event.pid);
            }
            Body::Map(call) if makes_code(call) => {
                self.code.made(self.feed.session(), event.pid, call)
            }
            Body::Fork(fork) if !fork.thread => {
                self.snapshots.forked(event.pid, fork.child_pid, fork.child_mm);
                self.parents.insert(fork.child_pid, event.pid);
                self.oom.forked(event.pid, fork.child_pid);
                if self.probes.inherit(event.pid, fork.child_pid).is_err() {
                    self.losses.failed_tables += 1;
                }
            }
            Body::Exit { group_dead: true, code } => {
                let at_ns = event.time_ns.saturating_sub(self.started_ns);
                self.oom.ended(event.pid, *code, at_ns);
                self.ended(event.pid);
                self.snapshots.gone(event.pid);
                self.probes.ended(event.pid);
            }
            _ => {}
        }
    }

    fn check(&mut self, pid: u32, raw: RawStack) {
        let modules = self.feed.session().code_of(pid);
        if let (Some(checking), Some(modules)) = (&mut self.checking, modules) {
            checking.raw(pid, raw, modules);
        }
    }

    /// The code tracker, and what it works on.
    const fn code(&mut self) -> (&mut CodeTracker, To<'_>) {
        let to = To { probes: &mut self.probes, feed: &mut self.feed, losses: &mut self.losses };
        (&mut self.code, to)
    }

    /// Walks a stack that the kernel side had no tables for.
    fn finish_stack(
        &mut self,
        pid: u32,
        tid: u32,
        raw: &RawStack,
    ) -> (Stack, Option<StackPointers>) {
        let walked = self.walk(pid, raw);
        if walked.0.end != StackEnd::NoMapping {
            return walked;
        }
        // Code was mapped since the last look.
        let (code, to) = self.code();
        code.scan(to, pid, tid, Image::MayBeAnother);
        self.walk(pid, raw)
    }

    fn walk(&mut self, pid: u32, raw: &RawStack) -> (Stack, Option<StackPointers>) {
        let modules = self.feed.session().code_of(pid);
        self.probes.tables().finish(pid, raw, modules)
    }

    /// Does what a message of the tracer asks for; a thread that stands still goes on when it is
    /// dropped.
    pub(super) fn handle(&mut self, message: Message) {
        match message {
            Message::Stop { at, done } => self.stop(at, done),
            Message::Unfollowed { pid, reason } => {
                self.losses.note("ptrace", format!("process {pid}: {reason}"));
            }
            Message::Descriptor { pid, taken, stood } => {
                match self.rewrites.taken(pid, taken, stood) {
                    Ok(steps) => self.take_steps(steps),
                    Err(why) => {
                        let why = format!("process {pid} is not watched for writes: {why}");
                        self.losses.note("rewrites", why);
                    }
                }
            }
            Message::Ended { pid } => self.ended(pid),
        }
    }

    fn ended(&mut self, pid: u32) {
        self.rewrites.forget(pid);
        self.facts.remove(&pid);
        self.parents.remove(&pid);
        self.snapshots.ended(pid);
        self.code.ended(pid);
    }

    /// Whether processes go on of which ptrace does not report the end.
    pub(super) fn watches_unstopped(&self) -> bool {
        self.snapshots.has_unstopped()
    }

    fn stop(&mut self, at: Stop, done: Hold) {
        match at {
            // It went on before the session came to it, so there is nothing to be read of this moment.
            Stop::Executed { pid, tid } | Stop::Forked { pid, tid }
                if done.is_gone() && self.probes.is_traced(pid) =>
            {
                self.losses.failed_snapshots += 1;
                self.drain();
                self.snapshots.runs(pid, true);
                self.code.begin_names(&mut self.feed, pid, tid);
                self.add_facts(pid, tid);
            }
            Stop::Exiting { pid, .. } if done.is_gone() => {
                self.drain();
                self.code.exiting(pid);
            }
            Stop::Armed { pid } => {
                if let Err(error) = self.probes.trace(pid) {
                    self.losses.note("probes", format!("process {pid} is not traced: {error}"));
                }
            }
            Stop::Soon { pid } => {
                self.drain();
                let (code, to) = self.code();
                let modules = code.prepare(to, pid);
                self.find_allocators(pid, &modules);
            }
            Stop::Attached { pid, tid, stood } => self.meet(pid, tid, stood, done),
            Stop::Leaving { pid, tid, stood } => self.part(pid, tid, stood, done),
            Stop::Last => self.probes.hold_nobody(),
            // From now on its snapshots are taken while it runs.
            Stop::Yielded { pid, tid } => {
                if let Some(watch) = self.finish_watch(pid) {
                    watch.end();
                }
                self.look(pid, tid, Moment::Periodic);
                self.add_facts(pid, tid);
                self.read_names(pid, tid);
                self.snapshots.yielded(pid);
            }
            Stop::Executed { pid, tid } => {
                self.rewrites.forget(pid);
                self.snapshots.runs(pid, true);
                // Whether its last program has made code is known behind its events.
                self.drain();
                self.read_names(pid, tid);
                let snapshot = self.look_at(pid, tid, Moment::Executed);
                self.code.begin_names(&mut self.feed, pid, tid);
                let facts = facts::read_executed(tid);
                let (code, to) = self.code();
                code.predict(to, pid);
                self.attach_to_executed(pid);
                self.let_run(done, snapshot);
                self.know(pid, facts);
            }
            // Its parent forked before its own tracing began, and was stopped behind that.
            Stop::Forked { pid, tid } if !self.probes.is_traced(pid) => {
                self.meet(pid, tid, true, done);
            }
            Stop::Forked { pid, tid } => {
                self.snapshots.runs(pid, true);
                let snapshot = self.look_at(pid, tid, Moment::Forked);
                let parent = self.parents.get(&pid).copied().unwrap_or(0);
                self.code.forked(&mut self.feed, parent, pid, tid);
                self.attach_to_forked(parent, pid);
                self.let_run(done, snapshot);
                match self.facts.get(&parent) {
                    Some(facts) => {
                        self.know(pid, ProcessFacts { parent_pid: None, ..facts.clone() })
                    }
                    None => self.add_facts(pid, tid),
                }
            }
            Stop::Exiting { pid, tid } => {
                // Its memory goes, and the protection with it.
                drop(self.finish_watch(pid));
                let snapshot = self.look_at(pid, tid, Moment::AtExit);
                let facts = facts::read(self.code.worker(), tid);
                self.read_names(pid, tid);
                self.let_run(done, snapshot);
                self.know(pid, facts);
                self.code.exiting(pid);
            }
        }
    }

    /// Begins with a process that ran before, and lets it run as soon as it was read. What happens
    /// from the start of its tracing on comes behind the snapshot, also if it was in it already: a
    /// page has the owner that came last.
    fn meet(&mut self, pid: u32, tid: u32, stood: bool, done: Hold) {
        if let Err(error) = self.probes.trace(pid) {
            self.losses.note("probes", format!("process {pid} is not traced: {error}"));
            return;
        }
        self.oom.begins(pid);
        let moment = if stood { Moment::Start } else { Moment::StartRunning };
        let snapshot = self.standing.reading(|| procfs::take(tid, pid, moment, true));
        let (code, to) = self.code();
        let scanned = code.scan_attached(to, pid, tid);
        let modules = scanned.as_ref().map_or(&[][..], |(_, modules)| modules);
        let standing = Arc::clone(&self.standing);
        let picked_from = standing.reading(|| self.attach_to_allocators(pid, modules));
        drop(done);
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.probes.untrace(pid);
                self.part_allocators(pid);
                self.losses.note("attach", error.to_string());
                return;
            }
        };
        if let Some(other) = self.snapshots.sharer_of(pid) {
            self.feed.apply(&Input::Event(shares_memory(other, pid, snapshot.time_ns)));
        }
        self.add_facts(pid, tid);
        self.count_lost();
        hand_on(&mut self.probes, &mut self.feed, &mut self.losses, snapshot);
        self.snapshots.runs(pid, stood);
        self.code.begin_attached(&mut self.feed, pid);
        if let Some((time_ns, modules)) = scanned {
            self.feed.code(pid, time_ns, &modules);
        }
        if let Some(event) = picked_from {
            self.feed.apply(&Input::Event(event));
        }
    }

    /// Attaches to the allocator's functions of a process that ran before. Gives what the session is to
    /// take then: what was allocated before is not known.
    fn attach_to_allocators(&mut self, pid: u32, modules: &[Module]) -> Option<Event> {
        let sites = self.find_allocators(pid, modules);
        let (allocators, mean) = self.allocators.as_mut()?;
        let attached = attached(pid, *mean);
        let found = !sites.is_empty();
        if allocators.attach(&mut self.probes, &mut self.losses, pid, sites) {
            return Some(attached);
        }
        if !found {
            let why = "no function of an allocator that is known by name";
            self.losses.note("malloc", format!("process {pid} has {why}"));
        }
        None
    }

    /// The functions of allocators among modules; none where nobody wants them. The worker reads each file
    /// once.
    fn find_allocators(&mut self, pid: u32, modules: &[Module]) -> Vec<Site> {
        match self.allocators {
            Some(_) => self.code.allocators(&mut self.losses, pid, modules),
            None => Vec::new(),
        }
    }

    fn part_allocators(&mut self, pid: u32) {
        if let Some((allocators, _)) = &mut self.allocators {
            allocators.part(&mut self.probes, pid);
        }
    }

    /// Attaching takes as long as the kernel needs for it, some tens of milliseconds a function: no stop
    /// of others ends for that.
    fn attach_to_forked(&mut self, parent: u32, pid: u32) {
        let shares = self.snapshots.sharer_of(pid).is_some();
        if let Some((allocators, _)) = self.allocators.as_mut().filter(|_| !shares) {
            let (probes, losses) = (&mut self.probes, &mut self.losses);
            self.standing.reading(|| allocators.forked(probes, losses, parent, pid));
        }
    }

    fn attach_to_executed(&mut self, pid: u32) {
        let sites = self.sites_of(pid);
        if let Some((allocators, _)) = &mut self.allocators {
            let (probes, losses) = (&mut self.probes, &mut self.losses);
            self.standing.reading(|| allocators.executed(probes, losses, pid, sites));
        }
    }

    fn find_late_allocators(&mut self, pid: u32) {
        let sites = self.sites_of(pid);
        if let Some((allocators, _)) = &mut self.allocators {
            allocators.mapped(&mut self.losses, pid, &sites);
        }
    }

    /// The functions of allocators that a process has mapped now; none where nobody wants them.
    fn sites_of(&mut self, pid: u32) -> Vec<Site> {
        let modules = self.allocators.as_ref().and_then(|_| self.feed.session().code_of(pid));
        let modules: Vec<Module> =
            modules.into_iter().flat_map(ModuleMap::living).cloned().collect();
        self.find_allocators(pid, &modules)
    }

    /// Takes the last snapshot of a process, and lets it run as soon as it was read: its events end
    /// there.
    fn part(&mut self, pid: u32, tid: u32, stood: bool, done: Hold) {
        let moment = if stood { Moment::Left } else { Moment::Live };
        if !stood {
            self.drain();
        }
        let watch = self.finish_watch(pid);
        let snapshot = self.take(tid, pid, moment);
        self.probes.untrace(pid);
        drop(done);
        self.part_allocators(pid);
        if let Some(watch) = watch {
            watch.end();
        }
        self.drain();
        self.scan(pid, tid);
        self.count_lost();
        match snapshot {
            Ok(snapshot) => {
                self.add_heap(&snapshot);
                self.feed.apply(&Input::Snapshot(snapshot));
            }
            Err(_) => self.losses.failed_snapshots += 1,
        }
        self.add_facts(pid, tid);
        self.read_names(pid, tid);
        self.ended(pid);
    }

    /// The processes that run.
    pub(super) fn running(&self) -> Vec<u32> {
        self.snapshots.running()
    }

    /// Whether any process was seen.
    pub(super) fn met(&mut self) -> bool {
        self.feed.session().has_processes()
    }

    /// Something that the report shows with the probes.
    pub(super) fn note(&mut self, name: &'static str, why: String) {
        self.losses.note(name, why);
    }

    /// What kept a part of the picture from being seen so far, in one line.
    pub(super) fn troubles(&self) -> String {
        self.losses.troubles()
    }

    /// Names and kin of a process; `tid` is a thread of it that has its memory.
    fn add_facts(&mut self, pid: u32, tid: u32) {
        let facts = facts::read(self.code.worker(), tid);
        self.know(pid, facts);
    }

    fn know(&mut self, pid: u32, facts: ProcessFacts) {
        self.feed.apply(&Input::Process(pid, facts.clone()));
        self.facts.insert(pid, facts);
    }

    /// Takes a snapshot, after the events that came before it.
    fn look(&mut self, pid: u32, tid: u32, moment: Moment) {
        if let Some(snapshot) = self.look_at(pid, tid, moment) {
            self.add_heap(&snapshot);
            self.feed.apply(&Input::Snapshot(snapshot));
        }
    }

    /// The same, without handing it on: the process need not stand for that.
    fn look_at(&mut self, pid: u32, tid: u32, moment: Moment) -> Option<Snapshot> {
        self.drain();
        self.scan(pid, tid);
        self.count_lost();
        match self.take(tid, pid, moment) {
            Ok(snapshot) => {
                watch(&mut self.probes, &mut self.losses, &snapshot);
                return Some(snapshot);
            }
            // The session itself counts processes that end without one.
            Err(_) if moment == Moment::AtExit => {}
            Err(_) => self.losses.failed_snapshots += 1,
        }
        None
    }

    /// Lets a process run, of which everything was read, and hands on what was.
    fn let_run(&mut self, done: Hold, snapshot: Option<Snapshot>) {
        drop(done);
        if let Some(snapshot) = snapshot {
            self.add_heap(&snapshot);
            self.feed.apply(&Input::Snapshot(snapshot));
        }
    }

    /// Takes a snapshot of a process, which stands for it as long as the kernel needs.
    fn take(&mut self, tid: u32, pid: u32, moment: Moment) -> Result<Snapshot, procfs::Error> {
        let (snapshots, probes) = (&mut self.snapshots, &mut self.probes);
        let limit = self.heap_limit.filter(|_| matches!(moment, Moment::AtExit | Moment::Left));
        let (snapshot, heap) = self.standing.reading(|| {
            let snapshot = snapshots.take(probes, tid, pid, moment);
            let heap = snapshot.as_ref().ok().zip(limit);
            let heap = heap.and_then(|(snapshot, limit)| heap::read(tid, snapshot, limit));
            (snapshot, heap)
        });
        self.heap = heap;
        snapshot
    }

    /// Hands on what was read of a process's heap with a snapshot.
    fn add_heap(&mut self, snapshot: &Snapshot) {
        if let Some(read) = self.heap.take() {
            self.feed.apply(&Input::Heap(Box::new(read.finish(snapshot))));
        }
    }

    /// Reads which code a process that stands still has mapped.
    fn scan(&mut self, pid: u32, tid: u32) {
        let (code, to) = self.code();
        code.scan(to, pid, tid, Image::Known);
    }

    fn read_names(&mut self, pid: u32, tid: u32) {
        let (code, to) = self.code();
        code.read_names(to, pid, tid);
    }

    /// Takes a snapshot of every process that runs.
    pub(super) fn periodic(&mut self) {
        self.look_at_all(Moment::Periodic);
    }

    /// Takes snapshots if the processes hold a tenth more than at the last ones.
    pub(super) fn look_if_risen(&mut self) {
        let (pages, now) = (self.feed.session().counts().resident, Instant::now());
        if self.risen.is_due(pages, now) {
            self.look_at_all(Moment::Risen);
            self.risen.taken(pages, now);
        }
    }

    /// Whether the processes hold too much, and how much it is.
    pub(super) fn look_until(&mut self, until: &mut until::Watch) -> Option<u64> {
        if until.needs_events() {
            self.drain();
        }
        let dirty = self.feed.session().counts().dirty * crate::model::PAGE;
        until.look(self.snapshots.running().into_iter(), || dirty)
    }

    fn look_at_all(&mut self, moment: Moment) {
        for pid in self.snapshots.take_running() {
            // One that ended a moment ago is simply not there any more.
            self.drain();
            let taken = self.snapshots.take(&mut self.probes, pid, pid, moment);
            if let Ok(snapshot) = taken {
                self.count_lost();
                hand_on(&mut self.probes, &mut self.feed, &mut self.losses, snapshot);
                self.add_facts(pid, pid);
                self.snapshots.runs(pid, true);
            } else {
                self.snapshots.missed(pid);
            }
        }
    }

    /// Gives this moment a name: what came before it stands before it. Gives back the time, on
    /// `CLOCK_MONOTONIC`.
    pub(super) fn mark(&mut self, name: String) -> u64 {
        self.drain();
        let now_ns = procfs::monotonic_ns();
        self.feed.apply(&Input::Mark(now_ns, name));
        now_ns
    }

    /// Takes the last snapshot of processes that go on.
    fn leave(&mut self) {
        for pid in self.snapshots.take_running() {
            if self.probes.is_traced(pid) {
                self.look(pid, pid, Moment::Live);
                self.add_facts(pid, pid);
                self.read_names(pid, pid);
            }
        }
    }

    fn count_lost(&mut self) {
        let losses = self.losses.count(&self.probes, self.stream.unreadable());
        self.feed.apply(&Input::Lost(losses));
    }

    /// Somebody looks on: nothing is kept for moments before the end.
    pub(super) const fn looked_on(&mut self) {
        self.feed.looked_on();
    }

    /// The report of this moment; its stacks have no frames yet.
    pub(super) fn glimpse(&mut self, command: Option<Vec<String>>, pids: Vec<u32>) -> Findings {
        self.drain();
        self.count_lost();
        let ended_ns = procfs::monotonic_ns();
        let mut probes = self.probes.probes().to_vec();
        probes.extend(self.losses.noted());
        let closing = Closing {
            host: facts::host(),
            command,
            pids,
            started_at: self.started_at.format(&Rfc3339).unwrap_or_default(),
            ended_ns,
            probes,
            ..Closing::default()
        };
        let session = self.feed.session();
        let state = session.state().at(ended_ns);
        session.report_at(&state, closing)
    }

    /// The code of some address spaces.
    pub(super) fn modules_of(&mut self, spaces: &FxHashSet<MmKey>) -> FxHashMap<MmKey, ModuleMap> {
        let modules = self.feed.session().modules();
        spaces.iter().filter_map(|key| Some((*key, modules.of(*key)?.clone()))).collect()
    }

    /// Ends the session: the report, with names for all that it mentions.
    pub(super) fn finish(
        mut self,
        command: Option<Vec<String>>,
        pids: Vec<u32>,
        exit: Option<Exit>,
        cgroup: Option<Cgroup>,
    ) -> Found {
        self.drain();
        self.leave();
        self.count_lost();
        let mut probes = self.probes.probes().to_vec();
        if let Some(why) = self.code.trouble() {
            self.losses.note("unwind", why);
        }
        probes.extend(self.probes.tables().pythons());
        probes.extend(self.losses.rows(&self.probes));
        let closing = Closing {
            host: facts::host(),
            command,
            pids,
            started_at: self.started_at.format(&Rfc3339).unwrap_or_default(),
            ended_ns: procfs::monotonic_ns(),
            exit,
            probes,
            cgroup,
            oom: self.oom.take(),
            packages: Vec::new(),
        };
        // The probes are not needed any more, and their memory may be.
        let aside = || crate::live::linger::drop_aside((self.probes, self.stream));
        self.feed.finish(closing, aside)
    }
}

/// Whether a call has mapped code of a file.
fn maps_code(call: &MapCall) -> bool {
    const PROT_EXEC: u64 = 4;
    call.syscall == libc::SYS_mmap
        && !call.entry
        && call.result >= 0
        && call.args[2] & PROT_EXEC != 0
        && call.args[4] as i32 >= 0
}

/// Whether a call may have made code that no file holds: executable memory without one, or memory that
/// becomes executable.
fn makes_code(call: &MapCall) -> bool {
    const PROT_EXEC: u64 = 4;
    !call.entry
        && call.result >= 0
        && call.args[2] & PROT_EXEC != 0
        && match call.syscall {
            libc::SYS_mmap => (call.args[4] as i32) < 0,
            libc::SYS_mprotect | libc::SYS_pkey_mprotect => true,
            _ => false,
        }
}

/// Probes are in the allocator of a process that ran before.
fn attached(pid: u32, mean: u64) -> Event {
    let step = MallocStep::Attached;
    let call = MallocCall { step, address: 0, size: 0, mean, stack: None };
    let time_ns = procfs::monotonic_ns();
    Event { time_ns, pid, tid: pid, mm: MmId::UNKNOWN, body: Body::Malloc(call) }
}

/// What a process would have reported that made another one in its own memory. The kernel's name of
/// that memory is not known before something happens in it.
const fn shares_memory(pid: u32, other: u32, time_ns: u64) -> Event {
    let fork = Fork {
        child_pid: other,
        child_tid: other,
        child_mm: MmId::UNKNOWN,
        thread: false,
        same_mm: true,
        stack: None,
    };
    Event { time_ns, pid, tid: pid, mm: MmId::UNKNOWN, body: Body::Fork(fork) }
}
