//! `cargo xtask matrix`: does to memory what every row of the table of routes says, and prints what
//! was done against what rmap said of it, in pages.
//!
//! Comes in: this machine, root and BPF. Goes out: a line for each row, the confusion matrix, and
//! whether all of it lies on the diagonal. The table is `tests/src/routes.rs`.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::steps;
use crate::test::packages;

/// Runs `cargo xtask matrix`.
pub fn run() -> Result<ExitCode> {
    if !steps::is_root() {
        bail!("the matrix needs root and BPF: run it as root");
    }
    packages::set_up();
    steps::run("build rmap", steps::cargo().args(["build", "-p", "rmap-user", "--bin", "rmap"]))?;
    let mut cargo: Command = steps::cargo();
    cargo.env_remove("RMAP_BIN");
    cargo.args(["test", "-q", "-p", "rmap-tests", "--test", "matrix"]);
    cargo.args(["--", "every_route_is_told_as_what_it_was", "--nocapture"]);
    let status = cargo.status().context("cannot start cargo for the matrix")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
