//! Against call frame information: the C library's own code has both.

use super::*;
use crate::unwind::table::Table;
use proptest::prelude::*;
use rmap_ebpf::abi::ROW_SP;
use rmap_ebpf::logic::unwind_row::{payload_cfa, row_payload, row_type, simple_row};

/// How much of the C library's code is looked at, in bytes.
const BYTES: u64 = 256 << 10;

/// The file of this process's C library.
fn libc() -> Vec<u8> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    std::fs::read(paths.find(|path| path.contains("/libc.so")).unwrap()).unwrap()
}

#[test]
fn rows_of_libcs_code_are_those_of_its_call_frame_information() {
    let data = libc();
    let elf = Elf::parse(&data).unwrap();
    let table = Table::build(&data).unwrap();
    let text = elf.segments.iter().find(|segment| segment.executable).unwrap();
    let text = text.address..text.address + text.file_size.min(BYTES);
    let pieces = find(&elf, std::slice::from_ref(&text), &[]);
    let (mut same, mut other, mut bytes) = (0, Vec::new(), 0);
    for piece in &pieces {
        bytes += piece.end - piece.start;
        for at in piece.start..piece.end {
            let Some((row, _)) = table.row_at(at) else { continue };
            // Where a frame pointer serves, compilers use it, and this the stack pointer.
            if row_type(row) != ROW_SP || row_type(piece.row) != ROW_SP {
                continue;
            }
            if payload_cfa(row_payload(row)) == payload_cfa(row_payload(piece.row)) {
                same += 1;
            } else {
                other.push(at);
            }
        }
    }
    // Of functions that are only called through tables nothing is known.
    assert!(bytes * 3 > text.end - text.start, "{bytes} bytes are known");
    // What differs is assembly of which glibc's call frame information leaves a push out (mpn).
    assert!(other.len() * 200 < same, "{} of {same} differ: {other:x?}", other.len());
}

/// An ELF file whose code is `code`, at address 0x1000.
fn file(code: &[u8]) -> Vec<u8> {
    let mut file = vec![0u8; 0x1000];
    file[..20].copy_from_slice(&[
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 0,
    ]);
    let word = |file: &mut Vec<u8>, at: usize, value: u64| {
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    file[20] = 1;
    word(&mut file, 24, 0x1000);
    word(&mut file, 32, 64);
    file[52..58].copy_from_slice(&[64, 0, 56, 0, 1, 0]);
    // PT_LOAD, readable and executable.
    file[64..72].copy_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    for (at, value) in [(72, 0x1000), (80, 0x1000), (88, 0x1000)] {
        word(&mut file, at, value);
    }
    for at in [96, 104] {
        word(&mut file, at, code.len() as u64);
    }
    word(&mut file, 112, 0x1000);
    file.extend_from_slice(code);
    file
}

/// The rows of code whose entry is its first byte.
fn rows(code: &[u8]) -> Vec<(u64, u64, u32)> {
    let code = [code, &[0xcc; 64]].concat();
    let data = file(&code);
    let elf = Elf::parse(&data).unwrap();
    let whole = 0x1000..0x1000 + code.len() as u64;
    let pieces = find(&elf, &[whole], &[]);
    pieces.iter().map(|p| (p.start - 0x1000, p.end - 0x1000, p.row)).collect()
}

fn sp(cfa: i64, bp: Option<i64>, bx: Option<i64>) -> u32 {
    simple_row(false, cfa, bp, bx).unwrap()
}

#[test]
fn pushes_and_pops_move_the_frame() {
    // push %rbp; push %rbx; sub $24,%rsp; add $24,%rsp; pop %rbx; pop %rbp; ret
    let code = [0x55, 0x53, 0x48, 0x83, 0xec, 24, 0x48, 0x83, 0xc4, 24, 0x5b, 0x5d, 0xc3];
    let inner = sp(24, Some(-16), Some(-24));
    assert_eq!(
        rows(&code),
        [
            (0, 1, sp(8, None, None)),
            (1, 2, sp(16, Some(-16), None)),
            (2, 6, inner),
            (6, 10, sp(48, Some(-16), Some(-24))),
            (10, 11, inner),
            (11, 12, sp(16, Some(-16), None)),
            (12, 13, sp(8, None, None)),
        ]
    );
}

#[test]
fn a_frame_pointer_serves_where_the_stack_pointer_is_cut() {
    // push %rbp; mov %rsp,%rbp; and $-32,%rsp; nop; leave; ret
    let code = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xe4, 0xe0, 0x90, 0xc9, 0xc3];
    let rows = rows(&code);
    let cut = simple_row(true, 16, Some(-16), None).unwrap();
    assert_eq!(rows[2], (8, 10, cut), "{rows:?}");
    assert_eq!(rows[3], (10, 11, sp(8, None, None)), "{rows:?}");
}

#[test]
fn one_way_that_does_not_balance_is_no_function() {
    // test %edi,%edi; je 1f; push %rbx; 1: ret
    assert_eq!(rows(&[0x85, 0xff, 0x74, 1, 0x53, 0xc3]), []);
    // mov %rax,%rsp; ret
    assert_eq!(rows(&[0x48, 0x89, 0xc4, 0xc3]), []);
    // xor %ebx,%ebx; ret: a register of the caller's that is not saved
    assert_eq!(rows(&[0x31, 0xdb, 0xc3]), []);
}

#[test]
fn what_stands_behind_a_call_that_does_not_return_is_not_of_the_function() {
    // push %rax; call *%rdi; then another function: push %rbx; push %rbx; ret
    let rows = rows(&[0x50, 0xff, 0xd7, 0x53, 0x53, 0xc3]);
    assert_eq!(rows, [(0, 1, sp(8, None, None)), (1, 3, sp(16, None, None))]);
}

#[test]
fn a_frame_pointer_of_0_marks_the_outermost_frame() {
    // xor %ebp,%ebp; call *%rdi; hlt
    let rows = rows(&[0x31, 0xed, 0xff, 0xd7, 0xf4]);
    assert_eq!(rows[1], (2, 5, special_row(SPECIAL_END)), "{rows:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_followed(code in prop::collection::vec(any::<u8>(), 1..300)) {
        let rows = rows(&code);
        for pair in rows.windows(2) {
            prop_assert!(pair[0].0 < pair[0].1 && pair[0].1 <= pair[1].0);
        }
    }
}
