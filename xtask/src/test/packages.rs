//! The Debian packages that the tests need, in one list.
//!
//! Comes in: nothing. Goes out: the packages installed where that is allowed; otherwise a line
//! says which are missing, and the tests that need one say so as they skip.

use crate::apt;
use crate::steps::say;

/// Package, and what needs it.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "builds the workloads, and is itself a program that the tests trace"),
    ("libc6-dev", "the headers of the workloads"),
    ("python3", "a program that the tests trace"),
    ("sqlite3", "a program that the tests trace, with a real database"),
    ("procps", "pmap -x, whose columns and totals rmap must match"),
    ("redis-server", "a server that forks while it is written to"),
    ("postgresql", "a server of many processes over one piece of shared memory"),
    ("make", "a tree of compilers under rmap"),
    ("musl-tools", "a C library without call frame information, in programs that the tests trace"),
    ("strace", "a program that itself uses ptrace, under rmap"),
];

/// The same of what is too large for the disks of virtual machines: 80 MB to fetch, 400 MB on disk.
const LARGE: &[(&str, &str)] =
    &[("golang-go", "builds programs with Go's own table of functions, which the tests trace")];

/// Their names, without the large ones.
pub fn names() -> impl Iterator<Item = &'static str> {
    PACKAGES.iter().map(|(name, _)| *name)
}

/// Installs what is missing.
pub fn set_up() {
    let all = PACKAGES.iter().chain(LARGE);
    let missing: Vec<_> = all.filter(|(name, _)| !apt::installed(name)).collect();
    if missing.is_empty() {
        return;
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    if let Err(error) = apt::install(&names) {
        say(&format!("{error:#}"));
        for (name, why) in missing {
            say(&format!("without {name}: {why}; tests that need it are skipped"));
        }
    }
}
