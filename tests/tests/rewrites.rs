//! `rmap attach --rewrites`: who writes again to memory that is there, held against workloads that
//! know it, and how the watched process is left.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::io::{PipeWriter, Write as _};
use std::path::Path;
use std::process::Command;

use ::rmap::report::{Process, Report, Rewritten, Segment};
use ::rmap::terms::Reason;
use nix::sys::signal::Signal;
use rmap_tests::attach::{assert_free, rmap_attach};
use rmap_tests::facts;
use rmap_tests::process::{Running, eventually, pause, status_bytes};
use rmap_tests::rmap::{Traced, finish, rmap};
use rmap_tests::truth::Truth;
use rmap_tests::{begin, workload};

const EXACT: [&str; 2] = ["--rewrites-all", "--rewrites=0.1"];

/// Whether this kernel can do it; `rmap doctor` says why not.
fn available() -> bool {
    let doctor = rmap_tests::process::run(&mut rmap(["doctor"]));
    !doctor.out().contains("not by userfaultfd")
}

/// A workload that waits for a line, with its pid.
fn started(mode: &str, dir: &Path) -> (Running, PipeWriter) {
    let mut command = Command::new(workload::build("rewriter"));
    command.arg(mode).arg(dir.join("file"));
    let (target, input) = Running::start_piped(&mut command);
    said(&target, "pid");
    (target, input)
}

fn said(target: &Running, name: &str) {
    eventually(name, || {
        let truth = Truth::parse(&target.out_so_far());
        truth.numbers.iter().any(|number| number.name == name).then_some(())
    });
}

/// How many mappings of a process are watched.
fn watched(pid: u32) -> usize {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    smaps.lines().filter(|line| line.starts_with("VmFlags:") && line.contains(" uw")).count()
}

/// Runs a mode of the workload under `rmap attach` to its end.
fn trace(mode: &str, dir: &Path, options: &[&str]) -> (Truth, Traced) {
    let (target, mut input) = started(mode, dir);
    let mut command = rmap_attach(dir, &[target.pid()]);
    let rmap = Running::start(command.args(options), None);
    eventually("memory is watched", || (watched(target.pid()) > 0).then_some(()));
    input.write_all(b"\n").unwrap();
    let ended = target.wait();
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let traced = finish(dir, rmap);
    assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""));
    facts::assert_sound(&traced.report);
    facts::assert_nothing_lost(&traced.report);
    let processes = traced.report.processes.iter();
    for segment in processes.flat_map(|process| &process.segments) {
        let unknown = segment.unexplained.iter().any(|rest| rest.reason == Reason::Unknown);
        // To watch a program is to bring nothing into it.
        assert!(!unknown, "{}", facts::show(&traced.report, segment));
    }
    (Truth::parse(&ended.stdout), traced)
}

fn rewritten(segment: &Segment) -> &Rewritten {
    segment.rewritten.as_ref().expect("it was watched")
}

/// How often a function wrote a page of a segment again.
fn by(report: &Report, segment: &Segment, function: &str) -> u64 {
    let own = |path: &&::rmap::report::Path| facts::leaf_is(report, path.stack, &[function]);
    let paths = segment.paths.iter().filter(|path| path.rewrites > 0);
    paths.filter(own).map(|path| path.rewrites).sum()
}

/// Σ call paths + unattributed = pages that the scans called written, of each segment and of all.
fn assert_identity(report: &Report) {
    let mut sum = 0;
    for segment in report.processes.iter().flat_map(|process| &process.segments) {
        let Some(rewritten) = &segment.rewritten else { continue };
        let paths: u64 = segment.paths.iter().map(|path| path.rewrites).sum();
        let rest: u64 = rewritten.unattributed.iter().map(|rest| rest.pages).sum();
        assert_eq!(paths + rest, rewritten.written_pages, "{}", facts::show(report, segment));
        sum += rewritten.written_pages;
    }
    let session = report.session.rewrites.as_ref().unwrap();
    assert_eq!(sum + session.gone_pages, session.written_pages);
    assert_eq!((session.mode.as_str(), session.method.as_str()), ("exact", "userfaultfd"));
}

/// Checks every function of the truth.
fn assert_counts(report: &Report, process: &Process, truth: &Truth, region: &str) {
    let segment = facts::segment(process, &truth.region(region).start);
    let pages: Vec<_> = truth.pages.iter().filter(|pages| pages.region == region).collect();
    for pages in &pages {
        let counted = by(report, segment, &pages.function);
        assert_eq!(counted, pages.pages, "{region} {}", pages.function);
    }
    let all: u64 = pages.iter().map(|pages| pages.pages).sum();
    assert_eq!((rewritten(segment).written_pages, region), (all, region));
    assert!(rewritten(segment).unattributed.is_empty());
    // Whose the pages are is another matter: it stays as it was when rmap came.
    for path in segment.paths.iter().filter(|path| path.rewrites > 0) {
        assert_eq!((path.cause.as_str(), path.rss_bytes, path.dirty_bytes), ("rewrite", 0, 0));
    }
}

#[test]
fn every_page_that_is_written_again_is_counted_by_function_and_segment() {
    let machine = begin!();
    if !available() {
        return machine.skip("memory cannot be watched for writes here");
    }
    // The second one has a filter that kills it where rmap's calls are seen.
    for mode in ["exact", "seccomp"] {
        let (truth, traced) = trace(mode, machine.scratch(), &EXACT);
        if let Some(why) = &truth.skip {
            machine.skip(why);
            continue;
        }
        let (report, process) = (&traced.report, &traced.report.processes[0]);
        assert_identity(report);
        for region in ["anon", "memory", "shared", "private"] {
            assert_counts(report, process, &truth, region);
        }
        // Huge pages stay, and nothing is known of them.
        let huge = truth.region("huge");
        if huge.anon_huge > 0 {
            let segment = facts::segment(process, &huge.start);
            assert_eq!(segment.breakdown.anonhuge_bytes, Some(huge.anon_huge));
            assert_eq!(rewritten(segment).written_pages, 0);
        }
        assert!(report.session.rewrites.as_ref().unwrap().stop_ns > 0);
    }
}

#[test]
fn huge_pages_are_watched_page_by_page_if_they_may_be_split() {
    let machine = begin!();
    if !available() {
        return machine.skip("memory cannot be watched for writes here");
    }
    let options = ["--rewrites-all", "--rewrites=0.1", "--split-huge"];
    let (truth, traced) = trace("huge", machine.scratch(), &options);
    assert_identity(&traced.report);
    assert_counts(&traced.report, &traced.report.processes[0], &truth, "huge");
    assert_eq!(truth.region("huge").anon_huge, 0);
}

#[test]
fn memory_that_comes_moves_or_is_forked_is_watched_from_the_next_period_on() {
    let machine = begin!();
    if !available() {
        return machine.skip("memory cannot be watched for writes here");
    }
    let (truth, traced) = trace("edges", machine.scratch(), &EXACT);
    let report = &traced.report;
    assert_identity(report);
    let process = &report.processes[0];
    for region in ["still", "closed"] {
        assert_counts(report, process, &truth, region);
    }
    // What was written before the move came along.
    let moved = facts::segment(process, &truth.region("moved").start);
    assert_eq!((by(report, moved, "write_moved"), by(report, moved, "write_new")), (24, 24));
    let child = report.processes.iter().find(|child| child.pid != process.pid).unwrap();
    let still = facts::segment(child, &truth.region("still").start);
    assert_eq!(by(report, still, "write_child"), 24);
}

#[test]
fn writes_that_take_no_fault_have_their_call_path_where_memory_is_protected() {
    let machine = begin!();
    if !available() {
        return machine.skip("memory cannot be watched for writes here");
    }
    let (truth, traced) = trace("silent", machine.scratch(), &EXACT);
    let (report, process) = (&traced.report, &traced.report.processes[0]);
    assert_identity(report);
    for (region, function) in [("anon", "write_given_up"), ("shared", "write_read")] {
        let segment = facts::segment(process, &truth.region(region).start);
        assert_eq!(by(report, segment, function), 32);
        let owned = facts::owned_by(report, segment, &[function]);
        let show = || facts::show(report, segment);
        // The shared memory was dirty before rmap came, by its other mapping.
        if region == "anon" {
            assert_eq!(owned.dirty, 32 * 4096, "{region}: {}", show());
            assert!(owned.causes.contains("protected-write"), "{:?} {}", owned.causes, show());
        }
        let silent = ["write-after-madv-free", "shared-write-without-fault"];
        let rest = segment.unexplained.iter().find(|rest| silent.contains(&rest.reason.as_str()));
        assert_eq!(rest, None, "{region}");
    }
}

#[test]
fn drawn_pages_give_the_rates_within_their_error() {
    let machine = begin!();
    if !available() {
        return machine.skip("memory cannot be watched for writes here");
    }
    let (truth, traced) = trace("rates", machine.scratch(), &["--rewrites=0.3"]);
    // A round takes 10 ms and what the machine adds; every 20th writes the second part too.
    let round_ns = 5e9 / truth.number("rounds") as f64;
    if 20.0 * round_ns > 0.28e9 {
        return machine.skip("the machine is too slow for the periods");
    }
    let (report, process) = (&traced.report, &traced.report.processes[0]);
    let segment = facts::segment(process, &truth.region("rates").start);
    let rewritten = rewritten(segment);
    assert!(rewritten.arms > 2000, "{rewritten:?}");
    // Draws of the last 0.3 s do not count.
    let draws = rewritten.arms as f64 * 0.9;
    let sigma = |share: f64| 8000.0 * (share * (1.0 - share) / draws).sqrt();
    let near = |pages: u64, truth: f64| {
        let away = (pages as f64 - truth).abs();
        assert!(away <= 3.0 * sigma(truth / 8000.0) + 1.0, "{pages} for {truth}: {rewritten:?}");
    };
    near(rewritten.pages, 2000.0);
    for function in ["write_often", "write_seldom"] {
        let paths = segment.paths.iter();
        let own = paths.filter(|path| facts::leaf_is(report, path.stack, &[function]));
        near(own.map(|path| path.rewritten_bytes).sum::<u64>() / 4096, 1000.0);
    }
    let [low, high] = rewritten.ci95[..] else { panic!("{rewritten:?}") };
    assert!(low <= rewritten.pages && rewritten.pages <= high);
    assert_eq!(rewritten.cold_bytes, (8000 - rewritten.pages) * 4096);
    let at = |ns| rewritten.curve.iter().find(|point| point.tau_ns == ns).unwrap().pages;
    assert!(at(1_000_000) < 400 && at(100_000_000) > 1000, "{rewritten:?}");
    let session = report.session.rewrites.as_ref().unwrap();
    assert_eq!((session.mode.as_str(), session.period_ns), ("sampled", 300_000_000));
}

#[test]
fn a_process_that_uses_userfaultfd_itself_is_left_alone() {
    let machine = begin!();
    if !available() {
        return machine.skip("memory cannot be watched for writes here");
    }
    let (target, mut input) = started("own", machine.scratch());
    let mut command = rmap_attach(machine.scratch(), &[target.pid()]);
    let rmap = Running::start(command.args(EXACT).args(["-d", "1"]), None);
    let traced = finish(machine.scratch(), rmap);
    let row = traced.report.coverage.probes.iter().find(|probe| probe.name == "rewrites").unwrap();
    let why = row.why_not.as_deref().unwrap();
    assert!(!row.attached && why.contains("it uses userfaultfd itself"), "{why}");
    assert_eq!(watched(target.pid()), 0);
    input.write_all(b"\n").unwrap();
    assert_eq!(target.wait().code(), 0);
}

#[test]
fn page_tables_of_sparse_memory_do_not_grow() {
    let machine = begin!();
    if !available() {
        return machine.skip("memory cannot be watched for writes here");
    }
    let dir = machine.scratch();
    let (target, mut input) = started("sparse", dir);
    let tables = || status_bytes(target.pid(), "VmPTE:").unwrap();
    let before = tables();
    let mut command = rmap_attach(dir, &[target.pid()]);
    let rmap = Running::start(command.args(EXACT), None);
    eventually("memory is watched", || (watched(target.pid()) > 0).then_some(()));
    input.write_all(b"\n").unwrap();
    said(&target, "done");
    assert!(tables() <= before + (64 << 10), "{before} {}", tables());
    // Let go of by rmap, nothing of it is left.
    rmap.signal(Signal::SIGINT);
    let traced = finish(dir, rmap);
    assert_identity(&traced.report);
    assert_free(target.pid());
    assert_eq!(watched(target.pid()), 0);
    input.write_all(b"\n").unwrap();
    let ended = target.wait();
    assert_eq!(ended.code(), 0);
    let sparse = Truth::parse(&ended.stdout).region("sparse").start.clone();
    let segment = facts::segment(&traced.report.processes[0], &sparse);
    assert_eq!(by(&traced.report, segment, "sparse"), 16);
}

#[test]
fn a_killed_rmap_leaves_the_process_unharmed() {
    let machine = begin!();
    if !available() {
        return machine.skip("memory cannot be watched for writes here");
    }
    for moment in 0..6 {
        let (target, mut input) = started("rates", machine.scratch());
        let mut command = rmap_attach(machine.scratch(), &[target.pid()]);
        let mode: &[&str] = if moment % 2 == 0 { &EXACT } else { &["--rewrites=0.1"] };
        let rmap = Running::start(command.args(mode), None);
        if moment < 3 {
            eventually("memory is watched", || (watched(target.pid()) > 0).then_some(()));
            input.write_all(b"\n").unwrap();
            pause(moment * 40);
        } else {
            let stands = || ::std::fs::read_to_string(format!("/proc/{}/status", target.pid()));
            eventually("rmap has come", || {
                stands().is_ok_and(|status| !status.contains("TracerPid:\t0")).then_some(())
            });
            pause(moment % 3);
        }
        rmap.signal(Signal::SIGKILL);
        let _ = rmap.wait();
        assert_free(target.pid());
        eventually("nothing is watched", || (watched(target.pid()) == 0).then_some(()));
        pause(30);
        assert!(status_bytes(target.pid(), "VmRSS:").is_some(), "moment {moment}: it lives");
        target.signal(Signal::SIGKILL);
        let _ = target.wait();
    }
}
