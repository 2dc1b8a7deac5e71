//! Files that others control are opened in one place: read from the sources.
//!
//! Comes in: the files of the rooms that meet foreign paths. Goes out: every call that opens, maps or
//! asks about a file elsewhere than in `live/foreign.rs` and not in the list here, which has a reason
//! for each file: what it opens is the kernel's, or rmap's own, or named by the person who calls.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that meet foreign paths.
const ROOMS: [&str; 3] = ["live", "symbol", "unwind"];

/// Calls that reach a file by its path, or map it.
const CALLS: [&str; 14] = [
    "File::open",
    "File::options",
    "OpenOptions",
    "fs::read(",
    "fs::read_to_string",
    "fs::read_dir",
    "fs::metadata",
    "fs::symlink_metadata",
    "fs::canonicalize",
    ".exists()",
    ".is_dir()",
    "Mmap::map",
    "MmapOptions",
    "ReadCache",
];

/// Files, or folders, that make such calls, and on what.
const MAY: &[(&str, &str)] = &[
    ("live/foreign.rs", "the opener itself"),
    ("live/worker/opener.rs", "in the opener's process, behind a deadline"),
    ("live/worker/starved.rs", "texts of /proc about rmap's own processes"),
    ("live/btf", "the kernel's types in /sys"),
    ("live/cgroup", "the kernel's cgroup files, and flags of page frames in /proc"),
    ("live/heap", "memory of a process that is resident; whether it is there"),
    ("live/linger.rs", "rmap's own descriptors"),
    ("live/malloc.rs", "folders of the system, and rmap's own file in one"),
    ("live/memory_group.rs", "the kernel's cgroup files, and texts of /proc"),
    ("live/modules/mod.rs", "namespaces in /proc; files of the system's own, on its own device"),
    ("live/modules/vdso.rs", "rmap's own memory"),
    ("live/preflight", "facts of the kernel in /proc and /sys"),
    ("live/probes", "facts of the kernel in /proc and /sys"),
    ("live/procfs", "texts of /proc that show no memory of a process"),
    ("live/rewrite", "maps of pages in /proc, which show no memory"),
    ("live/ptrace", "the command in PATH, before it is executed; texts of /proc"),
    ("live/session", "texts of /proc, and the terminal"),
    ("live/tracefs.rs", "the kernel's tracing files"),
    ("live/detached.rs", "the kernel's tracing files"),
    ("live/unwind/made.rs", "memory of a process that is resident"),
    ("live/unwind/shared.rs", "maps of rmap's own programs"),
    ("symbol/folders.rs", "folders that a person names"),
    ("symbol/debug_file.rs", "debug files for a recording"),
    ("unwind/cache.rs", "rmap's own cache"),
];

#[test]
fn foreign_files_are_opened_in_one_place() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in ROOMS.iter().flat_map(|room| files(&source.join(room))) {
        let place = file.strip_prefix(&source).unwrap();
        if MAY.iter().any(|(may, _)| place.starts_with(may)) {
            continue;
        }
        for (line, call) in calls(&fs::read_to_string(&file).unwrap()) {
            found.push(format!("{}:{line}: {call}", place.display()));
        }
    }
    assert!(found.is_empty(), "open foreign files by live/foreign.rs:\n{}", found.join("\n"));
}

#[test]
fn every_place_of_the_list_is_there() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let gone: Vec<_> = MAY.iter().filter(|(place, _)| !source.join(place).exists()).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn calls_are_found_and_those_of_tests_are_not() {
    let text = "let a = File::open(path); // fs::read(x)\nlet b = fs::metadata(p);\n\
                #[cfg(test)]\nmod tests { fn f() { fs::read(x) } }\n";
    assert_eq!(calls(text), [(1, "File::open"), (2, "fs::metadata")]);
}

/// The calls in a file, with their lines. Tests come last in a file.
fn calls(text: &str) -> Vec<(usize, &'static str)> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut found = Vec::new();
    for (line, number) in lines.zip(1..) {
        found.extend(CALLS.iter().filter(|call| line.contains(**call)).map(|call| (number, *call)));
    }
    found
}

/// The Rust files below a folder, without those of tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|stem| {
            let stem = stem.to_str().unwrap();
            stem == "tests" || stem.ends_with("_tests")
        });
        if path.is_dir() && !is_test {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            found.push(path);
        }
    }
    found
}
