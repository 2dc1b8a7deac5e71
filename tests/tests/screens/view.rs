//! `rmap view`: a recording on the screen.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rmap_tests::begin;
use rmap_tests::process::run;
use rmap_tests::rmap::rmap;

use super::glass::Glass;

const LEFT: &str = "\x1b[D";

fn recording() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recordings/forked.rmap")
}

fn view() -> Command {
    let mut command = rmap(["view"]);
    command.arg(recording());
    command
}

#[test]
fn a_recording_is_looked_at_moment_by_moment_and_the_terminal_is_as_it_was() {
    let _machine = begin!();
    let mut glass = Glass::start(&view(), 24, 80);
    let whole = |rows: usize| {
        move |text: &str| text.lines().count() == rows && text.contains("m mark  q end")
    };
    let text = glass.until("all 24 lines", whole(24));
    assert!(text.contains("rmap view  ./forked") && text.contains("fill  forked.c:18"), "{text}");
    assert!(glass.is_alternate());
    let end = glass.shows(" end of ");
    glass.keys(LEFT);
    glass.until("another moment", |text| !text.contains("end of") && !text.contains("reading"));
    assert_ne!(glass.text(), end);
    glass.keys("]");
    glass.shows(" end of ");
    // Segments, the history of one, its end.
    glass.keys("2/thread.stack\r");
    glass.shows("[thread");
    glass.keys("e");
    glass.shows("What happened, in time");
    glass.keys("q");
    glass.until("the rows", |text| !text.contains("What happened"));
    glass.resize(40, 120);
    let text = glass.until("all 40 lines", whole(40));
    assert!(text.contains("Address"), "{text}");
    glass.resize(24, 80);
    glass.until("the small screen", |text| !text.contains("Address"));
    glass.keys("q");
    assert!(glass.ends().success());
}

#[test]
fn figures_on_the_screen_are_those_of_the_report() {
    let _machine = begin!();
    let json = run(rmap(["export", "--format", "json"]).arg(recording()));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let totals = &json["totals"];
    let mut glass = Glass::start(&view(), 30, 100);
    let text = glass.shows(" end of ");
    let mib = totals["rss_bytes"].as_u64().unwrap() as f64 / f64::from(1 << 20);
    assert!(text.contains(&format!("RSS   {:>7.1} MiB", mib)), "{mib} {text}");
    let dirty = totals["dirty_bytes"].as_u64().unwrap() / 1024;
    assert!(text.contains(&format!("Dirty {dirty:>7} KiB")), "{dirty} {text}");
    glass.keys("\x03");
    assert!(glass.ends().success(), "Ctrl-C ends it as q does");
}

#[test]
fn no_colour_is_used_where_it_is_refused_and_names_cannot_write_to_the_screen() {
    let _machine = begin!();
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("evil.json");
    let honest = include_str!("../../../rmap-user/tests/view/golden/article.json");
    let hostile = honest.replace("/tmp/demo", "/tmp/\\u001b[2J\\u202e日本語\\u05d0\\n");
    std::fs::write(&report, hostile).unwrap();
    for (value, coloured) in [("1", false), ("", true)] {
        let mut command = rmap(["view"]);
        command.arg(&report).env("NO_COLOR", value);
        let mut glass = Glass::start(&command, 24, 80);
        let text = glass.shows("/tmp/\\x1b[2J\\u{202e}日本語\\u{5d0}\\n");
        assert!(text.contains("main  demo.c:11"), "{text}");
        assert_eq!(glass.has_colours(), coloured, "NO_COLOR={value:?}");
        glass.keys("q");
        assert!(glass.ends().success());
    }
}

#[test]
fn what_cannot_be_shown_is_said_in_one_line() {
    let _machine = begin!();
    let piped = run(view().stdin(Stdio::null()));
    assert_eq!(piped.code(), 1);
    assert!(piped.err().contains("try rmap report"), "{}", piped.err());
    let missing = run(&mut rmap(["view", "/nothing/there.rmap"]));
    assert_eq!((missing.code(), missing.err().lines().count()), (1, 1), "{}", missing.err());
}
