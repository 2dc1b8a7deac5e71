//! Stacks of programs in languages that bring their own code or their own names: Go, Python with
//! trampolines for perf, JavaScript and Java with perf map files. A function of the program owns the
//! pages that it touches, under its name.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::rmap::report::{Report, Stack};
use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::process::{has_program, run};
use rmap_tests::rmap::{Traced, trace};

const MIB: u64 = 1 << 20;

/// Removes the perf map files of the processes when the test is over.
struct Maps(Vec<PathBuf>);

impl Maps {
    fn of(report: &Report) -> Self {
        let pids = report.processes.iter().map(|process| process.pid);
        Self(pids.map(|pid| PathBuf::from(format!("/tmp/perf-{pid}.map"))).collect())
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

/// Runs the command, which must end well, with sound figures.
fn traced(dir: &Path, argv: &[&str]) -> (Traced, Maps) {
    let traced = trace(dir, argv);
    assert_eq!(traced.ended.code(), 0, "{argv:?}: {}", traced.ended.err());
    facts::assert_sound(&traced.report);
    let maps = Maps::of(&traced.report);
    (traced, maps)
}

fn names(stack: &Stack) -> Vec<&str> {
    stack.frames.iter().filter_map(|frame| frame.function.as_deref()).collect()
}

/// The stacks with such a function, and the bytes that each of them touched.
fn with(report: &Report, is: impl Fn(&str) -> bool) -> Vec<(&Stack, u64)> {
    let touched = |stack: &Stack| -> u64 {
        let segments = report.processes.iter().flat_map(|process| &process.segments);
        let paths = segments.flat_map(|segment| &segment.paths);
        let kept = paths.map(|path| (path.stack, path.touched_bytes));
        let gone = report.processes.iter().flat_map(|process| &process.gone);
        let all = kept.chain(gone.map(|gone| (gone.stack, gone.touched_bytes)));
        all.filter(|(of, _)| *of == Some(stack.id)).map(|(_, bytes)| bytes).sum()
    };
    let stacks = report.stacks.iter().filter(|stack| names(stack).iter().any(|name| is(name)));
    stacks.map(|stack| (stack, touched(stack))).collect()
}

fn bytes(stacks: &[(&Stack, u64)]) -> u64 {
    stacks.iter().map(|(_, bytes)| bytes).sum()
}

/// How many of 1000 faults have a stack that was walked to its outermost frame, and how the walks
/// ended, as words.
fn complete(traced: &Traced) -> (u64, String) {
    let unwind = &traced.report.coverage.unwind;
    let all = unwind.complete + unwind.incomplete;
    (
        unwind.complete * 1000 / all.max(1),
        format!("{} of {all}: {:?}", unwind.complete, unwind.reasons),
    )
}

const GO: &str = r#"package main

import (
	"fmt"
	"os"
	"sync"
)

type node struct {
	left, right *node
	pad         [64]byte
}

func growTree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{left: growTree(depth - 1), right: growTree(depth - 1)}
}

//go:noinline
func fillTable(n int) []byte {
	table := make([]byte, n)
	for i := range table {
		table[i] = byte(i)
	}
	return table
}

//go:noinline
func deepStack(n int) int {
	var room [4096]byte
	room[n%4096] = byte(n)
	if n == 0 {
		return 0
	}
	return deepStack(n-1) + int(room[(n+1)%4096]) + 1
}

func main() {
	table := fillTable(16 << 20)
	var wait sync.WaitGroup
	for i := 0; i < 4; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			growTree(14)
			deepStack(150)
		}()
	}
	wait.Wait()
	fmt.Fprintln(os.Stderr, len(table))
}
"#;

#[test]
fn go_has_its_callers_and_names_stripped_or_not() {
    let machine = begin!();
    if !has_program("go") {
        return machine.skip("no go here");
    }
    let source = machine.scratch().join("main.go");
    std::fs::write(&source, GO).unwrap();
    for (name, flags) in [("whole", ""), ("stripped", "-s -w")] {
        let binary = machine.scratch().join(name);
        let mut go = Command::new("go");
        go.args(["build", "-ldflags", flags, "-o"]).arg(&binary).arg(&source);
        go.env("GOCACHE", machine.scratch().join("cache")).env("GOFLAGS", "-mod=mod");
        go.env("HOME", machine.scratch()).env("GOTOOLCHAIN", "local");
        let built = run(&mut go);
        assert_eq!(built.code(), 0, "{}", built.err());
        let (traced, _maps) = traced(machine.scratch(), &[binary.to_str().unwrap()]);
        let (share, how) = complete(&traced);
        println!("go, {name}: {how}");
        // The scheduler's own work on a thread's stack is for no goroutine, or for another one.
        assert!(share >= 980, "{name}: {how}");
        let report = &traced.report;
        let filled = with(report, |name| name == "main.fillTable");
        assert!(bytes(&filled) >= 15 * MIB, "{name}: {filled:#?}");
        for (stack, _) in filled.iter().filter(|(_, touched)| *touched >= MIB) {
            let names: Vec<&str> =
                names(stack).iter().map(|name| name.trim_end_matches(".abi0")).collect();
            let chain = ["main.fillTable", "main.main", "runtime.main", "runtime.goexit"];
            assert!(stack.complete && names.ends_with(&chain), "{name}: {stack:#?}");
        }
        // On the runtime's own stack, which leads back to the goroutine's.
        let grown = with(report, |name| name == "main.growTree");
        let switched = grown.iter().filter(|(stack, _)| {
            stack.complete
                && names(stack).iter().any(|name| name.starts_with("runtime.systemstack"))
        });
        assert!(switched.count() > 0, "{name}: {grown:#?}");
    }
}

/// The functions of the script, innermost first.
const PYTHONS: [&str; 4] = ["make_rows", "make_tables", "main", "<module>"];

/// An interpreter that has trampolines for perf: 3.12 or later.
fn python() -> Option<String> {
    let mut found: Vec<PathBuf> = ["python3.14", "python3.13", "python3.12", "python3"]
        .iter()
        .filter(|name| has_program(name))
        .map(PathBuf::from)
        .collect();
    let versions = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv/versions"));
    let versions = versions.and_then(|versions| std::fs::read_dir(versions).ok());
    found.extend(versions.into_iter().flatten().flatten().map(|at| at.path().join("bin/python3")));
    let question = "import sys, sysconfig\n\
                    if sysconfig.get_config_var('PY_HAVE_PERF_TRAMPOLINE'): print(sys.executable)";
    found.iter().find_map(|python| {
        let asked = Command::new(python).args(["-c", question]).output().ok()?;
        let path = String::from_utf8(asked.stdout).ok()?.trim().to_owned();
        (asked.status.success() && !path.is_empty()).then_some(path)
    })
}

#[test]
fn functions_of_python_have_their_names_and_callers() {
    let machine = begin!();
    let Some(python) = python() else {
        return machine.skip("no Python 3.12 or later with trampolines for perf here");
    };
    let source = machine.scratch().join("tables.py");
    let text = "def make_rows(n):\n    return [bytearray(4096) for _ in range(n)]\n\n\
                def make_tables(n):\n    return [make_rows(10) for _ in range(n)]\n\n\
                def main():\n    return [make_tables(10) for _ in range(40)]\n\n\
                kept = main()\n";
    std::fs::write(&source, text).unwrap();
    let argv = [&python, "-X", "perf", source.to_str().unwrap()];
    let mut last = String::new();
    // What is met before its code was seen is walked in user space, if it keeps up.
    for _ in 0..3 {
        let (traced, _maps) = traced(machine.scratch(), &argv);
        let (share, how) = complete(&traced);
        println!("python -X perf: {how}");
        let rows = with(&traced.report, |name| name == "make_rows");
        assert!(bytes(&rows) >= 14 * MIB, "{rows:#?}");
        let whole: Vec<_> = rows.iter().filter(|(stack, _)| stack.complete).copied().collect();
        for (stack, _) in &whole {
            // By Python itself and not by its trampolines' names once more.
            let own: Vec<&str> =
                names(stack).into_iter().filter(|name| !name.contains("comp>")).collect();
            assert!(!own.iter().any(|name| name.starts_with("py::")), "{stack:#?}");
            let own: Vec<&str> = own.into_iter().filter(|name| PYTHONS.contains(name)).collect();
            assert!(own.ends_with(&PYTHONS), "{stack:#?}");
        }
        if share >= 990 && bytes(&whole) * 100 >= bytes(&rows) * 99 {
            return;
        }
        last = how;
    }
    panic!("{last}");
}

/// The same, borrowed.
fn words(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).collect()
}

/// Node, which names its functions. It writes a log as well, into the directory that it runs in.
fn node(scratch: &Path, source: &Path) -> Vec<String> {
    let log = format!("--logfile={}", scratch.join("v8.log").display());
    let words = ["node", "--perf-basic-prof", &log, "--no-logfile-per-isolate"];
    words.into_iter().map(str::to_owned).chain([source.display().to_string()]).collect()
}

#[test]
fn functions_of_javascript_have_their_names() {
    let machine = begin!();
    if !has_program("node") {
        return machine.skip("no node here");
    }
    let source = machine.scratch().join("pages.js");
    let text = "function fillPages(b) { for (let i = 0; i < b.length; i += 4096) b[i] = 1; return b; }\n\
                const small = Buffer.allocUnsafeSlow(1 << 20);\n\
                for (let i = 0; i < 3000; i++) fillPages(small);\n\
                fillPages(Buffer.allocUnsafeSlow(64 << 20));\n";
    std::fs::write(&source, text).unwrap();
    let argv = node(machine.scratch(), &source);
    let (traced, _maps) = traced(machine.scratch(), &words(&argv));
    println!("node --perf-basic-prof: {}", complete(&traced).1);
    let filled = with(&traced.report, |name| name.contains("fillPages"));
    assert!(bytes(&filled) >= 60 * MIB, "{} bytes", bytes(&filled));
    for (stack, touched) in filled.iter().filter(|(_, touched)| *touched >= MIB) {
        let made = &stack.frames[0];
        assert_eq!(made.module, source.to_str().unwrap(), "{stack:#?}");
        let place = (made.function.as_deref(), made.line, made.language.as_deref());
        assert_eq!(
            place,
            (Some("fillPages"), Some(1), Some("javascript")),
            "{touched}: {stack:#?}"
        );
        // By frame pointers up to the start, and it says so.
        assert!(names(stack).iter().any(|name| name.starts_with("node::Start")), "{stack:#?}");
        let last = stack.frames.last().unwrap().module.as_str();
        assert_eq!(last, "[approximate: walked by frame pointers]", "{stack:#?}");
    }
}

#[test]
fn code_that_v8_makes_is_known_as_soon_as_it_runs() {
    let machine = begin!();
    if !has_program("node") {
        return machine.skip("no node here");
    }
    let source = machine.scratch().join("cache.js");
    // What writes the bytes is V8's own code, which has no tables: behind it only the frame pointer
    // leads on, and only into code whose mapping is known. The first moments are not: rmap reads the
    // mappings when it reads the ring.
    let text = "const cache = [];\n\
                function remember() { cache.push(Buffer.alloc(16 << 10, 1)); }\n\
                let turns = 0;\n\
                const timer = setInterval(() => {\n\
                for (let i = 0; i < 20; i++) remember();\n\
                if (++turns === 100) clearInterval(timer);\n\
                }, 5);\n";
    std::fs::write(&source, text).unwrap();
    for _ in 0..4 {
        let argv = node(machine.scratch(), &source);
        let (traced, _maps) = traced(machine.scratch(), &words(&argv));
        let remembered = bytes(&with(&traced.report, |name| name == "remember"));
        assert!(remembered >= 25 * MIB, "{remembered} bytes:\n{}", traced.table);
    }
}

const JAVA: &str = "public class Fill {\n\
    static byte[] makeTable(int n) { byte[] t = new byte[n]; t[n - 1] = 1; return t; }\n\
    static long work(int n, int times) {\n\
        long s = 0; for (int i = 0; i < times; i++) s += makeTable(n).length; return s; }\n\
    public static void main(String[] a) {\n\
        long s = 0; for (int r = 0; r < 30; r++) s += work(128, 20000);\n\
        System.out.println(s + work(1 << 20, 64)); }\n\
}\n";

#[test]
fn methods_of_java_have_their_names() {
    let machine = begin!();
    if !has_program("java") || !has_program("javac") {
        return machine.skip("no java, or no javac here");
    }
    let source = machine.scratch().join("Fill.java");
    std::fs::write(&source, JAVA).unwrap();
    let built = run(Command::new("javac").arg("-d").arg(machine.scratch()).arg(&source));
    assert_eq!(built.code(), 0, "{}", built.err());
    let program = |pointers: &'static str| {
        ["java", "-Xms300m", "-Xmx300m", "-XX:+UseSerialGC", pointers]
            .into_iter()
            .chain(["-XX:+UnlockDiagnosticVMOptions", "-XX:+DumpPerfMapAtExit", "-cp"])
            .chain([machine.scratch().to_str().unwrap(), "Fill"])
            .collect::<Vec<_>>()
    };
    let ask = [&program("-XX:+PreserveFramePointer")[..], &["-version"]].concat();
    if !Command::new(ask[0]).args(&ask[1..]).output().unwrap().status.success() {
        return machine.skip("this java does not know DumpPerfMapAtExit");
    }
    let (traced, _maps) = traced(machine.scratch(), &program("-XX:+PreserveFramePointer"));
    println!("java -XX:+PreserveFramePointer: {}", complete(&traced).1);
    let made =
        with(&traced.report, |name| name.contains("Fill.work") || name.contains("makeTable"));
    assert!(bytes(&made) >= 48 * MIB, "{} bytes", bytes(&made));
    let mut whole = 0;
    for (stack, touched) in &made {
        let start = names(stack).iter().any(|name| name.contains("JavaMain"));
        let last = stack.frames.last().unwrap().module.as_str();
        assert!(!stack.complete && last.starts_with('['), "{stack:#?}");
        whole += if start { *touched } else { 0 };
    }
    assert!(whole * 100 >= bytes(&made) * 95, "{whole} of {} bytes", bytes(&made));
    // Without them nobody knows the frames, and the stacks say so.
    let (traced, _maps) = self::traced(machine.scratch(), &program("-XX:-PreserveFramePointer"));
    println!("java -XX:-PreserveFramePointer: {}", complete(&traced).1);
    let made =
        with(&traced.report, |name| name.contains("Fill.work") || name.contains("makeTable"));
    assert!(bytes(&made) >= 48 * MIB, "{} bytes", bytes(&made));
    for (stack, _) in &made {
        let last = stack.frames.last().unwrap().module.as_str();
        assert!(!stack.complete && last.starts_with('['), "{stack:#?}");
    }
}
