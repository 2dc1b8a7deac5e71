//! Which files the kernel side finds the tables of by itself, when a process has mapped them a moment
//! ago.
//!
//! Comes in: files with their tables' places, and the devices under which they are mapped. Goes out:
//! entries of a map. A file that was written over, or whose number another one has now, has another time
//! of change: then user space looks.

use std::collections::HashSet;

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use rmap_ebpf::abi::FileTable;

use crate::{
    live::bpf::{Error, Quiet, map},
    symbol::{Module, Stamp},
    unwind::{elf::Segment, layout::Placed},
};

/// A file as the kernel side knows it: `super_block.s_dev`, `inode.i_ino`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
struct Key {
    device: u64,
    inode: u64,
}

// SAFETY: plain integers without padding.
unsafe impl aya::Pod for Key {}

/// [`FileTable`] as a value of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value(FileTable);

// SAFETY: plain integers without padding (`FileTable` is `IntoBytes`); every bit pattern is a value
// (`FromBytes`).
unsafe impl aya::Pod for Value {}

/// The map, and what waits until the rules that its tables name are written.
pub(super) struct FileTables {
    map: Quiet<HashMap<MapData, Key, Value>>,
    known: HashSet<(Key, u64, u64)>,
    waiting: Vec<(Key, FileTable)>,
}

impl FileTables {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self { map: map(ebpf, "FILE_TABLES")?, known: HashSet::new(), waiting: Vec::new() })
    }

    /// Takes a file whose table was placed, as `stat(2)` has shown it.
    pub(super) fn add(&mut self, stamp: &Stamp, placed: &Placed, segments: &[Segment]) {
        let device = (libc::major(stamp.device), libc::minor(stamp.device));
        self.add_as(device, stamp, placed, segments);
    }

    /// The same as maps shows it: on btrfs and overlayfs that is another device.
    pub(super) fn add_mapped(
        &mut self,
        module: &Module,
        stamp: &Stamp,
        placed: &Placed,
        segments: &[Segment],
    ) {
        if module.inode == stamp.inode {
            self.add_as(module.device, stamp, placed, segments);
        }
    }

    fn add_as(
        &mut self,
        (major, minor): (u32, u32),
        stamp: &Stamp,
        placed: &Placed,
        segments: &[Segment],
    ) {
        // `MKDEV` (kernel `include/linux/kdev_t.h`).
        let key = Key { device: u64::from(major << 20 | minor), inode: stamp.inode };
        let (changed_s, changed_ns) =
            (stamp.changed.0.cast_unsigned(), stamp.changed.1.cast_unsigned());
        if self.known.contains(&(key, changed_s, changed_ns)) {
            return;
        }
        if let Some(table) = placed.of_file(segments) {
            self.known.insert((key, changed_s, changed_ns));
            self.waiting.push((key, FileTable { changed_s, changed_ns, ..table }));
        }
    }

    /// Shows the kernel side those that wait; the rules that they name are there. Where there is no room,
    /// user space finds the tables as before.
    pub(super) fn show(&mut self) {
        for (key, table) in self.waiting.drain(..) {
            let _ = self.map.change(|map| map.insert(key, Value(table), 0));
        }
    }
}
