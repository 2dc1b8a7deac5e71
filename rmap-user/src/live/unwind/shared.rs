//! The slabs and rules that the kernel side reads: written here, append-only.
//!
//! A slab is an array map of one element of 4 MiB that user space maps into its own memory, so
//! that a table is copied and not handed over in system calls. It is made when it is needed:
//! putting one into the outer map makes the kernel wait for its readers.

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, MapData},
};
use memmap2::{MmapMut, MmapOptions};
use rmap_ebpf::abi::{self, Rule};
use std::os::fd::{AsFd, AsRawFd};

use crate::{
    live::bpf::{Error, Quiet, map},
    unwind::{layout::Layout, walk::Source},
};

/// `BPF_MAP_TYPE_ARRAY` (kernel `include/uapi/linux/bpf.h`).
const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

/// [`Rule`] as an element of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct RuleValue(Rule);

// SAFETY: plain integers without padding (`Rule` is `IntoBytes`); every bit pattern is a value
// (`FromBytes`).
unsafe impl aya::Pod for RuleValue {}

/// One slab.
struct Slab {
    memory: MmapMut,
    _map: MapData,
}

/// Slabs and rules.
pub(super) struct Shared {
    outer: Quiet<ArrayOfMaps<MapData, MapData>>,
    slabs: Vec<Slab>,
    rules: Quiet<Array<MapData, RuleValue>>,
    /// The rules that the kernel side has.
    known: Vec<Rule>,
}

impl Shared {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            outer: map(ebpf, "SLABS")?,
            slabs: Vec::new(),
            rules: map(ebpf, "RULES")?,
            known: Vec::new(),
        })
    }

    /// Writes words into a slab, which is made if it is the next one.
    pub(super) fn write(&mut self, slab: u32, at: usize, words: &[u32]) -> Result<(), Error> {
        while self.slabs.len() <= slab as usize {
            let new = self.make()?;
            self.slabs.push(new);
        }
        let bytes = at * 4..(at + words.len()) * 4;
        let place =
            self.slabs.get_mut(slab as usize).and_then(|slab| slab.memory.get_mut(bytes.clone()));
        let Some(place) = place else {
            let why = format!("bytes {bytes:?} are outside of slab {slab}");
            return Err(Error::Map { name: "SLABS", why });
        };
        for (place, word) in place.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        Ok(())
    }

    fn make(&mut self) -> Result<Slab, Error> {
        let failed = |why: String| Error::Map { name: "SLABS", why };
        let bytes = abi::SLAB_WORDS * 4;
        let object = aya_obj::Map::new_from_params(MAP_TYPE_ARRAY, 4, bytes as u32, 1, MMAPABLE);
        let map = MapData::create(object, "slab", None).map_err(|e| failed(e.to_string()))?;
        // SAFETY: only this process maps the slab, and the kernel side reads it word by word.
        let memory = unsafe { MmapOptions::new().len(bytes).map_mut(map.fd().as_fd().as_raw_fd()) }
            .map_err(|e| failed(e.to_string()))?;
        let number = self.slabs.len() as u32;
        self.outer.change(|outer| outer.set(number, &map, 0)).map_err(|e| failed(e.to_string()))?;
        Ok(Slab { memory, _map: map })
    }

    /// Tells the kernel side of rules that came with the last tables.
    pub(super) fn flush_rules(&mut self, layout: &Layout) -> Result<(), Error> {
        for rule in layout.rules().iter().skip(self.known.len()) {
            let number = self.known.len() as u32;
            self.rules
                .change(|rules| rules.set(number, RuleValue(*rule), 0))
                .map_err(|e| Error::Map { name: "RULES", why: e.to_string() })?;
            self.known.push(*rule);
        }
        Ok(())
    }
}

impl Source for Shared {
    fn slab(&self, number: u32) -> Option<&[u32; abi::SLAB_WORDS]> {
        let memory: &[u8] = &self.slabs.get(number as usize)?.memory;
        zerocopy::FromBytes::ref_from_bytes(memory).ok()
    }

    fn rules(&self) -> &[Rule] {
        &self.known
    }
}
