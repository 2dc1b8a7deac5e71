//! `cargo xtask bench`: what rmap costs, beside what others cost, in one run.
//!
//! Comes in: this machine, a release build of rmap. Goes out: a table on stdout and in
//! `target/bench.md`, and all medians as `target/bench.json`.
//!
//! Who watches alternates from run to run, so that whatever else the machine does falls on all of
//! them; medians are given with their median absolute deviation, and the load before and after.
//!
//! * `rmap_peer`, one fault, by frames and by order, beside `bpf_get_stack`;
//! * [`calls`], system calls;
//! * [`macros`], whole programs;
//! * [`recordings`], bytes for each fault in a recording;
//! * [`server`], redis and its latency;
//! * [`scale`], many faults, mappings, threads and processes: time, memory, recordings, reports;
//! * [`start`], start-up, and many libraries;
//! * [`peers`], who else is measured;
//! * [`document`], `docs/benchmarks.md`;
//! * [`stats`], medians.

mod calls;
mod document;
mod macros;
mod peers;
mod recordings;
mod scale;
mod server;
mod start;
mod stats;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::steps::{self, say};
use rmap_peer::{Loops, Sample, Shape, Watcher, bpf};
use stats::{deviation, median};

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Fewer faults and fewer runs: a look within some minutes.
    #[arg(long)]
    quick: bool,
    /// Runs of each watcher for each row.
    #[arg(long)]
    runs: Option<usize>,
    /// Write `docs/benchmarks.md`.
    #[arg(long)]
    write: bool,
    /// Only rows with this in their name, or one of: calls, programs, recordings, redis,
    /// scale, start, tables.
    filter: Option<String>,
}

impl Options {
    /// Whether a group of rows is wanted.
    fn wants(&self, group: &str) -> bool {
        self.filter.as_deref().is_none_or(|filter| filter == group)
    }
}

/// A row: its name, the shape, and who watches.
struct Row {
    name: String,
    shape: Shape,
    samples: BTreeMap<Watcher, Vec<Sample>>,
}

/// Runs `cargo xtask bench`.
pub fn run(options: &Options) -> Result<ExitCode> {
    if !steps::is_root() {
        say("SKIP bench: the kernel's BPF statistics need root");
        return Ok(ExitCode::SUCCESS);
    }
    // Everything is built before anything is measured: what fails then costs no measurement.
    let rmap = rmap()?;
    let tables_example = tables_example()?;
    let place = steps::target_dir().join("bench");
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let loops = build(&place)?;
    let runs = options.runs.unwrap_or(if options.quick { 3 } else { 9 });
    let rounds = if options.quick { 16 } else { 64 };
    let load_before = load();
    peers::set_up();
    let mut rows = rows(options, rounds);
    for row in &mut rows {
        say(&format!("bench: {}", row.name));
        measure(row, &rmap, &loops, runs)?;
    }
    let mut groups = Groups { options, failed: Vec::new() };
    let quick = options.quick;
    let calls = groups.run("calls", || calls::run(&rmap, &place, quick, runs));
    let starts = groups.run("start", || start::run(&rmap, &place, runs));
    let outcomes: Vec<_> = groups.run("programs", || {
        let timed = scale::compile(&place, "timed.c", &[])?;
        let measured = macros::programs(&place, quick)?.into_iter().map(|program| {
            say(&format!("bench: {}", program.name));
            macros::run(&rmap, &place, &timed, &program, runs.min(5))
        });
        measured.collect()
    });
    let redis = groups.run("redis", || server::run(&rmap, &place, quick, runs));
    let sizes = groups.run("scale", || scale::run(&rmap, &place, quick, runs));
    let mut tables =
        groups.run("recordings", || recordings::table(&rmap, loops.plain(), &place, quick));
    tables.push_str(&groups.run("tables", || unwind_tables(&tables_example)));
    let mut goals = goals(&rows);
    goals.extend(calls::goals(&calls));
    goals.extend(scale::goals(&sizes));
    goals.extend(start::goals(&starts));
    goals.extend(program_goals(&outcomes));
    let mut text = head(&load_before);
    for failed in &groups.failed {
        let _ = writeln!(text, "* not measured: {failed}");
    }
    text.push_str(&goals_table(&goals));
    text.push_str(&table(&rows));
    text.push_str(&calls::table(&calls));
    text.push_str(&programs_table(&outcomes));
    text.push_str(&server::table(&redis));
    text.push_str(&scale::table(&sizes));
    text.push_str(&start::table(&starts));
    text.push_str(&tables);
    print!("{text}");
    let write = |name: &str, text: &str| {
        let path = steps::target_dir().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("bench.md", &text)?;
    let mut all = values(&rows, &load_before);
    all["calls"] = calls::values(&calls).into();
    all["redis"] = server::values(&redis).into();
    all["scale"] = scale::values(&sizes).into();
    all["start"] = start::values(&starts).into();
    all["goals"] = goals
        .iter()
        .map(|(goal, measured, limit)| json!({"goal": goal, "measured": measured, "limit": limit}))
        .collect();
    write("bench.json", &serde_json::to_string_pretty(&all)?)?;
    if options.write {
        document::write(&text)?;
    }
    Ok(if groups.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Groups of rows. One that fails is told, and costs the others nothing.
struct Groups<'a> {
    options: &'a Options,
    failed: Vec<String>,
}

impl Groups<'_> {
    /// Measures a group if it is wanted.
    fn run<T: Default>(&mut self, group: &str, measure: impl FnOnce() -> Result<T>) -> T {
        if !self.options.wants(group) {
            return T::default();
        }
        measure().unwrap_or_else(|error| {
            say(&format!("bench: {group} not measured: {error:#}"));
            self.failed.push(format!("{group}: {error:#}"));
            T::default()
        })
    }
}

/// Runs all watchers of a row in turns.
fn measure(row: &mut Row, rmap: &Path, loops: &Loops, runs: usize) -> Result<()> {
    let mut watchers = vec![
        Watcher::Nobody,
        Watcher::Rmap,
        Watcher::GetStack,
        Watcher::Nothing,
        Watcher::RmapElsewhere,
    ];
    if row.name == PEERS_ROW {
        let there = |(program, _): &(&str, Watcher)| steps::which(program).is_some();
        let peers = [("bpftrace", Watcher::Bpftrace), ("perf", Watcher::Perf)];
        watchers.extend(peers.iter().filter(|peer| there(peer)).map(|(_, watcher)| *watcher));
    }
    for _ in 0..runs {
        watchers.retain(|watcher| {
            let mut once = || {
                let mut sample = rmap_peer::run(rmap, loops, row.shape, *watcher)?;
                // The statistics cost each run two readings of the clock, so the loop's own time
                // is taken with them off.
                let own = matches!(watcher, Watcher::Nobody | Watcher::Bpftrace | Watcher::Perf);
                if !own {
                    let statistics = bpf::enable_stats()?;
                    let counted = rmap_peer::run(rmap, loops, row.shape, *watcher)?;
                    drop(statistics);
                    sample.programs = counted.programs;
                    sample.runs = counted.runs;
                }
                row.samples.entry(*watcher).or_default().push(sample);
                anyhow::Ok(())
            };
            let done = once();
            if let Err(error) = &done {
                say(&format!("bench: {watcher:?} is left out: {error:#}"));
            }
            done.is_ok()
        });
        anyhow::ensure!(watchers.contains(&Watcher::Rmap), "rmap does not run here");
    }
    Ok(())
}

/// The row in which the peers that are processes of their own are measured.
const PEERS_ROW: &str = "8 frames, same";

/// The binary that is measured: `RMAP_BIN`, else a release build of this tree.
pub fn rmap() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RMAP_BIN") {
        return Ok(path.into());
    }
    let mut cargo = steps::cargo();
    cargo.args(["build", "--release", "--locked", "-p", "rmap-user", "--bin", "rmap"]);
    steps::run("build rmap", &mut cargo)?;
    Ok(steps::target_dir().join("release/rmap"))
}

/// Compiles the loop, without and with frame pointers.
fn build(place: &Path) -> Result<Loops> {
    let source = steps::root().join("tests/workloads/touch_again.c");
    let build = |name: &str, flag: &str| {
        let program = place.join(name);
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-g", flag, "-o"]).arg(&program).arg(&source);
        steps::run("compile the benchmark's loop (install gcc)", &mut gcc)?;
        Ok::<_, anyhow::Error>(program)
    };
    Ok(Loops {
        plain: build("loop", "-fomit-frame-pointer")?,
        pointers: build("loop-fp", "-fno-omit-frame-pointer")?,
    })
}

fn rows(options: &Options, rounds: u32) -> Vec<Row> {
    let shapes = [8, 18, 34, 66].map(|frames| (frames, "same")).into_iter().chain([
        (8, "random"),
        (18, "stacks"),
        (66, "stacks"),
    ]);
    shapes
        .map(|(frames, mode)| Row {
            name: format!("{frames} frames, {mode}"),
            shape: Shape { frames, mode, pages: 4096, rounds },
            samples: BTreeMap::new(),
        })
        .filter(|row| options.filter.as_ref().is_none_or(|filter| row.name.contains(filter)))
        .collect()
}

/// Whole programs, watched to not watched.
fn programs_table(outcomes: &[macros::Outcome]) -> String {
    if outcomes.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "\nPrograms, watched / not watched, by the clock: the program itself; then the whole call, the \
         watcher's start and end among it (processor time of all)\n\n\
         | program | untraced, s | rmap: program | rmap: call | perf record -g: program | \
         perf record -g: call | heaptrack: call |\n|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        let untraced = match outcome.runs.first() {
            Some((_, Ok(runs))) => {
                let own: Vec<f64> = runs.iter().filter_map(|cost| cost.own).collect();
                format!("{:.2} ±{:.2}", median(&own), deviation(&own))
            }
            Some((_, Err(why))) => format!("skipped: {why}"),
            None => "–".to_owned(),
        };
        let _ = write!(out, "| {} | {untraced} |", outcome.name);
        for watcher in ["rmap", "perf", "heaptrack"] {
            let ratios = outcome.ratios(watcher);
            if watcher != "heaptrack" {
                let _ = match ratios.as_ref().ok().and_then(|ratios| ratios.own) {
                    Some((own, spread)) => write!(out, " {own:.2} ±{spread:.2} |"),
                    None => write!(out, " – |"),
                };
            }
            let _ = match ratios {
                Ok(macros::Ratios { wall: (wall, spread), cpu, .. }) => {
                    write!(out, " {wall:.2} ±{spread:.2} ({cpu:.2}) |")
                }
                Err(why) => write!(out, " skipped: {why} |"),
            };
        }
        out.push('\n');
    }
    out
}

/// The example that builds unwind tables.
fn tables_example() -> Result<PathBuf> {
    let mut cargo = steps::cargo();
    cargo.args(["build", "--release", "--locked", "-p", "rmap-user", "--example", "unwind_tables"]);
    steps::run("build the example unwind_tables", &mut cargo)?;
    Ok(steps::target_dir().join("release/examples/unwind_tables"))
}

/// Building unwind tables, by the example of that name.
fn unwind_tables(example: &Path) -> Result<String> {
    let mut files: Vec<String> = ["/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/python3"]
        .iter()
        .map(|path| (*path).to_owned())
        .collect();
    // The largest libraries that a machine with Rust has for sure are the compiler's own.
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]);
    let sysroot = steps::output("ask for the compiler's folder", &mut rustc)?;
    let entries = std::fs::read_dir(PathBuf::from(sysroot).join("lib")).into_iter().flatten();
    files.extend(entries.flatten().filter_map(|entry| {
        let path = entry.path().display().to_string();
        path.contains(".so").then_some(path)
    }));
    let mut measure = Command::new(example);
    measure.args(&files);
    let lines = steps::output("measure the building of unwind tables", &mut measure)?;
    let mut out = String::from(
        "\nUnwind tables, processor time, file cached (goals: libc 5 ms, a library of 65 MB 150 ms)\n\n\
         | file | text, MiB | build, ms | read the file, ms | table, MiB |\n|---|---|---|---|---|\n",
    );
    for line in lines.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [build, read, text, bytes, path] = parts.as_slice() else { continue };
        let mib = |number: &str| number.parse::<f64>().unwrap_or(0.0) / (1 << 20) as f64;
        let name = path.rsplit('/').next().unwrap_or(path);
        let _ =
            writeln!(out, "| {name} | {:.1} | {build} | {read} | {:.2} |", mib(text), mib(bytes));
    }
    Ok(out)
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("machine", format!("{} CPUs, {}", cpus, model.map_or("?", |(_, name)| name))),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("peers", peers::versions()),
    ]
}

type Figure = fn(&Sample) -> f64;

/// The median and the deviation of a figure of one watcher; `None` if it did not run.
fn figure(row: &Row, watcher: Watcher, of: Figure) -> Option<(f64, f64)> {
    let numbers: Vec<f64> = row.samples.get(&watcher)?.iter().map(of).collect();
    Some((median(&numbers), deviation(&numbers)))
}

fn cell(figure: Option<(f64, f64)>) -> String {
    figure.map_or("–".to_owned(), |(middle, spread)| format!("{middle:.0} ±{spread:.0}"))
}

/// The median over pairs of runs of the loop's time, watched to not watched.
fn ratio(row: &Row, watcher: Watcher) -> f64 {
    let pairs = row.samples.get(&watcher).into_iter().flatten();
    let untraced = row.samples.get(&Watcher::Nobody).into_iter().flatten();
    let ratios: Vec<f64> = pairs.zip(untraced).map(|(with, none)| with.wall / none.wall).collect();
    median(&ratios)
}

/// Where, and how busy it was.
fn head(load_before: &str) -> String {
    let mut out = String::from("# What rmap costs\n\n");
    for (what, is) in machine() {
        let _ = writeln!(out, "* {what}: {is}");
    }
    let _ = writeln!(
        out,
        "* load average before: {load_before}; after: {}. On a busy machine ratios and processor \
         times mean something, times by the clock little\n\
         * medians ± median absolute deviation; who watches takes turns",
        load()
    );
    out
}

fn goals_table(goals: &[(&str, f64, f64)]) -> String {
    let mut out = String::from("\n| goal | measured | met |\n|---|---|---|\n");
    for (goal, measured, limit) in goals {
        let met = if measured <= limit { "yes" } else { "no" };
        let _ = writeln!(out, "| {goal} ≤ {limit} | {measured:.2} | {met} |");
    }
    out
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "\nOne fault. Peer: `bpf_get_stack` alone at `page_fault_user`, on the same loop with \
         frame pointers; ns a fault; \"BPF\" by the kernel's BPF statistics, which hold two clock \
         readings for each run: what a program that does nothing takes by them stands beside\n\n\
         | loop | untraced | BPF: rmap | BPF: bpf_get_stack | BPF: nothing | BPF: rmap, another process | \
         wall: rmap / untraced | wall: peer / untraced | wall: another process / untraced |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {:.2} | {:.2} | {:.2} |",
            row.name,
            cell(figure(row, Watcher::Nobody, |s| s.wall)),
            cell(figure(row, Watcher::Rmap, Sample::bpf)),
            cell(figure(row, Watcher::GetStack, Sample::bpf)),
            cell(figure(row, Watcher::Nothing, Sample::bpf)),
            cell(figure(row, Watcher::RmapElsewhere, Sample::bpf)),
            ratio(row, Watcher::Rmap),
            ratio(row, Watcher::GetStack),
            ratio(row, Watcher::RmapElsewhere),
        );
    }
    out.push_str(
        "\nBPF run time of rmap by program, ns a fault. The programs run at every fault of the machine: \
         more than three runs a fault are other processes' faults, whose time is in the sums.\n\n\
         | loop | runs a fault: rmap, peer | programs |\n|---|---|---|\n",
    );
    for row in rows {
        let samples = row.samples.get(&Watcher::Rmap).map_or(&[][..], Vec::as_slice);
        let names: Vec<&String> = samples.first().map_or(vec![], |s| s.programs.keys().collect());
        let parts: Vec<String> = names
            .iter()
            .map(|name| {
                let of = |s: &Sample| s.programs.get(*name).copied().unwrap_or(0.0);
                (name, median(&samples.iter().map(of).collect::<Vec<_>>()))
            })
            .filter(|(_, ns)| *ns >= 0.5)
            .map(|(name, ns)| format!("{name} {ns:.0}"))
            .collect();
        let runs = |watcher| figure(row, watcher, |s| s.runs).map_or(0.0, |(middle, _)| middle);
        let (own, peer) = (runs(Watcher::Rmap), runs(Watcher::GetStack));
        let _ = writeln!(out, "| {} | {own:.2}, {peer:.2} | {} |", row.name, parts.join(", "));
    }
    for row in rows.iter().filter(|row| row.name == PEERS_ROW) {
        let peers = [("bpftrace, ustack", Watcher::Bpftrace), ("perf record -g", Watcher::Perf)];
        for (name, watcher) in peers.iter().filter(|(_, w)| row.samples.contains_key(w)) {
            let _ = writeln!(out, "\n{name} / untraced, {}: {:.2}", row.name, ratio(row, *watcher));
        }
    }
    out
}

/// Whole programs: the goal holds for each.
fn program_goals(outcomes: &[macros::Outcome]) -> Vec<(&'static str, f64, f64)> {
    let ratios = |outcome: &macros::Outcome| {
        let ratios = outcome.ratios("rmap").ok()?;
        let (own, call) = match outcome.name {
            "sort" => ("sort, traced / untraced", "sort, the whole call"),
            "gcc -O2" => ("gcc -O2, traced / untraced", "gcc -O2, the whole call"),
            "python3 lists" => {
                ("python3 lists, traced / untraced", "python3 lists, the whole call")
            }
            _ => ("sqlite3, traced / untraced", "sqlite3, the whole call"),
        };
        Some([(own, ratios.own?.0, 1.02), (call, ratios.wall.0, 1.02)])
    };
    outcomes.iter().filter_map(ratios).flatten().collect()
}

/// What is wanted, what came, and the limit.
fn goals(rows: &[Row]) -> Vec<(&'static str, f64, f64)> {
    let of = |name: &str, watcher, figure_of: Figure| {
        let row = rows.iter().find(|row| row.name == name)?;
        figure(row, watcher, figure_of).map(|(middle, _)| middle)
    };
    // Without what the statistics themselves take, for each of the programs that ran.
    let net = |name: &str, watcher| {
        let of = |watcher, figure_of: Figure| of(name, watcher, figure_of);
        let nothing = of(Watcher::Nothing, Sample::bpf)?;
        Some(of(watcher, Sample::bpf)? - of(watcher, |s| s.runs)? * nothing)
    };
    let ratio_of = |name: &str, watcher| {
        rows.iter().find(|row| row.name == name).map(|row| ratio(row, watcher))
    };
    [
        (
            "BPF ns a fault, 8 frames, same place",
            of("8 frames, same", Watcher::Rmap, Sample::bpf),
            250.0,
        ),
        ("the same without the statistics' clock", net("8 frames, same", Watcher::Rmap), 250.0),
        (
            "BPF ns a fault, 18 frames, changing",
            of("18 frames, stacks", Watcher::Rmap, Sample::bpf),
            600.0,
        ),
        ("the same without the statistics' clock", net("18 frames, stacks", Watcher::Rmap), 600.0),
        ("touch loop, traced / untraced", ratio_of("8 frames, same", Watcher::Rmap), 1.20),
        (
            "BPF ns a fault of another process",
            of("8 frames, same", Watcher::RmapElsewhere, Sample::bpf),
            40.0,
        ),
        (
            "the same without the statistics' clock",
            net("8 frames, same", Watcher::RmapElsewhere),
            40.0,
        ),
    ]
    .into_iter()
    .filter_map(|(goal, measured, limit)| Some((goal, measured?, limit)))
    .collect()
}

fn values(rows: &[Row], load_before: &str) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let watchers: BTreeMap<String, Value> = row
                .samples
                .iter()
                .map(|(watcher, samples)| {
                    let numbers = |of: Figure| samples.iter().map(of).collect::<Vec<f64>>();
                    let programs: Vec<_> = samples.iter().map(|s| &s.programs).collect();
                    let value = json!({
                        "faults": samples.first().map_or(0, |s| s.faults),
                        "wall_ns": numbers(|s| s.wall),
                        "bpf_ns": numbers(Sample::bpf),
                        "bpf_runs": numbers(|s| s.runs),
                        "programs_ns": programs,
                    });
                    (format!("{watcher:?}"), value)
                })
                .collect();
            json!({ "name": row.name, "watchers": watchers })
        })
        .collect();
    let machine: BTreeMap<_, _> = machine().into_iter().collect();
    json!({
        "machine": machine,
        "load_before": load_before,
        "load_after": load(),
        "rows": rows,
    })
}
