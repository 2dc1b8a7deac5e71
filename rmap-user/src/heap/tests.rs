//! The walk on a heap that is made up: every sum is known, and so is what is wrong with it.

use std::ops::Range;

use proptest::prelude::*;

use super::{Memory, gather};
use crate::trace::{
    Heap, HeapState, HeapSums, Moment, PageKind, PageRun, PageState, Segment, Snapshot, Thread,
};

const DATA: u64 = 0x7f00_0000_0000;
const BASE: u64 = DATA + 0x100;
const BINS: u64 = BASE + 112;
const HEAP: u64 = 0x5600_0000_0000;

/// Two pieces of memory: the data of a libc, and the program's heap.
struct Made {
    data: Vec<u8>,
    heap: Vec<u8>,
    /// Pages of the heap that are not there.
    absent: Range<u64>,
}

impl Made {
    /// An arena of no free chunks, whose heap is all top.
    fn new(pages: u64) -> Self {
        let mut made =
            Self { data: vec![0; 8192], heap: vec![0; (pages * 4096) as usize], absent: 0..0 };
        for bin in 0..127 {
            let head = BINS + bin * 16 - 16;
            made.set(BINS + bin * 16, head);
            made.set(BINS + bin * 16 + 8, head);
        }
        made.set(BINS + 2048, BASE);
        made.set(BINS + 2072, pages * 4096);
        made.top(HEAP, true);
        made
    }

    fn set(&mut self, at: u64, value: u64) {
        let (bytes, base) =
            if at >= DATA { (&mut self.data, DATA) } else { (&mut self.heap, HEAP) };
        let place = (at - base) as usize;
        bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn top(&mut self, at: u64, before_in_use: bool) {
        self.set(BINS - 16, at);
        let size = HEAP + self.heap.len() as u64 - at;
        self.set(at + 8, size | u64::from(before_in_use));
    }

    /// Chunks one behind the other, and top behind them: sizes, and whether they are in use.
    fn chunks(&mut self, chunks: &[(u64, bool)]) -> Vec<u64> {
        let (mut at, mut before) = (HEAP, (0, true));
        let mut places = Vec::new();
        for (size, in_use) in chunks {
            self.set(at, if before.1 { 0 } else { before.0 });
            self.set(at + 8, size | u64::from(before.1));
            places.push(at);
            at += size;
            before = (*size, *in_use);
        }
        self.top(at, before.1);
        self.set(at, if before.1 { 0 } else { before.0 });
        places
    }

    /// Puts a free chunk into a bin of its own.
    fn link(&mut self, bin: u64, chunk: u64) {
        let head = BINS + bin * 16 - 16;
        self.set(BINS + bin * 16, chunk);
        self.set(BINS + bin * 16 + 8, chunk);
        self.set(chunk + 16, head);
        self.set(chunk + 24, head);
    }

    fn snapshot(&self) -> Snapshot {
        let segment = |start: u64, bytes: &[u8], name: &str| Segment {
            start,
            end: start + bytes.len() as u64,
            perms: "rw-p".into(),
            name: name.into(),
            inode: u64::from(name.starts_with('/')),
            rss: bytes.len() as u64,
            ..Segment::default()
        };
        let segments = vec![
            segment(HEAP, &self.heap, "[heap]"),
            segment(DATA, &self.data, "/usr/lib/libc.so.6"),
        ];
        let kind = PageKind {
            state: PageState::Anonymous,
            huge: false,
            folio_dirty: None,
            large_folio: None,
            entry_dirty: None,
        };
        let runs = segments.iter().flat_map(|segment| {
            let cut = self.absent.clone();
            let (start, end) = (segment.start, segment.end);
            if cut.is_empty() || !(start..end).contains(&cut.start) {
                return Vec::from_iter(Some(start..end));
            }
            vec![start..cut.start, cut.end..end]
        });
        let pages = runs.filter(|r| !r.is_empty()).map(|range| PageRun { range, kind }).collect();
        let threads = vec![Thread { tid: 1, name: String::new(), stack_pointer: None }];
        Snapshot {
            time_ns: 1,
            pid: 1,
            moment: Moment::Start,
            segments,
            pages: Some(pages),
            folios: Vec::new(),
            threads,
            peak_rss: 0,
        }
    }

    fn walk(&mut self) -> Heap {
        let snapshot = self.snapshot();
        gather(&snapshot, self, &mut || false).finish(&snapshot)
    }
}

impl Memory for Made {
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> usize {
        let (bytes, base) = if at >= DATA { (&self.data, DATA) } else { (&self.heap, HEAP) };
        let from = (at.saturating_sub(base) as usize).min(bytes.len());
        let mut many = (bytes.len() - from).min(buffer.len());
        if self.absent.contains(&at) {
            return 0;
        }
        if at < self.absent.start {
            many = many.min((self.absent.start - at) as usize);
        }
        buffer[..many].copy_from_slice(&bytes[from..from + many]);
        many
    }
}

const PROTECT: fn(u64, u64) -> u64 = |chunk, to| ((chunk + 16) >> 12) ^ to;

/// A thread's cache, one live chunk, one in a fastbin, one in the cache, one of three pages in a bin.
fn usual() -> (Made, Vec<u64>) {
    let mut made = Made::new(16);
    let sizes =
        [(0x290, true), (0x100, true), (0x40, true), (0x50, true), (0x4000, false), (0x20, true)];
    let chunks = made.chunks(&sizes);
    made.link(80, chunks[4]);
    made.set(BINS - 96 + 16, chunks[2]);
    made.set(chunks[2] + 16, PROTECT(chunks[2], 0));
    // A cached chunk of 0x50 bytes is the fourth size; one is there.
    made.set(chunks[0] + 16, 1 << 48);
    let cached_from = chunks[0] + 16 + 128 + 3 * 8;
    made.set(cached_from, chunks[3] + 16);
    made.set(chunks[3] + 16, PROTECT(chunks[3], 0));
    (made, chunks)
}

#[test]
fn a_sound_heap_is_consistent_and_every_byte_is_counted() {
    let (mut made, chunks) = usual();
    let heap = made.walk();
    assert_eq!(heap.state(), Some(HeapState::Consistent), "{heap:#?}");
    let sums = heap.parts[0].sums;
    let top = 16 * 4096 - (chunks[5] + 0x20 - HEAP);
    assert_eq!((sums.live, sums.thread_cache), (0x290 + 0x100 + 0x20, 0x50));
    assert_eq!((sums.fastbin, sums.free, sums.top), (0x40, 0x4000, top));
    assert_eq!(sums.chunks, 6);
    // The free chunk begins in the first page and ends in the fifth.
    assert_eq!(heap.trim[0], HEAP + 4096..HEAP + 4 * 4096);
    assert_eq!(heap.trim[1], HEAP + 5 * 4096..HEAP + 16 * 4096);
    assert_eq!(sums.whole_free_resident, 14 * 4096);
    let free: u64 = heap
        .free
        .iter()
        .map(|run| (run.range.end - run.range.start) / 4096 * u64::from(run.free))
        .sum();
    assert_eq!(free, sums.whole_free_resident + sums.free_within);
}

#[test]
fn one_chunk_on_its_way_is_said_and_more_are_never_consistent() {
    let (mut made, _) = usual();
    let head = BINS + 80 * 16 - 16;
    made.set(BINS + 80 * 16, head);
    assert_eq!(made.walk().state(), Some(HeapState::InFlight));

    let mut made = Made::new(4);
    let chunks = [(0x100, false), (0x20, true), (0x100, false), (0x20, true)];
    made.chunks(&chunks);
    assert_eq!(made.walk().state(), Some(HeapState::Changing));
}

#[test]
fn a_corrupt_header_leaves_no_sums() {
    let (mut made, chunks) = usual();
    made.set(chunks[3] + 8, 0x1239);
    let heap = made.walk();
    assert_eq!(heap.state(), Some(HeapState::Inconsistent));
    assert_eq!(
        (heap.parts[0].sums, heap.parts[0].stopped_at),
        (HeapSums::default(), Some(chunks[3]))
    );
    assert!(heap.trim.is_empty() && heap.free.is_empty());
}

#[test]
fn what_is_not_resident_is_not_read_and_the_part_is_marked() {
    let (mut made, chunks) = usual();
    made.absent = HEAP + 4 * 4096..HEAP + 5 * 4096;
    let heap = made.walk();
    assert_eq!(heap.state(), Some(HeapState::PartlyWalked));
    assert_eq!(heap.parts[0].stopped_at, Some(chunks[5]));
}

#[test]
fn memory_that_somebody_else_took_ends_the_walk() {
    let mut made = Made::new(8);
    // What malloc leaves where the program break was moved behind its back.
    let chunks = made.chunks(&[(0x100, true), (0x10, true), (0x10, true), (0x1000, true)]);
    let heap = made.walk();
    assert_eq!(heap.state(), Some(HeapState::PartlyWalked));
    assert_eq!(heap.parts[0].stopped_at, Some(chunks[1]));
}

#[test]
fn time_that_is_over_ends_the_walk() {
    let (mut made, _) = usual();
    let snapshot = made.snapshot();
    let mut looks = 0;
    let mut late = || {
        looks += 1;
        looks > 3
    };
    let heap = gather(&snapshot, &mut made, &mut late).finish(&snapshot);
    assert_eq!(heap.state(), Some(HeapState::PartlyWalked));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_words_in_a_heap_are_borne(
        words in proptest::collection::vec((0_u64..512, any::<u64>()), 0..60),
        sizes in proptest::collection::vec((0_u64..512, 0_u64..0x4000), 0..20),
    ) {
        let (mut made, _) = usual();
        for (place, word) in words {
            made.set(HEAP + place * 8, word);
        }
        for (place, word) in sizes {
            made.set(HEAP + place * 8, word);
            made.set(DATA + place * 8, HEAP + word * 4);
        }
        let heap = made.walk();
        for part in heap.parts.iter().filter(|part| part.state == HeapState::Consistent) {
            let s = part.sums;
            let all = s.live + s.thread_cache + s.fastbin + s.free + s.top;
            prop_assert_eq!(all, part.range.end - part.range.start);
        }
    }
}
