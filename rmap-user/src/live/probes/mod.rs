//! The probes in the kernel: loads them, attaches them by the probe plan, hands out their ring
//! buffer and counters.
//!
//! Comes in: the eBPF object, the running kernel's offsets, the choices of a session. Goes out: a
//! [`Probes`], whose end takes every probe out of the kernel again (their links are descriptors).

mod allocator;
mod calibrate;
mod entries;
mod losses;
mod misses;
mod offsets;
mod plan;
mod syscall_tracepoint;

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::AsFd,
    sync::Arc,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap as BpfHashMap, MapData, PerCpuArray, RingBuf},
};
use rmap_ebpf::abi;

use crate::{
    live::{
        bpf::{Quiet, Targets, Undisturbed, map, single, taken},
        malloc::Shim,
        release::{is_left_out, may_be_preempted},
        unwind::{PYTHON_FRAMES, Tables},
    },
    report::{self, MALLOC_PROBE},
    symbol::{Binary, Module},
};

pub use crate::live::bpf::Error;
use allocator::Allocators;
pub use allocator::Cost;
pub use losses::Losses;
pub use misses::LeftOut;
use misses::Misses;
pub use offsets::Offsets;
pub use plan::{PLAN, Planned, purpose};
use syscall_tracepoint::SyscallTracepoint;

/// The eBPF object, built from `rmap-ebpf` by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("RMAP_PROBES"));

/// Bytes of the ring where walks are checked: no raw stack should be missing then.
const CHECK_RING: u32 = 256 << 20;

/// The name of the reading of page tables among the probes.
pub const PAGE_TABLE: &str = "page-table";

/// The program of the allocator's shim in the object.
const MALLOC_PROGRAM: &str = "malloc_report";

/// What follows where page tables are not read.
const WITHOUT_PAGE_TABLE: &str =
    "which pages a fault around its address mapped is told by the next snapshot";

/// What follows where the frames of CPython are not read.
const WITHOUT_PYTHON: &str = "Python programs show the interpreter's own functions";

/// Which probes serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// All that make the figures more exact on this kernel.
    #[default]
    Auto,
    /// Tracepoints and perf events alone: what every kernel allows that rmap runs on.
    Plain,
}

/// How allocations are picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Picking {
    /// They are not.
    #[default]
    Nothing,
    /// By the allocator's shim: [`Probes::trace_malloc`].
    Shim,
    /// By probes at allocators' own functions ([`Probes::load_allocators`]), one byte in so many.
    Functions(u64),
}

/// What a session chooses.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Which probes serve.
    pub choice: Choice,
    /// Trace the children of traced processes as well.
    pub follow: bool,
    /// Let the probes log (`-vv`).
    pub verbose: bool,
    /// Send registers and memory of walked stacks as well, to check the walks.
    pub check_unwind: bool,
    /// Read the frames of CPython.
    pub python: bool,
    /// How allocations are picked.
    pub malloc: Picking,
}

/// The probes while they serve. Dropping it takes them out of the kernel.
pub struct Probes {
    ebpf: Ebpf,
    targets: Targets,
    tables: Tables,
    counters: Quiet<PerCpuArray<MapData, u64>>,
    misses: Misses,
    files: Files,
    /// Whether threads may be stopped for the tracer.
    holds: Quiet<Array<MapData, u32>>,
    _tracepoints: Vec<SyscallTracepoint>,
    probes: Vec<report::Probe>,
    page_table: bool,
    allocators: Option<Allocators>,
}

/// Mirror of `File` in the eBPF part.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct MappedFile {
    device: u64,
    inode: u64,
}

// SAFETY: two u64 without padding; every bit pattern is a value.
unsafe impl aya::Pod for MappedFile {}

/// The files of which the probes tell. Those that `mmap` maps they note themselves.
struct Files {
    map: Quiet<BpfHashMap<MapData, MappedFile, u32>>,
    known: HashSet<MappedFile>,
}

/// What loads the object. aya reads the kernel's types when it makes one, which takes some ten
/// milliseconds, and nothing can be told it before.
#[must_use]
pub fn loader() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    // There are no relocations against the kernel's types: `Offsets` replaces them.
    loader.btf(None);
    // Storage of tasks, which aya only has to make: no program of user space looks into it.
    loader.allow_unsupported_maps();
    loader
}

impl Probes {
    /// Loads and attaches, with what [`loader`] gave. A probe that is needed and cannot be had is an
    /// error; one that makes the report better is told in [`Probes::probes`].
    ///
    /// # Errors
    /// What the kernel refused, in one line.
    pub fn load(
        loader: EbpfLoader<'static>,
        offsets: &Offsets,
        settings: Settings,
    ) -> Result<Self, Error> {
        let huge = plan::huge_pages();
        // It borrows the values from here on.
        let mut loader: EbpfLoader<'_> = loader;
        for (name, value) in offsets.globals() {
            loader.override_global(name, value, true);
        }
        let follow = u8::from(settings.follow);
        let check_unwind = u8::from(settings.check_unwind);
        let preempted = may_be_preempted();
        let leaves_out = u8::from(preempted);
        let tracer = u64::from(std::process::id());
        let log_level = u8::from(settings.verbose) * aya_log::Level::Debug as u8;
        let (huge_pages, multi_size) = (u8::from(huge.transparent), u8::from(huge.multi_size));
        loader
            .override_global("FOLLOW", &follow, true)
            .override_global("TRACER", &tracer, true)
            .override_global("HUGE_PAGES", &huge_pages, true)
            .override_global("CHECK_UNWIND", &check_unwind, true)
            .override_global("MULTI_SIZE_PAGES", &multi_size, true)
            .override_global("PREEMPTED", &leaves_out, true)
            .override_global(aya_log::LEVEL, &log_level, true);
        let mean = match settings.malloc {
            Picking::Functions(mean) => mean,
            Picking::Nothing | Picking::Shim => 0,
        };
        loader.override_global("MALLOC_MEAN", &mean, true);
        if mean != 0 {
            loader.map_max_entries("LIVE", abi::MALLOC_LIVE_MAX);
        }
        if settings.check_unwind {
            loader.map_max_entries("EVENTS", CHECK_RING);
        }
        if !preempted {
            let places = match settings.malloc {
                Picking::Nothing => abi::PLACES_UNDISTURBED,
                Picking::Shim | Picking::Functions(_) => abi::PLACES_WITH_MALLOC,
            };
            loader
                .map_max_entries("SCRATCH", places)
                .map_max_entries("RAW_STACKS", places)
                .map_max_entries("ROOMS", places)
                .map_max_entries("KNOWN", 1);
        }
        let mut ebpf = loader.load(OBJECT)?;
        drop(loader);
        let page_table = match settings.choice {
            Choice::Auto => calibrate::calibrate(&mut ebpf)?,
            Choice::Plain => false,
        };
        let mut probes = Vec::new();
        let mut tracepoints = Vec::new();
        let refused = plan::load(&mut ebpf, offsets, preempted);
        plan::join_fault_ends(&mut ebpf)?;
        for planned in PLAN {
            let mut programs = planned.programs(preempted).filter(|name| !is_left_out(name));
            let attached = programs.try_for_each(|program| {
                plan::attach(&mut ebpf, planned, program, offsets, &refused, &mut tracepoints)
            });
            let why_not = match attached {
                Ok(()) => None,
                Err(why) if planned.needed => {
                    return Err(Error::Attach { name: planned.name.to_owned(), why });
                }
                Err(why) => Some(format!("{why}; {}", planned.without)),
            };
            probes.push(report::Probe {
                name: planned.name.to_owned(),
                attached: why_not.is_none(),
                why_not,
            });
        }
        probes.push(report::Probe {
            name: PAGE_TABLE.to_owned(),
            attached: page_table,
            why_not: (!page_table).then(|| {
                let why = match settings.choice {
                    Choice::Auto => "where the kernel maps physical memory was not found",
                    Choice::Plain => "left out, as --probes plain says",
                };
                format!("{why}; {WITHOUT_PAGE_TABLE}")
            }),
        });
        let misses = if preempted { watch(&ebpf, &probes)? } else { Misses::default() };
        let targets = Targets::new(&mut ebpf)?;
        let python = offsets.has_thread_pointer();
        probes.push(report::Probe {
            name: PYTHON_FRAMES.to_owned(),
            attached: python && settings.python,
            why_not: match (settings.python, python) {
                (false, _) => Some(format!("left out, as --python off says; {WITHOUT_PYTHON}")),
                (true, false) => Some(format!(
                    "this kernel's types do not say where a thread's pointer is; {WITHOUT_PYTHON}"
                )),
                (true, true) => None,
            },
        });
        let tables = Tables::new(&mut ebpf, python && settings.python)?;
        let counters = map(&mut ebpf, "COUNTERS")?;
        let mut holds: Quiet<Array<MapData, u32>> = map(&mut ebpf, "HOLDS")?;
        holds
            .change(|holds| holds.set(0, 1, 0))
            .map_err(|error| Error::Map { name: "HOLDS", why: error.to_string() })?;
        let files = Files { map: map(&mut ebpf, "MAPPED")?, known: HashSet::new() };
        Ok(Self {
            ebpf,
            targets,
            tables,
            counters,
            misses,
            files,
            holds,
            _tracepoints: tracepoints,
            probes,
            page_table,
            allocators: None,
        })
    }

    /// Has whatever the allocator's shim reports sent, from all processes that map it.
    ///
    /// # Errors
    /// What the kernel refused, in one line.
    pub fn trace_malloc(&mut self, shim: &Shim) -> Result<(), Error> {
        let attached =
            plan::attach_uprobe(&mut self.ebpf, MALLOC_PROGRAM, shim.path(), shim.entry());
        attached.map_err(|why| Error::Attach { name: MALLOC_PROBE.to_owned(), why })?;
        let name = MALLOC_PROBE.to_owned();
        self.probes.push(report::Probe { name, attached: true, why_not: None });
        Ok(())
    }

    /// Stops no thread for the tracer any more.
    pub fn hold_nobody(&mut self) {
        // An array of one element takes every value.
        let _ = self.holds.change(|holds| holds.set(0, 0, 0));
    }

    /// Traces a process from now on. Its code is not known yet.
    ///
    /// # Errors
    /// The table of processes is full.
    pub fn trace(&mut self, pid: u32) -> Result<(), Error> {
        self.targets.set(pid, abi::NO_SLOT)
    }

    /// Traces a process no longer.
    pub fn untrace(&mut self, pid: u32) {
        self.targets.remove(pid);
    }

    /// Whether a process is traced now.
    #[must_use]
    pub fn is_traced(&self, pid: u32) -> bool {
        self.targets.contains(pid)
    }

    /// Shows the probes which code a process has mapped now.
    ///
    /// # Errors
    /// A map refused.
    pub fn show<'a>(
        &mut self,
        pid: u32,
        modules: impl Iterator<Item = &'a Module>,
    ) -> Result<(), Error> {
        self.tables.show(&mut self.targets, pid, modules)
    }

    /// Makes the unwind tables of files that will be mapped soon.
    ///
    /// # Errors
    /// A map refused.
    pub fn prepare(&mut self, files: &[Arc<Binary>]) -> Result<(), Error> {
        self.tables.prepare(files)
    }

    /// A forked child has its parent's code.
    ///
    /// # Errors
    /// A map refused.
    pub fn inherit(&mut self, parent: u32, child: u32) -> Result<(), Error> {
        self.tables.inherit(&mut self.targets, parent, child)
    }

    /// A file is mapped: who writes to it is told from now on.
    ///
    /// # Errors
    /// The map refused.
    pub fn watch(&mut self, (major, minor): (u32, u32), inode: u64) -> Result<(), Error> {
        let device = u64::from(major) << 20 | u64::from(minor);
        let file = MappedFile { device, inode };
        if self.files.known.insert(file) {
            self.files
                .map
                .change(|map| map.insert(file, 1, 0))
                .map_err(|e| Error::Map { name: "MAPPED", why: e.to_string() })?;
        }
        Ok(())
    }

    /// Frames of a process's CPython came.
    pub fn has_python_frames(&mut self, pid: u32) {
        self.tables.has_python_frames(pid);
    }

    /// A process has ended.
    pub fn ended(&mut self, pid: u32) {
        self.tables.forget(pid);
    }

    /// The unwind tables.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The ring buffer; it can be taken once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn ring(&mut self) -> Result<RingBuf<MapData>, Error> {
        taken(&mut self.ebpf, "EVENTS")
    }

    /// The ring of what finds no room in the other one; it can be taken once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn spill(&mut self) -> Result<RingBuf<MapData>, Error> {
        taken(&mut self.ebpf, "SPILL")
    }

    /// The maps that tell what was lost; they can be taken once.
    ///
    /// # Errors
    /// They were taken before.
    pub fn losses(&mut self) -> Result<Losses, Error> {
        Losses::new(&mut self.ebpf)
    }

    /// The loaded object, for the logger.
    pub const fn object(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Every probe of the plan, attached or why not.
    #[must_use]
    pub fn probes(&self) -> &[report::Probe] {
        &self.probes
    }

    /// Whether the page table is read at the end of faults.
    #[must_use]
    pub const fn page_table(&self) -> bool {
        self.page_table
    }

    /// One of the `abi::COUNT_` counters, summed over all CPUs.
    ///
    /// # Errors
    /// The map could not be read.
    pub fn counter(&self, counter: u32) -> Result<u64, Error> {
        let of_cpus = self.counters.look(|counters| counters.get(&counter, 0));
        let of_cpus = of_cpus.map_err(|e| Error::Map { name: "COUNTERS", why: e.to_string() })?;
        Ok(of_cpus.iter().sum())
    }

    /// How often the kernel left programs out, so far.
    ///
    /// # Errors
    /// What counts them could not be read.
    pub fn left_out(&self) -> Result<LeftOut, Error> {
        self.misses.read().map_err(Error::Misses)
    }

    /// The kernel's own statistics of each program: runs and ns, if `bpf_stats_enabled` is on.
    #[must_use]
    pub fn run_times(&self) -> BTreeMap<String, (u64, u64)> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| {
                let info = program.info().ok()?;
                Some((
                    name.to_owned(),
                    (info.run_count(), u64::try_from(info.run_time().as_nanos()).ok()?),
                ))
            })
            .collect()
    }
}

/// Watches how often the kernel leaves out the programs of the probes that are attached.
fn watch(ebpf: &Ebpf, probes: &[report::Probe]) -> Result<Misses, Error> {
    let mut misses = Misses::default();
    let attached = |planned: &Planned| {
        planned.counts_misses() && probes.iter().any(|p| p.name == planned.name && p.attached)
    };
    for planned in PLAN.iter().filter(|planned| attached(planned)) {
        let fd = |name| Some(ebpf.program(name)?.fd().ok()?.as_fd());
        misses.watch(planned.tellers().filter_map(fd), planned.spare()).map_err(Error::Misses)?;
    }
    Ok(misses)
}
