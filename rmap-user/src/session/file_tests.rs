//! Files and shared memory that several write: who is responsible for what each mapping shows dirty.

use super::sim::{self, A, FILE, Memory, P, PROTECTED, READ, Sim, WRITE, Who, short};
use crate::trace::Moment;
use crate::trace::{Body, FileChange, FileId};

const MAP: u64 = 0x7000_0000;
const B: Who = Who { pid: 200, tid: 200, mm: 0xb };
const STRANGER: Who = Who { pid: 40, tid: 40, mm: 0xf };
/// `MAP_SHARED` of a file, and of nothing.
const SHARED_FILE: u64 = 1;
const SHARED: u64 = 0x21;
const DIRTY: sim::Page = sim::Page { dirty: true, folio_dirty: Some(true), ..FILE };
const WRITE_CALL: i64 = 1;
const FTRUNCATE: i64 = 77;
/// As the segments of `sim` have it.
const DATA: FileId = FileId { device: (0, 0), inode: 1 };

fn pages(count: u64) -> std::ops::Range<u64> {
    MAP..MAP + count * P
}

fn change(sim: &mut Sim, who: Who, call: i64, pages: std::ops::Range<u64>, gone: bool, stack: u64) {
    let stranger = who.pid == STRANGER.pid;
    let stack = if stranger { None } else { sim.stack(who, stack) };
    let body = Body::File(FileChange {
        file: DATA,
        index: pages.start,
        pages: u32::try_from(pages.end - pages.start).expect("few pages"),
        gone,
        stranger,
        fault: false,
        syscall: Some(call),
        stack,
    });
    sim.send(who, body);
}

/// Two processes that map the same file; what they map is known from a snapshot.
fn both() -> (Sim, Memory) {
    let memory = Memory::of(&[(pages(8), "rw-s", "/data")]);
    let mut sim = Sim::running(&memory);
    sim.exec(B, &memory);
    (sim, memory)
}

#[test]
fn a_write_is_the_writers_in_every_mapping_until_somebody_writes_again() {
    let (mut sim, mut memory) = both();
    for page in 0..4 {
        sim.fault(A, MAP + page * P, WRITE, [1, 0, 0, 0], 2);
    }
    // Written back, then written by a call of the other process, and by a stranger.
    change(&mut sim, B, WRITE_CALL, 0..2, false, 3);
    change(&mut sim, STRANGER, WRITE_CALL, 2..3, false, 0);
    // Here by a fault of its own.
    sim.fault(A, MAP + P, PROTECTED, [0; 4], 4);
    memory.set(pages(3), DIRTY);
    memory.set(MAP + 3 * P..MAP + 4 * P, FILE);
    sim.fault(B, MAP, READ, [4, 0, 0, 0], 5);
    sim.exit(A, &memory);
    sim.exit(B, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [
            short(2, "shared-write", [4, 0, 4], 4),
            short(3, "page-cache-write", [0, 1, 1], 0),
            short(4, "shared-write", [0, 1, 1], 1),
        ]
    );
    assert_eq!(played.unexplained(100, MAP), [("stranger".to_owned(), 0, 1)]);
    // The other sees the same, and the function of the first.
    assert_eq!(
        played.paths(200, MAP),
        [
            short(3, "page-cache-write", [0, 1, 1], 0),
            short(4, "shared-write", [0, 1, 1], 0),
            short(5, "file-read", [4, 0, 4], 1),
        ]
    );
    assert_eq!(played.unexplained(200, MAP), [("stranger".to_owned(), 0, 1)]);
}

#[test]
fn pages_that_are_cut_off_are_given_back_by_who_cut() {
    let (mut sim, mut memory) = both();
    sim.fault(A, MAP, READ, [8, 0, 0, 0], 2);
    memory.set(pages(8), FILE);
    // Which pages came is settled by a snapshot.
    sim.snapshot(A, Moment::Periodic, &memory);
    change(&mut sim, B, FTRUNCATE, 6..8, true, 3);
    change(&mut sim, STRANGER, FTRUNCATE, 4..6, true, 0);
    change(&mut sim, STRANGER, WRITE_CALL, 3..4, true, 0);
    memory.clear(MAP + 3 * P..MAP + 8 * P);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "file-read", [3, 0, 8], 1)]);
    let mut released = played.released(100);
    released.sort();
    assert_eq!(
        released,
        [
            (0, "reclaim".to_owned(), 1),
            (0, "truncate".to_owned(), 2),
            (3, "truncate".to_owned(), 2)
        ]
    );
}

#[test]
fn shared_memory_is_dirty_in_the_child_by_its_parents_function() {
    let mut memory = Memory::of(&[(pages(4), "rw-s", "/dev/zero (deleted)")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(4), SHARED, 1);
    sim.fault(A, MAP, WRITE, [0, 0, 0, 1], 2);
    sim.fork(A, B, 3, false);
    sim.snapshot(B, Moment::Forked, &memory);
    sim.fault(A, MAP + P, WRITE, [0, 0, 0, 1], 2);
    sim.fault(B, MAP, READ, [0, 0, 0, 2], 4);
    memory.set(pages(2), DIRTY);
    sim.exit(B, &memory);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(200, MAP),
        [short(2, "shared-memory", [0, 2, 2], 0), short(4, "shared-memory", [2, 0, 2], 1)]
    );
    assert_eq!(played.paths(100, MAP), [short(2, "shared-memory", [2, 2, 2], 2)]);
}

#[test]
fn the_file_that_a_call_has_mapped_is_known_before_any_snapshot() {
    let mut memory = Memory::of(&[(pages(4), "rw-s", "/data")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap_of(A, pages(4), SHARED_FILE, 1, DATA);
    sim.fault(A, MAP, WRITE, [1, 0, 0, 0], 2);
    change(&mut sim, STRANGER, WRITE_CALL, 0..1, false, 0);
    memory.set(pages(1), DIRTY);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "shared-write", [1, 0, 1], 1)]);
    assert_eq!(played.unexplained(100, MAP), [("stranger".to_owned(), 0, 1)]);
}

/// Pages of large folios.
const LARGE: sim::Page = sim::Page { large: Some(true), ..FILE };

#[test]
fn a_fault_that_mapped_a_large_folio_owns_all_of_it() {
    // More than a page table, and a folio that stands apart.
    let memory = Memory::of(&[(pages(768), "rw-s", "/data")]);
    let mut sim = Sim::running(&memory);
    sim.fault(A, MAP + 20 * P, READ, [16, 0, 0, 0], 2);
    let mut shown = memory.clone();
    shown.set(pages(256), LARGE);
    shown.set(MAP + 300 * P..MAP + 316 * P, LARGE);
    // Joins the first ones, but no large folio has it.
    shown.set(MAP + 256 * P..MAP + 257 * P, FILE);
    sim.exit(A, &shown);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "file-read", [256, 0, 256], 1)]);
    assert_eq!(played.unexplained(100, MAP), [("unknown".to_owned(), 17, 0)]);
}

#[test]
fn of_a_large_folio_that_several_faults_mapped_nobody_owns_the_rest() {
    let memory = Memory::of(&[(pages(64), "rw-s", "/data")]);
    let mut sim = Sim::running(&memory);
    sim.fault(A, MAP, READ, [4, 0, 0, 0], 2);
    sim.fault(A, MAP + 32 * P, READ, [4, 0, 0, 0], 3);
    let mut shown = memory.clone();
    shown.set(pages(64), LARGE);
    sim.exit(A, &shown);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "file-read", [4, 0, 4], 1), short(3, "file-read", [4, 0, 4], 1)]
    );
    assert_eq!(played.unexplained(100, MAP), [("unknown".to_owned(), 56, 0)]);
}
