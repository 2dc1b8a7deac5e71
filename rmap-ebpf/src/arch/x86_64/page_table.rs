//! Reads the page table that maps one address, to learn what a fault that is done left there:
//! x86-64, four or five levels.
//!
//! The walk takes no lock. At a fault's end the entry of the faulting address can be changed only
//! by another thread, and then that thread's own event follows.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use rmap_ebpf::{abi, logic::unwind_row::sign_mask};

use crate::{
    kernel,
    state::{BLOCKS, LATE, Late},
};

/// Physical address in an entry (bits 12 to 51).
pub const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// Bits of an entry that [`mapped`] keeps beside the physical address.
pub const DIRTY: u64 = 1 << 6;
/// `_PAGE_UFFD_WP` (`_PAGE_BIT_SOFTW2`): userfaultfd has write-protected the page.
pub const UFFD_WP: u64 = 1 << 10;
/// `_PAGE_SAVED_DIRTY` (since Linux 6.6): the page is dirty, and the entry read-only.
const SAVED_DIRTY: u64 = 1 << 58;
/// Bytes that a huge entry of the middle level maps.
const HUGE_BYTES: u64 = 2 << 20;
const PRESENT: u64 = 1;
const HUGE: u64 = 1 << 7;
/// `_PAGE_PROTNONE` in an entry that is not present otherwise.
const PROT_NONE: u64 = 1 << 8;
/// `_PAGE_SPECIAL`: no page of its own, as the zero page.
const SPECIAL: u64 = 1 << 9;

/// Entries of one 64 KiB block.
const HALF: usize = abi::WINDOW_PAGES as usize / 2;

/// The last level that maps an address.
pub enum Leaf {
    /// A huge entry (2 MiB or 1 GiB).
    Huge(u64),
    /// The kernel address of the table of 4 KiB entries.
    Table(u64),
}

/// Where the kernel maps physical memory, if user space found it out.
#[inline(always)]
pub fn late() -> Option<&'static Late> {
    let late = LATE.get(0)?;
    (late.page_offset != 0).then_some(late)
}

/// Walks down from the top table to the entry or the table that maps `address`.
#[inline(always)]
pub fn leaf(late: &Late, top: u64, address: u64) -> Option<Leaf> {
    let mut table = top;
    let base = late.page_offset;
    if late.levels == 5 {
        table = next(base, kernel::read(table, index(address, 48))?)?;
    }
    table = next(base, kernel::read(table, index(address, 39))?)?;
    let upper: u64 = kernel::read(table, index(address, 30))?;
    if upper & HUGE != 0 {
        return Some(Leaf::Huge(upper));
    }
    table = next(base, upper)?;
    let middle: u64 = kernel::read(table, index(address, 21))?;
    if middle & HUGE != 0 && middle & (PRESENT | PROT_NONE) != 0 {
        return Some(Leaf::Huge(middle));
    }
    Some(Leaf::Table(next(base, middle)?))
}

/// Whether an entry of the last table has a page of its own.
#[inline(always)]
pub fn own(entry: u64) -> bool {
    entry & (PRESENT | PROT_NONE) != 0 && entry & SPECIAL == 0
}

/// The entry that maps `address` in the last table.
#[inline(always)]
pub fn entry(table: u64, address: u64) -> Option<u64> {
    kernel::read(table, index(address, 12))
}

/// The physical page of an address, with [`DIRTY`] and [`UFFD_WP`] of the entry that maps it.
#[inline(always)]
pub fn mapped(leaf: Leaf, address: u64) -> u64 {
    let (entry, page) = match leaf {
        // The same page that a table of small entries has for the address, if one takes its place.
        Leaf::Huge(entry) => {
            let page = entry & FRAME & !(HUGE_BYTES - 1);
            (entry, page | address & (HUGE_BYTES - 1) & FRAME)
        }
        Leaf::Table(table) => {
            let entry = entry(table, address).unwrap_or(0);
            (entry, entry & FRAME)
        }
    };
    let dirty = entry & DIRTY | (entry & SAVED_DIRTY) >> (58 - 6);
    page | entry & UFFD_WP | dirty
}

/// The entries around an address: see `abi::FaultRecord::window`.
pub type Block = [u64; abi::WINDOW_PAGES as usize];

/// Reads the entries from the 64 KiB-aligned address below `address` on.
#[inline(always)]
pub fn block(table: u64, address: u64) -> Option<&'static Block> {
    let block = BLOCKS.get_ptr_mut(0)?;
    let start = table + index(address & !0xffff, 12);
    // SAFETY: this CPU's own slot is as long as is said; the helper checks the source.
    let read = unsafe {
        bpf_probe_read_kernel(block.cast(), size_of::<Block>() as u32, start as *const c_void)
    };
    // SAFETY: this CPU's own slot, not used by anyone else before the fault's record is sent.
    (read == 0).then_some(unsafe { &*block })
}

/// Which entries of a block have a page of their own; with `beside`, the number of an entry in
/// its first half, only those that follow each other in physical memory with that one.
#[inline(always)]
pub fn window(block: &Block, address: u64, beside: Option<usize>) -> u32 {
    let own = beside.map(|index| frame(block[index & (HALF - 1)], index & (HALF - 1)));
    let low = half::<0>(block, own);
    // Behind the last block of a table begins something else.
    let last = (address >> 16) & 31 == 31;
    if last { low } else { low | half::<HALF>(block, own) << HALF }
}

/// Sixteen entries from the `FROM`th on: few enough that the compiler writes them out one by one.
#[inline(always)]
fn half<const FROM: usize>(block: &Block, own: Option<u64>) -> u32 {
    let mut window = 0;
    let mut number = 0;
    while number < HALF {
        let entry = block[FROM + number];
        // Without a branch: as many of them are too many paths for the verifier.
        let there = (entry / PRESENT | entry / PROT_NONE) & !(entry / SPECIAL) & 1;
        let apart = match own {
            None => 0,
            Some(own) => frame(entry, FROM + number) ^ own,
        };
        let joined = !sign_mask(apart | apart.wrapping_neg());
        window |= ((there & joined) as u32) << number;
        number += 1;
    }
    window
}

/// Where in physical memory the block would start if all of it followed on this entry's page.
#[inline(always)]
fn frame(entry: u64, number: usize) -> u64 {
    (entry & FRAME).wrapping_sub((number as u64) << 12)
}

/// Byte offset of the entry for `address` in a table whose entries map `1 << shift` bytes.
#[inline(always)]
fn index(address: u64, shift: u32) -> u64 {
    ((address >> shift) & 511) * 8
}

/// The kernel address of the table to which an entry points.
#[inline(always)]
fn next(base: u64, entry: u64) -> Option<u64> {
    (entry & PRESENT != 0).then_some(base + (entry & FRAME))
}
