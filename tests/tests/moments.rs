//! The peak of a session, and its states before the end, of programs whose truth is known.

use rmap_tests::begin;
use rmap_tests::process::run;
use rmap_tests::rmap::rmap;

const MIB: u64 = 1 << 20;

#[test]
fn the_peak_is_reported_though_nothing_of_it_is_left() {
    let machine = begin!();
    let job = machine.job("rise_and_fall", &[]);
    let process = &job.traced.report.processes[0];
    let peak = process.peak.as_ref().expect("a peak");
    // By the events, beside the kernel's own highest count.
    let allowed = (peak.vm_hwm_bytes / 200).max(256 << 10);
    assert!(peak.rss_bytes.abs_diff(peak.vm_hwm_bytes) <= allowed, "{peak:?}");
    assert!(process.rss_bytes.after < 20 * MIB);
    let path = &peak.paths[0];
    assert_eq!(path.rss_bytes, 100 * MIB, "every page of the block");
    let stack = path.stack.expect("its stack");
    let stacks = &job.traced.report.stacks;
    let frames = &stacks.iter().find(|known| known.id == stack).expect("the stack").frames;
    let names: Vec<&str> = frames.iter().filter_map(|frame| frame.function.as_deref()).collect();
    assert_eq!(&names[..2], ["build", "main"]);
    let highest = process.timeline.iter().map(|point| point.rss_bytes()).max();
    assert!(highest.is_some_and(|highest| highest > 10 * MIB), "{highest:?}");
}

#[test]
fn the_first_screen_leads_with_the_peak_and_moments_add_up() {
    let machine = begin!();
    let job = machine.job("rise_and_fall", &[]);
    let recording = machine.scratch().join("recording");
    let shown = run(rmap(["report"]).arg(&recording)).out();
    assert!(shown.contains("At its peak"), "{shown}");
    let row = shown.lines().skip_while(|line| !line.ends_with("Where")).nth(1).unwrap_or_default();
    assert!(row.contains("build") && row.contains("100.0"), "{shown}");
    let end = run(rmap(["report", "--at", "end"]).arg(&recording)).out();
    assert!(!end.contains("At its peak"), "{end}");
    let exit = job.traced.report.processes[0].ended_ns.expect("an end") as f64 / 1e9;
    for share in [0.25, 0.5, 0.75] {
        let at = format!("{:.6}", exit * share);
        let json = machine.scratch().join("at.json");
        let mut report = rmap(["report", "--json-schema", "1", "--at", &at, "--json"]);
        let ended = run(report.arg(&json).arg(&recording));
        assert_eq!(ended.code(), 0, "{}", ended.err());
        let text = std::fs::read_to_string(&json).unwrap();
        let report: rmap::report::Report = serde_json::from_str(&text).unwrap();
        rmap::report::check_identity(&report).expect("the identity holds at every moment");
    }
}
