//! What a snapshot teaches the model: mappings that no event reported, and pages that only a snapshot
//! can give to their owners.
//!
//! Comes in: an [`AddressSpace`], the writers of files, a [`Snapshot`]. Goes out: the same space,
//! brought up to what the snapshot shows.

mod folio_dirty;
mod folios;
mod mappings;
mod pending;
mod writers;

use super::{AddressSpace, Files};
use crate::trace::Snapshot;

/// Brings a space up to what a snapshot of it shows.
pub(super) fn observe(space: &mut AddressSpace, files: &mut Files, snapshot: &Snapshot) {
    mappings::sync_mappings(space, snapshot);
    writers::share_writers(space, files, snapshot);
    pending::resolve_pending(space, snapshot);
    writers::claim_written(space, files, snapshot);
    folio_dirty::share(space, snapshot);
}
