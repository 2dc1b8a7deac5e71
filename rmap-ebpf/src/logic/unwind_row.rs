//! Words of the unwind tables: how a row is put together and taken apart, and how an address
//! finds its mapping and its row.
//!
//! Comes in: addresses and the words that [`crate::abi`] describes. Goes out: rows. No function
//! here can panic, and every index is masked, as the kernel's verifier demands.

use crate::abi::{
    BUCKET_BYTES, BUCKET_SHIFT, MAPPINGS, MAPPINGS_SHIFT, Mapping, Mappings, ROW_BP, ROW_RULE,
    ROW_SP, ROW_SPECIAL, SLAB_MASK, SLAB_WORDS, SPECIAL_NONE, SPECIAL_PLT,
};

/// The rule part of a row is what remains when the byte within the bucket is cleared.
pub const ROW_RULE_MASK: u32 = !0xff;

/// The largest index that a [`ROW_RULE`] row can hold.
pub const MAX_RULE: u32 = (1 << 21) - 1;

const TYPE_SHIFT: u32 = 8;
const PAYLOAD_SHIFT: u32 = 11;
const A_BITS: u32 = 15;

/// A row of type [`ROW_SP`] or [`ROW_BP`], at byte 0 of its bucket. All offsets are in bytes from
/// the CFA, as in DWARF: `cfa_off` from the register to the CFA, the others from the CFA to the
/// saved register, `None` where it is not saved. Returns `None` if they do not fit.
#[must_use]
pub const fn simple_row(
    bp_based: bool,
    cfa_off: i64,
    saved_bp: Option<i64>,
    saved_bx: Option<i64>,
) -> Option<u32> {
    if cfa_off < 0 || cfa_off % 8 != 0 || cfa_off / 8 >= 1 << A_BITS {
        return None;
    }
    let (Some(b), Some(c)) = (saved_slot(saved_bp), saved_slot(saved_bx)) else { return None };
    let kind = if bp_based { ROW_BP } else { ROW_SP };
    let a = (cfa_off / 8) as u32;
    Some(row(kind, a | b << A_BITS | c << (A_BITS + 3)))
}

/// 0 for a register that is not saved, n for one at CFA − 8(n + 1).
const fn saved_slot(offset: Option<i64>) -> Option<u32> {
    match offset {
        None => Some(0),
        Some(offset @ -64..=-16) if offset % 8 == 0 => Some((-offset / 8 - 1) as u32),
        Some(_) => None,
    }
}

/// A row of type [`ROW_SPECIAL`], at byte 0 of its bucket.
#[must_use]
pub const fn special_row(kind: u32) -> u32 {
    row(ROW_SPECIAL, kind)
}

/// A [`SPECIAL_PLT`] row: the CFA moves up once `rip & 15` has reached `threshold`.
#[must_use]
pub const fn plt_row(threshold: u32) -> u32 {
    row(ROW_SPECIAL, SPECIAL_PLT | (threshold & 15) << 8)
}

/// A row of type [`ROW_RULE`], at byte 0 of its bucket.
#[must_use]
pub const fn rule_row(index: u32) -> u32 {
    row(ROW_RULE, index & MAX_RULE)
}

const fn row(kind: u32, payload: u32) -> u32 {
    payload << PAYLOAD_SHIFT | kind << TYPE_SHIFT
}

/// Byte of the bucket at which the row begins to hold.
#[inline(always)]
#[must_use]
pub const fn row_offset(row: u32) -> u32 {
    row & 0xff
}

/// The row's type, one of the `ROW_` constants.
#[inline(always)]
#[must_use]
pub const fn row_type(row: u32) -> u32 {
    (row >> TYPE_SHIFT) & 7
}

/// What the row's type explains.
#[inline(always)]
#[must_use]
pub const fn row_payload(row: u32) -> u32 {
    row >> PAYLOAD_SHIFT
}

/// From a [`ROW_SP`] or [`ROW_BP`] payload: bytes from the register to the CFA.
#[inline(always)]
#[must_use]
pub const fn payload_cfa(payload: u32) -> u64 {
    ((payload & ((1 << A_BITS) - 1)) as u64) << 3
}

/// From a [`ROW_SP`] or [`ROW_BP`] payload: bytes from the saved rbp up to the CFA, 8 if it is
/// not saved.
#[inline(always)]
#[must_use]
pub const fn payload_bp(payload: u32) -> u64 {
    (((payload >> A_BITS) & 7) as u64 + 1) << 3
}

/// The same for rbx.
#[inline(always)]
#[must_use]
pub const fn payload_bx(payload: u32) -> u64 {
    (((payload >> (A_BITS + 3)) & 7) as u64 + 1) << 3
}

/// From a [`ROW_SPECIAL`] payload: the kind.
#[inline(always)]
#[must_use]
pub const fn payload_special(payload: u32) -> u32 {
    payload & 0xff
}

/// From a [`SPECIAL_PLT`] payload: the threshold.
#[inline(always)]
#[must_use]
pub const fn payload_plt(payload: u32) -> u64 {
    ((payload >> 8) & 15) as u64
}

/// An index word.
#[must_use]
pub const fn index_word(first_row: u32, count: u32) -> u32 {
    first_row << 8 | (count & 0xff)
}

/// From an index word: the word of the slab where the bucket's first row is.
#[inline(always)]
#[must_use]
pub const fn index_first(word: u32) -> u32 {
    word >> 8
}

/// From an index word: how many rows begin in the bucket.
#[inline(always)]
#[must_use]
pub const fn index_count(word: u32) -> u32 {
    word & 0xff
}

/// The row that holds at the address `pc`, which lies in `mapping`, whose slab is `slab`.
#[inline(always)]
#[must_use]
pub fn find_row(slab: &[u32; SLAB_WORDS], mapping: &Mapping, pc: u64) -> u32 {
    let relative = pc.wrapping_sub(mapping.bias);
    let bucket = (relative >> BUCKET_SHIFT) as u32;
    let within = (relative & (BUCKET_BYTES - 1)) as u32;
    let word = at(slab, mapping.idx_base.wrapping_add(bucket));
    let first = index_first(word);
    let count = index_count(word);
    // How many of the bucket's rows begin at or before the address: a binary search without
    // branches, since a loop that may end at each turn is too many paths for the verifier. Most
    // buckets have few rows, so the first turns are skipped.
    let search = Search { slab, first, count, within };
    let mut before = 0;
    if count >= 16 {
        before = search.halve::<128>(before);
        before = search.halve::<64>(before);
        before = search.halve::<32>(before);
        before = search.halve::<16>(before);
    }
    before = search.halve::<8>(before);
    before = search.halve::<4>(before);
    before = search.halve::<2>(before);
    before = search.halve::<1>(before);
    at(slab, first.wrapping_add(before).wrapping_sub(1))
}

/// The search for a row in a bucket.
struct Search<'a> {
    slab: &'a [u32; SLAB_WORDS],
    first: u32,
    count: u32,
    within: u32,
}

impl Search<'_> {
    /// `before`, or `STEP` more if the bucket has so many rows and the last of them begins at or
    /// before the address.
    #[inline(always)]
    fn halve<const STEP: u32>(&self, before: u32) -> u32 {
        let rows = before + STEP;
        let last = at(self.slab, self.first.wrapping_add(rows).wrapping_sub(1));
        let beyond = u64::from(self.count).wrapping_sub(u64::from(rows))
            | u64::from(self.within).wrapping_sub(u64::from(row_offset(last)));
        before + (!sign_mask(beyond) as u32 & STEP)
    }
}

#[inline(always)]
fn at(slab: &[u32; SLAB_WORDS], word: u32) -> u32 {
    slab[(word & SLAB_MASK) as usize]
}

/// Whether `pc` lies in `mapping`.
#[inline(always)]
#[must_use]
pub const fn covers(mapping: &Mapping, pc: u64) -> bool {
    pc >= mapping.start && pc < mapping.end
}

/// The mapping in which `pc` lies: a binary search of [`MAPPINGS_SHIFT`] steps without branches,
/// since each branch doubles what the verifier must look at.
#[inline(always)]
#[must_use]
pub fn find_mapping(mappings: &Mappings, pc: u64) -> Option<&Mapping> {
    let found = &mappings.list[last_from(mappings, pc)];
    covers(found, pc).then_some(found)
}

/// The number of the last mapping that starts at or before `pc`, of the first if there is none.
#[inline(always)]
#[must_use]
pub fn last_from(mappings: &Mappings, pc: u64) -> usize {
    let mut index = 0usize;
    let mut step = MAPPINGS >> 1;
    let mut n = 0;
    while n < MAPPINGS_SHIFT {
        let candidate = mappings.list[(index + step) & (MAPPINGS - 1)].start;
        // All ones where the candidate starts above pc; user addresses have no top bit.
        let above = sign_mask(pc.wrapping_sub(candidate));
        index = plain_sum(index, step & !(above as usize));
        step >>= 1;
        n += 1;
    }
    index & (MAPPINGS - 1)
}

/// All ones if the top bit is set, else 0.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub const fn sign_mask(value: u64) -> u64 {
    ((value as i64) >> 63) as u64
}

/// All ones if the top bit is set, else 0. Written in assembly, because LLVM makes a branch of it.
#[inline(always)]
#[cfg(target_arch = "bpf")]
#[must_use]
pub fn sign_mask(value: u64) -> u64 {
    let mut mask = value;
    // SAFETY: one arithmetic shift of one register.
    unsafe { core::arch::asm!("{0} s>>= 63", inout(reg) mask, options(pure, nomem, nostack)) };
    mask
}

/// The sum, as an addition: the compiler makes `|` of one that it sees through, and leaves out the
/// mask before an index. Verifiers before 6.10 know nothing of a value that came from `|` (kernel
/// `adjust_scalar_min_max_vals`).
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
const fn plain_sum(a: usize, b: usize) -> usize {
    a + b
}

#[inline(always)]
#[cfg(target_arch = "bpf")]
fn plain_sum(a: usize, b: usize) -> usize {
    let mut sum = a;
    // SAFETY: one addition of two registers.
    unsafe {
        core::arch::asm!("{0} += {1}", inout(reg) sum, in(reg) b, options(pure, nomem, nostack));
    }
    sum
}

/// Whether the 8 bytes before a return address (lowest address in the lowest byte) end with a
/// call: `call rel32`, or `call r/m64` in any of its forms.
#[inline(always)]
#[must_use]
pub const fn ends_with_call(bytes: u64) -> bool {
    // Byte n counted back from the return address.
    let b7 = (bytes >> 8) & 0xff;
    let b6 = (bytes >> 16) & 0xff;
    let b5 = (bytes >> 24) & 0xff;
    let b4 = (bytes >> 32) & 0xff;
    let b3 = (bytes >> 40) & 0xff;
    let b2 = (bytes >> 48) & 0xff;
    let b1 = bytes >> 56;
    // ModRM of opcode FF /2: bits 3..5 are 2. With bits 6, 7: 00 memory, 01 memory + disp8,
    // 10 memory + disp32, 11 register. The low bits 4 mean that a SIB byte follows, and 5 with
    // 00 means rip + disp32.
    b5 == 0xe8
        || b2 == 0xff && ((b1 & 0xf8) == 0xd0 || (b1 & 0xf8) == 0x10 && b1 != 0x14 && b1 != 0x15)
        || b3 == 0xff && (b2 == 0x14 || (b2 & 0xf8) == 0x50 && b2 != 0x54)
        || b4 == 0xff && b3 == 0x54
        || b6 == 0xff && (b5 == 0x15 || (b5 & 0xf8) == 0x90 && b5 != 0x94)
        || b7 == 0xff && (b6 == 0x94 || b6 == 0x14 && (b5 & 7) == 5)
}

/// The row of code that nothing covers.
pub const ROW_NONE: u32 = special_row(SPECIAL_NONE);

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn a_row_gives_back_what_it_was_made_of() {
        for bp_based in [false, true] {
            for cfa in [8, 16, 24, 8 * 0x7fff] {
                for bp in [None, Some(-16), Some(-56), Some(-64)] {
                    for bx in [None, Some(-16), Some(-24), Some(-64)] {
                        let row = simple_row(bp_based, cfa, bp, bx).unwrap();
                        let payload = row_payload(row);
                        assert_eq!(row_offset(row), 0);
                        assert_eq!(row_type(row), if bp_based { ROW_BP } else { ROW_SP });
                        assert_eq!(payload_cfa(payload) as i64, cfa);
                        assert_eq!(payload_bp(payload) as i64, -bp.unwrap_or(-8));
                        assert_eq!(payload_bx(payload) as i64, -bx.unwrap_or(-8));
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_no_row() {
        assert_eq!(simple_row(false, 8 << 15, None, None), None);
        assert_eq!(simple_row(false, -8, None, None), None);
        assert_eq!(simple_row(false, 12, None, None), None);
        assert_eq!(simple_row(false, 16, Some(-8), None), None);
        assert_eq!(simple_row(false, 16, Some(-72), None), None);
        assert_eq!(simple_row(false, 16, None, Some(-20)), None);
        assert_eq!(simple_row(false, 16, None, Some(16)), None);
    }

    #[test]
    fn specials_and_rules_keep_their_payload() {
        let row = plt_row(11);
        assert_eq!(row_type(row), ROW_SPECIAL);
        assert_eq!(payload_special(row_payload(row)), SPECIAL_PLT);
        assert_eq!(payload_plt(row_payload(row)), 11);
        assert_eq!(row_type(rule_row(MAX_RULE)), ROW_RULE);
        assert_eq!(row_payload(rule_row(MAX_RULE)), MAX_RULE);
        assert_eq!(row_type(ROW_NONE), ROW_SPECIAL);
    }

    fn slab_of(words: &[u32]) -> Box<[u32; SLAB_WORDS]> {
        let mut all = vec![0; SLAB_WORDS];
        all[..words.len()].copy_from_slice(words);
        all.into_boxed_slice().try_into().unwrap()
    }

    #[test]
    fn a_bucket_without_rows_carries_the_row_before_it() {
        let (a, b, c) = (rule_row(1), rule_row(2), rule_row(3));
        // Three buckets: rows b at byte 16 and c at byte 100 of the second, a from before.
        let slab = slab_of(&[
            index_word(4, 0),
            index_word(4, 2),
            index_word(6, 0),
            a,
            b | 16,
            c | 100,
            0xffff_ffff,
        ]);
        let mapping =
            Mapping { start: 0x1000, end: 0x2000, bias: 0x1000, idx_base: 0, ..Mapping::default() };
        let rule = |pc| row_payload(find_row(&slab, &mapping, pc));
        assert_eq!(rule(0x1000), 1);
        assert_eq!(rule(0x108f), 1);
        assert_eq!(rule(0x1090), 2);
        assert_eq!(rule(0x10e3), 2);
        assert_eq!(rule(0x10e4), 3);
        assert_eq!(rule(0x1100), 3);
        assert_eq!(rule(0x117f), 3);
    }

    #[test]
    fn a_full_bucket_is_searched_to_its_end() {
        let mut words = vec![index_word(2, 128), rule_row(0)];
        words.extend((0..128).map(|n| rule_row(n + 1) | n));
        let slab = slab_of(&words);
        let mapping = Mapping { end: 128, ..Mapping::default() };
        for pc in 0..128 {
            assert_eq!(row_payload(find_row(&slab, &mapping, pc)), pc as u32 + 1);
        }
    }

    #[test]
    fn any_words_give_some_row() {
        let slab = slab_of(&[u32::MAX; 64]);
        let mapping = Mapping { idx_base: u32::MAX, bias: 5, ..Mapping::default() };
        assert_eq!(find_row(&slab, &mapping, 3), 0);
    }

    fn mappings(ranges: &[(u64, u64)]) -> Mappings {
        let unused = Mapping { start: u64::MAX >> 1, end: u64::MAX >> 1, ..Mapping::default() };
        let mut all =
            Mappings { count: ranges.len() as u32, generation: 0, list: [unused; MAPPINGS] };
        for (slot, &(start, end)) in all.list.iter_mut().zip(ranges) {
            *slot = Mapping { start, end, ..Mapping::default() };
        }
        all
    }

    #[test]
    fn every_count_of_mappings_is_searched_right() {
        for count in [0, 1, 2, 3, 255, 256, 257, 511, 512] {
            let ranges: Vec<_> = (1..=count).map(|n| (n * 0x1000, n * 0x1000 + 0x800)).collect();
            let all = mappings(&ranges);
            for n in 0..=count + 1 {
                for (offset, inside) in [(0, true), (0x7ff, true), (0x800, false), (0xfff, false)] {
                    let found = find_mapping(&all, n * 0x1000 + offset).map(|m| m.start);
                    let expected = (inside && n >= 1 && n <= count).then_some(n * 0x1000);
                    assert_eq!(found, expected, "{count} mappings, {n}, {offset:#x}");
                }
            }
        }
    }

    #[test]
    fn calls_are_known_in_all_their_forms() {
        let ends = |tail: &[u8]| {
            let mut bytes = [0x90; 8];
            bytes[8 - tail.len()..].copy_from_slice(tail);
            ends_with_call(u64::from_le_bytes(bytes))
        };
        for call in [
            &[0xe8, 1, 2, 3, 4][..],
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd7],
            &[0xff, 0x13],
            &[0xff, 0x53, 8],
            &[0xff, 0x14, 0xc8],
            &[0xff, 0x54, 0xc8, 8],
            &[0xff, 0x15, 1, 2, 3, 4],
            &[0xff, 0x93, 1, 2, 3, 4],
            &[0xff, 0x94, 0xc8, 1, 2, 3, 4],
            &[0xff, 0x14, 0xc5, 1, 2, 3, 4],
        ] {
            assert!(ends(call), "{call:x?}");
        }
        for other in [
            &[][..],
            &[0xe9, 1, 2, 3, 4],
            &[0xff, 0xe0],
            &[0xff, 0x25, 1, 2, 3, 4],
            &[0xff, 0x14],
            &[0xff, 0x55],
        ] {
            assert!(!ends(other), "{other:x?}");
        }
    }
}
