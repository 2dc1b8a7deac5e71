//! Programs that trace others by ptrace work under rmap as they do alone, and lose no more of their
//! picture than they must.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::Path;
use std::process::Command;

use ::rmap::report::{Process, Report, SnapshotKind};
use rmap_tests::machine::Machine;
use rmap_tests::process::{Ended, has_program};
use rmap_tests::rmap::{Traced, trace};
use rmap_tests::truth::Truth;
use rmap_tests::{begin, facts, workload};

/// What the report says of processes that were let go.
fn let_go(report: &Report) -> Vec<&str> {
    let probes = report.coverage.probes.iter().filter(|probe| probe.name == "ptrace");
    probes.filter_map(|probe| probe.why_not.as_deref()).collect()
}

fn assert_child_explained(traced: &Traced, snapshot: SnapshotKind) {
    let truth = Truth::parse(&traced.ended.stdout);
    let expected = truth.region("memory");
    let child = facts::process(&traced.report, expected.pid);
    assert_eq!(child.snapshot, snapshot, "{}", traced.table);
    let segment =
        child.segments.iter().find(|segment| segment.start.to_string() == expected.start).unwrap();
    let owned = facts::owned_by(&traced.report, segment, &["child_fills"]);
    let bytes = 2048 * 4096;
    assert_eq!((owned.rss, owned.dirty), (bytes, bytes), "{}", traced.table);
}

#[test]
fn a_program_that_only_links_ptrace_is_followed() {
    let machine = begin!();
    let program = workload::build("tracers");
    let traced = trace(machine.scratch(), [program.to_str().unwrap(), "links"]);
    assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""));
    assert_eq!(let_go(&traced.report), [""; 0]);
    facts::assert_nothing_lost(&traced.report);
    assert_child_explained(&traced, SnapshotKind::AtExit);
}

#[test]
fn a_traced_child_is_let_go_and_keeps_its_sizes() {
    let machine = begin!();
    let dynamic = workload::build("tracers");
    let fixed = workload::build_with("tracers", &["-static"]);
    for (program, mode) in
        [(&dynamic, "traceme"), (&fixed, "traceme"), (&dynamic, "attach"), (&dynamic, "seize")]
    {
        let traced = trace(machine.scratch(), [program.to_str().unwrap(), mode]);
        assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""), "{mode}");
        let parent = &traced.report.processes[0];
        assert_eq!(parent.snapshot, SnapshotKind::AtExit, "{mode}: {}", traced.table);
        assert_eq!(let_go(&traced.report).len(), 1, "{mode}: {:?}", let_go(&traced.report));
        assert_child_explained(&traced, SnapshotKind::LastPeriodic);
    }
}

/// A shell command line, traced, with a file in the scratch directory as `$LOG`.
fn shell(machine: &Machine, log: &Path, script: &str) -> Traced {
    let line = format!("LOG='{}'; {script}", log.display());
    trace(machine.scratch(), ["sh", "-c", &line])
}

#[test]
fn strace_works_and_is_followed_itself() {
    let machine = begin!();
    if !has_program("strace") {
        return machine.skip("strace is not installed");
    }
    let log = machine.scratch().join("log");
    let traced = shell(&machine, &log, "strace -f -o $LOG sh -c '(exit 1); exit 7'");
    assert_eq!(traced.ended.code(), 7, "{}", traced.ended.err());
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("exit_group(7)") && text.contains("execve("), "{text}");
    let strace = |process: &&Process| process.command.starts_with("strace ");
    let strace = traced.report.processes.iter().find(strace).unwrap();
    assert_eq!(strace.snapshot, SnapshotKind::AtExit);
}

#[test]
fn gdb_works() {
    let machine = begin!();
    if !has_program("gdb") {
        return machine.skip("gdb is not installed");
    }
    let log = machine.scratch().join("log");
    let program = workload::build("tracers");
    let script = format!(
        "gdb -nx -batch -ex 'break main' -ex run -ex kill {} > $LOG 2>&1",
        program.display()
    );
    assert_eq!(shell(&machine, &log, &script).ended.code(), 0);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("Breakpoint 1, main"), "{text}");
}

#[test]
fn a_leak_sanitizer_finds_what_it_finds_alone() {
    const LEAK: &str = "#include <stdlib.h>\n#include <string.h>\nchar *volatile kept;\n\
                        int main(void) { kept = malloc(77); kept = malloc(8 << 20);\n\
                        memset(kept, 1, 8 << 20); return 0; }\n";
    let machine = begin!();
    let source = machine.scratch().join("leak.c");
    std::fs::write(&source, LEAK).unwrap();
    for flags in [
        &["-fsanitize=address"][..],
        &["-fsanitize=leak"],
        &["-fsanitize=address", "-static-libasan"],
    ] {
        let program = machine.scratch().join("leak");
        let mut compiler = Command::new("cc");
        compiler.arg("-g").args(flags).arg("-o").arg(&program).arg(&source);
        if !compiler.output().unwrap().status.success() {
            machine.skip(&format!("the C compiler has no {flags:?}"));
            continue;
        }
        let alone = Command::new(&program).output().unwrap();
        let traced = trace(machine.scratch(), [program.to_str().unwrap()]);
        let Ended { status, .. } = &traced.ended;
        assert_eq!(status.code(), alone.status.code(), "{flags:?}: {}", traced.ended.err());
        assert_ne!(status.code(), Some(0));
        assert!(traced.ended.err().contains("77 byte(s)"), "{flags:?}: {}", traced.ended.err());
        assert_eq!(let_go(&traced.report).len(), 1, "{:?}", let_go(&traced.report));
        // It was let go when it began to look for leaks, and was read then.
        let process = &traced.report.processes[0];
        assert_eq!(process.snapshot, SnapshotKind::LastPeriodic, "{flags:?}");
        assert!(process.rss_bytes.after > 8 << 20, "{flags:?}: {:?}", process.rss_bytes);
    }
}
