//! Arithmetic and classification of the probes, free of BPF: compiled for the kernel, tested on
//! the host.

pub mod batch;
pub mod bound;
pub mod count;
pub mod fault;
pub mod hash;
pub mod learned;
pub mod points;
pub mod python;
pub mod repeat;
pub mod unwind;
pub mod unwind_row;
