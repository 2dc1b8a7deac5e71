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

#[test]
fn more_columns_and_json_have_the_same_totals_and_two_of_them_compare() {
    let machine = begin!();
    let mut shell = std::process::Command::new("sh");
    let (running, _stdin) = Running::start_piped(shell.args(["-c", "echo ready; read line"]));
    eventually("the shell", || (running.out_so_far() == b"ready\n").then_some(()));
    let pid = running.pid().to_string();

    let plain = run(&mut rmap(["pmap", &pid])).out();
    let extended = run(&mut rmap(["pmap", "-X", &pid]));
    assert_eq!(extended.code(), 0, "{}", extended.err());
    let extended = extended.out();
    let totals = |text: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with("total kB")).unwrap();
        line.split_whitespace().skip(2).map(str::to_owned).collect()
    };
    // Kbytes, RSS and Dirty; then PSS, private, shared, swap and so on.
    assert_eq!(totals(&plain), totals(&extended)[..3], "{extended}");
    assert_eq!(totals(&extended).len(), 11, "{extended}");
    let figure = |at: usize| totals(&extended)[at].parse::<u64>().unwrap();
    assert_eq!(figure(4) + figure(5), figure(1), "private and shared are all: {extended}");
    assert_eq!(extended.lines().count(), plain.lines().count(), "{extended}");

    let file = |name: &str| machine.scratch().join(name).display().to_string();
    let (before, after) = (file("before.json"), file("after.json"));
    for path in [&before, &after] {
        let ended = run(&mut rmap(["pmap", &pid, "--json", path, "--by", "kind"]));
        assert_eq!(ended.code(), 0, "{}", ended.err());
        assert!(ended.out().contains("heap"), "{}", ended.out());
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&after).unwrap()).unwrap();
    let process = &json["processes"][0];
    let kib = process["rss_bytes"]["after"].as_u64().unwrap() >> 10;
    assert_eq!(kib.to_string(), totals(&plain)[1]);
    let parts = process["segments"].as_array().unwrap().iter();
    let parts = parts.flat_map(|segment| segment["unexplained"].as_array().unwrap());
    let sum: i64 = parts.map(|part| part["rss_bytes"].as_i64().unwrap()).sum();
    assert_eq!(sum as u64 >> 10, kib);
    let difference = run(&mut rmap(["diff", &before, &after]));
    assert_eq!(difference.code(), 0, "{}", difference.err());
}
