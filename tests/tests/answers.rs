//! What the first screen says of programs whose owners are known.

use std::path::Path;

use rmap_tests::process::run;
use rmap_tests::rmap::rmap;
use rmap_tests::{begin, workload};

/// Runs a command and returns its first screen as `rmap report` prints it.
fn screen(scratch: &Path, command: &[&str]) -> String {
    let recording = scratch.join("recording");
    let mut traced = rmap(["run", "-o", "/dev/null", "--record"]);
    let ended = run(traced.arg(&recording).arg("--").args(command));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let shown = run(rmap(["report"]).arg(&recording));
    assert_eq!((shown.code(), shown.err().as_str()), (0, ""));
    shown.out()
}

/// The rows of owners, the largest first.
fn owners(screen: &str) -> Vec<&str> {
    screen.lines().skip_while(|line| !line.ends_with("Where")).skip(1).collect()
}

#[test]
fn the_first_three_rows_name_the_true_owner() {
    let machine = begin!();
    for (name, argument, owner) in [
        ("article", "first", "fill_block"),
        ("fork_cow", "", "rewrites"),
        ("populate", "", "map_populated"),
    ] {
        let binary = workload::build(name);
        let command: Vec<&str> = [binary.to_str().unwrap_or_default(), argument]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let text = screen(machine.scratch(), &command);
        let rows = owners(&text);
        assert!(rows.iter().take(3).any(|row| row.contains(owner)), "{owner}:\n{text}");
        assert!(text.lines().count() <= 40, "{text}");
    }
}

#[test]
fn many_shells_are_one_row() {
    let machine = begin!();
    let script = "i=0; while [ $i -lt 12 ]; do sh -c ':; :'; i=$((i+1)); done";
    let text = screen(machine.scratch(), &["sh", "-c", script]);
    assert!(text.contains("13 processes of 1 program or role"), "{text}");
    let mut rows = text.lines().skip_while(|line| !line.ends_with("Program")).skip(1);
    assert_eq!(rows.next().and_then(|row| row.split_whitespace().next()), Some("13"), "{text}");
    assert_eq!(rows.next(), Some(""), "{text}");
}
