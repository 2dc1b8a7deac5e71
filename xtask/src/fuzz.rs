//! `cargo xtask fuzz`: lets libFuzzer choose what rmap's readers are fed.
//!
//! Comes in: a target or none for all, and how long. Goes out: what libFuzzer says of each, the
//! inputs that it found worth keeping in `target/fuzz/corpus`, and those that failed in
//! `target/fuzz/crashes`, with the command that feeds them again.
//!
//! Stable Rust can do this: the compiler's coverage pass is a stable code generation option, and
//! libFuzzer is built by its crate with a C++ compiler. There is no address sanitizer, which
//! stable Rust has not; overflow checks and debug assertions are on.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::steps::{self, say};

/// How the readers are compiled: counters at every edge, and comparisons told to the fuzzer.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// What is built: host code such as build scripts must not be instrumented, so it is named.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Longest that one input may take, in seconds, and most memory, in MiB.
const TIMEOUT: u32 = 10;
const MEMORY: u32 = 2048;

/// What to fuzz.
#[derive(Args)]
pub struct Options {
    /// The target; all, one after the other, where none is named.
    target: Option<String>,
    /// How long each target is fed, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Runs `cargo xtask fuzz`.
pub fn run(options: &Options) -> Result<ExitCode> {
    if !["c++", "g++", "clang++"].iter().any(|name| steps::which(name).is_some()) {
        say("SKIP fuzz: libFuzzer needs a C++ compiler; install g++");
        return Ok(ExitCode::SUCCESS);
    }
    let program = build()?;
    let corpora = steps::root().join("fuzz/corpus");
    let mut names: Vec<String> = std::fs::read_dir(&corpora)
        .with_context(|| format!("cannot list the fuzz targets in {}", corpora.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    if let Some(wanted) = &options.target {
        if !names.contains(wanted) {
            bail!("there is no fuzz target {wanted}; there are: {}", names.join(", "));
        }
        names.retain(|name| name == wanted);
    }
    let mut failed = 0;
    for name in &names {
        failed += u32::from(!feed(&program, name, &corpora.join(name), options.seconds)?);
    }
    println!("fuzz: {} targets, {failed} failed", names.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the program that holds all targets.
fn build() -> Result<std::path::PathBuf> {
    let target_dir = steps::target_dir().join("fuzz");
    let mut cargo = steps::cargo();
    cargo.args(["build", "--release", "--locked", "-p", "rmap-fuzz", "--target", TRIPLE]);
    cargo.arg("--target-dir").arg(target_dir.join("build"));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    steps::run("build the fuzz targets", &mut cargo)?;
    Ok(target_dir.join("build").join(TRIPLE).join("release/rmap-fuzz"))
}

/// Feeds one target. Gives whether it stood it.
fn feed(program: &Path, name: &str, seeds: &Path, seconds: u32) -> Result<bool> {
    let place = steps::target_dir().join("fuzz");
    let (kept, crashes) = (place.join("corpus").join(name), place.join("crashes"));
    for folder in [&kept, &crashes] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let output = Command::new(program)
        .env("RMAP_FUZZ_TARGET", name)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={TIMEOUT}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg("-max_len=16384")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/{name}-", crashes.display()))
        .args([&*kept, seeds])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let words = String::from_utf8_lossy(&output.stderr);
    let stat = |key: &str| {
        let of = |line: &str| Some(line.strip_prefix("stat::")?.strip_prefix(key)?.to_owned());
        words.lines().find_map(of).map_or("?".to_owned(), |v| v.trim_matches([':', ' ']).to_owned())
    };
    let covered = words
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: ")?.1.split(' ').next())
        .unwrap_or("?");
    if output.status.success() {
        println!(
            "fuzz: {name}: ok, {} inputs, {covered} edges, peak {} MiB",
            stat("number_of_executed_units"),
            stat("peak_rss_mb"),
        );
        return Ok(true);
    }
    let lines: Vec<&str> = words.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(40)).for_each(|line| println!("  {line}"));
    println!(
        "fuzz: {name}: FAILED ({}); feed the input again with \
         `RMAP_FUZZ_TARGET={name} cargo run -p rmap-fuzz FILE`, and keep it in fuzz/corpus/{name}",
        output.status
    );
    Ok(false)
}
