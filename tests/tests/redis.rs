//! `rmap run` on a Redis server that saves itself in a forked child while it is written to: how
//! much was copied, by which function, on which side.

use std::path::Path;
use std::process::Command;

use ::rmap::report::{Process, Report, SnapshotKind};
use rmap_tests::facts::{self, Owned};
use rmap_tests::process::{Running, eventually, has_program, run};
use rmap_tests::rmap::{finish, rmap_run};
use rmap_tests::{begin, machine::Machine};

const KEYS: u64 = 20_000;
/// Bytes of each value.
const VALUE: u64 = 1000;
/// Microseconds that the child rests after each key, so that it lives through all writes.
const SAVE_DELAY: &str = "200";

/// What the server answers; `None` while it does not.
fn ask(dir: &Path, words: &[&str]) -> Option<String> {
    let ended = run(Command::new("redis-cli").current_dir(dir).args(["-s", "socket"]).args(words));
    (ended.code() == 0).then(|| ended.out().trim_end().to_owned())
}

/// Lets the server run a script over all keys.
fn for_all_keys(dir: &Path, call: &str) {
    let script = format!("for i=1,{KEYS} do redis.call({call}) end return 'done'");
    assert_eq!(ask(dir, &["eval", &script, "0"]).as_deref(), Some("done"), "{call}");
}

fn persistence(dir: &Path, field: &str) -> Option<u64> {
    let info = ask(dir, &["info", "persistence"])?;
    info.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok())
}

/// What was copied or reused by the process after the fork, under a function if one is named.
fn copied(report: &Report, process: &Process, function: Option<&str>) -> Owned {
    let under = |stack| function.is_none_or(|name| facts::caller_is(report, stack, &[name]));
    let paths = process.segments.iter().flat_map(|segment| &segment.paths);
    Owned::sum(paths.filter(|path| path.cause.as_str() == "fork-cow" && under(path.stack)))
}

fn missing(machine: &Machine) -> bool {
    let missing = ["redis-server", "redis-cli"].into_iter().find(|name| !has_program(name));
    if let Some(name) = missing {
        machine.skip(&format!("no {name} here"));
    }
    missing.is_some()
}

#[test]
fn a_background_save_under_writes_is_copied_by_the_server_not_by_the_child() {
    let machine = begin!();
    if missing(&machine) {
        return;
    }
    let dir = machine.scratch();
    let mut rmap = rmap_run(dir);
    rmap.args(["redis-server", "--port", "0", "--unixsocket", "socket", "--save", ""]);
    let running =
        Running::start(rmap.args(["--rdb-key-save-delay", SAVE_DELAY]).current_dir(dir), None);
    eventually("the server answers", || ask(dir, &["ping"]).filter(|said| said == "PONG"));
    for_all_keys(dir, &format!("'set','k'..i,string.rep('x',{VALUE})"));
    assert!(ask(dir, &["bgsave"]).is_some_and(|said| said.contains("started")));
    for_all_keys(dir, "'setrange','k'..i,0,'y'");
    assert_eq!(persistence(dir, "rdb_bgsave_in_progress:"), Some(1), "the child lived through it");
    eventually("the end of the save", || {
        persistence(dir, "rdb_bgsave_in_progress:").filter(|running| *running == 0)
    });
    let told_by_redis = persistence(dir, "rdb_last_cow_size:").expect("INFO has it");
    assert_eq!(ask(dir, &["dbsize"]), Some(KEYS.to_string()));
    let _ = ask(dir, &["shutdown", "nosave"]);
    let traced = finish(dir, running);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());

    let report = &traced.report;
    facts::assert_sound(report);
    facts::assert_nothing_lost(report);
    let server = &report.processes[0];
    let children: Vec<_> = report.processes.iter().filter(|p| p.parent_pid == server.pid).collect();
    assert_eq!(children.len(), 1, "{}", traced.table);
    assert_eq!(children[0].snapshot, SnapshotKind::AtExit);
    let by_writes = copied(report, server, Some("setrangeCommand"));
    assert!(by_writes.dirty >= KEYS * VALUE, "{by_writes:?}; {}", traced.table);
    assert_eq!(by_writes.rss, by_writes.dirty, "{}", traced.table);
    // Redis counts what of the child is shared no longer: what either side has copied.
    assert!(by_writes.touched <= told_by_redis, "Redis says {told_by_redis}: {by_writes:?}");
    // The child reads the keys and writes next to nothing of what it inherited.
    let by_child = copied(report, children[0], None);
    assert!(by_child.touched * 20 < by_writes.touched, "{by_child:?}; {}", traced.table);
}
