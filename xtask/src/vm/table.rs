//! The tables of docs/kernels.md.
//!
//! Comes in: what the machines gave last (`target/vm/results`), and before (`docs/kernels.json`,
//! which is kept in the repository). Goes out: that file, and the tables between the marks of the
//! text. A test holds the text to the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::matrix::{CASES, KERNELS, Tests};
use super::results::{Outcome, Results};
use super::routes::{ROUTES, Route, Told};
use crate::steps::{self, say};

/// This machine's own kernel, beside those of the matrix.
pub const NATIVE: &str = "native";

/// The text that holds the tables.
const TEXT: &str = "docs/kernels.md";

const BEGIN: &str = "<!-- Made by `cargo xtask vm --table`. -->\n";
const END: &str = "<!-- Until here. -->\n";

/// The results of all machines, by their names.
type Kept = BTreeMap<String, Results>;

fn kept_file() -> PathBuf {
    steps::root().join("docs/kernels.json")
}

/// Takes over what the machines gave last, and writes the tables.
pub fn write() -> Result<()> {
    let mut kept = read_kept()?;
    for name in CASES.iter().map(|case| case.name).chain([NATIVE]) {
        let mut last = Results::read(&Results::file(name));
        if name == NATIVE {
            // The name that somebody gave to a build of his own says nothing.
            let version = last.kernel.split('-').next().unwrap_or_default();
            last.kernel = version.to_owned();
        }
        // What was not run again keeps its outcome, which says of which tree it is.
        if last != Results::default() {
            kept.entry(name.to_owned()).or_default().add(last);
        }
    }
    if kept.is_empty() {
        bail!("no results are there yet: `cargo xtask vm` makes them");
    }
    let text = serde_json::to_string_pretty(&kept).context("cannot write results as JSON")?;
    fs::write(kept_file(), text + "\n").context("cannot write docs/kernels.json")?;
    let path = steps::root().join(TEXT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {TEXT}"))?;
    let new = between(&text, &tables(&kept)).with_context(|| format!("{TEXT} has no marks"))?;
    fs::write(&path, new).with_context(|| format!("cannot write {TEXT}"))?;
    say(&format!("wrote the tables of {TEXT}"));
    Ok(())
}

fn read_kept() -> Result<Kept> {
    let Ok(text) = fs::read_to_string(kept_file()) else { return Ok(Kept::new()) };
    serde_json::from_str(&text).context("cannot read docs/kernels.json")
}

/// The text with `table` between its marks.
fn between(text: &str, table: &str) -> Option<String> {
    let begin = text.find(BEGIN)? + BEGIN.len();
    let end = begin + text[begin..].find(END)?;
    Some(format!("{}\n{table}\n{}", &text[..begin], &text[end..]))
}

/// How a route fared on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it must be.
    Held,
    /// A test of it failed.
    Fails,
    /// A test of it was skipped, or did not run.
    Open,
}

fn state(route: &Route, results: &Results) -> State {
    let outcomes =
        || route.tests.iter().map(|test| results.tests.get(*test).map(|ran| &ran.outcome));
    if outcomes().any(|outcome| matches!(outcome, Some(Outcome::Failed(_)))) {
        State::Fails
    } else if outcomes().all(|outcome| outcome == Some(&Outcome::Passed)) {
        State::Held
    } else {
        State::Open
    }
}

/// `11 of 11` probes.
fn probes(results: &Results) -> String {
    let attached = |wanted: &str| {
        let is_probe = |name: &str| name.contains("tp:") || name.starts_with("perf:");
        let probes = results.doctor.iter().filter(|(name, _)| is_probe(name));
        probes.filter(|(_, state)| wanted.is_empty() || *state == wanted).count()
    };
    let all = attached("");
    let tables = match results.doctor.get("page-table").map(String::as_str) {
        Some("yes") => ", page tables read",
        Some(_) => ", page tables not read",
        None => "",
    };
    if all == 0 { "none".to_owned() } else { format!("{} of {all}{tables}", attached("yes")) }
}

fn counts(results: &Results) -> String {
    let [passed, failed, cut_off, skipped] = results.counts();
    let some = |count: usize, text: String| if count == 0 { String::new() } else { text };
    let failed = some(failed, format!(", **{failed} failed**"));
    let cut_off = some(cut_off, format!(", {cut_off} cut off"));
    format!("{passed} passed{failed}{cut_off}, {skipped} skipped")
}

/// The machine that shows a kernel as it is: the one with the kernel's own name.
fn plain(kept: &Kept) -> impl Iterator<Item = (&'static str, &'static str, &Results)> {
    let own = KERNELS.iter().rev().map(|kernel| (kernel.name, kernel.note));
    let here = "everything; lockdown is in its `integrity` mode";
    [(NATIVE, here)]
        .into_iter()
        .chain(own)
        .filter_map(|(name, note)| kept.get(name).map(|results| (name, note, results)))
}

/// All that stands between the marks.
fn tables(kept: &Kept) -> String {
    format!("{}\n{}", short(kept), long(kept))
}

/// A line for each kernel.
fn short(kept: &Kept) -> String {
    let mut text = String::from(
        "## In short\n\n| Kernel | Tests there | Routes exact | Told by a reason | Probes | What rmap does there |\n\
         |---|---|---|---|---|---|\n",
    );
    for (name, note, results) in plain(kept) {
        let _ = write!(text, "| {} ({}) | {} ", release(results), results.machine, counts(results));
        if refused(name).is_some() {
            let _ = writeln!(text, "| none | none | none | {note} |");
            continue;
        }
        let held = |exact: bool, wanted: Option<State>| {
            let own = ROUTES.iter().filter(|route| (route.told == Told::Exact) == exact);
            own.filter(|route| wanted.is_none_or(|wanted| state(route, results) == wanted)).count()
        };
        let exact = format!("{} of {}", held(true, Some(State::Held)), held(true, None));
        let told = format!("{} of {}", held(false, Some(State::Held)), held(false, None));
        let _ = writeln!(text, "| {exact} | {told} | {} | {note} |", probes(results));
    }
    text
}

/// The kernel's release without the name of its build.
fn release(results: &Results) -> &str {
    &results.kernel
}

/// The words with which the machine must refuse rmap.
fn refused(machine: &str) -> Option<&'static str> {
    let case = CASES.iter().find(|case| case.name == machine)?;
    if let Tests::Refused(words) = case.tests { Some(words) } else { None }
}

/// A line for each route and each machine, and what did not pass.
fn long(kept: &Kept) -> String {
    let mut text = String::from("## Routes\n\n| Route |");
    let served: Vec<_> =
        plain(kept).filter(|(name, _, _)| refused(name).is_none()).map(|(_, _, r)| r).collect();
    for results in &served {
        let _ = write!(text, " {} |", series(&results.kernel));
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(served.len()));
    text.push('\n');
    for route in ROUTES {
        let _ = write!(text, "| {} |", route.name);
        for results in &served {
            let word = match (state(route, results), route.told) {
                (State::Held, Told::Exact) => "exact".to_owned(),
                (State::Held, Told::Reason(reason)) => format!("`{reason}`"),
                (State::Fails, _) => "**fails**".to_owned(),
                (State::Open, _) => open(route, results),
            };
            let _ = write!(text, " {word} |");
        }
        text.push('\n');
    }
    text.push_str("\n## What the doctor finds\n\n| Item or probe |");
    for results in &served {
        let _ = write!(text, " {} |", series(&results.kernel));
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(served.len()));
    text.push('\n');
    let mut items: Vec<&String> = served.iter().flat_map(|results| results.doctor.keys()).collect();
    items.sort();
    items.dedup();
    for item in items.into_iter().filter(|item| !["item", "probe"].contains(&item.as_str())) {
        let states: Vec<_> =
            served.iter().map(|r| r.doctor.get(item).map_or("", String::as_str)).collect();
        // States such as `yes`; facts such as the number of processors are not of the kernel.
        if states.iter().all(|state| ["yes", "partly", "no", ""].contains(state)) {
            let _ = writeln!(text, "| {item} | {} |", states.join(" | "));
        }
    }
    machines(kept, &mut text);
    failures(kept, &mut text);
    skips(kept, &mut text);
    text
}

fn open(route: &Route, results: &Results) -> String {
    let skipped = route.tests.iter().find_map(|test| match &results.tests.get(*test)?.outcome {
        Outcome::Skipped(reason) => Some(reason),
        _ => None,
    });
    skipped.map_or_else(|| "not run".to_owned(), |reason| format!("skipped: {reason}"))
}

fn machines(kept: &Kept, text: &mut String) {
    text.push_str(
        "\n## Machines\n\n| Machine | Kernel | What is special | Tests | Of rmap at |\n\
         |---|---|---|---|---|\n",
    );
    let native = [(NATIVE, "the machine of the developer")];
    let cases = CASES.iter().map(|case| (case.name, case.what));
    for (name, what) in cases.chain(native) {
        let Some(results) = kept.get(name) else { continue };
        let must = refused(name).map_or(String::new(), |words| {
            format!("; it must be refused with a line that says `{words}`")
        });
        let what = if what.is_empty() { "nothing" } else { what };
        let (release, how) = (&results.kernel, &results.machine);
        let _ = writeln!(
            text,
            "| {name} | {release}, {how} | {what}{must} | {} | {} |",
            counts(results),
            trees(results)
        );
    }
}

/// `f3e6ac65 (object 12345678)`, the one with most tests first.
fn trees(results: &Results) -> String {
    let mut trees: Vec<_> = results.trees().into_iter().collect();
    trees.sort_by_key(|(_, tests)| std::cmp::Reverse(*tests));
    let several = trees.len() > 1;
    let words = trees.into_iter().map(|(tree, tests)| {
        let many = if several { format!("{tests} of ") } else { String::new() };
        format!("{many}{} (object {})", tree.commit, tree.object)
    });
    words.collect::<Vec<_>>().join(", ")
}

fn failures(kept: &Kept, text: &mut String) {
    text.push_str("\n## Failed, or cut off because the machine was too slow\n\n");
    let before = text.len();
    for (name, results) in kept {
        for (test, ran) in &results.tests {
            let Outcome::Failed(_) = ran.outcome else { continue };
            let how = if ran.outcome.is_cut_off() { "cut off" } else { "failed" };
            let _ = writeln!(text, "* `{test}` on {name}: {how}");
        }
    }
    if text.len() == before {
        text.push_str("Nothing.\n");
    }
}

fn skips(kept: &Kept, text: &mut String) {
    text.push_str("\n## Skipped, and why\n\n");
    let mut by_test: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (name, results) in kept {
        for (test, ran) in &results.tests {
            if let Outcome::Skipped(reason) = &ran.outcome {
                by_test.entry((test, reason)).or_default().push(name);
            }
        }
    }
    if by_test.is_empty() {
        text.push_str("Nothing.\n");
    }
    for ((test, reason), machines) in by_test {
        let _ = writeln!(text, "* `{test}` on {}: {reason}", machines.join(", "));
    }
}

/// `6.12` of `6.12.117+deb12-cloud-amd64`.
fn series(release: &str) -> String {
    release.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_say_what_the_machines_gave() {
        let kept = read_kept().unwrap();
        let text = fs::read_to_string(steps::root().join(TEXT)).unwrap();
        let new = between(&text, &tables(&kept)).unwrap();
        assert!(new == text, "{TEXT} is not what docs/kernels.json says: `cargo xtask vm --table`");
    }

    #[test]
    fn every_route_of_a_served_kernel_is_held() {
        let kept = read_kept().unwrap();
        for (name, _, results) in plain(&kept).filter(|(name, _, _)| refused(name).is_none()) {
            let failed = ROUTES.iter().find(|route| state(route, results) == State::Fails);
            assert!(failed.is_none(), "{name}: {}", failed.map_or("", |route| route.name));
        }
    }

    #[test]
    fn a_release_has_its_series() {
        assert_eq!(series("6.12.117+deb12-cloud-amd64"), "6.12");
        assert_eq!(series("7.2.13"), "7.2");
    }
}
