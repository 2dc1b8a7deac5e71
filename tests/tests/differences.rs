//! `rmap diff`: a run does not differ from itself, and two runs of one program nearly not.
//!
//! What stays between two runs of a program that does the same is chance: libraries lie elsewhere
//! each time, so the neighbours that the kernel maps with a page of a file (64 KiB around it) are
//! others, and another function is the first to read them. Bytes are compared, not time.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rmap::view::diff::{Change, Difference};
use rmap_tests::begin;
use rmap_tests::machine::Machine;
use rmap_tests::process::run;
use rmap_tests::rmap::{rmap, rmap_run, trace};
use rmap_tests::workload;

/// What is left of a difference, in bytes: a size that went from one row to another one counts
/// once.
#[derive(Debug)]
struct Left {
    segments: [u64; 2],
    paths: [u64; 2],
    whole: [u64; 2],
}

fn moved(changes: &[Change]) -> [u64; 2] {
    let sum = |change: fn(&Change) -> i64| {
        let all = changes.iter().map(change);
        let up: i64 = all.clone().filter(|bytes| *bytes > 0).sum();
        let down: i64 = all.filter(|bytes| *bytes < 0).sum();
        up.max(-down).unsigned_abs()
    };
    [sum(|c| c.rss_bytes.b - c.rss_bytes.a), sum(|c| c.dirty_bytes.b - c.dirty_bytes.a)]
}

/// What `rmap diff` says of two files.
fn difference(a: &Path, b: &Path, options: &[&str]) -> Difference {
    let ended = run(rmap(["diff", "--json", "-"]).args(options).arg(a).arg(b));
    assert_eq!((ended.code(), ended.err().as_str()), (0, ""));
    serde_json::from_slice(ended.out().as_bytes()).unwrap()
}

fn left(a: &Path, b: &Path) -> Left {
    let difference = difference(a, b, &[]);
    let sizes = [difference.rss_bytes.a, difference.dirty_bytes.a];
    Left {
        segments: moved(&difference.segments),
        paths: moved(&difference.paths),
        whole: sizes.map(i64::unsigned_abs),
    }
}

/// Recordings of two runs of a command, after one that has read its files.
fn two(machine: &Machine, command: &[&str]) -> [PathBuf; 2] {
    let _ = run(rmap_run(machine.scratch()).args(command));
    ["a", "b"].map(|name| {
        let _ = trace(machine.scratch(), command);
        let kept = machine.scratch().join(name);
        std::fs::rename(machine.scratch().join("recording"), &kept).unwrap();
        kept
    })
}

/// At most 5 % of RSS and of Dirty are left, of segments and of code paths.
fn assert_nearly_empty(left: &Left) {
    eprintln!("{left:?}");
    for parts in [left.segments, left.paths] {
        for (part, whole) in parts.into_iter().zip(left.whole) {
            assert!(part * 20 <= whole, "{left:?}");
        }
    }
}

#[test]
fn a_run_does_not_differ_from_itself() {
    let machine = begin!();
    let recording = machine.scratch().join("recording");
    let json = machine.scratch().join("report.json");
    let _ = trace(machine.scratch(), [workload::build("threads")]);
    for (a, b) in [(&recording, &recording), (&recording, &json), (&json, &json)] {
        let ended = run(rmap(["diff"]).arg(a).arg(b));
        assert_eq!(
            (ended.code(), ended.out().as_str()),
            (0, "No difference.\n"),
            "{}",
            ended.err()
        );
        let difference = difference(a, b, &["--segment", "[stack]"]);
        assert!(difference.segments.is_empty() && difference.paths.is_empty());
        assert!(difference.rss_bytes.a > 0 && difference.rss_bytes.a == difference.rss_bytes.b);
    }
}

#[test]
fn two_runs_of_a_c_program_nearly_do_not_differ() {
    let machine = begin!();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/plain.c");
    let program = machine.scratch().join("plain");
    let compiled = run(Command::new("cc").args(["-g", "-O1", "-o"]).arg(&program).arg(source));
    assert_eq!(compiled.code(), 0, "{}", compiled.err());
    // It writes 8 MiB: a page of the loader's more or less is little beside that.
    let [a, b] = two(&machine, &[program.to_str().unwrap(), "2048"]);
    assert_nearly_empty(&left(&a, &b));
}

#[test]
fn two_runs_of_python_nearly_do_not_differ() {
    let machine = begin!();
    // Not the first one on the path, which may be a script that starts another program.
    let python = ["/usr/bin/python3.11", "/usr/bin/python3"];
    let Some(python) = python.into_iter().find(|path| Path::new(path).exists()) else {
        return machine.skip("python3 is not installed");
    };
    let [a, b] = two(&machine, &[python, "-c", "x = [str(i) for i in range(20000)]"]);
    assert_nearly_empty(&left(&a, &b));
}
