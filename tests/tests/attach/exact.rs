//! A process whose memory is known before and after: however it is watched, every page is told.

use std::io::{PipeWriter, Write as _};
use std::path::Path;
use std::process::Command;

use ::rmap::report::{Mode, Report, SnapshotKind};
use nix::sys::signal::Signal;
use rmap_tests::attach::{assert_free, await_attached, rmap_attach, threads};
use rmap_tests::facts;
use rmap_tests::job::PAGE;
use rmap_tests::process::{Running, eventually, has_program, patience, status_field};
use rmap_tests::truth::Truth;
use rmap_tests::{begin, workload};

use crate::{ended_well, said};

/// Checks what `attached.c` said against the report. `pid`: as rmap sees it.
fn check(report: &Report, truth: &Truth, pid: u32, snapshot: SnapshotKind) {
    assert_eq!(report.session.mode, Mode::Attach);
    assert_eq!((&report.session.command, &report.session.pids[..]), (&None, &[pid][..]));
    facts::assert_sound(report);
    facts::assert_nothing_lost(report);
    let process = &report.processes[0];
    assert_eq!((process.pid, process.snapshot), (pid, snapshot));
    assert!(process.command.contains("attached"), "{}", process.command);
    for smaps in &truth.smaps {
        let segment = facts::segment(process, &smaps.start);
        let show = || format!("{}: {}", smaps.region, facts::show(report, segment));
        assert_eq!(
            (segment.rss_bytes.after, segment.dirty_bytes.after),
            (smaps.rss, smaps.dirty),
            "{}",
            show()
        );
        let mut paths = 0;
        for pages in truth.pages.iter().filter(|pages| pages.region == smaps.region) {
            let owned = facts::owned_by(report, segment, &[&pages.function]);
            let bytes = pages.pages * PAGE;
            assert_eq!((owned.rss, owned.dirty), (bytes, bytes), "{}; {}", pages.function, show());
            let cause = if smaps.region == "file" { "file-cow" } else { "first-write" };
            assert!(owned.causes.iter().eq([cause]), "{:?} {}", owned.causes, show());
            paths += bytes;
        }
        // All the rest was there before, and nothing else is.
        let before = smaps.rss - paths;
        let rest: Vec<_> =
            segment.unexplained.iter().map(|u| (u.reason.as_str(), u.rss_bytes)).collect();
        let expected = [("before-attach", i64::try_from(before).unwrap())];
        assert_eq!(rest, expected[..usize::from(before > 0)], "{}", show());
        let name = format!("{}_before", smaps.region);
        if let Some(number) = truth.numbers.iter().find(|number| number.name == name) {
            assert_eq!(before, number.value * PAGE, "{}", show());
        }
    }
    let by = |region: &str| {
        let segment = facts::segment(process, &truth.region(region).start);
        segment.mapped_by.as_ref()
    };
    assert_eq!(by("memory"), None, "who mapped it was not seen");
    let later = by("later").expect("the later mapping was seen");
    assert_eq!(later.call.as_str(), "mmap");
    assert!(facts::caller_is(report, later.stack, &["map_later"]));
    let memory = facts::segment(process, &truth.region("memory").start);
    assert_eq!(memory.rss_bytes.before, 64 * PAGE, "what it had when rmap came");
    let gave = |r: &&::rmap::report::Released| {
        r.how.as_str() == "dontneed" && facts::leaf_is(report, r.stack, &["drop"])
    };
    let dropped: u64 = process.released.iter().filter(gave).map(|r| r.rss_bytes).sum();
    assert_eq!(dropped, truth.number("dropped") * PAGE);
}

/// `attached.c` with its file in `dir`.
fn target(dir: &Path) -> Command {
    let mut command = Command::new(workload::build("attached"));
    command.arg(dir.join("file"));
    command
}

/// Starts it, up to its first wait.
fn started(command: &mut Command) -> (Running, PipeWriter) {
    let (target, input) = Running::start_piped(command);
    said(&target, "pid");
    (target, input)
}

/// Has rmap attach to a target that waits.
fn attached(dir: &Path, pid: u32) -> Running {
    let rmap = Running::start(&mut rmap_attach(dir, &[pid]), None);
    await_attached(&rmap);
    rmap
}

/// Lets the target go on, up to its second wait.
fn go_on(target: &Running, input: &mut PipeWriter) {
    input.write_all(b"\n").unwrap();
    said(target, "done");
}

/// Lets the target end.
fn end(target: Running, mut input: PipeWriter) -> Truth {
    input.write_all(b"\n").unwrap();
    let ended = target.wait();
    assert_eq!(ended.code(), 0, "{}", ended.err());
    Truth::parse(&ended.stdout)
}

#[test]
fn a_process_that_ends_while_it_is_watched_is_told_as_it_stood_at_its_exit() {
    let machine = begin!();
    let (target, mut input) = started(&mut target(machine.scratch()));
    let (pid, rmap) = (target.pid(), attached(machine.scratch(), target.pid()));
    go_on(&target, &mut input);
    let truth = end(target, input);
    let traced = ended_well(machine.scratch(), rmap);
    check(&traced.report, &truth, pid, SnapshotKind::AtExit);
    assert!(traced.report.processes[0].ended_ns.is_some());
}

#[test]
fn a_process_that_goes_on_is_told_as_it_stood_when_it_was_let_go() {
    let machine = begin!();
    let (target, mut input) = started(&mut target(machine.scratch()));
    let (pid, rmap) = (target.pid(), attached(machine.scratch(), target.pid()));
    go_on(&target, &mut input);
    rmap.signal(Signal::SIGINT);
    let traced = ended_well(machine.scratch(), rmap);
    assert_free(pid);
    check(&traced.report, &said(&target, "done"), pid, SnapshotKind::Live);
    assert_eq!(traced.report.processes[0].ended_ns, None);
    end(target, input);
}

#[test]
fn several_processes_are_told_each() {
    let machine = begin!();
    let dirs = [machine.scratch().join("a"), machine.scratch().join("b")];
    let mut targets: Vec<_> = dirs
        .iter()
        .map(|dir| {
            std::fs::create_dir(dir).unwrap();
            started(&mut target(dir))
        })
        .collect();
    let pids: Vec<u32> = targets.iter().map(|(target, _)| target.pid()).collect();
    // One of them is named twice.
    let rmap =
        Running::start(&mut rmap_attach(machine.scratch(), &[pids[0], pids[1], pids[0]]), None);
    await_attached(&rmap);
    for (target, input) in &mut targets {
        go_on(target, input);
    }
    let (second, input) = targets.pop().unwrap();
    end(second, input);
    rmap.signal(Signal::SIGTERM);
    let report = ended_well(machine.scratch(), rmap).report;
    facts::assert_sound(&report);
    assert_eq!(report.session.pids, pids);
    let found: Vec<_> = report.processes.iter().map(|p| (p.pid, p.snapshot)).collect();
    assert_eq!(found, [(pids[0], SnapshotKind::Live), (pids[1], SnapshotKind::AtExit)]);
    let filled = |process: usize| {
        let paths = report.processes[process].segments.iter().flat_map(|segment| &segment.paths);
        let own = paths.filter(|path| facts::leaf_is(&report, path.stack, &["fill_added"]));
        own.map(|path| path.dirty_bytes).sum::<u64>()
    };
    assert_eq!([filled(0), filled(1)], [32 * PAGE; 2]);
}

#[test]
fn a_process_that_is_traced_already_is_watched_as_it_runs() {
    let machine = begin!();
    if !has_program("strace") {
        return machine.skip("no strace here");
    }
    for ends in [false, true] {
        let (target, mut input) = started(&mut target(machine.scratch()));
        let pid = target.pid();
        let mut strace = Command::new("strace");
        let strace = strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()]);
        let strace = Running::start(strace, None);
        eventually("strace traces all", || {
            let tracer = strace.pid().to_string();
            let is = |tid: &u32| status_field(*tid, "TracerPid:") == Some(tracer.clone());
            threads(pid).iter().all(is).then_some(())
        });
        let mut rmap = rmap_attach(machine.scratch(), &[pid]);
        let rmap = Running::start(rmap.args(["--interval", "0.1"]), None);
        // It waits for its clock, which it does when it has looked at the process.
        let looked = |count: u64| {
            let file = machine.scratch().join("recording");
            let at_least = std::fs::metadata(file).map_or(0, |meta| meta.len());
            (at_least > count).then_some(at_least)
        };
        let size = eventually("a recording", || looked(1000));
        let size = eventually("a snapshot", || looked(size));
        go_on(&target, &mut input);
        let size = eventually("what came is recorded", || looked(size));
        eventually("another snapshot", || looked(size));
        let truth = said(&target, "done");
        // A snapshot of what it has now: one is on its way, and the next one is whole.
        std::thread::sleep(patience(std::time::Duration::from_secs(1)));
        let kind = if ends {
            end(target, input);
            SnapshotKind::LastPeriodic
        } else {
            rmap.signal(Signal::SIGINT);
            SnapshotKind::Live
        };
        let traced = ended_well(machine.scratch(), rmap);
        let mut report = traced.report;
        // The one that ended had no snapshot at its exit, which is counted.
        assert_eq!(report.coverage.lost.snapshots, u64::from(ends));
        report.coverage.lost.snapshots = 0;
        check(&report, &truth, pid, kind);
        let note = report.coverage.probes.iter().find(|probe| probe.name == "ptrace");
        let why = note.and_then(|note| note.why_not.as_deref()).unwrap_or_default();
        assert!(why.contains("strace") && why.contains("traces it already"), "{why}");
        if !ends {
            let tracer = status_field(pid, "TracerPid:");
            assert_eq!(tracer, Some(strace.pid().to_string()), "strace has it still");
        }
    }
}

#[test]
fn a_process_in_a_pid_namespace_of_its_own_is_told_by_its_number_outside() {
    let machine = begin!();
    if !has_program("unshare") {
        return machine.skip("no unshare here");
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]).arg(workload::build("attached"));
    let (outer, mut input) = started(command.arg(machine.scratch().join("file")));
    assert_eq!(said(&outer, "pid").number("pid"), 1, "its number inside");
    let children = format!("/proc/{0}/task/{0}/children", outer.pid());
    let Ok(children) = std::fs::read_to_string(children) else {
        return machine.skip("the kernel does not list children");
    };
    let pid = children.trim().parse().unwrap();
    let rmap = attached(machine.scratch(), pid);
    go_on(&outer, &mut input);
    let truth = end(outer, input);
    let traced = ended_well(machine.scratch(), rmap);
    check(&traced.report, &truth, pid, SnapshotKind::AtExit);
}

#[test]
fn another_users_process_is_told_to_root() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    let machine = begin!();
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let binary = dir.path().join("attached");
    std::fs::copy(workload::build("attached"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.arg(dir.path().join("file")).uid(NOBODY).gid(NOBODY);
    let (target, mut input) = started(&mut command);
    let pid = target.pid();
    assert!(status_field(pid, "Uid:").unwrap().starts_with(&NOBODY.to_string()));
    let rmap = attached(machine.scratch(), pid);
    go_on(&target, &mut input);
    let truth = end(target, input);
    let traced = ended_well(machine.scratch(), rmap);
    check(&traced.report, &truth, pid, SnapshotKind::AtExit);
}

#[test]
fn a_stopped_process_stays_stopped_and_can_be_woken_meanwhile() {
    let machine = begin!();
    let (target, mut input) = started(&mut target(machine.scratch()));
    let pid = target.pid();
    let state = || status_field(pid, "State:").unwrap_or_default();
    target.signal(Signal::SIGSTOP);
    eventually("it is stopped", || state().starts_with('T').then_some(()));
    let mut rmap = rmap_attach(machine.scratch(), &[pid]);
    let traced = ended_well(machine.scratch(), Running::start(rmap.args(["-d", "0.3"]), None));
    facts::assert_sound(&traced.report);
    facts::assert_nothing_lost(&traced.report);
    // What the kernel left out, if it puts probes aside, stands among them.
    let mut probes = traced.report.coverage.probes.iter().filter(|p| p.name != "preemption");
    assert!(probes.all(|probe| probe.attached), "{}", traced.table);
    for tid in threads(pid) {
        eventually("a plain stop, and nobody traces it", || {
            let tracer = status_field(tid, "TracerPid:");
            let state = status_field(tid, "State:").unwrap_or_default();
            (tracer.as_deref() == Some("0") && state.starts_with('T')).then_some(())
        });
    }
    let rmap = attached(machine.scratch(), pid);
    input.write_all(b"\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!Truth::parse(&target.out_so_far()).numbers.iter().any(|n| n.name == "done"));
    target.signal(Signal::SIGCONT);
    said(&target, "done");
    let truth = end(target, input);
    let traced = ended_well(machine.scratch(), rmap);
    check(&traced.report, &truth, pid, SnapshotKind::AtExit);
}
