//! `cargo xtask unwind-check`: the walks of the kernel side against another unwinder at the same
//! faults, for programs that people use.
//!
//! Comes in: programs by name, or none for all. Goes out: for each how many stacks are identical,
//! longer, shorter or different, and each kind of disagreement with its explanation. Needs root and
//! BPF. The work is done by `rmap-user/tests/unwind_check.rs`; `cargo xtask test` runs a part of it.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::steps;

/// What the usual tests have time for.
pub const QUICK: [&str; 2] = ["python", "sqlite"];

/// What to check.
#[derive(Args)]
pub struct Options {
    /// Programs with this in their test's name: a_cpp_compiler, a_rust_compiler, java, node,
    /// python, sqlite.
    names: Vec<String>,
}

/// Runs `cargo xtask unwind-check`.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut cargo = steps::cargo();
    cargo.args(["test", "--release", "--locked"]);
    choose(&mut cargo, options.names.iter().map(String::as_str));
    steps::run("hold the walks against another unwinder", &mut cargo)?;
    Ok(ExitCode::SUCCESS)
}

/// What `cargo test` is told, so that it runs these checks and nothing else.
pub fn choose<'a>(cargo: &mut Command, names: impl IntoIterator<Item = &'a str>) {
    cargo.args(["-p", "rmap-user", "--test", "unwind_check", "--"]);
    // One at a time, and each is asked for: they trace programs, which the other tests of rmap's
    // library do not.
    cargo.args(["--ignored", "--nocapture", "--test-threads=1"]).args(names);
}
