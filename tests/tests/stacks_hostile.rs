//! Unwind information that lies: a library whose `.eh_frame` was written over. Nothing of rmap's
//! may stop or take long for it; stacks end where it is needed, and are counted.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rmap_tests::begin;
use rmap_tests::chain::{expect_chain, own, stacks};
use rmap_tests::machine::Machine;
use rmap_tests::workload::{self, BARE, LIBRARY};

fn word<const N: usize>(file: &[u8], at: usize) -> usize {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(&file[at..at + N]);
    usize::try_from(u64::from_le_bytes(bytes)).unwrap()
}

/// Where the header of a section is in the file, and where its bytes are. `name` ends with a zero.
fn section(file: &[u8], name: &[u8]) -> (usize, Range<usize>) {
    // Elf64_Ehdr: e_shoff, e_shnum, e_shstrndx; Elf64_Shdr: sh_name, sh_offset, sh_size.
    let (headers, count, names) = (word::<8>(file, 40), word::<2>(file, 60), word::<2>(file, 62));
    let of = |n: usize| headers + 64 * n;
    let bytes = |header: usize| {
        let start = word::<8>(file, header + 24);
        start..start + word::<8>(file, header + 32)
    };
    let names = bytes(of(names)).start;
    let header = (0..count).map(of).find(|&header| {
        let at = names + word::<4>(file, header);
        file[at..].starts_with(name)
    });
    let header = header.unwrap();
    (header, bytes(header))
}

const EH_FRAME: &[u8] = b".eh_frame\0";

/// A copy of the library, written over. Its build id is a new one each time: under the library's
/// own, rmap has a good table on disk.
fn damaged(machine: &Machine, damage: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let library = workload::build_with("stacks_library", &[&BARE[..], &LIBRARY].concat());
    let mut file = std::fs::read(library).unwrap();
    let id = section(&file, b".note.gnu.build-id\0").1;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    file[id.end - 16..id.end].copy_from_slice(&now.to_le_bytes());
    damage(&mut file);
    let copy = machine.scratch().join("library.so");
    std::fs::write(&copy, file).unwrap();
    copy
}

const CHAIN: [&str; 4] = ["library_write", "library_entry", "call_library", "main"];

#[test]
fn programs_of_unknown_instructions_end_stacks_and_are_counted() {
    let machine = begin!();
    let library = damaged(&machine, |file| {
        let section = section(file, EH_FRAME).1;
        let mut at = section.start;
        while at < section.end {
            let length = word::<4>(file, at);
            if length == 0 {
                break;
            }
            // An FDE: length, distance to its CIE, start and size of the function, length of the
            // augmentation, instructions. There is no instruction 0x3f.
            if word::<4>(file, at + 4) != 0 {
                file[at + 17..at + 4 + length].fill(0x3f);
            }
            at += 4 + length;
        }
    });
    let binary = workload::build_with("stacks_dlopen", &BARE);
    for settled in [&[][..], &["settled"]] {
        let args = [&[library.to_str().unwrap()], settled].concat();
        let job = machine.job_of(&binary, &args);
        for stack in stacks(&job, "memory") {
            assert_eq!(own(stack), CHAIN[..1], "{stack:#?}");
            let last = stack.frames.last().map(|frame| frame.module.as_str());
            assert_eq!(last, Some("[incomplete: unwind rule not supported]"), "{stack:#?}");
        }
        let unwind = &job.report().coverage.unwind;
        let pages = job.pages("memory", "library_write");
        assert!(unwind.reasons.get("unsupported") >= Some(&pages), "{unwind:?}");
        assert!(unwind.bytes.reasons.get("unsupported") >= Some(&(pages * 4096)), "{unwind:?}");
    }
}

#[test]
fn a_section_of_gigabytes_in_a_sparse_file_costs_little() {
    let machine = begin!();
    let binary = workload::build_with("stacks_dlopen", &BARE);
    let time = |library: &PathBuf| {
        let start = Instant::now();
        let job = machine.job_of(&binary, &[library.to_str().unwrap()]);
        (start.elapsed(), job)
    };
    let library = damaged(&machine, |_| {});
    let (usual, job) = time(&library);
    expect_chain(&job, "memory", &CHAIN);
    let library = damaged(&machine, |file| {
        let (header, section) = section(file, EH_FRAME);
        // Behind the file's own bytes: an entry that claims to be as long as its section.
        let (start, size) = (1u64 << 30, 3u64 << 30);
        file[header + 24..header + 32].copy_from_slice(&start.to_le_bytes());
        file[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
        file[section.start..section.start + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    });
    std::fs::OpenOptions::new().write(true).open(&library).unwrap().set_len(4 << 30).unwrap();
    let (sparse, job) = time(&library);
    // What describes nothing leaves the functions to what their instructions tell.
    expect_chain(&job, "memory", &CHAIN);
    assert!(sparse < usual * 3 + Duration::from_secs(5), "{sparse:?}, not {usual:?}");
}
