//! Blocks of an allocator that were picked and are live.
//!
//! Comes in: what the allocator's shim reports, or probes at its functions, in its order. Goes out: the live blocks of an address
//! space, and counts. A block whose end was not seen (an event was lost, or somebody freed it past the
//! shim) is live until its address is picked again.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::mapping::Actor;
use super::path::StackRef;
use crate::trace::{MallocCall, MallocStep};

/// A picked block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The bytes that were asked for.
    pub size: u64,
    /// Bytes from one picked byte to the next on average, when it was picked.
    pub mean: u64,
    /// Who allocated it.
    pub stack: Option<StackRef>,
    /// When, on `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

/// The picked blocks of an address space. Copies share the live ones until one of them changes.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    /// The shim is in the process.
    pub loaded: bool,
    /// Allocations come through it.
    pub begun: bool,
    /// What was allocated before the probes came is not known.
    pub since_attach: bool,
    /// Bytes from one picked byte to the next on average.
    pub mean: u64,
    /// How many were picked here, and how many of them, and of those that fork copied, were freed.
    pub picked: u64,
    /// As above.
    pub freed: u64,
    /// Picked ones that cannot be followed, since the shim's table was full.
    pub unkept: u64,
    /// Picked ones whose address was picked again without a free.
    pub unseen_ends: u64,
    live: Arc<FxHashMap<u64, Block>>,
    /// What `realloc` is about to free in each thread.
    moving: FxHashMap<u32, (u64, Block)>,
}

impl Blocks {
    /// Takes a report of the shim.
    pub(super) fn call(&mut self, call: &MallocCall, actor: Actor) {
        self.loaded = true;
        self.mean = call.mean;
        let moved = self.moving.remove(&actor.tid);
        match call.step {
            MallocStep::Loaded => return,
            MallocStep::Begun => {}
            MallocStep::Attached => self.since_attach = true,
            MallocStep::Picked => {
                self.picked += 1;
                let (stack, time_ns) = (actor.stack, actor.time_ns);
                let block = Block { size: call.size, mean: call.mean, stack, time_ns };
                if Arc::make_mut(&mut self.live).insert(call.address, block).is_some() {
                    self.unseen_ends += 1;
                }
            }
            MallocStep::Freed | MallocStep::Moving => {
                if let Some(block) = Arc::make_mut(&mut self.live).remove(&call.address) {
                    self.freed += 1;
                    if call.step == MallocStep::Moving {
                        self.moving.insert(actor.tid, (call.address, block));
                    }
                }
            }
            MallocStep::Stayed => {
                if let Some((address, block)) = moved.filter(|(at, _)| *at == call.address) {
                    Arc::make_mut(&mut self.live).insert(address, block);
                    self.freed = self.freed.saturating_sub(1);
                }
            }
            MallocStep::Unkept => self.unkept += 1,
        }
        self.begun = true;
    }

    /// The live blocks.
    pub fn live(&self) -> impl Iterator<Item = &Block> {
        self.live.values()
    }

    /// What a copy of the memory holds.
    pub(super) fn fork(&self) -> Self {
        let (live, moving) = (Arc::clone(&self.live), FxHashMap::default());
        let Self { loaded, begun, since_attach, mean, .. } = *self;
        Self { loaded, begun, since_attach, mean, live, moving, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(blocks: &mut Blocks, step: MallocStep, address: u64, tid: u32) {
        let call = MallocCall { step, address, size: 100, mean: 4096, stack: None };
        blocks.call(&call, Actor { pid: 1, tid, time_ns: 5, stack: None });
    }

    fn addresses(blocks: &Blocks) -> Vec<u64> {
        let mut all: Vec<u64> = blocks.live.keys().copied().collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_block_is_live_until_it_is_freed() {
        let mut blocks = Blocks::default();
        step(&mut blocks, MallocStep::Loaded, 0, 1);
        assert!(blocks.loaded && !blocks.begun);
        step(&mut blocks, MallocStep::Picked, 16, 1);
        step(&mut blocks, MallocStep::Picked, 32, 1);
        step(&mut blocks, MallocStep::Freed, 16, 2);
        step(&mut blocks, MallocStep::Freed, 48, 2);
        assert_eq!(addresses(&blocks), [32]);
        assert_eq!((blocks.picked, blocks.freed, blocks.unseen_ends), (2, 1, 0));
        step(&mut blocks, MallocStep::Picked, 32, 1);
        assert_eq!(blocks.unseen_ends, 1);
    }

    #[test]
    fn what_was_there_before_the_probes_is_said_to_be_unknown_also_of_a_fork() {
        let mut blocks = Blocks::default();
        step(&mut blocks, MallocStep::Attached, 0, 1);
        assert!(blocks.loaded && blocks.begun && blocks.since_attach);
        // One that was allocated before.
        step(&mut blocks, MallocStep::Freed, 16, 1);
        assert_eq!((blocks.freed, blocks.fork().since_attach), (0, true));
        let mut executed = Blocks::default();
        step(&mut executed, MallocStep::Begun, 0, 1);
        assert!(executed.begun && !executed.since_attach);
    }

    #[test]
    fn a_realloc_that_failed_frees_nothing() {
        let mut blocks = Blocks::default();
        step(&mut blocks, MallocStep::Picked, 16, 1);
        step(&mut blocks, MallocStep::Picked, 32, 2);
        step(&mut blocks, MallocStep::Moving, 16, 1);
        step(&mut blocks, MallocStep::Moving, 32, 2);
        assert_eq!(addresses(&blocks), [0_u64; 0]);
        step(&mut blocks, MallocStep::Stayed, 16, 1);
        step(&mut blocks, MallocStep::Picked, 64, 2);
        step(&mut blocks, MallocStep::Stayed, 32, 2);
        assert_eq!(addresses(&blocks), [16, 64], "another call came between");
        assert_eq!(blocks.freed, 1);
    }

    #[test]
    fn a_fork_copies_what_is_live_and_counts_anew() {
        let mut parent = Blocks::default();
        step(&mut parent, MallocStep::Picked, 16, 1);
        let mut child = parent.fork();
        step(&mut child, MallocStep::Freed, 16, 9);
        assert_eq!((addresses(&parent), addresses(&child)), (vec![16], vec![]));
        assert_eq!((child.picked, child.freed, child.mean), (0, 1, 4096));
    }
}
