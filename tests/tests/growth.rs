//! Whether growth is found: programs that leak and programs that do not, of several languages and
//! allocators, and what `rmap run` says of each. No `--interval`, no option of the program's but the
//! two by which Node names its functions.
//!
//! A short part runs always. All of them at two lengths are the table of `docs/growth.md`, which the
//! whole test holds to what it finds; with `RMAP_WRITE_GROWTH=1` it writes the table instead.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::{Path, PathBuf};
use std::process::Command;

use ::rmap::report::{GrowingOwner, Report};
use rmap_tests::begin;
use rmap_tests::machine::built_dir;
use rmap_tests::process::{Running, has_program, pause, run};
use rmap_tests::rmap::{reports, rmap};
use rmap_tests::workload::{MUSL, build, build_by};

/// How a program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    C,
    /// Linked with musl.
    Musl,
    /// With another allocator in place of glibc's.
    Preload(&'static str),
    Cpp,
    Rust,
    Python,
    Node,
    Java,
}

/// A program whose truth is known.
#[derive(Clone, Copy, Debug)]
struct Program {
    how: How,
    /// The first argument of the workload.
    case: &'static str,
    /// What it does.
    what: &'static str,
    /// Whoever is responsible; `None`: it does not leak.
    leaks: Option<&'static str>,
    /// It runs always.
    always: bool,
}

const fn leak(
    how: How,
    case: &'static str,
    function: &'static str,
    always: bool,
    what: &'static str,
) -> Program {
    Program { how, case, what, leaks: Some(function), always }
}

const fn clean(how: How, case: &'static str, always: bool, what: &'static str) -> Program {
    Program { how, case, what, leaks: None, always }
}

const JEMALLOC: How = How::Preload("libjemalloc.so.2");

const PROGRAMS: &[Program] = &[
    leak(How::C, "blocks", "keep", true, "blocks of 32 KiB"),
    leak(How::C, "nodes", "keep_nodes", false, "a list, beside work that frees all it allocates"),
    leak(How::C, "mmap", "keep_mapping", false, "mappings of its own"),
    leak(How::C, "realloc", "enlarge", false, "one block that is enlarged"),
    leak(How::C, "late", "keep", false, "blocks, after two fifths of the time"),
    leak(How::C, "threads", "keep", false, "blocks, in three threads"),
    leak(
        How::Musl,
        "nodes",
        "keep_nodes",
        false,
        "a list, beside work that frees all it allocates",
    ),
    leak(JEMALLOC, "nodes", "keep_nodes", false, "a list, beside work that frees all it allocates"),
    leak(How::Cpp, "map", "remember", false, "an unordered_map of strings"),
    leak(How::Cpp, "vector", "sample", false, "a vector"),
    leak(How::Rust, "map", "growth::remember", false, "a HashMap of strings"),
    leak(How::Rust, "forget", "growth::forget", false, "vectors that are forgotten"),
    leak(How::Python, "list", "remember_rows.<genexpr>", true, "a list of lists"),
    leak(How::Python, "dict", "remember_session", true, "a dict of dicts, beside garbage"),
    leak(How::Python, "closures", "remember_hook", false, "closures that hold a bytearray"),
    leak(How::Python, "cycles", "Node.__init__.<listcomp>", false, "cycles, with gc off"),
    leak(How::Node, "array", "rememberRows", true, "an array of objects"),
    leak(How::Node, "buffers", "rememberBuffer", false, "an array of buffers"),
    clean(How::C, "work", false, "work that frees all it allocates"),
    clean(How::C, "random", false, "blocks of random sizes in the place of older ones"),
    clean(How::C, "fills", true, "a cache that is full after six tenths"),
    clean(How::C, "sawtooth", true, "half a second of blocks, then all freed"),
    clean(How::C, "builds", false, "half of the time idle, then one large list, and the end"),
    clean(How::Musl, "random", false, "blocks of random sizes in the place of older ones"),
    clean(JEMALLOC, "random", false, "blocks of random sizes in the place of older ones"),
    clean(How::Cpp, "bounded", false, "a list of the last 2,000 strings"),
    clean(How::Cpp, "clears", false, "a vector that is cleared from time to time"),
    clean(How::Rust, "bounded", false, "a queue of the last 2,000 strings"),
    clean(How::Rust, "builds", false, "two thirds idle, then one large index, and the end"),
    clean(How::Python, "lru", false, "lru_cache that is full before the end"),
    clean(How::Python, "garbage", false, "strings that are joined and dropped"),
    clean(How::Python, "batches", false, "a list that is dropped from time to time"),
    clean(How::Python, "collected", false, "cycles, with gc on"),
    clean(How::Python, "builds", true, "idle, then one large dict, and the end"),
    clean(How::Node, "garbage", false, "strings that are built and dropped"),
    clean(How::Java, "bounded", false, "a map of the last 1,000 blocks, beside garbage"),
];

impl How {
    const fn name(self) -> &'static str {
        match self {
            Self::C => "C, glibc",
            Self::Musl => "C, musl",
            Self::Preload(_) => "C, jemalloc",
            Self::Cpp => "C++",
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::Node => "Node",
            Self::Java => "Java",
        }
    }

    /// Why it cannot run here.
    fn missing(self) -> Option<String> {
        let lacks = |program: &str| (!has_program(program)).then(|| format!("no {program} here"));
        match self {
            Self::C | Self::Cpp => None,
            Self::Musl => lacks(MUSL),
            Self::Preload(library) => {
                let mut probe = Command::new("true");
                let said = run(probe.env("LD_PRELOAD", library)).err();
                (!said.is_empty()).then(|| format!("no {library} here"))
            }
            Self::Rust => lacks("rustc"),
            Self::Python => (!Path::new(PYTHON).exists()).then(|| format!("no {PYTHON} here")),
            Self::Node => lacks("node"),
            Self::Java => lacks("javac").or_else(|| lacks("java")),
        }
    }

    /// The command, without the arguments of the workload.
    fn command(self, scratch: &Path) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        match self {
            Self::C => vec![text(&build("growth"))],
            Self::Musl => vec![text(&build_by(Some(MUSL), "growth", &["-static"]))],
            Self::Preload(library) => {
                vec!["env".into(), format!("LD_PRELOAD={library}"), text(&build("growth"))]
            }
            Self::Cpp => vec![text(&build("growth_cpp"))],
            Self::Rust => vec![text(&built("growth.rs", |source, out| {
                Command::new("rustc").args(["-O", "-g", "-o"]).arg(out).arg(source).output()
            }))],
            Self::Python => vec![PYTHON.to_owned(), text(&source("growth.py"))],
            Self::Node => {
                let log = format!("--logfile={}", scratch.join("v8.log").display());
                let options = ["--perf-basic-prof", "--interpreted-frames-native-stack", &log];
                let mut all = vec!["node".to_owned()];
                all.extend(options.map(str::to_owned));
                all.extend(["--no-logfile-per-isolate".to_owned(), text(&source("growth.js"))]);
                all
            }
            Self::Java => {
                let classes = built("Growth.java", |source, out| {
                    std::fs::create_dir_all(out)?;
                    Command::new("javac").arg("-d").arg(out).arg(source).output()
                });
                vec!["java".to_owned(), "-cp".to_owned(), text(&classes), "Growth".to_owned()]
            }
        }
    }
}

/// The system's: it is not a script that starts another program.
const PYTHON: &str = "/usr/bin/python3";

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/growth").join(name)
}

/// What a compiler makes of a source file, made anew for each test run.
fn built(
    name: &str,
    compile: impl Fn(&Path, &Path) -> std::io::Result<std::process::Output>,
) -> PathBuf {
    let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
    let out = built_dir("workloads").join(format!("growth-{stem}-{}", name.len()));
    let done = compile(&source(name), &out).unwrap();
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    out
}

/// What rmap said of a program.
struct Verdict {
    owners: Vec<GrowingOwner>,
    advice: Option<String>,
    screen: String,
}

impl Verdict {
    fn grows(&self) -> bool {
        !self.owners.is_empty()
    }

    /// The place of a function among the owners that grow, counted from 1.
    fn place(&self, function: &str) -> Option<usize> {
        let is = |owner: &GrowingOwner| {
            owner.owner == function || owner.owner.starts_with(&format!("{function} "))
        };
        self.owners.iter().position(is).map(|at| at + 1)
    }
}

/// Runs a command under rmap, and shows its recording.
fn judged(dir: &Path, command: &[String], milliseconds: u64, case: &str) -> Verdict {
    std::fs::create_dir_all(dir).unwrap();
    let mut job = reports(dir, "run");
    job.arg("--").args(command).arg(case).arg(milliseconds.to_string());
    let ended = Running::start(&mut job, None).wait();
    assert_eq!(ended.code(), 0, "{command:?} {case}: {}{}", ended.out(), ended.err());
    verdict(dir)
}

fn verdict(dir: &Path) -> Verdict {
    let json = std::fs::read_to_string(dir.join("report.json")).unwrap();
    let report: Report = serde_json::from_str(&json).unwrap();
    let pids = report.processes.iter().map(|process| process.pid);
    pids.for_each(|pid| drop(std::fs::remove_file(format!("/tmp/perf-{pid}.map"))));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let advice = value["advice"].as_array().unwrap().iter().find(|said| said["rule"] == "growth");
    let shown = run(rmap(["report"]).arg(dir.join("recording")));
    assert_eq!(shown.code(), 0, "{}", shown.err());
    // The recording has the same.
    let again = run(rmap(["report", "--json", "-", "-o", "/dev/null"]).arg(dir.join("recording")));
    let again: Report = serde_json::from_str(&again.out()).unwrap();
    let owners = |report: Report| -> Vec<GrowingOwner> {
        report.processes.into_iter().flat_map(|process| process.growth).collect()
    };
    let owners = (owners(report), owners(again));
    assert_eq!(owners.0, owners.1, "the recording's word is not the live one");
    Verdict {
        owners: owners.0,
        advice: advice.map(|said| said["evidence"].as_str().unwrap().to_owned()),
        screen: shown.out(),
    }
}

/// Runs programs, four at a time. Those that cannot run here have `None`.
fn all(scratch: &Path, programs: &[Program], milliseconds: u64) -> Vec<(Program, Option<Verdict>)> {
    // They are compiled first: two of one name must not be in each other's way.
    let commands: Vec<(Program, Option<Vec<String>>)> = programs
        .iter()
        .map(|program| {
            (*program, program.how.missing().is_none().then(|| program.how.command(scratch)))
        })
        .collect();
    let mut found = Vec::new();
    for (group, some) in commands.chunks(4).enumerate() {
        std::thread::scope(|scope| {
            let started: Vec<_> = some
                .iter()
                .enumerate()
                .map(|(at, (program, command))| {
                    let dir = scratch.join(format!("{group}-{at}-{milliseconds}"));
                    let judge = move || {
                        let command = command.as_ref()?;
                        Some(judged(&dir, command, milliseconds, program.case))
                    };
                    (*program, scope.spawn(judge))
                })
                .collect();
            found.extend(started.into_iter().map(|(program, job)| (program, job.join().unwrap())));
        });
    }
    found
}

#[test]
fn leaks_are_found_by_owner_and_innocent_programs_are_not_called_growing() {
    let machine = begin!();
    let always: Vec<Program> = PROGRAMS.iter().filter(|program| program.always).copied().collect();
    for (Program { how, case, leaks, .. }, verdict) in all(machine.scratch(), &always, 4000) {
        let Some(verdict) = verdict else {
            machine.skip(&how.missing().unwrap_or_default());
            continue;
        };
        let Some(function) = leaks else {
            assert!(!verdict.grows(), "{how:?} {case}: {:?}", verdict.owners);
            continue;
        };
        let place = verdict.place(function);
        assert!(place.is_some_and(|place| place <= 2), "{how:?} {case}: {:?}", verdict.owners);
        let owner = &verdict.owners[place.unwrap() - 1];
        assert!(owner.growth.still && owner.growth.since_ns < 2_000_000_000, "{owner:?}");
        assert!(owner.growth.bytes_per_s > 200 << 10, "{owner:?}");
        assert!(!owner.stacks.is_empty() && owner.bytes > 256 << 10, "{owner:?}");
        let advice = verdict.advice.unwrap_or_default();
        assert!(advice.contains(function), "{how:?} {case}: {advice}");
        let row =
            verdict.screen.lines().find(|line| line.contains(function) && line.contains("/s"));
        assert!(row.is_some(), "{how:?} {case}: {}", verdict.screen);
    }
}

#[test]
fn a_leak_of_a_python_program_that_runs_already_is_found_by_attach() {
    let machine = begin!();
    if let Some(why) = How::Python.missing() {
        return machine.skip(&why);
    }
    let mut command = Command::new(PYTHON);
    command.arg(source("growth.py")).args(["closures", "20000"]);
    let target = Running::start(&mut command, None);
    pause(500);
    let mut job = reports(machine.scratch(), "attach");
    job.args(["-d", "3", "-p", &target.pid().to_string()]);
    let ended = Running::start(&mut job, None).wait();
    assert_eq!(ended.code(), 0, "{}", ended.err());
    target.signal(nix::sys::signal::Signal::SIGKILL);
    drop(target.wait());
    let verdict = verdict(machine.scratch());
    assert_eq!(verdict.place("remember_hook"), Some(1), "{:?}", verdict.owners);
    assert!(verdict.advice.is_some_and(|said| said.contains("remember_hook")));
}

/// The lengths of the whole table.
const LENGTHS_MS: [u64; 2] = [4000, 8000];
const BEGIN: &str = "<!-- growth: written by the test growth::every_program_at_two_lengths_is_what_the_documentation_says -->\n";
const END: &str = "<!-- end -->";

#[test]
#[ignore = "takes some three minutes; seven of the programs run always"]
fn every_program_at_two_lengths_is_what_the_documentation_says() {
    let machine = begin!();
    if let Some(why) = PROGRAMS.iter().find_map(|program| program.how.missing()) {
        return machine.skip(&format!("the table needs all programs: {why}"));
    }
    let runs = LENGTHS_MS.map(|length| all(machine.scratch(), PROGRAMS, length));
    let mut table = String::from(
        "| program | what it does | leaks | growing, 4 s | growing, 8 s | its function |\n|---|---|---|---|---|---|\n",
    );
    let [short, long] = &runs;
    let mut sums = [[0_usize; 3]; 2];
    for ((program, short), (_, long)) in short.iter().zip(long) {
        let (short, long) = (short.as_ref().unwrap(), long.as_ref().unwrap());
        println!("{} {}: {:?}", program.how.name(), program.case, long.owners);
        let sum = &mut sums[usize::from(program.leaks.is_none())];
        let yes = |verdict: &Verdict| if verdict.grows() { "yes" } else { "no" };
        sum[0] += 1;
        sum[1] += usize::from(short.grows());
        sum[2] += usize::from(long.grows());
        let (truth, named) = match program.leaks {
            None => ("no", String::new()),
            Some(function) => (
                "yes",
                match long.place(function) {
                    Some(1) => format!("`{function}`"),
                    Some(place) => format!("`{function}`, at place {place}"),
                    None => format!("`{}` instead", long.owners.first().map_or("", |o| &o.owner)),
                },
            ),
        };
        table.push_str(&format!(
            "| {} `{}` | {} | {truth} | {} | {} | {named} |\n",
            program.how.name(),
            program.case,
            program.what,
            yes(short),
            yes(long),
        ));
    }
    let [[leaks, ..], [cleans, ..]] = sums;
    table.push_str(&format!(
        "\nFound: {} of {leaks} leaks at 4 s, {} at 8 s. False alarms: {} of {cleans} programs at 4 s, {} at 8 s.\n",
        sums[0][1], sums[0][2], sums[1][1], sums[1][2],
    ));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/growth.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let begin = text.find(BEGIN).expect("where the table begins") + BEGIN.len();
    let end = begin + text[begin..].find(END).expect("where it ends");
    let with = format!("{}{table}{}", &text[..begin], &text[end..]);
    if std::env::var_os("RMAP_WRITE_GROWTH").is_some() {
        std::fs::write(&page, with).unwrap();
        return;
    }
    assert!(text == with, "docs/growth.md has another table than\n{table}");
}
