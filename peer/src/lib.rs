//! What one fault costs, side by side: the same loop (`tests/workloads/touch_again.c`) watched by
//! rmap, by a peer, or by nobody, for the benchmark and for the tests.
//!
//! Comes in: the loop's builds, its shape, who watches. Goes out: a [`Sample`] a run.
//!
//! * [`bpf`], the kernel's account of BPF programs, and the peer `bpf_get_stack`;
//! * [`turn`], one run of the loop.
//!
//! It uses no code of rmap's, which it measures.

pub mod bpf;
pub mod turn;

pub use turn::{Beside, Loops, Sample, Shape, Watcher, run};
