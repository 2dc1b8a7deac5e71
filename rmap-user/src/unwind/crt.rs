//! The few functions of the C runtime's start files (`crti.o`, `crtn.o`, `crtbegin*.o` of GCC)
//! that no call frame information describes, known by their bytes.
//!
//! Comes in: bytes that no function covers. Goes out: pieces of code and the rows that hold there.
//! A piece is only known if every one of its instructions is, from the first to the return, so
//! that its rows are as sure as those of call frame information.

use rmap_ebpf::logic::unwind_row::simple_row;

/// How many bytes from the start of uncovered code are looked at: the functions stand at the
/// start of their section, behind at most an entry stub.
pub const MAX_SEARCH: usize = 4096;

/// A stretch of code in which one row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes from the start of what was searched.
    pub start: usize,
    /// The first byte behind it.
    pub end: usize,
    /// The row.
    pub row: u32,
}

/// Any byte.
const ANY: u16 = 256;

const ENDBR64: &[u16] = &[0xf3, 0x0f, 0x1e, 0xfa];
const SUB_RSP_8: &[u16] = &[0x48, 0x83, 0xec, 0x08];
const ADD_RSP_8: &[u16] = &[0x48, 0x83, 0xc4, 0x08];
const RET: &[u16] = &[0xc3];
/// `mov rel32(%rip), %rax; test %rax, %rax; je`: a function that may not be there.
const LOAD_OPTIONAL: &[u16] = &[0x48, 0x8b, 0x05, ANY, ANY, ANY, ANY, 0x48, 0x85, 0xc0, 0x74, ANY];
const CALL_RAX: &[u16] = &[0xff, 0xd0];
const JMP_RAX: &[u16] = &[0xff, 0xe0];
/// `cmpb $0, completed(%rip); jne`.
const IF_NOT_COMPLETED: &[u16] = &[0x80, 0x3d, ANY, ANY, ANY, ANY, 0x00, 0x75, ANY];
const PUSH_RBP: &[u16] = &[0x55];
/// `movb $1, completed(%rip); pop %rbp`.
const COMPLETED: &[u16] = &[0xc6, 0x05, ANY, ANY, ANY, ANY, 0x01, 0x5d];
/// What `__do_global_dtors_aux` does between: none of it moves the stack pointer.
const STILL: &[&[u16]] = &[
    &[0x48, 0x83, 0x3d, ANY, ANY, ANY, ANY, 0x00],
    &[0x48, 0x89, 0xe5],
    &[0x74, ANY],
    &[0x48, 0x8b, 0x3d, ANY, ANY, ANY, ANY],
    &[0x48, 0x8d, 0x3d, ANY, ANY, ANY, ANY],
    &[0xe8, ANY, ANY, ANY, ANY],
    &[0xff, 0x15, ANY, ANY, ANY, ANY],
    &[0xb8, ANY, ANY, ANY, ANY],
    &[0x48, 0xc7, 0xc0, ANY, ANY, ANY, ANY],
    &[0x48, 0x85, 0xc0],
    &[0xbf, ANY, ANY, ANY, ANY],
];
/// The start of `deregister_tm_clones`, as it is in position-independent code.
const DEREGISTER: &[u16] = &[
    0x48, 0x8d, 0x3d, ANY, ANY, ANY, ANY, 0x48, 0x8d, 0x05, ANY, ANY, ANY, ANY, 0x48, 0x39, 0xf8,
    0x74, ANY,
];
/// The same of `register_tm_clones`.
const REGISTER: &[u16] = &[
    0x48, 0x8d, 0x3d, ANY, ANY, ANY, ANY, 0x48, 0x8d, 0x35, ANY, ANY, ANY, ANY, 0x48, 0x29, 0xfe,
    0x48, 0x89, 0xf0, 0x48, 0xc1, 0xee, 0x3f, 0x48, 0xc1, 0xf8, 0x03, 0x48, 0x01, 0xc6, 0x48, 0xd1,
    0xfe, 0x74, ANY,
];
/// Fillings between a jump and the return.
const NOPS: &[&[u16]] = &[
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x00],
    &[0x66, 0x90],
    &[0x90],
];

/// A place in the code that is being read.
#[derive(Clone, Copy)]
struct At<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl At<'_> {
    /// Goes on behind the pattern, if it is here.
    fn take(&mut self, pattern: &[u16]) -> Option<()> {
        let here = self.bytes.get(self.at..self.at.checked_add(pattern.len())?)?;
        let same =
            here.iter().zip(pattern).all(|(&is, &want)| want == ANY || u16::from(is) == want);
        same.then(|| self.at += pattern.len())
    }

    /// Goes on behind as many of the patterns as there are here.
    fn take_all(&mut self, patterns: &[&[u16]]) {
        while patterns.iter().any(|pattern| self.take(pattern).is_some()) {}
    }
}

/// The pieces of known functions in `bytes`, whose first byte is at `address`.
pub fn find(bytes: &[u8], address: u64) -> Vec<Piece> {
    let bytes = bytes.get(..bytes.len().min(MAX_SEARCH)).unwrap_or_default();
    let mut pieces = Vec::new();
    let mut registers = None;
    let mut at = address.wrapping_neg() as usize & 3;
    while at < bytes.len() {
        let here = At { bytes, at };
        let known = runs_calls(here).or_else(|| dtors(here)).or_else(|| {
            let (end, registering) = tm_clones(here)?;
            if registering {
                registers = Some(at);
            }
            Some(vec![at, end])
        });
        let known = known.or_else(|| frame_dummy(here, registers?));
        let Some(bounds) = known else {
            at += 4;
            continue;
        };
        // The return address at the stack pointer, then something on top of it, then not.
        let rows =
            [simple_row(false, 8, None, None), pushed(&bounds), simple_row(false, 8, None, None)];
        for (bounds, row) in bounds.windows(2).zip(rows) {
            let (&[start, end], Some(row)) = (bounds, row) else { continue };
            pieces.push(Piece { start, end, row });
        }
        let end = bounds.last().copied().unwrap_or(at);
        at = end.max(at + 1);
        at += (address as usize).wrapping_add(at).wrapping_neg() & 3;
    }
    // One function may have been met from two sides.
    pieces.dedup();
    return pieces;

    /// `__do_global_dtors_aux` keeps rbp there; its first piece ends with a one-byte push.
    fn pushed(bounds: &[usize]) -> Option<u32> {
        let saves_bp = bounds.len() > 4;
        simple_row(false, 16, saves_bp.then_some(-16), None)
    }
}

/// `_init` and `_fini`: bounds of the three pieces.
fn runs_calls(mut at: At<'_>) -> Option<Vec<usize>> {
    let start = at.at;
    let _ = at.take(ENDBR64);
    at.take(SUB_RSP_8)?;
    let moved = at.at;
    if at.take(LOAD_OPTIONAL).is_some() {
        at.take(CALL_RAX)?;
    }
    at.take(ADD_RSP_8)?;
    let back = at.at;
    at.take(RET)?;
    Some(vec![start, moved, back, at.at])
}

/// `__do_global_dtors_aux`: bounds of the three pieces, the last one twice.
fn dtors(mut at: At<'_>) -> Option<Vec<usize>> {
    let start = at.at;
    let _ = at.take(ENDBR64);
    at.take(IF_NOT_COMPLETED)?;
    at.take(PUSH_RBP)?;
    let moved = at.at;
    at.take_all(STILL);
    at.take(COMPLETED)?;
    let back = at.at;
    at.take(RET)?;
    at.take_all(NOPS);
    let _ = at.take(RET);
    Some(vec![start, moved, back, at.at, at.at])
}

/// `deregister_tm_clones` and `register_tm_clones` (true): their end.
fn tm_clones(mut at: At<'_>) -> Option<(usize, bool)> {
    let registers = at.take(REGISTER).is_some();
    if !registers {
        at.take(DEREGISTER)?;
    }
    at.take(LOAD_OPTIONAL)?;
    at.take(JMP_RAX)?;
    at.take_all(NOPS);
    at.take(RET)?;
    Some((at.at, registers))
}

/// `frame_dummy`: a jump to `register_tm_clones`.
fn frame_dummy(mut at: At<'_>, target: usize) -> Option<Vec<usize>> {
    let start = at.at;
    let _ = at.take(ENDBR64);
    at.take(&[0xe9, ANY, ANY, ANY, ANY])?;
    let distance = at.bytes.get(at.at - 4..at.at)?.try_into().ok().map(i32::from_le_bytes)?;
    let to = i64::try_from(at.at).ok()? + i64::from(distance);
    (usize::try_from(to) == Ok(target)).then(|| vec![start, at.at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INIT: [u8; 23] = [
        0x48, 0x83, 0xec, 8, 0x48, 0x8b, 5, 1, 2, 3, 0, 0x48, 0x85, 0xc0, 0x74, 2, 0xff, 0xd0,
        0x48, 0x83, 0xc4, 8, 0xc3,
    ];
    const DTORS: [u8; 60] = [
        0xf3, 0x0f, 0x1e, 0xfa, 0x80, 0x3d, 1, 2, 3, 4, 0, 0x75, 0x2b, 0x55, 0x48, 0x83, 0x3d, 1,
        2, 3, 4, 0, 0x48, 0x89, 0xe5, 0x74, 0x0c, 0x48, 0x8b, 0x3d, 1, 2, 3, 4, 0xe8, 1, 2, 3, 4,
        0xe8, 1, 2, 3, 4, 0xc6, 5, 1, 2, 3, 4, 1, 0x5d, 0xc3, 0x0f, 0x1f, 0, 0xc3, 0, 0, 0,
    ];

    fn row(cfa: i64, bp: Option<i64>) -> u32 {
        simple_row(false, cfa, bp, None).unwrap()
    }

    #[test]
    fn init_moves_the_stack_pointer_once() {
        let piece = |start, end, cfa| Piece { start, end, row: row(cfa, None) };
        assert_eq!(find(&INIT, 0x1000), [piece(0, 4, 8), piece(4, 22, 16), piece(22, 23, 8)]);
    }

    #[test]
    fn destructors_save_the_frame_pointer() {
        let pieces = find(&DTORS, 0x1000);
        assert_eq!(pieces[0], Piece { start: 0, end: 14, row: row(8, None) });
        assert_eq!(pieces[1], Piece { start: 14, end: 52, row: row(16, Some(-16)) });
        assert_eq!(pieces[2], Piece { start: 52, end: 57, row: row(8, None) });
        assert_eq!(pieces.len(), 3);
    }

    #[test]
    fn a_function_with_one_unknown_instruction_is_not_known() {
        for n in [1, 5, 18, 22] {
            let mut init = INIT;
            init[n] ^= 0x40;
            assert_eq!(find(&init, 0x1000), []);
        }
        assert_eq!(find(&DTORS[..50], 0x1000), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_searched(bytes in prop::collection::vec(any::<u8>(), 0..200), at: u64) {
            for piece in find(&bytes, at) {
                prop_assert!(piece.start < piece.end && piece.end <= bytes.len());
            }
        }
    }
}
