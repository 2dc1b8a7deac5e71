//! rmap tells a person why a process's memory is resident and which code path made it dirty.
//!
//! Data goes one way: `live` (the only module that knows root, aya, ptrace and `/proc` of others)
//! or a recording gives [`event`]s and [`snapshot`]s; [`model`] keeps who owns which page;
//! [`reconcile`] joins that with what smaps shows; [`report`] is the immutable result; [`view`]
//! shows it. `ARCHITECTURE.md` says who may look at whom.

#[cfg(feature = "live")]
pub mod cli;
pub mod event;
pub mod input;
pub mod investigate;
#[cfg(feature = "live")]
pub mod live;
pub mod model;
#[cfg(feature = "live")]
pub mod output;
pub mod pclntab;
pub mod reconcile;
pub mod recording;
pub mod report;
pub mod snapshot;
pub mod symbol;
pub mod unwind;
pub mod view;
