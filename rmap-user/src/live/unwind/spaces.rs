//! The mappings of each traced process, in their places of the array that the kernel side reads.
//!
//! A place that is in use is never written: a process that maps more code gets another place, and
//! then its entry in the table of processes is changed. Freed places wait for their turn, so that
//! a walk under way has long ended when its place is used again.

use std::collections::{HashMap, VecDeque};

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use rmap_ebpf::abi::{LEARNED, Learned, MAPPING_SLOTS, MAPPINGS, Mapping, Mappings, NO_SLOT};

use crate::live::bpf::{Error, Quiet, Targets, map};

/// [`Mappings`] as an element of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct MappingsValue(Mappings);

// SAFETY: plain integers without padding (`Mappings` is `IntoBytes`); every bit pattern is a
// value (`FromBytes`).
unsafe impl aya::Pod for MappingsValue {}

/// What is learned beside one [`Mappings`], as an element of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct LearnedValue([Learned; LEARNED]);

// SAFETY: as above.
unsafe impl aya::Pod for LearnedValue {}

/// Where the addresses of the kernel's own half begin.
pub(super) const UPPER_HALF: u64 = 1 << 63;

/// A place in use.
struct Place {
    mappings: Vec<Mapping>,
    users: u32,
}

/// All places.
pub(super) struct Spaces {
    array: Quiet<Array<MapData, MappingsValue>>,
    /// What the kernel side has learned since a place was filled.
    learned: Quiet<Array<MapData, LearnedValue>>,
    free: VecDeque<u32>,
    places: HashMap<u32, Place>,
    of_process: HashMap<u32, u32>,
    generation: u32,
}

impl Spaces {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            array: map(ebpf, "MAPPINGS")?,
            learned: map(ebpf, "LEARNED")?,
            free: (0..MAPPING_SLOTS).collect(),
            places: HashMap::new(),
            of_process: HashMap::new(),
            generation: 0,
        })
    }

    /// The mappings of a process as the kernel side has them.
    fn mappings(&self, pid: u32) -> &[Mapping] {
        self.of_process
            .get(&pid)
            .and_then(|slot| self.places.get(slot))
            .map_or(&[], |place| &place.mappings)
    }

    /// Gives a process these mappings; `prepare` fills in what else the new place has. Of more than
    /// fit, the last ones are left out: walks that come there are finished in user space.
    pub(super) fn set(
        &mut self,
        targets: &mut Targets,
        pid: u32,
        mut mappings: Vec<Mapping>,
        prepare: impl FnOnce(u32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // The kernel's search takes addresses as signed: `[vsyscall]`, the one mapping in the upper
        // half, would come before all others. No stack leads through it.
        mappings.retain(|mapping| mapping.start < UPPER_HALF);
        mappings.sort_unstable_by_key(|mapping| mapping.start);
        if self.of_process.contains_key(&pid) && self.mappings(pid) == mappings {
            return Ok(());
        }
        let Some(slot) = self.free.pop_front() else {
            // No place left: the kernel side hands the stacks of this process over.
            self.forget(pid);
            return targets.set(pid, NO_SLOT);
        };
        self.generation = self.generation.wrapping_add(1);
        let unused = Mapping { start: u64::MAX >> 1, end: u64::MAX >> 1, ..Mapping::default() };
        let count = mappings.len().min(MAPPINGS);
        let mut value = Box::new(MappingsValue(Mappings {
            count: count as u32,
            generation: self.generation,
            list: [unused; MAPPINGS],
        }));
        value.0.list[..count].copy_from_slice(&mappings[..count]);
        self.array
            .change(|array| array.set(slot, *value, 0))
            .map_err(|e| Error::Map { name: "MAPPINGS", why: e.to_string() })?;
        let none = LearnedValue([Learned::default(); LEARNED]);
        self.learned
            .change(|learned| learned.set(slot, none, 0))
            .map_err(|e| Error::Map { name: "LEARNED", why: e.to_string() })?;
        prepare(slot)?;
        targets.set(pid, slot)?;
        self.forget(pid);
        self.places.insert(slot, Place { mappings, users: 1 });
        self.of_process.insert(pid, slot);
        Ok(())
    }

    /// A child has its parent's place. The kernel side has copied the entry already, but perhaps
    /// one that was given up since.
    pub(super) fn inherit(
        &mut self,
        targets: &mut Targets,
        parent: u32,
        child: u32,
    ) -> Result<(), Error> {
        let Some(&slot) = self.of_process.get(&parent) else { return Ok(()) };
        self.forget(child);
        if let Some(place) = self.places.get_mut(&slot) {
            place.users += 1;
            self.of_process.insert(child, slot);
            targets.update(child, slot)?;
        }
        Ok(())
    }

    /// A process needs its place no longer.
    pub(super) fn forget(&mut self, pid: u32) {
        let Some(slot) = self.of_process.remove(&pid) else { return };
        if let Some(place) = self.places.get_mut(&slot) {
            place.users -= 1;
            if place.users == 0 {
                self.places.remove(&slot);
                self.free.push_back(slot);
            }
        }
    }
}
