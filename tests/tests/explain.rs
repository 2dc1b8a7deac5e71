//! `rmap explain`: stories of segments of real programs, from recordings and of processes that run;
//! and `rmap report --at`, the state at other moments.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::io::Write as _;
use std::path::Path;

use ::rmap::report::story::{Happening, Story};
use ::rmap::report::{Explanation, Report, SnapshotKind, check_identity};
use nix::sys::signal::Signal;
use rmap_tests::attach::{assert_free, await_attached};
use rmap_tests::job::PAGE;
use rmap_tests::process::{Ended, Running, eventually, run};
use rmap_tests::rmap::rmap;
use rmap_tests::truth::Truth;
use rmap_tests::{begin, facts, workload};

/// Runs a workload into a recording.
fn record(recording: &Path, options: &[&str], workload: &str, args: &[&str]) -> Truth {
    let mut command = rmap(["run", "-o", "/dev/null"]);
    command.args(options).arg("--record").arg(recording).arg("--");
    let ended = run(command.arg(workload::build(workload)).args(args));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    Truth::parse(&ended.stdout)
}

/// The stories and the text of a call of `rmap explain`.
fn explain(dir: &Path, words: &[&str]) -> (Explanation, String) {
    let json = dir.join("story.json");
    let ended = run(rmap(["explain", "--json"]).arg(&json).args(words));
    read(&json, &ended)
}

fn read(json: &Path, ended: &Ended) -> (Explanation, String) {
    assert_eq!((ended.code(), ended.err().as_str()), (0, ""));
    let explanation: Explanation = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(explanation.schema, "rmap.explain/1");
    explanation.stories.iter().for_each(assert_adds_up);
    (explanation, ended.out())
}

/// What came less what went, and what is not explained, is what smaps says, to the byte.
fn assert_adds_up(story: &Story) {
    let Some(segment) = &story.segment else { return };
    let events = story.events.iter();
    let mut sum = events.fold((0, 0), |sum, e| (sum.0 + e.rss_bytes, sum.1 + e.dirty_bytes));
    sum.0 -= story.since.rss_bytes;
    sum.1 -= story.since.dirty_bytes;
    for rest in segment.unexplained.iter().filter(|rest| rest.reason.as_str() != "before-attach") {
        sum.0 += rest.rss_bytes;
        sum.1 += rest.dirty_bytes;
    }
    let after = (segment.rss_bytes.after as i64, segment.dirty_bytes.after as i64);
    assert_eq!(sum, after, "{story:#?}");
    let there = story.pages.iter().filter(|pages| ["anonymous", "file"].contains(&&*pages.state));
    let mapped: u64 = there.map(|pages| pages.end.0 - pages.start.0).sum();
    assert_eq!(mapped, segment.rss_bytes.after, "the map shows every page that is there");
}

/// Whether a function is in the stack of something that happened.
fn is_by(explanation: &Explanation, event: &Happening, function: &str) -> bool {
    let stack = explanation.stacks.iter().find(|stack| Some(stack.id) == event.stack);
    stack.is_some_and(|s| s.frames.iter().any(|f| f.function.as_deref() == Some(function)))
}

#[test]
fn the_heap_of_the_articles_program_has_its_story() {
    let machine = begin!();
    let recording = machine.scratch().join("recording");
    let truth = record(&recording, &[], "article", &["first"]);
    let heap = truth.smaps.iter().find(|smaps| smaps.region == "heap").unwrap();
    let recording = recording.to_str().unwrap();
    let (explanation, text) = explain(machine.scratch(), &[recording, "[heap]"]);
    let [story] = &explanation.stories[..] else { panic!("{explanation:?}") };
    let segment = story.segment.as_ref().unwrap();
    assert_eq!(segment.start.to_string(), heap.start);
    assert_eq!(segment.rss_bytes.after, heap.rss);
    let [first, rest @ ..] = &story.events[..] else { panic!("{story:?}") };
    assert_eq!((first.what.as_str(), first.name.as_str()), ("map", "brk"));
    assert!(is_by(&explanation, first, "main"));
    assert_eq!(first.mapped_bytes, segment.size_bytes as i64);
    let filled = rest.iter().filter(|event| is_by(&explanation, event, "fill_block"));
    let filled: i64 = filled.map(|event| event.rss_bytes).sum();
    let told = truth.pages.iter().find(|pages| pages.function == "fill_block").unwrap();
    assert_eq!(filled, (told.pages * PAGE) as i64);
    for part in ["mapped by brk", "first-write", "fill_block", "snapshot", "Code paths as a tree"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // By an address, and by the range, it is the same story.
    let range = format!("{}-{}", segment.start, segment.end);
    for word in [&segment.start.to_string(), &range] {
        let (other, _) = explain(machine.scratch(), &[recording, word]);
        assert_eq!(other.stories, explanation.stories, "{word}");
    }
    // Every segment has a story that adds up.
    let (all, _) = explain(machine.scratch(), &[recording, "libc.so.6"]);
    assert!(all.stories.len() > 2);
    let ended = run(&mut rmap(["explain", recording, "no-such"]));
    assert_eq!((ended.code(), ended.out().as_str()), (1, ""));
    assert!(ended.err().contains("no process has or had such a segment"), "{}", ended.err());
}

/// Nobody is to learn at the end that there was nothing to watch.
#[test]
fn a_segment_that_a_process_does_not_have_is_refused_before_it_is_watched() {
    let machine = begin!();
    let mut sleep = std::process::Command::new("sleep");
    let sleep = Running::start(sleep.arg("100"), None);
    eventually("it has a stack", || {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", sleep.pid())).ok()?;
        maps.contains("[stack]").then_some(())
    });
    let pid = sleep.pid().to_string();
    let kept = machine.scratch().join("kept");
    // Without -d it would be watched until it ends.
    for segment in ["no-such.so", "0x1000", "1000-2000"] {
        let mut command = rmap(["explain", segment, "-p", &pid, "--record"]);
        let ended = run(command.arg(&kept));
        assert_eq!((ended.code(), ended.out().as_str()), (1, ""), "{}", ended.err());
        let told = format!("rmap: process {pid} has no segment {segment}, so it is not watched");
        assert!(ended.err().starts_with(&told), "{}", ended.err());
        assert!(ended.err().contains("rmap attach -p"), "what to do: {}", ended.err());
        assert_eq!(ended.err().lines().count(), 1, "{}", ended.err());
    }
    assert!(!kept.exists());
    assert_free(sleep.pid());
    sleep.signal(Signal::SIGKILL);
    let _ = sleep.wait();
    // Why a process cannot be watched is told as ever.
    let ended = run(&mut rmap(["explain", "[heap]", "-p", "4194304"]));
    assert_eq!(ended.code(), 1);
    assert!(ended.err().contains("no such process"), "{}", ended.err());
}

#[test]
fn what_is_given_back_and_what_moves_is_told() {
    let machine = begin!();
    let recording = machine.scratch().join("recording");
    for (workload, what) in [("dontneed", "free"), ("mremap_grow", "move"), ("lazy_free", "clean")]
    {
        let truth = record(&recording, &[], workload, &[]);
        let word = recording.to_str().unwrap();
        let mut told = Vec::new();
        for smaps in &truth.smaps {
            let (explanation, _) = explain(machine.scratch(), &[word, &smaps.start]);
            let [story] = &explanation.stories[..] else { panic!("{explanation:?}") };
            let segment = story.segment.as_ref().unwrap();
            let sizes = (segment.rss_bytes.after, segment.dirty_bytes.after);
            assert_eq!(sizes, (smaps.rss, smaps.dirty), "{workload} {}", smaps.region);
            told.extend(story.events.iter().map(|event| event.what.clone()));
        }
        assert!(told.iter().any(|told| told == what), "{workload}: {told:?}");
    }
}

#[test]
fn a_process_that_runs_is_watched_and_then_told_of() {
    let machine = begin!();
    let file = machine.scratch().join("file");
    let mut command = std::process::Command::new(workload::build("attached"));
    let (workload, mut input) = Running::start_piped(command.arg(file));
    let said = |name: &str| {
        eventually(name, || {
            let truth = Truth::parse(&workload.out_so_far());
            truth.numbers.iter().any(|number| number.name == name).then_some(truth)
        })
    };
    let pid = said("pid").number("pid").to_string();
    let json = machine.scratch().join("story.json");
    let mut command = rmap(["explain", "[anon]", "-p", &pid, "--json"]);
    let rmap = Running::start(command.arg(&json), None);
    await_attached(&rmap);
    input.write_all(b"\n").unwrap();
    let truth = said("done");
    rmap.signal(Signal::SIGINT);
    let (explanation, text) = read(&json, &rmap.wait());
    assert_free(workload.pid());
    input.write_all(b"\n").unwrap();
    assert_eq!(workload.wait().code(), 0);
    let memory = &truth.region("memory").start;
    let story = explanation.stories.iter().find(|story| story.start.to_string() == *memory);
    let story = story.expect("the story of the memory");
    let pages = |what: &str, name: &str| {
        let events = story.events.iter().filter(|e| (&*e.what, &*e.name) == (what, name));
        events.map(|event| event.rss_bytes / PAGE as i64).sum::<i64>()
    };
    assert_eq!(pages("found", "before-attach"), 64, "{story:#?}");
    assert_eq!(pages("fault", "first-write"), 32 + 4, "{story:#?}");
    assert_eq!(pages("free", "dontneed"), -8, "{story:#?}");
    let filled = story.events.iter().find(|event| is_by(&explanation, event, "fill_added"));
    assert!(filled.is_some_and(|event| !event.tids.contains(&story.pid)), "by its thread");
    for part in ["before-attach", "freed by dontneed", "fill_added"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // -d ends it too, and a recording is kept where one is wanted.
    let mut sleep = std::process::Command::new("sleep");
    let sleep = Running::start(sleep.arg("100"), None);
    let kept = machine.scratch().join("kept");
    let pid = sleep.pid().to_string();
    let mut command = rmap_tests::rmap::rmap(["explain", "[stack]", "-p", &pid, "-d", "0.2"]);
    let ended = run(command.arg("--json").arg(&json).arg("--record").arg(&kept));
    read(&json, &ended);
    sleep.signal(Signal::SIGKILL);
    let _ = sleep.wait();
    let again = machine.scratch().join("again.json");
    let ended =
        run(rmap_tests::rmap::rmap(["explain", "--json"]).arg(&again).arg(&kept).arg("[stack]"));
    read(&again, &ended);
    assert_eq!(std::fs::read(&json).unwrap(), std::fs::read(&again).unwrap());
}

#[test]
fn the_state_at_the_peak_and_at_any_time() {
    let machine = begin!();
    let recording = machine.scratch().join("recording");
    if !rmap_tests::process::has_program("python3") {
        return machine.skip("python3 is not installed");
    }
    // 32 MiB for as long as it takes to be seen, then nothing of it.
    let python = "import mmap, time; m = mmap.mmap(-1, 32 << 20); m.write(b'x' * (32 << 20)); \
                  time.sleep(0.7); m.close(); time.sleep(0.3)";
    let mut command = rmap(["run", "-o", "/dev/null", "--interval", "0.1", "--record"]);
    let ended = run(command.arg(&recording).args(["--", "python3", "-c", python]));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let json = machine.scratch().join("at.json");
    let at = |when: &str| {
        let mut command = rmap(["report", "--json-schema", "1", "--at", when, "--json"]);
        command.args([json.as_os_str(), "-o".as_ref(), "/dev/null".as_ref()]);
        let ended = run(command.arg(&recording));
        if ended.code() != 0 {
            return Err(ended.err());
        }
        let report: Report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        check_identity(&report).unwrap();
        facts::assert_sound(&report);
        Ok(report)
    };
    let (peak, end) = (at("peak").unwrap(), at("end").unwrap());
    let rss = |report: &Report| report.processes[0].rss_bytes.after;
    assert!(rss(&peak) >= rss(&end) + (32 << 20), "{} {}", rss(&peak), rss(&end));
    let peak_ns = peak.session.at_ns.unwrap();
    // The kernel's sizes where a snapshot stands there, else those of the events.
    let taken = peak.processes[0].snapshot_ns;
    let by_events = peak.processes[0].snapshot == SnapshotKind::Events;
    assert!(taken == Some(peak_ns) || (taken.is_none() && by_events), "{taken:?}");
    assert_eq!(end.session.at_ns, None);
    assert!(peak_ns < end.processes[0].snapshot_ns.unwrap());
    // The moment of the peak as a time is the same state.
    let seconds = format!("{:.9}", peak_ns as f64 / 1e9);
    assert_eq!(rss(&at(&seconds).unwrap()), rss(&peak));
    let error = at("1000").unwrap_err();
    assert!(error.contains("after its start: give a time before"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
