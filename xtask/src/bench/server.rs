//! A server under load: redis, by its own benchmark, untraced and traced in turns.
//!
//! Comes in: redis-server and redis-benchmark of this machine. Goes out: requests a second and the
//! latency of the middle and of the slowest hundredth.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::stats::median;
use crate::steps::{self, say};

/// One run: requests a second, p50 and p99 in ms.
type Run = [f64; 3];

/// Runs by watcher and by test (`SET`, `GET`).
pub type Outcome = Vec<(&'static str, String, Vec<Run>)>;

/// Measures; nothing where redis is not installed.
pub fn run(rmap: &Path, place: &Path, quick: bool, runs: usize) -> Result<Outcome> {
    if steps::which("redis-server").is_none() || steps::which("redis-benchmark").is_none() {
        say("bench: redis is left out: it is not installed");
        return Ok(Vec::new());
    }
    say("bench: redis");
    let mut outcome: Outcome = Vec::new();
    let requests = if quick { "20000" } else { "100000" };
    for _ in 0..runs.min(5) {
        for watcher in ["untraced", "rmap"] {
            for (test, run) in once(rmap, place, watcher == "rmap", requests)? {
                let known = outcome.iter_mut().find(|(w, t, _)| *w == watcher && *t == test);
                match known {
                    Some((_, _, runs)) => runs.push(run),
                    None => outcome.push((watcher, test, vec![run])),
                }
            }
        }
    }
    Ok(outcome)
}

/// A server that is stopped when it is let go.
struct Server<'a>(Child, &'a Path);

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = client(self.1).args(["shutdown", "nosave"]).status();
        let _ = self.0.wait();
    }
}

fn client(socket: &Path) -> Command {
    let mut client = Command::new("redis-cli");
    client.arg("-s").arg(socket).stdout(Stdio::null()).stderr(Stdio::null());
    client
}

fn once(rmap: &Path, place: &Path, traced: bool, requests: &str) -> Result<Vec<(String, Run)>> {
    let socket = place.join("redis.socket");
    let mut command = if traced {
        let mut command = Command::new(rmap);
        command.args(["run", "-o", "/dev/null", "--", "redis-server"]);
        command
    } else {
        Command::new("redis-server")
    };
    command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(&socket);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(command.spawn().context("cannot start redis-server")?, &socket);
    let answers = (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(25));
        client(&socket).arg("ping").status().is_ok_and(|status| status.success())
    });
    if !answers {
        bail!("redis-server does not answer");
    }
    // Values of 2 KB for keys at random: memory grows, so that the server faults.
    let mut bench = Command::new("redis-benchmark");
    bench.arg("-s").arg(&socket).args(["-t", "set,get", "-n", requests, "-c", "20"]);
    bench.args(["-d", "2000", "-r", "1000000", "--csv"]);
    let text = steps::output("load redis", &mut bench)?;
    drop(server);
    let runs = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim_matches('"')).collect();
        let number = |at: usize| cells.get(at)?.parse::<f64>().ok();
        // test, rps, avg, min, p50, p95, p99, max
        Some((cells.first()?.to_string(), [number(1)?, number(4)?, number(6)?]))
    });
    Ok(runs.collect())
}

/// The table.
pub fn table(outcome: &Outcome) -> String {
    if outcome.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "\nredis, 20 clients, values of 2000 bytes\n\n\
         | test | watcher | requests a second | p50, ms | p99, ms |\n|---|---|---|---|---|\n",
    );
    for (watcher, test, runs) in outcome {
        let of = |at: usize| median(&runs.iter().map(|run| run[at]).collect::<Vec<_>>());
        let _ =
            writeln!(out, "| {test} | {watcher} | {:.0} | {:.3} | {:.3} |", of(0), of(1), of(2));
    }
    out
}

/// For the JSON.
pub fn values(outcome: &Outcome) -> Vec<Value> {
    let value = |(watcher, test, runs): &(&str, String, Vec<Run>)| json!({ "watcher": watcher, "test": test, "rps_p50_p99": runs });
    outcome.iter().map(value).collect()
}
