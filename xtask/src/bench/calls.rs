//! What a system call costs: one that rmap has nothing to do with, and the pair of mmap and munmap.
//!
//! Comes in: `scale.c` and rmap. Goes out: ns a call or a pair, not watched, watched, and while rmap
//! watches another process.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use rmap_peer::Beside;
use serde_json::{Value, json};

use super::scale::{compile, work};
use super::stats::{deviation, median};
use crate::steps::say;

/// What is called: its row, the word for `scale.c`, and how often.
const CALLS: [(&str, &str, u32); 2] =
    [("getppid", "calls", 4_000_000), ("mmap and munmap of a page", "pairs", 400_000)];

/// ns a call, in the order of the table's columns.
type Runs = [Vec<f64>; 3];

/// What came: a row's name and its runs.
pub type Outcome = Vec<(&'static str, Runs)>;

/// Measures.
pub fn run(rmap: &Path, place: &Path, quick: bool, runs: usize) -> Result<Outcome> {
    let program = compile(place, "scale.c", &[])?;
    let mut outcome = Outcome::new();
    for (name, word, count) in CALLS {
        say(&format!("bench: {name}"));
        let count = if quick { count / 16 } else { count };
        let numbers = count.to_string();
        let once = |command: &mut Command| {
            let (seconds, _) = work(command.args([word, &numbers]))?;
            anyhow::Ok(seconds * 1e9 / f64::from(count))
        };
        let mut all = Runs::default();
        for _ in 0..runs {
            all[0].push(once(&mut Command::new(&program))?);
            let mut traced = Command::new(rmap);
            all[1].push(once(traced.args(["run", "-o", "/dev/null", "--"]).arg(&program))?);
            let other = Elsewhere::start(rmap)?;
            all[2].push(once(&mut Command::new(&program))?);
            drop(other);
        }
        outcome.push((name, all));
    }
    Ok(outcome)
}

/// rmap that watches a process which sleeps; rmap is let go first.
struct Elsewhere {
    _rmap: Beside,
    _target: Sleeper,
}

/// A process that does nothing, until it is let go.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Elsewhere {
    fn start(rmap: &Path) -> Result<Self> {
        let mut sleep = Command::new("sleep");
        let target = sleep.arg("600").stdin(Stdio::null()).spawn().context("cannot start sleep")?;
        let target = Sleeper(target);
        let mut watcher = Command::new(rmap);
        watcher.args(["attach", "-o", "/dev/null", "-p", &target.0.id().to_string()]);
        Ok(Self { _rmap: Beside::start(&mut watcher)?, _target: target })
    }
}

/// What a watcher adds: the median over pairs of runs.
fn added(runs: &Runs, column: usize) -> f64 {
    let pairs = runs[column].iter().zip(&runs[0]);
    median(&pairs.map(|(with, none)| with - none).collect::<Vec<_>>())
}

/// The table.
pub fn table(outcome: &Outcome) -> String {
    if outcome.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "\nSystem calls, ns each; in brackets what is added\n\n\
         | call | untraced | rmap | rmap, another process |\n|---|---|---|---|\n",
    );
    for (name, runs) in outcome {
        let [none, own, other] =
            [0, 1, 2].map(|at| format!("{:.0} ±{:.0}", median(&runs[at]), deviation(&runs[at])));
        let (more, elsewhere) = (added(runs, 1), added(runs, 2));
        let _ =
            writeln!(out, "| {name} | {none} | {own} ({more:+.0}) | {other} ({elsewhere:+.0}) |");
    }
    out
}

/// Goals: what, measured, limit.
pub fn goals(outcome: &Outcome) -> Vec<(&'static str, f64, f64)> {
    let runs = outcome.iter().find(|(name, _)| *name == CALLS[0].0);
    runs.map(|(_, runs)| ("ns added to a system call of another process", added(runs, 2), 10.0))
        .into_iter()
        .collect()
}

/// For the JSON.
pub fn values(outcome: &Outcome) -> Vec<Value> {
    let value = |(name, runs): &(&str, Runs)| json!({ "name": name, "untraced_ns": runs[0], "rmap_ns": runs[1], "elsewhere_ns": runs[2] });
    outcome.iter().map(value).collect()
}
