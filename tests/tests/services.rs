//! Whole services: `rmap attach` on a tree of processes and on a control group with who joins later, a storm
//! of short programs, and two sessions at once.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::rmap::report::{Process, SnapshotKind};
use rmap_tests::attach::{assert_free, await_attached};
use rmap_tests::cgroup::{Group, await_members};
use rmap_tests::process::{Running, eventually, has_program, pause, run};
use rmap_tests::rmap::{Traced, binary, finish, reports, rmap, rmap_run};
use rmap_tests::{begin, facts};

const MIB: u64 = 1 << 20;

fn prefork(path: &Path) -> [String; 6] {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/python/prefork.py");
    let words = ["python3", script.to_str().unwrap(), "3", "2", path.to_str().unwrap(), ""];
    words.map(str::to_owned)
}

/// Pss of the anonymous segments of a process that waits, as the kernel says it now.
fn kernel_pss(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut anonymous, mut sum) = (false, 0);
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if line.as_bytes()[0].is_ascii_lowercase() || line.as_bytes()[0].is_ascii_digit() {
            // The inode of a mapping.
            anonymous = words[4] == "0";
        } else if anonymous && words[0] == "Pss:" {
            sum += words[1].parse::<u64>().unwrap() * 1024;
        }
    }
    sum
}

/// The same by the report.
fn reported_pss(process: &Process) -> u64 {
    let anonymous = process.segments.iter().filter(|segment| segment.inode == 0);
    anonymous.map(|segment| segment.breakdown.pss_bytes.unwrap_or(0)).sum()
}

fn check_server(traced: &Traced, pids: &[u32]) {
    let report = &traced.report;
    assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""), "rmap attach");
    facts::assert_sound(report);
    facts::assert_nothing_lost(report);
    let mut found: Vec<u32> = report.processes.iter().map(|process| process.pid).collect();
    found.sort_unstable();
    assert_eq!(found, pids, "{}", traced.table);
    for process in &report.processes {
        assert_eq!(process.snapshot, SnapshotKind::Live, "{}", traced.table);
        assert_eq!(
            reported_pss(process),
            kernel_pss(process.pid),
            "{}: {}",
            process.pid,
            traced.table
        );
        assert_free(process.pid);
    }
    // Five workers with two MiB each, and a helper below each with one.
    let held = |function: &str| -> usize {
        let filled = |process: &&Process| {
            let paths = process.segments.iter().flat_map(|segment| &segment.paths);
            let own = paths.filter(|path| facts::caller_is(report, path.stack, &[function]));
            own.map(|path| path.rss_bytes).sum::<u64>() >= MIB
        };
        report.processes.iter().filter(filled).count()
    };
    let by_python = report.stacks.iter().flat_map(|stack| &stack.frames);
    if by_python.filter(|f| f.function.as_deref() == Some("serve")).count() > 0 {
        assert_eq!((held("serve"), held("helper")), (5 + 5, 5), "{}", traced.table);
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// A process and all below it.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children(*pid));
        at += 1;
    }
    found.sort_unstable();
    found
}

#[test]
fn a_prefork_server_is_attached_to_with_all_that_it_forks() {
    let machine = begin!();
    let signal = machine.scratch().join("go");
    let words = prefork(&signal);
    let server = Running::start(Command::new(&words[0]).args(&words[1..5]), None);
    eventually("the server", || (!server.out_so_far().is_empty()).then_some(()));
    let mut rmap = reports(machine.scratch(), "attach");
    rmap.args(["--tree", &server.pid().to_string()]);
    let rmap = Running::start(&mut rmap, None);
    await_attached(&rmap);
    fs::write(&signal, "").unwrap();
    let pids = eventually("workers and helpers", || {
        let pids = tree(server.pid());
        (pids.len() == 1 + 5 + 5).then_some(pids)
    });
    pause(500);
    rmap.signal(nix::sys::signal::Signal::SIGINT);
    let traced = finish(machine.scratch(), rmap);
    check_server(&traced, &pids);
    for pid in pids.iter().filter(|pid| **pid != server.pid()) {
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

#[test]
fn a_group_is_traced_with_who_joins_it_and_its_books_add_up() {
    let machine = begin!();
    let group = match Group::make("rmap-test-service") {
        Ok(group) => group,
        Err(why) => return machine.skip(&why),
    };
    let signal = machine.scratch().join("go");
    let words = prefork(&signal);
    let words: Vec<&str> = words[..5].iter().map(String::as_str).collect();
    let server = Running::start(&mut Group::command(group.path(), &words), None);
    eventually("the server", || (!server.out_so_far().is_empty()).then_some(()));
    await_members(&group, 4);
    // Page cache that is charged to the group and that nobody maps.
    let cached = machine.scratch().join("cached");
    let file = format!("of={}", cached.display());
    let written =
        Group::command(group.path(), &["dd", "if=/dev/zero", &file, "bs=1M", "count=3"]).output();
    assert!(written.unwrap().status.success());

    let mut rmap = reports(machine.scratch(), "attach");
    let rmap = Running::start(rmap.arg("--cgroup").arg(group.path()), None);
    await_attached(&rmap);
    // One that is no child of any of them joins a group below.
    let inner = group.inner("below");
    let joiner = Running::start(&mut Group::command(&inner, &["sleep", "600"]), None);
    fs::write(&signal, "").unwrap();
    let mut pids = await_members(&group, 1 + 5 + 5);
    pause(1000);
    rmap.signal(nix::sys::signal::Signal::SIGINT);
    let traced = finish(machine.scratch(), rmap);
    pids.push(joiner.pid());
    pids.sort_unstable();
    check_server(&traced, &pids);

    let cgroup = traced.report.cgroup.as_deref().unwrap();
    assert!(cgroup.path.ends_with(group.path().file_name().unwrap().to_str().unwrap()));
    let (before, after) = (cgroup.before.as_ref().unwrap(), cgroup.after.as_ref().unwrap());
    assert!(after.current_bytes > before.current_bytes + 10 * MIB, "{cgroup:?}");
    let Some(pages) = cgroup.pages else { return machine.skip("no /proc/kpagecgroup") };
    // The identity, to the byte.
    let rest: i64 = cgroup.unexplained.iter().map(|rest| rest.bytes).sum();
    let explained = i64::try_from(pages.anon_bytes + pages.file_bytes).unwrap();
    assert_eq!(explained + rest, i64::try_from(after.current_bytes).unwrap(), "{cgroup:?}");
    // And the kernel's own counts, as far as they lag behind.
    let lag =
        2 * 64 * 4096 * u64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    assert!(pages.anon_bytes.abs_diff(after.anon_bytes.unwrap()) <= lag, "{cgroup:?}");
    let unmapped = cgroup.unexplained.iter().find(|rest| rest.reason == "page-cache-unmapped");
    let unmapped = u64::try_from(unmapped.unwrap().bytes).unwrap();
    assert!(unmapped >= 3 * MIB - lag, "{cgroup:?}");
    assert!(traced.table.contains("Cgroup /"), "{}", traced.table);
}

#[test]
fn a_shell_build_in_a_container_is_traced_by_its_id() {
    const ID: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";
    let machine = begin!();
    if !has_program("cc") {
        return machine.skip("no C compiler here");
    }
    let group = match Group::make("rmap-test-docker") {
        Ok(group) => group,
        Err(why) => return machine.skip(&why),
    };
    let container: PathBuf = group.inner(&format!("docker-{ID}.scope"));
    let source = machine.scratch().join("a.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let script = "while ! [ -e \"$0/go\" ]; do sleep 0.05; done; for i in 1 2 3; do \
                  cc -c \"$0/a.c\" -o \"$0/$i.o\" || exit 1; done; cc \"$0/1.o\" -o \"$0/program\"";
    let scratch = machine.scratch().to_str().unwrap();
    let build =
        Running::start(&mut Group::command(&container, &["sh", "-c", script, scratch]), None);
    eventually("the build in its group", || {
        fs::read_to_string(container.join("cgroup.procs")).unwrap().lines().next().map(drop)
    });
    let mut rmap = reports(machine.scratch(), "attach");
    let rmap = Running::start(rmap.args(["--container", &ID[..12]]), None);
    await_attached(&rmap);
    fs::write(machine.scratch().join("go"), "").unwrap();
    // It ends with the last process of the group.
    let traced = finish(machine.scratch(), rmap);
    assert_eq!(build.wait().code(), 0);
    assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""), "rmap attach");
    let report = &traced.report;
    facts::assert_sound(report);
    facts::assert_nothing_lost(report);
    let running = |name: &str| {
        report.processes.iter().filter(|p| p.exe.rsplit('/').next() == Some(name)).count()
    };
    assert_eq!((running("cc1"), running("collect2")), (3, 1), "{}", traced.table);
    // The shell and what it ended with, but for a sleep that was about to end when rmap came.
    let whole = report.processes.iter().filter(|p| p.snapshot == SnapshotKind::AtExit).count();
    assert!(whole + 1 >= report.processes.len(), "{}", traced.table);
    let cgroup = report.cgroup.as_deref().unwrap();
    assert!(cgroup.path.ends_with(&format!("docker-{ID}.scope")), "{cgroup:?}");
    assert!(cgroup.before.is_some() && cgroup.after.is_some(), "{cgroup:?}");
}

/// Runs so many short programs, one after the other, and says on its standard output how many
/// milliseconds that took.
fn storm(many: u32) -> [String; 3] {
    let script = format!(
        "b=$(date +%s%N); i=0; while [ $i -lt {many} ]; do /bin/true; i=$((i+1)); done; \
         e=$(date +%s%N); echo $(( (e-b)/1000000 ))"
    );
    ["sh".to_owned(), "-c".to_owned(), script]
}

#[test]
fn a_storm_of_short_programs_is_seen_whole_and_its_report_is_small() {
    const MANY: u32 = 200;
    let machine = begin!();
    let json = machine.scratch().join("report.json");
    let words = storm(MANY);
    let took = |ended: &rmap_tests::process::Ended| ended.out().trim().parse::<u64>().unwrap();
    // In turns, so that other work on the machine slows both.
    let (mut ratios, mut largest) = (Vec::new(), 0);
    for _ in 0..3 {
        let plain = run(Command::new(&words[0]).args(&words[1..]));
        let mut rmap = rmap(["run", "-o", "/dev/null", "--json"]);
        let traced = run(rmap.arg(&json).arg("--").args(&words));
        assert_eq!(traced.code(), 0, "{}", traced.err());
        ratios.push(took(&traced) as f64 / took(&plain).max(1) as f64);
        largest = largest.max(fs::metadata(&json).unwrap().len());
    }
    ratios.sort_by(f64::total_cmp);
    println!("{MANY} programs: {ratios:.2?} times as long, a report of {largest} bytes");
    assert!(largest < 2_000_000, "the report of {MANY} equal programs has {largest} bytes");
    if binary().components().any(|part| part.as_os_str() == "release") {
        assert!(ratios[0] < 6.0, "{ratios:?}");
    } else {
        machine.skip("the binary is no release build: its times mean nothing");
    }
    // All of them, each with its sizes, its end and whole call paths.
    let traced = rmap_tests::rmap::trace(machine.scratch(), &words);
    let report = &traced.report;
    facts::assert_sound(report);
    facts::assert_nothing_lost(report);
    let short = report.processes.iter().filter(|process| process.exe.ends_with("/true"));
    let whole = short.filter(|p| p.snapshot == SnapshotKind::AtExit && p.rss_bytes.after > 0);
    assert_eq!(whole.count(), MANY as usize);
}

#[test]
fn two_sessions_at_once_explain_every_page() {
    let machine = begin!();
    let folders = ["one", "two"].map(|name| machine.scratch().join(name));
    let sessions: Vec<Running> = folders
        .iter()
        .map(|folder| {
            fs::create_dir(folder).unwrap();
            let mut rmap = rmap_run(folder);
            Running::start(rmap.args(storm(30)), None)
        })
        .collect();
    for (folder, session) in folders.iter().zip(sessions) {
        let traced = finish(folder, session);
        assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
        facts::assert_sound(&traced.report);
        facts::assert_nothing_lost(&traced.report);
        facts::assert_explained(&traced.report);
    }
}
