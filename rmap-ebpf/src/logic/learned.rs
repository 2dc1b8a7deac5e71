//! What the kernel side itself finds out of a process's code, before user space does: pure arithmetic.
//!
//! A [`Learned`] is written without a lock, and two CPUs may write one at once: its check sum says
//! whether all of it is of one mapping. It says of which address space too: processes that were forked
//! from one share a list of mappings, and what they learn beside it is each one's own.

use crate::{
    abi::{FileTable, LEARNED, Learned, Mapping, SLAB_JIT},
    logic::{bound, unwind_row::sign_mask},
};

/// log2 of a page.
const PAGE_SHIFT: u32 = 12;

/// The check sum of a mapping in the address space `mm`; never that of an empty place.
#[inline(always)]
#[must_use]
pub const fn check(mapping: &Mapping, mm: u64) -> u64 {
    let place = (mapping.idx_base as u64) << 32 | mapping.slab as u64;
    mapping.start
        ^ mapping.end.rotate_left(13)
        ^ mapping.bias.rotate_left(29)
        ^ place.rotate_left(7)
        ^ mm.rotate_left(47)
        ^ 0x9e37_79b9_7f4a_7c15
}

/// Which place a mapping of `mm` that begins at `start` is to have: its own as it grows, else one that
/// holds none of this process, else one that its address says.
#[inline(always)]
#[must_use]
pub fn place(learned: &[Learned; LEARNED], mm: u64, start: u64) -> usize {
    let page = start >> PAGE_SHIFT;
    let mut place = (page ^ page >> 4 ^ page >> 9) & (LEARNED as u64 - 1);
    let mut own = 0;
    let mut n = 0;
    while n < LEARNED {
        let Learned { mapping, check: sum } = &learned[n];
        let is_mms = zero_mask(check(mapping, mm) ^ sum);
        let is_own = is_mms & zero_mask(mapping.start ^ start);
        let takes = (!is_mms & !own) | is_own;
        place = (place & !takes) | (n as u64 & takes);
        own |= is_own;
        n += 1;
    }
    bound::at_most::<{ LEARNED as u32 - 1 }>(place) as usize
}

/// All ones for 0, else 0.
#[inline(always)]
fn zero_mask(value: u64) -> u64 {
    !sign_mask(value | value.wrapping_neg())
}

/// Code that no file holds.
#[inline(always)]
#[must_use]
pub const fn made(start: u64, end: u64) -> Mapping {
    Mapping { start, end, bias: 0, idx_base: 0, slab: SLAB_JIT }
}

/// The mapping of a file from `offset` on, of which the table is known; empty where it maps other parts
/// of the file than the table is of.
#[inline(always)]
#[must_use]
pub const fn of_file(table: &FileTable, start: u64, end: u64, offset: u64) -> Mapping {
    // Where the file's first byte would lie.
    let base = start.wrapping_sub(offset);
    let bias = base.wrapping_add(table.first);
    let behind = base.wrapping_add(table.behind);
    let inside = offset >= table.from && offset < table.to;
    let end = if !inside {
        0
    } else if end < behind {
        end
    } else {
        behind
    };
    let start = if start > bias { start } else { bias };
    Mapping { start, end, bias, idx_base: table.idx_base, slab: table.slab }
}

/// The number of the place that has a mapping of `mm` with this address, and all ones; any number and 0
/// if none has. Without branches, since each doubles what the verifier must look at.
#[inline(always)]
#[must_use]
pub fn find(learned: &[Learned; LEARNED], mm: u64, address: u64) -> (usize, u64) {
    let (mut found, mut number) = (0, 0);
    let mut n = 0;
    while n < LEARNED {
        let Learned { mapping, check: sum } = &learned[n];
        let is_mms = zero_mask(check(mapping, mm) ^ sum);
        let from = sign_mask(address.wrapping_sub(mapping.start));
        let to = sign_mask(address.wrapping_sub(mapping.end));
        let here = is_mms & !from & to;
        number |= n as u64 & here;
        found |= here;
        n += 1;
    }
    (bound::at_most::<{ LEARNED as u32 - 1 }>(number) as usize, found)
}

#[cfg(test)]
mod tests {
    use super::{check, find, made, of_file, place};
    use crate::abi::{FileTable, LEARNED, Learned, SLAB_JIT};

    const START: u64 = 0x7f12_3456_7000;
    const MM: u64 = 0xffff_8881_0123_4000;

    fn put(learned: &mut [Learned; LEARNED], mapping: crate::abi::Mapping) -> usize {
        let at = place(learned, MM, mapping.start);
        learned[at] = Learned { mapping, check: check(&mapping, MM) };
        at
    }

    #[test]
    fn a_mapping_is_found_by_its_own_addresses_alone() {
        let mut learned = [Learned::default(); LEARNED];
        assert_eq!(find(&learned, MM, 0).1, 0, "an empty place is no mapping");
        let at = put(&mut learned, made(START, START + 0x3000));
        for (address, inside) in [
            (START, true),
            (START + 0x2fff, true),
            (START + 0x3000, false),
            (START - 1, false),
            (0, false),
        ] {
            let (number, found) = find(&learned, MM, address);
            assert_eq!(found, if inside { u64::MAX } else { 0 }, "{address:x}");
            assert!(found == 0 || number == at);
        }
        assert_eq!(learned[at].mapping.slab, SLAB_JIT);
        assert_eq!(find(&learned, MM + 0x1000, START).1, 0, "another process's");
    }

    #[test]
    fn what_two_have_written_at_once_is_no_mapping() {
        let mut learned = [Learned::default(); LEARNED];
        let at = put(&mut learned, made(START, START + 0x3000));
        learned[at].mapping.end = START + 0x8000;
        assert_eq!(find(&learned, MM, START).1, 0);
        // As it grows, it keeps its place.
        assert_eq!(put(&mut learned, made(START, START + 0x8000)), at);
        assert_eq!(find(&learned, MM, START + 0x7000).1, u64::MAX);
    }

    #[test]
    fn mappings_drive_each_other_out_only_where_all_places_are_taken() {
        let mut learned = [Learned::default(); LEARNED];
        let starts: [u64; LEARNED] = core::array::from_fn(|n| START + ((n as u64) << 32));
        for start in starts {
            put(&mut learned, made(start, start + 0x1000));
        }
        let holds = |learned: &_, start: &u64| find(learned, MM, *start).1 != 0;
        assert!(starts.iter().all(|start| holds(&learned, start)));
        // One of them grows; then one more comes.
        put(&mut learned, made(starts[3], starts[3] + 0x8000));
        assert!(starts.iter().all(|start| holds(&learned, start)));
        put(&mut learned, made(START - 0x1000, START));
        assert!(holds(&learned, &(START - 1)));
        assert_eq!(starts.iter().filter(|start| holds(&learned, start)).count(), LEARNED - 1);
    }

    #[test]
    fn a_mapping_of_a_file_has_the_part_that_the_table_is_of() {
        // A segment at 0x2000 of the file, of which the table begins at 0x2080.
        let table = FileTable {
            from: 0x2000,
            to: 0x6000,
            first: 0x2080,
            behind: 0x5f00,
            idx_base: 70,
            slab: 3,
            ..FileTable::default()
        };
        let whole = of_file(&table, START, START + 0x4000, 0x2000);
        assert_eq!((whole.start, whole.end), (START + 0x80, START + 0x3f00));
        assert_eq!((whole.bias, whole.idx_base, whole.slab), (START + 0x80, 70, 3));
        // Its third page alone: the bias is where the table would begin.
        let third = of_file(&table, START, START + 0x1000, 0x4000);
        assert_eq!((third.start, third.end), (START, START + 0x1000));
        assert_eq!(third.bias, START - 0x1f80);
        let other = of_file(&table, START, START + 0x1000, 0x6000);
        assert!(other.start >= other.end, "another segment");
    }
}
