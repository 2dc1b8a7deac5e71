//! From what a fault's bracket saw to what its record says.

use crate::abi;

/// Whether a fault that is done changed what is resident or dirty, or may have: a counter moved,
/// or a page that was there was written (copy on write, a shared page made writable), which moves
/// no counter. A read of the zero page and a race that another thread won change nothing.
#[inline(always)]
#[must_use]
pub const fn changed(error_code: u32, members: u32) -> bool {
    let write_to_present = abi::ERROR_PRESENT | abi::ERROR_WRITE;
    members != 0 || error_code & write_to_present == write_to_present
}

/// By how many pages each counter moved, as far as the access and the page table tell, and
/// whether it may have been more. `huge`: the address is mapped by a huge page now; `window`: the
/// pages of a multi-size folio around it, one bit each.
///
/// `rss_stat` itself tells the sum of the whole address space, which differs from what this fault
/// did as soon as two threads fault at once (kernel `mm_trace_rss_stat`).
#[inline(always)]
#[must_use]
pub fn delta(error_code: u32, members: u32, huge: bool) -> ([i32; abi::MEMBERS], bool) {
    let moved = |member: usize| members & (1 << member) != 0;
    let present = error_code & abi::ERROR_PRESENT != 0;
    let pages = if huge { 512 } else { 1 };
    let mut delta = [0; abi::MEMBERS];
    let mut inexact = false;
    if moved(abi::MEMBER_ANON) {
        delta[abi::MEMBER_ANON] = pages;
    }
    if moved(abi::MEMBER_SWAP) {
        delta[abi::MEMBER_SWAP] = -1;
    }
    for member in [abi::MEMBER_FILE, abi::MEMBER_SHMEM] {
        if moved(member) {
            // A page of the page cache gives way to a private copy, or pages of it are mapped.
            if moved(abi::MEMBER_ANON) && present {
                delta[member] = -1;
            } else {
                delta[member] = pages;
                inexact = !huge;
            }
        }
    }
    (delta, inexact)
}

/// The page's place among those of 2 MiB.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub const fn place_of_page(page: usize) -> usize {
    page & (abi::LOST_PAGES - 1)
}

/// The page's place among those of 2 MiB. Written in assembly: the compiler leaves the mask out
/// where it sees that it is not needed, and the verifier does not see it.
#[inline(always)]
#[cfg(target_arch = "bpf")]
#[must_use]
pub fn place_of_page(page: usize) -> usize {
    const { assert!(abi::LOST_PAGES == 512) };
    let mut place = page;
    // SAFETY: one operation on one register.
    unsafe { core::arch::asm!("{0} &= 511", inout(reg) place, options(pure, nomem, nostack)) };
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{ERROR_PRESENT, ERROR_USER, ERROR_WRITE};

    const FILE: u32 = 1 << abi::MEMBER_FILE;
    const ANON: u32 = 1 << abi::MEMBER_ANON;
    const SWAP: u32 = 1 << abi::MEMBER_SWAP;

    #[test]
    fn only_what_may_change_memory_is_told() {
        assert!(!changed(ERROR_USER, 0), "zero page read");
        assert!(!changed(ERROR_USER | ERROR_WRITE, 0), "lost race");
        assert!(changed(ERROR_USER | ERROR_WRITE, ANON), "first write");
        assert!(changed(ERROR_USER | ERROR_WRITE | ERROR_PRESENT, 0), "copy on write");
    }

    #[test]
    fn amounts_follow_from_access_and_page_table() {
        assert_eq!(delta(ERROR_WRITE, ANON, false), ([0, 1, 0, 0], false));
        assert_eq!(delta(ERROR_WRITE, ANON, true), ([0, 512, 0, 0], false));
        assert_eq!(delta(ERROR_WRITE | ERROR_PRESENT, ANON | FILE, false), ([-1, 1, 0, 0], false));
        assert_eq!(delta(0, FILE, false), ([1, 0, 0, 0], true));
        assert_eq!(delta(0, ANON | SWAP, false), ([0, 1, -1, 0], false));
    }
}
