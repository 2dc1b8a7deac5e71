//! Tables of real files against gimli's own evaluation, and of files that lie.

use super::*;
use crate::unwind::fuzz_entry;
use crate::unwind::uncovered::SIGRETURN;
use gimli::{
    BaseAddresses, CfaRule, EhFrame, LittleEndian, RegisterRule, UnwindContext, UnwindSection,
};
use memmap2::Mmap;
use proptest::prelude::*;
use rmap_ebpf::abi::{
    ROW_BP, ROW_SP, ROW_SPECIAL, SPECIAL_END, SPECIAL_SIGNAL, SPECIAL_UNSUPPORTED,
};
use rmap_ebpf::logic::unwind_row::{
    payload_bp, payload_bx, payload_cfa, payload_special, special_row,
};
use std::fs::File;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A small program that every machine has.
static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    ["/bin/true", "/usr/bin/true", "/bin/sh"]
        .iter()
        .find_map(|path| std::fs::read(path).ok().filter(|data| Table::build(data).is_ok()))
        .expect("this machine has no /bin/true and no /bin/sh for x86-64")
});

fn libc_path() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line =
        maps.lines().find(|line| line.contains("/libc.so")).expect("this process has a libc");
    line.split_ascii_whitespace().last().unwrap().to_owned()
}

/// What gimli's rows say must stand in the table at the first and the last byte of each.
fn compare_with_gimli(data: &[u8]) -> usize {
    let table = Table::build(data).unwrap();
    let elf = Elf::parse(data).unwrap();
    let frames = &elf.frames[0];
    let bases = BaseAddresses::default().set_eh_frame(frames.address).set_text(frames.text);
    let section = EhFrame::new(frames.bytes, LittleEndian);
    let mut entries = section.entries(&bases);
    let mut context = UnwindContext::new();
    let mut compared = 0;
    while let Ok(Some(entry)) = entries.next() {
        let gimli::CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(EhFrame::cie_from_offset) else { continue };
        if fde.is_signal_trampoline() {
            continue;
        }
        let mut rows = fde.rows(&section, &bases, &mut context).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            if row.start_address() >= row.end_address() {
                continue;
            }
            let saved = |register| match row.register(gimli::Register(register)) {
                None | Some(RegisterRule::SameValue) => Some(-8),
                Some(RegisterRule::Offset(offset)) => Some(offset),
                _ => None,
            };
            for address in [row.start_address(), row.end_address() - 1] {
                let (ours, _) = table.row_at(address).unwrap();
                let payload = row_payload(ours);
                let undefined = row.register(gimli::Register(16)) == Some(RegisterRule::Undefined)
                    || row.register(gimli::Register(16)).is_none();
                match (row_type(ours), row.cfa()) {
                    (kind @ (ROW_SP | ROW_BP), CfaRule::RegisterAndOffset { register, offset }) => {
                        assert_eq!(register.0, if kind == ROW_SP { 7 } else { 6 }, "{address:#x}");
                        assert_eq!(payload_cfa(payload) as i64, *offset, "{address:#x}");
                        assert_eq!(Some(-(payload_bp(payload) as i64)), saved(6), "{address:#x}");
                        assert_eq!(Some(-(payload_bx(payload) as i64)), saved(3), "{address:#x}");
                        compared += 1;
                    }
                    (ROW_SPECIAL, _) if payload_special(payload) == SPECIAL_END => {
                        assert!(undefined, "{address:#x}");
                    }
                    (kind, _) => assert!(kind == ROW_SPECIAL || kind == ROW_RULE, "{address:#x}"),
                }
            }
        }
    }
    compared
}

#[test]
fn libc_and_this_program_have_the_rows_that_gimli_evaluates() {
    assert!(compare_with_gimli(&std::fs::read(libc_path()).unwrap()) > 10_000);
    assert!(compare_with_gimli(&SMALL) > 20);
}

#[test]
fn a_file_without_section_headers_has_the_same_table() {
    let mut data = std::fs::read(libc_path()).unwrap();
    let whole = Table::build(&data).unwrap();
    // e_shoff, then e_shentsize, e_shnum and e_shstrndx.
    data[40..48].fill(0);
    data[58..64].fill(0);
    assert_eq!(Table::build(&data).unwrap(), whole);
}

#[test]
fn a_file_offset_leads_to_its_address() {
    let table = Table::build(&SMALL).unwrap();
    let text = table.segments[0];
    assert_eq!(table.address_of_offset(text.offset), Some(text.address));
    let page = text.offset & !(PAGE - 1);
    assert_eq!(table.address_of_offset(page), Some(text.address - (text.offset - page)));
    assert_eq!(table.address_of_offset(u64::MAX), None);
}

#[test]
fn a_table_is_built_in_little_time() {
    // The goal for libc is 5 ms optimised; this holds without optimisation and under load.
    let data = std::fs::read(libc_path()).unwrap();
    let start = Instant::now();
    let table = Table::build(&data).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(table.bytes() < data.len() / 4, "{} of {}", table.bytes(), data.len());
    assert_eq!((table.stats.bad_entries, table.stats.limited), (0, 0));
}

/// Address and file offset of the text of [`file`].
const TEXT: u64 = 0x1000;

/// An ELF file with a page of text and the given `.eh_frame`, found by PT_GNU_EH_FRAME.
fn file(eh_frame: &[u8]) -> Vec<u8> {
    let header = |kind: u32, flags: u32, offset: u64, size: u64| {
        let mut out = Vec::new();
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        for number in [offset, offset, offset, size, size, 8] {
            out.extend(number.to_le_bytes());
        }
        out
    };
    let frames = TEXT + 0x1000;
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    for number in [0u64, 64, 0] {
        out.extend(number.to_le_bytes());
    }
    for number in [0u16, 0, 64, 56, 3, 64, 0, 0] {
        out.extend(number.to_le_bytes());
    }
    out.truncate(64);
    out[52..64].copy_from_slice(&[64, 0, 56, 0, 3, 0, 64, 0, 0, 0, 0, 0]);
    out.extend(header(1, 5, TEXT, 0x1000));
    out.extend(header(1, 4, frames, 12 + eh_frame.len() as u64));
    out.extend(header(0x6474_e550, 4, frames, 12));
    out.resize(frames as usize, 0x90);
    // Version 1; the pointer to .eh_frame is pcrel sdata4 and nothing else is there.
    out.extend([1, 0x1b, 0xff, 0xff]);
    out.extend(8u32.to_le_bytes());
    out.extend([0; 4]);
    out.extend(eh_frame);
    out
}

/// A CIE with `program`, without an augmentation: addresses are absolute.
fn cie(program: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0, 1, 0, 1, 0x78, 16];
    body.extend(program);
    entry_of(body)
}

fn fde(back: u32, start: u64, size: u64, program: &[u8]) -> Vec<u8> {
    let mut body = back.to_le_bytes().to_vec();
    body.extend(start.to_le_bytes());
    body.extend(size.to_le_bytes());
    body.extend(program);
    entry_of(body)
}

fn entry_of(mut body: Vec<u8>) -> Vec<u8> {
    body.resize(body.len().next_multiple_of(4), 0);
    let mut out = (body.len() as u32).to_le_bytes().to_vec();
    out.extend(body);
    out
}

/// `DW_CFA_def_cfa rsp, 8; DW_CFA_offset rip, 1`.
const USUAL: [u8; 5] = [0x0c, 7, 8, 0x90, 1];

#[test]
fn a_made_up_file_is_understood() {
    let mut eh = cie(&USUAL);
    // At byte 1 a push of rbp: DW_CFA_def_cfa_offset 16; DW_CFA_offset rbp, 2.
    eh.extend(fde(eh.len() as u32 + 4, TEXT + 16, 32, &[0x41, 0x0e, 16, 0x86, 2]));
    let table = Table::build(&file(&eh)).unwrap();
    assert_eq!(table.stats, Stats { functions: 1, ..Stats::default() });
    let row = |at| table.row_at(TEXT + at).unwrap().0;
    let simple = rmap_ebpf::logic::unwind_row::simple_row;
    assert_eq!(row(15), ROW_NONE);
    assert_eq!(row(16), simple(false, 8, None, None).unwrap());
    assert_eq!(row(17), simple(false, 16, Some(-16), None).unwrap());
    assert_eq!(row(47), row(17));
    assert_eq!(row(48), ROW_NONE);
    assert_eq!(table.row_at(TEXT - 1), None);
}

#[test]
fn overlapping_empty_and_foreign_functions_are_counted() {
    let mut eh = cie(&USUAL);
    for (start, size) in
        [(TEXT, 100), (TEXT + 50, 100), (TEXT + 50, 20), (TEXT + 300, 0), (0, 50), (TEXT, u64::MAX)]
    {
        let more = fde(eh.len() as u32 + 4, start, size, &[]);
        eh.extend(more);
    }
    let stats = Table::build(&file(&eh)).unwrap().stats;
    assert_eq!((stats.functions, stats.overlapping, stats.empty, stats.outside), (3, 2, 2, 1));
}

#[test]
fn a_signal_trampoline_and_an_entry_stub_are_known_without_a_description() {
    let mut data = file(&[0; 4]);
    let at = TEXT as usize;
    data[at + 0x100..at + 0x109].copy_from_slice(&SIGRETURN);
    data[24..32].copy_from_slice(&(TEXT + 0x200).to_le_bytes());
    let table = Table::build(&data).unwrap();
    let row = |at| table.row_at(TEXT + at).unwrap().0;
    assert_eq!([row(0xfe), row(0xff), row(0x108), row(0x109)], {
        let signal = special_row(SPECIAL_SIGNAL);
        [ROW_NONE, signal, signal, ROW_NONE]
    });
    assert_eq!([row(0x1ff), row(0x200), row(0x23f), row(0x240)], {
        let end = special_row(SPECIAL_END);
        [ROW_NONE, end, end, ROW_NONE]
    });
    assert_eq!(table.stats.by_code, 2);
}

#[test]
fn a_cie_that_is_no_cie_costs_its_functions_alone() {
    let mut eh = cie(&USUAL);
    // One that names itself as its CIE, one that names the one before, one that leads outside.
    let first = eh.len() as u32;
    eh.extend(fde(4, TEXT, 16, &[]));
    eh.extend(fde(eh.len() as u32 + 4 - first, TEXT + 16, 16, &[]));
    eh.extend(fde(u32::MAX, TEXT + 32, 16, &[]));
    let good = fde(eh.len() as u32 + 4, TEXT + 48, 16, &[]);
    let stats = {
        let mut eh = eh.clone();
        // The one that leads outside ends it: its bytes cannot be told from a lie.
        eh.extend(&good);
        Table::build(&file(&eh)).unwrap().stats
    };
    assert_eq!(stats.functions, 0);
    assert_eq!(stats.bad_entries, 3);
    let mut eh: Vec<u8> = eh[..eh.len() - 24].to_vec();
    eh.extend(fde(eh.len() as u32 + 4, TEXT + 48, 16, &[]));
    let stats = Table::build(&file(&eh)).unwrap().stats;
    assert_eq!((stats.functions, stats.bad_entries), (1, 2));
}

#[test]
fn lengths_that_lie_end_the_section() {
    for length in [0xffff_fff0u32, 0x7fff_ffff, 64, 3, 0xffff_ffff] {
        let mut eh = cie(&USUAL);
        eh.extend(length.to_le_bytes());
        eh.extend([1; 20]);
        let table = Table::build(&file(&eh)).unwrap();
        assert!(table.is_empty());
        assert!(table.stats.bad_entries > 0, "{length:#x}");
    }
}

#[test]
fn a_program_that_remembers_without_end_is_unsupported() {
    let mut eh = cie(&USUAL);
    eh.extend(fde(eh.len() as u32 + 4, TEXT, 4096, &[0x0a; 100_000]));
    let table = Table::build(&file(&eh)).unwrap();
    assert_eq!(table.stats.bad_entries, 1);
    assert_eq!(table.row_at(TEXT).unwrap().0, special_row(SPECIAL_UNSUPPORTED));
}

#[test]
fn cies_that_overlap_are_read_within_a_budget() {
    // Each byte of a long CIE begins another as long: zeros are its id, then its length follows.
    let mut eh = Vec::new();
    for _ in 0..60_000 {
        // A length of 3840, an id of 0, version 1 …: nested every 16 bytes.
        eh.extend([0x00, 0x0f, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0, 0, 0]);
    }
    let cies = eh.len() - 4096;
    eh.extend(vec![0; 4096]);
    let mut functions = Vec::new();
    for at in (0..cies).step_by(16) {
        let here = eh.len() + functions.len();
        functions.extend(fde((here + 4 - at) as u32, TEXT, 16, &[]));
    }
    // What is walked over entry by entry must reach the functions: one entry over all the CIEs.
    let mut all = ((eh.len() - 4) as u32).to_le_bytes().to_vec();
    all.extend([0; 12]);
    all.extend(&eh[16..]);
    all.extend(functions);
    let start = Instant::now();
    let table = Table::build(&file(&all)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(table.stats.limited, 1, "{:?}", table.stats);
}

#[test]
fn a_sparse_file_of_4_gib_is_refused_or_read_in_bounded_time() {
    let mut head = file(&[]);
    let write = |head: &[u8]| {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, head, 0).unwrap();
        file.set_len(4 << 30).unwrap();
        file
    };
    let build = |file: &File| {
        // SAFETY: nobody else has the temporary file open.
        let data = unsafe { Mmap::map(file).unwrap() };
        let start = Instant::now();
        let table = Table::build(&data);
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        table
    };
    // Text of nearly 4 GiB.
    head[64 + 32..64 + 48].fill(0xff);
    head[64 + 36..64 + 40].fill(0);
    head[64 + 44..64 + 48].fill(0);
    assert!(matches!(build(&write(&head)), Err(TableError::TextTooLarge(_))));
    // Call frame information of 4 GiB of zeros, and of 4 GiB that do not end.
    let mut head = file(&[]);
    head[120 + 32..120 + 48].fill(0xff);
    assert!(build(&write(&head)).is_ok_and(|table| table.is_empty()));
    let mut head = file(&entry_of(vec![1; 8]));
    head[120 + 32..120 + 40].copy_from_slice(&(3u64 << 30).to_le_bytes());
    let table = build(&write(&head)).unwrap();
    assert_eq!((table.is_empty(), table.stats.limited), (true, 1));
}

#[test]
fn what_is_no_elf_file_says_so() {
    assert_eq!(Table::build(&[]), Err(TableError::Elf(ElfError::NotElf)));
    let mut data = file(&[]);
    data[18] = 183;
    assert_eq!(Table::build(&data), Err(TableError::Elf(ElfError::Machine(183))));
    data[18] = 62;
    data[64 + 4] = 4;
    assert_eq!(Table::build(&data), Err(TableError::NoText));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_files_neither_panic_nor_hang(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..40),
        keep in any::<Option<prop::sample::Index>>(),
        in_frames in any::<bool>(),
    ) {
        let mut data = SMALL.clone();
        let frames = &Elf::parse(&SMALL).unwrap().frames[0];
        let first = frames.bytes.as_ptr() as usize - SMALL.as_ptr() as usize;
        let (from, size) = if in_frames { (first, frames.bytes.len()) } else { (0, 4096) };
        for (at, bit) in flips {
            data[from + at.index(size)] ^= 1u8 << bit;
        }
        if let Some(keep) = keep {
            data.truncate(keep.index(data.len()));
        }
        fuzz_entry(&data);
    }

    #[test]
    fn any_call_frame_information_is_read(eh in proptest::collection::vec(any::<u8>(), 0..400)) {
        let table = Table::build(&file(&eh)).unwrap();
        prop_assert!(table.row_at(TEXT).is_some());
    }

    #[test]
    fn any_program_is_read(program in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut eh = cie(&USUAL);
        eh.extend(fde(eh.len() as u32 + 4, TEXT, 4096, &program));
        fuzz_entry(&file(&eh));
    }

    #[test]
    fn any_bytes_are_taken(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_entry(&data);
    }
}
