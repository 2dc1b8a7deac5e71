//! One line on the terminal while something takes longer than a second, gone again when it is
//! done. Nothing of the kind where stderr is no terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long to wait before saying anything.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something under way; its end takes the line away.
#[derive(Debug)]
pub struct Progress {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Says on stderr, if it is a terminal and if it takes that long, that `what` is under way.
    #[must_use]
    pub fn start(what: &'static str) -> Self {
        let none = Self { done: None, thread: None };
        if !io::stderr().is_terminal() {
            return none;
        }
        let (done, wait) = mpsc::channel::<()>();
        let show = move || {
            if wait.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            // A terminal that has gone is no reason to stop.
            let _ = write!(io::stderr(), "rmap: {what}…");
            let _ = wait.recv();
            let _ = write!(io::stderr(), "\r\x1b[K");
        };
        match thread::Builder::new().name("rmap-progress".into()).spawn(show) {
            Ok(thread) => Self { done: Some(done), thread: Some(thread) },
            Err(_) => none,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
