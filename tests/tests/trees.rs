//! `rmap run` on trees of processes: every one accounted for, nothing lost.

use std::fmt::Write as _;

use ::rmap::report::{Process, Segment, SnapshotKind};
use rmap_tests::job::PAGE;
use rmap_tests::process::{Running, has_program};
use rmap_tests::rmap::{finish, rmap_run};
use rmap_tests::{begin, facts};

#[test]
fn a_leader_that_ends_before_its_threads_is_explained() {
    let machine = begin!();
    let job = machine.job("leader_exits", &[]);
    job.expect_kernel_sizes();
    job.expect("memory", "fill_while_led", "first-write");
    job.expect("memory", "fill_without_leader", "first-write");
    job.expect_whole("memory");
}

#[test]
fn children_of_odd_clones_are_told_each() {
    let machine = begin!();
    for (how, processes) in [("vm", 2), ("parent", 3), ("pid", 3), ("files", 2)] {
        let job = machine.job("clones", &[how]);
        if let Some(reason) = &job.truth.skip {
            machine.skip(reason);
            continue;
        }
        let report = job.report();
        assert_eq!(report.processes.len(), processes, "{how}");
        for pages in &job.truth.pages {
            // In a PID namespace of its own a process knows itself by another number.
            let start = facts::address(&job.truth.region(&pages.region).start);
            let bytes = pages.pages * PAGE;
            let holds = |segment: &&Segment| {
                let owned = facts::owned_by(report, segment, &[&pages.function]);
                segment.start.0 == start && (owned.rss, owned.dirty) == (bytes, bytes)
            };
            let found = report.processes.iter().flat_map(|p| &p.segments).filter(holds).count();
            // Two processes in one memory both show it.
            let shown = if how == "vm" { 2 } else { 1 };
            assert_eq!(found, shown, "{how}: {} of {pages:?}", job.traced.table);
        }
        if how == "vm" {
            // The memory went with the one that ended last.
            let went = |p: &Process| facts::released_by_kernel(p, "exit");
            let went: Vec<_> = report.processes.iter().map(went).collect();
            assert_eq!(went, [report.processes[0].rss_bytes.after, 0]);
        }
        assert!(report.processes.iter().all(|p| p.snapshot == SnapshotKind::AtExit), "{how}");
    }
}

#[test]
fn two_processes_of_the_same_id_are_two() {
    let machine = begin!();
    let job = machine.job("pid_reuse", &[]);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    assert_eq!(job.truth.number("same"), 1);
    let report = job.report();
    let pid = job.truth.region("first").pid;
    let both: Vec<_> = report.processes.iter().filter(|p| p.pid == pid).collect();
    assert_eq!((report.processes.len(), both.len()), (3, 2), "{}", job.traced.table);
    for (process, (region, function, other)) in both
        .iter()
        .zip([("first", "first_fills", "second_fills"), ("second", "second_fills", "first_fills")])
    {
        let segment = facts::segment(process, &job.truth.region(region).start);
        let owned = facts::owned_by(report, segment, &[function]);
        assert_eq!(
            owned.rss,
            job.pages(region, function) * PAGE,
            "{}",
            facts::show(report, segment)
        );
        assert_eq!(facts::owned_by(report, segment, &[other]).rss, 0);
        assert_eq!(process.snapshot, SnapshotKind::AtExit);
        assert!(process.ended_ns.is_some());
    }
    assert!(both[0].ended_ns <= Some(both[1].started_ns), "one after the other");
}

#[test]
fn every_process_of_a_parallel_make_is_in_the_report() {
    const SOURCES: usize = 4;
    let machine = begin!();
    if !has_program("make") {
        return machine.skip("no make here");
    }
    let project = machine.scratch().join("project");
    std::fs::create_dir(&project).unwrap();
    let mut main = String::new();
    let mut sum = String::from("0");
    let mut objects = String::from("main.o");
    for i in 0..SOURCES {
        let text = format!("int f{i}(int a)\n{{\n    return a * {i};\n}}\n");
        std::fs::write(project.join(format!("f{i}.c")), text).unwrap();
        writeln!(main, "int f{i}(int a);").unwrap();
        write!(sum, " + f{i}(1)").unwrap();
        write!(objects, " f{i}.o").unwrap();
    }
    writeln!(main, "int main(void)\n{{\n    return {sum};\n}}").unwrap();
    std::fs::write(project.join("main.c"), main).unwrap();
    let makefile =
        format!("program: {objects}\n\tcc -o $@ $^\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n.SUFFIXES:\n");
    std::fs::write(project.join("Makefile"), makefile).unwrap();

    let mut rmap = rmap_run(machine.scratch());
    let running = Running::start(rmap.args(["make", "-j2", "-C"]).arg(&project), None);
    let traced = finish(machine.scratch(), running);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    let made = std::process::Command::new(project.join("program")).status().unwrap();
    assert_eq!(made.code(), Some((0..SOURCES).sum::<usize>() as i32), "what was made");

    let report = &traced.report;
    facts::assert_sound(report);
    facts::assert_nothing_lost(report);
    facts::assert_explained(report);
    let running = |name: &str| {
        report.processes.iter().filter(|p| p.exe.rsplit('/').next() == Some(name)).count()
    };
    assert_eq!(running("cc1"), SOURCES + 1, "one compiler for each source: {}", traced.table);
    let mut pids: Vec<_> = report.processes.iter().map(|p| p.pid).collect();
    for process in &report.processes {
        // A vfork child that ended in its parent's memory has none of its own to show.
        let ended = process.snapshot == SnapshotKind::AtExit;
        assert!(ended, "{} {}: {:?}", process.pid, process.command, process.snapshot);
        assert!(process.ended_ns.is_some(), "{} {}", process.pid, process.command);
        let parent = process.pid == report.processes[0].pid || pids.contains(&process.parent_pid);
        assert!(parent, "{} {} has no parent here", process.pid, process.command);
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), report.processes.len(), "a process is told twice");
}

#[test]
fn chains_of_forks_do_not_keep_an_older_process_standing() {
    let machine = begin!();
    let job = machine.job("chains", &[]);
    assert_eq!(job.truth.number("by_the_handler"), 1, "the signal never came to the first process");
    assert!(job.truth.number("links") > 10, "{}", job.truth.number("links"));
}
