//! Against call frame information: the C library's own code has both.

use super::*;
use crate::unwind::table::Table;
use proptest::prelude::*;
use rmap_ebpf::abi::ROW_SP;
use rmap_ebpf::logic::unwind_row::{payload_cfa, row_payload, row_type, simple_row};

/// How much of the C library's code is looked at, in bytes.
const BYTES: u64 = 256 << 10;

/// Assembly of glibc's (`sysdeps/x86_64/addmul_1.S`, from GMP) that pushes two registers and whose
/// call frame information does not say so: `__mpn_addmul_1` and `__mpn_submul_1`. The C library has
/// no symbols of them, so they are known by their first bytes: push %rbx; push %rbp;
/// lea (%rdx),%rbx; neg %rbx.
const MPN: [u8; 8] = [0x53, 0x55, 0x48, 0x8d, 0x1a, 0x48, 0xf7, 0xdb];

/// Where those functions are in the code.
fn mpn(elf: &Elf<'_>, text: &Range<u64>) -> Vec<Range<u64>> {
    let bytes = elf.bytes_from(text.start).unwrap();
    let starts = (text.start..text.end)
        .filter(|at| bytes[(at - text.start) as usize..].starts_with(&MPN))
        .collect::<Vec<_>>();
    let end = |start: u64| {
        let code = elf.bytes_from(start).unwrap();
        let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE).into_iter();
        decoder.find(|i| i.flow_control() == FlowControl::Return).unwrap().next_ip()
    };
    starts.into_iter().map(|start| start..end(start)).collect()
}

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
    let mpn = mpn(&elf, &text);
    let (mut same, mut other, mut bytes) = (0, Vec::new(), 0);
    for piece in &pieces {
        bytes += piece.end - piece.start;
        for at in piece.start..piece.end {
            let Some((row, _)) = table.row_at(at) else { continue };
            // Where a frame pointer serves, compilers use it, and this the stack pointer.
            if row_type(row) != ROW_SP
                || row_type(piece.row) != ROW_SP
                || mpn.iter().any(|function| function.contains(&at))
            {
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
    assert!(other.len() * 1000 < same, "{} of {same} differ: {other:x?}", other.len());
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
fn what_stands_behind_a_call_and_filling_is_another_function() {
    // push %rax; call *%rdi; nopl 0(%rax,%rax,1); push %rbx; call *%rdi; nop; pop %rbx; ret
    let code = [0x50, 0xff, 0xd7, 0x0f, 0x1f, 0x44, 0, 0, 0x53, 0xff, 0xd7, 0x90, 0x5b, 0xc3];
    assert_eq!(rows(&code), [(0, 1, sp(8, None, None)), (1, 3, sp(16, None, None))]);
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
