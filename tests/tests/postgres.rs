//! `rmap run` on PostgreSQL: many processes over one piece of shared memory, a load, a checkpoint.
//! Who dirtied the shared buffers, by which function, in every process that shows them dirty.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::rmap::report::{Process, Segment, SnapshotKind};
use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::process::{Running, eventually, run};
use rmap_tests::rmap::{finish, rmap_run};

const ROWS: u64 = 20_000;
/// Bytes that a row has at least.
const ROW: u64 = 100;

/// Where Debian puts the server's programs, one directory for each version.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let dirs = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    dirs.filter(|dir| dir.join("postgres").is_file()).max()
}

/// A program run by the server's user: it refuses to be root.
fn as_server(program: &Path) -> Vec<String> {
    let user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"];
    user.iter().map(|word| (*word).to_owned()).chain([program.display().to_string()]).collect()
}

fn call(program: &Path, dir: &Path, args: &[&str]) -> Option<String> {
    let words = as_server(program);
    let ended = run(Command::new(&words[0]).args(&words[1..]).args(args).current_dir(dir));
    (ended.code() == 0).then(|| ended.out().trim().to_owned())
}

/// The buffers: shared memory that the server maps before it forks.
fn buffers(process: &Process) -> Option<&Segment> {
    let shared =
        process.segments.iter().filter(|s| s.perms.ends_with('s') && s.rss_bytes.after > 0);
    shared.filter(|s| s.name.starts_with("/dev/zero")).max_by_key(|s| s.size_bytes)
}

#[test]
fn the_shared_buffers_of_a_database_are_dirty_by_the_functions_that_wrote_them() {
    let machine = begin!();
    let Some(bin) = programs() else { return machine.skip("no postgresql here") };
    let Ok(Some(user)) = nix::unistd::User::from_name("postgres") else {
        return machine.skip("no user postgres here");
    };
    // The server's user must come through, which it cannot to the build's directory.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let dir = dir.path().join("server");
    std::fs::create_dir(&dir).unwrap();
    nix::unistd::chown(&dir, Some(user.uid), Some(user.gid)).unwrap();
    let place = dir.to_str().unwrap();
    let data = dir.join("data");
    let data = data.to_str().unwrap();
    let options = ["-D", data, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C"];
    assert!(call(&bin.join("initdb"), &dir, &options).is_some(), "initdb");

    let mut rmap = rmap_run(machine.scratch());
    rmap.args(as_server(&bin.join("postgres"))).args(["-D", data, "-k", place]);
    for setting in ["listen_addresses=", "shared_buffers=16MB", "fsync=off", "autovacuum=off"] {
        rmap.args(["-c", setting]);
    }
    let running = Running::start(rmap.current_dir(&dir), None);
    let ask = |statements: &[&str]| {
        let asked = statements.iter().flat_map(|statement| ["-c", statement]);
        let args: Vec<&str> =
            ["-h", place, "-d", "postgres", "-qtA"].into_iter().chain(asked).collect();
        call(Path::new("psql"), &dir, &args)
    };
    eventually("the server answers", || ask(&["select 1"]).filter(|said| said == "1"));
    let fill =
        format!("insert into t select g, repeat('x', {ROW}) from generate_series(1, {ROWS}) g");
    let said =
        ask(&["create table t (a int, b text)", &fill, "checkpoint", "select count(*) from t"]);
    assert_eq!(said, Some(ROWS.to_string()));
    assert!(call(&bin.join("pg_ctl"), &dir, &["-D", data, "stop", "-m", "fast"]).is_some());
    let traced = finish(machine.scratch(), running);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());

    let report = &traced.report;
    facts::assert_sound(report);
    facts::assert_nothing_lost(report);
    let mut writers = Vec::new();
    let mut readers = Vec::new();
    for process in &report.processes {
        assert_eq!(process.snapshot, SnapshotKind::AtExit, "process {}", process.pid);
        let Some(segment) = buffers(process) else { continue };
        for rest in &segment.unexplained {
            assert_ne!(rest.reason.as_str(), "unknown", "{}", facts::show(report, segment));
            let silent = rest.reason.as_str() == "shared-write-without-fault";
            assert!(!silent || !rest.candidates.is_empty(), "{}", facts::show(report, segment));
        }
        let rows = facts::owned_under(report, segment, "heap_insert");
        if rows.dirty >= ROWS * ROW {
            if rows.faults > 0 { &mut writers } else { &mut readers }.push((process.pid, rows));
        }
    }
    // One process wrote the rows, and faulted for it. The checkpointer has read them to write them
    // out: they are dirty there too, by the functions of the other.
    assert_eq!(writers.len(), 1, "{writers:?}; {}", traced.table);
    assert!(!readers.is_empty(), "{}", traced.table);
    let written = &writers[0].1;
    assert!(written.rss >= ROWS * ROW, "{written:?}");
    for (_, read) in &readers {
        assert_eq!((read.rss, read.tids == written.tids), (0, true), "{read:?}; {written:?}");
        assert!(read.causes.iter().eq(["shared-memory"]), "{read:?}");
    }
}
