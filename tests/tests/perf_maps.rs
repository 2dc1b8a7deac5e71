//! Names of code made at run time, from the perf map file that the program itself writes.

use std::path::PathBuf;

use ::rmap::report::{Frame, Report};
use rmap_tests::begin;
use rmap_tests::process::{Running, has_program};
use rmap_tests::rmap::{finish, rmap_run};
use rmap_tests::{facts, workload};

/// The name in the workload's file.
const NAME: &str = "Made::fill(page after page)";

/// Removes a workload's file when the test is over.
struct Map(PathBuf);

impl Drop for Map {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Map {
    fn of(pid: u32) -> Self {
        Self(PathBuf::from(format!("/tmp/perf-{pid}.map")))
    }
}

/// What the report says of a process's perf map file.
fn said(report: &Report) -> Vec<&str> {
    let probes = report.coverage.probes.iter().filter(|probe| probe.name == "perf-map");
    probes.filter_map(|probe| probe.why_not.as_deref()).collect()
}

fn frames(report: &Report) -> impl Iterator<Item = &Frame> {
    report.stacks.iter().flat_map(|stack| &stack.frames)
}

/// Whether a stack has the code's caller behind a frame of that module.
fn caller_is_known(report: &Report, module: &str) -> bool {
    report.stacks.iter().any(|stack| match &stack.frames[..] {
        [made, caller, ..] => {
            made.module == module && caller.function.as_deref() == Some("call_made_code")
        }
        _ => false,
    })
}

#[test]
fn made_code_owns_its_pages_under_the_name_that_the_program_gave_it() {
    let machine = begin!();
    let job = machine.job("perf_map", &[]);
    let _map = Map::of(job.process("memory").pid);
    job.expect("memory", NAME, "first-write");
    job.expect_whole("memory");
    assert!(caller_is_known(job.report(), "[perf map]"));
    let named: Vec<_> =
        frames(job.report()).filter(|f| f.function.as_deref() == Some(NAME)).collect();
    assert!(!named.is_empty() && named.iter().all(|frame| frame.module == "[perf map]"));
    let said = said(job.report());
    assert!(said.len() == 1 && said[0].contains("1 lines are no entries"), "{said:?}");
}

#[test]
fn another_users_file_names_nothing_and_is_told() {
    let machine = begin!();
    let job = machine.job("perf_map", &["foreign"]);
    let _map = Map::of(job.process("memory").pid);
    assert!(caller_is_known(job.report(), "[anon]"));
    assert!(frames(job.report()).all(|frame| frame.module != "[perf map]"));
    assert_eq!(said(job.report()).len(), 1, "{:?}", said(job.report()));
}

#[test]
fn in_a_pid_namespace_the_file_has_the_number_of_the_namespace() {
    let machine = begin!();
    if !has_program("unshare") {
        return machine.skip("no unshare here");
    }
    let mut rmap = rmap_run(machine.scratch());
    rmap.args(["unshare", "--pid", "--fork", "--mount-proc"]).arg(workload::build("perf_map"));
    let _map = Map::of(1);
    let traced = finish(machine.scratch(), Running::start(&mut rmap, None));
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    facts::assert_sound(&traced.report);
    assert!(traced.ended.out().contains("\"pid\":1,"), "{}", traced.ended.out());
    let named = frames(&traced.report).filter(|frame| frame.function.as_deref() == Some(NAME));
    assert!(named.count() > 0, "{:?}", said(&traced.report));
}
