//! Whole programs: how much longer they take, and how much more processor time, when watched.
//!
//! Comes in: programs of this machine. Goes out: pairs of runs, in turns: nobody, rmap, and the
//! peers that are installed. Two times are taken: that of the program itself, by `timed.c`, which is
//! watched with it, and that of the whole call, the watcher's own start and report among it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::stats::{deviation, median};
use crate::steps;

/// A program and its arguments.
pub struct Program {
    /// Its row.
    pub name: &'static str,
    arguments: Vec<String>,
}

/// Wall and processor seconds of one run, the watcher's among them.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Seconds by the clock.
    pub wall: f64,
    /// User and system seconds of all processes that ended.
    pub cpu: f64,
    /// Seconds by the clock of the program itself; `None` if that was not measured.
    pub own: Option<f64>,
}

/// Medians over pairs of runs, watched to not watched.
#[derive(Clone, Copy, Debug)]
pub struct Ratios {
    /// The whole call, by the clock, and its deviation.
    pub wall: (f64, f64),
    /// Processor time of all.
    pub cpu: f64,
    /// The program itself, by the clock, and its deviation.
    pub own: Option<(f64, f64)>,
}

/// What came of a program: by watcher, or why it was left out.
pub struct Outcome {
    /// Its row.
    pub name: &'static str,
    /// Watcher and its runs; the first is nobody.
    pub runs: Vec<(&'static str, Result<Vec<Cost>, String>)>,
}

impl Outcome {
    /// What a watcher makes of it.
    pub fn ratios(&self, watcher: &str) -> Result<Ratios, String> {
        let of = |name: &str| {
            let found = self.runs.iter().find(|(watcher, _)| *watcher == name);
            found.map_or(Err("not run".to_owned()), |(_, runs)| runs.clone())
        };
        let (with, none) = (of(watcher)?, of("nobody")?);
        let ratios = |of: fn(&Cost) -> Option<f64>| -> Option<Vec<f64>> {
            let pairs = with.iter().zip(&none);
            pairs.map(|(with, none)| Some(of(with)? / of(none)?.max(0.001))).collect()
        };
        let both = |ratios: Vec<f64>| (median(&ratios), deviation(&ratios));
        let wall = ratios(|cost| Some(cost.wall)).unwrap_or_default();
        let cpu = ratios(|cost| Some(cost.cpu)).unwrap_or_default();
        Ok(Ratios {
            wall: both(wall),
            cpu: median(&cpu),
            own: ratios(|cost| cost.own).filter(|own| !own.is_empty()).map(both),
        })
    }
}

/// The programs, with their inputs made in `place`.
pub fn programs(place: &Path, quick: bool) -> Result<Vec<Program>> {
    let scale = if quick { 1 } else { 4 };
    let write = |name: &str, text: String| {
        let path = place.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path.display().to_string())
    };
    let mut seed = 1u64;
    let lines: String = (0..400_000 * scale)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:016x}\n", seed)
        })
        .collect();
    let source: String = (0..300 * scale)
        .map(|n| {
            format!(
                "int f{n}(int *a, int k) {{ int s = {n}; for (int i = 0; i < k; i++) \
                 s += a[i] * (k ^ {n}); if (s & 1) a[k - 1] = s; return s; }}\n"
            )
        })
        .collect();
    let (lines, source) = (write("lines.txt", lines)?, write("source.c", source)?);
    // Debian's own: another one of that name that a person has put before it may be a script, which
    // starts a crowd of processes.
    let program = |name, arguments: &[&str]| {
        let mut arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let own = Path::new("/usr/bin").join(&arguments[0]);
        if own.is_file() {
            arguments[0] = own.display().to_string();
        }
        Program { name, arguments }
    };
    let lists = format!("x = [[str(i), i] for i in range({})]", 600_000 * scale);
    let insert = format!(
        "create table t(a, b, c); with recursive n(i) as (select 1 union all select i + 1 from n \
         where i < {}) insert into t select i, hex(randomblob(16)), i * 7 from n; \
         create index x on t(b);",
        500_000 * scale
    );
    Ok(vec![
        program("sort", &["sort", "--parallel=1", "-S", "512M", "-o", "/dev/null", &lines]),
        program("gcc -O2", &["gcc", "-O2", "-c", "-o", "/dev/null", &source]),
        program("python3 lists", &["python3", "-c", &lists]),
        program("sqlite3 bulk insert", &["sqlite3", ":memory:", &insert]),
    ])
}

/// How each watcher is called: its words before the program's.
fn watchers(rmap: &Path, place: &Path) -> Vec<(&'static str, Vec<String>)> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    let place = place.display();
    vec![
        ("nobody", vec![]),
        ("rmap", words(format!("{} run -o /dev/null --", rmap.display()))),
        ("perf", words(format!("perf record -q -e page-faults -c 1 -g -o {place}/perf.data --"))),
        ("heaptrack", words(format!("heaptrack -r -o {place}/heaptrack"))),
    ]
}

/// Runs a program under each watcher in turn.
pub fn run(
    rmap: &Path,
    place: &Path,
    timed: &Path,
    program: &Program,
    runs: usize,
) -> Result<Outcome> {
    let mut outcome = Outcome { name: program.name, runs: Vec::new() };
    let watchers = watchers(rmap, place);
    for (name, words) in &watchers {
        let first = words.first().or(program.arguments.first()).map_or("", String::as_str);
        let there = Path::new(first).is_file() || steps::which(first).is_some();
        let ready = if there { Ok(vec![]) } else { Err(format!("{first} is not installed")) };
        outcome.runs.push((name, ready));
    }
    if outcome.runs.first().is_some_and(|(_, runs)| runs.is_err()) {
        return Ok(outcome);
    }
    // One run to warm the page cache, which does not count.
    let _ = cost(&program.arguments, None);
    let told = place.join("seconds.txt");
    let timer = [timed, told.as_path()].map(|path| path.display().to_string());
    for _ in 0..runs {
        for ((name, words), (_, costs)) in watchers.iter().zip(&mut outcome.runs) {
            let Ok(so_far) = costs else { continue };
            let mut arguments = program.arguments.clone();
            // heaptrack looks for programs by their paths alone, and watches one process.
            if let Some(path) = steps::which(&arguments[0]) {
                arguments[0] = path.display().to_string();
            }
            let timer = if *name == "heaptrack" { &[][..] } else { &timer[..] };
            let all: Vec<String> = [words.as_slice(), timer, &arguments].concat();
            match cost(&all, (!timer.is_empty()).then_some(told.as_path())) {
                Ok(cost) => so_far.push(cost),
                Err(error) => *costs = Err(format!("{error:#}")),
            }
        }
    }
    Ok(outcome)
}

/// What one command takes. `told`: where `timed.c` writes the time of the program itself.
fn cost(words: &[String], told: Option<&Path>) -> Result<Cost> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let before = children();
    let start = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    let wall = start.elapsed().as_secs_f64();
    anyhow::ensure!(status.success(), "{program} ended with {status}");
    let read = |told: &Path| -> Result<f64> {
        let text = std::fs::read_to_string(told)
            .with_context(|| format!("cannot read {}", told.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no time: {text}", told.display()))
    };
    Ok(Cost { wall, cpu: children() - before, own: told.map(read).transpose()? })
}

/// Processor seconds of all children that were waited for.
pub fn children() -> f64 {
    // SAFETY: a plain struct of numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the struct lives over the call.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
