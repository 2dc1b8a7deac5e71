//! Language runtimes: functions and lines of programs that an interpreter runs.
//!
//! Comes in: what the kernel side read of a thread's frames and code, in checked types of `trace`,
//! and the files that a process maps. Goes out: how the kernel side is to read a process
//! ([`python::recognise`]), and names and lines for its frames. Pure: no I/O but reads of files that
//! are open, no root.
//!
//! **Another runtime** is a folder here and one in `rmap-ebpf/src/runtime`. Here it has `recognise`
//! (a file → the configuration of the kernel side, or why not), `place` (frames and a user stack →
//! runs of frames, each in place of frames of that stack) and `Definitions` (records → names and
//! lines). There it has `join`. Its records are kinds of their own in `abi`.

pub mod python;
mod store;

pub use store::{Joined, Runtimes};
