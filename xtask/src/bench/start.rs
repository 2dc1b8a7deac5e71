//! How long it takes to begin: a small command, and a process with many libraries.
//!
//! Comes in: rmap, and the peers that are installed. Goes out: seconds of the whole call, and rmap's
//! highest memory for `true`.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::scale::compile;
use super::stats::{deviation, median};
use crate::steps::{self, say};

/// Libraries of the process that is attached to.
const LIBRARIES: usize = 300;

/// A call and its runs in seconds.
pub type Starts = Vec<(String, Vec<f64>)>;

/// Measures.
pub fn run(rmap: &Path, place: &Path, runs: usize) -> Result<Starts> {
    say("bench: start-up");
    let rmap = rmap.display().to_string();
    let data = place.join("perf.data").display().to_string();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut calls = vec![
        ("true".to_owned(), words("true")),
        ("rmap run -- true".to_owned(), words(&format!("{rmap} run -o /dev/null -- true"))),
    ];
    if steps::which("perf").is_some() {
        let perf = format!("perf record -q -e page-faults -c 1 -g -o {data} -- true");
        calls.push(("perf record -g -- true".to_owned(), words(&perf)));
    }
    if steps::which("heaptrack").is_some() {
        let words = words(&format!("heaptrack -r -o {} /bin/true", place.join("heap").display()));
        calls.push(("heaptrack true".to_owned(), words));
    }
    let mut starts: Starts = calls.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
    for _ in 0..runs {
        for ((name, words), (_, seconds)) in calls.iter().zip(&mut starts) {
            match timed(words) {
                Ok(time) => seconds.push(time),
                Err(error) => say(&format!("bench: {name} is left out: {error:#}")),
            }
        }
    }
    starts.retain(|(_, seconds)| !seconds.is_empty());
    say(&format!("bench: attach to {LIBRARIES} libraries"));
    let mut attach = Vec::new();
    let (program, libraries) = (compile(place, "libraries.c", &["-ldl"])?, libraries(place)?);
    for _ in 0..runs.min(3) {
        let mut target = Command::new(&program)
            .args(&libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process with many libraries")?;
        let mut line = String::new();
        BufReader::new(target.stdout.take().context("no output")?).read_line(&mut line)?;
        anyhow::ensure!(line == "ready\n", "the process with many libraries said {line:?}");
        let pid = target.id();
        let words = words(&format!("{rmap} attach -o /dev/null -d 1 -p {pid}"));
        // It watches for one second.
        attach.push(timed(&words)? - 1.0);
        drop(target.stdin.take());
        target.wait()?;
    }
    starts.push((format!("rmap attach, {LIBRARIES} libraries, but for its second"), attach));
    Ok(starts)
}

fn timed(words: &[String]) -> Result<f64> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    anyhow::ensure!(status.success(), "{program} ended with {status}");
    Ok(start.elapsed().as_secs_f64())
}

/// Libraries that differ in their build id, so that each has its own unwind table.
fn libraries(place: &Path) -> Result<Vec<PathBuf>> {
    let folder = place.join("many");
    std::fs::create_dir_all(&folder)?;
    let (source, first) = (folder.join("library.c"), folder.join("library.so"));
    let functions: String = (0..200)
        .map(|n| format!("int f{n}(int *a) {{ int s = {n}; while (*a) s += *a++; return s; }}\n"))
        .collect();
    std::fs::write(&source, functions)?;
    let id: String = (0..20).map(|n| format!("{:02x}", 0xa0 + n)).collect();
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-shared", "-fPIC"]).arg(format!("-Wl,--build-id=0x{id}"));
    gcc.arg("-o").arg(&first).arg(&source);
    steps::run("compile a library", &mut gcc)?;
    let mut bytes = std::fs::read(&first)?;
    let pattern: Vec<u8> = (0xa0..0xb4).collect();
    let at = bytes.windows(20).position(|window| window == pattern).context("no build id")?;
    (0..LIBRARIES)
        .map(|number| {
            let path = folder.join(format!("lib{number}.so"));
            bytes[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
            std::fs::write(&path, &bytes)?;
            Ok(path)
        })
        .collect()
}

/// The table.
pub fn table(starts: &Starts) -> String {
    if starts.is_empty() {
        return String::new();
    }
    let mut out = String::from("\nStart-up, the whole call\n\n| call | s |\n|---|---|\n");
    for (name, seconds) in starts {
        let (middle, spread) = (median(seconds), deviation(seconds));
        let _ = writeln!(out, "| {name} | {middle:.2} ±{spread:.2} |");
    }
    out
}

/// Goals: what, measured, limit.
pub fn goals(starts: &Starts) -> Vec<(&'static str, f64, f64)> {
    let run = starts.iter().find(|(name, _)| name == "rmap run -- true");
    run.map(|(_, seconds)| ("`rmap run -- true`, s", median(seconds), 0.3)).into_iter().collect()
}

/// For the JSON.
pub fn values(starts: &Starts) -> Vec<Value> {
    starts.iter().map(|(name, seconds)| json!({ "name": name, "seconds": seconds })).collect()
}
