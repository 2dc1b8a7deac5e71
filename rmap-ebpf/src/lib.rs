//! What the kernel side and user space share: the wire records ([`abi`]) and the arithmetic of
//! the probes as plain functions ([`logic`]), which are compiled for BPF and tested on the host.
//!
//! Comes in: nothing. Goes out: types and functions without allocation, without I/O.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod logic;
