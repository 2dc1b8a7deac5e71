//! Processes that become something else while rmap is attached to them, and such that cannot be
//! attached to.

use std::io::Write as _;
use std::process::Command;

use ::rmap::report::{Process, Report, SnapshotKind};
use rmap_tests::attach::{await_attached, rmap_attach, threads};
use rmap_tests::job::PAGE;
use rmap_tests::machine::Machine;
use rmap_tests::process::{Running, eventually, run, status_field};
use rmap_tests::rmap::rmap;
use rmap_tests::truth::Truth;
use rmap_tests::{begin, facts, workload};

use crate::{ended_well, said};

/// `turns.c`, watched from before its turn to its end.
struct Turn {
    report: Report,
    truth: Truth,
}

impl Turn {
    fn of(machine: &Machine, what: &str) -> Self {
        let (target, mut input) =
            Running::start_piped(Command::new(workload::build("turns")).arg(what));
        let pid = target.pid();
        if what == "waiting" {
            // The parent says its number, and waits in the kernel for the child that it made.
            eventually("its child", || status_field(pid, "State:").filter(|s| s.starts_with('D')));
        } else {
            said(&target, "pid");
        }
        let rmap = Running::start(&mut rmap_attach(machine.scratch(), &[pid]), None);
        await_attached(&rmap);
        input.write_all(b"\n").unwrap();
        let ended = target.wait();
        assert_eq!(ended.code(), 0, "{}", ended.err());
        let report = ended_well(machine.scratch(), rmap).report;
        facts::assert_sound(&report);
        facts::assert_nothing_lost(&report);
        Self { report, truth: Truth::parse(&ended.stdout) }
    }

    fn process(&self, region: &str) -> &Process {
        let process = facts::process(&self.report, self.truth.region(region).pid);
        assert_eq!(process.snapshot, SnapshotKind::AtExit, "{region}");
        process
    }

    /// Checks that each function owns in its region what it said, by that cause, and that all the
    /// rest has these reasons.
    fn expect(&self, cause: &str, rest: &[(&str, u64)]) {
        assert!(!self.truth.pages.is_empty());
        for pages in &self.truth.pages {
            let smaps = self.truth.region(&pages.region);
            let segment = facts::segment(self.process(&pages.region), &smaps.start);
            let show = facts::show(&self.report, segment);
            let sizes = (segment.rss_bytes.after, segment.dirty_bytes.after);
            assert_eq!(sizes, (smaps.rss, smaps.dirty), "{show}");
            let owned = facts::owned_by(&self.report, segment, &[&pages.function]);
            let bytes = pages.pages * PAGE;
            assert_eq!((owned.rss, owned.dirty), (bytes, bytes), "{} {show}", pages.function);
            assert!(owned.causes.iter().eq([cause]), "{show}");
            let found: Vec<_> = segment
                .unexplained
                .iter()
                .map(|u| (u.reason.as_str(), u64::try_from(u.rss_bytes).unwrap() / PAGE))
                .collect();
            assert_eq!(found, rest, "{show}");
        }
    }
}

#[test]
fn a_thread_that_executes_another_program_is_followed_into_it() {
    let machine = begin!();
    let turn = Turn::of(&machine, "exec");
    assert_eq!(turn.report.processes.len(), 1);
    turn.expect("first-write", &[]);
    let process = turn.process("memory");
    assert!(process.command.ends_with("again"), "{}", process.command);
    let gave = process.released.iter().find(|released| released.how.as_str() == "exec");
    assert!(gave.is_some_and(|gave| gave.rss_bytes >= 64 * PAGE), "{:?}", process.released);
}

#[test]
fn copies_after_a_fork_are_told_on_both_sides() {
    let machine = begin!();
    let turn = Turn::of(&machine, "fork");
    assert_eq!(turn.report.processes.len(), 2);
    let rest = |region: &str| {
        let (process, start) = (turn.process(region), &turn.truth.region(region).start);
        let segment = facts::segment(process, start);
        let pages = turn.truth.pages.iter().find(|pages| pages.region == region).unwrap();
        let owned = facts::owned_by(&turn.report, segment, &[&pages.function]);
        assert_eq!((owned.rss, owned.dirty), (pages.pages * PAGE, pages.pages * PAGE), "{region}");
        assert!(owned.causes.iter().eq(["fork-cow"]), "{}", facts::show(&turn.report, segment));
        (facts::owned_through(segment, "fork-copy").rss / PAGE, segment.unexplained.clone())
    };
    let (copied, unexplained) = rest("child");
    assert_eq!((copied, unexplained), (48, vec![]));
    let (copied, unexplained) = rest("parent");
    let reasons: Vec<_> = unexplained.iter().map(|u| (u.reason.as_str(), u.rss_bytes)).collect();
    assert_eq!((copied, reasons), (0, vec![("before-attach", 56 * PAGE as i64)]));
}

#[test]
fn what_a_vfork_child_writes_is_its_parents() {
    let machine = begin!();
    let turn = Turn::of(&machine, "vfork");
    let segment = facts::segment(turn.process("memory"), &turn.truth.region("memory").start);
    let borrowed = facts::owned_by(&turn.report, segment, &["borrower_writes"]);
    assert_eq!(borrowed.rss, turn.truth.number("borrowed") * PAGE);
    turn.expect("first-write", &[("before-attach", 64)]);
}

#[test]
fn a_parent_that_waits_in_vfork_is_attached_to() {
    let machine = begin!();
    let turn = Turn::of(&machine, "waiting");
    // It could not be stopped, for it waits in the kernel, and the child, whose number rmap was not
    // told, writes into its memory. That is said.
    let segment = facts::segment(turn.process("memory"), &turn.truth.region("memory").start);
    let show = facts::show(&turn.report, segment);
    let added = facts::owned_by(&turn.report, segment, &["parent_adds"]);
    assert_eq!((added.rss, added.dirty), (8 * PAGE, 8 * PAGE), "{show}");
    let note = turn.report.coverage.probes.iter().find(|probe| probe.name == "ptrace");
    let why = note.and_then(|note| note.why_not.as_deref()).unwrap_or_default();
    assert!(why.contains("did not leave the kernel"), "{why}");
}

#[test]
fn a_process_without_its_leader_is_attached_to() {
    let machine = begin!();
    let turn = Turn::of(&machine, "leaderless");
    turn.expect("first-write", &[("before-attach", 64)]);
}

#[test]
fn every_process_of_a_tree_that_grows_is_told() {
    let machine = begin!();
    let turn = Turn::of(&machine, "tree");
    assert_eq!(turn.report.processes.len(), 1 + 2 + 4 + 8);
    assert_eq!(turn.truth.pages.len(), 15);
    turn.expect("first-write", &[]);
    for process in &turn.report.processes {
        assert_eq!(process.snapshot, SnapshotKind::AtExit);
        let parent = turn.report.processes.iter().any(|other| other.pid == process.parent_pid);
        assert!(parent || process.pid == turn.report.session.pids[0], "{}", process.pid);
    }
}

#[test]
fn a_childs_own_ways_are_not_told_with_no_follow() {
    let machine = begin!();
    let (target, mut input) =
        Running::start_piped(Command::new(workload::build("turns")).arg("tree"));
    said(&target, "pid");
    let mut rmap = rmap_attach(machine.scratch(), &[target.pid()]);
    let rmap = Running::start(rmap.arg("--no-follow"), None);
    await_attached(&rmap);
    let pid = target.pid();
    input.write_all(b"\n").unwrap();
    assert_eq!(target.wait().code(), 0);
    let report = ended_well(machine.scratch(), rmap).report;
    facts::assert_sound(&report);
    let found: Vec<_> = report.processes.iter().map(|p| (p.pid, p.snapshot)).collect();
    assert_eq!(found, [(pid, SnapshotKind::AtExit)]);
}

#[test]
fn what_cannot_be_attached_to_is_one_line_with_what_to_do() {
    let machine = begin!();
    let refused = |pid: u32, what: &str| {
        let ended = run(&mut rmap(["attach", "-p", &pid.to_string()]));
        assert_eq!((ended.code(), ended.out().as_str()), (1, ""), "{}", ended.err());
        assert_eq!(ended.err().lines().count(), 1, "{}", ended.err());
        assert!(ended.err().contains(what) && ended.err().contains("name "), "{}", ended.err());
    };
    // kthreadd; in a PID namespace of its own this is something else.
    if status_field(2, "Name:").as_deref() == Some("kthreadd") {
        refused(2, "a thread of the kernel");
    } else {
        machine.skip("no thread of the kernel is seen here");
    }
    let mut child = Command::new("true").spawn().unwrap();
    eventually("a zombie", || status_field(child.id(), "State:").filter(|s| s.starts_with('Z')));
    refused(child.id(), "a zombie");
    child.wait().unwrap();
    let server = Running::start(
        Command::new(workload::build("worker")).arg(machine.scratch().join("socket")).arg("2"),
        None,
    );
    eventually("its threads", || (threads(server.pid()).len() == 2).then_some(()));
    let tid = threads(server.pid()).into_iter().find(|tid| *tid != server.pid()).unwrap();
    refused(tid, "a thread of process");
    let mut itself = Command::new("sh");
    itself.args(["-c", "exec \"$0\" attach -p $$"]).arg(rmap_tests::rmap::binary());
    let ended = run(&mut itself);
    assert_eq!(ended.code(), 1);
    assert!(ended.err().contains("it is rmap itself"), "{}", ended.err());
    // One that is not there among such that are: nobody is touched.
    let both = format!("{},999999999", server.pid());
    let ended = run(&mut rmap(["attach", "-p", &both]));
    assert_eq!(ended.code(), 1);
    assert!(ended.err().contains("999999999"), "{}", ended.err());
}
