//! Sizes through a session, for curves and growth.
//!
//! Comes in: the model, at some places of the stream. Goes out: for each process, bytes by kind of
//! memory and by call path, as the model knows them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::model::{AddressSpace, Call, Path, PathId, Place, Processes, Vma};
use crate::report::TimelinePoint;

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
    pub(super) fn of(processes: &Processes, place: Place) -> Self {
        let living = processes.all().iter().enumerate();
        let living = living.filter(|(_, process)| process.ended_ns.is_none());
        let of = |(index, _)| Some((index, sample(processes.own_space(index)?)));
        Self { at_ns: place.time_ns, processes: living.filter_map(of).collect() }
    }
}

fn sample(space: &AddressSpace) -> ProcessSample {
    let mut sample = ProcessSample::default();
    let mut paths: FxHashMap<PathId, u64> = FxHashMap::default();
    for (range, vma) in space.mappings().vmas().iter() {
        let mut kinds = ByKind::default();
        space.owners().walk(range, |run, owner| {
            if owner.resident.is_none() {
                return;
            }
            let bytes = run.end - run.start;
            *paths.entry(owner.resident).or_default() += bytes;
            let dirty = owner.dirty.is_some();
            kinds.dirty += if dirty { bytes } else { 0 };
            *kind_of(&mut kinds, vma, dirty) += bytes;
        });
        sample.kinds.add(&kinds);
    }
    let known = paths.into_iter().filter_map(|(id, bytes)| Some((space.paths().get(id)?, bytes)));
    sample.paths = known.collect();
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
