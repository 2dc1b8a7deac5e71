//! rmap tells a person why a process's memory is resident and which code path made it dirty.
//!
//! Data goes one way: `live` (the only module that knows root, aya, ptrace and `/proc` of others)
//! or a [`recording`] gives one stream of inputs ([`trace`]); a [`session`] applies them to the
//! [`model`], which keeps who owns which page; [`attribution`] reads from it who is responsible for
//! what a snapshot shows; [`report`] is the immutable result; [`view`] shows it. `ARCHITECTURE.md` says
//! who may look at whom.

pub mod attribution;
#[cfg(feature = "live")]
pub mod cli;
pub mod heap;
pub mod input;
pub mod insight;
#[cfg(feature = "live")]
pub mod live;
pub mod model;
#[cfg(feature = "live")]
pub mod output;
pub mod pclntab;
pub mod recording;
pub mod replay;
pub mod report;
pub mod runtime;
pub mod session;
pub mod symbol;
pub mod terms;
pub mod trace;
#[cfg(feature = "live")]
pub mod tui;
pub mod unwind;
pub mod view;
