//! rmap attaches, and lets go, again and again while processes fork, execute, end, and make threads.

use std::process::Command;

use rmap_tests::attach::rmap_attach;
use rmap_tests::process::Running;
use rmap_tests::{begin, facts, workload};

use crate::{ended_well, said};

#[test]
fn a_process_that_does_everything_is_attached_to_and_left_many_times() {
    let machine = begin!();
    let mut command = Command::new(workload::build("storm"));
    let (target, input) = Running::start_piped(command.arg("all"));
    said(&target, "pid");
    let pid = target.pid();
    for round in 0..4 {
        let mut rmap = rmap_attach(machine.scratch(), &[pid]);
        let seconds = format!("0.{}", 1 + 2 * round);
        let rmap = Running::start(rmap.args(["-d", &seconds]), None);
        let report = ended_well(machine.scratch(), rmap).report;
        facts::assert_sound(&report);
        assert_eq!(report.processes[0].pid, pid);
        assert!(report.processes.len() > 1, "it made children");
    }
    drop(input);
    let ended = target.wait();
    assert_eq!((ended.code(), ended.err().as_str()), (0, ""), "the target is as it was");
}

#[test]
fn a_process_that_ends_meanwhile_is_a_report_or_one_line() {
    let machine = begin!();
    for round in 0..12 {
        // It ends when rmap has just begun, is about to attach, or has attached.
        let seconds = format!("{}", 0.12 + 0.02 * f64::from(round));
        let target = Running::start(Command::new("sleep").arg(seconds), None);
        let pid = target.pid();
        let mut rmap = rmap_attach(machine.scratch(), &[pid]);
        let rmap = Running::start(rmap.args(["-d", "20"]), None);
        assert_eq!(target.wait().code(), 0);
        let ended = rmap.wait();
        if ended.code() == 0 {
            let json = std::fs::read_to_string(machine.scratch().join("report.json")).unwrap();
            let report: ::rmap::report::Report = serde_json::from_str(&json).unwrap();
            facts::assert_sound(&report);
            assert_eq!(report.processes[0].pid, pid);
        } else {
            assert_eq!(ended.code(), 1);
            assert_eq!(ended.err().lines().count(), 1, "{}", ended.err());
            assert!(ended.err().contains(&pid.to_string()), "{}", ended.err());
        }
    }
}
