//! Which code each address space has mapped, and when.
//!
//! Comes in: executable mappings ([`Code`]) that name their files by number, and the names that
//! programs wrote for their own code. Goes out: a [`ModuleMap`] for each address space.

use std::collections::HashMap;
use std::sync::Arc;

use crate::symbol::{Binary, Module, ModuleMap, PerfMap};
use crate::trace::{Code, MmKey};

/// Bytes of the names that all programs of a session wrote.
const WRITTEN_MAX: usize = 96 << 20;

/// Finds the file of a mapping: an open one in a live session, what a recording says of it otherwise.
pub trait Binaries {
    /// The file; `None` if there is none behind the mapping.
    fn binary(&mut self, code: &Code) -> Option<Arc<Binary>>;
}

/// No files at all: mappings have names and addresses only.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBinaries;

impl Binaries for NoBinaries {
    fn binary(&mut self, _: &Code) -> Option<Arc<Binary>> {
        None
    }
}

/// The code of all address spaces of a session.
pub struct Modules {
    binaries: Box<dyn Binaries>,
    maps: HashMap<MmKey, ModuleMap>,
    /// What programs wrote, each once: thousands of processes can write the same.
    written: Vec<Arc<PerfMap>>,
    written_bytes: usize,
}

impl Modules {
    /// Nothing is mapped yet.
    pub(super) fn new(binaries: Box<dyn Binaries>) -> Self {
        Self { binaries, maps: HashMap::new(), written: Vec::new(), written_bytes: 0 }
    }

    /// The code of an address space.
    #[must_use]
    pub fn of(&self, key: MmKey) -> Option<&ModuleMap> {
        self.maps.get(&key)
    }

    /// Sets what an address space has mapped at a time.
    pub(super) fn update(&mut self, key: MmKey, time_ns: u64, code: &[Code]) {
        let binaries = &mut self.binaries;
        let modules = code.iter().map(|code| Module {
            range: code.start..code.end,
            offset: code.offset,
            path: code.path.clone(),
            device: code.device,
            inode: code.inode,
            binary: binaries.binary(code),
        });
        self.maps.entry(key).or_default().update(time_ns, modules.collect());
    }

    /// A child has what its parent had.
    pub(super) fn inherit(&mut self, parent: Option<MmKey>, child: Option<MmKey>) {
        ModuleMap::inherit(&mut self.maps, parent, child);
    }

    /// Sets the names that a program wrote for its own code. Beyond a budget for all programs they are
    /// left out.
    pub(super) fn set_names(&mut self, key: MmKey, names: &[u8]) {
        let names = PerfMap::parse(names);
        let names = match self.written.iter().find(|known| ***known == names) {
            Some(known) => Arc::clone(known),
            None if self.written_bytes >= WRITTEN_MAX => return,
            None => {
                self.written_bytes += names.bytes();
                let names = Arc::new(names);
                self.written.push(Arc::clone(&names));
                names
            }
        };
        self.maps.entry(key).or_default().set_names(names);
    }
}
