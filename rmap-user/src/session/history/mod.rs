//! The history of some addresses: what happened to their pages, in time.
//!
//! Comes in: [`Target`]s, then every event and snapshot after the model has taken it. Goes out: a
//! [`report::Story`] for each target. Pages that came and went are read from the owners' journal, so
//! that the entries add up to what the model holds. At each snapshot an entry says what the model
//! holds and the snapshot does not show, so that they add up to what call paths explain.

mod entries;

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::attribution::{self, Holder, holders};
use crate::model::{
    AddressSpace, Advice, Call, Cause, Change, InstanceId, MapOp, Model, Path, PathId, Processes,
    StackRef,
};
use crate::report::story::{Amount, State};
use crate::report::{self, Address, StackId};
use crate::terms;
use crate::trace::{Body, Event, MmKey, Snapshot};
use entries::{Entries, Entry, Kind, Sum, What};

/// Some addresses for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The addresses.
    pub range: Range<u64>,
    /// On `CLOCK_MONOTONIC`; 0: from the beginning on.
    pub from_ns: u64,
    /// [`u64::MAX`]: to the end.
    pub until_ns: u64,
}

impl Piece {
    fn lives(&self, time_ns: u64) -> bool {
        self.from_ns <= time_ns && time_ns <= self.until_ns
    }
}

/// What a story is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address space.
    pub space: MmKey,
    /// The place in the report of the process.
    pub process: usize,
    /// The addresses: where it is in the end first, then where `mremap` took it from.
    pub pieces: Vec<Piece>,
    /// The name of the mapping.
    pub name: String,
    /// It is no longer mapped in the end; at this time it still was.
    pub gone_after_ns: Option<u64>,
}

/// A mapped part of the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    range: Range<u64>,
    instance: InstanceId,
    prot: u8,
    call: Call,
    stack: Option<StackRef>,
    tid: u32,
    /// When it was mapped, if that is known.
    made_ns: Option<u64>,
}

/// One target, as far as it is told.
#[derive(Clone, Debug)]
struct History {
    target: Target,
    entries: Entries,
    states: Vec<State>,
    /// What is mapped.
    parts: Vec<Part>,
    /// What the model holds, in bytes.
    owned: Amount,
    /// What it holds and the last snapshot did not show.
    absent: Amount,
    /// What came after the last snapshot.
    since: Amount,
    pages: Vec<Holder>,
    paths: FxHashMap<PathId, Path>,
    earlier: u64,
    /// Something was mapped before. What came to a program that was being loaded comes before its
    /// mappings are known.
    was_mapped: bool,
    /// What was told of a mapping that the last snapshot showed, if another has taken its place
    /// since: the story is of that one unless there is a snapshot of the other.
    shown: Option<Box<Life>>,
    closed: bool,
}

/// What is told of one mapping.
#[derive(Clone, Debug)]
struct Life {
    entries: Entries,
    states: Vec<State>,
    pages: Vec<Holder>,
    since: Amount,
    earlier: u64,
}

/// What changed hands in one way: what, its name, by whom, how much, where.
type Told = (What, &'static str, Option<StackRef>, Sum, Range<u64>);

/// Why pages changed hands.
#[derive(Clone, Copy)]
struct Reason {
    /// `None`: the path that has them now tells it.
    call: Option<(What, &'static str)>,
    /// By whom, where a call did it.
    stack: Option<StackRef>,
    /// What a path did is told by a snapshot.
    found: bool,
    tid: u32,
    time_ns: u64,
}

/// All targets.
#[derive(Debug, Default)]
pub(super) struct Histories {
    all: Vec<History>,
    spaces: Vec<MmKey>,
}

impl Histories {
    /// Begins; the model is told what to write down.
    pub(super) fn begin(targets: Vec<Target>, model: &mut Model) -> Self {
        let mut ranges: FxHashMap<MmKey, Vec<Range<u64>>> = FxHashMap::default();
        for target in &targets {
            let pieces = target.pieces.iter().map(|piece| piece.range.clone());
            ranges.entry(target.space).or_default().extend(pieces);
        }
        let mut spaces: Vec<MmKey> = ranges.keys().copied().collect();
        spaces.sort_unstable();
        ranges.into_iter().for_each(|(key, ranges)| model.watch(key, ranges));
        Self { all: targets.into_iter().map(History::new).collect(), spaces }
    }

    /// Tells what an event did, that the model has taken.
    pub(super) fn event(&mut self, event: &Event, model: &mut Model) {
        let own = model.processes().key_of(event.mm);
        for key in &self.spaces {
            let changes = model.changes(*key);
            let processes = model.processes();
            let mut told = self.all.iter_mut().filter(|c| c.target.space == *key && !c.closed);
            if changes.is_empty() && own != Some(*key) {
                continue;
            }
            let Some(first) = told.next() else { continue };
            let (reason, reshapes) = reason(event, *key, processes);
            let Some(space) = processes.space(*key) else { continue };
            for history in std::iter::once(first).chain(told) {
                history.changed(&changes, space, reason);
                if reshapes || history.is_new_ground(event) {
                    history.reshaped(space, event.time_ns, reason);
                }
                if let Body::Fork(fork) = &event.body
                    && !fork.thread
                    && !fork.same_mm
                    && own == Some(*key)
                    && !history.parts.is_empty()
                {
                    history.tell(What::Fork, "fork", reason, Sum::default(), 0..0);
                }
            }
        }
    }

    /// Tells what a snapshot showed, that the model has taken; `segments`: what it was joined to,
    /// in the same order.
    pub(super) fn snapshot(
        &mut self,
        snapshot: &Snapshot,
        segments: &[attribution::Segment],
        started_ns: u64,
        key: MmKey,
        model: &mut Model,
    ) {
        let changes = model.changes(key);
        let Some(space) = model.processes().space(key) else { return };
        for history in self.all.iter_mut().filter(|c| c.target.space == space.key() && !c.closed) {
            let reason =
                Reason { call: None, stack: None, found: true, tid: 0, time_ns: snapshot.time_ns };
            history.reshaped(space, snapshot.time_ns, reason);
            history.changed(&changes, space, reason);
            history.state(snapshot, space, segments, started_ns);
        }
    }

    /// Whether an address space is told of.
    pub(super) fn knows(&self, key: MmKey) -> bool {
        self.spaces.binary_search(&key).is_ok()
    }

    /// The stories. `processes`: those of the report; `relative`: time since the start; `number`:
    /// the id of a stack in the report.
    pub(super) fn stories(
        &self,
        processes: &[report::Process],
        relative: impl Fn(u64) -> u64,
        mut number: impl FnMut(StackRef) -> StackId,
    ) -> Vec<report::Story> {
        self.all
            .iter()
            .cloned()
            .filter_map(|history| {
                let process = processes.get(history.target.process)?;
                Some(history.story(process, &relative, &mut number))
            })
            .collect()
    }
}

/// Why pages changed hands at an event, and whether it may have changed what is mapped.
fn reason(event: &Event, key: MmKey, processes: &Processes) -> (Reason, bool) {
    let mut reason =
        Reason { call: None, stack: None, found: false, tid: event.tid, time_ns: event.time_ns };
    let stack = |hash: Option<_>| hash.and_then(|hash| processes.stack_of(key, hash));
    match &event.body {
        Body::Map(call) => {
            let Some(op) = MapOp::of(call, processes.arch()) else { return (reason, false) };
            reason.stack = stack(call.stack);
            reason.call = by_call(&op);
            // At its entry mremap has taken the mapping out, and at its exit it is there again.
            (reason, !matches!(op, MapOp::MremapEntry(_)))
        }
        Body::Fork(fork) => {
            reason.stack = stack(fork.stack);
            (reason, true)
        }
        Body::Exec { .. } => (reason, true),
        Body::Fault(_)
        | Body::Rss(_)
        | Body::File(_)
        | Body::Missing(_)
        | Body::Stack(_)
        | Body::RawStack(_)
        | Body::Malloc(_)
        | Body::Runtime(_)
        | Body::Exit { .. } => (reason, false),
    }
}

/// What a call does to the pages that it reaches; `None` where it brings pages in.
const fn by_call(op: &MapOp) -> Option<(What, &'static str)> {
    Some(match op {
        MapOp::Mmap(new) if new.fixed => (What::Free, "mmap-fixed"),
        // What was there had gone before, and nobody had told.
        MapOp::Mmap(_) | MapOp::Shmat(_) => (What::Free, "not-seen"),
        MapOp::Munmap(_) => (What::Free, "munmap"),
        MapOp::MremapEntry(_) | MapOp::MremapExit(..) => (What::Move, "mremap"),
        MapOp::BrkEntry(_) | MapOp::BrkExit(_) => (What::Free, "brk"),
        MapOp::Shmdt(_) => (What::Free, "shmdt"),
        MapOp::Madvise(_, Advice::Dontneed) => (What::Free, "dontneed"),
        MapOp::Madvise(_, Advice::Remove) => (What::Free, "remove"),
        MapOp::Madvise(_, Advice::Guard) => (What::Free, "guard"),
        MapOp::Madvise(_, Advice::Free) => (What::Clean, "madv-free"),
        // What it took at its beginning comes back.
        MapOp::Failed(..) => (What::Move, "failed"),
        // What MADV_PAGEOUT and MADV_MERGEABLE take away goes later.
        MapOp::Madvise(
            _,
            Advice::PopulateRead
            | Advice::PopulateWrite
            | Advice::Collapse
            | Advice::Pageout
            | Advice::Merge(_),
        )
        | MapOp::Mprotect(..)
        | MapOp::Mlock(..)
        | MapOp::Mlockall { .. }
        | MapOp::Munlock(_)
        | MapOp::Munlockall => return None,
    })
}

impl History {
    fn new(target: Target) -> Self {
        Self {
            target,
            entries: Entries::default(),
            states: Vec::new(),
            parts: Vec::new(),
            owned: Amount::default(),
            absent: Amount::default(),
            since: Amount::default(),
            pages: Vec::new(),
            paths: FxHashMap::default(),
            earlier: 0,
            was_mapped: false,
            shown: None,
            closed: false,
        }
    }

    /// The addresses at a time.
    fn ranges(&self, time_ns: u64) -> Vec<Range<u64>> {
        let lives = self.target.pieces.iter().filter(|piece| piece.lives(time_ns));
        lives.map(|piece| piece.range.clone()).collect()
    }

    /// A fault of which the mapping is not known yet, as where a stack grows.
    fn is_new_ground(&self, event: &Event) -> bool {
        let Body::Fault(fault) = &event.body else { return false };
        let known = self.parts.iter().any(|part| part.range.contains(&fault.address));
        !known && self.ranges(event.time_ns).iter().any(|range| range.contains(&fault.address))
    }

    fn tell(
        &mut self,
        what: What,
        name: &'static str,
        reason: Reason,
        sum: Sum,
        range: Range<u64>,
    ) {
        self.since.rss_bytes += sum.rss;
        self.since.dirty_bytes += sum.dirty;
        self.entries.add(&Entry {
            kind: Kind { what, name, stack: reason.stack },
            first_ns: reason.time_ns,
            last_ns: reason.time_ns,
            sum: Sum { times: 1, ..sum },
            range,
            tids: Some(reason.tid).filter(|tid| *tid != 0).into_iter().collect(),
        });
    }

    /// Pages changed hands.
    fn changed(&mut self, changes: &[Change], space: &AddressSpace, reason: Reason) {
        let mut told: Vec<Told> = Vec::new();
        for piece in self.target.pieces.iter().filter(|piece| piece.lives(reason.time_ns)) {
            let arrives = piece.from_ns == reason.time_ns;
            for change in changes {
                let pages = change.pages.start.max(piece.range.start)
                    ..change.pages.end.min(piece.range.end);
                // Where a mapping has just been moved to, that of others had to go first.
                if pages.is_empty() || (arrives && change.new.is_nobody()) {
                    continue;
                }
                let bytes = (pages.end - pages.start).cast_signed();
                let by = |old: PathId, new: PathId| {
                    bytes * (i64::from(new.is_some()) - i64::from(old.is_some()))
                };
                let sum = Sum {
                    rss: by(change.old.resident, change.new.resident),
                    dirty: by(change.old.dirty, change.new.dirty),
                    touched: if change.new.is_nobody() { 0 } else { bytes.cast_unsigned() },
                    ..Sum::default()
                };
                let (what, name, stack) = match reason.call {
                    Some((what, name)) => (what, name, reason.stack),
                    None => by_path(change, space, reason.found),
                };
                let same = told.iter_mut().find(|t| (t.0, t.1, t.2) == (what, name, stack));
                match same {
                    Some((.., all, range)) => {
                        all.add(&sum);
                        *range = range.start.min(pages.start)..range.end.max(pages.end);
                    }
                    None => told.push((what, name, stack, sum, pages)),
                }
            }
        }
        for (what, name, stack, sum, range) in told {
            self.owned.rss_bytes += sum.rss;
            self.owned.dirty_bytes += sum.dirty;
            self.tell(what, name, Reason { stack, ..reason }, sum, range);
        }
    }

    /// What is mapped may have changed.
    fn reshaped(&mut self, space: &AddressSpace, time_ns: u64, reason: Reason) {
        let mut parts: Vec<Part> = Vec::new();
        for range in self.ranges(time_ns) {
            for (range, vma) in space.mappings().vmas().within(range) {
                let inherited = vma.inherited && space.fork_path().is_some();
                let actor = match space.fork_path() {
                    Some((_, actor)) if inherited => actor,
                    _ => vma.origin.actor,
                };
                let call = if inherited { Call::Fork } else { vma.origin.call };
                let part = Part {
                    range,
                    instance: vma.instance,
                    prot: vma.prot,
                    call,
                    stack: actor.stack,
                    tid: actor.tid,
                    made_ns: Some(actor.time_ns).filter(|_| call != Call::Unknown),
                };
                match parts.last_mut() {
                    Some(last)
                        if last.range.end == part.range.start
                            && (last.instance, last.prot, last.call)
                                == (part.instance, part.prot, part.call) =>
                    {
                        last.range.end = part.range.end;
                    }
                    _ => parts.push(part),
                }
            }
        }
        if parts == self.parts {
            return;
        }
        let old = std::mem::replace(&mut self.parts, parts);
        if self.target.gone_after_ns.is_some_and(|last| time_ns > last) && self.parts.is_empty() {
            self.lost(&old, reason);
            self.closed = true;
            return;
        }
        if old.is_empty() {
            self.born(time_ns);
        } else if reason.call.is_some_and(|(what, _)| what == What::Move) {
            self.moved(&old, reason);
            return;
        }
        self.gained(&old, reason);
        self.lost(&old, reason);
        for part in self.parts.clone() {
            let protected = old.iter().filter(|old| {
                old.instance == part.instance
                    && old.prot != part.prot
                    && overlap(&old.range, &part.range) > 0
            });
            if protected.count() > 0 {
                let range = part.range.clone();
                self.tell(What::Protect, protection(part.prot), reason, Sum::default(), range);
            }
        }
    }

    /// Nothing was mapped, and now there is: what was before is another story.
    fn born(&mut self, time_ns: u64) {
        let moved = |piece: &Piece| piece.from_ns > 0 && piece.from_ns <= time_ns;
        if std::mem::replace(&mut self.was_mapped, true) && !self.target.pieces.iter().any(moved) {
            let life = Life {
                entries: std::mem::take(&mut self.entries),
                states: std::mem::take(&mut self.states),
                pages: std::mem::take(&mut self.pages),
                since: std::mem::take(&mut self.since),
                earlier: self.earlier,
            };
            if self.shown.is_none() && !life.states.is_empty() {
                self.shown = Some(Box::new(life));
            }
            self.earlier += 1;
            self.absent = Amount::default();
            if self.owned != Amount::default() {
                // Of the model's own making; the sums must hold.
                let (rss, dirty) = (self.owned.rss_bytes, self.owned.dirty_bytes);
                let reason = Reason { call: None, stack: None, found: true, tid: 0, time_ns };
                let sum = Sum { rss, dirty, ..Sum::default() };
                self.tell(What::Found, "earlier", reason, sum, 0..0);
            }
        }
    }

    /// `mremap` has moved it, or changed its size.
    fn moved(&mut self, old: &[Part], reason: Reason) {
        let size = |parts: &[Part]| -> u64 {
            parts.iter().map(|part| part.range.end - part.range.start).sum()
        };
        let mapped = size(&self.parts).cast_signed() - size(old).cast_signed();
        let what = match mapped {
            0 => What::Move,
            1.. => What::Grow,
            _ => What::Unmap,
        };
        let first = self.parts.first().map_or(0, |part| part.range.start);
        let range = first..self.parts.last().map_or(0, |part| part.range.end);
        self.tell(what, "mremap", reason, Sum { mapped, ..Sum::default() }, range);
    }

    fn gained(&mut self, old: &[Part], reason: Reason) {
        for part in self.parts.clone() {
            let same: Vec<&Part> = old.iter().filter(|old| old.instance == part.instance).collect();
            let kept: u64 = same.iter().map(|old| overlap(&old.range, &part.range)).sum();
            let mapped = (part.range.end - part.range.start).saturating_sub(kept).cast_signed();
            if mapped == 0 {
                continue;
            }
            let sum = Sum { mapped, ..Sum::default() };
            if same.is_empty() {
                // A snapshot shows what was mapped before it, by exec or fork.
                let made_ns = part.made_ns.map_or(reason.time_ns, |made| made.min(reason.time_ns));
                let by = Reason { stack: part.stack, tid: part.tid, time_ns: made_ns, ..reason };
                self.tell(What::Map, part.call.as_str(), by, sum, part.range);
            } else {
                self.tell(What::Grow, part.call.as_str(), reason, sum, part.range);
            }
        }
    }

    fn lost(&mut self, old: &[Part], reason: Reason) {
        for gone in old {
            let same = self.parts.iter().filter(|part| part.instance == gone.instance);
            let kept: u64 = same.map(|part| overlap(&part.range, &gone.range)).sum();
            let mapped = (gone.range.end - gone.range.start).saturating_sub(kept).cast_signed();
            if mapped > 0 {
                let name = reason.call.map_or("not-seen", |(_, name)| name);
                let sum = Sum { mapped: -mapped, ..Sum::default() };
                self.tell(What::Unmap, name, reason, sum, gone.range.clone());
            }
        }
    }

    /// The sizes at a snapshot, and what the model holds that it does not show.
    fn state(
        &mut self,
        snapshot: &Snapshot,
        space: &AddressSpace,
        segments: &[attribution::Segment],
        started_ns: u64,
    ) {
        let ranges = self.ranges(snapshot.time_ns);
        let reach = |start: u64, end: u64| -> u64 {
            ranges.iter().map(|r| overlap(r, &(start..end))).sum()
        };
        let mut state = State {
            at_ns: snapshot.time_ns.saturating_sub(started_ns),
            size_bytes: 0,
            rss_bytes: 0,
            dirty_bytes: 0,
            swap_bytes: 0,
            explained: Amount::default(),
        };
        let mut pages = Vec::new();
        for (shown, segment) in snapshot.segments.iter().zip(segments) {
            match reach(shown.start, shown.end) {
                0 => continue,
                // A part of its sizes is not known.
                part if part < shown.size() => return,
                _ => {}
            }
            state.size_bytes += shown.size();
            state.rss_bytes += shown.rss;
            state.dirty_bytes += shown.dirty;
            state.swap_bytes += shown.swap;
            for path in &segment.paths {
                state.explained.rss_bytes += path.rss.cast_signed();
                state.explained.dirty_bytes += path.dirty.cast_signed();
            }
            // What was there before tracing began is held by nobody in the report.
            let before = terms::Reason::BeforeAttach;
            for rest in segment.residuals.iter().filter(|rest| rest.reason == before) {
                state.explained.rss_bytes += rest.rss.max(0);
                state.explained.dirty_bytes += rest.dirty.max(0);
            }
            pages.extend(holders(space, snapshot, shown));
        }
        for holder in &pages {
            for id in [holder.owner.resident, holder.owner.dirty] {
                if let Some(path) = space.paths().get(id) {
                    self.paths.insert(id, path);
                }
            }
        }
        self.pages = pages;
        let absent = Amount {
            rss_bytes: self.owned.rss_bytes - state.explained.rss_bytes,
            dirty_bytes: self.owned.dirty_bytes - state.explained.dirty_bytes,
        };
        let sum = Sum {
            rss: self.absent.rss_bytes - absent.rss_bytes,
            dirty: self.absent.dirty_bytes - absent.dirty_bytes,
            ..Sum::default()
        };
        if sum != Sum::default() {
            let time_ns = snapshot.time_ns;
            let reason = Reason { call: None, stack: None, found: true, tid: 0, time_ns };
            self.tell(What::Missing, "snapshot", reason, sum, 0..0);
        }
        self.absent = absent;
        self.since = Amount::default();
        if self.was_mapped {
            self.states.push(state);
            self.shown = None;
        }
    }

    fn story(
        mut self,
        process: &report::Process,
        relative: &impl Fn(u64) -> u64,
        number: &mut impl FnMut(StackRef) -> StackId,
    ) -> report::Story {
        if let Some(life) = self.shown.take() {
            let Life { entries, states, pages, since, earlier } = *life;
            Self { entries, states, pages, since, earlier, ..self }
                .story_of(process, relative, number)
        } else {
            self.story_of(process, relative, number)
        }
    }

    fn story_of(
        self,
        process: &report::Process,
        relative: &impl Fn(u64) -> u64,
        number: &mut impl FnMut(StackRef) -> StackId,
    ) -> report::Story {
        let whole = self.target.pieces.first().map_or(0..0, |piece| piece.range.clone());
        let is_it = |s: &&report::Segment| {
            self.target.gone_after_ns.is_none()
                && s.name == self.target.name
                && s.start.0 >= whole.start
                && s.end.0 <= whole.end
        };
        let segment = process.segments.iter().find(is_it).cloned();
        let paths = segment.as_ref().map_or(&[][..], |segment| &segment.paths);
        let mut place = |id: PathId| {
            let path = self.paths.get(&id)?;
            let stack = path.stack.map(&mut *number);
            let is_it = |p: &report::Path| p.stack == stack && p.cause == path.cause;
            let at = paths.iter().position(is_it)?;
            u32::try_from(at).ok()
        };
        let pages = self.pages.iter().map(|holder| report::story::Pages {
            start: Address(holder.range.start),
            end: Address(holder.range.end),
            state: holder.kind.state.as_str().to_owned(),
            huge: holder.kind.huge,
            resident: place(holder.owner.resident),
            dirty: place(holder.owner.dirty),
            before: holder.owner.resident == PathId::BEFORE,
        });
        let pages = pages.collect();
        let events = self.entries.sorted();
        report::Story {
            pid: process.pid,
            command: process.command.clone(),
            exe: process.exe.clone(),
            ended_ns: process.ended_ns,
            snapshot: process.snapshot,
            snapshot_ns: process.snapshot_ns,
            start: Address(whole.start),
            end: Address(whole.end),
            name: self.target.name.clone(),
            moved_from: self.target.pieces[1..]
                .iter()
                .map(|piece| report::story::MovedFrom {
                    start: Address(piece.range.start),
                    end: Address(piece.range.end),
                    until_ns: relative(piece.until_ns),
                })
                .collect(),
            earlier_mappings: self.earlier,
            segment,
            events: events.iter().map(|entry| happening(entry, relative, &mut *number)).collect(),
            states: self.states,
            since: self.since,
            pages,
        }
    }
}

fn happening(
    entry: &Entry,
    relative: &impl Fn(u64) -> u64,
    number: &mut impl FnMut(StackRef) -> StackId,
) -> report::story::Happening {
    let at = |address: u64| (!entry.range.is_empty()).then_some(Address(address));
    report::story::Happening {
        what: entry.kind.what.as_str().to_owned(),
        name: entry.kind.name.to_owned(),
        stack: entry.kind.stack.map(number),
        first_ns: relative(entry.first_ns),
        last_ns: relative(entry.last_ns),
        times: entry.sum.times,
        rss_bytes: entry.sum.rss,
        dirty_bytes: entry.sum.dirty,
        touched_bytes: entry.sum.touched,
        mapped_bytes: entry.sum.mapped,
        start: at(entry.range.start),
        end: at(entry.range.end),
        tids: entry.tids.clone(),
    }
}

/// What changed hands, by the path that has it now, or had it.
fn by_path(
    change: &Change,
    space: &AddressSpace,
    found: bool,
) -> (What, &'static str, Option<StackRef>) {
    let (old, new) = (change.old, change.new);
    let id = if new.resident != old.resident && new.resident.is_some() {
        new.resident
    } else if new.dirty != old.dirty && new.dirty.is_some() {
        new.dirty
    } else {
        return (What::Clean, "replaced", None);
    };
    if id == PathId::BEFORE {
        return (What::Found, "before-attach", None);
    }
    if id == PathId::LOST {
        return (What::Found, "lost-events", None);
    }
    let what = if found { What::Found } else { What::Fault };
    let other = (what, Cause::OtherFault.as_str(), None);
    space.paths().get(id).map_or(other, |path| (what, path.cause.as_str(), path.stack))
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> u64 {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

const fn protection(prot: u8) -> &'static str {
    match prot & 7 {
        0 => "---",
        1 => "r--",
        2 => "-w-",
        3 => "rw-",
        4 => "--x",
        5 => "r-x",
        6 => "-wx",
        _ => "rwx",
    }
}
