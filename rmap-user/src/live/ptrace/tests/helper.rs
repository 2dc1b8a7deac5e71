//! A process of its own that runs a command by the engine: to be started in a certain state, to
//! have its output read, or to be killed.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use super::support::{Recorder, launch};
use crate::live::ptrace::{Observer, Status, spawn};

const WORDS: &str = "RMAP_TEST_PTRACE_WORDS";
const STALL: &str = "RMAP_TEST_PTRACE_STALL";
const SEPARATOR: &str = "\u{1f}";

/// What the helper prints before its command starts; the test harness has lines of its own.
pub(super) const BEGIN: &str = "\n--- begin\n";

/// This test binary as helper for a command.
pub(super) fn helper(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = concat!(module_path!(), "::run_the_command_of_the_environment");
    let test = test.split_once("::").unwrap().1;
    command.args([test, "--exact", "--ignored", "--nocapture", "--quiet"]);
    command.env(WORDS, words.join(SEPARATOR));
    command
}

/// A helper of which the observer waits for ever at each exit.
pub(super) fn stalling_helper(words: &[&str]) -> Command {
    let mut command = helper(words);
    command.env(STALL, "1");
    command
}

/// What a helper's command printed.
pub(super) fn printed(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    output.split_once(BEGIN).expect("the helper began").1.to_owned()
}

struct Stall;

impl Observer for Stall {
    fn armed(&mut self, _: u32) {}
    fn about_to_stop(&mut self, _: u32) {}
    fn attached(&mut self, _: u32, _: u32, _: bool) {}
    fn leaving(&mut self, _: u32, _: u32, _: bool) {}
    fn executed(&mut self, _: u32, _: u32, _: u32) {}
    fn forked(&mut self, _: u32, _: u32, _: u32, _: bool) {}
    fn exiting(&mut self, _: u32, _: u32, _: bool, _: bool) {
        std::thread::sleep(Duration::from_secs(600));
    }
    fn yielded(&mut self, _: u32, _: u32, _: bool, _: &str) {}
    fn about_to_leave(&mut self) {}
    fn unfollowed(&mut self, _: u32, _: &str) {}
    fn ended(&mut self, _: u32, _: Status) {}
}

#[test]
#[ignore = "a part of other tests, which start it in a process of its own"]
fn run_the_command_of_the_environment() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let words: Vec<&str> = words.split(SEPARATOR).collect();
    print!("{BEGIN}");
    std::io::stdout().flush().unwrap();
    let observer: Box<dyn Observer> = if std::env::var_os(STALL).is_some() {
        Box::new(Stall)
    } else {
        Box::<Recorder>::default()
    };
    let status = spawn(launch(&words), observer).unwrap().join().unwrap().unwrap();
    std::process::exit(status.shell_code());
}
