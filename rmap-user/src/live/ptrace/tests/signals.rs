//! Signals, job control and what a command inherits.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::helper::{helper, printed};
use super::support::{Program, eventually, launch, run, start};
use crate::live::ptrace::Status;

/// Whether this process's group is orphaned: no member's parent is in another group of the same
/// session (kernel `will_become_orphaned_pgrp`), as where tests are started in the background.
fn orphaned() -> bool {
    let stat = |pid: &str| -> Option<[i32; 3]> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1);
        let mut next = || fields.next()?.parse().ok();
        Some([next()?, next()?, next()?])
    };
    let [_, group, session] = stat("self").unwrap();
    let all = std::fs::read_dir("/proc").unwrap();
    let mut members = all
        .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?))
        .filter(|&[_, of, _]| of == group);
    !members.any(|[parent, ..]| {
        stat(&parent.to_string())
            .is_some_and(|[_, of, in_session]| of != group && in_session == session)
    })
}

#[test]
fn a_stopped_command_stands_and_goes_on() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("count");
    // It also ends if this test fails and its directory goes.
    let script = r#"while [ -d "${0%/*}" ] && [ ! -e "$0.end" ]; do
        echo x >> "$0"; sleep 0.002; done; exit 8"#;
    let running = start(launch(&["sh", "-c", script, file.to_str().unwrap()])).unwrap();
    let size = || std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    let pid = running.tracer.pid();
    for signal in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN] {
        let before = size();
        eventually("the command runs", || size() > before);
        running.tracer.forward_signal(signal);
        if signal != libc::SIGSTOP && orphaned() {
            // The kernel stops nothing from the keyboard where no shell could wake it again.
            continue;
        }
        eventually("the command stands", || {
            let before = size();
            std::thread::sleep(Duration::from_millis(60));
            size() == before
        });
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        running.tracer.forward_signal(libc::SIGCONT);
    }
    std::fs::write(directory.path().join("count.end"), "").unwrap();
    assert_eq!(running.finish().status, Some(Status::Code(8)));
}

#[test]
fn a_shell_sees_its_childs_stops() {
    let program = Program::compile(include_str!("programs.c"), &[]);
    assert_eq!(run(program.launch("job-control")).status, Some(Status::Code(7)));
}

#[test]
fn the_sender_of_a_signal_is_kept() {
    let program = Program::compile(include_str!("programs.c"), &[]);
    assert_eq!(run(program.launch("queued-signals")).status, Some(Status::Code(0)));
}

#[test]
fn a_signal_after_the_end_goes_nowhere() {
    let running = start(launch(&["sh", "-c", "sleep 0.3 & exit 1"])).unwrap();
    let pid = running.tracer.pid();
    eventually("it ends", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    running.tracer.forward_signal(libc::SIGKILL);
    assert_eq!(running.finish().status, Some(Status::Code(1)));
}

/// The state that a process shows of itself: descriptors, signals, mask, limits, and so on.
const SHOW: &str = "echo /proc/self/fd/*; cat /proc/self/limits; pwd; env | grep -v -E \
                    '^(RMAP_TEST|_=)' | sort; ps -o pgid=,sid=,nice=,tty= -p $$; grep -E \
                    '^(Sig(Blk|Ign|Cgt)|Groups|Cap|NoNewPrivs|Seccomp:|Umask)' /proc/self/status";

/// What `sh -c SHOW` prints in a certain state of signals, untraced and traced.
fn shown(prepare: &str) -> [String; 2] {
    let prepared = |command: &Command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{prepare}; exec \"$0\" \"$@\"")]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        shell.stdin(Stdio::null()).stderr(Stdio::null());
        shell.output().unwrap().stdout
    };
    let mut plain = Command::new("sh");
    plain.args(["-c", SHOW]);
    let untraced = String::from_utf8(prepared(&plain)).unwrap();
    [untraced, printed(&prepared(&helper(&["sh", "-c", SHOW])))]
}

#[test]
fn the_command_inherits_what_rmap_was_started_with() {
    for prepare in [":", "trap '' HUP INT PIPE; exec 7</etc/passwd", "trap '' CHLD URG; umask 70"] {
        let [untraced, traced] = shown(prepare);
        assert!(untraced.contains("SigIgn:"), "{untraced}");
        assert_eq!(traced, untraced, "{prepare}");
    }
}

#[test]
fn standard_input_and_output_pass_through() {
    use std::io::Write;
    let words = ["sh", "-c", "cat; echo to stderr >&2; exit 12"];
    let mut command = helper(&words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text = "a line\n".repeat(100_000);
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let text = text.clone();
        move || stdin.write_all(text.as_bytes()).unwrap()
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(12));
    assert!(printed(&output.stdout) == text, "the output is the input");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "to stderr\n");
}
