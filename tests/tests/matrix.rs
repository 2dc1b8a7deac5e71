//! One workload for each row of the table of routes, and a confusion matrix of what each did to
//! pages against what rmap said. `cargo xtask matrix` prints it.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::io::Write as _;
use std::path::Path;

use ::rmap::report::{Report, Segment};
use rmap_tests::facts::{self, frames};
use rmap_tests::job::PAGE;
use rmap_tests::machine::Machine;
use rmap_tests::matrix::{Matrix, Part};
use rmap_tests::pressure::Swap;
use rmap_tests::process::Running;
use rmap_tests::rmap::{finish, reports};
use rmap_tests::routes::{Of, ROUTES, Route, Shown, Truth, Workload, markdown};
use rmap_tests::setting::Setting;
use rmap_tests::truth::Truth as Said;
use rmap_tests::{begin, workload};

/// Says a line past the capture of the test runner.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The kernel's version: major, minor.
fn kernel() -> (u32, u32) {
    let name = nix::sys::utsname::uname().unwrap();
    let release = name.release().to_str().unwrap();
    let mut parts = release.split(['.', '-']).map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

/// A workload that was run, or why it could not show what it is for.
fn run(machine: &Machine, workload: &Workload, number: usize) -> Result<(Report, Said), String> {
    if let Some(reason) = workload.untold(kernel()) {
        return Err(reason);
    }
    let mut settings = Vec::new();
    for (path, value) in workload.settings {
        settings.push(Setting::set(Path::new(path), value)?);
    }
    let _swap = workload.swap.then(|| Swap::on(machine)).transpose()?;
    let mut rmap = reports(machine.scratch(), "run");
    rmap.args(workload.options).arg("--").arg(workload::build(workload.name));
    for argument in workload.args {
        if *argument == "FILE" {
            rmap.arg(machine.scratch().join(format!("file-{number}")));
        } else {
            rmap.arg(argument);
        }
    }
    let traced = finish(machine.scratch(), Running::start(&mut rmap, None));
    let name = workload.name;
    assert_eq!(traced.ended.code(), 0, "{name}: {}{}", traced.ended.out(), traced.ended.err());
    facts::assert_sound(&traced.report);
    assert_eq!(traced.report.coverage.lost.events, 0, "{name}: lost events");
    assert_eq!(traced.report.coverage.lost.stacks, 0, "{name}: lost stacks");
    let said = Said::parse(&traced.ended.stdout);
    match said.skip {
        Some(reason) => Err(reason),
        None => Ok((traced.report, said)),
    }
}

/// What the workload said of one row of a region; `None` if it did not have the region.
fn part(truth: &Truth, said: &Said) -> Part {
    let number = |name: &str| said.number(name);
    let pages = || {
        let found =
            said.pages.iter().find(|p| p.region == truth.region && p.function == truth.function);
        found.unwrap_or_else(|| panic!("{}: nothing of {}", truth.region, truth.function)).pages
    };
    let pages = match truth.of {
        Of::Both => [pages(); 2],
        Of::Resident => [pages(), 0],
        Of::BothOf(name) => [number(name); 2],
        Of::ResidentOf(name) => [number(name), 0],
        Of::DirtyOf(name) => [0, number(name)],
    };
    Part { function: truth.function.to_owned(), cause: truth.cause.to_owned(), pages }
}

/// What the report says of a segment. `known`: functions that are asked for; others are not told
/// apart.
fn told(report: &Report, segment: &Segment, known: &[&str]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut add = |function: &str, cause: String, bytes: [i64; 2]| {
        // More was attributed than there is: as wrong as too little.
        let pages = bytes.map(|bytes| bytes.unsigned_abs() / PAGE);
        if pages == [0, 0] {
            return;
        }
        let same = parts.iter_mut().find(|part| part.function == function && part.cause == cause);
        if let Some(same) = same {
            same.pages = [same.pages[0] + pages[0], same.pages[1] + pages[1]];
        } else {
            parts.push(Part { function: function.to_owned(), cause, pages });
        }
    };
    for path in &segment.paths {
        let leaf = frames(report, path.stack).first().and_then(|frame| frame.function.as_deref());
        let function = known
            .iter()
            .find(|name| facts::leaf_is(report, path.stack, &[name]))
            .copied()
            .unwrap_or(leaf.unwrap_or("[no code]"));
        let bytes = [path.rss_bytes, path.dirty_bytes].map(|bytes| i64::try_from(bytes).unwrap());
        add(function, path.cause.as_str().to_owned(), bytes);
        if known.contains(&function) && !function.is_empty() {
            let stack = facts::stack(report, path.stack);
            assert!(stack.complete, "{function}: {:?}", stack.frames);
        }
    }
    for rest in &segment.unexplained {
        let cause = format!("not explained: {}", rest.reason.as_str());
        add("", cause, [rest.rss_bytes, rest.dirty_bytes]);
    }
    parts
}

/// The rows of one workload, by region.
fn regions(workload: &Workload) -> Vec<(&'static str, Vec<&'static Truth>)> {
    let mut regions: Vec<(&str, Vec<&Truth>)> = Vec::new();
    for Route { shown, .. } in ROUTES {
        let Shown::By(of, truths) = shown else { continue };
        for truth in truths.iter().filter(|_| **of == *workload) {
            match regions.iter_mut().find(|(region, _)| *region == truth.region) {
                Some((_, truths)) => truths.push(truth),
                None => regions.push((truth.region, vec![truth])),
            }
        }
    }
    regions
}

#[test]
fn every_route_is_told_as_what_it_was() {
    let machine = begin!();
    let mut matrix = Matrix::default();
    let mut wrong = String::new();
    let mut done: Vec<(&Workload, Result<(), String>)> = Vec::new();
    for Route { row, shown } in ROUTES {
        let workload = match shown {
            Shown::By(workload, _) => *workload,
            Shown::Test(name) => {
                say(&format!("{row}: test {name}"));
                continue;
            }
            Shown::Never(why) => {
                say(&format!("{row}: not run: {why}"));
                continue;
            }
        };
        if !done.iter().any(|(of, _)| **of == *workload) {
            let result = run(&machine, workload, done.len()).map(|(report, said)| {
                for (region, truths) in regions(workload) {
                    add(&mut matrix, &mut wrong, workload, region, &truths, &report, &said);
                }
            });
            done.push((workload, result));
        }
        match done.iter().find(|(of, _)| **of == *workload) {
            Some((_, Err(reason))) => say(&format!("{row}: not run: {reason}")),
            _ => say(&format!("{row}: {}", workload.name)),
        }
    }
    say(&format!("\n{matrix}"));
    let (right, off) = matrix.sums();
    say(&format!(
        "pages on the diagonal: {} of RSS, {} of Dirty; off it: {} and {}",
        right[0], right[1], off[0], off[1]
    ));
    assert_eq!(off, [0, 0], "pages that were told as something else:\n{wrong}\n{matrix}");
    assert!(wrong.is_empty(), "{wrong}");
}

fn add(
    matrix: &mut Matrix,
    wrong: &mut String,
    workload: &Workload,
    region: &str,
    truths: &[&Truth],
    report: &Report,
    said: &Said,
) {
    // Not every kernel has every call.
    let Some(smaps) = said.smaps.iter().find(|smaps| smaps.region == region) else { return };
    let process = facts::process(report, smaps.pid);
    let segment = facts::segment(process, &smaps.start);
    let known: Vec<&str> =
        truths.iter().map(|truth| truth.function).filter(|name| !name.is_empty()).collect();
    let mut truth: Vec<Part> = truths.iter().map(|truth| part(truth, said)).collect();
    truth.retain(|part| part.pages != [0, 0]);
    let mut told = told(report, segment, &known);
    if segment.name == "[stack]" {
        // Others than the workload's own function have touched it too.
        told.retain(|part| known.contains(&part.function.as_str()));
    } else {
        let sizes = (segment.end.to_string(), segment.rss_bytes.after, segment.dirty_bytes.after);
        let name = workload.name;
        assert_eq!(
            sizes,
            (smaps.end.clone(), smaps.rss, smaps.dirty),
            "{name} {region}: as smaps says"
        );
    }
    let before = matrix.sums().1;
    matrix.add(&truth, &told);
    if matrix.sums().1 != before {
        wrong.push_str(&format!(
            "{} {region}: true is {truth:?}\n{}",
            workload.name,
            facts::show(report, segment)
        ));
    }
}

#[test]
fn the_documented_table_is_the_one_that_is_run() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/routes.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once("| route |").expect("the table in docs/routes.md");
    let wanted = format!("{head}{}", markdown());
    if std::env::var_os("RMAP_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else if text != wanted {
        panic!("docs/routes.md is not what is run; RMAP_BLESS=1 writes it anew");
    }
}
