//! What of the allocators' memory is free, and who touched it first.
//!
//! Comes in: the parts of a report whose heaps were read. Goes out: [`Held`]: sums over all segments
//! with a heap, and the same by owner. And, where no heap was read, how much of a report is such
//! memory, whose pages the allocator may have handed on.

use crate::report::heap::HeapState;
use crate::report::{Kind, Segment};

use super::group::By;
use super::part::Parts;

/// The heaps of a report. Sizes are resident bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// All of it.
    pub resident: u64,
    /// What is free.
    pub free: u64,
    /// What of that lies within pages that trimming would leave.
    pub within: u64,
    /// What `malloc_trim(0)` would return; `None` where that cannot be said of some process.
    pub trim: Option<u64>,
    /// Bytes of chunks that programs hold.
    pub live: u64,
    /// The worst state.
    pub state: HeapState,
    /// Who touched those pages first, the one with most free bytes first.
    pub touchers: Vec<Toucher>,
}

/// An owner's pages in heaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toucher {
    /// The owner. Not safe to print as is.
    pub name: String,
    /// Resident bytes that it touched first.
    pub resident: u64,
    /// What of that is free.
    pub free: u64,
}

/// What the heaps hold; `None` where none was read.
#[must_use]
pub fn held(parts: &Parts<'_>) -> Option<Held> {
    let processes = &parts.report.processes;
    let heaps = || {
        let segments = processes.iter().flat_map(|process| &process.segments);
        segments.filter_map(|segment| segment.heap.as_ref())
    };
    let state = heaps().map(|heap| heap.state).max()?;
    let sums = || heaps().filter_map(|heap| heap.sums);
    let with_heap =
        processes.iter().filter(|process| process.segments.iter().any(|s| s.heap.is_some()));
    let chosen: Vec<usize> =
        (0..parts.all.len()).filter(|at| parts.all[*at].segment.heap.is_some()).collect();
    let mut touchers: Vec<Toucher> = parts
        .group(chosen, &[By::Owner])
        .into_iter()
        .filter(|group| !group.label.residual)
        .map(|group| {
            let of = group.parts.iter().filter_map(|at| parts.all.get(*at));
            Toucher {
                name: group.label.name.clone(),
                resident: u64::try_from(group.bytes.rss).unwrap_or(0),
                free: of.filter_map(|part| part.retained).sum(),
            }
        })
        .filter(|toucher| toucher.free > 0)
        .collect();
    touchers.sort_by(|a, b| b.free.cmp(&a.free).then_with(|| a.name.cmp(&b.name)));
    Some(Held {
        resident: heaps().filter(|heap| heap.sums.is_some()).map(|h| h.resident_bytes).sum(),
        free: sums().map(|sums| sums.free_resident()).sum(),
        within: sums().map(|sums| sums.free_within_bytes).sum(),
        trim: with_heap.map(|process| process.trim_would_return_bytes).sum(),
        live: sums().map(|sums| sums.live_bytes).sum(),
        state,
        touchers,
    })
}

/// Whether an allocator hands out the segment's memory, again and again.
#[must_use]
pub fn is_allocators(segment: &Segment) -> bool {
    segment.kind.is_some_and(|kind| match kind {
        Kind::Heap
        | Kind::MallocArena
        | Kind::Pymalloc
        | Kind::JavaHeap
        | Kind::GoArena
        | Kind::V8Space => true,
        Kind::Stack
        | Kind::ThreadStack
        | Kind::MallocBlock
        | Kind::JitCode
        | Kind::Anonymous
        | Kind::NoAccess
        | Kind::Bss
        | Kind::FileCode
        | Kind::FileReadOnly
        | Kind::Relro
        | Kind::FileData
        | Kind::FileShared
        | Kind::SharedMemory
        | Kind::Memfd
        | Kind::Huge
        | Kind::Vdso
        | Kind::Device => false,
    })
}

/// Resident bytes of allocators' memory, if they are a tenth of all or more.
#[must_use]
pub fn handed_on(parts: &Parts<'_>) -> Option<i128> {
    let of = parts.all.iter().filter(|part| part.attributed && is_allocators(part.segment));
    let bytes: i128 = of.map(|part| part.bytes.rss).sum();
    (bytes > 0 && bytes.saturating_mul(10) >= parts.total().rss).then_some(bytes)
}
