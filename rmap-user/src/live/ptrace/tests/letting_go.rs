//! Processes go on alone when they are let go, and when rmap is killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::helper::{helper, stalling_helper};
use super::support::{Program, Seen, eventually, launch, start};

/// Writes its own and a child's PID, goes on until a file is there, then tells so in another.
/// The parts that follow the signals are traps that must still work. It also ends if the test fails
/// and its directory goes.
const SCRIPT: &str = r#"cd "$0"
trap 'echo usr1 >> said' USR1
(while [ -d "$0" ] && [ ! -e end ]; do sleep 0.01; done; echo child >> said) &
echo $$ $! > new; mv new pids
while [ -d "$0" ] && [ ! -e end ]; do sleep 0.01; done
wait; echo parent >> said; exit 5"#;

struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn words(&self) -> [&str; 4] {
        ["sh", "-c", SCRIPT, self.0.path().to_str().unwrap()]
    }
    fn pids(&self) -> Vec<u32> {
        eventually("the script runs", || self.file("pids").exists());
        let pids = std::fs::read_to_string(self.file("pids")).unwrap();
        pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
    fn end(&self) -> String {
        std::fs::write(self.file("end"), "").unwrap();
        let said = || std::fs::read_to_string(self.file("said")).unwrap_or_default();
        eventually("the script ends", || said().ends_with("parent\n"));
        said()
    }
}

/// The tracer of a process, 0 for none.
fn tracer_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()
}

fn gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn signal(pid: u32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

#[test]
fn detached_in_the_middle_they_go_on() {
    let scene = Scene::new();
    let running = start(launch(&scene.words())).unwrap();
    let pids = scene.pids();
    assert!(pids.iter().all(|&pid| tracer_of(pid) != Some(0)));
    let begin = Instant::now();
    running.tracer.detach_all();
    running.tracer.detach_all();
    let outcome = running.finish();
    assert!(begin.elapsed() < Duration::from_secs(1), "detaching took {:?}", begin.elapsed());
    assert_eq!(outcome.status, None);
    assert_eq!(
        outcome.count(|seen| matches!(seen, Seen::Ended { pid, .. } if pids.contains(pid))),
        0
    );
    for &pid in &pids {
        eventually("nobody traces it", || tracer_of(pid) == Some(0));
    }
    signal(pids[0], libc::SIGUSR1);
    eventually("the trap", || scene.file("said").exists());
    assert_eq!(scene.end(), "usr1\nchild\nparent\n");
    let command = Pid::from_raw(pids[0].cast_signed());
    assert_eq!(waitpid(command, None), Ok(WaitStatus::Exited(command, 5)), "it stays our child");
}

#[test]
fn detached_while_stopped_it_stays_stopped() {
    let scene = Scene::new();
    let running = start(launch(&scene.words())).unwrap();
    let command = scene.pids()[0];
    running.tracer.forward_signal(libc::SIGSTOP);
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{command}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next()
    };
    eventually("it stands", || state() == Some('t'));
    std::thread::sleep(Duration::from_millis(20));
    running.tracer.detach_all();
    assert_eq!(running.finish().status, None);
    eventually("a plain stop", || state() == Some('T'));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(state(), Some('T'));
    signal(command, libc::SIGCONT);
    assert_eq!(scene.end(), "child\nparent\n");
    waitpid(Pid::from_raw(command.cast_signed()), None).unwrap();
}

#[test]
fn detached_while_many_things_happen() {
    let program = Program::compile(include_str!("programs.c"), &[]);
    for round in 0..30_u64 {
        let running = start(program.launch("busy")).unwrap();
        let pid = Pid::from_raw(running.tracer.pid().cast_signed());
        std::thread::sleep(Duration::from_micros(round * 2000));
        running.tracer.detach_all();
        match running.finish().status {
            Some(status) => assert_eq!(status.shell_code(), 3),
            None => assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 3))),
        }
    }
}

#[test]
fn they_survive_the_tracer() {
    let scene = Scene::new();
    let mut helper = helper(&scene.words()).stdout(Stdio::null()).spawn().unwrap();
    let pids = scene.pids();
    assert!(pids.iter().all(|&pid| tracer_of(pid) != Some(0)));
    helper.kill().unwrap();
    helper.wait().unwrap();
    for &pid in &pids {
        eventually("nobody traces it", || tracer_of(pid) == Some(0));
    }
    signal(pids[0], libc::SIGUSR1);
    eventually("the trap", || scene.file("said").exists());
    assert_eq!(scene.end(), "usr1\nchild\nparent\n");
    eventually("all are gone", || pids.iter().all(|&pid| gone(pid)));
}

#[test]
fn one_at_its_exit_survives_the_tracer_too() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pid");
    let words = ["sh", "-c", "echo $$ > \"$0.new\"; mv \"$0.new\" \"$0\"", file.to_str().unwrap()];
    let mut helper = stalling_helper(&words).stdout(Stdio::null()).spawn().unwrap();
    // The first to exit is mv, which the observer keeps.
    eventually("mv did its work", || file.exists());
    let pid = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!gone(pid));
    helper.kill().unwrap();
    helper.wait().unwrap();
    eventually("it ends", || gone(pid));
}
