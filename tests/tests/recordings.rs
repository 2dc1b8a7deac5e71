//! Recordings: what is left of one when rmap is killed or the disk is full, and what other files
//! are told to be. That the report of a recording is the live one is checked of every workload,
//! where the harness reads the reports (`rmap_tests::rmap::finish`).

use nix::sys::signal::Signal;
use rmap_tests::process::{Running, eventually, run};
use rmap_tests::rmap::rmap;
use rmap_tests::{begin, facts, workload};

#[test]
fn a_killed_recording_reads_up_to_its_last_frame() {
    let machine = begin!();
    let path = machine.scratch().join("recording");
    let json = machine.scratch().join("killed.json");
    let mut command = rmap(["run", "--interval", "0.1", "-o", "/dev/null", "--record"]);
    // It has printed its line when its memory is there, and then waits for a line itself.
    let python = "x = bytes(b'x') * (8 << 20); print('ready', flush=True); input()";
    // Not by the PATH: what stands for python3 there may be a script that takes its time.
    let interpreter = "/usr/bin/python3";
    if !rmap_tests::process::has_program(interpreter) {
        return machine.skip("/usr/bin/python3 is not there");
    }
    command.arg(&path).args(["--", interpreter, "-c", python]);
    let (running, input) = Running::start_piped(&mut command);
    eventually("the program is ready", || running.out_so_far().starts_with(b"ready").then_some(()));
    let read = || {
        let ended = run(rmap(["report", "-o", "/dev/null", "--json"]).arg(&json).arg(&path));
        let report = std::fs::read(&json).ok().filter(|_| ended.code() == 0)?;
        let report: ::rmap::report::Report = serde_json::from_slice(&report).unwrap();
        let rss = report.processes.first()?.rss_bytes.after;
        (rss > 8 << 20).then_some((report, ended))
    };
    // What was written is there while rmap goes on.
    eventually("a snapshot with the memory is in the file", read);
    running.signal(Signal::SIGKILL);
    let ended = running.wait();
    assert_eq!(ended.code(), 128 + 9);
    drop(input);
    let (report, ended) = read().expect("the killed recording");
    assert!(ended.err().contains("before the session did"), "{}", ended.err());
    facts::assert_sound(&report);
    let notes: Vec<_> =
        report.coverage.probes.iter().filter(|probe| probe.name == "recording").collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(report.session.exit, None);
}

#[test]
fn a_short_recording_that_is_cut_off_holds_what_came_before() {
    let machine = begin!();
    let path = machine.scratch().join("recording");
    let json = machine.scratch().join("cut.json");
    let mut command = rmap(["run", "-o", "/dev/null", "--record"]);
    command.arg(&path).args(["--", "sh", "-c", "sleep 0.15"]);
    let ended = run(&mut command);
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let file = std::fs::read(&path).unwrap();
    // Behind the head of 16 bytes each frame has its kind at 0 and its length at 4.
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut batches) = (16, Vec::new());
    while at < file.len() {
        if file[at] == 2 {
            batches.push(at);
        }
        at += 24 + number(at + 4);
    }
    assert!(batches.len() > 1, "{batches:?}");
    // Without the last batch, as when it was killed before.
    std::fs::write(&path, &file[..batches[batches.len() - 1]]).unwrap();
    let ended = run(rmap(["report", "-o", "/dev/null", "--json"]).arg(&json).arg(&path));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    assert!(ended.err().contains("before the session did"), "{}", ended.err());
    let report: ::rmap::report::Report =
        serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    facts::assert_sound(&report);
    let faults = report.coverage.unwind.complete + report.coverage.unwind.incomplete;
    assert!(faults > 0 && !report.processes.is_empty(), "{report:?}");
}

#[test]
fn a_recording_on_a_full_disk_is_one_line_and_the_report_comes() {
    let machine = begin!();
    let disk = machine.scratch().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let options = ["-t", "tmpfs", "-o", "size=16k", "tmpfs"];
    let mounted = run(std::process::Command::new("mount").args(options).arg(&disk));
    if mounted.code() != 0 {
        return machine.skip("a small tmpfs cannot be mounted");
    }
    let json = machine.scratch().join("full.json");
    let mut command = rmap(["run", "-o", "/dev/null", "--json"]);
    command.arg(&json).arg("--record").arg(disk.join("recording")).arg("--");
    let ended = run(command.arg(workload::build("threads")));
    let again = run(rmap(["report", "-o", "/dev/null"]).arg(disk.join("recording")));
    let _ = run(std::process::Command::new("umount").arg(&disk));
    assert_eq!(ended.code(), 1);
    assert_eq!(ended.err().lines().count(), 1, "{}", ended.err());
    assert!(ended.err().contains("No space left on device"), "{}", ended.err());
    let report: ::rmap::report::Report =
        serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    facts::assert_sound(&report);
    assert_eq!(again.code(), 0, "it reads up to its last whole frame: {}", again.err());
    assert!(again.err().contains("before the session did"), "{}", again.err());
}

#[test]
fn what_is_no_recording_is_told_in_one_line() {
    let machine = begin!();
    let empty = machine.scratch().join("empty");
    std::fs::write(&empty, "").unwrap();
    for (path, what) in [
        (empty.as_path(), "it is empty"),
        (std::path::Path::new("/bin/true"), "it is no recording of rmap"),
        (std::path::Path::new("/no/such"), "No such file"),
        (machine.scratch(), "Is a directory"),
    ] {
        let ended = run(rmap(["report"]).arg(path));
        assert_eq!((ended.code(), ended.out().as_str()), (1, ""), "{}", ended.err());
        assert_eq!(ended.err().lines().count(), 1, "{}", ended.err());
        assert!(ended.err().contains(what), "{}", ended.err());
    }
}
