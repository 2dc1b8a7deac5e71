//! Whether the worker's processes want a processor and have none.
//!
//! Comes in: the opener's process id, and a deadline that has passed. Goes out: whether it should be put
//! off. A deadline is there for file systems that do not answer and for files that are too much; on a
//! machine that has no processor for rmap (it may run at the lowest priority beside others) neither is so:
//! the opener or its child, the reader, is ready to run, and has not run as long as it was given.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most that a deadline is put off by.
const MOST: Duration = Duration::from_secs(20);

/// Two processes since a request.
#[derive(Debug)]
pub(super) struct Starved {
    pid: u32,
    /// When it began, and how long they had run until then.
    begun: Mutex<(Instant, Duration)>,
}

impl Starved {
    /// Of a process and its children.
    pub(super) fn of(pid: u32) -> Self {
        Self { pid, begun: Mutex::new((Instant::now(), Duration::ZERO)) }
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        if let Ok(mut begun) = self.begun.lock() {
            *begun = (Instant::now(), self.processes().map(ran).sum());
        }
    }

    /// Whether they should have more time than until this deadline, which has passed.
    pub(super) fn deserve_more(&self, deadline: Instant) -> bool {
        let Ok((begun, ran_before)) = self.begun.lock().map(|begun| *begun) else { return false };
        let given = deadline.saturating_duration_since(begun);
        let ran: Duration = self.processes().map(ran).sum();
        deadline.elapsed() < MOST
            && ran.saturating_sub(ran_before) < given
            && self.processes().any(is_ready)
    }

    fn processes(&self) -> impl Iterator<Item = u32> + use<> {
        let children = read(&format!("/proc/{0}/task/{0}/children", self.pid));
        let children: Vec<u32> =
            children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        std::iter::once(self.pid).chain(children)
    }
}

/// How long a process has run.
fn ran(pid: u32) -> Duration {
    Duration::from_nanos(first(&read(&format!("/proc/{pid}/schedstat"))))
}

/// Whether a process runs, or would if it had a processor.
fn is_ready(pid: u32) -> bool {
    state(&read(&format!("/proc/{pid}/stat"))) == Some('R')
}

/// Nothing where the kernel does not say it.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The first number: nanoseconds on a processor (kernel `Documentation/scheduler/sched-stats.rst`).
fn first(text: &str) -> u64 {
    text.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What stands behind the name, which may hold anything (proc_pid_stat(5)).
fn state(text: &str) -> Option<char> {
    text.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn child(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn numbers_and_states_are_read_where_they_stand() {
        assert_eq!((first("1718 2605 3\n"), first("")), (1718, 0));
        assert_eq!(state("7 (a) R (b) S 1 7"), Some('S'));
        assert_eq!(state(""), None);
    }

    #[test]
    fn who_sleeps_past_a_deadline_gets_no_more() {
        let child = child("exec sleep 60");
        let starved = Starved::of(child.id());
        std::thread::sleep(Duration::from_millis(200));
        starved.begin();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!starved.deserve_more(Instant::now()));
        end(child);
    }

    #[test]
    fn who_is_ready_gets_more_until_it_has_run_as_long_as_was_given() {
        let child = child("while :; do :; done");
        let starved = Starved::of(child.id());
        std::thread::sleep(Duration::from_millis(200));
        starved.begin();
        let given = Duration::from_secs(20);
        assert!(starved.deserve_more(Instant::now() + given), "it has run for less than that");
        while ran(child.id()) < Duration::from_millis(300) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let begun = starved.begun.lock().unwrap().0;
        assert!(!starved.deserve_more(begun + Duration::from_millis(1)), "it has run for more");
        end(child);
    }
}
