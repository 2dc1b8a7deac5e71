//! Stacks of programs that people use, from their first instruction on: at least 99 % of the
//! faults have a stack that was walked to its outermost frame. Stacks with more frames than there
//! is room for count as not complete, as all others do that end early.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::machine::Machine;
use rmap_tests::process::{Running, eventually, has_program, run};
use rmap_tests::rmap::{Traced, finish, rmap_run, trace};

/// Runs of a program, of which one must have its stacks: code that is there for the first time is
/// walked in user space, from copies that find room in the ring only while user space keeps up
/// with the machine's other work. What found none is counted, in every run.
const RUNS: u32 = 3;

/// Checks the ends of all walks. What depends on how busy the machine is is an error.
fn expect_complete(name: &str, traced: &Traced) -> Result<(), String> {
    facts::assert_sound(&traced.report);
    // Tables of 150 MB of code may take longer than a thread that stands still waits for rmap, a second: then
    // its snapshot is lost, and counted. The next run finds the tables.
    let snapshots = traced.report.coverage.lost.snapshots;
    if snapshots > 0 {
        return Err(format!("{name}: {snapshots} snapshots were lost"));
    }
    facts::assert_nothing_lost(&traced.report);
    let unwind = &traced.report.coverage.unwind;
    let all = unwind.complete + unwind.incomplete;
    assert!(all > 300, "{name}: {unwind:?}");
    println!("{name}: {} of {all} faults: {:?}", unwind.complete, unwind.reasons);
    if unwind.complete * 100 < all * 99 {
        return Err(format!("{name}: {unwind:?}"));
    }
    let bytes = &unwind.bytes;
    assert_eq!(bytes.reasons.values().sum::<u64>(), bytes.incomplete, "{name}: {bytes:?}");
    let all = bytes.complete + bytes.incomplete;
    if bytes.complete * 100 < all * 98 {
        return Err(format!("{name}: {bytes:?}"));
    }
    Ok(())
}

/// Whether one of some runs is as it must be.
fn once(run: impl Fn() -> Result<(), String>) {
    let failures: Vec<String> = (0..RUNS).map_while(|_| run().err()).collect();
    assert!(failures.len() < RUNS as usize, "{failures:#?}");
}

fn ends_well(machine: &Machine, argv: &[&str]) {
    once(|| {
        let traced = trace(machine.scratch(), argv);
        assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
        expect_complete(argv[0], &traced)
    });
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn python_is_walked_to_its_start() {
    let machine = begin!();
    if !has_program("python3") {
        return machine.skip("no python3 here");
    }
    // The interpreter itself: `python3` on the PATH may be a script that chooses one.
    let itself = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
    let python = itself.out();
    let program = "lists = [list(range(n)) for n in range(1500)]; print(sum(map(len, lists)))";
    ends_well(&machine, &[python.trim(), "-c", program]);
}

#[test]
fn gcc_with_all_its_programs_is_walked_to_its_start() {
    let machine = begin!();
    if !has_program("gcc") {
        return machine.skip("no gcc here");
    }
    let text = "#include <stdio.h>\n#include <stdlib.h>\nint main(void)\n{\n    return \
                printf(\"%d\\n\", abs(-3)) < 0;\n}\n";
    let source = file(machine.scratch(), "a.c", text);
    let program = machine.scratch().join("a");
    ends_well(&machine, &["gcc", "-O2", &source, "-o", program.to_str().unwrap()]);
}

#[test]
fn rustc_is_walked_to_its_start() {
    let machine = begin!();
    // The compiler itself: `rustc` on the PATH may choose one.
    let mut ask = Command::new("rustc");
    let sysroot = ask.args(["--print", "sysroot"]).output().ok().filter(|o| o.status.success());
    let Some(sysroot) = sysroot else { return machine.skip("no rustc here") };
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let rustc = Path::new(sysroot.trim()).join("bin/rustc");
    let text = "fn main() { println!(\"{:?}\", (0..9).map(|n| n * n).collect::<Vec<_>>()); }\n";
    let source = file(machine.scratch(), "a.rs", text);
    let program = machine.scratch().join("a");
    let argv = [rustc.to_str().unwrap(), &source, "-o", program.to_str().unwrap()];
    ends_well(&machine, &argv);
}

#[test]
fn redis_is_walked_to_its_start() {
    let machine = begin!();
    if !has_program("redis-server") {
        return machine.skip("no redis-server here");
    }
    once(|| redis_filled(&machine));
}

/// Fills a server through its socket, and lets it end.
fn redis_filled(machine: &Machine) -> Result<(), String> {
    let socket = machine.scratch().join("socket");
    let _ = std::fs::remove_file(&socket);
    let mut rmap = rmap_run(machine.scratch());
    rmap.args(["redis-server", "--port", "0", "--save", "", "--dir"]).arg(machine.scratch());
    rmap.arg("--unixsocket").arg(&socket);
    let running = Running::start(&mut rmap, None);
    let mut connection =
        eventually("redis listens", || std::os::unix::net::UnixStream::connect(&socket).ok());
    let mut commands = String::new();
    for n in 0..20_000 {
        commands += &format!("SET key{n} {n}{}\r\n", "x".repeat(200));
    }
    commands += "PING\r\n";
    {
        use std::io::{Read as _, Write as _};
        let mut reader = connection.try_clone().unwrap();
        let answers = std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut buffer = [0; 4096];
            while !all.ends_with(b"+PONG\r\n") {
                let n = reader.read(&mut buffer).unwrap();
                assert!(n > 0, "redis closed the connection");
                all.extend_from_slice(&buffer[..n]);
            }
        });
        connection.write_all(commands.as_bytes()).unwrap();
        answers.join().unwrap();
    }
    // rmap hands it on; redis ends by itself with status 0.
    running.signal(Signal::SIGTERM);
    let traced = finish(machine.scratch(), running);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    expect_complete("redis-server", &traced)
}
