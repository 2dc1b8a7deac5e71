//! `rmap attach`: what a process held before, what it does from then on, and how it is left.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::process::Command;

use ::rmap::report::{Mode, Report, SnapshotKind};
use nix::sys::signal::Signal;
use rmap_tests::attach::{assert_free, await_attached, rmap_attach};
use rmap_tests::facts;
use rmap_tests::job::PAGE;
use rmap_tests::machine::Machine;
use rmap_tests::process::{Running, eventually};
use rmap_tests::rmap::{Traced, finish};
use rmap_tests::truth::Truth;
use rmap_tests::{begin, workload};

/// Waits until the workload has said a number of that name.
fn said(workload: &Running, name: &str) -> Truth {
    eventually(name, || {
        let truth = Truth::parse(&workload.out_so_far());
        truth.numbers.iter().any(|number| number.name == name).then_some(truth)
    })
}

/// Checks what `attached.c` said against the report.
fn check_attached(report: &Report, truth: &Truth, snapshot: SnapshotKind) {
    let pid = u32::try_from(truth.number("pid")).unwrap();
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
    assert_eq!(later.call, "mmap");
    assert!(facts::caller_is(report, later.stack, &["map_later"]));
    let memory = facts::segment(process, &truth.region("memory").start);
    assert_eq!(memory.rss_bytes.before, 64 * PAGE, "what it had when rmap came");
    let gave = |r: &&::rmap::report::Released| {
        r.how == "dontneed" && facts::leaf_is(report, r.stack, &["drop"])
    };
    let dropped: u64 = process.released.iter().filter(gave).map(|r| r.rss_bytes).sum();
    assert_eq!(dropped, truth.number("dropped") * PAGE);
}

/// A workload that was let go on while rmap watched it, up to its second wait.
fn attached_in_the_middle(
    machine: &Machine,
    options: &[&str],
) -> (Running, std::io::PipeWriter, Running) {
    use std::io::Write as _;
    let mut command = Command::new(workload::build("attached"));
    let (target, mut input) = Running::start_piped(command.arg(machine.scratch().join("file")));
    said(&target, "pid");
    let mut rmap = rmap_attach(machine.scratch(), &[target.pid()]);
    let rmap = Running::start(rmap.args(options), None);
    await_attached(&rmap);
    input.write_all(b"\n").unwrap();
    said(&target, "done");
    (target, input, rmap)
}

fn ended_well(dir: &std::path::Path, rmap: Running) -> Traced {
    let traced = finish(dir, rmap);
    assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""), "rmap attach");
    assert_eq!(traced.ended.out(), "");
    traced
}

#[test]
fn a_process_that_ends_while_it_is_watched_is_told_as_it_stood_at_its_exit() {
    use std::io::Write as _;
    let machine = begin!();
    let (target, mut input, rmap) = attached_in_the_middle(&machine, &[]);
    input.write_all(b"\n").unwrap();
    let ended = target.wait();
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let traced = ended_well(machine.scratch(), rmap);
    check_attached(&traced.report, &Truth::parse(&ended.stdout), SnapshotKind::AtExit);
    assert!(traced.report.processes[0].ended_ns.is_some());
}

#[test]
fn a_process_that_goes_on_is_told_as_it_stood_when_it_was_let_go() {
    use std::io::Write as _;
    let machine = begin!();
    let (target, mut input, rmap) = attached_in_the_middle(&machine, &[]);
    rmap.signal(Signal::SIGINT);
    let traced = ended_well(machine.scratch(), rmap);
    assert_free(target.pid());
    check_attached(&traced.report, &said(&target, "done"), SnapshotKind::Live);
    assert_eq!(traced.report.processes[0].ended_ns, None);
    // It still does what it is told.
    input.write_all(b"\n").unwrap();
    let ended = target.wait();
    assert_eq!(ended.code(), 0, "{}", ended.err());
}
