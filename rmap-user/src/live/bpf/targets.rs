//! The table of traced processes in the kernel.
//!
//! Comes in: processes, with their places among the mappings. Goes out: nothing; the probes read it.

use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfHashMap, MapData, MapError};

use super::{Error, Quiet, map};

/// The table of traced processes, and each one's place among the mappings.
pub struct Targets {
    map: Quiet<BpfHashMap<MapData, u32, u32>>,
    /// By which the probes know that what they remember of the table is still so.
    epoch: Quiet<Array<MapData, u64>>,
    changes: u64,
}

impl Targets {
    pub fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let mut targets =
            Self { map: map(ebpf, "TARGETS")?, epoch: map(ebpf, "EPOCH")?, changes: 0 };
        targets.changed()?;
        Ok(targets)
    }

    fn changed(&mut self) -> Result<(), Error> {
        self.changes += 1;
        self.epoch
            .change(|epoch| epoch.set(0, self.changes, 0))
            .map_err(|error| Error::Map { name: "EPOCH", why: error.to_string() })
    }

    /// Traces a process, or changes its place.
    ///
    /// # Errors
    /// The table is full.
    pub fn set(&mut self, pid: u32, slot: u32) -> Result<(), Error> {
        self.map.change(|map| map.insert(pid, slot, 0)).map_err(refused)?;
        self.changed()
    }

    /// Changes the place of a process if it is still traced.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn update(&mut self, pid: u32, slot: u32) -> Result<(), Error> {
        match self.map.change(|map| map.insert(pid, slot, BPF_EXIST)) {
            Err(MapError::SyscallError(error)) if is_gone(&error.io_error) => Ok(()),
            Err(error) => Err(refused(error)),
            Ok(()) => self.changed(),
        }
    }

    /// Traces a process no longer; one that is not traced is no error.
    pub fn remove(&mut self, pid: u32) {
        let _ = self.map.change(|map| map.remove(&pid));
        // A map of one element takes every value.
        let _ = self.changed();
    }

    /// Whether a process is traced now.
    #[must_use]
    pub fn contains(&self, pid: u32) -> bool {
        self.map.look(|map| map.get(&pid, 0).is_ok())
    }
}

/// `BPF_EXIST` (kernel `include/uapi/linux/bpf.h`).
const BPF_EXIST: u64 = 2;

fn is_gone(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

fn refused(error: MapError) -> Error {
    Error::Map { name: "TARGETS", why: error.to_string() }
}
