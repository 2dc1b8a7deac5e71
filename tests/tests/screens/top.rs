//! `rmap top`: processes and commands on the screen, which go on as they were.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use rmap_tests::attach::assert_free;
use rmap_tests::cgroup::{Group, await_members};
use rmap_tests::process::{Running, eventually, run};
use rmap_tests::rmap::rmap;
use rmap_tests::{begin, workload};

use super::glass::Glass;

/// A process that maps and unmaps until the file `stop` is there; then it ends with 7.
fn steady(dir: &Path) -> Running {
    let mut command = Command::new(workload::build("steady"));
    Running::start(command.arg(dir.join("stop")).arg(dir.join("done")), None)
}

fn stops_in_good_health(steady: Running, dir: &Path) {
    assert_free(steady.pid());
    std::fs::write(dir.join("stop"), "").unwrap();
    assert_eq!(steady.wait().code(), 7);
    assert_eq!(std::fs::read_to_string(dir.join("done")).unwrap(), "done\n");
}

/// A process that writes some 10 MiB a second.
fn rise() -> Command {
    let mut command = Command::new(workload::build("rise"));
    command.args(["3000", "100000", "300"]);
    command
}

#[test]
fn a_process_goes_on_as_it_was_and_so_does_the_terminal() {
    let _machine = begin!();
    let dir = tempfile::tempdir().unwrap();
    let target = steady(dir.path());
    let pid = target.pid().to_string();
    let mut glass = Glass::start(rmap(["top", "-p", &pid]).current_dir(dir.path()), 24, 80);
    let whole = |rows: usize| {
        move |text: &str| text.lines().count() == rows && text.contains("p pause  q end")
    };
    let text = glass.until("all 24 lines", whole(24));
    assert!(text.contains(&format!("rmap top  {pid}")) && text.contains("Before attach"), "{text}");
    glass.keys("3");
    glass.shows(&format!("▸ {pid} /"));
    glass.shows("% CPU");
    glass.resize(40, 120);
    glass.until("all 40 lines", whole(40));
    glass.keys("2");
    glass.shows("Address");
    glass.keys("w");
    glass.shows("written: rmap-top-");
    let written = std::fs::read_dir(dir.path()).unwrap().flatten();
    let page = written.map(|entry| entry.file_name()).find(|name| {
        name.to_string_lossy().starts_with("rmap-top-") && name.to_string_lossy().ends_with(".html")
    });
    assert!(page.is_some());
    glass.keys("q");
    assert!(glass.ends().success());
    stops_in_good_health(target, dir.path());
}

#[test]
fn growth_since_a_mark_is_shown_and_recorded_and_a_pause_stands_still() {
    let _machine = begin!();
    let dir = tempfile::tempdir().unwrap();
    let target = Running::start(&mut rise(), None);
    let recording = dir.path().join("recording");
    let mut command = rmap(["top", "--record"]);
    command.arg(&recording).arg("-p").arg(target.pid().to_string());
    let mut glass = Glass::start(&command, 30, 100);
    glass.shows("▸ grow");
    glass.keys("m");
    glass.shows("by Since");
    let grown = |text: &str| {
        let row = text.lines().find(|line| line.contains("▸ grow"))?;
        let since = row.split_whitespace().find_map(|word| word.strip_prefix('+'))?;
        since.parse::<f64>().ok()
    };
    glass.until("growth", |text| grown(text).is_some_and(|mib| mib > 5.0));
    glass.keys("p");
    let paused = glass.shows("PAUSED");
    rmap_tests::process::pause(2500);
    let rows = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    glass.keys("r");
    let later = glass.shows("reversed");
    let figures = |text: &str| rows(text).first().cloned().map(|line| line[..17].to_owned());
    assert_eq!(figures(&later), figures(&paused), "the picture stands");
    glass.keys("p");
    glass.until("a later picture", |text| figures(text) != figures(&paused));
    glass.keys("q");
    assert!(glass.ends().success());
    assert_free(target.pid());
    target.signal(Signal::SIGTERM);
    drop(target.wait());
    let report = run(rmap(["report", "--window", "top-1.."]).arg(&recording));
    assert_eq!(report.code(), 0, "{}", report.err());
    assert!(report.out().contains("grow"), "{}", report.out());
    // The same session, to be gone through again.
    let mut glass = Glass::start(rmap(["view"]).arg(&recording), 24, 80);
    glass.shows(" end of ");
    glass.keys("[");
    glass.until("the mark or the peak", |text| text.contains("top-1") || text.contains("peak"));
    glass.keys("q");
    assert!(glass.ends().success());
}

#[test]
fn a_command_has_no_screen_and_what_it_wrote_is_printed_at_the_end() {
    let _machine = begin!();
    let script = "echo first; sleep 2; echo last >&2; cat; read line; exit 3";
    let mut glass = Glass::start(&rmap(["top", "--", "sh", "-c", script]), 24, 120);
    let text = glass.shows("exited with 3");
    assert!(!text.lines().any(|line| line.starts_with("first")), "{text}");
    glass.shows("> last");
    glass.keys("q");
    assert!(glass.ends().success());
    assert!(glass.text().contains("first\nlast"), "{}", glass.text());

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("output");
    let mut command = rmap(["top", "-o"]);
    command.arg(&file).args(["--", "sh", "-c", "echo kept; sleep 1; echo more"]);
    let mut glass = Glass::start(&command, 24, 80);
    glass.shows("exited with 0");
    glass.keys("\x03");
    assert!(glass.ends().success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept\nmore\n");
    assert!(!glass.text().contains("kept"), "{}", glass.text());
}

#[test]
fn a_command_goes_on_when_the_screen_is_left() {
    let _machine = begin!();
    let mut glass = Glass::start(&rmap(["top", "--", "sleep", "3600"]), 24, 80);
    glass.shows("Owner");
    glass.keys("3");
    let row = |text: &str| -> Option<u32> {
        let words: Vec<&str> = text.lines().skip(6).flat_map(str::split_whitespace).collect();
        let at = words.windows(2).position(|pair| pair == ["sleep", "3600"])?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    glass.until("the process", |text| row(text).is_some());
    let pid = row(&glass.text()).unwrap();
    glass.keys("\x03");
    assert!(glass.ends().success());
    assert_free(pid);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).unwrap();
    eventually("it is gone", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

#[test]
fn a_group_is_looked_at_with_those_that_join_it() {
    let machine = begin!();
    let group = match Group::make("rmap-test-top") {
        Ok(group) => group,
        Err(why) => return machine.skip(&why),
    };
    let dir = tempfile::tempdir().unwrap();
    let program = workload::build("steady");
    let words = [program, dir.path().join("stop"), dir.path().join("done")];
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let first = Running::start(&mut Group::command(group.path(), &words), None);
    await_members(&group, 1);
    let mut command = rmap(["top", "--cgroup"]);
    let mut glass = Glass::start(command.arg(group.path()), 24, 80);
    glass.shows(" 1 process.");
    let second = Running::start(&mut Group::command(group.path(), &words), None);
    glass.shows(" 2 processes.");
    glass.keys("3");
    glass.shows(&format!("▸ {} ", second.pid()));
    glass.keys("q");
    assert!(glass.ends().success());
    stops_in_good_health(first, dir.path());
    assert_eq!(second.wait().code(), 7);
}

#[test]
fn signals_and_panics_give_the_terminal_back() {
    let _machine = begin!();
    let dir = tempfile::tempdir().unwrap();
    let target = steady(dir.path());
    let pid = target.pid().to_string();
    let mut glass = Glass::start(&rmap(["top", "-p", &pid]), 24, 80);
    glass.shows("p pause  q end");
    glass.signal(Signal::SIGTERM);
    assert!(glass.ends().success());
    assert_free(target.pid());
    // A test's binary panics where it is asked to.
    let mut glass = Glass::start(rmap(["top", "-p", &pid]).env("RMAP_TEST_PANIC", "1"), 24, 80);
    glass.shows("p pause  q end");
    glass.keys("q");
    glass.ends();
    stops_in_good_health(target, dir.path());
}

#[test]
fn what_cannot_begin_is_said_on_a_terminal_that_was_not_touched() {
    let _machine = begin!();
    let mut glass = Glass::start(&rmap(["top", "-p", "4194303"]), 24, 80);
    assert_eq!(glass.ends().code(), Some(1));
    assert!(glass.text().contains("rmap: cannot attach to process 4194303"), "{}", glass.text());
    let piped = run(&mut rmap(["top", "--", "true"]));
    assert_eq!(piped.code(), 1);
    assert!(piped.err().contains("try rmap attach"), "{}", piped.err());
}
