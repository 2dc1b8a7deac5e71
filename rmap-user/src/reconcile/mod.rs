//! Joins the model with what a snapshot shows: who is responsible for each byte of RSS and Dirty.
//!
//! Comes in: an [`AddressSpace`] and a [`Snapshot`]. Goes out: the report's segments. For every
//! segment Σ paths + Σ unexplained equals what smaps shows, for RSS and Dirty, to the byte: the
//! pages that are there are given to their owners, and what is left gets a reason. Time is linear
//! in pages and owners.

mod assemble;
mod breakdown;
mod dirtied;
mod folio;
mod holders;
mod learn;
mod pages;
mod pattern;
mod reason;
mod settle;
mod tally;

pub use assemble::{Context, Reconciled, reconcile};
pub use breakdown::shown;
pub use holders::{Holder, holders};
pub use pattern::{History, Trend, pattern};
pub use reason::{Reason, Residuals};

use crate::model::{AddressSpace, Files};
use crate::snapshot::Snapshot;

/// Brings the model up to what a snapshot shows: mappings that no event told of, and pages that
/// only a snapshot can give to their owners.
pub fn absorb(space: &mut AddressSpace, files: &mut Files, snapshot: &Snapshot) {
    learn::learn(space, snapshot);
    dirtied::tell(space, files, snapshot);
    settle::settle(space, snapshot);
    dirtied::ask(space, files, snapshot);
}
