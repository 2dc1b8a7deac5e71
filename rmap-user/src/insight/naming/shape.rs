//! What the shape of a mapping says: its alignment, its neighbours, and the threads that run on it.
//!
//! Comes in: a segment of no file among its neighbours. Goes out: its kind. All that is concluded
//! from a likeness alone is marked as inferred.

use super::{Finding, Place};
use crate::report::{Kind, MapCallKind, Thread};

/// Arenas of glibc's malloc other than the first are made of parts that begin at multiples of this
/// (`HEAP_MAX_SIZE` of malloc/arena.c, 64-bit), the rest of which may not be touched.
const ARENA_BYTES: u64 = 64 << 20;
/// Where Go's heap begins (`arenaBaseOffset`, hints of runtime/malloc.go).
const GO_HEAP: std::ops::Range<u64> = 0xc0_0000_0000..0xc1_0000_0000;
/// Usual sizes of thread stacks: RLIMIT_STACK's default, and Rust's.
const STACK_BYTES: [u64; 2] = [8 << 20, 2 << 20];
const PAGE: u64 = 4096;

/// Private memory of no file that may be written.
pub(super) fn of_data(place: &Place<'_>, at: usize) -> Option<Finding> {
    let range = &place.ranges[at];
    if !place.segment(at).perms.starts_with("rw") {
        return None;
    }
    if GO_HEAP.contains(&range.start) {
        return Some(Finding::sure(Kind::GoArena).named("[go arena]").inferred());
    }
    if is_arena(place, at) {
        return Some(Finding::sure(Kind::MallocArena).inferred());
    }
    if threads_in(place, at).next().is_some() || is_like_a_stack(place, at) {
        return Some(thread_stack(place, at));
    }
    let found = bss(place, at)?;
    let by_exec =
        place.segment(at).mapped_by.as_ref().is_some_and(|by| by.call == MapCallKind::Exec);
    Some(if by_exec { found } else { found.inferred() })
}

/// The static variables that begin as zero: what lies behind the writable pages of a file.
pub(super) fn bss(place: &Place<'_>, at: usize) -> Option<Finding> {
    let below = place.segment(place.below(at)?);
    let data = below.inode != 0 && below.perms == "rw-p" && below.name.starts_with('/');
    let file = below.name.rsplit('/').next().unwrap_or_default();
    data.then(|| Finding::sure(Kind::Bss).named(format!("[bss of {file}]")))
}

/// A part of an arena: it begins at a multiple of 64 MiB, and memory that may not be touched fills
/// the rest of them.
pub(super) fn is_arena(place: &Place<'_>, at: usize) -> bool {
    let range = &place.ranges[at];
    if !range.start.is_multiple_of(ARENA_BYTES) {
        return false;
    }
    let rest = range.end % ARENA_BYTES;
    let above = place.above(at).map(|above| (place.segment(above), &place.ranges[above]));
    range.end - range.start == ARENA_BYTES
        || rest != 0
            && above.is_some_and(|(above, its)| {
                above.perms.starts_with("---") && its.end >= range.end - rest + ARENA_BYTES
            })
}

/// A guard page, and with it one of the usual sizes.
fn is_like_a_stack(place: &Place<'_>, at: usize) -> bool {
    let Some(below) = place.below(at) else { return false };
    let guard = &place.ranges[below];
    let size = place.segment(at).size_bytes;
    place.segment(below).perms.starts_with("---")
        && guard.end - guard.start == PAGE
        && STACK_BYTES.iter().any(|bytes| size == *bytes || size + PAGE == *bytes)
}

/// The threads whose stack pointers lie in a segment.
fn threads_in<'a>(place: &'a Place<'_>, at: usize) -> impl Iterator<Item = u32> + 'a {
    let range = place.ranges[at].clone();
    let threads = place.process.threads.iter();
    let on_it =
        move |thread: &&Thread| thread.stack_pointer.is_some_and(|at| range.contains(&at.0));
    threads.filter(on_it).map(|thread| thread.tid)
}

/// Whether most of a segment was written by the process's first thread, whose stack is never in it. The
/// kernel makes one mapping of neighbours that are alike: a thread's stack and what lies beside it, such
/// as an allocator's memory. Less than this is what the maker of a thread puts on its stack.
pub(super) fn is_the_first_threads(place: &Place<'_>, at: usize) -> bool {
    const LEAST: u64 = 64 << 10;
    let (segment, first) = (place.segment(at), place.process.pid);
    let own = segment.paths.iter().filter(|path| path.tids == [first]);
    let own: u64 = own.map(|path| path.rss_bytes).sum();
    own >= LEAST && own.saturating_mul(2) > segment.rss_bytes.after
}

/// The stack of the thread with this id.
pub(super) fn stack_of(place: &Place<'_>, tid: u32) -> Finding {
    let thread = place.process.threads.iter().find(|thread| thread.tid == tid);
    let found = Finding::sure(Kind::ThreadStack);
    match thread {
        Some(thread) => found.named(format!("[thread stack {tid} \"{}\"]", thread.name)),
        None => found.named(format!("[thread stack {tid}]")),
    }
}

/// A thread's stack: of the one that runs on it, else of the one that wrote most of it, which is
/// a conclusion.
pub(super) fn thread_stack(place: &Place<'_>, at: usize) -> Finding {
    let mut running = threads_in(place, at);
    match (running.next(), running.count()) {
        (Some(tid), 0) => return stack_of(place, tid),
        (Some(_), more) => {
            let label = format!("[{} thread stacks]", more + 1);
            return Finding::sure(Kind::ThreadStack).named(label);
        }
        (None, _) => {}
    }
    let segment = place.segment(at);
    let maker = segment.mapped_by.as_ref().map(|by| by.tid);
    let own = segment.paths.iter().filter(|path| path.tids.len() == 1);
    let writer = own
        .filter_map(|path| Some((path.touched_bytes, path.tids.first().copied()?)))
        .filter(|(_, tid)| Some(*tid) != maker)
        .max();
    match writer {
        Some((_, tid)) => stack_of(place, tid).inferred(),
        None => {
            let found = Finding::sure(Kind::ThreadStack).named("[thread stack]");
            if maker.is_some() { found } else { found.inferred() }
        }
    }
}
