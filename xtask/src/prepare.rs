//! `cargo xtask prepare`: fetches and builds beforehand what other commands would fetch and build
//! when they come to it, so that it can be done beside the compiler's work.
//!
//! Comes in: nothing. Goes out: installed packages, in one go; the kernels of the virtual machines;
//! the eBPF object in the target directory. What cannot be had here is said: the commands that need
//! it say so once more, and know what to do.

use std::process::ExitCode;

use anyhow::Result;

use crate::steps::say;
use crate::test::packages;
use crate::{apt, arm64, dist, ebpf, vm};

/// Runs `cargo xtask prepare`.
pub fn run() -> ExitCode {
    let mut all: Vec<&str> = packages::names().collect();
    all.extend(vm::PACKAGES);
    all.extend(ebpf::toolchain::DEBIAN_PACKAGES);
    all.extend(arm64::PACKAGES);
    all.extend(dist::PACKAGES);
    tell("Debian packages", apt::install(&all));
    tell("the kernels of the virtual machines", vm::fetch_kernels());
    let object = ebpf::toolchain::find(None).and_then(|tools| ebpf::build_with(&tools));
    tell("the eBPF object", object.map(drop));
    ExitCode::SUCCESS
}

fn tell(what: &str, done: Result<()>) {
    match done {
        Ok(()) => say(&format!("{what}: ready")),
        Err(error) => say(&format!("{what}: not now: {error:#}")),
    }
}
