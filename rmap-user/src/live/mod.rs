//! The only place that knows root: aya, ptrace, `/proc` of others.
//!
//! Comes in: a running kernel and its processes. Goes out: [`crate::trace::Event`]s,
//! [`crate::trace::Snapshot`]s and [`crate::symbol::Module`]s; [`session`] joins them.

mod bpf;
pub mod btf;
pub mod cgroup;
mod detached;
mod foreign;
pub mod heap;
pub mod hurry;
pub mod linger;
pub mod malloc;
mod memory_group;
pub mod modules;
pub mod packages;
pub mod perf_map;
pub mod preflight;
pub mod privileges;
pub mod probes;
pub mod procfs;
pub mod ptrace;
pub mod release;
pub mod rewrite;
pub mod session;
pub mod terminal;
pub mod tracefs;
pub mod unwind;
pub mod worker;
