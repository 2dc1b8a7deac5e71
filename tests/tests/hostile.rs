//! Programs whose files are made to stop rmap, and a worker that is ended again and again: the command
//! behaves as it does untraced, the report is whole, and says which file could not be read.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::fs;
use std::time::{Duration, Instant};

use ::rmap::report::{Report, check_identity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rmap_tests::process::{Running, patience};
use rmap_tests::rmap::{finish, rmap_run, trace};
use rmap_tests::{begin, facts, workload};

/// What the report says beside the probes under a name.
fn said<'a>(report: &'a Report, name: &str) -> Vec<&'a str> {
    let probes = report.coverage.probes.iter().filter(|probe| probe.name == name);
    probes.filter_map(|probe| probe.why_not.as_deref()).collect()
}

fn has_function(report: &Report, name: &str) -> bool {
    let mut frames = report.stacks.iter().flat_map(|stack| &stack.frames);
    frames.any(|frame| frame.function.as_deref() == Some(name))
}

#[test]
fn a_file_system_whose_program_ran_is_unmounted_and_its_functions_have_names() {
    let machine = begin!();
    let mount = machine.scratch().join("mount");
    fs::create_dir(&mount).unwrap();
    let program = workload::build("article");
    // Two rounds: the second program has another inode on another file system.
    let script = format!(
        "for i in 1 2; do mount -t tmpfs none {mount} && cp {program} {mount}/own && \
         {mount}/own first && umount {mount} || exit 9; done",
        mount = mount.display(),
        program = program.display()
    );
    let traced = trace(machine.scratch(), ["unshare", "-m", "sh", "-c", &script]);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    facts::assert_sound(&traced.report);
    assert!(has_function(&traced.report, "fill_block"));
    assert_eq!(said(&traced.report, "symbols"), Vec::<&str>::new());
}

#[test]
fn a_file_system_that_never_answers_costs_its_own_files_alone() {
    let machine = begin!();
    let mount = machine.scratch().join("mount");
    fs::create_dir(&mount).unwrap();
    let program = workload::build("hanging");
    let begun = Instant::now();
    let traced = trace(machine.scratch(), [program.as_os_str(), mount.as_os_str()]);
    if traced.ended.code() == 77 {
        machine.skip("no FUSE here");
        return;
    }
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    assert!(begun.elapsed() < patience(Duration::from_secs(20)), "{:?}", begun.elapsed());
    facts::assert_sound(&traced.report);
    assert!(has_function(&traced.report, "fill"));
    let said = said(&traced.report, "unwind");
    assert!(said.len() == 1 && said[0].contains("took longer than"), "{said:?}");
}

/// The processes that a running rmap has read foreign files.
fn workers(rmap: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let is_child = status.contains(&format!("\nPPid:\t{rmap}\n"));
        line == b"rmap\0--worker-of-rmap\0" && is_child
    })
    .collect()
}

#[test]
fn a_worker_that_is_killed_again_and_again_costs_no_report() {
    let machine = begin!();
    let program = workload::build("article");
    // It goes on until the worker was killed often enough, however fast the machine is.
    let enough = machine.scratch().join("enough");
    let script = format!(
        "i=0; while [ $i -lt 60 ] || [ ! -e {} ] && [ $i -lt 3000 ]; do {} first; i=$((i + 1)); done",
        enough.display(),
        program.display()
    );
    let running = Running::start(rmap_run(machine.scratch()).args(["sh", "-c", &script]), None);
    let rmap = running.pid();
    let mut killed = 0;
    // No two pauses are alike, so the worker is met at different work.
    let mut pause = 1;
    while fs::metadata(machine.scratch().join("table.txt")).is_err() && killed < 200 {
        let alive = fs::read_to_string(format!("/proc/{rmap}/stat"));
        if alive.is_err() || alive.is_ok_and(|stat| stat.contains(") Z ")) {
            break;
        }
        for pid in workers(rmap) {
            killed += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
        if killed > 40 {
            fs::write(&enough, "").unwrap();
        }
        pause = pause * 7 % 23;
        std::thread::sleep(Duration::from_millis(pause));
    }
    let traced = finish(machine.scratch(), running);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    assert!(killed > 20, "{killed}");
    check_identity(&traced.report).unwrap();
    assert_eq!(traced.report.coverage.lost.snapshots, 0);
    assert!(has_function(&traced.report, "fill_block"));
}
