//! What others are measured beside: Debian's packages of them, and their versions.
//!
//! Comes in: nothing. Goes out: the packages installed where that is allowed, and a line for each.

use std::process::Command;

use crate::apt;
use crate::steps::{self, say};

/// Package, the program that is called, and how it tells its version.
const PEERS: [(&str, &str, &str); 4] = [
    ("linux-perf", "perf", "--version"),
    ("bpftrace", "bpftrace", "--version"),
    ("heaptrack", "heaptrack", "--version"),
    ("redis-server", "redis-server", "--version"),
];

/// Installs what is missing; what cannot be had is left out of the tables.
pub fn set_up() {
    let missing = PEERS.iter().filter(|(_, program, _)| steps::which(program).is_none());
    let missing: Vec<&str> = missing.map(|(package, ..)| *package).collect();
    if !missing.is_empty()
        && let Err(error) = apt::install(&missing)
    {
        say(&format!("{error:#}; peers that are missing are left out"));
    }
}

/// The versions of those that are there.
pub fn versions() -> String {
    let version = |(_, program, argument): &(&str, &str, &str)| {
        let path = steps::which(program)?;
        let text = steps::output("ask for a version", Command::new(path).arg(argument)).ok()?;
        text.lines().next().map(|line| line.trim().to_owned())
    };
    PEERS.iter().filter_map(version).collect::<Vec<_>>().join("; ")
}
