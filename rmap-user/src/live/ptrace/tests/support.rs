//! What the tests stand on: an observer that writes down what it sees, and C programs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::live::ptrace::{Error, Launch, Observer, Status, Tracer, spawn};

/// A call of the observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Armed { pid: u32 },
    Attached { pid: u32, stood: bool, segments: usize },
    Leaving { pid: u32, stood: bool, segments: usize },
    Executed { pid: u32, tid: u32, former_tid: u32 },
    Forked { parent: u32, pid: u32, shares_mm: bool, segments: usize },
    Exiting { pid: u32, tid: u32, last: bool, shares_mm: bool, segments: usize },
    Unfollowed { pid: u32 },
    Yielded { pid: u32 },
    Ended { pid: u32, status: Status },
}

/// Writes down all calls, with the number of segments that smaps shows meanwhile.
#[derive(Clone, Default)]
pub(super) struct Recorder(pub(super) Arc<Mutex<Vec<Seen>>>);

impl Recorder {
    fn push(&self, seen: Seen) {
        self.0.lock().unwrap().push(seen);
    }
}

fn segments(tid: u32) -> usize {
    let smaps = std::fs::read_to_string(format!("/proc/{tid}/smaps")).unwrap_or_default();
    smaps.lines().filter(|line| line.starts_with("Rss:")).count()
}

impl Observer for Recorder {
    fn armed(&mut self, pid: u32) {
        self.push(Seen::Armed { pid });
    }
    fn about_to_stop(&mut self, _: u32) {}
    fn attached(&mut self, pid: u32, tid: u32, stood: bool) {
        self.push(Seen::Attached { pid, stood, segments: segments(tid) });
    }
    fn leaving(&mut self, pid: u32, tid: u32, stood: bool) {
        self.push(Seen::Leaving { pid, stood, segments: segments(tid) });
    }
    fn executed(&mut self, pid: u32, tid: u32, former_tid: u32) {
        self.push(Seen::Executed { pid, tid, former_tid });
    }
    fn forked(&mut self, parent: u32, child_pid: u32, child_tid: u32, shares_mm: bool) {
        let segments = segments(child_tid);
        self.push(Seen::Forked { parent, pid: child_pid, shares_mm, segments });
    }
    fn exiting(&mut self, pid: u32, tid: u32, last_thread: bool, shares_mm: bool) {
        let segments = segments(tid);
        self.push(Seen::Exiting { pid, tid, last: last_thread, shares_mm, segments });
    }
    fn yielded(&mut self, pid: u32, _: u32, _: bool, reason: &str) {
        assert!(!reason.is_empty());
        self.push(Seen::Yielded { pid });
    }
    fn about_to_leave(&mut self) {}
    fn unfollowed(&mut self, pid: u32, reason: &str) {
        assert!(!reason.is_empty());
        self.push(Seen::Unfollowed { pid });
    }
    fn ended(&mut self, pid: u32, status: Status) {
        self.push(Seen::Ended { pid, status });
    }
}

/// A command that runs, and what is seen of it.
pub(super) struct Running {
    pub(super) tracer: Tracer,
    pub(super) recorder: Recorder,
}

/// What was seen of a command that ended.
pub(super) struct Outcome {
    pub(super) pid: u32,
    pub(super) status: Option<Status>,
    pub(super) seen: Vec<Seen>,
}

/// A launch of words, following descendants.
pub(super) fn launch<S: Into<OsString> + Clone>(words: &[S]) -> Launch {
    let mut words = words.iter().cloned().map(Into::into);
    let program = words.next().unwrap();
    let args = words.collect();
    Launch {
        program,
        args,
        credentials: None,
        follow: true,
        own_session: false,
        variables: Vec::new(),
        terminal: None,
        output: None,
    }
}

pub(super) fn start(launch: Launch) -> Result<Running, Error> {
    let recorder = Recorder::default();
    let tracer = spawn(launch, Box::new(recorder.clone()))?;
    Ok(Running { tracer, recorder })
}

/// Runs a command to its end, and checks what holds for every run.
pub(super) fn run(launch: Launch) -> Outcome {
    let outcome = start(launch).unwrap().finish();
    outcome.check();
    outcome
}

/// Runs a shell script.
pub(super) fn shell(script: &str) -> Outcome {
    run(launch(&["sh", "-c", script]))
}

impl Running {
    pub(super) fn finish(self) -> Outcome {
        let pid = self.tracer.pid();
        let status = self.tracer.join().unwrap();
        assert_eq!(Arc::strong_count(&self.recorder.0), 1, "the engine dropped its observer");
        let seen = self.recorder.0.lock().unwrap().clone();
        Outcome { pid, status, seen }
    }
}

impl Outcome {
    /// Every process that ended stood once at its exit with its memory.
    pub(super) fn check(&self) {
        assert_eq!(self.seen[0], Seen::Armed { pid: self.pid });
        for seen in &self.seen {
            match *seen {
                Seen::Ended { pid, .. } => assert_eq!(self.lasts(pid), 1, "{pid} {:#?}", self.seen),
                Seen::Exiting { last, segments, .. } if last => assert!(segments > 3, "{seen:?}"),
                Seen::Forked { segments, .. } => assert!(segments > 3, "{seen:?}"),
                _ => {}
            }
        }
    }

    /// How often the last thread of a process stood at its exit.
    pub(super) fn lasts(&self, of: u32) -> usize {
        self.count(|seen| matches!(seen, Seen::Exiting { pid, last: true, .. } if *pid == of))
    }

    pub(super) fn count(&self, filter: impl Fn(&Seen) -> bool) -> usize {
        self.seen.iter().filter(|seen| filter(seen)).count()
    }

    /// The processes that were forked, in order.
    pub(super) fn children(&self) -> Vec<u32> {
        let pid = |seen: &Seen| if let Seen::Forked { pid, .. } = seen { Some(*pid) } else { None };
        self.seen.iter().filter_map(pid).collect()
    }

    pub(super) fn ended(&self) -> usize {
        self.count(|seen| matches!(seen, Seen::Ended { .. }))
    }
}

/// A compiled C program in a directory of its own.
pub(super) struct Program {
    pub(super) directory: TempDir,
}

impl Program {
    pub(super) fn compile(source: &str, flags: &[&str]) -> Self {
        Self::try_compile(source, flags).expect("cc works")
    }

    /// `None` if the compiler refuses.
    pub(super) fn try_compile(source: &str, flags: &[&str]) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("program.c");
        std::fs::write(&file, source).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-pthread", "-o"]).arg(directory.path().join("program")).arg(&file);
        cc.args(flags).status().unwrap().success().then_some(Self { directory })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("program")
    }

    pub(super) fn launch(&self, mode: &str) -> Launch {
        launch(&[self.path().into_os_string(), mode.into()])
    }
}

/// Waits until something holds; fails after ten seconds.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
