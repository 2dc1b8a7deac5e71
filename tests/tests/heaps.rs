//! What `rmap heap` says of a process, held against what the process's own malloc says.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::io::Write as _;
use std::process::Command;

use rmap_tests::attach::assert_free;
use rmap_tests::process::{Running, eventually, program, run, status_bytes};
use rmap_tests::rmap::{finish, reports, rmap};
use rmap_tests::truth::Truth;
use rmap_tests::{begin, workload};
use serde_json::Value;

/// Waits until the workload has said a number of that name.
fn said(workload: &Running, name: &str) -> Truth {
    eventually(name, || {
        let truth = Truth::parse(&workload.out_so_far());
        truth.numbers.iter().any(|number| number.name == name).then_some(truth)
    })
}

/// The document of `rmap heap`, which may take its time on a busy machine.
fn look(pid: u32) -> Value {
    let pid_text = pid.to_string();
    let ended = run(&mut rmap(["heap", "--heap-limit", "60", "--json", "-", "-p", &pid_text]));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    assert_free(pid);
    serde_json::from_str(&ended.out()).unwrap()
}

fn segments(document: &Value) -> &[Value] {
    document["segments"].as_array().unwrap()
}

fn sum(document: &Value, fields: &[&str]) -> u64 {
    let of = |segment: &Value| -> u64 {
        fields.iter().map(|field| segment["heap"][field].as_u64().unwrap()).sum()
    };
    segments(document).iter().map(of).sum()
}

fn states(document: &Value) -> Vec<&str> {
    segments(document).iter().map(|s| s["heap"]["state"].as_str().unwrap()).collect()
}

#[test]
fn free_bytes_and_what_trimming_returns_are_those_of_malloc_itself() {
    let _machine = begin!();
    for threads in ["0", "1", "4", "16"] {
        let mut command = Command::new(workload::build("heap_held"));
        let (held, mut line) = Running::start_piped(command.arg(threads));
        let truth = said(&held, "ready");
        let found = look(held.pid());
        assert!(states(&found).iter().all(|state| *state == "consistent"), "{found:#}");
        let free = sum(&found, &["fastbin_bytes", "free_bytes", "top_bytes"]);
        assert_eq!(free, truth.number("free"), "{threads} threads: {found:#}");
        assert_eq!(sum(&found, &["fastbin_bytes"]), truth.number("fast"), "{threads} threads");
        line.write_all(b"\n").unwrap();
        let trimmed = said(&held, "trimmed").number("trimmed");
        let predicted = found["trim_would_return_bytes"].as_u64().unwrap();
        assert!(predicted.abs_diff(trimmed) <= 4096, "{threads} threads: {predicted}, {trimmed}");
        // What is whole is what would be returned; all that is free and resident is in one or the other.
        assert_eq!(sum(&found, &["whole_free_resident_bytes"]), predicted);
        assert!(
            sum(&found, &["free_within_bytes"]) <= sum(&found, &["partly_free_resident_bytes"])
        );
        line.write_all(b"\n").unwrap();
        assert_eq!(held.wait().code(), 0);
    }
}

#[test]
fn a_process_stopped_inside_malloc_has_no_wrong_sum_that_is_called_consistent() {
    let _machine = begin!();
    let mut command = Command::new(workload::build("heap_held"));
    let (held, _line) = Running::start_piped(command.args(["2", "busy"]));
    said(&held, "ready");
    for _ in 0..3 {
        let found = look(held.pid());
        for segment in segments(&found) {
            let heap = &segment["heap"];
            let size = |field: &str| heap[field].as_u64().unwrap();
            // All chunks of a consistent arena add up to its memory, whatever is going on.
            let all = ["live", "thread_cache", "fastbin", "free", "top"]
                .map(|name| size(&format!("{name}_bytes")));
            let state = heap["state"].as_str().unwrap();
            assert!(["consistent", "in-flight", "changing"].contains(&state), "{heap:#}");
            let mapped = all.iter().sum::<u64>();
            assert!(mapped + 4096 >= size("resident_bytes"), "{heap:#}");
        }
    }
    held.signal(nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn a_corrupt_heap_has_no_sums() {
    let _machine = begin!();
    let mut command = Command::new(workload::build("heap_held"));
    let (held, _line) = Running::start_piped(command.args(["0", "corrupt"]));
    said(&held, "ready");
    let found = look(held.pid());
    assert_eq!(states(&found), ["inconsistent"], "{found:#}");
    let heap = &segments(&found)[0]["heap"];
    assert!(heap["stopped_at"].is_string() && heap.get("live_bytes").is_none(), "{heap:#}");
    assert!(found["trim_would_return_bytes"].is_null(), "{found:#}");
    let pid = held.pid().to_string();
    let shown = run(&mut rmap(["heap", "--heap-limit", "60", "-p", &pid]));
    assert!(shown.out().contains("heap-inconsistent"), "{}", shown.out());
    held.signal(nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn a_run_with_heap_says_who_touched_the_free_pages_first() {
    let machine = begin!();
    let mut command = reports(machine.scratch(), "run");
    command.args(["--heap", "--heap-limit", "60"]).arg("--").arg(workload::build("heap_held"));
    let (rmap, mut line) = Running::start_piped(command.arg("1"));
    let free = said(&rmap, "ready").number("free");
    line.write_all(b"\n\n").unwrap();
    let traced = finish(machine.scratch(), rmap);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    let trimmed = Truth::parse(&traced.ended.stdout).number("trimmed");
    let json: Value = serde_json::from_str(&traced.json).unwrap();
    let process = &json["processes"][0];
    let segments = process["segments"].as_array().unwrap();
    let heaps: Vec<&Value> = segments.iter().filter(|s| s.get("heap").is_some()).collect();
    assert!(heaps.len() >= 2, "{process:#}");
    let sum =
        |field: &str| -> u64 { heaps.iter().map(|s| s["heap"][field].as_u64().unwrap()).sum() };
    // What was trimmed before is returned, so that nothing is left to return but what is in bins now.
    assert!(process["trim_would_return_bytes"].as_u64().unwrap() < 64 << 10, "{process:#}");
    let held = sum("fastbin_bytes") + sum("free_bytes") + sum("top_bytes");
    assert!(held + (4 << 20) >= free && trimmed > 0, "{held} {free} {trimmed}");
    let retained: u64 = heaps
        .iter()
        .flat_map(|s| s["paths"].as_array().unwrap())
        .filter_map(|path| path["retained_bytes"].as_u64())
        .sum();
    let within = sum("free_within_bytes") + sum("whole_free_resident_bytes");
    assert!(retained <= within && retained * 100 >= within * 95, "{retained} of {within}");
}

/// A number behind words in what `sys._debugmallocstats` prints.
fn stated(text: &str, words: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(words)).unwrap();
    line.rsplit('=').next().unwrap().trim().replace(',', "").parse().unwrap()
}

#[test]
fn pools_of_python_hold_what_python_itself_says() {
    let machine = begin!();
    let Some(python) = program("python3") else {
        return machine.skip("no python3 here");
    };
    let script = "\
import sys
a = [str(i) * 20 for i in range(100000)]
b = [{i: i} for i in range(5000)]
del a[::2]
sys.stdin.readline()
sys._debugmallocstats()
sys.stderr.flush()
print('{\"truth\": \"number\", \"pid\": 1, \"name\": \"ready\", \"value\": 1}', flush=True)
sys.stdin.readline()
";
    let (held, mut line) = Running::start_piped(Command::new(python).args(["-c", script]));
    line.write_all(b"\n").unwrap();
    said(&held, "ready");
    let found = look(held.pid());
    let pools: Vec<&Value> =
        segments(&found).iter().filter(|s| s["heap"]["allocator"] == "pymalloc").collect();
    assert!(pools.iter().all(|s| s["heap"]["state"] == "consistent"), "{found:#}");
    let sum =
        |field: &str| -> u64 { pools.iter().map(|s| s["heap"][field].as_u64().unwrap()).sum() };
    line.write_all(b"\n").unwrap();
    let text = held.wait().err();
    // Printing the last line takes and frees a few objects.
    let near = |ours: u64, words: &str| {
        let theirs = stated(&text, words);
        assert!(ours.abs_diff(theirs) <= 16 << 10, "{words}: {ours}, {theirs}");
    };
    near(sum("live_bytes"), "# bytes in allocated blocks");
    near(sum("free_bytes"), "# bytes in available blocks");
}

#[test]
fn looking_brings_in_no_page() {
    let _machine = begin!();
    let mut command = Command::new(workload::build("heap_held"));
    let (held, _line) = Running::start_piped(command.arg("1"));
    said(&held, "ready");
    let pages = ["RssAnon:", "VmSwap:"];
    let before = pages.map(|key| status_bytes(held.pid(), key));
    look(held.pid());
    assert_eq!(pages.map(|key| status_bytes(held.pid(), key)), before);
    held.signal(nix::sys::signal::Signal::SIGKILL);
}
