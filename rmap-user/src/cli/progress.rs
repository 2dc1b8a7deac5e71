//! One line on the terminal while something takes longer than a second, gone again when it is
//! done. Nothing of the kind where stderr is no terminal.

use std::io::{self, IsTerminal as _, Write};
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
        if !io::stderr().is_terminal() {
            return Self { done: None, thread: None };
        }
        Self::on(io::stderr(), what, PATIENCE)
    }

    /// The same on any stream, after any time.
    fn on(mut out: impl Write + Send + 'static, what: &'static str, patience: Duration) -> Self {
        let (done, wait) = mpsc::channel::<()>();
        let show = move || {
            if wait.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            // A terminal that has gone is no reason to stop.
            let _ = write!(out, "rmap: {what}…").and_then(|()| out.flush());
            let _ = wait.recv();
            let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        };
        match thread::Builder::new().name("rmap-progress".into()).spawn(show) {
            Ok(thread) => Self { done: Some(done), thread: Some(thread) },
            Err(_) => Self { done: None, thread: None },
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_takes_long_is_told_and_taken_away_again() {
        let screen = Screen::default();
        let progress = Progress::on(screen.clone(), "reading", Duration::ZERO);
        while screen.text().is_empty() {
            thread::yield_now();
        }
        assert_eq!(screen.text(), "rmap: reading…");
        drop(progress);
        assert_eq!(screen.text(), "rmap: reading…\r\x1b[K");
    }

    #[test]
    fn what_is_quick_says_nothing() {
        let screen = Screen::default();
        drop(Progress::on(screen.clone(), "reading", Duration::from_secs(3600)));
        assert_eq!(screen.text(), "");
    }
}
