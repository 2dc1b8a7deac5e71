//! The command `rmap`: parses, calls, exits.

use std::process::ExitCode;

use clap::Parser as _;
use rmap::cli::{Cli, complain, worker};

fn main() -> ExitCode {
    if let Some(code) = worker() {
        return code;
    }
    Cli::parse().call().unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}
