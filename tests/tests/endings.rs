//! However rmap ends, and whatever it is doing then: nobody whom it traces stays behind stopped, a
//! recording can be read, and nothing else is left. And what rmap may do while it traces.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use rmap_tests::begin;
use rmap_tests::machine::{Machine, slow};
use rmap_tests::process::{Running, eventually, pause, run, status_field};
use rmap_tests::rmap::rmap;

/// The processes of a group: id, state, tracer.
fn group(id: u32) -> Vec<(u32, String, String)> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let members = pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.nth(2).is_some_and(|group| group == id.to_string())
    });
    let field = |pid, name| status_field(pid, name).unwrap_or_default();
    members.map(|pid| (pid, field(pid, "State:"), field(pid, "TracerPid:"))).collect()
}

/// A command of rmap's, in a process group of its own.
fn start(command: &mut Command) -> Running {
    Running::start(command.process_group(0), None)
}

/// Kills rmap so often, each time at another moment, while its command makes processes that execute
/// programs.
fn kill_at_random_moments(machine: &Machine, times: u32) {
    let recording = machine.scratch().join("recording");
    let mut read = 0;
    for round in 0..times {
        let _ = fs::remove_file(&recording);
        let mut command = rmap(["run", "-o", "/dev/null", "--record"]);
        let script = "while :; do /bin/true & (exec /bin/true) & /bin/true; wait; done";
        let running = start(command.arg(&recording).args(["--", "sh", "-c", script]));
        let rmap = running.pid();
        let random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        // Before the probes are loaded, or when there are processes already.
        let moment = u64::from(random.subsec_nanos() / 100 % 500);
        if round % 4 > 0 {
            let begun = || fs::metadata(&recording).is_ok_and(|found| found.len() > 0);
            eventually("a recording", || begun().then_some(()));
        }
        pause(moment);
        running.signal(Signal::SIGKILL);
        assert_eq!(running.wait().code(), 137);

        let whole = || format!("after {moment} ms: {:?}", group(rmap));
        let begun = Instant::now();
        let free = |(_, state, tracer): &(u32, String, String)| {
            !state.starts_with(['T', 't']) && (tracer == "0" || tracer.is_empty())
        };
        while !group(rmap).iter().all(free) {
            assert!(begun.elapsed() < Duration::from_secs(5) * slow(), "{}", whole());
            pause(20);
        }
        // They go on: each of them ends, and others come.
        let before = group(rmap);
        if before.len() > 1 {
            let others = || group(rmap).iter().any(|new| before.iter().all(|old| old.0 != new.0));
            eventually("the command goes on", || others().then_some(()));
        }
        let _ = nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(rmap.cast_signed()),
            Signal::SIGKILL,
        );
        eventually("the end of all", || group(rmap).is_empty().then_some(()));
        read += u32::from(is_readable(&recording, moment));
        let left: Vec<_> =
            fs::read_dir(machine.scratch()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "recording"), "after {moment} ms: {left:?}");
    }
    assert!(read > 0, "all {times} were killed before they recorded anything");
}

/// Whether there is a recording; one that is there can be read.
fn is_readable(recording: &Path, moment: u64) -> bool {
    if !fs::metadata(recording).is_ok_and(|found| found.len() > 0) {
        return false;
    }
    let ended = run(rmap(["report"]).arg(recording));
    assert_eq!(ended.code(), 0, "after {moment} ms: {}", ended.err());
    true
}

#[test]
fn a_kill_at_random_moments_stops_nobody_and_leaves_a_recording_that_can_be_read() {
    let machine = begin!();
    kill_at_random_moments(&machine, 20);
}

#[test]
#[ignore = "takes some five minutes; the same at 20 moments runs always"]
fn a_kill_at_two_hundred_moments_stops_nobody() {
    let machine = begin!();
    kill_at_random_moments(&machine, 200);
}

#[test]
fn a_second_signal_ends_rmap_within_a_second_and_a_third_at_once() {
    let machine = begin!();
    let pipe = machine.scratch().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    for signals in [2, 3] {
        // A reader that does not read, so that rmap hangs in the middle of its report.
        let mut reader = OpenOptions::new();
        let reader = reader.read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
        fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let mut command = rmap(["run", "-o", "/dev/null", "--json"]);
        let running = start(command.arg(&pipe).args(["--", "sleep", "0.1"]));
        let pid = running.pid();
        eventually("rmap waits for the reader", || {
            let waits = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            waits.contains("pipe_write").then_some(())
        });
        running.signal(Signal::SIGINT);
        pause(200);
        assert!(status_field(pid, "State:").is_some(), "one signal is not enough");
        let begun = Instant::now();
        for _ in 1..signals {
            running.signal(Signal::SIGINT);
            pause(50);
        }
        let ended = running.wait();
        let took = begun.elapsed();
        assert_eq!(ended.code(), 130, "{}", ended.err());
        assert_eq!(ended.err(), "rmap: SIGINT ended it before its report was done\n");
        let most = Duration::from_millis(if signals == 2 { 2000 } else { 800 }) * slow();
        assert!(took < most, "{signals} signals: {took:?}");
        drop(reader);
    }
}

#[test]
fn a_second_signal_leaves_a_command_running_that_ignores_the_first() {
    let machine = begin!();
    let recording = machine.scratch().join("recording");
    let mut command = rmap(["run", "-o", "/dev/null", "--record"]);
    let script = "trap '' TERM; echo $$; while :; do sleep 0.1; done";
    let running = start(command.arg(&recording).args(["--", "sh", "-c", script]));
    let rmap = running.pid();
    let pid: u32 = eventually("the command's word", || {
        String::from_utf8(running.out_so_far()).unwrap().trim().parse().ok()
    });
    running.signal(Signal::SIGTERM);
    pause(300);
    assert!(status_field(rmap, "State:").is_some());
    let begun = Instant::now();
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    assert!(begun.elapsed() < Duration::from_secs(2) * slow(), "{:?}", begun.elapsed());
    assert_eq!(status_field(pid, "TracerPid:").as_deref(), Some("0"), "{}", ended.err());
    assert!(is_readable(&recording, 0));
    let _ =
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(rmap.cast_signed()), Signal::SIGKILL);
}

/// What `rmap doctor` says that is kept (capability.h): CHOWN, `DAC_OVERRIDE`, `DAC_READ_SEARCH`,
/// FOWNER, KILL, `SYS_PTRACE`, `SYS_ADMIN`, `SYS_NICE`, BPF, `CHECKPOINT_RESTORE`.
const KEPT: [u32; 10] = [0, 1, 2, 3, 5, 19, 21, 23, 39, 40];

#[test]
fn rmap_keeps_the_capabilities_that_it_needs_while_its_command_has_its_own() {
    let _machine = begin!();
    let kept = KEPT.iter().fold(0_u64, |set, number| set | 1 << number);
    let sets = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let own = fs::read_to_string("/proc/self/status").unwrap();
    for user in [&[][..], &["--user", "nobody"]] {
        let mut command = rmap(["run", "-o", "/dev/null"]);
        command.args(user).args(["--", "sh", "-c", "grep Cap /proc/self/status; read -r line"]);
        let (running, input) = Running::start_piped(command.current_dir("/"));
        let command = eventually("the command's word", || {
            let text = String::from_utf8(running.out_so_far()).unwrap();
            text.contains("CapAmb").then_some(text)
        });
        // The thread that starts the command is on its way out.
        eventually("few capabilities in every thread", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap().flatten();
            let statuses = tasks.map(|task| fs::read_to_string(task.path().join("status")));
            let mut statuses = statuses.flatten();
            statuses
                .all(|status| {
                    let [permitted, effective, inheritable, ambient] =
                        ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"].map(|set| sets(&status, set));
                    permitted & !kept == 0
                        && effective & !kept == 0
                        && inheritable == 0
                        && ambient == 0
                })
                .then_some(())
        });
        let expected = if user.is_empty() { sets(&own, "CapBnd:") } else { 0 };
        assert_eq!(sets(&command, "CapEff:"), expected, "{command}");
        drop(input);
        assert_eq!(running.wait().code(), 1);
    }
    let doctor = run(&mut rmap(["doctor"])).out();
    assert!(doctor.contains("  stop processes of other users"), "{doctor}");
}
