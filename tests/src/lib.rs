//! Workloads whose truth is known, and the end-to-end tests that rmap must pass on them.
//!
//! Comes in: the C programs of `workloads/`, which do something exact to their memory and then
//! say what they did; and the `rmap` binary. Goes out: what the integration tests in `tests/`
//! need: [`workload`] builds the programs, [`process`] runs commands, [`rmap`] runs them under
//! rmap, [`attach`] puts rmap beside them, [`truth`] reads what a workload says, [`facts`] reads
//! what a report says, and [`job`] holds the one against the other, [`chain`] the callers on its
//! stacks. [`cgroup`] makes control groups,
//! [`machine`] says what cannot run here, and [`setting`] and [`pressure`] change it for a
//! while.
//!
//! `RMAP_BIN` names the binary to test; without it, it is the one that Cargo puts beside the
//! tests. `cargo xtask test` builds it first. `RMAP_SLOW=N` lengthens every time limit. `cargo
//! xtask vm` runs the same tests in virtual machines with other kernels.

#![expect(
    clippy::unwrap_used,
    reason = "the whole package is tests: a failed expectation is the message"
)]

pub mod attach;
pub mod bpf;
pub mod cgroup;
pub mod chain;
pub mod facts;
pub mod held;
pub mod job;
pub mod machine;
pub mod matrix;
pub mod pmap;
pub mod pressure;
pub mod process;
pub mod python;
pub mod rmap;
pub mod routes;
pub mod setting;
pub mod truth;
pub mod workload;

/// Starts a test: its privileges and its turn. Returns from the test, and says why, where it
/// cannot run.
#[macro_export]
macro_rules! begin {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here).trim_end_matches("::here");
        match $crate::machine::begin(name) {
            Some(machine) => machine,
            None => return,
        }
    }};
}
