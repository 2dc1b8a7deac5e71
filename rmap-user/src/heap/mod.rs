//! What an allocator holds, from its own structures: what is live, what is free and kept.
//!
//! Comes in: a snapshot of a process that stands still, with its pages, and its memory as a
//! [`Memory`]. Goes out: a [`Heap`]. Nothing is called in the target and no page is brought in: only
//! pages that are there are read, and whatever stands in them is checked before it is believed.
//!
//! * `anchor`: where glibc's main arena is, by its shape; `arena`: the ring of arenas, their parts;
//! * `resident`: which pages are there; `window`: memory read ahead; `chunks`: the walk over the chunks of a part;
//! * `lists`: bins, fastbins and thread caches, held against the chunks;
//! * `bits`: which bytes are free, and what of it trimming returns; `pages`: the same by page;
//! * `pymalloc`: pools of CPython's small objects.
//!
//! [`gather`] needs the process to stand; [`Gathered::finish`] does the rest when it runs again.

mod anchor;
mod arena;
mod bits;
mod chunks;
mod lists;
mod pages;
mod pymalloc;
mod resident;
#[cfg(test)]
mod tests;
mod window;

use crate::trace::{Heap, HeapState, Snapshot};

use arena::Arena;
use chunks::Walked;
pub use resident::Resident;
use window::Window;

/// A process's memory.
pub trait Memory {
    /// Reads from `at` on, at most to the end of `buffer`, and only pages that are there. Returns how
    /// many bytes came; 0 where no page is there.
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> usize;
}

/// What was read while the process stood.
#[derive(Debug)]
pub struct Gathered {
    arenas: Vec<(Arena, Vec<Walked>)>,
    pools: Vec<pymalloc::Pools>,
}

/// Reads the structures. `late` says that the time for it is over; what was not walked by then is
/// left out and marked.
pub fn gather(
    snapshot: &Snapshot,
    memory: &mut dyn Memory,
    late: &mut dyn FnMut() -> bool,
) -> Gathered {
    let resident = Resident::of(snapshot);
    let arenas = arena::find(snapshot, &resident, memory, late);
    let places = arena::Places::of(&arenas);
    let arenas = arenas
        .into_iter()
        .map(|arena| {
            let walk = |part: &arena::Part| {
                let window = Window::new(memory, part.range.end, late);
                chunks::walk(part, &arena, &places, window)
            };
            let walked = arena.parts.iter().map(walk).collect();
            (arena, walked)
        })
        .collect();
    let pools = pymalloc::find(snapshot, &resident, memory, late);
    Gathered { arenas, pools }
}

impl Gathered {
    /// Holds lists and chunks against each other and adds up. `threads`: how many chunks may be on
    /// their way.
    #[must_use]
    pub fn finish(self, snapshot: &Snapshot) -> Heap {
        let threads = snapshot.threads.len().max(1) as u64;
        let resident = Resident::of(snapshot);
        let mut heap = Heap { time_ns: snapshot.time_ns, pid: snapshot.pid, ..Heap::default() };
        let caches = lists::Caches::of(&self.arenas);
        for (number, (arena, walked)) in self.arenas.into_iter().enumerate() {
            let mut state = lists::state(&arena, &walked, threads);
            state = state.max(caches.state(threads));
            for (at, part) in walked.into_iter().enumerate() {
                let (fast, cached) = caches.of_part(number, at);
                let lists = pages::Lists { fast, cached };
                pages::add(&mut heap, part, &lists, (number as u32, state), &resident);
            }
        }
        for pools in self.pools {
            pools.add(&mut heap, &resident, threads);
        }
        heap.parts.sort_by_key(|part| part.range.start);
        heap.trim.sort_by_key(|range| range.start);
        heap.free.sort_by_key(|run| run.range.start);
        heap
    }
}

/// Whether another look a moment later may say more.
#[must_use]
pub fn is_worth_another_look(heap: &Heap) -> bool {
    matches!(heap.state(), Some(HeapState::Changing | HeapState::Inconsistent))
}
