//! `rmap pmap PID` and `pmap -x PID` of procps show the same.

use rmap_tests::process::{Running, eventually, run};
use rmap_tests::rmap::rmap;
use rmap_tests::truth::Truth;
use rmap_tests::{begin, pmap, workload};

/// The words of every line but the first one, which has the command's name.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn columns_and_totals_are_those_of_procps() {
    let machine = begin!();
    let mut sleepers = Vec::new();
    // A program with a heap, static and dynamic; a shell; a sleeper.
    for flags in [&[][..], &["-static"]] {
        let mut article = std::process::Command::new(workload::build_with("article", flags));
        let started = Running::start_piped(article.args(["first", "wait"]));
        eventually("the workload's truth", || Truth::parse(&started.0.out_so_far()).smaps.pop());
        sleepers.push(started);
    }
    let mut shell = std::process::Command::new("sh");
    let started = Running::start_piped(shell.args(["-c", "echo ready; read line"]));
    eventually("the shell", || (started.0.out_so_far() == b"ready\n").then_some(()));
    sleepers.push(started);
    for (running, _stdin) in &sleepers {
        let Some(theirs) = pmap::output(running.pid()) else {
            return machine.skip("no pmap here");
        };
        let ours = run(&mut rmap(["pmap", &running.pid().to_string()]));
        assert_eq!((ours.code(), ours.err().as_str()), (0, ""));
        assert_eq!(words(&ours.out()), words(&theirs), "{}\n{theirs}", ours.out());
    }
}
