//! What is mapped where, and who mapped it.
//!
//! A mapping instance is one act of mapping: it lives until the last byte of it is unmapped, and
//! what code paths did in it is kept with it. `mprotect` and moves by `mremap` keep it. A VMA here
//! is a piece of an instance with one protection, near to what the kernel has.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::path::{PathId, StackRef};
use super::range_map::RangeMap;
use super::stats::Stats;
use crate::trace::FileId;

pub use crate::terms::MapCallKind as Call;

/// Names a mapping instance within one address space. It is used again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(u32);

impl InstanceId {
    /// Where no mapping is known.
    pub const UNKNOWN: Self = Self(0);
}

/// Who does something: a thread at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// When, on `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Its user stack.
    pub stack: Option<StackRef>,
}

/// Who made a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// By which call.
    pub call: Call,
    /// Who called.
    pub actor: Actor,
}

/// A piece of a mapping instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vma {
    /// The instance.
    pub instance: InstanceId,
    /// Who made it.
    pub origin: Origin,
    /// Memory of a file (or memfd).
    pub file: bool,
    /// Writes go to the file or to other processes.
    pub shared: bool,
    /// It grows down when the page below it is touched.
    pub grows_down: bool,
    /// It was there when the address space was copied by fork.
    pub inherited: bool,
    /// The bits of `PROT_`.
    pub prot: u8,
    /// The address at which the file's first byte would lie, modulo 2⁶⁴; 0 for private memory
    /// without a file. Large folios are aligned from there.
    pub base: u64,
    /// Which file, or shared memory, if that is known.
    pub id: Option<FileId>,
}

impl Vma {
    /// Private and of no file.
    #[must_use]
    pub const fn is_private_anonymous(&self) -> bool {
        !self.file && !self.shared
    }
}

#[derive(Clone, Debug, Default)]
struct Instance {
    bytes: u64,
    stats: FxHashMap<PathId, Stats>,
}

/// What is mapped in one address space.
#[derive(Clone, Debug)]
pub struct Mappings {
    vmas: RangeMap<Vma>,
    instances: Vec<Instance>,
    free: Vec<InstanceId>,
    /// What code paths did in instances that are gone: pages, instances.
    gone: FxHashMap<PathId, (u64, u64)>,
}

impl Default for Mappings {
    fn default() -> Self {
        Self {
            vmas: RangeMap::default(),
            // The first stands for memory of which no mapping is known.
            instances: vec![Instance::default()],
            free: Vec::new(),
            gone: FxHashMap::default(),
        }
    }
}

impl Mappings {
    /// The VMAs.
    #[must_use]
    pub const fn vmas(&self) -> &RangeMap<Vma> {
        &self.vmas
    }

    /// A new instance with nothing mapped yet.
    pub fn new_instance(&mut self) -> InstanceId {
        self.free.pop().unwrap_or_else(|| {
            self.instances.push(Instance::default());
            InstanceId(u32::try_from(self.instances.len() - 1).unwrap_or(0))
        })
    }

    /// Maps a range, over what was there.
    pub fn map(&mut self, range: Range<u64>, vma: Vma) {
        self.instance_mut(vma.instance).bytes += range.end.saturating_sub(range.start);
        let old = self.vmas.insert(range, vma);
        self.reap(&old);
    }

    /// Unmaps a range.
    pub fn unmap(&mut self, range: Range<u64>) {
        let old = self.vmas.cut(range);
        self.reap(&old);
    }

    /// Takes a range out, to be put elsewhere: its instances live on.
    pub fn detach(&mut self, range: Range<u64>) -> Vec<(Range<u64>, Vma)> {
        self.vmas.cut(range)
    }

    /// Puts a piece that was detached somewhere, over what was there.
    pub fn attach(&mut self, range: Range<u64>, vma: Vma) {
        let old = self.vmas.insert(range, vma);
        self.reap(&old);
    }

    /// Lets go of pieces that were detached.
    pub fn reap(&mut self, pieces: &[(Range<u64>, Vma)]) {
        for (range, vma) in pieces {
            let instance = self.instance_mut(vma.instance);
            instance.bytes = instance.bytes.saturating_sub(range.end - range.start);
            if instance.bytes == 0 && vma.instance != InstanceId::UNKNOWN {
                let stats = std::mem::take(&mut instance.stats);
                for (path, stats) in stats {
                    let gone = self.gone.entry(path).or_default();
                    gone.0 += stats.touched_pages;
                    gone.1 += 1;
                }
                self.free.push(vma.instance);
            }
        }
    }

    /// Forgets who made what was mapped before a moment.
    pub fn forget_origins(&mut self, before_ns: u64) {
        let known =
            |vma: &Vma| vma.origin.actor.time_ns <= before_ns && vma.origin.call != Call::Unknown;
        let old: Vec<_> =
            self.vmas.iter().filter(|(_, vma)| known(vma)).map(|(r, vma)| (r, *vma)).collect();
        for (range, vma) in old {
            let origin = Origin { call: Call::Unknown, ..vma.origin };
            self.vmas.insert(range, Vma { origin, ..vma });
        }
    }

    /// Gives a range another protection.
    pub fn protect(&mut self, range: Range<u64>, prot: u8) {
        for (piece, vma) in self.vmas.cut(range) {
            self.vmas.insert(piece, Vma { prot, ..vma });
        }
    }

    /// Says which file (or shared memory) the mappings of a range are of, where that is not known.
    /// Gives back where.
    pub fn identify(&mut self, range: Range<u64>, id: FileId) -> Vec<(Range<u64>, Vma)> {
        let unknown: Vec<_> = self
            .vmas
            .within(range)
            .filter(|(_, vma)| vma.id.is_none() && (vma.file || vma.shared))
            .map(|(piece, vma)| (piece, Vma { id: Some(id), ..*vma }))
            .collect();
        for (piece, vma) in &unknown {
            self.vmas.insert(piece.clone(), *vma);
        }
        unknown
    }

    /// Where bytes of a file are mapped, with the mapping.
    pub fn places(&self, id: FileId, bytes: &Range<u64>) -> Vec<(Range<u64>, Vma)> {
        self.vmas
            .iter()
            .filter(|(_, vma)| vma.id == Some(id))
            .filter_map(|(range, vma)| {
                let offset = range.start.wrapping_sub(vma.base);
                let from = bytes.start.max(offset);
                let to = bytes.end.min(offset.saturating_add(range.end - range.start));
                let at = |byte: u64| range.start + (byte - offset);
                (from < to).then(|| (at(from)..at(to), *vma))
            })
            .collect()
    }

    /// What a path did in an instance, to add to.
    pub fn stats_mut(&mut self, instance: InstanceId, path: PathId) -> &mut Stats {
        self.instance_mut(instance).stats.entry(path).or_default()
    }

    /// What all paths did in an instance.
    pub fn stats(&self, instance: InstanceId) -> impl Iterator<Item = (PathId, &Stats)> {
        self.instances
            .get(instance.0 as usize)
            .into_iter()
            .flat_map(|instance| instance.stats.iter().map(|(path, stats)| (*path, stats)))
    }

    /// What paths did in instances that are gone: path, pages, instances.
    pub fn gone(&self) -> impl Iterator<Item = (PathId, u64, u64)> {
        self.gone.iter().map(|(path, (pages, instances))| (*path, *pages, *instances))
    }

    /// The instances that have a VMA, and [`InstanceId::UNKNOWN`].
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        (0..self.instances.len())
            .map(|index| InstanceId(index as u32))
            .filter(|id| *id == InstanceId::UNKNOWN || self.instances[id.0 as usize].bytes > 0)
    }

    /// The same mappings in a child: what was done in them stays behind.
    #[must_use]
    pub fn inherit(&self) -> Self {
        let mut vmas = RangeMap::default();
        for (range, vma) in self.vmas.iter() {
            vmas.insert(range, Vma { inherited: true, ..*vma });
        }
        let instances = self
            .instances
            .iter()
            .map(|i| Instance { bytes: i.bytes, stats: FxHashMap::default() })
            .collect();
        Self { vmas, instances, free: self.free.clone(), gone: FxHashMap::default() }
    }

    fn instance_mut(&mut self, id: InstanceId) -> &mut Instance {
        // Ids are made by new_instance alone; one that is not known counts as unknown.
        let known = if (id.0 as usize) < self.instances.len() { id.0 as usize } else { 0 };
        &mut self.instances[known]
    }
}
