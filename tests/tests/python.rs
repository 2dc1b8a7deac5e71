//! Python's own functions and lines, against what the scripts know that they did.

use std::collections::BTreeMap;

use ::rmap::report::{Process, Report};
use rmap_tests::python::{self, Python, Said, by_line, frames, interpreters, said, touched, trace};
use rmap_tests::rmap::Traced;
use rmap_tests::{begin, facts};
use serde::Deserialize;

/// The one process of a report.
fn only(report: &Report) -> &Process {
    assert_eq!(report.processes.len(), 1, "one process");
    &report.processes[0]
}

/// Checks that each line owns exactly the pages that the script said of it.
fn assert_lines(traced: &Traced, file: &str, what: &str) {
    let found = by_line(&traced.report, only(&traced.report), file);
    for Said { function, line, pages } in said::<Said>(traced) {
        let got = found.get(&(function.clone(), line)).copied().unwrap_or(0);
        assert_eq!(got, pages, "{what}: {function}:{line}; {found:#?}");
    }
}

/// An interpreter of a version of which frames lie in a stack of their own.
fn modern() -> Option<Python> {
    interpreters().into_iter().rev().find(|python| python.minor >= 11)
}

#[test]
fn each_python_line_owns_the_pages_that_it_touched() {
    let machine = begin!();
    let pythons = interpreters();
    if pythons.is_empty() {
        return machine.skip("no CPython 3.8 to 3.14 here");
    }
    for python in &pythons {
        let what = format!("{} (3.{})", python.path.display(), python.minor);
        let traced = trace(machine.scratch(), python, "places", &[]);
        let file = python::script("places");
        assert_lines(&traced, file.to_str().unwrap(), &what);
        let probes = &traced.report.coverage.probes;
        let version = format!("python 3.{}", python.minor);
        let row = probes.iter().find(|probe| probe.name.starts_with(&version));
        assert!(row.is_some_and(|row| row.attached), "{what}: {probes:#?}");
        // Each run stands where its evaluation loop was, so no loop is left that ran Python's code.
        let mut placed = 0;
        let mut whole = 0;
        for (stack, _) in touched(&traced.report, only(&traced.report)) {
            if stack.complete && frames(stack).next().is_some() {
                whole += 1;
                let apart =
                    |frame: &::rmap::report::Frame| frame.module.contains("without a place");
                placed += usize::from(!stack.frames.iter().any(apart));
            }
        }
        assert!(
            whole > 0 && placed * 100 >= whole * 99,
            "{what}: {placed} of {whole} have their places"
        );
    }
}

#[derive(Deserialize)]
struct Chain {
    chain: Vec<String>,
    pages: u64,
}

#[test]
fn threads_keep_their_python_frames_apart() {
    let machine = begin!();
    // As many as are quick; RMAP_PYTHON_PAGES makes it the long one.
    let pages = std::env::var("RMAP_PYTHON_PAGES").unwrap_or_else(|_| "1500".to_owned());
    let pythons = interpreters();
    if pythons.is_empty() {
        return machine.skip("no CPython 3.8 to 3.14 here");
    }
    for python in &pythons {
        let made = machine.scratch().join("made.py");
        let args = ["4", "70", pages.as_str(), made.to_str().unwrap()];
        let traced = trace(machine.scratch(), python, "threads", &args);
        let mut found: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        for (stack, pages) in touched(&traced.report, only(&traced.report)) {
            let chain: Vec<String> =
                frames(stack).take(3).filter_map(|frame| frame.function.clone()).collect();
            if chain.first().is_some_and(|first| first.starts_with("touch_")) {
                *found.entry(chain).or_default() += pages;
            }
        }
        for Chain { chain, pages } in said::<Chain>(&traced) {
            let got = found.remove(&chain).unwrap_or(0);
            assert_eq!(got, pages, "3.{}: {chain:?}", python.minor);
        }
        assert!(found.is_empty(), "3.{}: chains that never were: {found:#?}", python.minor);
    }
}

#[test]
fn functions_that_exec_made_keep_their_names_after_others_took_their_memory() {
    let machine = begin!();
    let pythons = interpreters();
    if pythons.is_empty() {
        return machine.skip("no CPython 3.8 to 3.14 here");
    }
    for python in &pythons {
        let traced = trace(machine.scratch(), python, "reused", &["300", "5"]);
        assert_lines(&traced, "<string>", &format!("3.{}", python.minor));
    }
}

#[test]
fn a_broken_chain_ends_the_walk_and_invents_nothing() {
    let machine = begin!();
    let Some(python) = modern() else {
        return machine.skip("no CPython 3.11 to 3.14 here");
    };
    let traced = trace(machine.scratch(), &python, "corrupt", &[]);
    let file = python::script("corrupt");
    assert_lines(&traced, file.to_str().unwrap(), "broken");
    let mut broken = 0;
    for (stack, pages) in touched(&traced.report, only(&traced.report)) {
        let names: Vec<&str> =
            frames(stack).filter_map(|frame| frame.function.as_deref()).collect();
        if names.first() == Some(&"touch") && names.len() == 1 {
            broken += pages;
            assert!(!stack.complete, "{stack:#?}");
            assert!(stack.frames.iter().any(|f| f.module == "[incomplete: more python frames]"));
        }
    }
    assert_eq!(broken, 200);
}

#[test]
fn deep_recursion_is_cut_and_says_so() {
    let machine = begin!();
    let Some(python) = modern() else {
        return machine.skip("no CPython 3.11 to 3.14 here");
    };
    let traced = trace(machine.scratch(), &python, "deep", &[]);
    assert_lines(&traced, python::script("deep").to_str().unwrap(), "deep");
    let deep = touched(&traced.report, only(&traced.report))
        .find(|(stack, pages)| *pages >= 50 && frames(stack).count() == 255);
    let (stack, _) = deep.unwrap();
    assert!(!stack.complete);
    assert!(frames(stack).all(|frame| frame.function.as_deref() == Some("down")));
}

#[test]
fn forked_children_have_their_own_lines_and_other_programs_none() {
    let machine = begin!();
    let Some(python) = interpreters().into_iter().next_back() else {
        return machine.skip("no CPython 3.8 to 3.14 here");
    };
    let traced = trace(machine.scratch(), &python, "forked", &[]);
    let report = &traced.report;
    assert_eq!(report.processes.len(), 4);
    for (number, child) in report.processes[1..3].iter().enumerate() {
        let own = format!("own_{number}");
        let copied: u64 = child
            .segments
            .iter()
            .flat_map(|segment| &segment.paths)
            .filter(|path| path.cause.as_str() == "fork-cow")
            .filter(|path| {
                let stack = facts::stack(report, path.stack);
                let names: Vec<&str> =
                    frames(stack).filter_map(|f| f.function.as_deref()).take(2).collect();
                names == ["write_again", &own]
            })
            .map(|path| path.dirty_bytes / 4096)
            .sum();
        // What the line reads of its own objects is copied too.
        assert!((100..120).contains(&copied), "{own}: {copied}");
    }
    let other = report.processes.iter().find(|p| p.exe.ends_with("true")).unwrap();
    let paths = other.segments.iter().flat_map(|segment| &segment.paths);
    let stacks = paths.filter_map(|path| path.stack);
    let mut python =
        stacks.filter(|stack| frames(facts::stack(report, Some(*stack))).next().is_some());
    assert_eq!(python.next(), None, "frames of Python in another program");
}

#[test]
fn without_python_frames_the_interpreter_is_shown() {
    let machine = begin!();
    let Some(python) = modern() else {
        return machine.skip("no CPython 3.11 to 3.14 here");
    };
    let mut rmap = rmap_tests::rmap::reports(machine.scratch(), "run");
    rmap.args(["--python", "off", "--"]).arg(&python.path).arg(python::script("deep"));
    let running = rmap_tests::process::Running::start(&mut rmap, None);
    let traced = rmap_tests::rmap::finish(machine.scratch(), running);
    assert!(traced.report.stacks.iter().all(|stack| frames(stack).next().is_none()));
    let probes = &traced.report.coverage.probes;
    let off = probes.iter().find(|probe| probe.name == "python-frames").unwrap();
    assert!(!off.attached && off.why_not.as_deref().unwrap().contains("--python off"));
}
