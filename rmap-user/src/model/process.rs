//! Processes, and which address space each runs in.
//!
//! Everything is keyed by address space, because a vfork child works in its parent's. The kernel
//! uses the names of address spaces again, so each fork and exec gives a name its meaning anew.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::arch::{Arch, Syscall};
use super::call::MapOp;
use super::cause::{Cause, How};
use super::counting::{Counts, Peak, Place, Sum};
use super::files::{By, Files};
use super::journal::Change;
use super::mapping::Actor;
use super::observe::observe;
use super::owners::PAGE;
use super::path::StackRef;
use super::space::{AddressSpace, Family, Ledger};
use crate::trace::{
    Body, Event, FaultRun, FileChange, Fork, MapCall, Missing, MmId, MmKey, Moment, Rewrites, Rss,
    Run, Snapshot, Stack, StackEnd, StackHash,
};

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id (tgid).
    pub pid: u32,
    /// Its parent's, if that is known.
    pub parent_pid: Option<u32>,
    /// When it began, on `CLOCK_MONOTONIC`.
    pub started_ns: u64,
    /// When it ended.
    pub ended_ns: Option<u64>,
    /// Its address space, as long as the model keeps it.
    pub space: Option<MmKey>,
    /// The address space is its own, not one that it borrows from its parent (vfork).
    pub owner: bool,
    /// What is left of the address spaces of the programs that it ran before.
    pub past: Ledger,
    /// The peak of the address spaces that the model no longer keeps.
    peak: Peak,
}

/// A user stack.
#[derive(Clone, Debug)]
pub struct KnownStack {
    /// The address space (and so the program) that its addresses are in.
    pub space: MmKey,
    /// The first process that was seen with it.
    pub pid: u32,
    /// Its name: [`Stacks::content`] has the addresses.
    pub hash: StackHash,
    /// When it was first seen in this space.
    pub first_ns: u64,
    /// Faults taken with it.
    pub faults: u64,
}

/// The addresses of a stack. Different spaces may share them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// Instruction addresses, innermost first.
    pub ips: Arc<[u64]>,
    /// How the walk ended.
    pub end: StackEnd,
    /// Frames of a language runtime, and where they belong among the others.
    pub runs: Box<[Run]>,
    /// Not all frames of the runtime are there.
    pub cut: bool,
}

/// All user stacks of a session.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    stacks: Vec<KnownStack>,
    contents: FxHashMap<StackHash, Arc<Content>>,
    /// The first name of each content.
    names: FxHashMap<Arc<Content>, StackHash>,
    /// Other names of contents that have one. A stack that the kernel side could not walk has a
    /// name of its own each time.
    same: FxHashMap<StackHash, StackHash>,
    /// The stacks of address spaces that fork copied with their code: thousands of short-lived
    /// children run the same, and each stack is kept once.
    shared: FxHashMap<(Family, StackHash), StackRef>,
    /// The stack that was asked for last: faults come in runs of the same.
    last: Option<(MmKey, StackHash, StackRef)>,
    /// Faults with no stack at all.
    pub faults_without: u64,
}

impl Stacks {
    /// A stack by its name.
    #[must_use]
    pub fn get(&self, stack: StackRef) -> Option<&KnownStack> {
        self.stacks.get(stack.0 as usize)
    }

    /// All stacks.
    pub fn iter(&self) -> impl Iterator<Item = &KnownStack> {
        self.stacks.iter()
    }

    /// The addresses of a stack; `None` if they were lost.
    #[must_use]
    pub fn content(&self, stack: &KnownStack) -> Option<&Content> {
        self.contents.get(&self.first_name(stack.hash)).map(Arc::as_ref)
    }

    fn first_name(&self, hash: StackHash) -> StackHash {
        self.same.get(&hash).copied().unwrap_or(hash)
    }

    fn of_hash(&mut self, space: &mut AddressSpace, hash: StackHash, event: &Event) -> StackRef {
        if let Some((_, _, last)) =
            self.last.filter(|(key, of, _)| (*key, *of) == (space.key, hash))
        {
            return last;
        }
        let asked = hash;
        let hash = self.first_name(hash);
        let family = space.family;
        let stack = *space.stacks.entry(hash).or_insert_with(|| {
            if let Some(known) = family.and_then(|family| self.shared.get(&(family, hash))) {
                return *known;
            }
            let (space, pid, first_ns) = (space.key, event.pid, event.time_ns);
            self.stacks.push(KnownStack { space, pid, hash, first_ns, faults: 0 });
            let stack = StackRef(u32::try_from(self.stacks.len() - 1).unwrap_or(u32::MAX));
            if let Some(family) = family {
                self.shared.insert((family, hash), stack);
            }
            stack
        });
        self.last = Some((space.key, asked, stack));
        stack
    }

    fn add(&mut self, stack: &Stack) {
        let ips = stack.ips.as_slice().into();
        self.name(stack.hash, Content { ips, end: stack.end, runs: Box::default(), cut: false });
    }

    /// Takes frames of a runtime together with the user stack `native`, under a name of their own.
    /// Without that stack they have no addresses, and are lost as it is.
    fn join(&mut self, hash: StackHash, native: StackHash, runs: Vec<Run>, cut: bool) {
        let Some(content) = self.contents.get(&self.first_name(native)) else { return };
        let (ips, end) = (content.ips.clone(), content.end);
        self.name(hash, Content { ips, end, runs: runs.into_boxed_slice(), cut });
    }

    fn name(&mut self, hash: StackHash, content: Content) {
        match self.names.get(&content) {
            Some(first) if *first == hash => {}
            Some(first) => {
                self.same.insert(hash, *first);
                self.last = None;
            }
            None => {
                let content = Arc::new(content);
                self.contents.insert(hash, Arc::clone(&content));
                self.names.insert(content, hash);
            }
        }
    }

    fn count_faults(&mut self, stack: Option<StackRef>, count: u64) {
        match stack.and_then(|stack| self.stacks.get_mut(stack.0 as usize)) {
            Some(stack) => stack.faults += count,
            None => self.faults_without += count,
        }
    }
}

/// A space that no fork and no exec has announced: a program that is being loaded, or a process
/// that was there before.
#[derive(Clone, Copy, Debug)]
struct Provisional {
    key: MmKey,
    pid: u32,
}

/// All processes of a session, with their address spaces and stacks.
#[derive(Clone, Debug)]
pub struct Processes {
    arch: Arch,
    processes: Vec<Process>,
    by_pid: FxHashMap<u32, usize>,
    /// Processes that live in another's address space (vfork, `CLONE_VM`).
    guests: BTreeSet<usize>,
    spaces: FxHashMap<MmKey, AddressSpace>,
    by_mm: FxHashMap<MmId, MmKey>,
    provisional: FxHashMap<MmId, Provisional>,
    next_key: u32,
    stacks: Stacks,
    files: Files,
    /// The pages of all spaces.
    sum: Sum,
    /// What is watched in spaces that are still to come.
    watched: FxHashMap<MmKey, Vec<Range<u64>>>,
}

impl Processes {
    /// No process yet, on a machine with these system calls.
    #[must_use]
    pub(super) fn new(arch: Arch) -> Self {
        Self {
            arch,
            processes: Vec::new(),
            by_pid: FxHashMap::default(),
            guests: BTreeSet::new(),
            spaces: FxHashMap::default(),
            by_mm: FxHashMap::default(),
            provisional: FxHashMap::default(),
            next_key: 0,
            stacks: Stacks::default(),
            files: Files::default(),
            sum: Sum::default(),
            watched: FxHashMap::default(),
        }
    }

    /// What is applied next stands there in the stream.
    pub(super) fn set_place(&self, place: Place) {
        self.sum.set_place(place);
    }

    /// How many pages all address spaces hold that the model keeps.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.sum.counts()
    }

    /// When a process held most, by its position.
    #[must_use]
    pub fn peak_of(&self, index: usize) -> Peak {
        let gone = self.processes.get(index).map(|process| process.peak).unwrap_or_default();
        let now = self.own_space(index).map(|space| space.owners.peak()).unwrap_or_default();
        if now.counts.resident > gone.counts.resident { now } else { gone }
    }

    /// The space of a process is about to go: its peak stays.
    fn keep_peak(&mut self, index: usize) {
        let peak = self.peak_of(index);
        if let Some(process) = self.processes.get_mut(index) {
            process.peak = peak;
        }
    }

    /// When they held most.
    #[must_use]
    pub fn peak(&self) -> Peak {
        self.sum.peak()
    }

    /// The machine whose system calls are told of.
    #[must_use]
    pub const fn arch(&self) -> Arch {
        self.arch
    }

    /// What comes from now on is apart from what came before.
    pub(super) fn begin_window(&mut self) {
        self.spaces.values_mut().for_each(AddressSpace::begin_window);
    }

    /// Writes down what changes in some ranges of an address space that is still to come:
    /// [`Processes::changes`] of it.
    pub(super) fn watch(&mut self, key: MmKey, ranges: Vec<Range<u64>>) {
        self.watched.insert(key, ranges);
    }

    /// An address space, as long as the model keeps it.
    #[must_use]
    pub fn space(&self, key: MmKey) -> Option<&AddressSpace> {
        self.spaces.get(&key)
    }

    /// The same, to be changed.
    fn space_mut(&mut self, key: MmKey) -> Option<&mut AddressSpace> {
        self.spaces.get_mut(&key)
    }

    /// The address space that the kernel's name stands for now.
    #[must_use]
    pub fn key_of(&self, mm: MmId) -> Option<MmKey> {
        self.by_mm.get(&mm).copied()
    }

    /// The stack of that name in an address space, if it was met there.
    #[must_use]
    pub fn stack_of(&self, key: MmKey, hash: StackHash) -> Option<StackRef> {
        let hash = self.stacks.first_name(hash);
        self.spaces.get(&key)?.stacks.get(&hash).copied()
    }

    /// The processes in the order in which they were met.
    #[must_use]
    pub fn all(&self) -> &[Process] {
        &self.processes
    }

    /// The position in [`Processes::all`] of the last process of a pid.
    #[must_use]
    pub fn index(&self, pid: u32) -> Option<usize> {
        self.by_pid.get(&pid).copied()
    }

    /// The stacks.
    #[must_use]
    pub const fn stacks(&self) -> &Stacks {
        &self.stacks
    }

    /// The address space that a process runs in, be it another's.
    #[must_use]
    pub fn space_at(&self, index: usize) -> Option<&AddressSpace> {
        self.spaces.get(&self.processes.get(index)?.space?)
    }

    /// The address space that a process owns.
    #[must_use]
    pub fn own_space(&self, index: usize) -> Option<&AddressSpace> {
        let process = self.processes.get(index).filter(|process| process.owner)?;
        self.spaces.get(&process.space?)
    }

    /// The same, to be changed.
    fn own_space_mut(&mut self, index: usize) -> Option<&mut AddressSpace> {
        let process = self.processes.get(index).filter(|process| process.owner)?;
        self.spaces.get_mut(&process.space?)
    }

    /// The address space that a process runs in, be it another's, with the writers of files.
    fn space_and_files(&mut self, index: usize) -> Option<(&mut AddressSpace, &mut Files)> {
        let process = self.processes.get(index)?;
        Some((self.spaces.get_mut(&process.space?)?, &mut self.files))
    }

    /// Applies an event.
    pub(super) fn event(&mut self, event: &Event) {
        match &event.body {
            Body::Fault(fault) => {
                let loading =
                    fault.syscall.is_some_and(|n| self.arch.syscall(n) == Some(Syscall::Exec));
                let Some((key, announced)) = self.space_of(event, loading) else { return };
                let Some((space, actor)) = self.acting(key, event, fault.stack) else { return };
                if let Some(written) = space.fault(fault, actor, loading && !announced) {
                    let (by, at) = (By::Traced(actor.stack), (actor.tid, actor.time_ns));
                    self.files.write(written.file, written.bytes, by, written.cause, at);
                }
                // What the kernel does while it loads a program has no code path to be found, and
                // a space that nobody announces is not the program's.
                if announced && !loading {
                    self.stacks.count_faults(actor.stack, 1);
                }
            }
            Body::Map(call) => {
                let Some(op) = MapOp::of(call, self.arch) else { return };
                let Some((key, _)) = self.space_of(event, false) else { return };
                let code = changes_code(call, self.arch);
                if let Some((space, actor)) = self.acting(key, event, call.stack) {
                    if code {
                        space.code_changed();
                    }
                    space.remap(op, actor);
                }
            }
            Body::Stack(stack) => self.stacks.add(stack),
            // Whoever has the tables walks it and tells the result as a stack.
            Body::RawStack(_) => {}
            Body::Malloc(call) => {
                // Who attaches probes to a process does not know the kernel's name of its space.
                let key = if event.mm == MmId::UNKNOWN {
                    self.index(event.pid).and_then(|index| self.processes.get(index)?.space)
                } else {
                    self.space_of(event, false).map(|(key, _)| key)
                };
                let Some(key) = key else { return };
                if let Some((space, actor)) = self.acting(key, event, call.stack) {
                    space.blocks.call(call, actor);
                }
            }
            // Its frames come with their places, by `join`.
            Body::Runtime(_) => {}
            Body::Rss(rss) => self.rss(event, rss),
            Body::File(change) => self.file(event, change),
            Body::Missing(missing) => self.missing(event, missing),
            Body::Fork(fork) => self.fork(event, fork),
            Body::Exec { .. } => self.exec(event),
            Body::Exit { group_dead, .. } => {
                if *group_dead {
                    self.exit(event);
                }
            }
        }
    }

    /// Takes a step of watching a process's memory for writes.
    pub(super) fn rewrites(&mut self, rewrites: &Rewrites) {
        let key = self.index(rewrites.pid).and_then(|index| self.processes.get(index)?.space);
        if let Some(space) = key.and_then(|key| self.space_mut(key)) {
            space.watch_rewrites(&rewrites.step, rewrites.time_ns);
        }
    }

    /// As [`super::Model::join`].
    pub(super) fn join(&mut self, hash: StackHash, native: StackHash, runs: Vec<Run>, cut: bool) {
        self.stacks.join(hash, native, runs, cut);
    }

    /// Applies faults of one run, as if each of them came for itself. `before`: where the stream
    /// stands before them.
    pub(super) fn faults(&mut self, run: &FaultRun, before: Place) {
        let number = before.number + run.times_ns.len() as u64;
        let time_ns = run.times_ns.iter().copied().fold(before.time_ns, u64::max);
        self.set_place(Place { number, time_ns });
        if self.whole(run).is_some() {
            return;
        }
        let mut place = before;
        for event in run.events() {
            place.number += 1;
            place.time_ns = place.time_ns.max(event.time_ns);
            self.set_place(place);
            self.event(&event);
        }
    }

    /// Applies a run at once; `None`, and nothing is done, if that is not the same.
    fn whole(&mut self, run: &FaultRun) -> Option<()> {
        let Body::Fault(fault) = &run.first.body else { return None };
        if fault.syscall.is_some_and(|number| self.arch.syscall(number) == Some(Syscall::Exec)) {
            return None;
        }
        let key = *self.by_mm.get(&run.first.mm)?;
        let (space, actor) = self.acting(key, &run.first, fault.stack)?;
        space.first_writes(fault, run, actor)?;
        self.stacks.count_faults(actor.stack, run.times_ns.len() as u64);
        Some(())
    }

    /// Applies a snapshot: its process is met, and the space that it runs in, be it another's, is
    /// brought up to what it shows. Gives the process's position in
    /// [`Processes::all`].
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot) -> usize {
        let index = self.place(snapshot);
        if let Some((space, files)) = self.space_and_files(index) {
            observe(space, files, snapshot);
        }
        index
    }

    /// The process of a snapshot, with a space to put what it shows into. Where the event of its
    /// birth or of its exec was lost, the snapshot stands for it.
    fn place(&mut self, snapshot: &Snapshot) -> usize {
        let index = self.meet(snapshot.pid, snapshot.time_ns);
        if snapshot.moment == Moment::Executed {
            let own = self.own_space_mut(index);
            if !own.is_some_and(|space| std::mem::take(&mut space.stands_at_exec)) {
                self.drop_program(index);
            }
        }
        let process = &self.processes[index];
        if process.space.is_none() && process.ended_ns.is_none() {
            self.give_space(index);
            if let Some(space) = self.own_space_mut(index) {
                space.attached();
            }
        }
        index
    }

    /// The owners that changed in the watched ranges of a space since they were last asked for.
    pub(super) fn changes(&mut self, key: MmKey) -> Vec<Change> {
        self.space_mut(key).map_or_else(Vec::new, |space| space.owners.changes())
    }

    /// A process that was met with no event of its birth.
    pub(super) fn meet(&mut self, pid: u32, time_ns: u64) -> usize {
        if let Some(index) = self.index(pid) {
            return index;
        }
        self.new_process(pid, None, time_ns)
    }

    /// Gives a process a fresh address space of which the kernel's name is not known yet.
    fn give_space(&mut self, index: usize) -> MmKey {
        let key = self.new_key();
        self.insert_new(key);
        if let Some(process) = self.processes.get_mut(index) {
            process.space = Some(key);
            process.owner = true;
        }
        key
    }

    /// The program that a process runs was replaced: its old address space is given up.
    fn drop_program(&mut self, index: usize) {
        self.leave(index, Some(How::Exec));
        if let Some(pid) = self.processes.get(index).map(|process| process.pid) {
            self.drop_provisional_of(pid);
        }
    }

    /// Takes the address space of a process out of the model, to make room. Later events of it
    /// change nothing.
    pub(super) fn take_space(&mut self, index: usize) -> Option<AddressSpace> {
        self.keep_peak(index);
        let process = self.processes.get(index).filter(|process| process.owner)?;
        self.spaces.remove(&process.space?)
    }

    fn new_process(&mut self, pid: u32, parent_pid: Option<u32>, started_ns: u64) -> usize {
        let index = self.processes.len();
        self.processes.push(Process {
            pid,
            parent_pid,
            started_ns,
            ended_ns: None,
            space: None,
            owner: false,
            past: Ledger::default(),
            peak: Peak::default(),
        });
        self.by_pid.insert(pid, index);
        index
    }

    fn insert_new(&mut self, key: MmKey) {
        self.insert(key, AddressSpace::new(key));
    }

    fn insert(&mut self, key: MmKey, space: AddressSpace) {
        self.keep(key, space);
        self.count(key);
    }

    /// Counts the pages of a space from now on.
    fn count(&mut self, key: MmKey) {
        if let Some(space) = self.spaces.get_mut(&key) {
            space.owners.count_in(&self.sum);
        }
    }

    fn keep(&mut self, key: MmKey, mut space: AddressSpace) {
        if let Some(ranges) = self.watched.get(&key) {
            space.owners.watch(ranges);
        }
        self.spaces.insert(key, space);
    }

    const fn new_key(&mut self) -> MmKey {
        let key = MmKey(self.next_key);
        self.next_key += 1;
        key
    }

    /// The space that an event is about, and whether it was announced. A space that is not known
    /// is that of a process which was met before, or provisional.
    fn space_of(&mut self, event: &Event, loading: bool) -> Option<(MmKey, bool)> {
        if let Some(key) = self.by_mm.get(&event.mm) {
            return Some((*key, true));
        }
        if let Some(provisional) = self.provisional.get(&event.mm)
            && provisional.pid == event.pid
        {
            return Some((provisional.key, false));
        }
        let process = self.index(event.pid).and_then(|index| self.processes.get(index));
        // Also of a process that shares it with another one: either may be the first to act in it.
        if let Some(key) = process.filter(|_| !loading).and_then(|process| process.space)
            && !self.by_mm.values().any(|bound| *bound == key)
        {
            self.by_mm.insert(event.mm, key);
            return Some((key, true));
        }
        let key = self.new_key();
        // It counts as a process's memory when it is one's.
        self.keep(key, AddressSpace::new(key));
        let new = Provisional { key, pid: event.pid };
        if let Some(old) = self.provisional.insert(event.mm, new) {
            self.spaces.remove(&old.key);
        }
        Some((key, false))
    }

    /// The space with the actor of an event in it.
    fn acting(
        &mut self,
        key: MmKey,
        event: &Event,
        stack: Option<StackHash>,
    ) -> Option<(&mut AddressSpace, Actor)> {
        let space = self.spaces.get_mut(&key)?;
        let stack = stack.map(|hash| self.stacks.of_hash(space, hash, event));
        let actor = Actor { pid: event.pid, tid: event.tid, time_ns: event.time_ns, stack };
        Some((space, actor))
    }

    fn rss(&mut self, event: &Event, rss: &Rss) {
        let own = rss.actor == Some(event.mm);
        let key = match rss.owner {
            Some(owner) => self.space_of_process(owner, event.mm),
            None => self.space_of(event, false).map(|(key, _)| key),
        };
        let Some(key) = key else { return };
        let syscall = rss.syscall.and_then(|number| self.arch.syscall(number));
        // The stack has its name in the space of whoever acts.
        let acts_in =
            if own { Some(key) } else { rss.actor.and_then(|mm| self.by_mm.get(&mm).copied()) };
        let stack = acts_in
            .and_then(|acts_in| self.acting(acts_in, event, rss.stack))
            .and_then(|(_, actor)| actor.stack);
        if let Some((space, actor)) = self.acting(key, event, None) {
            space.access(rss, Actor { stack, ..actor }, syscall, own);
        }
    }

    /// The space that the kernel names in an event of somebody else, of a process that is known.
    fn space_of_process(&mut self, pid: u32, mm: MmId) -> Option<MmKey> {
        if let Some(key) = self.by_mm.get(&mm) {
            return Some(*key);
        }
        let process = self.processes.get(self.index(pid)?).filter(|process| process.owner)?;
        let key = process.space?;
        if self.by_mm.values().any(|bound| *bound == key) {
            return None;
        }
        self.by_mm.insert(mm, key);
        Some(key)
    }

    fn file(&mut self, event: &Event, change: &FileChange) {
        let start = change.index.saturating_mul(PAGE);
        let bytes = start..start.saturating_add(u64::from(change.pages) * PAGE);
        let acting = (!change.stranger).then(|| self.by_mm.get(&event.mm).copied()).flatten();
        let stack = acting
            .and_then(|key| self.acting(key, event, change.stack))
            .and_then(|(_, actor)| actor.stack);
        let call = change.syscall.and_then(|number| self.arch.syscall(number));
        if change.gone {
            self.files.forget(change.file, bytes.clone());
            for space in self.spaces.values_mut() {
                let how = match call {
                    Some(Syscall::Truncate) => How::Truncate,
                    Some(Syscall::Madvise) if Some(space.key) == acting => How::Pageout,
                    Some(Syscall::Madvise) => How::Remove,
                    _ => How::Reclaim,
                };
                let by = stack.filter(|_| how != How::Reclaim);
                space.removed(change.file, &bytes, how, by);
            }
            return;
        }
        if !change.fault && !dirties(call) {
            return;
        }
        for space in self.spaces.values_mut() {
            space.dirtied(change.file, &bytes);
        }
        self.files.forget(change.file, bytes.clone());
        if !change.fault {
            let by = if change.stranger { By::Stranger } else { By::Traced(stack) };
            let at = (event.tid, event.time_ns);
            self.files.write(change.file, bytes, by, Cause::PageCacheWrite, at);
        }
    }

    /// Events were lost: what is known may be older.
    fn missing(&mut self, event: &Event, missing: &Missing) {
        if matches!(missing, Missing::Anywhere | Missing::Space { calls: true }) {
            // Who wrote to files later may have been among what was lost.
            self.files = Files::default();
        }
        if *missing == Missing::Anywhere {
            for space in self.spaces.values_mut() {
                space.missing_anywhere(true, event.time_ns);
            }
            return;
        }
        let known = self.by_mm.get(&event.mm).copied().or_else(|| {
            let provisional = self.provisional.get(&event.mm)?;
            (provisional.pid == event.pid).then_some(provisional.key)
        });
        // A process that was met at a snapshot is known by its id until its first event comes.
        let key = known.or_else(|| {
            let process = self.index(event.pid).and_then(|index| self.processes.get(index))?;
            let key = process.space.filter(|_| process.owner)?;
            (!self.by_mm.values().any(|bound| *bound == key)).then_some(key)
        });
        let Some(space) = key.and_then(|key| self.spaces.get_mut(&key)) else { return };
        match missing {
            Missing::Pages(pages) => space.missing_pages(pages),
            Missing::Space { calls } => space.missing_anywhere(*calls, event.time_ns),
            Missing::Anywhere => {}
        }
    }

    fn fork(&mut self, event: &Event, fork: &Fork) {
        if fork.thread {
            return;
        }
        // One that was there before tracing began shares a memory that has no name yet, and may be
        // somebody else's child.
        let found = fork.same_mm && event.mm == MmId::UNKNOWN;
        let parent_pid = (!found).then_some(event.pid);
        let parent = if found {
            self.index(event.pid).and_then(|index| self.processes.get(index)?.space)
        } else {
            self.space_of(event, false).map(|(key, _)| key)
        };
        let child = self.new_process(fork.child_pid, parent_pid, event.time_ns);
        if fork.same_mm {
            if let Some(process) = self.processes.get_mut(child) {
                process.space = parent;
                self.guests.insert(child);
            }
            return;
        }
        if let Some(old) = self.provisional.remove(&fork.child_mm) {
            self.spaces.remove(&old.key);
        }
        let key = self.new_key();
        let space = match parent.and_then(|parent| self.acting(parent, event, fork.stack)) {
            Some((parent, actor)) => parent.fork(key, actor),
            None => AddressSpace::new(key),
        };
        self.insert(key, space);
        self.by_mm.insert(fork.child_mm, key);
        if let Some(process) = self.processes.get_mut(child) {
            process.space = Some(key);
            process.owner = true;
        }
    }

    fn exec(&mut self, event: &Event) {
        let index = self.meet(event.pid, event.time_ns);
        // The name may still stand for a space of old that is gone.
        let same = self.by_mm.get(&event.mm).copied();
        if same.is_some() && self.processes.get(index).and_then(|p| p.space) == same {
            // Bound to the new program before its exec was told: nothing is known of it yet.
            self.by_mm.remove(&event.mm);
        }
        self.leave(index, Some(How::Exec));
        let key = match self.provisional.remove(&event.mm) {
            Some(provisional) if provisional.pid == event.pid => {
                self.count(provisional.key);
                provisional.key
            }
            other => {
                if let Some(other) = other {
                    self.spaces.remove(&other.key);
                }
                let key = self.new_key();
                self.insert_new(key);
                key
            }
        };
        self.drop_provisional_of(event.pid);
        self.by_mm.insert(event.mm, key);
        if let Some(space) = self.spaces.get_mut(&key) {
            space.stands_at_exec = true;
            space.fresh_exec =
                Some(Actor { pid: event.pid, tid: event.tid, time_ns: event.time_ns, stack: None });
        }
        if let Some(process) = self.processes.get_mut(index) {
            process.space = Some(key);
            process.owner = true;
        }
    }

    fn exit(&mut self, event: &Event) {
        self.drop_provisional_of(event.pid);
        let Some(index) = self.index(event.pid) else { return };
        if let Some(process) = self.processes.get_mut(index) {
            process.ended_ns = Some(event.time_ns);
        }
        self.guests.remove(&index);
        // The space itself stays for the report; its name is free for others.
        let key = self.processes.get(index).filter(|p| p.owner).and_then(|p| p.space);
        if let Some(key) = key
            && !self.hand_over(index, key)
        {
            self.by_mm.retain(|_, bound| *bound != key);
        }
    }

    /// Spaces of a program that another has replaced before anybody announced it.
    fn drop_provisional_of(&mut self, pid: u32) {
        let spaces = &mut self.spaces;
        self.provisional.retain(|_, provisional| {
            if provisional.pid == pid {
                spaces.remove(&provisional.key);
            }
            provisional.pid != pid
        });
    }

    /// A process leaves its address space; if it was its own and nobody else runs in it, that is
    /// its end.
    fn leave(&mut self, index: usize, how: Option<How>) {
        self.keep_peak(index);
        self.guests.remove(&index);
        let Some(process) = self.processes.get_mut(index) else { return };
        let Some(key) = process.space.take() else { return };
        if !std::mem::take(&mut process.owner) || self.hand_over(index, key) {
            return;
        }
        self.by_mm.retain(|_, bound| *bound != key);
        if let (Some(space), Some(process)) =
            (self.spaces.remove(&key), self.processes.get_mut(index))
        {
            space.close(how, &mut process.past);
        }
    }

    /// Whether the end of a process is the end of its memory: nobody else runs in it.
    #[must_use]
    pub fn dies_with(&self, index: usize) -> bool {
        let process = self.processes.get(index).filter(|process| process.owner);
        let space = process.and_then(|process| process.space);
        space.is_some_and(|key| self.heir(index, key).is_none())
    }

    fn heir(&self, from: usize, key: MmKey) -> Option<usize> {
        // The one that came first.
        self.guests.iter().copied().find(|guest| {
            let runs = |p: &Process| p.space == Some(key) && p.ended_ns.is_none();
            *guest != from && self.processes.get(*guest).is_some_and(runs)
        })
    }

    /// Whether another process goes on in an address space, and so owns it now.
    fn hand_over(&mut self, from: usize, key: MmKey) -> bool {
        let Some(heir) = self.heir(from, key) else { return false };
        self.guests.remove(&heir);
        self.processes[heir].owner = true;
        if let Some(process) = self.processes.get_mut(from) {
            process.owner = false;
        }
        true
    }
}

/// Whether a call maps code, or makes memory code.
fn changes_code(call: &MapCall, arch: Arch) -> bool {
    const EXECUTE: u64 = 4;
    let sets = matches!(arch.syscall(call.syscall), Some(Syscall::Mmap | Syscall::Mprotect));
    sets && call.args[2] & EXECUTE != 0
}

/// Whether a file that becomes dirty in a call is written by it. Calls that change mappings only
/// tell the kernel what a processor has noted before, or are known by their ranges.
const fn dirties(call: Option<Syscall>) -> bool {
    match call {
        Some(
            Syscall::Mmap
            | Syscall::Mprotect
            | Syscall::Munmap
            | Syscall::Brk
            | Syscall::Mremap
            | Syscall::Madvise
            | Syscall::Shmat
            | Syscall::Shmdt
            | Syscall::Mlock
            | Syscall::Mlock2
            | Syscall::Mlockall
            | Syscall::Munlock
            | Syscall::Munlockall
            | Syscall::Exec,
        ) => false,
        Some(Syscall::WriteOther | Syscall::Ioctl | Syscall::Truncate) | None => true,
    }
}
