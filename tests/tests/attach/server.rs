//! Servers with many threads that are asked while rmap watches: every answer is right, and no
//! thread is left stopped, however rmap ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ::rmap::report::SnapshotKind;
use nix::sys::signal::Signal;
use rmap_tests::attach::{ask, assert_free, await_attached, rmap_attach, threads};
use rmap_tests::machine::slow;
use rmap_tests::process::{Running, eventually, has_program, run, status_field};
use rmap_tests::rmap::{Traced, finish, rmap};
use rmap_tests::{begin, facts, workload};

const THREADS: usize = 8;
const CLIENTS: u64 = 4;

fn start(dir: &Path) -> (Running, PathBuf) {
    let socket = dir.join("socket");
    let mut command = Command::new(workload::build("worker"));
    let server = Running::start(command.arg(&socket).arg(THREADS.to_string()), None);
    eventually("the server listens", || (!server.out_so_far().is_empty()).then_some(()));
    (server, socket)
}

/// Has clients ask while something is done; gives the number of right answers.
fn under_load<T>(socket: &Path, done: impl FnOnce() -> T) -> (u64, T) {
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| scope.spawn(move || ask(socket, seed_of(seed), stop)))
            .collect();
        let result = done();
        stop.store(true, Ordering::Relaxed);
        (clients.into_iter().map(|client| client.join().unwrap()).sum(), result)
    })
}

const fn seed_of(client: u64) -> u64 {
    client * 1_000_003
}

fn check(traced: &Traced, server: &Running) {
    assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""), "rmap attach");
    let report = &traced.report;
    facts::assert_sound(report);
    assert_eq!(report.processes.len(), 1, "{}", traced.table);
    let process = &report.processes[0];
    assert_eq!((process.pid, process.snapshot), (server.pid(), SnapshotKind::Live));
    let touched = |function: &str| -> u64 {
        let is = |stack| facts::caller_is(report, stack, &[function]);
        let there = process.segments.iter().flat_map(|segment| &segment.paths);
        let there = there.filter(|path| is(path.stack)).map(|path| path.touched_bytes);
        let gone = process.gone.iter().filter(|gone| is(gone.stack)).map(|gone| gone.touched_bytes);
        there.chain(gone).sum()
    };
    assert!(touched("fill_block") > 0, "{}", traced.table);
    // It stood at the first and the last look, so nothing is left over but what is told exactly.
    if report.coverage.lost.events == 0 {
        for segment in &process.segments {
            let odd = segment.unexplained.iter().find(|u| {
                ["unknown", "snapshot-race", "page-map-mismatch"].contains(&u.reason.as_str())
            });
            assert!(odd.is_none(), "{odd:?} in {}", facts::show(report, segment));
        }
    }
}

#[test]
fn a_server_under_load_answers_rightly_while_it_is_watched() {
    let machine = begin!();
    let (server, socket) = start(machine.scratch());
    let (answers, traced) = under_load(&socket, || {
        let mut rmap = rmap_attach(machine.scratch(), &[server.pid()]);
        finish(machine.scratch(), Running::start(rmap.args(["-d", "10"]), None))
    });
    assert_free(server.pid());
    assert!(answers > 100, "{answers}");
    assert_eq!(threads(server.pid()).len(), THREADS);
    check(&traced, &server);
}

#[test]
fn a_server_is_left_as_it_was_however_rmap_ends() {
    let machine = begin!();
    let (server, socket) = start(machine.scratch());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let (answers, traced) = under_load(&socket, || {
            let mut rmap = rmap_attach(machine.scratch(), &[server.pid()]);
            let rmap = Running::start(&mut rmap, None);
            await_attached(&rmap);
            thread::sleep(Duration::from_millis(200));
            rmap.signal(signal);
            if signal == Signal::SIGKILL {
                assert_eq!(rmap.wait().code(), 128 + 9);
                return None;
            }
            Some(finish(machine.scratch(), rmap))
        });
        assert!(answers > 0);
        assert_free(server.pid());
        if let Some(traced) = traced {
            check(&traced, &server);
        }
    }
    // Once more under load with nobody around.
    let (answers, ()) = under_load(&socket, || thread::sleep(Duration::from_millis(300)));
    assert!(answers > 0);
}

#[test]
fn rmap_killed_while_it_attaches_leaves_nothing_behind() {
    let machine = begin!();
    let (server, socket) = start(machine.scratch());
    let (answers, ()) = under_load(&socket, || {
        // Fewer where each takes half a minute, at the same moments of what is slower there.
        for round in (0..12).step_by(if slow() > 1 { 4 } else { 1 }) {
            let mut rmap = rmap(["attach", "-o", "/dev/null", "-p"]);
            let rmap = Running::start(rmap.arg(server.pid().to_string()), None);
            // Each time a little later, from the first thread that is seized on.
            eventually("a thread is traced", || {
                let mut traced = threads(server.pid()).into_iter().filter(|tid| {
                    status_field(*tid, "TracerPid:").is_some_and(|tracer| tracer != "0")
                });
                traced.next()
            });
            thread::sleep(Duration::from_micros(150 * round) * slow());
            rmap.signal(Signal::SIGKILL);
            assert_eq!(rmap.wait().code(), 128 + 9);
            assert_free(server.pid());
        }
    });
    assert!(answers > 0);
}

#[test]
fn a_redis_server_under_load_is_watched_and_left() {
    let machine = begin!();
    let missing = ["redis-server", "redis-cli"].into_iter().find(|name| !has_program(name));
    if let Some(name) = missing {
        return machine.skip(&format!("no {name} here"));
    }
    let dir = machine.scratch();
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", "socket", "--save", ""]).current_dir(dir);
    let server = Running::start(&mut command, None);
    let ask = |words: &[&str]| {
        let mut command = Command::new("redis-cli");
        run(command.current_dir(dir).args(["-s", "socket"]).args(words)).out().trim_end().to_owned()
    };
    eventually("the server answers", || (ask(&["ping"]) == "PONG").then_some(()));
    let mut rmap = rmap_attach(dir, &[server.pid()]);
    let rmap = Running::start(&mut rmap, None);
    await_attached(&rmap);
    for round in 0..20 {
        let script = format!(
            "for i=1,500 do redis.call('set','k{round}:'..i,string.rep('x',1000)) end return 'done'"
        );
        assert_eq!(ask(&["eval", &script, "0"]), "done");
        assert_eq!(ask(&["strlen", &format!("k{round}:500")]), "1000");
    }
    rmap.signal(Signal::SIGTERM);
    let traced = finish(dir, rmap);
    assert_free(server.pid());
    assert_eq!(ask(&["dbsize"]), "10000");
    assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""));
    let report = &traced.report;
    facts::assert_sound(report);
    facts::assert_nothing_lost(report);
    let process = &report.processes[0];
    let paths = process.segments.iter().flat_map(|segment| &segment.paths);
    let by_scripts = paths
        .filter(|path| facts::caller_is(report, path.stack, &["evalCommand", "evalGenericCommand"]))
        .map(|path| path.dirty_bytes)
        .sum::<u64>();
    assert!(by_scripts > 8_000_000, "{by_scripts}; {}", traced.table);
    let _ = ask(&["shutdown", "nosave"]);
    assert_eq!(server.wait().code(), 0);
}
