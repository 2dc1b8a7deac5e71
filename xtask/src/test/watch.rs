//! A child's output line by line, and an end for one that hangs.
//!
//! Comes in: a running child with a piped stdout. Goes out: its lines, as bytes; after
//! [`SILENCE`] without one, the child and its descendants are killed, so that a test that never
//! ends becomes one that failed. Once the child has ended, what others still write counts for
//! [`GRACE`] only: a process that a test left behind may keep the pipe open for ever.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::steps::say;

/// The longest time without a line: building the tests on a slow machine prints none either.
pub const SILENCE: Duration = Duration::from_secs(15 * 60);

/// The longest time from the child's own end to the end of its output.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether the child has ended.
const TURN: Duration = Duration::from_millis(200);

/// Calls `each` with every line of the child's stdout. False if it was silent for longer than
/// `silence` and killed.
pub fn lines(
    child: &mut Child,
    silence: Duration,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<bool> {
    let stdout = child.stdout.take().context("the child's output is no pipe")?;
    let (sender, receiver) = mpsc::channel();
    // Ends with the pipe; not joined, because a descendant of a killed child may keep the pipe.
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        loop {
            // Traced programs write what they like: lines are bytes here.
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(1..) if sender.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    let mut last_line = Instant::now();
    let mut looked = Instant::now();
    let mut ended: Option<Instant> = None;
    loop {
        match receiver.recv_timeout(silence.min(TURN)) {
            Ok(line) => {
                each(&line)?;
                last_line = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(true),
            Err(RecvTimeoutError::Timeout) if last_line.elapsed() >= silence => {
                kill(child.id());
                return Ok(false);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if ended.is_none() && looked.elapsed() >= TURN {
            looked = Instant::now();
            ended = child.try_wait().context("cannot look at the tests")?.map(|_| looked);
        }
        if ended.is_some_and(|at| at.elapsed() >= GRACE) {
            say("a process that the tests left behind keeps their output open: not waited for");
            return Ok(true);
        }
    }
}

/// Kills a process and its descendants, the parents first so that they start nothing more.
fn kill(pid: u32) {
    let children = children(pid);
    let mut kill = Command::new("kill");
    kill.args(["-KILL", &pid.to_string()]).stdin(Stdio::null());
    // One that has just ended by itself is as good as killed.
    let _ = kill.status();
    children.into_iter().for_each(self::kill);
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn lines_come_as_they_are_written() {
        let mut seen = Vec::new();
        let mut child = shell("printf 'a\\n\\377\\nend'");
        let ended = lines(&mut child, SILENCE, |line| {
            seen.push(line.to_vec());
            Ok(())
        });
        assert!(ended.unwrap() && child.wait().unwrap().success());
        assert_eq!(seen, [b"a\n".to_vec(), b"\xff\n".to_vec(), b"end".to_vec()]);
    }

    #[test]
    fn what_a_child_leaves_behind_is_not_waited_for() {
        let mut child = shell("(while sleep 0.05; do echo x; done) & echo $!");
        let mut left = String::new();
        let ended = lines(&mut child, SILENCE, |line| {
            if left.is_empty() {
                left = String::from_utf8_lossy(line).trim().to_owned();
            }
            Ok(())
        });
        kill(left.parse().unwrap());
        assert!(ended.unwrap() && child.wait().unwrap().success());
    }

    #[test]
    fn a_silent_child_and_its_own_are_killed() {
        let start = Instant::now();
        let mut child = shell("sleep 600 & echo $!; wait");
        let mut grandchild = String::new();
        let ended = lines(&mut child, Duration::from_millis(500), |line| {
            grandchild = String::from_utf8_lossy(line).trim().to_owned();
            Ok(())
        });
        assert!(!ended.unwrap() && !child.wait().unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(60));
        // A signal takes a moment to end its process.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z"))
        };
        while !gone() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(gone());
    }
}
