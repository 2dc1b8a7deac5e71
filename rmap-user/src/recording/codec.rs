//! The inputs of a session as bytes.
//!
//! Comes in: [`Input`]s. Goes out: batches of bytes, and the same inputs from them. A batch needs
//! nothing of the batches before it. Faults that differ in time and address alone, the addresses
//! at one distance from each other, are one run: each more of them costs the bytes of its time.

use rustc_hash::FxHashMap;

use super::breakdown::{breakdown, put_breakdown, put_threads, threads};
use super::heap::{heap, put_heap};
use super::varint::{Bad, Reader, put, put_bytes, put_signed, put_signed_option};
use crate::trace::{
    Access, Body, Breakdown, Code, Delta, Entry, Event, Fault, FaultRun, FileChange, FileId, Fork,
    Input, Losses, MapCall, Missing, MissingPages, MmId, MmKey, Moment, PageKind, PageRun,
    PageState, ProcessFacts, Rewrite, Rewrites, Rss, Segment, Snapshot, Stack, StackEnd, StackHash,
    VmFlags,
};

const FAULTS: u8 = 0;
const MAP: u8 = 1;
const FORK: u8 = 2;
const EXEC: u8 = 3;
const EXIT: u8 = 4;
const STACK: u8 = 5;
const RSS: u8 = 6;
const SNAPSHOT: u8 = 7;
const PROCESS: u8 = 8;
const LOST: u8 = 9;
const CODE: u8 = 10;
const WRITTEN: u8 = 11;
const FILE: u8 = 12;
const MISSING: u8 = 13;
const MARK: u8 = 14;
const REWRITES: u8 = 15;
/// Of an allocator's shim.
const MALLOC: u8 = 41;
/// Of a language runtime: see [`super::runtime`].
const RUNTIME: u8 = 32;
/// Of an allocator: see [`super::heap`].
const HEAP: u8 = 40;

// What is missing, next to 0 and 1: faults, or other events too, of the address space.
const PAGES: u8 = 2;
const ANYWHERE: u8 = 3;
/// Bytes that [`MissingPages`] is about, and that one page table maps.
const LEAF: u64 = 2 << 20;

/// What faults of one run have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Template {
    pid: u32,
    tid: u32,
    mm: u64,
    bits: u16,
    delta: [Option<i32>; 4],
    /// Turned so that the faulting page is bit 0.
    window: u32,
    syscall: Option<i64>,
    stack: Option<StackHash>,
}

/// The bit of [`Template::bits`] that says whether the neighbours were read.
const WINDOW: u32 = 10;

impl Template {
    /// Whether a bit is set.
    const fn has(&self, bit: u32) -> bool {
        self.bits & (1 << bit) != 0
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    number: u64,
    address: u64,
}

/// Faults that go on.
#[derive(Debug)]
struct Run {
    template: Template,
    count: u64,
    stride: i64,
    last: u64,
    head: Vec<u8>,
    times: Vec<u8>,
}

/// Collects inputs.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    out: Vec<u8>,
    time: u64,
    templates: FxHashMap<Template, Known>,
    run: Option<Run>,
}

impl Batch {
    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len() + self.run.as_ref().map_or(0, |run| run.times.len() + 64)
    }

    /// Ends the batch and gives its bytes; the next one begins.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.end_run();
        let out = std::mem::take(&mut self.out);
        *self = Self::default();
        out
    }

    /// Adds an input.
    pub(crate) fn add(&mut self, input: &Input) {
        match input {
            Input::Event(event) => self.event(event),
            Input::Faults(run) => run.events().for_each(|event| self.event(&event)),
            Input::Snapshot(snapshot) => self.snapshot(snapshot),
            Input::Heap(heap) => {
                self.begin(HEAP);
                put_heap(&mut self.out, heap);
            }
            Input::Process(pid, facts) => self.process(*pid, facts),
            Input::Lost(losses) => self.lost(losses),
            Input::Code(pid, time_ns, code) => self.code(*pid, *time_ns, code),
            Input::Written(key, names) => self.written(*key, names),
            Input::Mark(time_ns, name) => {
                self.begin(MARK);
                self.time(*time_ns);
                put_bytes(&mut self.out, name.as_bytes());
            }
            Input::Rewrites(rewrites) => self.rewrites(rewrites),
        }
    }

    fn event(&mut self, event: &Event) {
        let kind = match &event.body {
            Body::Fault(fault) => return self.fault(event, fault),
            // It comes again as the stack that it was walked to.
            Body::RawStack(_) => return,
            Body::Map(_) => MAP,
            Body::Fork(_) => FORK,
            Body::Exec { .. } => EXEC,
            Body::Exit { .. } => EXIT,
            Body::Stack(_) => STACK,
            Body::Rss(_) => RSS,
            Body::File(_) => FILE,
            Body::Missing(_) => MISSING,
            Body::Malloc(_) => MALLOC,
            Body::Runtime(_) => RUNTIME,
        };
        self.begin(kind);
        self.time(event.time_ns);
        let out = &mut self.out;
        put(out, event.pid.into());
        put(out, event.tid.into());
        put(out, event.mm.0);
        match &event.body {
            Body::Fault(_) | Body::RawStack(_) => {}
            Body::Map(call) => {
                put_signed(out, call.syscall);
                out.push(call.entry.into());
                put_signed(out, call.result);
                call.args.iter().for_each(|arg| put(out, *arg));
                put(out, call.stack.map_or(0, |stack| stack.0));
                out.push(call.file.is_some().into());
                if let Some(file) = call.file {
                    put_file(out, file);
                }
            }
            Body::Fork(fork) => {
                put(out, fork.child_pid.into());
                put(out, fork.child_tid.into());
                put(out, fork.child_mm.0);
                out.push(u8::from(fork.thread) | u8::from(fork.same_mm) << 1);
                put(out, fork.stack.map_or(0, |stack| stack.0));
            }
            Body::Exec { old_tid } => put(out, (*old_tid).into()),
            Body::Exit { group_dead, code } => {
                out.push((*group_dead).into());
                put_signed(out, (*code).into());
            }
            Body::Stack(stack) => {
                put(out, stack.hash.0);
                out.push(end_number(stack.end));
                put(out, stack.ips.len() as u64);
                let mut last = 0;
                for ip in &stack.ips {
                    put_signed(out, ip.wrapping_sub(last).cast_signed());
                    last = *ip;
                }
            }
            Body::Rss(rss) => {
                put(out, rss.actor.map_or(0, |mm| mm.0));
                put(out, rss.owner.unwrap_or(0).into());
                put(out, rss.member.into());
                put_option(out, rss.syscall);
                put(out, rss.request);
                out.push(rss.more.into());
                put(out, rss.ranges.len() as u64);
                for (start, bytes) in &rss.ranges {
                    put(out, *start);
                    put(out, *bytes);
                }
                put(out, rss.stack.map_or(0, |stack| stack.0));
            }
            Body::File(change) => {
                put_file(out, change.file);
                put(out, change.index);
                put(out, change.pages.into());
                let flags = [change.gone, change.stranger, change.fault];
                out.push(flags.iter().enumerate().map(|(at, flag)| u8::from(*flag) << at).sum());
                put_option(out, change.syscall);
                put(out, change.stack.map_or(0, |stack| stack.0));
            }
            Body::Missing(Missing::Pages(pages)) => {
                out.push(PAGES);
                put(out, pages.start / LEAF);
                pages.pages.iter().for_each(|bits| put(out, *bits));
            }
            Body::Missing(Missing::Space { calls }) => out.push(u8::from(*calls)),
            Body::Missing(Missing::Anywhere) => out.push(ANYWHERE),
            Body::Malloc(call) => super::malloc::put_call(out, call),
            Body::Runtime(runtime) => super::runtime::put_runtime(out, runtime),
        }
    }

    fn fault(&mut self, event: &Event, fault: &Fault) {
        let template = template(event, fault);
        let time = event.time_ns.wrapping_sub(self.time).cast_signed();
        self.time = event.time_ns;
        if let Some(run) = &mut self.run
            && run.template == template
        {
            let stride = fault.address.wrapping_sub(run.last).cast_signed();
            if run.count == 1 || run.stride == stride {
                run.count += 1;
                run.stride = stride;
                run.last = fault.address;
                put_signed(&mut run.times, time);
                return;
            }
        }
        self.end_run();
        let next = self.templates.len() as u64;
        let known = self.templates.entry(template).or_insert(Known { number: next, address: 0 });
        let mut head = vec![FAULTS];
        put(&mut head, known.number);
        if known.number == next {
            put_template(&mut head, &template);
        }
        put_signed(&mut head, fault.address.wrapping_sub(known.address).cast_signed());
        let mut times = Vec::new();
        put_signed(&mut times, time);
        self.run = Some(Run { template, count: 1, stride: 0, last: fault.address, head, times });
    }

    fn end_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        if let Some(known) = self.templates.get_mut(&run.template) {
            known.address = run.last;
        }
        self.out.extend_from_slice(&run.head);
        put(&mut self.out, run.count);
        if run.count > 1 {
            put_signed(&mut self.out, run.stride);
        }
        self.out.extend_from_slice(&run.times);
    }

    fn begin(&mut self, kind: u8) {
        self.end_run();
        self.out.push(kind);
    }

    fn time(&mut self, time_ns: u64) {
        put_signed(&mut self.out, time_ns.wrapping_sub(self.time).cast_signed());
        self.time = time_ns;
    }

    fn process(&mut self, pid: u32, facts: &ProcessFacts) {
        self.begin(PROCESS);
        put(&mut self.out, pid.into());
        put_option(&mut self.out, facts.parent_pid.map(i64::from));
        put_bytes(&mut self.out, facts.command.as_bytes());
        put_bytes(&mut self.out, facts.exe.as_bytes());
    }

    fn lost(&mut self, lost: &Losses) {
        self.begin(LOST);
        for number in [lost.events, lost.stacks, lost.snapshots] {
            put(&mut self.out, number);
        }
    }

    fn written(&mut self, instance: MmKey, names: &[u8]) {
        self.begin(WRITTEN);
        put(&mut self.out, instance.0.into());
        put_bytes(&mut self.out, names);
    }

    fn rewrites(&mut self, rewrites: &Rewrites) {
        self.begin(REWRITES);
        self.time(rewrites.time_ns);
        put(&mut self.out, rewrites.pid.into());
        super::rewrites::put_step(&mut self.out, &rewrites.step);
    }

    fn code(&mut self, pid: u32, time_ns: u64, code: &[Code]) {
        self.begin(CODE);
        self.time(time_ns);
        let out = &mut self.out;
        put(out, pid.into());
        put(out, code.len() as u64);
        for code in code {
            put(out, code.start);
            put(out, code.end.wrapping_sub(code.start));
            put(out, code.offset);
            put_bytes(out, code.path.as_bytes());
            put(out, code.device.0.into());
            put(out, code.device.1.into());
            put(out, code.inode);
            put_option(out, code.file.map(i64::from));
            put_bytes(out, code.build_id.as_deref().unwrap_or_default().as_bytes());
            put_signed_option(out, code.bias);
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        self.begin(SNAPSHOT);
        self.time(snapshot.time_ns);
        let out = &mut self.out;
        put(out, snapshot.pid.into());
        out.push(moment_number(snapshot.moment));
        put(out, snapshot.peak_rss);
        put(out, snapshot.segments.len() as u64);
        let mut last = 0;
        for segment in &snapshot.segments {
            put(out, segment.start.wrapping_sub(last));
            put(out, segment.end.wrapping_sub(segment.start));
            last = segment.end;
            put_bytes(out, segment.perms.as_bytes());
            put(out, segment.offset);
            put(out, segment.device.0.into());
            put(out, segment.device.1.into());
            put(out, segment.inode);
            put_bytes(out, segment.name.as_bytes());
            for size in [
                segment.rss,
                segment.dirty,
                segment.swap,
                segment.anonymous,
                segment.lazy_free,
                segment.hugetlb,
            ] {
                put(out, size);
            }
            put_bytes(out, segment.vm_flags.as_str().as_bytes());
            put_breakdown(out, &segment.breakdown);
        }
        put_threads(out, &snapshot.threads);
        // 0: the pages were not read.
        let Some(pages) = &snapshot.pages else { return put(out, 0) };
        put(out, pages.len() as u64 + 1);
        let mut last = 0;
        for run in pages {
            put(out, run.range.start.wrapping_sub(last));
            put(out, run.range.end.wrapping_sub(run.range.start));
            last = run.range.end;
            put(out, kind_number(run.kind));
        }
        put(out, snapshot.folios.len() as u64);
        let mut last = 0;
        for folio in &snapshot.folios {
            put(out, folio.start.wrapping_sub(last));
            put(out, folio.end.wrapping_sub(folio.start));
            last = folio.end;
        }
    }
}

fn template(event: &Event, fault: &Fault) -> Template {
    let access = fault.access;
    let entry = fault.entry;
    let window = entry.and_then(|entry| entry.window);
    let flags = [
        fault.kernel,
        fault.major,
        fault.delta_inexact,
        access.is_some(),
        access.is_some_and(|access| access.present),
        access.is_some_and(|access| access.write),
        access.is_some_and(|access| access.instruction),
        entry.is_some(),
        entry.is_some_and(|entry| entry.huge),
        entry.is_some_and(|entry| entry.dirty),
        window.is_some(),
        fault.same_page.is_some(),
        fault.same_page == Some(true),
        fault.rewrite.is_some(),
        fault.rewrite.is_some_and(|rewrite| rewrite.was_dirty),
    ];
    let bits = flags.iter().enumerate().map(|(at, flag)| u16::from(*flag) << at).sum();
    Template {
        pid: event.pid,
        tid: event.tid,
        mm: event.mm.0,
        bits,
        delta: delta(&fault.delta),
        window: window.unwrap_or(0).rotate_right(place(fault.address)),
        syscall: fault.syscall,
        stack: fault.stack,
    }
}

/// The faulting page's bit in its window.
const fn place(address: u64) -> u32 {
    ((address >> 12) & 15) as u32
}

fn put_template(out: &mut Vec<u8>, template: &Template) {
    put(out, template.pid.into());
    put(out, template.tid.into());
    put(out, template.mm);
    put(out, template.bits.into());
    put_delta(out, template.delta);
    put(out, template.window.into());
    put_option(out, template.syscall);
    put(out, template.stack.map_or(0, |stack| stack.0));
}

const fn delta(delta: &Delta) -> [Option<i32>; 4] {
    [delta.file, delta.anon, delta.swap, delta.shmem]
}

fn put_delta(out: &mut Vec<u8>, delta: [Option<i32>; 4]) {
    let mask = delta.iter().enumerate().map(|(at, by)| u8::from(by.is_some()) << at).sum();
    out.push(mask);
    delta.iter().flatten().for_each(|by| put_signed(out, (*by).into()));
}

/// 0 for none, else one more. What is put is never negative.
fn put_option(out: &mut Vec<u8>, value: Option<i64>) {
    put(out, value.map_or(0, |value| value.cast_unsigned().wrapping_add(1)));
}

fn option(from: &mut Reader<'_>) -> Result<Option<i64>, Bad> {
    Ok(from.number()?.checked_sub(1).map(u64::cast_signed))
}

fn read_delta(from: &mut Reader<'_>) -> Result<[Option<i32>; 4], Bad> {
    let mask = from.byte()?;
    let mut delta = [None; 4];
    for (at, by) in delta.iter_mut().enumerate() {
        if mask & (1 << at) != 0 {
            *by = Some(from.small_signed()?);
        }
    }
    Ok(delta)
}

fn put_file(out: &mut Vec<u8>, file: FileId) {
    put(out, file.device.0.into());
    put(out, file.device.1.into());
    put(out, file.inode);
}

fn file(from: &mut Reader<'_>) -> Result<FileId, Bad> {
    Ok(FileId { device: (from.small()?, from.small()?), inode: from.number()? })
}

fn hash(from: &mut Reader<'_>) -> Result<Option<StackHash>, Bad> {
    Ok(Some(from.number()?).filter(|hash| *hash != 0).map(StackHash))
}

fn end_number(end: StackEnd) -> u8 {
    StackEnd::ALL.iter().position(|known| *known == end).unwrap_or(0) as u8
}

const MOMENTS: [Moment; 9] = [
    Moment::Start,
    Moment::Forked,
    Moment::Executed,
    Moment::Periodic,
    Moment::Live,
    Moment::AtExit,
    Moment::StartRunning,
    Moment::Left,
    Moment::Risen,
];

fn moment_number(moment: Moment) -> u8 {
    MOMENTS.iter().position(|known| *known == moment).unwrap_or(0) as u8
}

const STATES: [PageState; 4] =
    [PageState::Anonymous, PageState::File, PageState::Zero, PageState::Swapped];

fn kind_number(kind: PageKind) -> u64 {
    let state = STATES.iter().position(|known| *known == kind.state).unwrap_or(0) as u8;
    let three = |flag: Option<bool>| flag.map_or(0, |flag| 1 + u8::from(flag));
    let low = state
        | u8::from(kind.huge) << 2
        | three(kind.folio_dirty) << 3
        | three(kind.large_folio) << 5;
    u64::from(low) | u64::from(three(kind.entry_dirty)) << 7
}

fn page_kind(number: u64) -> Result<PageKind, Bad> {
    let three = |bits: u64| match bits & 3 {
        0 => Ok(None),
        1 => Ok(Some(false)),
        2 => Ok(Some(true)),
        _ => Err(Bad("a page of no known kind")),
    };
    if number > 0x1ff {
        return Err(Bad("a page of no known kind"));
    }
    Ok(PageKind {
        state: STATES[(number & 3) as usize],
        huge: number & 4 != 0,
        folio_dirty: three(number >> 3)?,
        large_folio: three(number >> 5)?,
        entry_dirty: three(number >> 7)?,
    })
}

/// Gives the inputs of a batch again.
#[derive(Debug, Default)]
pub(crate) struct Unbatch<'a> {
    from: Reader<'a>,
    /// The version of the format.
    version: u16,
    time: u64,
    templates: Vec<(Template, u64)>,
    /// Template, stride, and how many faults are still to come.
    run: Option<(usize, i64, u64)>,
}

impl<'a> Unbatch<'a> {
    pub(crate) fn new(bytes: &'a [u8], version: u16) -> Self {
        Self { from: Reader(bytes), version, ..Self::default() }
    }

    /// The next input, each fault for itself.
    fn next_single(&mut self) -> Result<Option<Input>, Bad> {
        if let Some((number, stride, left)) = self.run {
            let (template, address) = &mut self.templates[number];
            *address = address.wrapping_add_signed(stride);
            let (template, address) = (*template, *address);
            self.run = (left > 1).then_some((number, stride, left - 1));
            return self.fault(&template, address).map(Some);
        }
        if self.from.0.is_empty() {
            return Ok(None);
        }
        let input = match self.from.byte()? {
            FAULTS => self.faults()?,
            kind @ (MAP..=RSS | FILE | MISSING | RUNTIME | MALLOC) => {
                Input::Event(self.event(kind)?)
            }
            SNAPSHOT => Input::Snapshot(self.snapshot()?),
            HEAP => Input::Heap(Box::new(heap(&mut self.from)?)),
            PROCESS => {
                let pid = self.from.small()?;
                let parent = option(&mut self.from)?;
                let parent_pid = parent
                    .map(u32::try_from)
                    .transpose()
                    .map_err(|_| Bad("a process id is too large"))?;
                let (command, exe) = (self.from.text()?, self.from.text()?);
                Input::Process(pid, ProcessFacts { command, exe, parent_pid })
            }
            LOST => Input::Lost(Losses {
                events: self.from.number()?,
                stacks: self.from.number()?,
                snapshots: self.from.number()?,
            }),
            CODE => self.code()?,
            MARK => Input::Mark(self.time()?, self.from.text()?),
            REWRITES => {
                let (time_ns, pid) = (self.time()?, self.from.small()?);
                let step = super::rewrites::step(&mut self.from)?;
                Input::Rewrites(Rewrites { pid, time_ns, step })
            }
            WRITTEN => Input::Written(MmKey(self.from.small()?), self.from.bytes()?.to_vec()),
            _ => return Err(Bad("an input of no known kind")),
        };
        Ok(Some(input))
    }

    /// The next input; `None` at the end. Faults of one run come at once, if nothing but addresses and
    /// times differs in them.
    pub(crate) fn next(&mut self) -> Result<Option<Input>, Bad> {
        let Some(first) = self.next_single()? else { return Ok(None) };
        let first = match (self.run, first) {
            // Each fault's own address says which neighbours its window means.
            (Some((number, ..)), Input::Event(first)) if !self.templates[number].0.has(WINDOW) => {
                first
            }
            (_, first) => return Ok(Some(first)),
        };
        let Some((number, stride, left)) = self.run.take() else {
            return Ok(Some(Input::Event(first)));
        };
        let mut times_ns = vec![first.time_ns];
        for _ in 0..left {
            times_ns.push(self.time()?);
        }
        let (_, address) = &mut self.templates[number];
        *address = address.wrapping_add_signed(stride.wrapping_mul(left as i64));
        Ok(Some(Input::Faults(FaultRun { first, stride, times_ns })))
    }

    fn time(&mut self) -> Result<u64, Bad> {
        self.time = self.time.wrapping_add_signed(self.from.signed()?);
        Ok(self.time)
    }

    fn faults(&mut self) -> Result<Input, Bad> {
        let number = self.from.number()?;
        let from = &mut self.from;
        if number == self.templates.len() as u64 {
            let template = Template {
                pid: from.small()?,
                tid: from.small()?,
                mm: from.number()?,
                bits: u16::try_from(from.number()?).map_err(|_| Bad("unknown flags of a fault"))?,
                delta: read_delta(from)?,
                window: from.small()?,
                syscall: option(from)?,
                stack: hash(from)?,
            };
            self.templates.push((template, 0));
        }
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let (template, address) =
            self.templates.get_mut(number).ok_or(Bad("a fault like none before"))?;
        *address = address.wrapping_add_signed(from.signed()?);
        let (template, address) = (*template, *address);
        let count = from.count()?;
        if count == 0 {
            return Err(Bad("a run of no faults"));
        }
        if count > 1 {
            self.run = Some((number, from.signed()?, count as u64 - 1));
        }
        self.fault(&template, address)
    }

    fn fault(&mut self, template: &Template, address: u64) -> Result<Input, Bad> {
        let flag = |at: u32| template.has(at);
        let [file, anon, swap, shmem] = template.delta;
        let window = template.window.rotate_left(place(address));
        let fault = Fault {
            address,
            kernel: flag(0),
            major: flag(1),
            delta_inexact: flag(2),
            access: flag(3).then_some(Access {
                present: flag(4),
                write: flag(5),
                instruction: flag(6),
            }),
            delta: Delta { file, anon, swap, shmem },
            entry: flag(7).then_some(Entry {
                huge: flag(8),
                dirty: flag(9),
                window: flag(WINDOW).then_some(window),
            }),
            same_page: flag(11).then_some(flag(12)),
            rewrite: flag(13).then_some(Rewrite { was_dirty: flag(14) }),
            syscall: template.syscall,
            stack: template.stack,
        };
        Ok(Input::Event(Event {
            time_ns: self.time()?,
            pid: template.pid,
            tid: template.tid,
            mm: MmId(template.mm),
            body: Body::Fault(fault),
        }))
    }

    fn event(&mut self, kind: u8) -> Result<Event, Bad> {
        let time_ns = self.time()?;
        let from = &mut self.from;
        let (pid, tid, mm) = (from.small()?, from.small()?, MmId(from.number()?));
        let body = match kind {
            MAP => {
                let (syscall, entry, result) = (from.signed()?, from.byte()? != 0, from.signed()?);
                let mut args = [0; 6];
                for arg in &mut args {
                    *arg = from.number()?;
                }
                let stack = hash(from)?;
                let file = if from.byte()? != 0 { Some(file(from)?) } else { None };
                Body::Map(MapCall { syscall, entry, result, args, stack, file })
            }
            FORK => {
                let (child_pid, child_tid) = (from.small()?, from.small()?);
                let child_mm = MmId(from.number()?);
                let flags = from.byte()?;
                Body::Fork(Fork {
                    child_pid,
                    child_tid,
                    child_mm,
                    thread: flags & 1 != 0,
                    same_mm: flags & 2 != 0,
                    stack: hash(from)?,
                })
            }
            EXEC => Body::Exec { old_tid: from.small()? },
            EXIT => Body::Exit { group_dead: from.byte()? != 0, code: from.small_signed()? },
            STACK => {
                let hash = StackHash(from.number()?);
                let end = StackEnd::ALL.get(usize::from(from.byte()?)).copied();
                let count = from.count()?;
                let mut ips = Vec::with_capacity(count);
                let mut last = 0_u64;
                for _ in 0..count {
                    last = last.wrapping_add_signed(from.signed()?);
                    ips.push(last);
                }
                Body::Stack(Stack { hash, end: end.unwrap_or(StackEnd::Unknown), ips })
            }
            MISSING => Body::Missing(missing(from)?),
            MALLOC => Body::Malloc(super::malloc::call(from)?),
            RUNTIME => Body::Runtime(Box::new(super::runtime::runtime(from)?)),
            FILE => {
                let (file, index, pages) = (file(from)?, from.number()?, from.small()?);
                let flags = from.byte()?;
                Body::File(FileChange {
                    file,
                    index,
                    pages,
                    gone: flags & 1 != 0,
                    stranger: flags & 2 != 0,
                    fault: flags & 4 != 0,
                    syscall: option(from)?,
                    stack: hash(from)?,
                })
            }
            _ => {
                let actor = Some(MmId(from.number()?)).filter(|mm| mm.0 != 0);
                let owner = Some(from.small()?).filter(|pid| *pid != 0);
                let (member, syscall) = (from.small()?, option(from)?);
                let (request, more) = (from.number()?, from.byte()? != 0);
                let mut ranges = Vec::new();
                for _ in 0..from.count()? {
                    ranges.push((from.number()?, from.number()?));
                }
                let stack = hash(from)?;
                Body::Rss(Rss { actor, owner, member, syscall, request, ranges, more, stack })
            }
        };
        Ok(Event { time_ns, pid, tid, mm, body })
    }

    fn code(&mut self) -> Result<Input, Bad> {
        let time_ns = self.time()?;
        let has_biases = self.version >= 2;
        let from = &mut self.from;
        let pid = from.small()?;
        let mut code = Vec::new();
        for _ in 0..from.count()? {
            let start = from.number()?;
            code.push(Code {
                start,
                end: span(start, from.number()?)?,
                offset: from.number()?,
                path: from.text()?,
                device: (from.small()?, from.small()?),
                inode: from.number()?,
                file: option(from)?
                    .map(u32::try_from)
                    .transpose()
                    .map_err(|_| Bad("the number of a file is too large"))?,
                build_id: Some(from.text()?).filter(|id| !id.is_empty()),
                bias: if has_biases { from.signed_option()? } else { None },
            });
        }
        Ok(Input::Code(pid, time_ns, code))
    }

    fn snapshot(&mut self) -> Result<Snapshot, Bad> {
        let time_ns = self.time()?;
        let has_breakdown = self.version >= 4;
        let from = &mut self.from;
        let pid = from.small()?;
        let moment = MOMENTS.get(usize::from(from.byte()?));
        let moment = *moment.ok_or(Bad("a snapshot of no known moment"))?;
        let peak_rss = from.number()?;
        let mut segments = Vec::new();
        let mut last = 0;
        for _ in 0..from.count()? {
            let start = span(last, from.number()?)?;
            let end = span(start, from.number()?)?;
            last = end;
            segments.push(Segment {
                start,
                end,
                perms: from.text()?,
                offset: from.number()?,
                device: (from.small()?, from.small()?),
                inode: from.number()?,
                name: from.text()?,
                rss: from.number()?,
                dirty: from.number()?,
                swap: from.number()?,
                anonymous: from.number()?,
                lazy_free: from.number()?,
                hugetlb: from.number()?,
                vm_flags: VmFlags::parse(&from.text()?),
                breakdown: if has_breakdown { breakdown(from)? } else { Breakdown::default() },
            });
        }
        let threads = if has_breakdown { threads(from)? } else { Vec::new() };
        let mut folios = Vec::new();
        let pages = match from.number()?.checked_sub(1) {
            None => None,
            Some(count) if count > from.0.len() as u64 => {
                return Err(Bad("a count is larger than what follows"));
            }
            Some(count) => {
                let mut pages = Vec::new();
                let mut last = 0;
                for _ in 0..count {
                    let start = span(last, from.number()?)?;
                    last = span(start, from.number()?)?;
                    pages.push(PageRun { range: start..last, kind: page_kind(from.number()?)? });
                }
                let count = if self.version < 3 { 0 } else { from.count()? };
                let mut last = 0;
                for _ in 0..count {
                    let start = span(last, from.number()?)?;
                    last = span(start, from.number()?)?;
                    if last - start > LEAF {
                        return Err(Bad("a folio larger than what one page table maps"));
                    }
                    folios.push(start..last);
                }
                Some(pages)
            }
        };
        Ok(Snapshot { time_ns, pid, moment, segments, pages, folios, threads, peak_rss })
    }
}

fn missing(from: &mut Reader<'_>) -> Result<Missing, Bad> {
    Ok(match from.byte()? {
        calls @ (0 | 1) => Missing::Space { calls: calls == 1 },
        PAGES => {
            let start = from.number()?.checked_mul(LEAF);
            let start = start.ok_or(Bad("pages beyond the last address"))?;
            let mut pages = MissingPages { start, pages: [0; 8] };
            for bits in &mut pages.pages {
                *bits = from.number()?;
            }
            Missing::Pages(Box::new(pages))
        }
        ANYWHERE => Missing::Anywhere,
        _ => return Err(Bad("a loss of no known kind")),
    })
}

fn span(start: u64, size: u64) -> Result<u64, Bad> {
    start.checked_add(size).ok_or(Bad("a range beyond the last address"))
}
