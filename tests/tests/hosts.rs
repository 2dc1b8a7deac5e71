//! Hosts that are unusual but real: containers, limits of memory, no tracefs; and probes that are
//! forced to the plain plan.
//!
//! The virtual machines (`cargo xtask vm`) set up what only a whole machine can have.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rmap_tests::job::{Job, PAGE};
use rmap_tests::machine::Machine;
use rmap_tests::process::{Running, has_program, run};
use rmap_tests::rmap::{binary, rmap, rmap_run};
use rmap_tests::{begin, facts, workload};

/// A control group with a limit of memory; gone when the test ends.
struct Limited(PathBuf);

impl Limited {
    /// In version 1 or 2 of the hierarchy; `None` if neither has memory here.
    fn new(bytes: u64) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let found = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, place, kind, options, ..] = fields[..] else { return None };
            let place = Path::new(place);
            let version_2 = kind == "cgroup2"
                && std::fs::read_to_string(place.join("cgroup.controllers"))
                    .is_ok_and(|text| text.split_whitespace().any(|name| name == "memory"));
            if version_2 {
                let _ = std::fs::write(place.join("cgroup.subtree_control"), "+memory");
                return Some((place.to_owned(), "memory.max"));
            }
            let version_1 = kind == "cgroup" && options.split(',').any(|name| name == "memory");
            version_1.then(|| (place.to_owned(), "memory.limit_in_bytes"))
        });
        let (place, limit) = found?;
        let dir = place.join(format!("rmap-test-{}", std::process::id()));
        std::fs::create_dir(&dir).ok()?;
        let group = Self(dir);
        std::fs::write(group.0.join(limit), bytes.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn what_a_limit_of_memory_left_of_a_file_is_explained() {
    let machine = begin!();
    let Some(group) = Limited::new(16 << 20) else {
        return machine.skip("no control groups with memory here");
    };
    let file = machine.scratch().join("large");
    let script = "echo $$ > \"$1/cgroup.procs\" && exec \"$2\" \"$3\"";
    let mut rmap = rmap_run(machine.scratch());
    rmap.args(["sh", "-c", script, "sh"]);
    rmap.arg(&group.0).arg(workload::build("reclaimed")).arg(&file);
    let job = Job::end(machine.scratch(), Running::start(&mut rmap, None));
    job.expect_kernel_sizes();
    let pages = job.truth.number("pages");
    let region = job.truth.region("file");
    assert!(region.rss < pages * PAGE, "the limit does not hold: {region:?}");
    job.expect_whole("file");
    let owned = job.owned("file", "read_pages");
    assert_eq!(owned.rss, region.rss, "{}", job.show("file"));
    // What was taken back came again: more was touched than the file has.
    assert!(owned.touched > pages * PAGE, "{}", job.show("file"));
}

#[test]
fn inside_a_container_one_line_says_where_to_run_instead() {
    let machine = begin!();
    if !has_program("unshare") {
        return machine.skip("no unshare here");
    }
    let inside = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-m", "-p", "-f", "--mount-proc"]).arg(binary()).args(args);
        run(&mut command)
    };
    let marker = machine.scratch().join("started");
    let ended = inside(&["run", "--", "touch", marker.to_str().unwrap()]);
    let text = ended.err();
    if text.starts_with("unshare: ") {
        return machine.skip(&text);
    }
    assert_eq!(ended.code(), 1, "{text}");
    assert!(text.lines().count() == 1 && text.contains("PID namespace"), "{text:?}");
    assert!(!marker.exists(), "the command was started all the same");
    let doctor = inside(&["doctor"]);
    assert_eq!(doctor.code(), 1, "{}", doctor.out());
    assert!(doctor.out().lines().next().unwrap().contains("--pid=host"), "{}", doctor.out());
}

#[test]
fn nothing_is_mounted_behind_the_users_back() {
    let machine = begin!();
    let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap();
    let before = mounts();
    // A namespace without tracefs, where it is mounted here.
    let script = "for place in /sys/kernel/tracing /sys/kernel/debug; do \
                  umount \"$place\" 2> /dev/null; done; cat /proc/self/mounts; \
                  \"$@\" || exit; cat /proc/self/mounts; exec \"$1\" doctor";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(binary());
    command.args(["run", "-o", "/dev/null", "--", "echo", "in between"]);
    let ended = run(&mut command);
    if ended.err().starts_with("unshare: ") {
        return machine.skip(&ended.err());
    }
    assert_eq!(ended.code(), 0, "{}{}", ended.out(), ended.err());
    assert_eq!(mounts(), before);
    let out = ended.out();
    let (first, rest) = out.split_once("in between\n").unwrap();
    assert!(rest.starts_with(first), "{out}");
    assert!(!first.contains(" tracefs "), "{first}");
    let tracefs = rest.lines().find(|line| line.starts_with("tracefs ")).unwrap();
    assert!(tracefs.contains("not mounted"), "{tracefs}");
}

/// The workload under the plain plan.
fn plain(machine: &Machine, name: &str, args: &[&str]) -> Job {
    let mut rmap = rmap(["run", "--full", "--probes", "plain", "--top", "10000", "--json"]);
    let dir = machine.scratch();
    rmap.arg(dir.join("report.json")).arg("-o").arg(dir.join("table.txt"));
    rmap.arg("--record").arg(dir.join("recording"));
    rmap.arg("--").arg(workload::build(name)).args(args);
    let job = Job::end(dir, Running::start(&mut rmap, None));
    let tables = job.report().coverage.probes.iter().find(|probe| probe.name == "page-table");
    let why_not = tables.unwrap().why_not.as_deref().unwrap();
    assert!(why_not.contains("--probes plain"), "{why_not}");
    job.expect_kernel_sizes();
    job
}

#[test]
fn the_plain_probes_give_anonymous_memory_the_same_owners() {
    let machine = begin!();
    let job = plain(&machine, "interleaved", &[]);
    job.expect("written", "write_first_of_three", "first-write");
    job.expect("written", "write_second_of_three", "first-write");
    job.expect_whole("written");
    let job = plain(&machine, "zero_page", &[]);
    job.expect("memory", "write_over_zeros", "zero-page-write");
    job.expect_whole("memory");
    let job = plain(&machine, "dontneed", &[]);
    job.expect("memory", "fill_first", "first-write");
    job.expect("memory", "refill", "first-write");
    job.expect_whole("memory");
    let job = plain(&machine, "populate", &[]);
    for pages in &job.truth.pages {
        job.expect(&pages.region, &pages.function, "populate");
    }
}

#[test]
fn the_plain_probes_give_files_and_shared_memory_the_same_owners() {
    let machine = begin!();
    let file = machine.scratch().join("file");
    let file = file.to_str().unwrap();
    let job = plain(&machine, "file_private", &[file]);
    job.expect_pages("read", "read_pages", "file-read", job.pages("read", "read_pages"), 0);
    job.expect("read", "rewrite_pages", "file-cow");
    job.expect("unread", "write_unread", "file-cow");
    job.expect_whole("read");
    let job = plain(&machine, "shared_memory", &[]);
    job.expect("memfd", "write_memfd", "shared-memory");
    job.expect("anon", "write_shared_anon", "shared-memory");
    let job = plain(&machine, "read_into", &[file]);
    job.expect("memory", "read_file", "kernel-write");
}

#[test]
fn the_doctor_says_which_probes_were_chosen_and_why() {
    let machine = begin!();
    let doctor = run(&mut rmap(["doctor"]));
    assert_eq!(doctor.code(), 0, "{}", doctor.out());
    let job = machine.job("interleaved", &[]);
    let tables = job.report().coverage.probes.iter().find(|probe| probe.name == "page-table");
    let words = if tables.unwrap().attached { "page table is read" } else { "cannot be read" };
    let out = doctor.out();
    let line = out.lines().find(|line| line.starts_with("`--probes auto`: ")).unwrap();
    assert!(line.contains(words), "{line}");
    facts::assert_explained(job.report());
}
