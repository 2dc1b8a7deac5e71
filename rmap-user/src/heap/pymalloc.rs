//! CPython's allocator of small objects: pools in arenas.
//!
//! Comes in: a snapshot and memory of a process that has CPython's code mapped. Goes out: [`Pools`],
//! one for each segment that holds pools. A pool begins with a header of 48 bytes that says how large
//! its blocks are and how many are in use; free ones are in a list inside of it (CPython
//! `Objects/obmalloc.c`, `struct pool_header`; pools are 16 KiB since 3.10 and 4 KiB before). The list
//! is followed, so that it is known which bytes are free, and held against the number.

use std::ops::Range;

use super::Memory;
use super::bits::{Bits, GRAIN};
use super::resident::Resident;
use super::window::{Window, word};
use crate::trace::{Allocator, FreeRun, Heap, HeapPart, HeapState, HeapSums, Segment, Snapshot};

const PAGE: u64 = 4096;
const HEADER: u64 = 48;
const POOL_SIZES: [u64; 2] = [16 << 10, 4 << 10];
/// Sizes of blocks: 16, 32, … 512 bytes.
const CLASSES: u32 = 32;
/// Fewer pools may be a likeness.
const ENOUGH: u64 = 4;

/// What a segment's pools hold.
#[derive(Debug)]
pub struct Pools {
    range: Range<u64>,
    live: u64,
    blocks: u64,
    bits: Bits,
    /// Pools whose list and number of free blocks differ.
    odd: u64,
    pools: Vec<Range<u64>>,
    stopped_at: Option<u64>,
}

/// A pool's header.
struct Header {
    used: u64,
    first_free: u64,
    block: u64,
    /// Blocks behind it were never used.
    next: u64,
}

/// The pools of a process.
pub fn find(
    snapshot: &Snapshot,
    resident: &Resident,
    memory: &mut dyn Memory,
    late: &mut dyn FnMut() -> bool,
) -> Vec<Pools> {
    if !snapshot.segments.iter().any(is_python) {
        return Vec::new();
    }
    let anonymous = |segment: &&Segment| {
        let named = segment.name.is_empty() || segment.name.starts_with("[anon:cpython:pymalloc");
        segment.is_private() && segment.is_writable() && named && segment.size() >= 256 << 10
    };
    let mut found = Vec::new();
    for segment in snapshot.segments.iter().filter(anonymous) {
        for size in POOL_SIZES {
            let mut pools = Pools::new(segment);
            let window = Window::new(memory, segment.end, late);
            pools.walk(segment, size, resident, window);
            if pools.pools.len() as u64 >= ENOUGH {
                found.push(pools);
                break;
            }
        }
    }
    found
}

/// CPython's own file, by its name.
fn is_python(segment: &Segment) -> bool {
    let file = segment.name.rsplit('/').next().unwrap_or_default();
    segment.has_file() && (file.starts_with("python3") || file.starts_with("libpython3"))
}

impl Pools {
    fn new(segment: &Segment) -> Self {
        Self {
            range: segment.start..segment.start,
            live: 0,
            blocks: 0,
            bits: Bits::default(),
            odd: 0,
            pools: Vec::new(),
            stopped_at: None,
        }
    }

    fn walk(&mut self, segment: &Segment, size: u64, resident: &Resident, mut window: Window<'_>) {
        let mut done = segment.start;
        for range in resident.within(segment.start..segment.end) {
            let mut at = range.start.max(done).next_multiple_of(size);
            while at < range.end && at + size <= segment.end {
                let header = window.get(at, HEADER).and_then(|bytes| header(bytes, at, size));
                if let Some(header) = header {
                    // The last block that was handed out may not have been touched to its end.
                    let there = resident.end_of(at).unwrap_or(at) - at;
                    self.pool(at, size, (&header, there), &mut window);
                }
                if window.is_late {
                    self.stopped_at = Some(at);
                    return;
                }
                at += size;
                done = at;
            }
        }
    }

    /// Follows the list of a pool's free blocks. `there`: so many bytes of it are resident.
    fn pool(
        &mut self,
        at: u64,
        size: u64,
        (header, there): (&Header, u64),
        window: &mut Window<'_>,
    ) {
        let room = (size - HEADER) / header.block * header.block;
        let pool = at..at + size;
        if self.pools.is_empty() {
            self.range.start = at;
        }
        self.range.end = pool.end;
        self.pools.push(pool.clone());
        if header.used == 0 {
            self.bits.mark(&(at + HEADER..at + HEADER + room));
            return;
        }
        let handed_out = (header.next - HEADER) / header.block;
        let Some(bytes) = window.get(at, header.next.min(there)) else {
            // A page of it is in swap.
            self.stopped_at = self.stopped_at.or(Some(at));
            self.live += header.used * header.block;
            self.blocks += header.used;
            return;
        };
        let mut free = 0;
        let mut block = header.first_free;
        while block != 0 && free <= handed_out {
            let Some(place) = block.checked_sub(at).filter(|place| {
                *place >= HEADER
                    && *place < header.next
                    && (place - HEADER).is_multiple_of(header.block)
            }) else {
                break;
            };
            self.bits.mark(&(block..block + header.block));
            free += 1;
            let Some(next) = word(bytes, place as usize) else {
                self.stopped_at = self.stopped_at.or(Some(block));
                break;
            };
            block = next;
        }
        self.bits.mark(&(at + header.next..at + HEADER + room));
        self.live += header.used * header.block;
        self.blocks += header.used;
        self.odd += (free + header.used).abs_diff(handed_out).min(1);
    }

    /// Adds what was found to a heap. `threads`: so many pools may be changing.
    pub fn add(self, heap: &mut Heap, resident: &Resident, threads: u64) {
        let state = match (self.stopped_at, self.odd) {
            (Some(_), _) => HeapState::PartlyWalked,
            (None, 0) => HeapState::Consistent,
            (None, odd) if odd <= threads => HeapState::InFlight,
            (None, _) => HeapState::Changing,
        };
        let mut sums = HeapSums { live: self.live, chunks: self.blocks, ..HeapSums::default() };
        let mut all = 0;
        for pool in &self.pools {
            for run in resident.within(pool.clone()) {
                all += run.end - run.start;
                for page in (run.start..run.end).step_by(PAGE as usize) {
                    let free = self.bits.in_page(page);
                    if free > 0 {
                        sums.partly_free_resident += PAGE;
                        sums.free_within += free;
                        heap.free.push(FreeRun { range: page..page + PAGE, free: free as u32 });
                    }
                }
            }
        }
        sums.free = self.bits.runs().iter().map(|run| run.end - run.start).sum();
        heap.parts.push(HeapPart {
            allocator: Allocator::Pymalloc,
            range: self.range,
            arena: 0,
            state,
            stopped_at: self.stopped_at,
            resident: all,
            sums,
        });
    }
}

/// The header at a pool's address, if it is one.
fn header(bytes: &[u8], at: u64, size: u64) -> Option<Header> {
    let half =
        |place: usize| word(bytes, place / 8 * 8).map(|word| (word >> (place % 8 * 8)) as u32);
    let (used, class, next, last) = (half(0)?, half(36)?, half(40)?, half(44)?);
    let (first_free, after, before) = (word(bytes, 8)?, word(bytes, 16)?, word(bytes, 24)?);
    if class >= CLASSES {
        return None;
    }
    let block = u64::from(class + 1) * GRAIN;
    let (used, next) = (u64::from(used), u64::from(next));
    let user = |address: u64| address == 0 || (address >> 47 == 0 && address > PAGE);
    let sound = u64::from(last) == size - block
        && next >= HEADER + block
        && next <= size
        && (next - HEADER).is_multiple_of(block)
        && used <= (next - HEADER) / block
        && (first_free == 0 || (at + HEADER..at + size).contains(&first_free))
        && user(after)
        && user(before);
    sound.then_some(Header { used, first_free, block, next })
}
