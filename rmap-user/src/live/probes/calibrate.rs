//! Finds where the kernel maps physical memory (`page_offset_base`), so that the probes can read
//! page tables. Kernels with KASLR move it by multiples of 1 GiB, and its symbol is not always
//! listed. A candidate is right if the walk with it finds, for pages of our own, the page frame
//! numbers that `/proc/self/pagemap` tells.

use std::{fs::File, os::unix::fs::FileExt};

use aya::{
    Ebpf,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun},
};

use super::{Error, single};

/// `__PAGE_OFFSET_BASE_L4` (kernel `arch/x86/include/asm/page_64_types.h`): the lowest place
/// with four levels.
const LOWEST_4: u64 = 0xffff_8880_0000_0000;
/// The same with five levels.
const LOWEST_5: u64 = 0xff11_0000_0000_0000;
const GIB: u64 = 1 << 30;
/// More candidates than this (4 TiB of physical memory) are not tried.
const MOST: u64 = 4096;
/// Page frame number in an entry of `pagemap` (bits 0 to 54, kernel
/// `Documentation/admin-guide/mm/pagemap.rst`).
const PAGEMAP_FRAME: u64 = (1 << 55) - 1;
/// Page frame number in a page-table entry.
const ENTRY_FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Mirror of `Late` in the eBPF part.
#[repr(C)]
#[derive(Clone, Copy)]
struct Late {
    page_offset: u64,
    levels: u64,
}

// SAFETY: two u64 without padding; every bit pattern is a value.
unsafe impl aya::Pod for Late {}

/// Whether it was found; then the probes read page tables from now on.
pub(super) fn calibrate(ebpf: &mut Ebpf) -> Result<bool, Error> {
    if cfg!(not(target_arch = "x86_64")) {
        return Ok(false);
    }
    let program: Result<&mut RawTracePoint, _> = match ebpf.program_mut("calibrate") {
        Some(program) => program.try_into(),
        None => return Ok(false),
    };
    let Ok(program) = program else { return Ok(false) };
    if program.load().is_err() {
        return Ok(false);
    }
    let own = [Box::new(1u64), Box::new(2u64)];
    let Some(pages) = own_pages(&own) else { return Ok(false) };
    let Some(late) = search(ebpf, &pages)? else { return Ok(false) };
    let mut map = single::<Late>(ebpf, "LATE")?;
    map.set(0, late, 0).map_err(|e| Error::Map { name: "LATE", why: e.to_string() })?;
    // Only loaded: it is run when a snapshot is taken. Without it, its answers are missing.
    if let Some(Ok(reader)) = ebpf.program_mut("read_table").map(<&mut RawTracePoint>::try_from) {
        let _ = reader.load();
    }
    drop(own);
    Ok(true)
}

/// Addresses of our own and the page frames behind them: the heap and the stack.
fn own_pages(own: &[Box<u64>]) -> Option<Vec<(u64, u64)>> {
    let pagemap = File::open("/proc/self/pagemap").ok()?;
    let local = 3u64;
    own.iter()
        .map(|value| &raw const **value as u64)
        .chain([&raw const local as u64])
        .map(|address| {
            let mut entry = [0; 8];
            pagemap.read_exact_at(&mut entry, address / 4096 * 8).ok()?;
            let frame = u64::from_ne_bytes(entry) & PAGEMAP_FRAME;
            (frame != 0).then_some((address, frame))
        })
        .collect()
}

fn search(ebpf: &mut Ebpf, pages: &[(u64, u64)]) -> Result<Option<Late>, Error> {
    let (address, _) = pages[0];
    // The first run tells where our top table lies in the kernel's map of physical memory.
    let Some((top, _)) = walk(ebpf, 0, 4, address)? else { return Ok(None) };
    for (levels, lowest) in [(4, LOWEST_4), (5, LOWEST_5)] {
        let Some(above) = top.checked_sub(lowest) else { continue };
        let most = (above / GIB).min(MOST);
        let nearest = top & !(GIB - 1);
        for candidate in std::iter::once(lowest).chain((0..=most).map(|k| nearest - k * GIB)) {
            let right = pages.iter().try_fold(true, |right, &(address, frame)| {
                if !right {
                    return Ok(false);
                }
                let entry = walk(ebpf, candidate, levels, address)?.map_or(0, |(_, entry)| entry);
                Ok::<_, Error>(entry & 1 != 0 && (entry & ENTRY_FRAME) >> 12 == frame)
            })?;
            if right {
                return Ok(Some(Late { page_offset: candidate, levels }));
            }
        }
    }
    Ok(None)
}

/// One run of the program: our top table's address and the entry found; `None` if the kernel
/// cannot run it.
fn walk(
    ebpf: &mut Ebpf,
    candidate: u64,
    levels: u64,
    address: u64,
) -> Result<Option<(u64, u64)>, Error> {
    let Some(program) = ebpf.program_mut("calibrate") else { return Ok(None) };
    let Ok(program) = <&mut RawTracePoint>::try_from(program) else { return Ok(None) };
    let mut options = RawTracePointRunOptions::new();
    options.args[..3].copy_from_slice(&[candidate, levels, address]);
    if program.test_run(options).is_err() {
        return Ok(None);
    }
    let answer = single::<[u64; 2]>(ebpf, "ANSWER")?
        .get(&0, 0)
        .map_err(|e| Error::Map { name: "ANSWER", why: e.to_string() })?;
    Ok(Some((answer[0], answer[1])))
}
