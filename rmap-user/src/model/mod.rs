//! Who owns which page, and why: address spaces, mappings, code paths, processes.
//!
//! Comes in: [`crate::trace::Event`]s in the order of the ring, and
//! [`crate::trace::Snapshot`]s at their place among them. Goes out: a [`Model`], whose
//! [`Processes`] have their
//! [`AddressSpace`]s, which `attribution` reads. Pure: no root, no I/O.

mod arch;
mod arounds;
mod blocks;
mod call;
mod candidates;
mod cause;
mod counters;
mod counting;
mod fault;
mod files;
mod journal;
mod lock;
mod locked;
mod lost;
mod mapping;
mod observe;
#[cfg(test)]
mod outcome_tests;
mod owner;
mod owners;
mod path;
mod pending;
mod populated;
mod process;
mod range_map;
mod remap;
mod rewrites;
mod space;
mod stats;
mod stream;
mod taken;
mod taking;
mod touch;
mod undo;
mod unplaced;

pub use arch::{Arch, Syscall};
pub use arounds::Arounds;
pub use blocks::{Block, Blocks};
pub use call::{Advice, Failed, MapOp, Mremap, NewMapping};
pub use candidates::{Candidate, Candidates};
pub use cause::{Cause, How};
pub use counting::{Counts, Peak, Place};
pub use fault::{Outcome, Reach, classify};
pub use files::{By, Files, Writer};
pub use journal::{Change, Journal};
pub use lock::{Lock, Locks};
pub use mapping::{Actor, Call, InstanceId, Mappings, Origin, Vma};
pub use owner::Owner;
pub use owners::{HUGE, PAGE, PageOwners, page_down, page_up};
pub use path::{Path, PathId, PathTable, StackRef};
pub use pending::Doubt;
pub use populated::Populated;
pub use process::{KnownStack, Process, Processes, Stacks};
pub use range_map::RangeMap;
pub use rewrites::{Arm, RewriteLog};
pub use space::{AddressSpace, Ledger};
pub use stats::{MAX_TIDS, Stats};
pub use stream::Model;
pub use unplaced::{Unnamed, Unplaced};
