//! Cases that real programs showed: memory that KSM gave back, that several processes share, that
//! was dirty before, and that calls had brought in beside a fault.

use super::sim::{A, ANON, FILE, Memory, P, Page, READ, Sim, WRITE, Who, short};
use crate::trace::{Body, Entry, Fork, MmId, Moment};

const MAP: u64 = 0x7000_0000_0000;
const ANONYMOUS: u64 = 0x22;
const SHARED_ANONYMOUS: u64 = 0x21;
const MERGEABLE: u64 = 12;

fn pages(from: u64, count: u64) -> std::ops::Range<u64> {
    from..from + count * P
}

fn reason(name: &str, rss: i64, dirty: i64) -> (String, i64, i64) {
    (name.to_owned(), rss, dirty)
}

#[test]
fn pages_that_ksm_gave_back_are_dirty_by_nobody() {
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 8), 2, &mut memory);
    sim.madvise(A, pages(MAP, 8), MERGEABLE, 3);
    memory.set(pages(MAP, 8), Page { dirty: false, ..ANON });
    let mut half = memory.clone();
    half.set(pages(MAP, 3), ANON);
    sim.snapshot(A, Moment::Periodic, &half);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "first-write", [8, 0, 8], 8)]);
    assert_eq!(played.unexplained(100, MAP), []);
}

#[test]
fn a_part_that_ksm_gave_back_has_a_reason_where_entries_are_not_read() {
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 8), 2, &mut memory);
    sim.madvise(A, pages(MAP, 8), MERGEABLE, 3);
    sim.madvise(A, pages(MAP, 8), MERGEABLE + 1, 3);
    memory.set(pages(MAP, 5), Page { dirty: false, ..ANON });
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "first-write", [8, 8, 8], 8)]);
    assert_eq!(played.unexplained(100, MAP), [reason("cleaned", 0, -5)]);
}

#[test]
fn shared_memory_that_was_dirty_when_it_was_found_was_not_written_here() {
    for (attached, expected) in [(true, "before-attach"), (false, "page-cache-write")] {
        let mut memory = Memory::of(&[(pages(MAP, 4), "rw-s", "/dev/zero (deleted)")]);
        let mut sim = if attached {
            let mut sim = Sim::new();
            sim.snapshot(A, Moment::Start, &memory);
            sim
        } else {
            let mut sim = Sim::running(&Memory::default());
            sim.mmap(A, pages(MAP, 4), SHARED_ANONYMOUS, 1);
            sim
        };
        sim.fault_with(A, MAP, READ, [0, 0, 0, 4], 2, |fault| {
            fault.entry = Some(Entry { huge: false, dirty: true, window: Some(0b1111) });
        });
        memory.set(pages(MAP, 4), Page { dirty: true, folio_dirty: Some(true), ..FILE });
        sim.snapshot(A, Moment::Left, &memory);
        let played = sim.finish();
        assert_eq!(played.unexplained(100, MAP), [reason(expected, 0, 4)]);
    }
}

#[test]
fn processes_in_one_memory_are_explained_alike_whoever_acts() {
    let child = Who { pid: 101, tid: 101, mm: A.mm };
    for (first, second) in [(A, child), (child, A)] {
        let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
        memory.set(pages(MAP, 2), ANON);
        let mut sim = Sim::new();
        sim.snapshot(first, Moment::Start, &memory);
        let fork = Fork {
            child_pid: second.pid,
            child_tid: second.tid,
            child_mm: MmId::UNKNOWN,
            thread: false,
            same_mm: true,
            stack: None,
        };
        sim.send(Who { mm: 0, ..first }, Body::Fork(fork));
        sim.snapshot(second, Moment::Start, &memory);
        sim.fill(child, pages(MAP + 2 * P, 5), 7, &mut memory);
        sim.snapshot(first, Moment::Left, &memory);
        sim.snapshot(second, Moment::Left, &memory);
        let played = sim.finish();
        for pid in [100, 101] {
            assert_eq!(played.paths(pid, MAP), [short(7, "first-write", [5, 5, 5], 5)], "{pid}");
            assert_eq!(played.unexplained(pid, MAP), [reason("before-attach", 2, 2)], "{pid}");
        }
    }
}

#[test]
fn a_fault_beside_memory_that_a_call_brought_in_takes_none_of_it() {
    const MLOCK: i64 = 149;
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    sim.call(A, false, MLOCK, &[MAP, 4 * P], 0, 3);
    sim.fault_with(A, MAP + 4 * P, WRITE, [0, 1, 0, 0], 4, |fault| {
        fault.entry = Some(Entry { huge: false, dirty: true, window: Some(0b1_1111) });
    });
    memory.set(pages(MAP, 5), ANON);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(3, "populate", [4, 4, 4], 0), short(4, "first-write", [1, 1, 1], 1)]
    );
}
