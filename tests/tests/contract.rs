//! What programs and people may rely on: the names in the JSON, the columns of the table, where
//! the report goes.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::PathBuf;

use rmap_tests::process::{Running, run};
use rmap_tests::rmap::{finish, reports, rmap, trace};
use rmap_tests::{begin, facts, workload};
use serde_json::Value;

/// Every object of the report: where it is, and its keys.
const SHAPE: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "schema",
            "rmap_version",
            "host",
            "session",
            "coverage",
            "totals",
            "processes",
            "stacks",
            "groups",
            "advice",
        ],
    ),
    ("/host", &["kernel", "arch", "page_bytes", "cpus"]),
    ("/session", &["mode", "command", "pids", "started_at", "duration_ns", "exit"]),
    ("/coverage", &["probes", "lost", "unwind"]),
    ("/coverage/probes/*", &["name", "attached", "why_not"]),
    ("/coverage/lost", &["events", "stacks", "snapshots"]),
    ("/coverage/unwind", &["bytes", "complete", "incomplete", "reasons"]),
    (
        "/processes/*",
        &[
            "pid",
            "parent_pid",
            "command",
            "exe",
            "started_ns",
            "ended_ns",
            "snapshot",
            "snapshot_ns",
            "rss_bytes",
            "dirty_bytes",
            "swap_bytes",
            "peak_rss_bytes",
            "segments",
            "gone",
            "released",
        ],
    ),
    ("/processes/*/rss_bytes", &["before", "after"]),
    (
        "/processes/*/segments/*",
        &[
            "start",
            "end",
            "perms",
            "offset",
            "device",
            "inode",
            "name",
            "size_bytes",
            "rss_bytes",
            "dirty_bytes",
            "swap_bytes",
            "pattern",
            "mapped_by",
            "paths",
            "unexplained",
        ],
    ),
    (
        "/processes/*/segments/*/paths/*",
        &[
            "stack",
            "cause",
            "rss_bytes",
            "dirty_bytes",
            "touched_bytes",
            "faults",
            "first_ns",
            "last_ns",
            "tids",
        ],
    ),
    ("/processes/*/segments/*/unexplained/*", &["reason", "rss_bytes", "dirty_bytes"]),
    ("/processes/*/gone/*", &["stack", "cause", "touched_bytes", "segments"]),
    ("/processes/*/released/*", &["stack", "how", "rss_bytes"]),
    ("/stacks/*", &["id", "complete", "owner", "frames"]),
    (
        "/stacks/*/frames/*",
        &["function", "module", "build_id", "offset", "file", "line", "inlined", "class"],
    ),
];

/// The values at a path, where `*` is every element of an array.
fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('/').skip(1).fold(vec![value], |values, step| {
        let mut next = Vec::new();
        for value in values {
            match step {
                "*" => next.extend(value.as_array().unwrap()),
                key => next.extend(value.get(key)),
            }
        }
        next
    })
}

/// Keys that stand only where there is something to say: those of smaps beside Rss, Dirty and Swap,
/// which depend on the kernel, and answers.
const OPTIONAL: &[&str] = &[
    "growth",
    "inferred",
    "kind",
    "label",
    "language",
    "notes",
    "peak",
    "threads",
    "timeline",
    "pss_bytes",
    "pss_dirty_bytes",
    "shared_clean_bytes",
    "shared_dirty_bytes",
    "private_clean_bytes",
    "private_dirty_bytes",
    "anonymous_bytes",
    "lazyfree_bytes",
    "anonhuge_bytes",
    "shmemhuge_bytes",
    "filehuge_bytes",
    "locked_bytes",
    "ksm_bytes",
    "swap_pss_bytes",
    "thp_eligible",
    "vm_flags",
];

#[test]
fn the_json_has_the_names_of_the_contract() {
    let machine = begin!();
    let job = machine.job("rounds", &[]);
    let report: Value = serde_json::from_str(&job.traced.json).unwrap();
    for (path, keys) in SHAPE {
        let objects = at(&report, path);
        let may_be_empty = path.ends_with("unexplained/*");
        assert!(may_be_empty || !objects.is_empty(), "nothing at {path}");
        for object in objects {
            let keys_found = object.as_object().unwrap().keys();
            let mut found: Vec<_> =
                keys_found.filter(|key| !OPTIONAL.contains(&key.as_str())).collect();
            let mut expected = keys.to_vec();
            found.sort();
            expected.sort_unstable();
            assert_eq!(found, expected, "at {path}");
        }
    }
    for of in ["/totals", "/processes/0", "/processes/0/segments/0"] {
        let pss = report.pointer(&format!("{of}/pss_bytes"));
        assert!(pss.is_some_and(Value::is_u64), "Pss of {of}");
    }
    let session = &job.report().session;
    assert_eq!(report["session"]["mode"], "run");
    assert_eq!(report["session"]["exit"]["code"], 0);
    assert_eq!(session.pids, [job.process("survivor").pid]);
    assert!(job.report().coverage.probes.iter().any(|probe| probe.attached));
}

#[test]
fn functions_have_their_files_and_lines() {
    let machine = begin!();
    let job = machine.job("interleaved", &[]);
    let segment = job.segment("written");
    for path in &segment.paths {
        let frame = &facts::frames(job.report(), path.stack)[0];
        let file = frame.file.as_deref().map(PathBuf::from);
        assert!(file.is_some_and(|file| file.ends_with("interleaved.c")), "{frame:?}");
        assert!([Some(10), Some(16)].contains(&frame.line), "{frame:?}");
        assert!(frame.build_id.is_some() && !frame.inlined, "{frame:?}");
        // By unwind tables: cc gives a function that needs no stack no frame pointer either.
        assert!(facts::caller_is(job.report(), path.stack, &["main"]), "{}", job.show("written"));
    }
}

#[test]
fn symbols_of_a_deleted_program_are_found() {
    let machine = begin!();
    let copy = machine.scratch().join("deleted");
    std::fs::copy(workload::build("interleaved"), &copy).unwrap();
    // The program removes the file that it is told, here its own, before it does its work.
    let job = machine.job_of(&copy, &[copy.to_str().unwrap()]);
    assert!(!copy.exists());
    job.expect_kernel_sizes();
    job.expect("written", "write_first_of_three", "first-write");
    job.expect("written", "write_second_of_three", "first-write");
}

#[test]
fn the_table_goes_to_standard_error_and_json_where_it_is_told() {
    let _machine = begin!();
    let ended = run(&mut rmap(["run", "--full", "--json", "-", "--", "true"]));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let report: ::rmap::report::Report = serde_json::from_slice(&ended.stdout).unwrap();
    facts::assert_sound(&report);
    let table = ended.err();
    let header = table.lines().find(|line| line.contains("Kbytes")).unwrap_or_default();
    let columns = ["Address", "Kbytes", "RSS", "Dirty", "Mode", "Mapping", "ΔRSS", "ΔDirty"];
    let places: Vec<_> = columns.iter().map(|column| header.find(column)).collect();
    // RSS and Dirty come first without Δ, so the first six are in order; the others are there.
    assert!(places.iter().all(Option::is_some), "{header:?} of\n{table}");
    assert!(places[..6].is_sorted(), "{header:?}");
    assert!(table.contains("total"), "no totals line:\n{table}");
    assert!(table.to_lowercase().contains("lost"), "zero losses are said too:\n{table}");
}

#[test]
fn the_table_has_the_figures_of_the_json() {
    let machine = begin!();
    let job = machine.job("interleaved", &[]);
    let segment = job.segment("written");
    let start = &format!("{:x}", segment.start.0);
    // The first line with the address: the segment table comes first.
    let row = job.traced.table.lines().find(|line| line.contains(start));
    let row = row.unwrap_or_else(|| panic!("no row of {start}:\n{}", job.traced.table));
    for kib in [segment.size_bytes / 1024, segment.rss_bytes.after / 1024] {
        assert!(row.split_whitespace().any(|word| word == kib.to_string()), "{kib} in {row}");
    }
}

#[test]
fn without_following_there_is_one_process() {
    let machine = begin!();
    let mut rmap = reports(machine.scratch(), "run");
    rmap.args(["--no-follow", "--", "sh", "-c", "true; /bin/echo said; exit 4"]);
    let traced = finish(machine.scratch(), Running::start(&mut rmap, None));
    let ended = &traced.ended;
    assert_eq!((ended.code(), ended.out().as_str()), (4, "said\n"), "{}", ended.err());
    facts::assert_sound(&traced.report);
    assert_eq!(traced.report.processes.len(), 1);
}

#[test]
fn the_doctor_names_every_probe() {
    let machine = begin!();
    let ended = run(&mut rmap(["doctor"]));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let traced = trace(machine.scratch(), ["true"]);
    for probe in &traced.report.coverage.probes {
        assert!(ended.out().contains(&probe.name), "{} is not in\n{}", probe.name, ended.out());
    }
}

#[test]
fn the_probes_speak_only_if_asked_twice() {
    let _machine = begin!();
    for (verbose, speaks) in [("-v", false), ("-vv", true)] {
        let ended = run(rmap(["run", verbose, "-o", "/dev/null", "--", "true"]).env("LC_ALL", "C"));
        assert_eq!(ended.code(), 0, "{}", ended.err());
        assert_eq!(ended.err().contains("rmap probe: exec:"), speaks, "{verbose}: {}", ended.err());
    }
}
