//! Signals to rmap itself while a command runs: they are the command's. While rmap is attached to
//! processes of others, they end the session.
//!
//! Ctrl-C on a terminal reaches the whole foreground process group, so the command has it already
//! and rmap only goes on; a signal that was sent to rmap alone is forwarded. Whoever asks a second
//! time wants rmap to let go: then it detaches and reports what there is.

use std::{io, os::fd::AsFd};

use nix::{
    sys::signal::Signal,
    unistd::{getpgrp, tcgetpgrp},
};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The command should have it.
    Forward(i32),
    /// Detach from the command and report.
    LetGo,
    /// Nothing: the command has it already.
    Nothing,
}

/// The signals that end programs, as long as this lives.
pub(super) struct Signals {
    interrupt: Listener,
    quit: Listener,
    terminate: Listener,
    hangup: Listener,
    /// There is a command that they are for.
    forwards: bool,
    asked: u32,
}

impl Signals {
    /// Takes them over from their default, which would end rmap before its report. `forwards`: there
    /// is a command that they are for.
    pub(super) fn listen(forwards: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            forwards,
            asked: 0,
        })
    }

    /// The next one's meaning.
    pub(super) async fn next(&mut self) -> Wish {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.quit.recv() => Signal::SIGQUIT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.hangup.recv() => Signal::SIGHUP,
        };
        self.asked += 1;
        if self.asked > 1 || !self.forwards {
            return Wish::LetGo;
        }
        let by_terminal = matches!(signal, Signal::SIGINT | Signal::SIGQUIT);
        if by_terminal && in_foreground() {
            return Wish::Nothing;
        }
        Wish::Forward(signal as i32)
    }
}

/// Whether a terminal's Ctrl-C reaches our process group, and with it the command.
fn in_foreground() -> bool {
    std::fs::File::open("/dev/tty")
        .is_ok_and(|terminal| tcgetpgrp(terminal.as_fd()).is_ok_and(|group| group == getpgrp()))
}

/// A signal's name, for example `SIGKILL`; those without one by their number.
pub(super) fn name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("SIG{signal}"), |signal| signal.to_string())
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn signals_have_the_names_that_people_know() {
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(11), "SIGSEGV");
        assert_eq!(name(40), "SIG40");
    }
}
