//! Probes at the functions of allocators, in processes that run already (`rmap attach --malloc`).
//!
//! Comes in: where such functions are in a process's memory ([`Site`]). Goes out: nothing; the probes in
//! the kernel pick allocations. Each process has probes of its own, which are gone when their
//! descriptors are closed: at the latest with rmap, however it ends.

use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
    num::NonZeroU32,
    path::Path,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData, ProgramArray},
    programs::{
        Program, UProbe,
        uprobe::{UProbeLink, UProbeScope},
    },
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Error, Probes, plan};
use crate::{
    live::{
        bpf::{Quiet, map},
        linger,
        modules::Site,
    },
    report::{self, ALLOCATOR_PROBE},
    symbol::{
        Stamp,
        allocator::{Shape, place},
    },
};

/// The program at the return of functions that allocate.
const RETURN: &str = "malloc_return";
/// The program that walks stacks, and where the others find it.
const WALK: &str = "malloc_walk";
const WALKERS: &str = "MALLOC_WALK";
/// Descriptors of ended processes that are kept until they are closed together.
const ENDED_MAX: usize = 400;
/// The programs at beginnings.
const SHAPES: [Shape; 7] = [
    Shape::First,
    Shape::Second,
    Shape::Product,
    Shape::Out,
    Shape::Again,
    Shape::AgainProduct,
    Shape::Free,
];

/// The program at the beginning of a function.
const fn program(shape: Shape) -> &'static str {
    match shape {
        Shape::First => "malloc_first",
        Shape::Second => "malloc_second",
        Shape::Product => "malloc_product",
        Shape::Out => "malloc_out",
        Shape::Again => "malloc_again",
        Shape::AgainProduct => "malloc_again_product",
        Shape::Free => "malloc_free",
    }
}

/// A block in an address space; mirror of `LiveBlock` in the eBPF part.
#[repr(C)]
#[derive(Clone, Copy)]
struct LiveBlock {
    mm: u64,
    address: u64,
}

// SAFETY: two u64 without padding; every bit pattern is a value.
unsafe impl aya::Pod for LiveBlock {}

/// The probes of a process.
#[derive(Default)]
struct Attached {
    links: Vec<UProbeLink>,
    /// The files that have them. A second probe at a place would count everything twice.
    files: HashSet<Stamp>,
}

/// The probes of all processes.
pub(super) struct Allocators {
    links: HashMap<u32, Attached>,
    /// Of processes that have ended.
    ended: Vec<UProbeLink>,
    live: Quiet<BpfHashMap<MapData, LiveBlock, u64>>,
}

/// What the probes cost a process, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Each call of a function that allocates.
    pub allocate_ns: u64,
    /// Each call of one that frees.
    pub free_ns: u64,
}

impl Probes {
    /// Loads the programs for allocators.
    ///
    /// # Errors
    /// What the kernel refused, in one line.
    pub fn load_allocators(&mut self) -> Result<(), Error> {
        let refused = |why: String| {
            let why = format!("{why}; leave out --malloc");
            Error::Attach { name: ALLOCATOR_PROBE.to_owned(), why }
        };
        // Each function of each process has one or two descriptors.
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        for name in SHAPES.map(program).into_iter().chain([RETURN, WALK]) {
            let program = uprobe(&mut self.ebpf, name).map_err(refused)?;
            program.load().map_err(plan::text).map_err(refused)?;
        }
        let walk = uprobe(&mut self.ebpf, WALK).map_err(refused)?;
        let walk = walk.fd().and_then(|fd| fd.try_clone().map_err(Into::into));
        let walk = walk.map_err(plan::text).map_err(refused)?;
        let missing = || refused(format!("the object has no map {WALKERS}"));
        // Borrowed, not taken: the kernel empties the table when its last descriptor is closed.
        let walkers = self.ebpf.map_mut(WALKERS).ok_or_else(missing)?;
        let mut walkers =
            ProgramArray::try_from(walkers).map_err(|error| refused(error.to_string()))?;
        walkers.set(0, &walk, 0).map_err(|error| refused(error.to_string()))?;
        let live = map(&mut self.ebpf, "LIVE")?;
        self.allocators = Some(Allocators { links: HashMap::new(), ended: Vec::new(), live });
        let name = ALLOCATOR_PROBE.to_owned();
        self.probes.push(report::Probe { name, attached: true, why_not: None });
        Ok(())
    }

    /// Attaches to the functions of a process, with the process by whose mapping each file is opened; how
    /// many they are. Files that have probes there already have no more.
    ///
    /// # Errors
    /// What the kernel refused, in one line; then there are no more probes in it.
    pub fn attach_allocators(&mut self, pid: u32, sites: &[(u32, Site)]) -> Result<usize, String> {
        let scope = NonZeroU32::new(pid).map(UProbeScope::OneProcess).ok_or("no such process")?;
        let attached = self.allocators.as_mut().and_then(|all| all.links.remove(&pid));
        let Attached { mut links, mut files } = attached.unwrap_or_default();
        let before = links.len();
        let mut functions = 0;
        let mut all = sites.iter().filter(|(_, site)| files.insert(site.stamp));
        let attached = all.try_for_each(|(owner, site)| {
            let file = format!("/proc/{owner}/map_files/{:x}-{:x}", site.start, site.end);
            for (shape, offset) in site.functions.iter() {
                // The return first: a function that begins before both are there has no beginning.
                if *shape != Shape::Free {
                    links.push(self.attach_one(RETURN, Path::new(&file), *offset, scope)?);
                }
                links.push(self.attach_one(program(*shape), Path::new(&file), *offset, scope)?);
                functions += 1;
            }
            Ok(())
        });
        if attached.is_err() {
            links.truncate(before);
        }
        if let Some(allocators) = &mut self.allocators {
            allocators.links.insert(pid, Attached { links, files });
        }
        attached.map(|()| functions)
    }

    /// Takes the probes out of a process, which goes on.
    pub fn detach_allocators(&mut self, pid: u32) {
        let attached = self.allocators.as_mut().and_then(|all| all.links.remove(&pid));
        if let Some(attached) = attached.filter(|attached| !attached.links.is_empty()) {
            linger::drop_aside(attached.links);
        }
    }

    /// A process has ended, and its probes with it: their descriptors need not be closed at once.
    pub fn allocators_ended(&mut self, pid: u32) {
        let Some(allocators) = &mut self.allocators else { return };
        if let Some(attached) = allocators.links.remove(&pid) {
            allocators.ended.extend(attached.links);
        }
        if allocators.ended.len() >= ENDED_MAX {
            linger::drop_aside(std::mem::take(&mut allocators.ended));
        }
    }

    /// These picked blocks are live in an address space, which a fork has made.
    ///
    /// # Errors
    /// The map is full.
    pub fn add_live(&mut self, mm: u64, addresses: impl Iterator<Item = u64>) -> Result<(), Error> {
        let Some(allocators) = &mut self.allocators else { return Ok(()) };
        for address in addresses {
            let block = LiveBlock { mm, address };
            let added = allocators.live.change(|live| live.insert(block, 1, 0));
            added.map_err(|error| Error::Map { name: "LIVE", why: error.to_string() })?;
        }
        Ok(())
    }

    /// An address space is gone, with these picked blocks.
    pub fn forget_live(&mut self, mm: u64, addresses: impl Iterator<Item = u64>) {
        let Some(allocators) = &mut self.allocators else { return };
        for address in addresses {
            let _ = allocators.live.change(|live| live.remove(&LiveBlock { mm, address }));
        }
    }

    /// What the probes cost, measured at a function of rmap's own.
    ///
    /// # Errors
    /// They cannot be attached here.
    pub fn allocator_cost(&mut self) -> Result<Cost, String> {
        let offset = own_offset(probed as *const () as usize as u64)
            .ok_or("where rmap's own code lies is not known")?
            + place(own_code());
        let (file, scope) = (Path::new("/proc/self/exe"), UProbeScope::CallingProcess);
        let without = call_ns();
        let mut links = vec![self.attach_one(RETURN, file, offset, scope)?];
        links.push(self.attach_one(program(Shape::First), file, offset, scope)?);
        let allocate_ns = call_ns().saturating_sub(without);
        drop(links);
        let link = self.attach_one(program(Shape::Free), file, offset, scope)?;
        let free_ns = call_ns().saturating_sub(without);
        drop(link);
        Ok(Cost { allocate_ns, free_ns })
    }

    fn attach_one(
        &mut self,
        name: &str,
        file: &Path,
        offset: u64,
        scope: UProbeScope,
    ) -> Result<UProbeLink, String> {
        let program = uprobe(&mut self.ebpf, name)?;
        let link = program.attach(offset, file, scope).map_err(plan::text)?;
        program.take_link(link).map_err(plan::text)
    }
}

/// A program of the object.
fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, String> {
    let program: Option<&mut Program> = ebpf.program_mut(name);
    let program = program.ok_or_else(|| format!("the object has no program {name}"))?;
    program.try_into().map_err(plan::text)
}

/// The function at which the cost is measured: of its argument nothing is allocated.
#[inline(never)]
extern "C" fn probed(size: u64) -> u64 {
    if size != 0 {
        return black_box(size);
    }
    1
}

/// The first bytes of [`probed`].
fn own_code() -> &'static [u8] {
    // SAFETY: code of this process, which can be read as long as it runs, and is no shorter with what
    // is behind it.
    unsafe { std::slice::from_raw_parts(probed as *const u8, 8) }
}

/// Nanoseconds of a call of [`probed`]: the middle one of some series' averages.
fn call_ns() -> u64 {
    const SERIES: usize = 10;
    const CALLS: u32 = 200;
    // Nothing is picked that is so small, as good as ever, and no such block is live.
    const SIZE: u64 = 1;
    let series = (0..SERIES).map(|_| {
        let begun = Instant::now();
        for _ in 0..CALLS {
            black_box(probed(black_box(SIZE)));
        }
        begun.elapsed() / CALLS
    });
    let mut series: Vec<Duration> = series.collect();
    series.sort_unstable();
    let middle = series.get(SERIES / 2).map_or(0, Duration::as_nanos);
    u64::try_from(middle).unwrap_or(u64::MAX)
}

/// Where in its file the code at an address of this process is.
fn own_offset(address: u64) -> Option<u64> {
    let maps = procfs::process::Process::myself().ok()?.maps().ok()?;
    let line = maps.iter().find(|line| (line.address.0..line.address.1).contains(&address))?;
    Some(address - line.address.0 + line.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_is_found_in_its_file() {
        let offset = own_offset(probed as *const () as usize as u64).unwrap();
        let file = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(&file[usize::try_from(offset).unwrap()..][..8], own_code());
        assert_eq!(own_offset(0), None);
    }
}
