//! Reads from the model who is responsible for each byte of RSS and Dirty that a snapshot shows.
//!
//! Comes in: a [`Snapshot`](crate::trace::Snapshot) and the
//! [`AddressSpace`](crate::model::AddressSpace) that has taken it; neither is changed. Goes out:
//! segments. For every
//! segment Σ paths + Σ unexplained equals what smaps shows, for RSS and Dirty, to the byte: the
//! pages that are there are given to their owners, and what is left gets a reason. Time is linear
//! in pages and owners.

mod breakdown;
mod count;
mod holders;
mod pattern;
mod reason;
mod segments;

pub use breakdown::shown;
pub use holders::{Holder, holders};
pub use pattern::{History, Trend, pattern};
pub use reason::{Reason, Residuals};
pub use segments::{Attributed, Context, attribute};
