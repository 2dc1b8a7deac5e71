//! Programs of which the truth is known, played on a small machine.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::sim::{
    A, ANON, FILE, LOST, Memory, P, PROTECTED, READ, Sim, WRITE, Who, segment, short,
};
use super::*;
use crate::report::{self, SnapshotKind};
use crate::trace::{Entry, Fault, MmId, PageState, Stack, StackEnd, StackHash};

const HEAP: u64 = 0x5555_0000_0000;
const MAP: u64 = 0x7000_0000_0000;
const ANONYMOUS: u64 = 0x22;
const SHARED_ANONYMOUS: u64 = 0x21;
const PRIVATE_FILE: u64 = 0x02;
const SHARED_FILE: u64 = 0x01;

fn pages(from: u64, count: u64) -> std::ops::Range<u64> {
    from..from + count * P
}

fn reason(name: &str, rss: i64, dirty: i64) -> (String, i64, i64) {
    (name.to_owned(), rss, dirty)
}

#[test]
fn the_program_of_the_pmap_articles() {
    // malloc 60 KiB, memset the first 16 KiB: the heap is 132 KiB, 5 pages of it are written.
    let mut memory = Memory::default();
    let mut sim = Sim::running(&memory);
    sim.call(A, true, 12, &[0], 0, 1);
    sim.call(A, false, 12, &[0], HEAP as i64, 1);
    sim.call(A, true, 12, &[HEAP + 0x21000], 0, 1);
    sim.call(A, false, 12, &[HEAP + 0x21000], HEAP as i64 + 0x21000, 1);
    sim.fill(A, pages(HEAP, 1), 2, &mut memory);
    sim.fill(A, pages(HEAP + P, 4), 3, &mut memory);
    memory.segments.push(segment(HEAP..HEAP + 0x21000, "rw-p", "[heap]"));
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, HEAP),
        [short(2, "first-write", [1, 1, 1], 1), short(3, "first-write", [4, 4, 4], 4)]
    );
    assert_eq!(played.unexplained(100, HEAP), []);
    let heap = played.segment(100, HEAP);
    let mapped_by = heap.mapped_by.as_ref().unwrap();
    assert_eq!((mapped_by.call.as_str(), played.number(mapped_by.stack)), ("brk", 1));
    assert_eq!(heap.rss_bytes.after, 5 * P);
    let unwind = &played.findings.report.coverage.unwind;
    assert_eq!((unwind.complete, unwind.incomplete), (5, 0));
    assert_eq!(played.process(100).snapshot, SnapshotKind::AtExit);
    assert!(played.process(100).ended_ns.is_some());
}

#[test]
fn a_growth_of_the_heap_that_was_missed_takes_nothing_from_who_wrote_there() {
    let mut memory = Memory::default();
    let mut sim = Sim::running(&memory);
    let brk = |sim: &mut Sim, to: u64| sim.call(A, false, 12, &[to], to as i64, 1);
    brk(&mut sim, HEAP);
    brk(&mut sim, HEAP + 2 * P);
    sim.fill(A, pages(HEAP, 2), 2, &mut memory);
    // Nothing is known of the growth to four pages.
    sim.fill(A, pages(HEAP + 2 * P, 2), 3, &mut memory);
    brk(&mut sim, HEAP + 6 * P);
    sim.fill(A, pages(HEAP + 4 * P, 1), 4, &mut memory);
    memory.segments.push(segment(HEAP..HEAP + 6 * P, "rw-p", "[heap]"));
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.unexplained(100, HEAP), []);
    let paths = [2, 3].map(|stack| short(stack, "first-write", [2, 2, 2], 2));
    let [before, missed] = paths;
    let paths = [before, missed, short(4, "first-write", [1, 1, 1], 1)];
    assert_eq!(played.paths(100, HEAP), paths);
}

#[test]
fn interleaved_writers_own_what_they_wrote_and_readers_nothing() {
    let mut memory = Memory::of(&[(pages(MAP, 100), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 100), ANONYMOUS, 1);
    for page in 0..90 {
        let stack = if page % 3 == 0 { 2 } else { 3 };
        sim.fill(A, pages(MAP + page * P, 1), stack, &mut memory);
    }
    for page in 90..100 {
        sim.fault(A, MAP + page * P, READ, [0; 4], 4);
        memory.set(pages(MAP + page * P, 1), sim::Page { state: PageState::Zero, ..FILE });
    }
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "first-write", [30, 30, 30], 30), short(3, "first-write", [60, 60, 60], 60)]
    );
    assert_eq!(played.unexplained(100, MAP), []);
}

#[test]
fn stacks_of_the_same_addresses_are_one_whatever_their_names() {
    let mut memory = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 2), 2, &mut memory);
    for page in 2..4 {
        let hash = StackHash(0x1_0000 + page);
        let stack = Stack { hash, end: StackEnd::Complete, ips: vec![2, 0x1000] };
        sim.send(A, Body::Stack(stack));
        let own = |fault: &mut Fault| fault.stack = Some(hash);
        sim.fault_with(A, MAP + page * P, WRITE, [0, 1, 0, 0], 0, own);
    }
    memory.set(pages(MAP, 4), ANON);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "first-write", [4, 4, 4], 4)]);
    assert_eq!(played.findings.stacks.len(), 2);
}

#[test]
fn after_fifty_rounds_of_map_fill_and_unmap_only_the_survivor_is_resident() {
    let mut memory = Memory::of(&[(pages(MAP, 16), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    for _ in 0..50 {
        sim.mmap(A, pages(MAP, 16), ANONYMOUS, 1);
        sim.fill(A, pages(MAP, 16), 2, &mut memory);
        sim.munmap(A, pages(MAP, 16), 3);
        memory.clear(pages(MAP, 16));
    }
    sim.mmap(A, pages(MAP, 16), ANONYMOUS, 4);
    sim.fill(A, pages(MAP, 16), 5, &mut memory);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(5, "first-write", [16, 16, 16], 16)]);
    assert_eq!(played.gone(100), [(2, "first-write".to_owned(), 800, 50)]);
    assert_eq!(played.released(100), [(3, "munmap".to_owned(), 800)]);
    let mapped_by = played.segment(100, MAP).mapped_by.as_ref().unwrap();
    assert_eq!(played.number(mapped_by.stack), 4);
}

#[test]
fn dontneed_and_a_partial_refill() {
    let mut memory = Memory::of(&[(pages(MAP, 32), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 32), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 32), 2, &mut memory);
    sim.madvise(A, pages(MAP + 8 * P, 16), 4, 3);
    memory.clear(pages(MAP + 8 * P, 16));
    sim.fill(A, pages(MAP + 8 * P, 5), 4, &mut memory);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "first-write", [16, 16, 32], 32), short(4, "first-write", [5, 5, 5], 5)]
    );
    assert_eq!(played.released(100), [(3, "dontneed".to_owned(), 16)]);
}

#[test]
fn a_huge_page_is_counted_in_pages_and_not_in_faults() {
    let start = MAP + (2 << 20);
    let mut memory = Memory::of(&[(MAP..MAP + (6 << 20), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, MAP..MAP + (6 << 20), ANONYMOUS, 1);
    sim.fault(A, start + 0x1234, WRITE, [0, 512, 0, 0], 2);
    sim.fault(A, start + (2 << 20), WRITE, [0, 16, 0, 0], 3);
    memory.set(pages(start, 512 + 16), ANON);
    sim.madvise(A, pages(start, 12), 4, 4);
    memory.clear(pages(start, 12));
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "huge-page", [500, 500, 512], 1), short(3, "mthp", [16, 16, 16], 1)]
    );
}

#[test]
fn a_private_file_is_read_and_then_partly_written() {
    let mut memory = Memory::of(&[(pages(MAP, 16), "rw-p", "/data")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 16), PRIVATE_FILE, 1);
    sim.fault(A, MAP, READ, [16, 0, 0, 0], 2);
    memory.set(pages(MAP, 16), FILE);
    for page in 4..7 {
        sim.fault(A, MAP + page * P, PROTECTED, [-1, 1, 0, 0], 3);
    }
    memory.set(pages(MAP + 4 * P, 3), ANON);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "file-read", [13, 0, 16], 1), short(3, "file-cow", [3, 3, 3], 3)]
    );
    assert_eq!(played.unexplained(100, MAP), []);
}

#[test]
fn fault_around_of_two_paths_in_one_window_is_shared_out_by_count() {
    let mut memory = Memory::of(&[(pages(MAP, 16), "r--p", "/lib")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 16), PRIVATE_FILE, 1);
    // Pages 0, 3, 4, 5 are in the page cache at first, 8 to 10 later.
    sim.fault(A, MAP, READ, [4, 0, 0, 0], 2);
    sim.fault(A, MAP + 8 * P, READ, [3, 0, 0, 0], 3);
    for page in [0, 3, 4, 5, 8, 9, 10] {
        memory.set(pages(MAP + page * P, 1), FILE);
    }
    // A page that fault-around had brought is replaced by a private copy.
    sim.fault(A, MAP + 5 * P, PROTECTED, [-1, 1, 0, 0], 4);
    memory.set(pages(MAP + 5 * P, 1), ANON);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [
            short(2, "file-read", [3, 0, 4], 1),
            short(3, "file-read", [3, 0, 3], 1),
            short(4, "file-cow", [1, 1, 1], 1),
        ]
    );
    assert_eq!(played.unexplained(100, MAP), []);
}

#[test]
fn fault_around_reaches_into_the_next_block() {
    // The mapping starts 4 pages in front of a block's end, so its first window ends 12 pages
    // behind it.
    let start = MAP + 12 * P;
    let mut memory = Memory::of(&[(pages(start, 30), "r--p", "/lib")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(start, 30), PRIVATE_FILE, 1);
    let fault = |sim: &mut Sim, address, window: u32, stack| {
        let entry = Entry { huge: false, dirty: false, window: Some(window) };
        sim.fault_with(A, address, READ, [1, 0, 0, 0], stack, |fault| {
            fault.entry = Some(entry);
            fault.delta_inexact = true;
        });
    };
    // Of the window's rest, ten pages were in the page cache.
    fault(&mut sim, start + P, 0x03ff_f000, 2);
    fault(&mut sim, start + 14 * P, 0xffff, 3);
    memory.set(pages(start, 20), FILE);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, start),
        [short(2, "file-read", [14, 0, 14], 1), short(3, "file-read", [6, 0, 6], 1)]
    );
    assert_eq!(played.unexplained(100, start), []);
}

#[test]
fn a_child_that_rewrites_part_of_its_parents_memory() {
    let child = Who { pid: 200, tid: 200, mm: 0xb };
    let mut parent = Memory::of(&[(pages(MAP, 10), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 10), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 10), 2, &mut parent);
    sim.fork(A, child, 3, false);
    sim.snapshot(child, Moment::Forked, &parent);
    for page in 0..4 {
        sim.fault(child, MAP + page * P, PROTECTED, [0; 4], 4);
    }
    sim.fault(A, MAP + 9 * P, PROTECTED, [0; 4], 5);
    sim.exit(child, &parent);
    sim.exit(A, &parent);
    let played = sim.finish();
    assert_eq!(
        played.paths(200, MAP),
        [short(3, "fork-copy", [6, 6, 10], 0), short(4, "fork-cow", [4, 4, 4], 4)]
    );
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "first-write", [9, 9, 10], 10), short(5, "fork-cow", [1, 1, 1], 1)]
    );
    assert_eq!(played.process(200).parent_pid, 100);
    let mapped_by = played.segment(200, MAP).mapped_by.as_ref().unwrap();
    assert_eq!((mapped_by.call.as_str(), mapped_by.pid), ("fork", 100));
}

#[test]
fn pages_of_a_child_with_no_snapshot_at_its_birth_are_copies_too() {
    let child = Who { pid: 200, tid: 200, mm: 0xb };
    let mut memory = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 4), 2, &mut memory);
    sim.fork(A, child, 3, false);
    sim.exit(child, &memory);
    assert_eq!(sim.finish().paths(200, MAP), [short(3, "fork-copy", [4, 4, 4], 0)]);
}

#[test]
fn an_exec_in_the_middle_gives_the_old_program_up() {
    let new = Who { mm: 0xb, ..A };
    let mut old = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 4), 2, &mut old);
    // The kernel loads the new program before it tells of the exec.
    sim.fault_with(new, HEAP + 3 * P, WRITE, [0, 1, 0, 0], 9, |fault| {
        fault.kernel = true;
        fault.syscall = Some(59);
    });
    let mut memory = Memory::of(&[(pages(HEAP, 4), "rw-p", "/bin/new")]);
    memory.set(pages(HEAP, 1), FILE);
    memory.set(pages(HEAP + 3 * P, 1), ANON);
    sim.exec(new, &memory);
    sim.fault(new, HEAP + P, READ, [1, 0, 0, 0], 2);
    memory.set(pages(HEAP + P, 1), FILE);
    sim.exit(new, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, HEAP),
        [short(0, "exec", [2, 1, 2], 1), short(2, "file-read", [1, 0, 1], 1)]
    );
    assert_eq!(played.gone(100), [(2, "first-write".to_owned(), 4, 1)]);
    assert_eq!(played.released(100), [(0, "exec".to_owned(), 4)]);
    // The same hash in another program is another stack.
    let instances: Vec<_> = played.findings.stacks.iter().map(|s| (s.ips[0], s.instance)).collect();
    assert_eq!(instances.len(), 2);
    assert_ne!(instances[0].1, instances[1].1);
}

#[test]
fn mremap_moves_owners_with_their_pages() {
    let to = MAP + (1 << 30);
    let mut memory = Memory::of(&[(pages(to, 20), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 10), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 10), 2, &mut Memory::default());
    sim.mremap(A, pages(MAP, 10), 20 * P, 1, to as i64, 3);
    memory.set(pages(to, 10), ANON);
    sim.fill(A, pages(to + 10 * P, 2), 4, &mut memory);
    // A call that fails changes nothing.
    sim.mremap(A, pages(to, 20), 90 * P, 0, -12, 5);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, to),
        [short(2, "first-write", [10, 10, 10], 10), short(4, "first-write", [2, 2, 2], 2)]
    );
    let mapped_by = played.segment(100, to).mapped_by.as_ref().unwrap();
    assert_eq!((mapped_by.call.as_str(), played.number(mapped_by.stack)), ("mremap", 3));
    assert_eq!(played.gone(100), []);
}

#[test]
fn mremap_that_shrinks_gives_back_the_rest() {
    let mut memory = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 10), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 10), 2, &mut memory);
    sim.mremap(A, pages(MAP, 10), 4 * P, 0, MAP as i64, 3);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "first-write", [4, 4, 10], 10)]);
    assert_eq!(played.released(100), [(3, "mremap".to_owned(), 6)]);
}

#[test]
fn another_threads_new_mapping_in_the_old_place_is_not_moved_along() {
    let (to, other) = (MAP + (1 << 30), Who { tid: 101, ..A });
    let mut memory = Memory::of(&[(pages(MAP, 2), "rw-p", ""), (pages(to, 2), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 2), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 2), 2, &mut memory);
    let args = [MAP, 2 * P, 2 * P, 1];
    sim.call(A, true, 25, &args, 0, 3);
    sim.mmap(other, pages(MAP, 2), ANONYMOUS, 4);
    sim.fill(other, pages(MAP, 1), 5, &mut memory);
    sim.call(A, false, 25, &args, to as i64, 3);
    memory.clear(pages(MAP + P, 1));
    memory.set(pages(to, 2), ANON);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(5, "first-write", [1, 1, 1], 1)]);
    assert_eq!(played.paths(100, to), [short(2, "first-write", [2, 2, 2], 2)]);
}

#[test]
fn a_shared_file_is_clean_after_writeback_and_its_dirty_folios_have_reasons() {
    let dirty = sim::Page { dirty: true, folio_dirty: Some(true), ..FILE };
    let large = sim::Page { large: Some(true), ..dirty };
    let mut memory = Memory::of(&[(pages(MAP, 64), "rw-s", "/data")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 64), SHARED_FILE, 1);
    for page in 0..4 {
        sim.fault(A, MAP + page * P, WRITE, [1, 0, 0, 0], 2);
    }
    // Written back: pages 0 and 1; page 1 is written again.
    sim.fault(A, MAP + P, PROTECTED, [0; 4], 3);
    memory.set(pages(MAP, 4), dirty);
    memory.set(pages(MAP, 1), FILE);
    // A large folio of which one page was written, and a page that write(2) made dirty.
    sim.fault(A, MAP + 16 * P, READ, [16, 0, 0, 0], 4);
    sim.fault(A, MAP + 20 * P, PROTECTED, [0; 4], 5);
    memory.set(pages(MAP + 16 * P, 16), large);
    sim.fault(A, MAP + 40 * P, READ, [1, 0, 0, 0], 4);
    memory.set(pages(MAP + 40 * P, 1), dirty);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [
            short(2, "shared-write", [4, 2, 4], 4),
            short(3, "shared-write", [0, 1, 1], 1),
            short(4, "file-read", [17, 0, 17], 2),
            short(5, "shared-write", [0, 1, 1], 1),
        ]
    );
    assert_eq!(
        played.unexplained(100, MAP),
        [reason("page-cache-write", 0, 1), reason("large-folio", 0, 15)]
    );
}

#[test]
fn text_that_the_linker_just_wrote_is_dirty_by_the_page_cache() {
    let dirty = sim::Page { dirty: true, folio_dirty: Some(true), large: Some(true), ..FILE };
    let mut memory = Memory::of(&[(pages(MAP, 16), "r-xp", "/bin/fresh")]);
    let mut sim = Sim::running(&memory);
    sim.fault(A, MAP, READ, [16, 0, 0, 0], 2);
    memory.set(pages(MAP, 16), dirty);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "file-read", [16, 0, 16], 1)]);
    assert_eq!(played.unexplained(100, MAP), [reason("page-cache-write", 0, 16)]);
}

#[test]
fn shared_memory_that_is_read_and_then_written_silently() {
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-s", "/dev/zero (deleted)")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), SHARED_ANONYMOUS, 1);
    for page in 0..6 {
        sim.fault(A, MAP + page * P, READ, [0, 0, 0, 1], 2);
    }
    sim.fault(A, MAP + 6 * P, WRITE, [0, 0, 0, 1], 3);
    memory.set(pages(MAP, 7), FILE);
    memory.set(pages(MAP, 2), sim::Page { dirty: true, ..FILE });
    memory.set(pages(MAP + 6 * P, 1), sim::Page { dirty: true, folio_dirty: Some(true), ..FILE });
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "shared-memory", [6, 0, 6], 6), short(3, "shared-memory", [1, 1, 1], 1)]
    );
    assert_eq!(played.unexplained(100, MAP), [reason("shared-write-without-fault", 0, 2)]);
}

#[test]
fn memory_given_up_by_madv_free_is_clean_until_it_is_written_silently() {
    let mut memory = Memory::of(&[(pages(MAP, 10), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 10), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 10), 2, &mut memory);
    sim.madvise(A, pages(MAP, 6), 8, 3);
    memory.set(pages(MAP, 6), sim::Page { dirty: false, ..ANON });
    memory.set(pages(MAP, 2), ANON);
    // As smaps counts them: two of the six were written since.
    memory.segments[0].lazy_free = 4 * P;
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "first-write", [6, 4, 10], 10), short(3, "given-up", [4, 0, 4], 0)]
    );
    assert_eq!(played.unexplained(100, MAP), [reason("write-after-madv-free", 0, 2)]);
}

#[test]
fn what_was_given_up_and_taken_is_released_by_who_gave_it_up() {
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 8), 2, &mut memory);
    sim.madvise(A, pages(MAP, 8), 8, 3);
    // One comes again, five are gone at the end, two are still there.
    sim.fault(A, MAP, WRITE, [0, 1, 0, 0], 4);
    memory.clear(pages(MAP + P, 5));
    memory.set(pages(MAP + 6 * P, 2), sim::Page { dirty: false, ..ANON });
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "first-write", [2, 0, 8], 8), short(4, "first-write", [1, 1, 1], 1)]
    );
    assert_eq!(played.unexplained(100, MAP), []);
    assert_eq!(played.released(100), [(3, "free".to_owned(), 6)]);
}

#[test]
fn swap_in_by_a_read_is_clean_until_it_is_written_silently() {
    let mut memory = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 4), 2, &mut memory);
    sim.fault(A, MAP, READ, [0, 1, -1, 0], 3);
    sim.fault(A, MAP + P, READ, [0, 1, -1, 0], 3);
    sim.fault(A, MAP + 2 * P, WRITE, [0, 1, -1, 0], 3);
    memory.set(pages(MAP, 1), sim::Page { dirty: false, ..ANON });
    let swapped = sim::Page { state: PageState::Swapped, dirty: false, ..ANON };
    memory.set(pages(MAP + 3 * P, 1), swapped);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "first-write", [0, 0, 4], 4), short(3, "swap-in", [3, 1, 3], 3)]
    );
    assert_eq!(played.unexplained(100, MAP), [reason("write-after-swap-in", 0, 1)]);
}

#[test]
fn populated_memory_belongs_to_the_call_that_brought_it_in() {
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS | 0x8000, 1);
    memory.set(pages(MAP, 8), ANON);
    sim.call(A, false, 149, &[MAP, 8 * P], 0, 2);
    sim.madvise(A, pages(MAP, 2), 4, 3);
    memory.clear(pages(MAP, 2));
    sim.fill(A, pages(MAP, 1), 4, &mut memory);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(1, "populate", [6, 6, 6], 0), short(4, "first-write", [1, 1, 1], 1)]
    );
}

#[test]
fn direct_reads_belong_to_the_reader_and_other_access_without_fault_has_its_reason() {
    let other = MAP + (1 << 30);
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", ""), (pages(other, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    sim.mmap(A, pages(other, 8), ANONYMOUS, 1);
    sim.fault_with(A, MAP, WRITE, [0, 1, 0, 0], 2, |fault| {
        fault.kernel = true;
        fault.syscall = Some(0);
    });
    // A buffer of which the first page was touched before.
    sim.access(A, A, Some(0), &[(MAP, 6 * P)], 3);
    memory.set(pages(MAP, 1), ANON);
    memory.set(pages(MAP + 2 * P, 4), ANON);
    for _ in 0..3 {
        sim.access(A, A, Some(426), &[], 4);
    }
    let stranger = Who { pid: 7, tid: 7, mm: 0x7 };
    sim.access(stranger, A, Some(1), &[], 0);
    sim.access(stranger, A, Some(1), &[], 0);
    memory.set(pages(other, 5), ANON);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, MAP),
        [short(2, "kernel-write", [1, 1, 1], 1), short(3, "pinned", [4, 4, 4], 0)]
    );
    assert_eq!(played.unexplained(100, other), [reason("remote", 2, 2), reason("pinned", 3, 3)]);
}

#[test]
fn who_alone_had_access_with_no_address_is_the_owner_of_what_came() {
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    for _ in 0..3 {
        sim.access(A, A, Some(426), &[], 4);
    }
    memory.set(pages(MAP, 4), ANON);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(4, "pinned", [3, 3, 3], 0)]);
    assert_eq!(played.unexplained(100, MAP), [reason("unknown", 1, 1)], "one more than it brought");
}

#[test]
fn what_another_process_wrote_is_told_by_its_code_path() {
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    let child = Who { pid: 200, tid: 200, mm: 0xb };
    sim.fork(A, child, 1, false);
    sim.snapshot(child, Moment::Forked, &memory);
    sim.access(A, child, Some(311), &[(MAP + 8, P), (MAP + 4 * P, 8)], 5);
    memory.set(pages(MAP, 2), ANON);
    memory.set(pages(MAP + 4 * P, 1), ANON);
    sim.exit(child, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(200, MAP), [short(5, "remote-write", [3, 3, 3], 0)]);
    assert_eq!(played.unexplained(200, MAP), []);
}

#[test]
fn the_stack_grows_and_is_the_kernels_mapping() {
    let end = 0x7fff_0000_0000;
    let mut memory = Memory::of(&[(end - 4 * P..end, "rw-p", "[stack]")]);
    memory.set(pages(end - P, 1), ANON);
    let mut sim = Sim::running(&memory);
    sim.fill(A, pages(end - 2 * P, 1), 1, &mut memory);
    sim.fill(A, pages(end - 8 * P, 1), 2, &mut memory);
    memory.segments[0].start = end - 8 * P;
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, end - 8 * P),
        [
            short(0, "exec", [1, 1, 1], 0),
            short(1, "first-write", [1, 1, 1], 1),
            short(2, "stack-growth", [1, 1, 1], 1),
        ]
    );
    let mapped_by = played.segment(100, end - 8 * P).mapped_by.as_ref().unwrap();
    assert_eq!(mapped_by.call, report::MapCallKind::Stack);
}

#[test]
fn a_program_that_is_seen_before_its_turn_at_the_exec_is_the_same_one() {
    let new = Who { mm: 0xb, ..A };
    let mut sim = Sim::running(&Memory::default());
    let mut memory = Memory::of(&[(pages(HEAP, 4), "rw-p", "/bin/new")]);
    memory.set(pages(HEAP, 2), ANON);
    sim.send(new, Body::Exec { old_tid: new.tid });
    // Memory has risen elsewhere: all processes are looked at, also those that wait.
    sim.snapshot(new, Moment::Risen, &memory);
    sim.snapshot(new, Moment::Executed, &memory);
    sim.exit(new, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, HEAP), [short(0, "exec", [2, 2, 2], 0)]);
    assert_eq!(played.released(100), []);

    // Where the event of the next exec was lost, its snapshot stands for it.
    let mut sim = Sim::running(&Memory::default());
    sim.exec(new, &memory);
    sim.snapshot(new, Moment::Executed, &memory);
    sim.exit(new, &memory);
    assert_eq!(sim.finish().released(100), [(0, "exec".to_owned(), 2)]);
}

#[test]
fn forked_children_of_the_same_code_keep_equal_stacks_once() {
    let mut memory = Memory::default();
    let mut sim = Sim::new();
    sim.exec(A, &memory);
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    memory.segments.push(segment(pages(MAP, 8), "rw-p", ""));
    for number in 0..50 {
        let child = Who { pid: 200 + number, tid: 200 + number, mm: 0xb0 + u64::from(number) };
        sim.fork(A, child, 2, false);
        if number == 49 {
            // From now on its addresses may be other code.
            sim.call(child, false, 10, &[MAP + 4 * P, P, 5], 0, 3);
        }
        let mut own = memory.clone();
        sim.fill(child, pages(MAP, 2), 4, &mut own);
        sim.exit(child, &own);
    }
    sim.exit(A, &memory);
    let played = sim.finish();
    for pid in 200..250 {
        assert_eq!(played.paths(pid, MAP), [short(4, "first-write", [2, 2, 2], 2)]);
    }
    let fills = played.findings.stacks.iter().filter(|stack| stack.ips.first() == Some(&4));
    assert_eq!(fills.count(), 2, "one of 49 children, one of the child with other code");
}

#[test]
fn a_vfork_child_works_in_its_parents_memory_and_then_runs_its_own_program() {
    let (child, program) =
        (Who { pid: 200, tid: 200, mm: A.mm }, Who { pid: 200, tid: 200, mm: 0xc });
    let mut memory = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
    sim.fork(A, child, 2, true);
    sim.fill(child, pages(MAP, 2), 3, &mut memory);
    let mut own = Memory::of(&[(pages(HEAP, 4), "rw-p", "")]);
    own.set(pages(HEAP, 1), ANON);
    sim.exec(program, &own);
    sim.exit(program, &own);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(3, "first-write", [2, 2, 2], 2)]);
    assert_eq!(played.paths(200, HEAP), [short(0, "exec", [1, 1, 1], 0)]);
    assert_eq!(played.released(200), []);
    assert_eq!(played.released(100), []);
    assert_eq!((played.went_at_exit(200), played.went_at_exit(100)), (Some(1), Some(2)));
}

#[test]
fn what_was_there_before_tracing_is_said_to_be() {
    let mut memory = Memory::of(&[(pages(MAP, 10), "rw-p", "")]);
    memory.set(pages(MAP, 6), ANON);
    let mut sim = Sim::new();
    sim.snapshot(A, Moment::Start, &memory);
    sim.fill(A, pages(MAP + 6 * P, 2), 1, &mut memory);
    sim.snapshot(A, Moment::Live, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(1, "first-write", [2, 2, 2], 2)]);
    assert_eq!(played.unexplained(100, MAP), [reason("before-attach", 6, 6)]);
    let process = played.process(100);
    assert_eq!((process.rss_bytes.before, process.rss_bytes.after), (6 * P, 8 * P));
    assert_eq!(process.snapshot, SnapshotKind::Live);
    assert_eq!(process.ended_ns, None);
}

#[test]
fn what_lost_events_hide_is_said_to_be_lost() {
    let mut memory = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
    sim.lose_stack(A, 2);
    sim.fill(A, pages(MAP, 3), 2, &mut memory);
    memory.set(pages(MAP + 3 * P, 1), ANON);
    sim.session.apply(&Input::Lost(LOST));
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.unexplained(100, MAP), [reason("lost-events", 1, 1)]);
    // The path keeps its share, and says that its stack is lost.
    assert_eq!(played.paths(100, MAP), [short(u64::MAX, "first-write", [3, 3, 3], 3)]);
    let coverage = &played.findings.report.coverage;
    assert_eq!(coverage.unwind.reasons.get("lost"), Some(&3));
    assert_eq!(coverage.lost.events, 3);
}

#[test]
fn a_process_killed_between_snapshots_shows_its_last_or_none() {
    let mut memory = Memory::of(&[(pages(MAP, 40), "rw-p", "")]);
    for periodic in [0, 3] {
        let mut sim = Sim::running(&Memory::default());
        sim.mmap(A, pages(MAP, 40), ANONYMOUS, 1);
        memory.pages.clear();
        for round in 0..periodic {
            sim.fill(A, pages(MAP + round * 10 * P, 10), 2, &mut memory);
            sim.snapshot(A, Moment::Periodic, &memory);
        }
        sim.fill(A, pages(MAP + 30 * P, 10), 3, &mut memory);
        sim.send(A, Body::Exit { group_dead: true, code: 9 });
        // The counts of a session are told again and again, and must not cover this one.
        sim.session.apply(&Input::Lost(Losses::default()));
        let played = sim.finish();
        assert_eq!(played.findings.report.coverage.lost.snapshots, 1);
        let process = played.process(100);
        if periodic == 0 {
            assert_eq!(process.snapshot, SnapshotKind::None);
            assert_eq!(played.gone(100), [(3, "first-write".to_owned(), 10, 1)]);
        } else {
            assert_eq!(process.snapshot, SnapshotKind::LastPeriodic);
            assert_eq!(process.rss_bytes.after, 30 * P);
            assert_eq!(process.segments[0].pattern, Some(report::Pattern::Growing.into()));
        }
    }
}

#[test]
fn a_mapping_that_several_segments_show_shares_out_what_was_done_in_it() {
    let mut memory =
        Memory::of(&[(pages(MAP, 30), "rw-p", ""), (pages(MAP + 30 * P, 10), "r--p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 40), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 40), 2, &mut memory);
    sim.call(A, false, 10, &[MAP + 30 * P, 10 * P, 1], 0, 3);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP), [short(2, "first-write", [30, 30, 30], 30)]);
    assert_eq!(played.paths(100, MAP + 30 * P), [short(2, "first-write", [10, 10, 10], 10)]);
}

#[test]
fn without_a_page_map_the_rest_says_so() {
    let mut memory = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 4), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 2), 1, &mut memory);
    memory.set(pages(MAP, 3), ANON);
    let mut snapshot = memory.snapshot(100, Moment::AtExit, 999);
    snapshot.pages = None;
    sim.session.apply(&Input::Snapshot(snapshot));
    let played = sim.finish();
    assert_eq!(played.unexplained(100, MAP), [reason("no-page-map", 1, 1)]);
}

#[test]
fn the_kernels_name_of_an_address_space_is_used_again() {
    let mut sim = Sim::running(&Memory::default());
    for (pid, stack) in [(200, 2), (300, 3)] {
        let child = Who { pid, tid: pid, mm: 0xb };
        let mut memory = Memory::of(&[(pages(MAP, 4), "rw-p", "")]);
        sim.fork(A, child, 1, false);
        sim.snapshot(child, Moment::Forked, &Memory::default());
        sim.mmap(child, pages(MAP, 4), ANONYMOUS, stack);
        sim.fill(child, pages(MAP, 2), stack, &mut memory);
        sim.exit(child, &memory);
        sim.lose_stack(child, 3);
    }
    let played = sim.finish();
    assert_eq!(played.paths(200, MAP), [short(2, "first-write", [2, 2, 2], 2)]);
    assert_eq!(played.process(300).rss_bytes.after, 2 * P);
    assert_eq!(played.unexplained(300, MAP), []);
}

#[test]
fn a_traced_process_that_executes_another_program_begins_anew() {
    let mut memory = Memory::of(&[(pages(MAP, 2), "rw-p", "")]);
    memory.set(pages(MAP, 2), ANON);
    let mut sim = Sim::new();
    sim.snapshot(A, Moment::Start, &memory);
    // No event of the old program came, so its address space has no name yet.
    let new = Who { mm: 0xb, ..A };
    sim.fault_with(new, HEAP, WRITE, [0, 1, 0, 0], 2, |fault| fault.syscall = Some(59));
    sim.send(new, Body::Exec { old_tid: new.tid });
    let mut memory = Memory::of(&[(pages(HEAP, 2), "rw-p", "/bin/new")]);
    sim.fill(new, pages(HEAP + P, 1), 3, &mut memory);
    memory.set(pages(HEAP, 1), ANON);
    sim.snapshot(new, Moment::Live, &memory);
    let played = sim.finish();
    assert_eq!(
        played.paths(100, HEAP),
        [short(0, "exec", [1, 1, 1], 1), short(3, "first-write", [1, 1, 1], 1)]
    );
    assert_eq!(played.released(100), [(0, "exec".to_owned(), 2)]);
}

#[test]
fn an_address_space_that_nobody_announced_leaves_nothing() {
    let mut memory = Memory::of(&[(pages(MAP, 1), "rw-p", "")]);
    let mut sim = Sim::new();
    let rmaps_child = Who { mm: 0x99, ..A };
    sim.fill(rmaps_child, pages(HEAP, 5), 7, &mut Memory::default());
    sim.exec(A, &memory);
    sim.fill(A, pages(MAP, 1), 1, &mut memory);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!((played.gone(100), played.released(100)), (vec![], vec![]));
    assert_eq!(played.findings.stacks.len(), 1);
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64),
    Read(u64),
    Dontneed(u64, u64),
    Free(u64, u64),
    Remap(u64, u64),
    Move,
}

fn op() -> impl Strategy<Value = Op> {
    let range = || (0u64..64, 1u64..12);
    prop_oneof![
        10 => (0u64..64).prop_map(Op::Write),
        3 => (0u64..64).prop_map(Op::Read),
        2 => range().prop_map(|(a, n)| Op::Dontneed(a, n)),
        1 => range().prop_map(|(a, n)| Op::Free(a, n)),
        1 => range().prop_map(|(a, n)| Op::Remap(a, n)),
        1 => Just(Op::Move),
    ]
}

/// The same with calls that matter when others are lost.
#[derive(Clone, Debug)]
enum Losing {
    Op(Op),
    Fork,
    Populate(u64, u64),
}

fn losing_op() -> impl Strategy<Value = Losing> {
    prop_oneof![
        12 => op().prop_map(Losing::Op),
        1 => Just(Losing::Fork),
        1 => (0u64..64, 1u64..12).prop_map(|(a, n)| Losing::Populate(a, n)),
    ]
}

#[test]
fn claims_that_are_older_than_a_loss_are_no_claims() {
    let mut memory = Memory::of(&[(pages(MAP, 8), "rw-p", "")]);
    let mut sim = Sim::running(&Memory::default());
    sim.mmap(A, pages(MAP, 8), ANONYMOUS, 1);
    sim.fill(A, pages(MAP, 8), 2, &mut memory);
    sim.full = true;
    sim.madvise(A, pages(MAP, 4), 4, 3);
    sim.fill(A, pages(MAP, 4), 4, &mut memory);
    sim.full = false;
    // The call found room in the second ring.
    sim.missing_calls_were_spilled();
    sim.tell_missing();
    sim.fault(A, MAP, PROTECTED, [0; 4], 5);
    sim.exit(A, &memory);
    let played = sim.finish();
    assert_eq!(played.paths(100, MAP)[0], short(2, "first-write", [4, 4, 8], 8));
    assert_eq!(played.unexplained(100, MAP), [reason("lost-events", 4, 4)]);
}

proptest! {
    /// Whatever a program does with private memory, each path owns exactly what it wrote last.
    #[test]
    fn every_page_belongs_to_its_last_writer(ops in proptest::collection::vec((op(), 2u64..6), 0..120)) {
        let mut sim = Sim::running(&Memory::default());
        let (mut base, mut memory) = (MAP, Memory::default());
        sim.mmap(A, pages(base, 64), ANONYMOUS, 1);
        // Page: who wrote it, and whether the zero page stands there.
        let mut truth: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        let mut zero = std::collections::BTreeSet::new();
        for (op, stack) in ops {
            let clip = |at: u64, n: u64| at..(at + n).min(64);
            match op {
                Op::Write(page) if truth.contains_key(&page) => {
                    // No fault, but what MADV_FREE gave up is dirty again.
                }
                Op::Write(page) => {
                    let error = if zero.remove(&page) { PROTECTED } else { WRITE };
                    sim.fault(A, base + page * P, error, [0, 1, 0, 0], stack);
                    truth.insert(page, (stack, true));
                }
                Op::Read(page) => {
                    if !truth.contains_key(&page) && zero.insert(page) {
                        sim.fault(A, base + page * P, READ, [0; 4], stack);
                    }
                }
                Op::Dontneed(at, n) => {
                    let range = clip(at, n);
                    sim.madvise(A, pages(base + range.start * P, range.end - range.start), 4, stack);
                    truth.retain(|page, _| !range.contains(page));
                    zero.retain(|page| !range.contains(page));
                }
                Op::Free(at, n) => {
                    let range = clip(at, n);
                    sim.madvise(A, pages(base + range.start * P, range.end - range.start), 8, stack);
                    truth.range_mut(range).for_each(|(_, (_, dirty))| *dirty = false);
                }
                Op::Remap(at, n) => {
                    let range = clip(at, n);
                    let over = pages(base + range.start * P, range.end - range.start);
                    sim.mmap(A, over, ANONYMOUS | 0x10, stack);
                    truth.retain(|page, _| !range.contains(page));
                    zero.retain(|page| !range.contains(page));
                }
                Op::Move => {
                    let to = if base == MAP { MAP + (1 << 31) + P } else { MAP };
                    sim.mremap(A, pages(base, 64), 64 * P, 1, to as i64, stack);
                    base = to;
                }
            }
        }
        memory.segments.push(segment(pages(base, 64), "rw-p", ""));
        for (page, (_, dirty)) in &truth {
            memory.set(pages(base + page * P, 1), sim::Page { dirty: *dirty, ..ANON });
        }
        sim.exit(A, &memory);
        let played = sim.finish();
        prop_assert_eq!(played.unexplained(100, base), vec![]);
        let mut expected: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (stack, dirty) in truth.values() {
            let sum = expected.entry(*stack).or_default();
            sum.0 += 1;
            sum.1 += u64::from(*dirty);
        }
        let mut got: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (stack, _, rss, dirty, touched, _) in played.paths(100, base) {
            prop_assert!(touched >= rss);
            if rss > 0 {
                let sum = got.entry(stack).or_default();
                sum.0 += rss;
                sum.1 += dirty;
            }
        }
        prop_assert_eq!(got, expected);
    }

    /// Whatever is lost, nobody has a page that another wrote last: it is his, or said to be lost.
    #[test]
    fn what_is_lost_makes_nobody_own_what_is_not_his(
        ops in proptest::collection::vec((losing_op(), 2u64..6, 0u8..8), 0..120),
    ) {
        let mut sim = Sim::running(&Memory::default());
        sim.mmap(A, pages(MAP, 64), ANONYMOUS, 1);
        let (mut base, mut memory) = (MAP, Memory::default());
        // Page: who wrote it last, and whether a child has it too.
        let mut truth: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        let mut children = 0;
        for (op, stack, chance) in ops {
            sim.stack(A, stack);
            sim.full = chance < 3;
            if chance % 2 == 0 && !sim.full {
                sim.tell_missing();
            }
            let place = |at: u64, n: u64| (at..(at + n).min(64), pages(base + at * P, n.min(64 - at)));
            match op {
                Losing::Op(Op::Write(page)) => match truth.get_mut(&page) {
                    Some((owner, shared @ true)) => {
                        (*owner, *shared) = (stack, false);
                        sim.fault(A, base + page * P, PROTECTED, [0; 4], stack);
                    }
                    Some(_) => {}
                    None => {
                        truth.insert(page, (stack, false));
                        sim.fault(A, base + page * P, WRITE, [0, 1, 0, 0], stack);
                    }
                },
                Losing::Op(Op::Dontneed(at, n) | Op::Free(at, n)) => {
                    let (numbers, range) = place(at, n);
                    sim.madvise(A, range, 4, stack);
                    truth.retain(|page, _| !numbers.contains(page));
                }
                Losing::Op(Op::Remap(at, n)) => {
                    let (numbers, range) = place(at, n);
                    sim.munmap(A, range.clone(), stack);
                    sim.mmap(A, range, ANONYMOUS, stack);
                    truth.retain(|page, _| !numbers.contains(page));
                }
                Losing::Op(Op::Move) => {
                    let to = if base == MAP { MAP + (1 << 31) + P } else { MAP };
                    sim.mremap(A, pages(base, 64), 64 * P, 1, to as i64, stack);
                    base = to;
                }
                Losing::Op(Op::Read(_)) | Losing::Fork => {
                    children += 1;
                    let child = Who { pid: 200 + children, tid: 200 + children, mm: 0x100 + u64::from(children) };
                    sim.fork(A, child, stack, false);
                    truth.values_mut().for_each(|(_, shared)| *shared = true);
                }
                Losing::Populate(at, n) => {
                    let (numbers, range) = place(at, n);
                    for page in numbers {
                        truth.entry(page).or_insert((stack, false));
                    }
                    sim.call(A, false, 149, &[range.start, range.end - range.start], 0, stack);
                }
            }
        }
        sim.full = false;
        sim.tell_missing();
        memory.segments.push(segment(pages(base, 64), "rw-p", ""));
        for page in truth.keys() {
            memory.set(pages(base + page * P, 1), ANON);
        }
        sim.exit(A, &memory);
        let played = sim.finish();
        let mut theirs: BTreeMap<u64, u64> = BTreeMap::new();
        for (stack, _) in truth.values() {
            *theirs.entry(*stack).or_default() += 1;
        }
        let mut got: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (stack, _, rss, dirty, _, _) in played.paths(100, base) {
            let sum = got.entry(stack).or_default();
            (sum.0, sum.1) = (sum.0 + rss, sum.1 + dirty);
        }
        for (stack, (rss, dirty)) in &got {
            let most = theirs.get(stack).copied().unwrap_or(0);
            prop_assert!(*rss <= most && *dirty <= most, "{stack}: {rss}, {dirty} of {most}");
        }
        for (reason, _, _) in played.unexplained(100, base) {
            prop_assert_eq!(reason, "lost-events");
        }
    }

    /// Events of threads that touch pages of their own may come in any order.
    #[test]
    fn the_order_of_events_of_different_threads_does_not_matter(
        faults in proptest::collection::vec((0u64..4, 0u64..50), 1..100),
        order in proptest::collection::vec(any::<u32>(), 100),
    ) {
        let play = |order: &[usize]| {
            let mut sim = Sim::running(&Memory::default());
            sim.mmap(A, pages(MAP, 200), ANONYMOUS, 1);
            for thread in 0..4u32 {
                let who = Who { tid: 100 + thread, ..A };
                sim.stack(who, 2 + u64::from(thread));
            }
            let mut memory = Memory::of(&[(pages(MAP, 200), "rw-p", "")]);
            for at in order {
                let (thread, page) = faults[*at];
                let address = MAP + (thread * 50 + page) * P;
                sim.session.apply(&Input::Event(Event {
                    time_ns: 1000 + *at as u64,
                    pid: A.pid,
                    tid: 100 + thread as u32,
                    mm: MmId(A.mm),
                    body: Body::Fault(Fault {
                        address,
                        kernel: false,
                        major: false,
                        access: Some(crate::trace::Access {
                            present: false,
                            write: true,
                            instruction: false,
                        }),
                        delta: crate::trace::Delta { anon: Some(1), ..Default::default() },
                        delta_inexact: false,
                        entry: None,
                        same_page: None,
                        rewrite: None,
                        syscall: None,
                        stack: Some(StackHash(2 + thread)),
                    }),
                }));
                memory.set(pages(address, 1), ANON);
            }
            sim.time = 5000;
            sim.exit(A, &memory);
            let mut report = sim.finish().findings.report;
            // When its last page came is a matter of the order: the moment of the peak alone.
            if let Some(peak) = &mut report.session.peak {
                peak.at_ns = 0;
            }
            report
        };
        let in_order: Vec<usize> = (0..faults.len()).collect();
        let mut shuffled = in_order.clone();
        shuffled.sort_by_key(|at| (order[*at], *at));
        prop_assert_eq!(play(&in_order), play(&shuffled));
    }

    /// Whatever events and snapshots come, the parts add up to the whole, and nothing panics.
    #[test]
    fn the_identity_holds_for_nonsense(
        steps in proptest::collection::vec((0u8..14, 0u64..40, 0u64..20, any::<u8>(), -3i32..20), 0..60),
        shown in proptest::collection::vec((0u64..48, 0u8..10), 0..40),
        lost in any::<bool>(),
        skew in proptest::collection::vec(-5i64..6, 4),
    ) {
        let mut sim = Sim::new();
        nonsense(&mut sim, &steps, &shown, lost, &skew);
        sim.finish();
    }
}

/// One step of [`nonsense`].
pub(super) type Step = (u8, u64, u64, u8, i32);

/// Events and snapshots that fit or do not fit together. `shown`: pages and what they are; `skew`:
/// pages by which the last smaps differs from the page map.
pub(super) fn nonsense(
    sim: &mut Sim,
    steps: &[Step],
    shown: &[(u64, u8)],
    lost: bool,
    skew: &[i64],
) {
    let mut memory = Memory::of(&[
        (pages(MAP, 16), "rw-p", "/data"),
        (pages(MAP + 16 * P, 16), "rw-s", "/shared"),
        (pages(MAP + 40 * P, 8), "rw-p", "[stack]"),
    ]);
    for &(page, kind) in shown {
        let page = pages(MAP + page * P, 1);
        let flag = [None, Some(false), Some(true)][usize::from(kind % 3)];
        let state = [PageState::Anonymous, PageState::File, PageState::Zero, PageState::Swapped];
        memory.set(
            page,
            sim::Page {
                state: state[usize::from(kind % 4)],
                dirty: kind % 2 == 0,
                folio_dirty: flag,
                large: flag,
                huge: kind == 8,
            },
        );
    }
    if lost {
        sim.session.apply(&Input::Lost(LOST));
    }
    let child = Who { pid: 200, tid: 200, mm: 0xb };
    for &(step, at, n, bits, delta) in steps {
        let who = if bits % 5 == 0 { child } else { A };
        let (address, stack) = (MAP + at * P, u64::from(bits % 4));
        let deltas = [
            delta * i32::from(bits & 1),
            delta * i32::from(bits >> 1 & 1),
            -i32::from(bits >> 2 & 1),
            i32::from(bits >> 3 & 1),
        ];
        match step {
            0..=3 => sim.fault_with(who, address, u32::from(bits & 7), deltas, stack, |f| {
                f.delta_inexact = bits & 16 != 0;
                f.kernel = bits & 32 != 0;
                if bits & 64 != 0 {
                    f.access = None;
                }
                if bits & 128 != 0 {
                    f.syscall = Some(i64::from(bits));
                }
            }),
            4 => sim.mmap(who, pages(address, n), u64::from(bits) | 0x10, stack),
            5 => sim.munmap(who, pages(address, n), stack),
            6 => sim.madvise(who, pages(address, n), u64::from(bits % 26), stack),
            7 => sim.mremap(
                who,
                pages(address, n),
                u64::from(bits % 32) * P,
                u64::from(bits % 8),
                if bits > 200 { -12 } else { (MAP + u64::from(bits) * P) as i64 },
                stack,
            ),
            8 => sim.call(who, bits % 2 == 0, 12, &[address], address as i64, stack),
            9 => sim.fork(A, child, stack, bits % 2 == 0),
            10 => sim.exec(who, &memory),
            11 => {
                let of = if bits & 4 == 0 { A } else { child };
                let ranges = [(address, n * P), (u64::from(bits), u64::MAX >> (bits % 64))];
                let syscall = (bits % 2 == 0).then_some(i64::from(bits));
                sim.access(who, of, syscall, &ranges[..usize::from(bits % 3)], stack);
            }
            12 => sim.snapshot(who, Moment::Periodic, &memory),
            _ => sim.snapshot(who, Moment::Start, &memory),
        }
    }
    let mut last = memory.snapshot(A.pid, Moment::AtExit, 1 << 40);
    for (segment, by) in last.segments.iter_mut().zip(skew) {
        segment.rss = segment.rss.saturating_add_signed(by * P as i64);
        segment.dirty = segment.dirty.saturating_add_signed(-by * P as i64);
    }
    sim.session.apply(&Input::Snapshot(last));
}
