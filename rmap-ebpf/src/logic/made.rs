//! Where a process has made code that user space does not know yet, as the kernel side keeps it: a piece
//! of memory in one word, so that two CPUs that write one leave the one or the other.
//!
//! ```text
//! 63 ................ 20 | 19 ......... 0
//! number of the first    | how many pages
//! page
//! ```

use crate::{
    abi::{MADE, Made},
    logic::unwind_row::sign_mask,
};

/// log2 of a page.
const PAGE_SHIFT: u32 = 12;
/// Bits of the number of pages.
const COUNT_BITS: u32 = 20;
const MOST: u64 = (1 << COUNT_BITS) - 1;

/// The word for the memory from `start` up to `end`, both page-aligned; of more than 4 GiB its
/// beginning.
#[inline(always)]
#[must_use]
pub const fn piece(start: u64, end: u64) -> u64 {
    let pages = end.wrapping_sub(start) >> PAGE_SHIFT;
    let count = if pages < MOST { pages } else { MOST };
    (start >> PAGE_SHIFT) << COUNT_BITS | count
}

/// Which place the memory that begins at `start` has among [`Made`]: as it grows, it keeps it.
#[inline(always)]
#[must_use]
pub const fn place(start: u64) -> usize {
    let page = start >> PAGE_SHIFT;
    (page ^ page >> 4 ^ page >> 9) as usize & (MADE - 1)
}

/// All ones if an address lies in one of the pieces, else 0. Without branches, since each doubles what
/// the verifier must look at.
#[inline(always)]
#[must_use]
pub fn holds(made: &Made, address: u64) -> u64 {
    let page = address >> PAGE_SHIFT;
    let mut found = 0;
    let mut n = 0;
    while n < MADE {
        let piece = made[n];
        let into = page.wrapping_sub(piece >> COUNT_BITS);
        found |= sign_mask(into.wrapping_sub(piece & MOST)) & !sign_mask(into);
        n += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{MOST, holds, piece, place};

    const START: u64 = 0x7f12_3456_7000;

    #[test]
    fn a_piece_holds_its_own_addresses_alone() {
        let mut made = [0; super::MADE];
        assert_eq!(holds(&made, 0), 0, "none is no piece");
        made[place(START)] = piece(START, START + 0x3000);
        for (address, inside) in [
            (START, true),
            (START + 0x2fff, true),
            (START + 0x3000, false),
            (START - 1, false),
            (0, false),
            (1 << 55, false),
        ] {
            assert_eq!(holds(&made, address) == u64::MAX, inside, "{address:x}");
            assert!(holds(&made, address) == 0 || inside);
        }
    }

    #[test]
    fn what_grows_keeps_its_place_and_what_is_huge_is_its_beginning() {
        let mut made = [0; super::MADE];
        made[place(START)] = piece(START, START + 0x1000);
        made[place(START)] = piece(START, START + (1 << 40));
        assert_eq!(holds(&made, START + (1 << 31)), u64::MAX);
        assert_eq!(holds(&made, START + (MOST << 12)), 0);
    }
}
