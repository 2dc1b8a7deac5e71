//! What grows with the size of the work: time, rmap's memory, the recording, the report from it.
//!
//! Comes in: `scale.c` and rmap. Goes out: a row for each size, and the figures of the goals.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::macros::children;
use super::stats::median;
use crate::steps::{self, say};

/// One size.
struct Size {
    name: &'static str,
    words: [&'static str; 2],
    /// Pages that are resident at the end: rmap may take 8 bytes for each.
    pages: u64,
    /// Faults of the work itself.
    faults: u64,
}

const fn size(name: &'static str, words: [&'static str; 2], pages: u64, faults: u64) -> Size {
    Size { name, words, pages, faults }
}

const SIZES: [Size; 13] = [
    size("1 million faults, sequential", ["faults", "1000000"], 16_384, 1_000_000),
    size("1 million faults, random", ["random", "1000000"], 16_384, 1_000_000),
    size("10 million faults, sequential", ["faults", "10000000"], 16_384, 10_000_000),
    size("100 million faults, sequential", ["faults", "100000000"], 16_384, 100_000_000),
    size("2 million faults, all processors", ["all", "2000000"], 32_768, 2_000_000),
    size("1 GiB touched", ["touch", "1024"], 262_144, 262_144),
    size("4 GiB touched", ["touch", "4096"], 1_048_576, 1_048_576),
    size("10 GiB touched", ["touch", "10240"], 2_621_440, 2_621_440),
    size("60 GiB, one page of 64 touched", ["sparse", "61440"], 245_760, 245_760),
    size("10,000 mappings", ["mappings", "10000"], 10_000, 10_000),
    size("100,000 mappings", ["mappings", "100000"], 100_000, 100_000),
    size("1,000 threads", ["threads", "1000"], 16_000, 16_000),
    size("500 processes", ["processes", "500"], 64, 32_000),
];

/// What came of a size.
pub struct Outcome {
    name: &'static str,
    faults: u64,
    pages: u64,
    /// Seconds of the work, untraced and traced; seconds of processor time of the report.
    untraced: f64,
    traced: f64,
    report: f64,
    report_wall: f64,
    /// Bytes.
    peak: u64,
    recording: u64,
    lost: u64,
}

/// Compiles a C program of this folder.
pub fn compile(place: &Path, source: &str, more: &[&str]) -> Result<PathBuf> {
    let program = place.join(source.trim_end_matches(".c"));
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-g", "-o"]).arg(&program);
    gcc.arg(steps::root().join("xtask/src/bench").join(source)).arg("-pthread").args(more);
    steps::run("compile a program of the benchmark (install gcc)", &mut gcc)?;
    Ok(program)
}

/// Measures the sizes; `filter` as for all rows.
pub fn run(rmap: &Path, place: &Path, quick: bool, runs: usize) -> Result<Vec<Outcome>> {
    let program = compile(place, "scale.c", &[])?;
    let _more = MapCount::raise(200_000);
    let mut outcomes = Vec::new();
    for size in SIZES.iter().filter(|size| !quick || size.faults <= 10_000_000) {
        say(&format!("bench: {}", size.name));
        let runs = if size.faults > 2_000_000 { 1 } else { runs.min(3) };
        match measure(rmap, place, &program, size, runs) {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => say(&format!("bench: {} is left out: {error:#}", size.name)),
        }
    }
    Ok(outcomes)
}

/// How many mappings a process may have, raised for as long as this lives.
struct MapCount(Option<String>);

/// The kernel's setting of that.
const MAX_MAP_COUNT: &str = "/proc/sys/vm/max_map_count";

impl MapCount {
    /// Raises it if it is lower. Where that is refused, the row that needs it is left out.
    fn raise(most: u32) -> Self {
        let old = std::fs::read_to_string(MAX_MAP_COUNT).unwrap_or_default();
        let lower = old.trim().parse::<u32>().is_ok_and(|old| old < most);
        let raised = lower && std::fs::write(MAX_MAP_COUNT, most.to_string()).is_ok();
        Self(raised.then_some(old))
    }
}

impl Drop for MapCount {
    fn drop(&mut self) {
        if let Some(old) = &self.0 {
            let _ = std::fs::write(MAX_MAP_COUNT, old);
        }
    }
}

fn measure(rmap: &Path, place: &Path, program: &Path, size: &Size, runs: usize) -> Result<Outcome> {
    let (recording, table) = (place.join("scale.rec"), place.join("scale.txt"));
    let (mut untraced, mut traced) = (Vec::new(), Vec::new());
    let (mut report, mut report_wall) = (Vec::new(), Vec::new());
    let (mut peak, mut lost) = (0, 0);
    for _ in 0..runs {
        untraced.push(work(Command::new(program).args(size.words))?.0);
        let mut command = Command::new(rmap);
        command.args(["run", "--full", "--record"]).arg(&recording).arg("-o").arg(&table);
        command.arg("--").arg(program).args(size.words);
        let (seconds, most) = work(&mut command)?;
        traced.push(seconds);
        peak = peak.max(most);
        lost = lost.max(lost_in(&table));
        let (before, start) = (children(), Instant::now());
        let mut again = Command::new(rmap);
        again.arg("report").arg(&recording).arg("-o").arg(place.join("again.txt"));
        steps::run("make the report of a recording", &mut again)?;
        report.push(children() - before);
        report_wall.push(start.elapsed().as_secs_f64());
    }
    let bytes = std::fs::metadata(&recording).map_or(0, |file| file.len());
    let _ = std::fs::remove_file(&recording);
    Ok(Outcome {
        name: size.name,
        faults: size.faults,
        pages: size.pages,
        untraced: median(&untraced),
        traced: median(&traced),
        report: median(&report),
        report_wall: median(&report_wall),
        peak,
        recording: bytes,
        lost,
    })
}

/// Runs the work: its own seconds, and the most memory that the process which was started had.
pub fn work(command: &mut Command) -> Result<(f64, u64)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = std::mem::replace(&mut child, &mut Command::new("true"))
        .spawn()
        .context("cannot start the work")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        peak = peak.max(high_water(&status));
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        std::io::Read::read_to_string(&mut out, &mut text)?;
    }
    anyhow::ensure!(ended.success(), "the work ended with {ended}");
    let ns: f64 = text.trim().strip_prefix("ns ").and_then(|ns| ns.parse().ok()).unwrap_or(0.0);
    Ok((ns / 1e9, peak))
}

/// `VmHWM` in bytes.
fn high_water(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Lost events, as the table says.
fn lost_in(table: &Path) -> u64 {
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Lost: "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0)
}

const MIB: f64 = (1 << 20) as f64;

impl Outcome {
    /// Memory beyond 8 bytes a page that is resident, MiB.
    fn memory(&self) -> f64 {
        self.peak.saturating_sub(8 * self.pages) as f64 / MIB
    }

    fn bytes_per_fault(&self) -> f64 {
        self.recording as f64 / self.faults.max(1) as f64
    }
}

/// The table.
pub fn table(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "\nScale: the work's own time; rmap's highest memory; a recording, and the report of it \
         (processor time, and by the clock)\n\n| work | untraced, s | traced, s | ratio | rmap, MiB \
         | recording, KiB | bytes a fault | report, s | lost events |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for o in outcomes {
        let _ = writeln!(
            out,
            "| {} | {:.3} | {:.3} | {:.2} | {:.1} | {:.0} | {:.2} | {:.2} ({:.2}) | {} |",
            o.name,
            o.untraced,
            o.traced,
            o.traced / o.untraced.max(1e-9),
            o.peak as f64 / MIB,
            o.recording as f64 / 1024.0,
            o.bytes_per_fault(),
            o.report,
            o.report_wall,
            o.lost,
        );
    }
    out
}

/// Goals: what, measured, limit.
pub fn goals(outcomes: &[Outcome]) -> Vec<(&'static str, f64, f64)> {
    let of = |name: &str| outcomes.iter().find(|outcome| outcome.name.starts_with(name));
    let mut goals = Vec::new();
    let mut add = |what, outcome: Option<&Outcome>, figure: fn(&Outcome) -> f64, limit| {
        if let Some(outcome) = outcome {
            goals.push((what, figure(outcome), limit));
        }
    };
    let ten = of("10 million");
    add("report of 10 million faults, s of processor time", ten, |o| o.report, 2.0);
    let (sequential, random) = (of("1 million faults, seq"), of("1 million faults, ran"));
    add("recording, bytes a fault, sequential", sequential, Outcome::bytes_per_fault, 4.0);
    add("recording, bytes a fault, random", random, Outcome::bytes_per_fault, 24.0);
    add("rmap's memory less 8 bytes a page, 1 GiB, MiB", of("1 GiB"), Outcome::memory, 50.0);
    add("rmap's memory less 8 bytes a page, 4 GiB, MiB", of("4 GiB"), Outcome::memory, 50.0);
    add("events lost, 1 million faults", sequential, |o| o.lost as f64, 0.0);
    add("events lost, faults on all processors", of("2 million"), |o| o.lost as f64, 0.0);
    goals
}

/// For the JSON.
pub fn values(outcomes: &[Outcome]) -> Vec<Value> {
    let value = |o: &Outcome| {
        json!({
            "name": o.name, "faults": o.faults, "untraced_s": o.untraced, "traced_s": o.traced,
            "peak_bytes": o.peak, "recording_bytes": o.recording, "report_cpu_s": o.report,
            "report_wall_s": o.report_wall, "lost_events": o.lost,
        })
    };
    outcomes.iter().map(value).collect()
}
