//! Bad input and trouble: one clear line, the right status, and nothing left behind.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use ::rmap::report::Exit;
use nix::sys::signal::Signal;
use rmap_tests::bpf::Objects;
use rmap_tests::job::command;
use rmap_tests::process::{Ended, Running, eventually, has_program, run, status_field};
use rmap_tests::rmap::{binary, finish, rmap, rmap_run, trace};
use rmap_tests::truth::Truth;
use rmap_tests::{begin, facts, workload};

/// Checks that rmap said one line, with these words in it, and ended with this status.
fn assert_one_line(ended: &Ended, code: i32, words: &[&str]) {
    let text = ended.err();
    assert_eq!(ended.code(), code, "{text}");
    assert!(text.ends_with('\n') && text.lines().count() == 1, "not one line: {text:?}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert_eq!(ended.out(), "", "{text}");
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let _machine = begin!();
    for name in ["no-such-command-anywhere", "/no/such/command"] {
        assert_one_line(&run(&mut rmap(["run", "--", name])), 127, &[name]);
    }
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    let machine = begin!();
    let file = machine.scratch().join("plain-file");
    std::fs::write(&file, "not a program").unwrap();
    for path in [file.as_path(), machine.scratch()] {
        let path = path.to_str().unwrap();
        assert_one_line(&run(&mut rmap(["run", "--", path])), 126, &[path]);
    }
}

#[test]
fn wrong_usage_is_2() {
    let _machine = begin!();
    for args in [&["run"][..], &["run", "--no-such-option", "--", "true"], &["no-such-command"]] {
        let ended = run(&mut rmap(args));
        assert_eq!(ended.code(), 2, "{args:?}: {}", ended.err());
        assert!(!ended.err().is_empty() && ended.out().is_empty(), "{args:?}");
    }
}

#[test]
fn without_root_one_line_says_what_is_missing() {
    let machine = begin!();
    // Whoever is nobody must be able to reach the binary and the directory.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let copy = dir.path().join("rmap");
    std::fs::copy(binary(), &copy).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    let marker = dir.path().join("started");
    let mut nobody = std::process::Command::new(&copy);
    nobody.args(["run", "--", "touch"]).arg(&marker).uid(65534).gid(65534).current_dir(dir.path());
    let ended = run(&mut nobody);
    assert_one_line(&ended, 1, &["root"]);
    assert!(!marker.exists(), "the command was started all the same");
    drop(machine);
}

#[test]
fn the_commands_status_passes_through() {
    let machine = begin!();
    let ending = workload::build("ending");
    let ending = ending.to_str().unwrap();
    for code in [0, 1, 42, 255] {
        let traced = trace(machine.scratch(), [ending, "exit", &code.to_string()]);
        assert_eq!(traced.ended.code(), code);
        assert_eq!(traced.report.session.exit, Some(Exit::Code(code)));
        facts::assert_sound(&traced.report);
    }
    for (signal, code) in [(Signal::SIGSEGV, 139), (Signal::SIGKILL, 137), (Signal::SIGABRT, 134)] {
        let number = (signal as i32).to_string();
        let traced = trace(machine.scratch(), [ending, "signal", &number]);
        assert_eq!(traced.ended.code(), code, "{}", traced.ended.err());
        assert_eq!(traced.report.session.exit, Some(Exit::Signal(signal.as_str().to_owned())));
        facts::assert_sound(&traced.report);
    }
}

#[test]
fn a_command_that_forks_and_ends_at_once_is_no_trouble() {
    let machine = begin!();
    let ending = workload::build("ending");
    let output = machine.scratch().join("orphan.txt");
    let line = format!("exec {} orphan > {}", ending.display(), output.display());
    let traced = trace(machine.scratch(), ["sh", "-c", &line]);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    facts::assert_sound(&traced.report);
    let said = || std::fs::read_to_string(&output).ok().filter(|text| text == "orphan\n");
    eventually("the orphan's word", said);
}

#[test]
fn fifty_children_that_end_at_once_are_all_in_the_report() {
    let machine = begin!();
    let job = machine.job("ending", &["forks"]);
    assert_eq!(job.truth.number("sum"), 1225);
    assert_eq!(job.report().processes.len(), 51);
    let root = job.report().processes[0].pid;
    assert!(job.report().processes[1..].iter().all(|child| child.parent_pid == root));
}

/// Starts `steady` under rmap, waits until it works, and gives its process id.
fn start_steady(dir: &Path, group: bool) -> (Running, u32) {
    let steady = workload::build("steady");
    let (stop, done) = (dir.join("stop"), dir.join("done"));
    let mut rmap = command(dir, &steady, &[stop.to_str().unwrap(), done.to_str().unwrap()]);
    for name in ["tmp", "home"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    rmap.env("TMPDIR", dir.join("tmp")).env("HOME", dir.join("home"));
    rmap.env_remove("XDG_CACHE_HOME").env_remove("XDG_RUNTIME_DIR");
    if group {
        rmap.process_group(0);
    }
    let running = Running::start(&mut rmap, None);
    let pid = eventually("the workload's first line", || {
        let truth = Truth::parse(&running.out_so_far());
        truth.numbers.first().map(|number| u32::try_from(number.value).unwrap())
    });
    // It works for a moment.
    std::thread::sleep(Duration::from_millis(100));
    (running, pid)
}

fn assert_gone(pid: u32) {
    eventually("the command's end", || status_field(pid, "State:").is_none().then_some(()));
}

#[test]
fn ctrl_c_ends_the_command_and_the_report_still_comes() {
    let machine = begin!();
    let (running, pid) = start_steady(machine.scratch(), true);
    running.signal_group(Signal::SIGINT);
    let traced = finish(machine.scratch(), running);
    assert_eq!(traced.ended.code(), 130, "{}", traced.ended.err());
    assert_eq!(traced.report.session.exit, Some(Exit::Signal("SIGINT".to_owned())));
    facts::assert_sound(&traced.report);
    assert_eq!(traced.report.processes[0].pid, pid);
    assert_gone(pid);
}

#[test]
fn sigterm_to_rmap_reaches_the_command_and_the_report_still_comes() {
    let machine = begin!();
    let (running, pid) = start_steady(machine.scratch(), true);
    running.signal(Signal::SIGTERM);
    let traced = finish(machine.scratch(), running);
    assert_eq!(traced.ended.code(), 143, "{}", traced.ended.err());
    assert_eq!(traced.report.session.exit, Some(Exit::Signal("SIGTERM".to_owned())));
    facts::assert_sound(&traced.report);
    assert_gone(pid);
}

#[test]
fn a_killed_rmap_leaves_a_running_command_and_nothing_else() {
    let machine = begin!();
    let dir = machine.scratch();
    let (running, pid) = start_steady(dir, false);
    let mut held = Objects::default();
    eventually("BPF programs of rmap", || {
        held.merge(Objects::held_by(running.pid()));
        (!held.programs.is_empty()).then_some(())
    });
    assert!(!held.alive().unwrap().is_empty(), "{held:?}");
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().code(), 137);

    // Nobody traces or stops the command.
    eventually("the command runs untraced", || {
        let tracer = status_field(pid, "TracerPid:").expect("the command died with rmap");
        let state = status_field(pid, "State:").expect("the command died with rmap");
        (tracer == "0" && !state.starts_with(['T', 't'])).then_some(())
    });
    // The kernel frees BPF objects a moment after their last user.
    eventually("no BPF object of rmap", || held.alive().unwrap().is_empty().then_some(()));
    std::fs::write(dir.join("stop"), "").unwrap();
    let said = || std::fs::read_to_string(dir.join("done")).ok().filter(|text| text == "done\n");
    eventually("the command's last words", said);
    assert_gone(pid);

    // The reports may be missing, but no other file may be there.
    let known = ["stop", "done", "tmp", "home", "report.json", "table.txt", "recording"];
    for name in ["", "tmp", "home"] {
        for entry in std::fs::read_dir(dir.join(name)).unwrap() {
            let entry = entry.unwrap().file_name();
            let expected = name.is_empty() && known.iter().any(|known| entry == *known);
            assert!(expected, "left behind: {name}/{}", entry.display());
        }
    }
}

#[test]
fn a_full_disk_is_said_in_one_line() {
    let _machine = begin!();
    for option in ["--json", "-o"] {
        let other = if option == "-o" { "--json" } else { "-o" };
        let args = ["run", option, "/dev/full", other, "/dev/null", "--", "true"];
        assert_one_line(&run(&mut rmap(args)), 1, &["/dev/full", "No space left"]);
    }
}

#[test]
fn a_disk_that_fills_while_the_report_is_written_is_said_in_one_line() {
    let machine = begin!();
    if !has_program("unshare") {
        return machine.skip("no unshare here");
    }
    let disk = machine.scratch().join("disk");
    let list = machine.scratch().join("list");
    std::fs::create_dir(&disk).unwrap();
    let script = "mount -t tmpfs -o size=8k none \"$1\" || exit 77\n\
                  \"$2\" run --json \"$1/report.json\" -o /dev/null -- true\n\
                  status=$?\n\
                  ls -A \"$1\" > \"$3\"\n\
                  exit $status";
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["-m", "sh", "-c", script, "sh"]).arg(&disk).arg(binary()).arg(&list);
    let ended = run(&mut unshare);
    if ended.code() == 77 {
        return machine.skip("no tmpfs in a mount namespace of its own");
    }
    assert_one_line(&ended, 1, &["report.json", "No space left"]);
    let left = std::fs::read_to_string(&list).unwrap();
    assert!(["", "report.json\n"].contains(&left.as_str()), "left behind: {left}");
}

#[test]
fn a_report_that_cannot_be_written_at_all_is_said_before_the_command_starts() {
    let machine = begin!();
    let marker = machine.scratch().join("started");
    let mut rmap = rmap(["run", "--json", "/no/such/dir/report.json", "--", "touch"]);
    assert_one_line(&run(rmap.arg(&marker)), 1, &["/no/such/dir/report.json"]);
    assert!(!marker.exists(), "the command was started all the same");
}

#[test]
fn a_command_in_other_namespaces_is_explained_with_names() {
    let machine = begin!();
    if !has_program("unshare") {
        return machine.skip("no unshare here");
    }
    let inner = machine.scratch().join("inner");
    std::fs::create_dir(&inner).unwrap();
    // The program's path means something only inside.
    let script = "mount -t tmpfs none \"$1\" && cp \"$2\" \"$1/inside\" && exec \"$1/inside\"";
    let mut rmap = rmap_run(machine.scratch());
    rmap.args(["unshare", "-m", "-p", "-f", "--mount-proc", "sh", "-c", script, "sh"]);
    rmap.arg(&inner).arg(workload::build("interleaved"));
    let traced = finish(machine.scratch(), Running::start(&mut rmap, None));
    if traced.ended.code() != 0 && traced.ended.err().contains("unshare") {
        return machine.skip(&traced.ended.err());
    }
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    facts::assert_sound(&traced.report);
    facts::assert_nothing_lost(&traced.report);
    let truth = Truth::parse(&traced.ended.stdout);
    let region = truth.region("written");
    assert_eq!(region.pid, 1, "as it sees itself");
    let process = traced.report.processes.iter().find(|p| p.exe.ends_with("/inside"));
    let process = process.unwrap_or_else(|| panic!("no process inside: {}", traced.json));
    let segment = facts::segment(process, &region.start);
    assert_eq!(segment.rss_bytes.after, region.rss);
    for function in ["write_first_of_three", "write_second_of_three"] {
        let owned = facts::owned_by(&traced.report, segment, &[function]);
        assert_eq!(owned.rss, region.rss / 2, "{}", facts::show(&traced.report, segment));
    }
}

#[test]
fn standard_input_passes_through() {
    let machine = begin!();
    let input: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let mut rmap = rmap_run(machine.scratch());
    let running = Running::start(rmap.arg("cat"), Some(&input));
    let traced = finish(machine.scratch(), running);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    assert!(traced.ended.stdout == input, "{} bytes came back", traced.ended.stdout.len());
}

#[test]
fn a_program_that_traces_others_keeps_working() {
    let machine = begin!();
    let tracer = workload::build("tracer");
    let plain = run(&mut std::process::Command::new(&tracer));
    assert_eq!((plain.code(), plain.out().as_str()), (0, "traced both\n"), "{}", plain.err());
    let traced = trace(machine.scratch(), [&tracer]);
    assert_eq!(traced.ended.err(), "");
    assert_eq!((traced.ended.code(), traced.ended.out().as_str()), (0, "traced both\n"));
    facts::assert_sound(&traced.report);
    assert_eq!(traced.report.processes.len(), 3, "{}", traced.json);
}

#[test]
fn pmap_of_a_process_that_is_not_there_is_one_line() {
    let _machine = begin!();
    assert_one_line(&run(&mut rmap(["pmap", "999999999"])), 1, &["999999999"]);
}

#[test]
fn attach_to_a_process_that_is_not_there_is_one_line() {
    let _machine = begin!();
    let ended = run(&mut rmap(["attach", "-p", "999999999"]));
    assert_one_line(&ended, 1, &["999999999", "no such process"]);
}

/// A session cannot be had again: where nothing is what a filter asks for, all of it is printed, and
/// the status says that it is not what was asked for.
#[test]
fn a_filter_that_means_nothing_is_told_and_the_whole_report_follows() {
    let machine = begin!();
    let json = machine.scratch().join("report.json");
    let told = |text: &str, what: &str, asked: &str| {
        let first = text.lines().next().unwrap_or_default();
        let expected =
            format!("rmap: the whole report follows: no {what} of the report is {asked};");
        assert!(first.starts_with(&expected), "{first:?}");
        let report: ::rmap::report::Report =
            serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        facts::assert_sound(&report);
        assert!(report.processes[0].segments.len() > 5, "all of it");
    };
    let mut command = rmap(["run", "--segment", "no-such.so", "--json"]);
    let ended = run(command.arg(&json).args(["--", "sh", "-c", "echo out; exit 7"]));
    assert_eq!((ended.code(), ended.out().as_str()), (1, "out\n"), "{}", ended.err());
    told(&ended.err(), "segment", "no-such.so");
    assert!(ended.err().contains("Lost 0."), "the table too: {}", ended.err());

    let mut sleep = std::process::Command::new("sleep");
    let sleep = Running::start(sleep.arg("100"), None);
    let pid = sleep.pid().to_string();
    let mut command = rmap(["attach", "-p", &pid, "-d", "0.1", "--process", "nobody", "--json"]);
    let ended = run(command.arg(&json));
    sleep.signal(Signal::SIGKILL);
    let _ = sleep.wait();
    assert_eq!(ended.code(), 1, "{}", ended.err());
    assert_eq!(ended.err().lines().count(), 1, "{}", ended.err());
    told(&ended.err(), "process", "nobody");
    assert!(ended.out().contains("Lost 0."), "{}", ended.out());
}
