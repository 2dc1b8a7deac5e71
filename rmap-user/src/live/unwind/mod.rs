//! Unwind tables for the probes: which code each traced process has mapped, and the tables of that
//! code, in the maps that the kernel side walks.
//!
//! Comes in: the [`Module`]s of a process whenever they change, and stacks that the kernel side
//! could not walk because they were faster. Goes out: filled maps, and those stacks walked here
//! by the same steps over the same words.

mod file_tables;
mod fresh;
mod made;
mod python;
mod shared;
mod spaces;

use std::{collections::HashMap, sync::Arc};

use aya::Ebpf;
use rmap_ebpf::{
    abi::{self, Mapping},
    logic::unwind::pt_regs_slot,
};

use crate::{
    live::bpf::{Error, Targets},
    report,
    symbol::{Binary, Module, ModuleMap},
    trace::{RawStack, Stack, StackEnd, StackPointers},
    unwind::{
        elf::Segment,
        layout::{Layout, Placed},
        table::address_of_offset,
        walk::{Registers, Space, walk},
    },
};

pub use fresh::Fresh;
pub use python::PYTHON_FRAMES;

use file_tables::FileTables;
use made::resident_word;
use python::Pythons;
use shared::Shared;
use spaces::{Spaces, UPPER_HALF};

/// Words of the kernel's `struct pt_regs` on x86-64: rip and rsp.
const PT_REGS_IP: usize = 16;
const PT_REGS_SP: usize = 19;

/// The tables of a session.
pub struct Tables {
    shared: Shared,
    layout: Layout,
    /// By the file, which is kept so that its address stays its own.
    files: HashMap<*const Binary, (Arc<Binary>, Covered)>,
    file_tables: FileTables,
    fresh: Fresh,
    spaces: Spaces,
    pythons: Pythons,
}

// SAFETY: the pointers are only compared; what they point to is kept by the `Arc` beside them.
unsafe impl Send for Tables {}

/// What is known of a file's code.
enum Covered {
    /// A table, and the segments by which a mapping finds its addresses in it.
    Table(Placed, Vec<Segment>),
    /// No unwind information, no ELF file, or no room.
    No,
}

impl Tables {
    /// Takes the maps of the loaded object. `python`: frames of CPython are wanted.
    ///
    /// # Errors
    /// A map is not there, or cannot be made.
    pub fn new(ebpf: &mut Ebpf, python: bool) -> Result<Self, Error> {
        Ok(Self {
            shared: Shared::new(ebpf)?,
            layout: Layout::default(),
            files: HashMap::new(),
            file_tables: FileTables::new(ebpf)?,
            fresh: Fresh::default(),
            spaces: Spaces::new(ebpf)?,
            pythons: Pythons::new(ebpf, python)?,
        })
    }

    /// Where tables of files are left before those files are shown.
    #[must_use]
    pub fn fresh(&self) -> Fresh {
        self.fresh.clone()
    }

    /// Shows the kernel side which code a process has mapped now.
    ///
    /// # Errors
    /// A map refused.
    pub fn show<'a>(
        &mut self,
        targets: &mut Targets,
        pid: u32,
        modules: impl Iterator<Item = &'a Module>,
    ) -> Result<(), Error> {
        let modules: Vec<&Module> = modules.collect();
        let mappings = modules.iter().map(|module| self.mappings(module));
        let mappings: Vec<Mapping> = mappings.collect::<Result<Vec<_>, _>>()?.concat();
        self.shared.flush_rules(&self.layout)?;
        self.file_tables.show();
        let python = self.pythons.of(pid, &modules);
        self.spaces.set(targets, pid, mappings, |slot| self.pythons.set(slot, python))
    }

    /// Makes the tables of files that will be mapped soon.
    ///
    /// # Errors
    /// A map refused.
    pub fn prepare(&mut self, files: &[Arc<Binary>]) -> Result<(), Error> {
        files.iter().try_for_each(|file| self.know(file))?;
        self.shared.flush_rules(&self.layout)?;
        self.file_tables.show();
        Ok(())
    }

    /// A forked child has its parent's mappings.
    ///
    /// # Errors
    /// A map refused.
    pub fn inherit(&mut self, targets: &mut Targets, parent: u32, child: u32) -> Result<(), Error> {
        self.pythons.inherit(parent, child);
        self.spaces.inherit(targets, parent, child)
    }

    /// A process has ended.
    pub fn forget(&mut self, pid: u32) {
        self.spaces.forget(pid);
        self.pythons.forget(pid);
    }

    /// Frames of a process's CPython came.
    pub fn has_python_frames(&mut self, pid: u32) {
        self.pythons.came(pid);
    }

    /// Which processes run a CPython, and why some of them are not read.
    #[must_use]
    pub fn pythons(&self) -> Vec<report::Probe> {
        self.pythons.probes()
    }

    /// Bytes of tables that the kernel side has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * self.layout.words()
    }

    /// Walks a stack that the kernel side could not, with what is known of the process by now.
    /// `modules` are those of the process, whose code is read from its memory. Where the process runs
    /// a language runtime that is read, it is said too where the frames lie.
    #[must_use]
    pub fn finish(
        &self,
        pid: u32,
        raw: &RawStack,
        modules: Option<&ModuleMap>,
    ) -> (Stack, Option<StackPointers>) {
        let mut registers = Registers { ip: raw.registers[PT_REGS_IP], ..Registers::default() };
        for (number, value) in registers.general.iter_mut().enumerate() {
            let slot = match u8::try_from(number) {
                Ok(abi::REG_SP) => PT_REGS_SP,
                _ => pt_regs_slot(number as u32) as usize,
            };
            *value = raw.registers.get(slot).copied().unwrap_or(0);
        }
        let base = registers.sp() & !(abi::RAW_STACK_ALIGN as u64 - 1);
        let mappings = match modules {
            Some(modules) => modules.living().flat_map(|module| self.known_mappings(module)),
            None => {
                let ips = vec![registers.ip];
                return (Stack { hash: raw.hash, end: StackEnd::NoMapping, ips }, None);
            }
        };
        let space = Space::new(&self.shared, mappings.filter(|m| m.start < UPPER_HALF).collect());
        let of_stack = |address: u64| {
            let at = usize::try_from(address.checked_sub(base)?).ok()?;
            let bytes = raw.memory.get(at..at.checked_add(8)?)?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        let of_code = |address: u64| {
            modules?.find(address, u64::MAX - 1)?;
            resident_word(pid, address)
        };
        let walked =
            walk(&registers, &space, |address| of_stack(address).or_else(|| of_code(address)));
        let pointers = StackPointers { stack: raw.hash, offsets: walked.offsets };
        let stack = Stack { hash: raw.hash, end: walked.end, ips: walked.ips };
        (stack, self.pythons.reads(pid).then_some(pointers))
    }

    /// The pieces of code of one mapping.
    fn mappings(&mut self, module: &Module) -> Result<Vec<Mapping>, Error> {
        if let Some(binary) = &module.binary {
            self.know(binary)?;
            if let (Some(stamp), Some((_, Covered::Table(placed, segments)))) =
                (&binary.stamp, self.files.get(&Arc::as_ptr(binary)))
            {
                self.file_tables.add_mapped(module, stamp, placed, segments);
            }
        }
        Ok(self.known_mappings(module))
    }

    /// The same of a file that has its table already; else it is said to have none yet.
    fn known_mappings(&self, module: &Module) -> Vec<Mapping> {
        let whole = |slab| {
            let (start, end) = (module.range.start, module.range.end);
            vec![Mapping { start, end, slab, ..Mapping::default() }]
        };
        let Some(binary) = &module.binary else { return whole(abi::SLAB_JIT) };
        match self.files.get(&Arc::as_ptr(binary)) {
            Some((_, Covered::Table(placed, segments))) => {
                match address_of_offset(segments, module.offset) {
                    Some(address) => placed.mappings(address, module.range.clone()),
                    None => whole(abi::SLAB_UNCOVERED),
                }
            }
            Some((_, Covered::No)) => whole(abi::SLAB_UNCOVERED),
            None => whole(abi::SLAB_PENDING),
        }
    }

    /// Whether a file that is known has a segment of code at this place of the file (whole pages),
    /// of which so many bytes are mapped.
    #[must_use]
    pub fn has_code_at(&self, binary: &Arc<Binary>, offset: u64, length: u64) -> bool {
        const PAGE: u64 = 4096;
        let Some((_, Covered::Table(_, segments))) = self.files.get(&Arc::as_ptr(binary)) else {
            return false;
        };
        segments.iter().any(|segment| {
            let start = segment.offset & !(PAGE - 1);
            let end =
                segment.offset.saturating_add(segment.file_size).checked_next_multiple_of(PAGE);
            segment.executable && start == offset && end == start.checked_add(length)
        })
    }

    /// Gives a file its table, if it has none yet.
    fn know(&mut self, binary: &Arc<Binary>) -> Result<(), Error> {
        let key = Arc::as_ptr(binary);
        if !self.files.contains_key(&key) {
            let covered = self.cover(binary)?;
            if let (Some(stamp), Covered::Table(placed, segments)) = (&binary.stamp, &covered) {
                self.file_tables.add(stamp, placed, segments);
            }
            self.files.insert(key, (Arc::clone(binary), covered));
        }
        Ok(())
    }

    /// Gives a file's table its place.
    fn cover(&mut self, binary: &Arc<Binary>) -> Result<Covered, Error> {
        let Some(table) = self.fresh.take(binary).filter(|table| !table.is_empty()) else {
            return Ok(Covered::No);
        };
        let mut failed = None;
        let shared = &mut self.shared;
        let placed = self.layout.place(&table, |slab, at, words| {
            if let Err(error) = shared.write(slab, at, words) {
                failed.get_or_insert(error);
            }
        });
        match (placed, failed) {
            (_, Some(error)) => Err(error),
            (Ok(placed), None) => Ok(Covered::Table(placed, table.segments)),
            // No room: its frames end the walk and say so.
            (Err(_), None) => Ok(Covered::No),
        }
    }
}
