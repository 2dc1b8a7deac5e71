//! The peak of a session, and its states before the end, of programs whose truth is known.

use std::path::Path;

use ::rmap::report::Report;
use rmap_tests::begin;
use rmap_tests::machine::Machine;
use rmap_tests::process::{Ended, Running, run};
use rmap_tests::rmap::{binary, reports, rmap};
use rmap_tests::workload::build;

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
    let live = run(rmap(["run", "--at", "end", "--"]).arg(build("rise_and_fall"))).err();
    assert!(!live.contains("At its peak") && live.contains("Held at exit"), "{live}");
    let exit = job.traced.report.processes[0].ended_ns.expect("an end") as f64 / 1e9;
    for share in [0.25, 0.5, 0.75] {
        let at = format!("{:.6}", exit * share);
        let json = machine.scratch().join("at.json");
        let mut report = rmap(["report", "--json-schema", "1", "--at", &at, "--json"]);
        let ended = run(report.arg(&json).arg(&recording));
        assert_eq!(ended.code(), 0, "{}", ended.err());
        let text = std::fs::read_to_string(&json).unwrap();
        let report: ::rmap::report::Report = serde_json::from_str(&text).unwrap();
        ::rmap::report::check_identity(&report).expect("the identity holds at every moment");
    }
}

/// RSS by the function on top, in MiB, of what a report says.
fn held(report: &Report, name: &str) -> f64 {
    let named = |stack: &Option<::rmap::report::StackId>| {
        let stack = report.stacks.iter().find(|known| Some(known.id) == *stack);
        stack.is_some_and(|stack| {
            stack.frames.iter().any(|frame| frame.function.as_deref() == Some(name))
        })
    };
    let paths = report.processes[0].segments.iter().flat_map(|segment| &segment.paths);
    paths.filter(|path| named(&path.stack)).map(|path| path.rss_bytes as f64).sum::<f64>()
        / MIB as f64
}

fn read(machine: &Machine, options: &[&str]) -> Report {
    let json = machine.scratch().join("asked.json");
    let mut report = rmap(["report", "--json-schema", "1", "-o", "/dev/null", "--json"]);
    let ended = run(report.arg(&json).args(options).arg(machine.scratch().join("recording")));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let report: Report =
        serde_json::from_str(&std::fs::read_to_string(&json).expect("the JSON")).expect("a report");
    ::rmap::report::check_identity(&report).expect("the identity holds");
    report
}

#[test]
fn a_window_between_marks_has_what_came_in_it_and_what_was_given_back() {
    let machine = begin!();
    let workload = build("in_windows");
    let rmap_itself = binary();
    let ended =
        run_with(&machine, &["--no-follow"], &workload, &[rmap_itself.to_str().expect("UTF-8")]);
    assert_eq!(ended.code(), 0, "{}{}", ended.out(), ended.err());
    let whole = read(&machine, &[]);
    let marks: Vec<&str> = whole.session.marks.iter().map(|mark| mark.name.as_str()).collect();
    assert_eq!(marks, ["loaded", "served"]);

    let window = read(&machine, &["--window", "loaded..served"]);
    let of = |name: &str| held(&window, name);
    assert_eq!((of("load"), of("serve"), of("after")), (0.0, 24.0, 0.0));
    let shown = window.processes[0].window.as_ref().expect("a window");
    // A snapshot of the running program may see a page before its event: a residual goes then.
    let paths = shown.given_back.iter().filter(|back| back.reason.is_none());
    assert_eq!(paths.map(|back| back.rss_bytes).sum::<u64>(), 4 * MIB, "{:?}", shown.given_back);
    let back: u64 = shown.given_back.iter().map(|back| back.rss_bytes).sum();
    let came = window.processes[0].rss_bytes.after;
    assert_eq!(shown.rss_bytes.before + came, shown.rss_bytes.after + back);
    let released = window.processes[0].released.iter().map(|released| released.rss_bytes);
    assert_eq!(released.sum::<u64>(), 4 * MIB);

    let rest = read(&machine, &["--window", "served.."]);
    assert_eq!((held(&rest, "serve"), held(&rest, "after")), (0.0, 2.0));
    let state = read(&machine, &["--at", "loaded"]);
    assert_eq!((held(&state, "load"), held(&state, "serve")), (16.0, 0.0));

    let recording = machine.scratch().join("recording");
    let shown = run(rmap(["report", "--window", "loaded..served"]).arg(&recording)).out();
    assert!(shown.contains("came and are still there"), "{shown}");
    assert!(shown.contains("What was given back"), "{shown}");
    let folded = ["export", "-f", "folded", "--of", "resident", "--window", "loaded..served"];
    let folded = run(rmap(folded).arg(&recording)).out();
    assert!(folded.contains("serve") && !folded.contains("after"), "{folded}");
    let wrong = run(rmap(["report", "--at", "lunch"]).arg(&recording));
    assert!(wrong.code() == 1 && wrong.err().contains("loaded, served"), "{}", wrong.err());
}

#[test]
fn a_running_session_answers_for_the_moments_that_are_asked_for() {
    let machine = begin!();
    let workload = build("in_windows");
    for (asked, expected) in [
        (["--window", "signal-1..signal-2"], (0.0, 24.0, 0.0)),
        (["--at", "signal-1"], (16.0, 0.0, 0.0)),
        (["--at", "peak"], (16.0, 24.0, 0.0)),
    ] {
        let ended = run_with(&machine, &asked, &workload, &["signal"]);
        assert_eq!(ended.code(), 0, "{}{}", ended.out(), ended.err());
        let live =
            std::fs::read_to_string(machine.scratch().join("report.json")).expect("the JSON");
        let report: Report = serde_json::from_str(&live).unwrap();
        let of = |name: &str| held(&report, name);
        assert_eq!((of("load"), of("serve"), of("after")), expected, "{asked:?}");
        let recorded = read(&machine, &asked);
        assert_eq!(
            serde_json::to_value(&recorded).unwrap(),
            serde_json::to_value(&report).unwrap()
        );
    }
    let ended = run_with(&machine, &["--at", "lunch"], &workload, &["signal"]);
    assert_eq!(ended.code(), 1);
    let said = ended.err();
    assert!(said.contains("no mark \"lunch\"") && said.contains("that of the end"), "{said}");
}

/// `rmap run` with options, which writes its reports and a recording.
fn run_with(machine: &Machine, options: &[&str], workload: &Path, args: &[&str]) -> Ended {
    let mut job = reports(machine.scratch(), "run");
    job.args(options).arg("--").arg(workload).args(args);
    Running::start(&mut job, None).wait()
}

#[test]
fn a_budget_is_judged_at_the_peak_and_differences_fail_by_rules() {
    let machine = begin!();
    let workload = build("rise_and_fall");
    let run_with = |budget: &str| run_with(&machine, &["--budget", budget], &workload, &[]);
    let fits = run_with("rss=1G,dirty=200M");
    assert_eq!(fits.code(), 0, "{}", fits.err());
    let over = run_with("rss=50M,dirty=1G");
    assert_eq!(over.code(), 3, "{}", over.err());
    let said = over.err();
    let lines: Vec<&str> = said.lines().rev().take(4).collect();
    assert!(lines.iter().any(|line| line.contains("over budget: RSS was 10")), "{said}");
    assert!(lines.iter().any(|line| line.contains("build")), "{said}");

    let recording = machine.scratch().join("recording");
    let report = |budget: &str| {
        run(rmap(["report", "-o", "/dev/null", "--budget", budget]).arg(&recording)).code()
    };
    assert_eq!((report("path:build=100M"), report("path:build=99M")), (0, 3));
    let diff = |rule: &str, at: &str| {
        let json = machine.scratch().join("end.json");
        let mut export = rmap(["export", "-f", "json", "-o"]);
        assert_eq!(run(export.arg(&json).arg(&recording)).code(), 0);
        let mut peak = rmap(["export", "-f", "json", "--at", at, "-o"]);
        let then = machine.scratch().join("then.json");
        assert_eq!(run(peak.arg(&then).arg(&recording)).code(), 0);
        let mut diff = rmap(["diff", "-o", "/dev/null", "--fail-if", rule]);
        run(diff.arg(&json).arg(&then)).code()
    };
    assert_eq!(diff("rss>+10M", "end"), 0);
    assert_eq!(diff("rss>+10M", "peak"), 3);
    assert_eq!(diff("dirty>+5%", "peak"), 3);
    assert_eq!(diff("path:build>+200M", "peak"), 0);
}
