//! Feeds the investigation: events from the ring buffer, snapshots at the stops, modules for the
//! symbols, facts about processes, counts of what was lost.
//!
//! Everything runs on the session's thread. At a stop the ring is drained first: the thread that
//! stands still has put all of its records there before, so what the snapshot shows and what the
//! events say belong together.

mod beside;
mod foresee;

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::{Arc, mpsc as sync},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use rmap_ebpf::abi;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::io::unix::AsyncFd;

use crate::{
    event::{Body, Event, MmId, RawStack, Stack, StackEnd},
    investigate::{Closing, Investigation, ProcessFacts},
    live::{
        modules::Catalogue,
        perf_map,
        probes::{self, LeftOut, Probes},
        procfs,
    },
    model::MmKey,
    recording::{self, Recorder, Tape},
    report::{Exit, Lost, Mode, Report},
    snapshot::{Moment, Snapshot},
    symbol::{Binary, ModuleMap, PerfMap, Stamp},
};

use super::{
    check::{Check, Checking},
    facts,
    observer::{Message, Stop},
    stream::Stream,
};

/// Records that one drain takes at most. The ring holds fewer, so all that were in it when the
/// drain began are taken, even while other processes go on writing.
const DRAIN_MAX: usize = (8 << 20) / size_of::<abi::Header>();

/// How long a record that is not finished is waited for, and the rest between two looks.
const PATIENCE: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_micros(50);

/// Which program a process is seen to run when its mappings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    /// It stands still, and its events were taken: the program that the investigation knows.
    Known,
    /// It runs on: perhaps it has executed another program, and the event that says so is still in
    /// the ring. Stacks of the old program must not be walked by the new one's code.
    MayBeAnother,
}

/// What came of a drain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    /// There were raw stacks.
    pub(super) raw: bool,
    /// It ended though records may be left, because others write as fast as it reads. Of those nobody
    /// is woken.
    pub(super) behind: bool,
}

/// One session's state.
pub(super) struct Collector {
    probes: Probes,
    stream: Stream,
    investigation: Tape,
    catalogue: Catalogue,
    /// For each process, its program and the perf map file that was there when that began, which
    /// is not of its own.
    perf_maps: HashMap<u32, (MmKey, Option<Stamp>)>,
    modules: HashMap<MmKey, ModuleMap>,
    /// For each process, its program and the files that its headers name.
    forecasts: HashMap<u32, (MmKey, Vec<Arc<Binary>>)>,
    /// Processes that run a program of their own now.
    running: BTreeSet<u32>,
    /// Those among them that ptrace does not stop, so that only events tell of their end.
    unstopped: BTreeSet<u32>,
    started_at: OffsetDateTime,
    /// Times that the counters could not be read.
    unreadable: u64,
    /// What the probes counted when they were last asked.
    lost: Lost,
    /// Times that the unwind tables could not be told what a process has mapped.
    failed_tables: u64,
    /// The address space that each process runs in, as the kernel names it.
    spaces: HashMap<u32, MmId>,
    /// Snapshots that failed.
    failed_snapshots: u64,
    /// What keeps a part of the picture from being seen, told with the probes.
    troubles: Vec<(&'static str, String)>,
    /// Who checks the walks, if anybody.
    checking: Option<Checking>,
}

impl Collector {
    pub(super) fn new(
        mode: Mode,
        started_ns: u64,
        probes: Probes,
        stream: Stream,
        started_at: OffsetDateTime,
        recorder: Option<Recorder>,
    ) -> Self {
        Self {
            probes,
            stream,
            investigation: Tape::new(Investigation::new(mode, started_ns), recorder),
            catalogue: Catalogue::default(),
            perf_maps: HashMap::new(),
            modules: HashMap::new(),
            forecasts: HashMap::new(),
            running: BTreeSet::new(),
            unstopped: BTreeSet::new(),
            started_at,
            unreadable: 0,
            failed_tables: 0,
            failed_snapshots: 0,
            spaces: HashMap::new(),
            lost: Lost::default(),
            troubles: Vec::new(),
            checking: None,
        }
    }

    /// Shows walked stacks to `check`.
    pub(super) fn check_with(&mut self, check: Option<Check>) {
        self.checking = check.map(Checking::new);
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
                self.event(&event);
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
        // What was lost is told before a snapshot at the latest.
        for event in self.stream.rest() {
            self.event(&event);
        }
        self.investigation.settle();
        Drained { raw, behind: left == 0 }
    }

    fn event(&mut self, event: &Event) {
        if !matches!(event.body, Body::Fault(_)) {
            self.investigation.settle();
        }
        match &event.body {
            Body::RawStack(raw) if raw.check => return self.check(event.pid, raw.as_ref().clone()),
            Body::RawStack(raw) => return self.finish_stack(event, raw),
            Body::Stack(stack) => {
                let waited = self.checking.as_mut().and_then(|checking| checking.walked(stack));
                if let Some((pid, raw)) = waited {
                    self.check(pid, raw);
                }
            }
            _ => {}
        }
        self.investigation.event(event);
        match &event.body {
            Body::Exec { .. } => {
                self.spaces.insert(event.pid, event.mm);
            }
            Body::Fault(_) => {
                self.spaces.entry(event.pid).or_insert(event.mm);
            }
            // What a library's end takes away must be known before it does.
            Body::Map(call) if maps_code(call) => self.mapped(event, call),
            Body::Fork(fork) if !fork.thread => {
                self.running.insert(fork.child_pid);
                self.spaces.insert(fork.child_pid, fork.child_mm);
                if self.unstopped.contains(&event.pid) {
                    self.unstopped.insert(fork.child_pid);
                }
                let instance = |pid| self.investigation.instance(pid);
                let (parent, child) = (instance(event.pid), instance(fork.child_pid));
                ModuleMap::inherit(&mut self.modules, parent, child);
                if self.probes.inherit(event.pid, fork.child_pid).is_err() {
                    self.failed_tables += 1;
                }
            }
            Body::Exit { group_dead: true, .. } => {
                self.ended(event.pid);
                self.spaces.remove(&event.pid);
                self.probes.ended(event.pid);
            }
            _ => {}
        }
    }

    fn check(&mut self, pid: u32, raw: RawStack) {
        let instance = self.investigation.instance(pid);
        let modules = instance.and_then(|instance| self.modules.get(&instance));
        if let (Some(checking), Some(modules)) = (&mut self.checking, modules) {
            checking.raw(pid, raw, modules);
        }
    }

    /// Looks which code a process has mapped now, and says whether it could. `tid` is a thread of it
    /// that still has its memory.
    fn scan(&mut self, pid: u32, tid: u32, image: Image) -> bool {
        let Some(instance) = self.investigation.instance(pid) else { return false };
        // Now, and not the time of the event that asks: the process may have executed another
        // program since, and stacks of the time between belong to what is not mapped any more.
        let time_ns = procfs::monotonic_ns();
        // A process that is gone meanwhile was looked at before, or has run nothing.
        let Ok(modules) = self.catalogue.scan(tid) else { return false };
        let map = self.modules.entry(instance).or_default();
        if image == Image::MayBeAnother && !map.is_same_program(&modules) {
            return false;
        }
        self.investigation.code(pid, time_ns, &modules);
        map.update(time_ns, modules);
        if self.probes.show(pid, map.living()).is_err() {
            self.failed_tables += 1;
        }
        true
    }

    /// Walks a stack that the kernel side had no tables for, and hands it on.
    fn finish_stack(&mut self, event: &Event, raw: &RawStack) {
        let mut stack = self.walk(event.pid, raw);
        if stack.end == StackEnd::NoMapping {
            // Code was mapped since the last look.
            self.scan(event.pid, event.tid, Image::MayBeAnother);
            stack = self.walk(event.pid, raw);
        }
        self.investigation.event(&Event { body: Body::Stack(stack), ..event.clone() });
    }

    fn walk(&self, pid: u32, raw: &RawStack) -> Stack {
        let instance = self.investigation.instance(pid);
        let modules = instance.and_then(|instance| self.modules.get(&instance));
        self.probes.tables().finish(pid, raw, modules)
    }

    /// Does what a message of the tracer asks for; a thread that stands still goes on when it is
    /// dropped.
    pub(super) fn handle(&mut self, message: Message) {
        match message {
            Message::Stop { at, done } => self.stop(at, done),
            Message::Unfollowed { pid, reason } => {
                self.troubles.push(("ptrace", format!("process {pid}: {reason}")));
            }
            Message::Ended { pid } => self.ended(pid),
        }
    }

    fn ended(&mut self, pid: u32) {
        self.running.remove(&pid);
        self.unstopped.remove(&pid);
        self.forecasts.remove(&pid);
    }

    /// Whether processes go on of which ptrace does not tell the end.
    pub(super) fn watches_unstopped(&self) -> bool {
        !self.unstopped.is_empty()
    }

    fn stop(&mut self, at: Stop, done: sync::Sender<()>) {
        match at {
            Stop::Armed { pid } => {
                if let Err(error) = self.probes.trace(pid) {
                    self.troubles.push(("probes", format!("process {pid} is not traced: {error}")));
                }
            }
            Stop::Soon { pid } => {
                self.drain();
                self.prepare(pid);
            }
            Stop::Attached { pid, tid, stood } => self.meet(pid, tid, stood, done),
            Stop::Leaving { pid, tid, stood } => self.part(pid, tid, stood, done),
            // From now on it is looked at while it runs.
            Stop::Yielded { pid, tid } => {
                self.look(pid, tid, Moment::Periodic);
                self.tell(pid, tid);
                self.read_names(pid, tid);
                self.unstopped.insert(pid);
            }
            Stop::Executed { pid, tid } => {
                self.running.insert(pid);
                self.read_names(pid, tid);
                self.look(pid, tid, Moment::Executed);
                self.begin_names(pid, tid);
                self.tell(pid, tid);
                self.foresee(pid);
            }
            // Its parent forked before its own tracing began, and was stopped behind that.
            Stop::Forked { pid, tid } if !self.probes.is_traced(pid) => {
                self.meet(pid, tid, true, done)
            }
            Stop::Forked { pid, tid } => {
                self.running.insert(pid);
                self.look(pid, tid, Moment::Forked);
                self.begin_names(pid, tid);
                self.tell(pid, tid);
            }
            Stop::Exiting { pid, tid } => {
                self.look(pid, tid, Moment::AtExit);
                self.tell(pid, tid);
                self.read_names(pid, tid);
                self.perf_maps.remove(&pid);
            }
        }
    }

    /// Whether any process was seen.
    pub(super) fn met(&self) -> bool {
        self.investigation.has_processes()
    }

    /// Something that the report tells with the probes.
    pub(super) fn note(&mut self, name: &'static str, why: String) {
        self.troubles.push((name, why));
    }

    /// What kept a part of the picture from being seen so far, in one line.
    pub(super) fn troubles(&self) -> String {
        let troubles: Vec<&str> = self.troubles.iter().map(|(_, why)| why.as_str()).collect();
        troubles.join("; ")
    }

    /// Names and kin of a process; `tid` is a thread of it that has its memory.
    fn tell(&mut self, pid: u32, tid: u32) {
        let facts = facts::read(tid);
        self.investigation.process(
            pid,
            ProcessFacts {
                command: facts.command,
                exe: facts.exe,
                parent_pid: (facts.parent != 0).then_some(facts.parent),
            },
        );
    }

    /// Takes a snapshot, after the events that came before it.
    fn look(&mut self, pid: u32, tid: u32, moment: Moment) {
        self.drain();
        self.scan(pid, tid, Image::Known);
        self.count_lost();
        match self.take(tid, pid, moment) {
            Ok(snapshot) => self.see(&snapshot),
            // The investigation itself counts processes that end without one.
            Err(_) if moment == Moment::AtExit => {}
            Err(_) => self.failed_snapshots += 1,
        }
    }

    /// Takes a snapshot, with the dirty bits of the process's page table where they are needed.
    fn take(&mut self, tid: u32, pid: u32, moment: Moment) -> Result<Snapshot, procfs::Error> {
        let mut snapshot = procfs::take(tid, pid, moment, true)?;
        let begins = moment.begins() || matches!(moment, Moment::Forked | Moment::Executed);
        if let Some(mm) = self.spaces.get(&pid).filter(|_| !begins) {
            self.probes.add_dirty_bits(mm.0, &mut snapshot);
        }
        Ok(snapshot)
    }

    /// Hands a snapshot on. Who writes to the files in it is told from now on.
    fn see(&mut self, snapshot: &Snapshot) {
        let ends = matches!(snapshot.moment, Moment::AtExit | Moment::Left | Moment::Live);
        let files = snapshot.segments.iter().filter(|segment| segment.has_file() && !ends);
        for segment in files {
            if let Err(error) = self.probes.watch(segment.device, segment.inode) {
                self.troubles.push(("mapped-files", error.to_string()));
                break;
            }
        }
        self.investigation.snapshot(snapshot);
    }

    /// A program begins: a perf map file that is there already is another's.
    fn begin_names(&mut self, pid: u32, tid: u32) {
        let Some(instance) = self.investigation.instance(pid) else { return };
        let there = perf_map::find(tid).ok().flatten().map(|found| found.stamp);
        self.perf_maps.insert(pid, (instance, there));
    }

    /// Reads the names that a process's program has written for its own code so far. When it
    /// executes another one, they are still of the one before.
    fn read_names(&mut self, pid: u32, tid: u32) {
        let Some(&(instance, before)) = self.perf_maps.get(&pid) else { return };
        let names = match perf_map::find(tid) {
            Ok(Some(found)) if Some(found.stamp) != before => found.read(),
            Ok(_) => return,
            Err(why) => Err(why),
        };
        match names {
            Ok(bytes) => {
                let names = PerfMap::parse(&bytes);
                if names.bad_lines > 0 {
                    let why = format!("process {pid}: {} lines are no entries", names.bad_lines);
                    self.troubles.push(("perf-map", why));
                }
                self.investigation.written(instance, &bytes);
                self.modules.entry(instance).or_default().set_names(names);
            }
            Err(why) => self.troubles.push(("perf-map", why)),
        }
    }

    /// Takes a snapshot of every process that runs.
    pub(super) fn periodic(&mut self) {
        for pid in mem::take(&mut self.running) {
            // One that ended a moment ago is simply not there any more.
            self.drain();
            if let Ok(snapshot) = self.take(pid, pid, Moment::Periodic) {
                self.count_lost();
                self.see(&snapshot);
                self.tell(pid, pid);
                self.running.insert(pid);
            } else {
                self.unstopped.remove(&pid);
            }
        }
    }

    /// Takes the last snapshot of processes that go on.
    fn leave(&mut self) {
        for pid in mem::take(&mut self.running) {
            if self.probes.is_traced(pid) {
                self.look(pid, pid, Moment::Live);
                self.tell(pid, pid);
                self.read_names(pid, pid);
            }
        }
    }

    fn count_lost(&mut self) {
        let count = |counter| self.probes.counter(counter).ok();
        match [abi::COUNT_LOST_EVENTS, abi::COUNT_BRACKETS_FULL, abi::COUNT_LOST_STACKS].map(count)
        {
            [Some(events), Some(brackets), Some(stacks)] => {
                self.lost = Lost { events: events + brackets, stacks, snapshots: 0 };
            }
            // What cannot be read may be more than nothing.
            _ => self.unreadable += 1,
        }
        self.investigation.lost(Lost {
            events: self.lost.events + self.stream.unreadable() + self.unreadable,
            stacks: self.lost.stacks,
            snapshots: self.failed_snapshots,
        });
    }

    /// Ends the session: the report, with names for all that it mentions.
    pub(super) fn finish(
        mut self,
        command: Option<Vec<String>>,
        pids: Vec<u32>,
        exit: Option<Exit>,
    ) -> (Report, Option<recording::Error>) {
        self.drain();
        self.leave();
        self.count_lost();
        let mut probes = self.probes.probes().to_vec();
        if self.failed_tables > 0 {
            let why = format!("{} times a process's code could not be shown", self.failed_tables);
            self.troubles.push(("unwind-tables", format!("{why}; its stacks may end early")));
        }
        if let Some(why) = left_out(self.probes.left_out()) {
            self.troubles.push(("preemption", why));
        }
        probes.extend(self.troubles.into_iter().map(|(name, why)| crate::report::Probe {
            name: name.to_owned(),
            attached: false,
            why_not: Some(why),
        }));
        let closing = Closing {
            host: facts::host(),
            command,
            pids,
            started_at: self.started_at.format(&Rfc3339).unwrap_or_default(),
            ended_ns: procfs::monotonic_ns(),
            exit,
            probes,
        };
        // The probes are not needed any more, and their memory may be.
        let aside = || crate::live::linger::drop_aside((self.probes, self.stream));
        self.investigation.finish(closing, &self.modules, aside)
    }
}

/// Whether a call has mapped code of a file.
fn maps_code(call: &crate::event::MapCall) -> bool {
    const PROT_EXEC: u64 = 4;
    call.syscall == libc::SYS_mmap
        && !call.entry
        && call.result >= 0
        && call.args[2] & PROT_EXEC != 0
        && call.args[4] as i32 >= 0
}

/// What to say of programs that the kernel left out, if it left any out.
fn left_out(times: Result<LeftOut, probes::Error>) -> Option<String> {
    let LeftOut { needed, spare } = match times {
        Ok(LeftOut { needed: 0, spare: 0 }) => return None,
        Ok(times) => times,
        Err(error) => return Some(error.to_string()),
    };
    let mut text = "the kernel leaves a probe out while the same one is put aside on that \
                    processor:"
        .to_owned();
    if needed > 0 {
        text += &format!(
            " up to {needed} forks, programs, ends and mapping calls may be missing (those that are \
             known to be are among the lost events);"
        );
    }
    if spare > 0 {
        text += &format!(
            " {spare} changes of counters and of files, so causes may be told less exactly, and \
             pages that came with no fault may have none;"
        );
    }
    text.pop();
    Some(text)
}
