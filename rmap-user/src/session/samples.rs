//! Sizes through a session, for curves and growth.
//!
//! Comes in: the model, at some places of the stream, and the events between them. Goes out: for each
//! process, bytes by kind of memory, by call path and by mapping, as the model knows them, and the pace
//! at which its threads touched new memory.

use std::collections::BTreeMap;
use std::ops::Range;

use rustc_hash::FxHashMap;

use super::malloc::by_stack;
use crate::model::{AddressSpace, Call, PAGE, Path, PathId, Place, Processes, StackRef, Vma};
use crate::report::{Pace, TimelinePoint};

/// Kinds of memory that a timeline shows apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByKind {
    /// The program's heap (`brk`).
    pub heap: u64,
    /// Other private memory of no file, and private copies of files' pages.
    pub anonymous: u64,
    /// Pages of the page cache.
    pub file: u64,
    /// Shared memory.
    pub shared: u64,
    /// The main thread's stack.
    pub stack: u64,
    /// Of all these, dirty.
    pub dirty: u64,
}

/// One process at one place, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessSample {
    pub kinds: ByKind,
    pub paths: FxHashMap<Path, u64>,
    /// Memory that can grow: of no file, or shared. Addresses and resident bytes.
    pub mappings: Vec<(Range<u64>, u64)>,
    /// Up to here, from the start.
    pub pace: Pace,
    /// Estimates of its allocator's live blocks.
    pub live: FxHashMap<Option<StackRef>, u64>,
}

/// Every process that lives at one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// On `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// By position in [`Processes::all`].
    pub processes: BTreeMap<usize, ProcessSample>,
}

impl Sample {
    /// The sizes where the stream stands.
    pub(super) fn of(processes: &Processes, place: Place, paces: &Paces) -> Self {
        let living = processes.all().iter().enumerate();
        let living = living.filter(|(_, process)| process.ended_ns.is_none());
        let of = |(index, _)| {
            let pace = paces.processes.get(&index).copied().unwrap_or_default();
            Some((index, sample(processes.own_space(index)?, pace)))
        };
        Self { at_ns: place.time_ns, processes: living.filter_map(of).collect() }
    }
}

/// A page of new memory takes a thread no longer than so many ns while it does little else but touch it:
/// 64 MiB a second.
const PAGE_NS: u64 = 61_000;

/// At which pace the threads of all processes touch new memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Paces {
    /// When a thread last had a fault, or did something else.
    threads: FxHashMap<u32, u64>,
    /// Pages that had come to each process by its last event, by position in [`Processes::all`].
    came: FxHashMap<usize, u64>,
    processes: FxHashMap<usize, Pace>,
}

impl Paces {
    /// A thread of a process had one fault after the other, or did something else.
    pub(super) fn add(
        &mut self,
        processes: &Processes,
        (pid, tid): (u32, u32),
        times_ns: &[u64],
        faults: bool,
    ) {
        let Some(index) = processes.index(pid) else { return };
        let Some(space) = processes.own_space(index) else { return };
        let now = space.owners().came();
        // A new program has memory of its own.
        let came = now.saturating_sub(self.came.insert(index, now).unwrap_or(0));
        let (Some(first), Some(end)) = (times_ns.first(), times_ns.last()) else { return };
        let last = self.threads.insert(tid, *end).unwrap_or(*first);
        if !faults {
            return;
        }
        // Many faults of one run bring a page each.
        let pages = if times_ns.len() > 1 { 1 } else { came.max(1) };
        let most = pages.saturating_mul(PAGE_NS);
        let befores = std::iter::once(&last).chain(times_ns);
        let pauses = befores.zip(times_ns).map(|(before, now)| now.saturating_sub(*before));
        let pace = self.processes.entry(index).or_default();
        pace.touching_ns += pauses.map(|pause| pause.min(most)).sum::<u64>();
        pace.came_bytes = pace.came_bytes.saturating_add(came.saturating_mul(PAGE));
    }
}

fn sample(space: &AddressSpace, pace: Pace) -> ProcessSample {
    let mut sample = ProcessSample { pace, ..ProcessSample::default() };
    let mut paths: FxHashMap<PathId, u64> = FxHashMap::default();
    for (range, vma) in space.mappings().vmas().iter() {
        let mut kinds = ByKind::default();
        let mut resident = 0;
        space.owners().walk(range.clone(), |run, owner| {
            if owner.resident.is_none() {
                return;
            }
            let bytes = run.end - run.start;
            *paths.entry(owner.resident).or_default() += bytes;
            let dirty = owner.dirty.is_some();
            kinds.dirty += if dirty { bytes } else { 0 };
            *kind_of(&mut kinds, vma, dirty) += bytes;
            resident += bytes;
        });
        sample.kinds.add(&kinds);
        if resident > 0 && (vma.shared || !vma.file) {
            sample.mappings.push((range, resident));
        }
    }
    let known = paths.into_iter().filter_map(|(id, bytes)| Some((space.paths().get(id)?, bytes)));
    sample.paths = known.collect();
    sample.live = by_stack(space.blocks());
    sample
}

fn kind_of<'a>(kinds: &'a mut ByKind, vma: &Vma, dirty: bool) -> &'a mut u64 {
    match (vma.origin.call, vma.shared, vma.file) {
        (_, true, true) => &mut kinds.file,
        (_, true, false) => &mut kinds.shared,
        (Call::Brk, ..) => &mut kinds.heap,
        _ if vma.grows_down => &mut kinds.stack,
        (_, false, true) if !dirty => &mut kinds.file,
        _ => &mut kinds.anonymous,
    }
}

impl ByKind {
    fn add(&mut self, other: &Self) {
        self.heap += other.heap;
        self.anonymous += other.anonymous;
        self.file += other.file;
        self.shared += other.shared;
        self.stack += other.stack;
        self.dirty += other.dirty;
    }

    /// All of it.
    pub(super) const fn resident(&self) -> u64 {
        self.heap + self.anonymous + self.file + self.shared + self.stack
    }

    /// The same at a time, as the report has it.
    pub(super) const fn point(&self, at_ns: u64) -> TimelinePoint {
        TimelinePoint {
            at_ns,
            heap_bytes: self.heap,
            anonymous_bytes: self.anonymous,
            file_bytes: self.file,
            shared_bytes: self.shared,
            stack_bytes: self.stack,
            dirty_bytes: self.dirty,
        }
    }
}
