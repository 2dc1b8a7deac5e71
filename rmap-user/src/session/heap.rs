//! Heaps as the report shows them: parts of arenas become parts of segments.
//!
//! Comes in: what the walk found. Goes out: the report's types.

use crate::report::heap::{
    HEAP_SCHEMA, HeapBytes, HeapReport, HeapSegment, HeapState, OtherAllocator, SegmentHeap,
};
use crate::report::{Address, Host};
use crate::trace::{Allocator, Heap, HeapPart, ProcessFacts, Segment, Snapshot};

/// Allocators by their modules: how the file's name begins, the name, and who knows what is live.
const OTHERS: &[(&str, &str, &str)] = &[
    ("libjemalloc", "jemalloc", "MALLOC_CONF=stats_print:true, mallctl(\"stats.allocated\")"),
    ("libtcmalloc", "tcmalloc", "MALLOCSTATS=1, MallocExtension::GetStats"),
    ("libmimalloc", "mimalloc", "MIMALLOC_SHOW_STATS=1, mi_stats_print"),
    ("libjvm.so", "the Java virtual machine", "jcmd PID GC.heap_info, VM.native_memory"),
    ("libmozjemalloc", "mozjemalloc", "about:memory"),
];

fn bytes(part: &HeapPart) -> HeapBytes {
    let sums = part.sums;
    HeapBytes {
        live_bytes: sums.live,
        thread_cache_bytes: sums.thread_cache,
        fastbin_bytes: sums.fastbin,
        free_bytes: sums.free,
        top_bytes: sums.top,
        whole_free_resident_bytes: sums.whole_free_resident,
        partly_free_resident_bytes: sums.partly_free_resident,
        free_within_bytes: sums.free_within,
        chunks: sums.chunks,
    }
}

/// What a heap's parts say of a segment: those that begin in it.
#[must_use]
pub fn of_segment(heap: &Heap, segment: &Segment) -> Option<SegmentHeap> {
    let range = segment.start..segment.end;
    let mut parts = heap.parts.iter().filter(|part| range.contains(&part.range.start));
    let first = parts.next()?;
    let mut all = SegmentHeap {
        allocator: first.allocator.as_str().to_owned(),
        arena: (first.allocator == Allocator::Glibc).then_some(first.arena),
        state: first.state,
        stopped_at: first.stopped_at.map(Address),
        resident_bytes: first.resident,
        sums: Some(bytes(first)),
    };
    for part in parts {
        if all.arena != Some(part.arena) {
            all.arena = None;
        }
        all.state = all.state.max(part.state);
        all.stopped_at = all.stopped_at.or(part.stopped_at.map(Address));
        all.resident_bytes += part.resident;
        if let Some(sums) = &mut all.sums {
            sums.add(&bytes(part));
        }
    }
    if all.state == HeapState::Inconsistent {
        all.sums = None;
    }
    Some(all)
}

/// What trimming would return; nothing where no heap was read, or its sums cannot be believed.
#[must_use]
pub fn trim(heap: &Heap) -> Option<u64> {
    let sound = heap.state().is_some_and(|state| state <= HeapState::InFlight);
    sound.then(|| heap.trim.iter().map(|range| range.end - range.start).sum())
}

/// Allocators whose memory is not walked.
#[must_use]
pub fn others(segments: &[Segment]) -> Vec<OtherAllocator> {
    let mut found: Vec<OtherAllocator> = Vec::new();
    for segment in segments {
        let file = segment.name.rsplit('/').next().unwrap_or_default();
        let Some((_, name, ask)) = OTHERS.iter().find(|(begin, ..)| file.starts_with(begin)) else {
            continue;
        };
        if !found.iter().any(|other| other.module == segment.name) {
            found.push(OtherAllocator {
                allocator: (*name).to_owned(),
                module: segment.name.clone(),
                ask: (*ask).to_owned(),
            });
        }
    }
    found
}

/// What was beside the heap at a look.
#[derive(Debug)]
pub struct Circumstances {
    /// The machine.
    pub host: Host,
    /// Names of the process.
    pub facts: ProcessFacts,
    /// How long it stood, in nanoseconds.
    pub stopped_ns: u64,
    /// How often.
    pub stops: u32,
}

/// The document of a look.
#[must_use]
pub fn document(snapshot: &Snapshot, heap: &Heap, beside: Circumstances) -> HeapReport {
    let segments = snapshot.segments.iter().filter_map(|segment| {
        Some(HeapSegment {
            start: Address(segment.start),
            end: Address(segment.end),
            name: segment.name.clone(),
            rss_bytes: segment.rss,
            heap: of_segment(heap, segment)?,
        })
    });
    HeapReport {
        schema: HEAP_SCHEMA.to_owned(),
        rmap_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: beside.host,
        pid: snapshot.pid,
        command: beside.facts.command,
        exe: beside.facts.exe,
        stopped_ns: beside.stopped_ns,
        stops: beside.stops,
        rss_bytes: snapshot.segments.iter().map(|segment| segment.rss).sum(),
        trim_would_return_bytes: trim(heap),
        others: others(&snapshot.segments),
        segments: segments.collect(),
    }
}
