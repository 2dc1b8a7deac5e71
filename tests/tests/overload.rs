//! More than rmap can take: its ring is full because it is stopped, or the disk is slow. The
//! command goes on, and what is lost is said in bytes and given to nobody.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::io::{PipeWriter, Write as _};
use std::time::{Duration, Instant};

use ::rmap::report::Report;
use nix::sys::signal::Signal;
use rmap_tests::job::{Job, PAGE, command};
use rmap_tests::machine::Machine;
use rmap_tests::process::{LIMIT, Running, eventually, patience, run, status_field};
use rmap_tests::rmap::finish;
use rmap_tests::truth::Truth;
use rmap_tests::{begin, facts, workload};

/// Waits for the workload's next words: hundreds of thousands of faults, on a machine that may be
/// busy.
fn heard(running: &Running, name: &str) -> u64 {
    let end = Instant::now() + patience(LIMIT);
    while Instant::now() < end {
        let truth = Truth::parse(&running.out_so_far());
        if let Some(number) = truth.numbers.iter().find(|number| number.name == name) {
            return number.value;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the workload did not say {name}: {:?}", Truth::parse(&running.out_so_far()));
}

/// Stops rmap while the workload loads it; gives the workload's ns a fault before and meanwhile.
fn stop_meanwhile(machine: &Machine, args: &[&str]) -> (Job, u64, u64) {
    let dir = machine.scratch();
    let mut rmap = command(dir, &workload::build("overload"), args);
    let (running, mut input): (Running, PipeWriter) = Running::start_piped(&mut rmap);
    let before = heard(&running, "ns_read");
    running.signal(Signal::SIGSTOP);
    eventually("rmap's stop", || {
        status_field(running.pid(), "State:").filter(|state| state.starts_with('T'))
    });
    input.write_all(b"x").unwrap();
    let stopped = heard(&running, "ns_stopped");
    // Longer than rmap takes for the business of the machine.
    std::thread::sleep(Duration::from_millis(1500));
    running.signal(Signal::SIGCONT);
    input.write_all(b"y").unwrap();
    let traced = finish(dir, running);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    facts::assert_sound(&traced.report);
    assert!(traced.report.coverage.lost.events > 0, "nothing was lost: {}", traced.table);
    // Whoever makes threads or processes, executes or ends has to wait for it.
    let said = traced.report.coverage.probes.iter().find(|probe| probe.name == "rmap");
    let why = said.and_then(|probe| probe.why_not.as_deref()).unwrap_or_default();
    assert!(why.contains("did not run for"), "{:?}", traced.report.coverage.probes);
    let truth = Truth::parse(&traced.ended.stdout);
    (Job { traced, truth }, before, stopped)
}

/// Bytes of a region that are said to be lost: rss, dirty.
fn lost(job: &Job, region: &str) -> (i64, i64) {
    let segment = job.segment(region);
    let of = segment.unexplained.iter().filter(|part| part.reason.as_str() == "lost-events");
    of.fold((0, 0), |sum, part| (sum.0 + part.rss_bytes, sum.1 + part.dirty_bytes))
}

#[test]
fn memory_that_changed_hands_while_rmap_was_stopped_is_lost_and_not_the_former_owners() {
    let machine = begin!();
    let (job, before, stopped) = stop_meanwhile(&machine, &["4096", "64"]);
    job.expect_nothing("memory", "touch_before");
    let pages = job.pages("memory", "touch_during_loss") * PAGE;
    let owned = job.owned("memory", "touch_during_loss");
    let lost = lost(&job, "memory");
    let parts = (owned.rss as i64 + lost.0, owned.dirty as i64 + lost.1);
    assert_eq!(parts, (pages as i64, pages as i64), "{}", job.show("memory"));
    assert!(lost.0 > 0, "{}", job.show("memory"));
    assert!(job.traced.table.contains("lost-events"), "{}", job.traced.table);
    // At full speed: not slower than while rmap reads.
    assert!(stopped < 3 * before, "{stopped} ns a fault while rmap is stopped, else {before}");
}

#[test]
fn two_threads_at_full_speed_do_not_wait_for_a_stopped_rmap() {
    let machine = begin!();
    let (job, before, stopped) = stop_meanwhile(&machine, &["4096", "32", "threads"]);
    assert!(stopped < 3 * before, "{stopped} ns a fault while rmap is stopped, else {before}");
    job.expect_kernel_sizes();
    job.expect_nothing("memory", "touch_before");
    // Its pages were all there before, by the same function.
    let (owned, lost) = (job.owned("load", "load"), lost(&job, "load"));
    let rss = job.segment("load").rss_bytes.after;
    assert_eq!(owned.rss as i64 + lost.0, rss as i64, "{}", job.show("load"));
}

/// The sum of what is said to be lost, over the whole report.
fn lost_in(report: &Report) -> i64 {
    let segments = report.processes.iter().flat_map(|process| &process.segments);
    let parts = segments.flat_map(|segment| &segment.unexplained);
    parts
        .filter(|part| part.reason.as_str() == "lost-events")
        .map(|part| part.rss_bytes.abs())
        .sum()
}

#[test]
fn nothing_is_lost_while_all_processors_fault_as_fast_as_they_can() {
    let machine = begin!();
    if !rmap_tests::rmap::binary().components().any(|part| part.as_os_str() == "release") {
        return machine.skip("the binary is no release build: it is too slow a reader");
    }
    // On a machine with other work rmap may not get a processor: three tries.
    let lost = (0..3).map(|_| {
        let traced = rmap_tests::rmap::trace(
            machine.scratch(),
            [workload::build("full_speed").to_str().unwrap(), "4096", "64"],
        );
        assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
        facts::assert_sound(&traced.report);
        let lost = traced.report.coverage.lost.events;
        assert!(traced.report.coverage.unwind.complete + lost >= 2 * 4096 * 64, "{lost} lost");
        assert_eq!(lost == 0, lost_in(&traced.report) == 0);
        lost
    });
    let lost: Vec<u64> = lost.take_while(|lost| *lost > 0).collect();
    assert!(lost.len() < 3, "lost in each of three tries: {lost:?}");
}

#[test]
fn a_disk_that_takes_nothing_holds_nobody_up() {
    let machine = begin!();
    let fifo = machine.scratch().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Opened, and never read.
    let end = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let job = |record: Option<&std::path::Path>| {
        let mut rmap = rmap_tests::rmap::rmap(["run", "--full", "--top", "10000", "--json"]);
        rmap.arg(machine.scratch().join("report.json")).arg("-o");
        rmap.arg(machine.scratch().join("table.txt"));
        if let Some(record) = record {
            rmap.arg("--record").arg(record);
        }
        let program = workload::build("full_speed");
        rmap.arg("--").arg(program).args(["4096", "32"]);
        let ended = run(&mut rmap);
        let ns = Truth::parse(&ended.stdout).number("ns");
        let json = std::fs::read_to_string(machine.scratch().join("report.json")).unwrap();
        let report: Report = serde_json::from_str(&json).unwrap();
        facts::assert_sound(&report);
        (ended, ns, report)
    };
    let (ended, ns, _) = job(None);
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let (ended, slow, report) = job(Some(&fifo));
    drop(end);
    assert!(slow < 3 * ns, "{slow} ns a fault with a disk that takes nothing, else {ns}");
    assert_eq!(report.coverage.lost.events == 0, lost_in(&report) == 0);
    assert!(ended.err().contains("recording"), "rmap says nothing of it: {}", ended.err());
}
