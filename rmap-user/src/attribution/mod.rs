//! Reads from the model who is responsible for each byte of RSS and Dirty that a snapshot shows.
//!
//! Comes in: a [`Snapshot`](crate::trace::Snapshot) and the
//! [`AddressSpace`](crate::model::AddressSpace) that has taken it; neither is changed. Goes out:
//! typed [`Segment`]s. For each of them Σ paths + Σ residuals equals what smaps shows, for RSS and
//! Dirty, to the byte: resident pages go to their owners, and the rest gets a reason. Time is
//! linear in pages and owners.

mod between;
mod count;
mod holders;
mod pattern;
mod reason;
mod retained;
mod rewrites;
mod segment;
mod segments;

pub use between::{by_events, carry};
pub use holders::{Holder, holders};
pub use pattern::{History, Trend, pattern};
pub use reason::{Reason, Residuals};
pub use retained::set_retained;
pub use rewrites::{HOT_NS, RewriteTotals};
pub use segment::{MappedBy, PathShare, Residual, Rewritten, Segment, Sizes};
pub use segments::{Attributed, Context, attribute};
