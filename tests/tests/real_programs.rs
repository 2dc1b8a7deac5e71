//! `rmap run` on programs that people use: as untraced to the outside, explained to the byte.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use ::rmap::report::SnapshotKind;
use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::machine::Machine;
use rmap_tests::process::{Running, has_program, program};
use rmap_tests::rmap::{Traced, finish, rmap_run};

/// Runs the command without rmap and under it, each in a directory of its own, and checks that
/// status and output are the same, that the figures are sound, and that nothing was lost.
fn same_as_untraced(machine: &Machine, argv: &[&str], prepare: impl Fn(&Path)) -> Traced {
    let dir = |name: &str| {
        let dir = machine.scratch().join(name);
        std::fs::create_dir(&dir).unwrap();
        prepare(&dir);
        dir
    };
    let (plain_dir, traced_dir) = (dir("plain"), dir("traced"));
    let mut plain = Command::new(argv[0]);
    let plain = Running::start(plain.args(&argv[1..]).current_dir(plain_dir), None).wait();
    let mut rmap = rmap_run(machine.scratch());
    let running = Running::start(rmap.args(argv).current_dir(traced_dir), None);
    let traced = finish(machine.scratch(), running);
    let ended = &traced.ended;
    assert_eq!(ended.err(), plain.err(), "standard error of {argv:?}");
    assert_eq!(ended.out(), plain.out(), "standard output of {argv:?}");
    assert_eq!(ended.code(), plain.code(), "status of {argv:?}");
    facts::assert_sound(&traced.report);
    facts::assert_nothing_lost(&traced.report);
    for process in &traced.report.processes {
        assert_eq!(process.snapshot, SnapshotKind::AtExit, "{} {}", process.pid, process.command);
        assert!(process.rss_bytes.after > 0, "{} {}", process.pid, process.command);
    }
    traced
}

/// Skips where the program is not installed.
fn missing(machine: &Machine, program: &str) -> bool {
    let missing = !has_program(program);
    if missing {
        machine.skip(&format!("no {program} here"));
    }
    missing
}

#[test]
fn true_is_explained() {
    let machine = begin!();
    let traced = same_as_untraced(&machine, &["true"], |_| ());
    assert_eq!(traced.report.processes.len(), 1);
    assert_eq!(traced.report.session.command.as_deref(), Some(&["true".to_owned()][..]));
    facts::assert_explained(&traced.report);
}

#[test]
fn python_is_explained() {
    let machine = begin!();
    if missing(&machine, "python3") {
        return;
    }
    let program = "import sys\n\
                   lists = [list(range(n)) for n in range(1500)]\n\
                   print(sum(map(len, lists)), file=sys.stdout)\n\
                   print('to stderr', file=sys.stderr)\n\
                   sys.exit(3)";
    let traced = same_as_untraced(&machine, &["python3", "-c", program], |_| ());
    facts::assert_explained(&traced.report);
}

#[test]
fn a_c_compiler_is_explained_and_compiles_the_same() {
    let machine = begin!();
    let prepare = |dir: &Path| {
        let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n");
        for i in 0..500 {
            let _ = write!(
                text,
                "int f{i}(int a, int b)\n{{\n    int sum = {i};\n    for (int k = 0; k < a; k++) \
                 {{\n        sum += k * b;\n        if (sum > 1000)\n            sum /= 3;\n    \
                 }}\n    return sum;\n}}\n"
            );
        }
        std::fs::write(dir.join("big.c"), text).unwrap();
    };
    let argv = ["cc", "-O1", "-c", "big.c", "-o", "big.o"];
    let traced = same_as_untraced(&machine, &argv, prepare);
    let object = |name: &str| std::fs::read(machine.scratch().join(name).join("big.o")).unwrap();
    assert!(object("plain") == object("traced"), "the objects differ");
    assert!(traced.report.processes.len() >= 3, "driver, compiler and assembler");
    facts::assert_explained(&traced.report);
}

#[test]
fn a_shell_pipeline_is_explained() {
    let machine = begin!();
    let line = "seq 1 50000 | sort | uniq -c | wc -l";
    let traced = same_as_untraced(&machine, &["sh", "-c", line], |_| ());
    assert!(traced.report.processes.len() >= 5, "the shell and four programs");
    facts::assert_explained(&traced.report);
}

const SQL: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, v INTEGER);\
    WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 50000)\
    INSERT INTO t SELECT x, 'name ' || (x * 7919 % 50000), x * x % 1013 FROM c;\
    CREATE INDEX i ON t(name);\
    SELECT count(*), sum(v) FROM t WHERE name BETWEEN 'name 1' AND 'name 3';";

#[test]
fn sqlite_is_explained() {
    let machine = begin!();
    if missing(&machine, "sqlite3") {
        return;
    }
    let traced = same_as_untraced(&machine, &["sqlite3", "data.db", SQL], |_| ());
    facts::assert_explained(&traced.report);
}

/// A program that was just written lies in large folios, of which one fault maps more than its own
/// neighbours.
#[test]
fn a_program_that_was_just_copied_is_explained() {
    let machine = begin!();
    let Some(sqlite) = program("sqlite3") else {
        return machine.skip("no sqlite3 here");
    };
    let copy = machine.scratch().join("copy");
    std::fs::copy(sqlite, &copy).unwrap();
    std::fs::File::open(&copy).unwrap().sync_all().unwrap();
    let traced = same_as_untraced(&machine, &[copy.to_str().unwrap(), "data.db", SQL], |_| ());
    facts::assert_explained(&traced.report);
}

#[test]
fn sqlite_with_a_mapped_database_has_a_reason_for_every_byte() {
    let machine = begin!();
    if missing(&machine, "sqlite3") {
        return;
    }
    // The database is mapped shared and written by write(2): dirty pages without a fault.
    let sql = format!("PRAGMA mmap_size=268435456;{SQL}UPDATE t SET v = v + 1;");
    let traced = same_as_untraced(&machine, &["sqlite3", "data.db", &sql], |_| ());
    for process in &traced.report.processes {
        for segment in &process.segments {
            let unknown = segment.unexplained.iter().any(|u| u.reason.as_str() == "unknown");
            assert!(!unknown, "{}", facts::show(&traced.report, segment));
        }
    }
}
