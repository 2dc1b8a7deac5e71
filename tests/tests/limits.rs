//! Sessions that end when there is too much, and kills for want of memory, of programs whose truth is
//! known.

use std::fs;
use std::path::{Path, PathBuf};

use ::rmap::report::{Exit, Process, Report};
use rmap_tests::attach::await_attached;
use rmap_tests::begin;
use rmap_tests::machine::Machine;
use rmap_tests::process::Running;
use rmap_tests::rmap::{reports, rmap};
use rmap_tests::workload::build;

const MIB: u64 = 1 << 20;

fn report(machine: &Machine) -> Report {
    let text = fs::read_to_string(machine.scratch().join("report.json")).expect("the JSON");
    serde_json::from_str(&text).expect("a report")
}

/// What a report says that `grow` holds.
fn grown(report: &Report, process: &Process) -> u64 {
    let named = |stack: &::rmap::report::Stack| {
        stack.frames.iter().any(|frame| frame.function.as_deref() == Some("grow"))
    };
    let stacks: Vec<_> = report.stacks.iter().filter(|stack| named(stack)).map(|s| s.id).collect();
    let paths = process.segments.iter().flat_map(|segment| &segment.paths);
    paths
        .filter(|path| path.stack.is_some_and(|id| stacks.contains(&id)))
        .map(|p| p.rss_bytes)
        .sum()
}

#[test]
fn a_session_ends_when_there_is_too_much_and_the_program_goes_on() {
    let machine = begin!();
    let workload = build("rise");
    let mut job = reports(machine.scratch(), "run");
    job.args(["--until", "rss>48M", "--"]).arg(&workload).args(["160", "4000"]);
    let ended = Running::start(&mut job, None).wait();
    assert_eq!(ended.code(), 7, "the program's own status: {}", ended.err());
    let run = report(&machine);
    let held = grown(&run, &run.processes[0]);
    assert!((40 * MIB..130 * MIB).contains(&held), "{held}");
    assert!(run.session.notes.iter().any(|note| note.starts_with("--until: RSS was")));

    let mut rise = std::process::Command::new(&workload);
    let rise = Running::start(rise.args(["160", "4000", "3000"]), None);
    let mut attach =
        rmap(["attach", "--json-schema", "1", "--until", "dirty>48M", "-o", "/dev/null"]);
    attach.arg("--json").arg(machine.scratch().join("report.json"));
    let attach = Running::start(attach.arg("-p").arg(rise.pid().to_string()), None);
    await_attached(&attach);
    assert_eq!(attach.wait().code(), 0);
    let attached = report(&machine);
    let held = grown(&attached, &attached.processes[0]);
    assert!((40 * MIB..130 * MIB).contains(&held), "{held}");
    assert_eq!(rise.wait().code(), 7);

    let mut share = rmap(["run", "--until", "rss>50%", "--"]);
    let ended = Running::start(share.arg(&workload).args(["1", "1"]), None).wait();
    if ended.code() != 7 {
        assert!(ended.err().contains("no control group limits"), "{}", ended.err());
    }
}

/// A control group of its own with a limit; `None` where there can be none.
struct Group(PathBuf);

impl Group {
    fn of(limit: u64) -> Option<Self> {
        let name = format!("rmap-test-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory");
        let (root, file) = if first.is_dir() {
            (first, "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max")
        };
        let group = Self(root.join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(file), limit.to_string()).ok()?;
        // What goes to swap is not counted.
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        let _ = fs::write(group.0.join("memory.memsw.limit_in_bytes"), limit.to_string());
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

#[test]
fn a_kill_for_want_of_memory_is_named_with_its_group_and_the_state_before_it() {
    let machine = begin!();
    let Some(group) = Group::of(64 * MIB) else {
        return machine.skip("no control group with a limit on memory can be made here");
    };
    let workload = build("rise");
    let script = format!("echo $$ > {}/cgroup.procs && exec \"$0\" 512 500", group.0.display());
    let mut job = reports(machine.scratch(), "run");
    job.args(["--", "sh", "-c", &script]).arg(&workload);
    let ended = Running::start(&mut job, None).wait();
    assert_eq!(ended.code(), 128 + 9, "{}", ended.err());
    let report = report(&machine);
    assert_eq!(report.session.exit, Some(Exit::Signal("SIGKILL".to_owned())));
    let oom = report.oom.first().expect("the kill");
    assert_eq!((oom.pid, oom.limit_bytes), (report.processes[0].pid, Some(64 * MIB)));
    let name = group.0.file_name().unwrap().to_str().unwrap();
    assert!(oom.cgroup.as_deref().is_some_and(|group| group.ends_with(name)), "{oom:?}");
    let peak = report.processes[0].peak.as_ref().expect("its peak");
    assert!((48 * MIB..66 * MIB).contains(&peak.rss_bytes), "{peak:?}");
    let shown = rmap_tests::process::run(rmap(["report"]).arg(machine.scratch().join("recording")));
    assert!(shown.out().contains("The kernel killed process"), "{}", shown.out());
    assert!(shown.out().contains("64.0 MiB"), "{}", shown.out());
    assert!(shown.out().contains("grow"), "{}", shown.out());
}

#[test]
fn growth_is_advised_without_looking_in_between_and_the_curve_is_drawn() {
    let machine = begin!();
    let workload = build("rise");
    let mut job = reports(machine.scratch(), "run");
    job.arg("--").arg(&workload).args(["96", "15000"]);
    assert_eq!(Running::start(&mut job, None).wait().code(), 7);
    let report = report(&machine);
    let paths = report.processes[0].segments.iter().flat_map(|segment| &segment.paths);
    let growth = paths.filter_map(|path| path.growth).max_by_key(|growth| growth.bytes_per_s);
    assert!(
        growth.is_some_and(|growth| growth.still && growth.bytes_per_s > 8 * MIB),
        "{growth:?}"
    );
    let shown = rmap_tests::process::run(rmap(["report"]).arg(machine.scratch().join("recording")));
    assert!(shown.out().contains("growing: grow (rise.c:13) holds 96.0 MiB"), "{}", shown.out());
    assert!(shown.out().contains("RSS through the session: ▁"), "{}", shown.out());
}
