//! Who owns which page, and why: address spaces, mappings, code paths, processes.
//!
//! Comes in: [`crate::trace::Event`]s in the order of the ring, and
//! [`crate::trace::Snapshot`]s at their place among them. Goes out: a [`Model`], whose
//! [`Processes`] have their
//! [`AddressSpace`]s, which `attribution` reads. Pure: no root, no I/O.

mod arch;
mod arounds;
mod call;
mod candidates;
mod cause;
mod counters;
mod fault;
mod files;
mod journal;
mod locked;
mod lost;
mod mapping;
mod observe;
#[cfg(test)]
mod outcome_tests;
mod owners;
mod path;
mod process;
mod range_map;
mod remap;
mod space;
mod stats;
mod stream;
mod taken;
mod touch;
mod undo;

pub use arch::{Arch, Syscall};
pub use arounds::Arounds;
pub use call::{Advice, Failed, MapOp, Mremap, NewMapping};
pub use candidates::{Candidate, Candidates};
pub use cause::{Cause, How};
pub use counters::{Unnamed, Unplaced};
pub use fault::{Outcome, Reach, classify};
pub use files::{By, Files, Writer};
pub use journal::{Change, Journal};
pub use locked::{Lock, Locks};
pub use mapping::{Actor, Call, InstanceId, Mappings, Origin, Vma};
pub use owners::{HUGE, Owner, PAGE, PageOwners, page_down, page_up};
pub use path::{Path, PathId, PathTable, StackRef};
pub use process::{KnownStack, Process, Processes, Stacks};
pub use range_map::RangeMap;
pub use space::{AddressSpace, Ledger, Populated};
pub use stats::{MAX_TIDS, Stats};
pub use stream::Model;
pub use undo::Doubt;
