//! A machine small enough to know the truth: it plays the kernel for one or more processes, gives
//! the events that the probes would give, and the snapshots that `/proc` would show.

use std::collections::BTreeMap;
use std::ops::Range;

use super::modules::NoBinaries;
use super::{Closing, Findings, Question, Session, Target};
use crate::model::Arch;
use crate::report::{
    Address, Mode, Process, ReleaseKind, Segment as ReportSegment, StackId, check_identity,
};
use crate::trace::{
    Access, Body, Delta, Event, Fault, FileId, Fork, Input, Losses, MapCall, Missing, MissingPages,
    MmId, Moment, PageKind, PageRun, PageState, Rss, Segment, Snapshot, Stack, StackEnd, StackHash,
};

pub const P: u64 = 4096;
pub const READ: u32 = 4;
pub const WRITE: u32 = 6;
pub const PROTECTED: u32 = 7;

/// How smaps and the page map show a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub state: PageState,
    pub dirty: bool,
    pub folio_dirty: Option<bool>,
    pub large: Option<bool>,
    pub huge: bool,
}

pub const ANON: Page =
    Page { state: PageState::Anonymous, dirty: true, folio_dirty: None, large: None, huge: false };
pub const FILE: Page = Page {
    state: PageState::File,
    dirty: false,
    folio_dirty: Some(false),
    large: Some(false),
    huge: false,
};

/// One process as the kernel has it.
#[derive(Clone, Default)]
pub struct Memory {
    pub segments: Vec<Segment>,
    pub pages: BTreeMap<u64, Page>,
}

pub fn segment(range: Range<u64>, perms: &str, name: &str) -> Segment {
    Segment {
        start: range.start,
        end: range.end,
        perms: perms.to_owned(),
        inode: u64::from(name.starts_with('/')),
        name: name.to_owned(),
        ..Segment::default()
    }
}

impl Memory {
    pub fn of(segments: &[(Range<u64>, &str, &str)]) -> Self {
        let segments =
            segments.iter().map(|(range, perms, name)| segment(range.clone(), perms, name));
        Self { segments: segments.collect(), pages: BTreeMap::new() }
    }

    pub fn set(&mut self, range: Range<u64>, page: Page) {
        for address in range.step_by(P as usize) {
            self.pages.insert(address, page);
        }
    }

    pub fn clear(&mut self, range: Range<u64>) {
        for address in range.step_by(P as usize) {
            self.pages.remove(&address);
        }
    }

    pub fn snapshot(&self, pid: u32, moment: Moment, time_ns: u64) -> Snapshot {
        let mut segments = self.segments.clone();
        segments.sort_by_key(|s| s.start);
        for segment in &mut segments {
            for page in self.pages.range(segment.start..segment.end).map(|(_, page)| page) {
                match page.state {
                    PageState::Anonymous => {
                        segment.rss += P;
                        segment.anonymous += P;
                    }
                    PageState::File => segment.rss += P,
                    PageState::Swapped => segment.swap += P,
                    PageState::Zero => {}
                }
                segment.dirty += if page.dirty { P } else { 0 };
            }
        }
        let pages = self
            .pages
            .iter()
            .filter(|(at, _)| segments.iter().any(|s| (s.start..s.end).contains(at)))
            .map(|(at, page)| PageRun {
                range: *at..at + P,
                kind: PageKind {
                    state: page.state,
                    huge: page.huge,
                    folio_dirty: page.folio_dirty,
                    large_folio: page.large,
                    entry_dirty: None,
                },
            })
            .collect();
        Snapshot {
            time_ns,
            pid,
            moment,
            segments,
            pages: Some(pages),
            folios: Vec::new(),
            threads: Vec::new(),
            peak_rss: 0,
        }
    }
}

/// A session that is being played.
pub struct Sim {
    pub session: Session,
    pub time: u64,
    pub events: Vec<Event>,
    known: std::collections::BTreeSet<(u64, u64)>,
    /// Events find no room.
    pub full: bool,
    /// What is kept of those.
    missing: Vec<Event>,
    /// Everything that the session took.
    pub inputs: Vec<Input>,
}

/// Who acts: process, thread, address space.
#[derive(Clone, Copy)]
pub struct Who {
    pub pid: u32,
    pub tid: u32,
    pub mm: u64,
}

pub const A: Who = Who { pid: 100, tid: 100, mm: 0xa };

impl Sim {
    pub fn new() -> Self {
        Self::asking(Vec::new())
    }

    /// A session that is asked for the histories of some targets too.
    pub fn asking(targets: Vec<Target>) -> Self {
        let question = Question { targets, ..Question::default() };
        Self {
            session: Session::new(Arch::X86_64, Mode::Run, 0, question, Box::new(NoBinaries)),
            time: 0,
            events: Vec::new(),
            known: std::collections::BTreeSet::new(),
            full: false,
            missing: Vec::new(),
            inputs: Vec::new(),
        }
    }

    fn apply(&mut self, input: Input) {
        self.session.apply(&input);
        self.inputs.push(input);
    }

    /// This moment has a name.
    pub fn mark(&mut self, name: &str) {
        self.time += 10;
        self.apply(Input::Mark(self.time, name.to_owned()));
    }

    /// A session in which `A` runs a program of these segments.
    pub fn running(memory: &Memory) -> Self {
        let mut sim = Self::new();
        sim.exec(A, memory);
        sim
    }

    pub fn send(&mut self, who: Who, body: Body) {
        self.time += 10;
        let event =
            Event { time_ns: self.time, pid: who.pid, tid: who.tid, mm: MmId(who.mm), body };
        if self.full && !matches!(event.body, Body::Stack(_)) {
            self.lose(event);
            return;
        }
        self.event(event);
    }

    fn event(&mut self, event: Event) {
        self.apply(Input::Event(event.clone()));
        self.events.push(event);
    }

    /// The event is lost: what it was about is kept, for each 2 MiB the last time.
    fn lose(&mut self, event: Event) {
        let body = match event.body {
            Body::Fault(fault) => {
                let start = fault.address & !((2 << 20) - 1);
                let mut pages = MissingPages { start, ..Default::default() };
                pages.set(fault.address);
                for known in &mut self.missing {
                    if let Body::Missing(Missing::Pages(known_pages)) = &mut known.body
                        && (known.mm, known_pages.start) == (event.mm, start)
                    {
                        known_pages.set(fault.address);
                        known.time_ns = event.time_ns;
                        return;
                    }
                }
                Missing::Pages(Box::new(pages))
            }
            _ => Missing::Space { calls: true },
        };
        self.missing.push(Event { body: Body::Missing(body), ..event });
    }

    /// Of the losses only those of faults stay.
    pub fn missing_calls_were_spilled(&mut self) {
        self.missing.retain(|event| matches!(event.body, Body::Missing(Missing::Pages(_))));
    }

    /// Tells what is missing so far.
    pub fn tell_missing(&mut self) {
        let mut missing = std::mem::take(&mut self.missing);
        missing.sort_by_key(|event| event.time_ns);
        for event in missing {
            self.apply(Input::Lost(LOST));
            self.event(event);
        }
    }

    pub fn exec(&mut self, who: Who, memory: &Memory) {
        self.send(who, Body::Exec { old_tid: who.tid });
        self.snapshot(who, Moment::Executed, memory);
    }

    /// The hash of a stack by its number; the stack's own record is sent at its first use.
    pub fn stack(&mut self, who: Who, stack: u64) -> Option<StackHash> {
        if stack != 0 && self.known.insert((who.mm, stack)) {
            let ips = vec![stack, 0x1000];
            let end = StackEnd::Complete;
            self.send(who, Body::Stack(Stack { hash: StackHash(stack), end, ips }));
        }
        (stack != 0).then_some(StackHash(stack))
    }

    pub fn lose_stack(&mut self, who: Who, stack: u64) {
        self.known.insert((who.mm, stack));
    }

    /// A fault with the counters of file, anon, swap and shmem.
    pub fn fault(&mut self, who: Who, address: u64, error: u32, delta: [i32; 4], stack: u64) {
        self.fault_with(who, address, error, delta, stack, |_| {});
    }

    pub fn fault_with(
        &mut self,
        who: Who,
        address: u64,
        error: u32,
        [file, anon, swap, shmem]: [i32; 4],
        stack: u64,
        change: impl Fn(&mut Fault),
    ) {
        let stack = self.stack(who, stack);
        let some = |by: i32| (by != 0).then_some(by);
        let mut fault = Fault {
            address,
            kernel: false,
            major: false,
            access: Some(Access {
                present: error & 1 != 0,
                write: error & 2 != 0,
                instruction: false,
            }),
            delta: Delta {
                file: some(file),
                anon: some(anon),
                swap: some(swap),
                shmem: some(shmem),
            },
            delta_inexact: false,
            entry: None,
            same_page: None,
            rewrite: None,
            syscall: None,
            stack,
        };
        change(&mut fault);
        self.send(who, Body::Fault(fault));
    }

    /// First writes to every page of a range.
    pub fn fill(&mut self, who: Who, range: Range<u64>, stack: u64, memory: &mut Memory) {
        for page in range.clone().step_by(P as usize) {
            self.fault(who, page + 8, WRITE, [0, 1, 0, 0], stack);
        }
        memory.set(range, ANON);
    }

    pub fn call(&mut self, who: Who, entry: bool, syscall: i64, args: &[u64], result: i64, s: u64) {
        let stack = self.stack(who, s);
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        self.send(who, Body::Map(MapCall { syscall, entry, result, args: all, stack, file: None }));
    }

    /// `mmap`, private and anonymous unless the flags say otherwise.
    pub fn mmap(&mut self, who: Who, range: Range<u64>, flags: u64, stack: u64) {
        let args = [0, range.end - range.start, 3, flags, u64::MAX, 0];
        self.call(who, false, 9, &args, range.start as i64, stack);
    }

    /// The same of a file that the probe has named.
    pub fn mmap_of(&mut self, who: Who, range: Range<u64>, flags: u64, stack: u64, file: FileId) {
        let stack = self.stack(who, stack);
        let args = [0, range.end - range.start, 3, flags, 3, 0];
        let result = range.start as i64;
        let call = MapCall { syscall: 9, entry: false, result, args, stack, file: Some(file) };
        self.send(who, Body::Map(call));
    }

    pub fn munmap(&mut self, who: Who, range: Range<u64>, stack: u64) {
        self.call(who, true, 11, &[range.start, range.end - range.start], 0, stack);
    }

    pub fn madvise(&mut self, who: Who, range: Range<u64>, advice: u64, stack: u64) {
        self.call(who, true, 28, &[range.start, range.end - range.start, advice], 0, stack);
    }

    pub fn mremap(&mut self, who: Who, old: Range<u64>, size: u64, flags: u64, to: i64, s: u64) {
        let args = [old.start, old.end - old.start, size, flags];
        self.call(who, true, 25, &args, 0, s);
        self.call(who, false, 25, &args, to, s);
    }

    pub fn fork(&mut self, parent: Who, child: Who, stack: u64, same_mm: bool) {
        let stack = self.stack(parent, stack);
        let fork = Fork {
            child_pid: child.pid,
            child_tid: child.tid,
            child_mm: MmId(child.mm),
            thread: false,
            same_mm,
            stack,
        };
        self.send(parent, Body::Fork(fork));
    }

    /// Access with no fault to the memory of `of`, in a call that names these ranges.
    pub fn access(
        &mut self,
        who: Who,
        of: Who,
        syscall: Option<i64>,
        ranges: &[(u64, u64)],
        stack: u64,
    ) {
        let stack = self.stack(who, stack);
        let access = Rss {
            actor: (who.mm != 0).then_some(MmId(who.mm)),
            owner: (who.mm != of.mm).then_some(of.pid),
            member: 1,
            syscall,
            request: 0,
            ranges: ranges.to_vec(),
            more: false,
            stack,
        };
        self.send(Who { mm: of.mm, ..who }, Body::Rss(access));
    }

    pub fn snapshot(&mut self, who: Who, moment: Moment, memory: &Memory) {
        self.time += 10;
        let snapshot = memory.snapshot(who.pid, moment, self.time);
        self.apply(Input::Snapshot(snapshot));
    }

    pub fn exit(&mut self, who: Who, memory: &Memory) {
        self.snapshot(who, Moment::AtExit, memory);
        self.send(who, Body::Exit { group_dead: true, code: 0 });
    }

    pub fn finish(mut self) -> Played {
        let findings = self.session.report(Closing::default());
        check_identity(&findings.report).expect("the identity holds");
        Played { findings }
    }
}

/// The result of a session.
pub struct Played {
    pub findings: Findings,
}

/// A path in short: the stack's number, cause, pages of RSS, of Dirty, touched; faults.
pub type Short = (u64, String, u64, u64, u64, u64);

pub fn short(stack: u64, cause: &str, pages: [u64; 3], faults: u64) -> Short {
    (stack, cause.to_owned(), pages[0], pages[1], pages[2], faults)
}

impl Played {
    pub fn process(&self, pid: u32) -> &Process {
        self.findings.report.processes.iter().find(|p| p.pid == pid).expect("the process")
    }

    pub fn segment(&self, pid: u32, start: u64) -> &ReportSegment {
        let start = Address(start);
        self.process(pid).segments.iter().find(|s| s.start == start).expect("the segment")
    }

    /// The first address of a stack, which is its number.
    pub fn number(&self, stack: Option<StackId>) -> u64 {
        stack.map_or(0, |id| {
            let raw = &self.findings.stacks[id.0 as usize];
            assert_eq!(raw.id, id);
            raw.ips.first().copied().unwrap_or(u64::MAX)
        })
    }

    pub fn paths(&self, pid: u32, start: u64) -> Vec<Short> {
        let mut paths: Vec<Short> = self
            .segment(pid, start)
            .paths
            .iter()
            .map(|p| {
                let pages = [p.rss_bytes / P, p.dirty_bytes / P, p.touched_bytes / P];
                short(self.number(p.stack), p.cause.as_str(), pages, p.faults)
            })
            .collect();
        paths.sort();
        paths
    }

    pub fn gone(&self, pid: u32) -> Vec<(u64, String, u64, u64)> {
        let gone = &self.process(pid).gone;
        gone.iter()
            .map(|g| {
                (self.number(g.stack), g.cause.as_str().to_owned(), g.touched_bytes / P, g.segments)
            })
            .collect()
    }

    /// What was given back before the end.
    pub fn released(&self, pid: u32) -> Vec<(u64, String, u64)> {
        let released = self.process(pid).released.iter().filter(|r| r.how != ReleaseKind::Exit);
        released
            .map(|r| (self.number(r.stack), r.how.as_str().to_owned(), r.rss_bytes / P))
            .collect()
    }

    /// What went with the process itself, in pages; `None` if its memory did not go with it.
    pub fn went_at_exit(&self, pid: u32) -> Option<u64> {
        let at_exit = self.process(pid).released.iter().find(|r| r.how == ReleaseKind::Exit)?;
        assert_eq!(at_exit.stack, None);
        Some(at_exit.rss_bytes / P)
    }

    /// Reasons with pages of RSS and of Dirty.
    pub fn unexplained(&self, pid: u32, start: u64) -> Vec<(String, i64, i64)> {
        let p = P as i64;
        self.segment(pid, start)
            .unexplained
            .iter()
            .map(|u| (u.reason.as_str().to_owned(), u.rss_bytes / p, u.dirty_bytes / p))
            .collect()
    }
}

pub const LOST: Losses = Losses { events: 3, stacks: 0, snapshots: 0 };
