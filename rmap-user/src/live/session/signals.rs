//! Signals to rmap itself while a command runs: they are the command's. While rmap is attached to
//! processes of others, they end the session.
//!
//! Comes in: `SIGINT`, `SIGQUIT`, `SIGTERM` and `SIGHUP`, on a thread that does nothing else, so that
//! they count whatever the session is at. Goes out: a [`Wish`] for each, and the end of rmap:
//!
//! * the first one is for the command, or ends an attached session;
//! * the second one ends the session, with a report without names if there is one within
//!   [`LAST`]: `hurry::asked` says so to whoever reads files or waits for a disk;
//! * after that time, or with the third one, rmap ends at once. Whatever is traced goes on.
//!
//! Ctrl-C on a terminal reaches the whole foreground process group, so a command in rmap's session
//! has it already; a signal that was sent to rmap alone is forwarded.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{getpgrp, tcgetpgrp};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::live::{hurry, linger, terminal};

/// How long after the second signal there may still be a report.
const LAST: Duration = Duration::from_millis(900);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The command should have it.
    Forward(i32),
    /// The command's process group should have it, as from a terminal.
    ForwardToGroup(i32),
    /// Let go of what is traced, and report.
    LetGo,
    /// Nothing: the command has it already.
    Nothing,
}

/// For whom the first signal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A command in rmap's own session.
    Command,
    /// A command in another session, which nothing from rmap's terminal reaches.
    OtherSession,
    /// rmap: it is attached to processes.
    Session,
}

/// The signals that end programs.
pub(super) struct Signals {
    wishes: UnboundedReceiver<Wish>,
}

impl Signals {
    /// Takes them over from their default, which would end rmap before its report, until rmap ends.
    pub(super) fn listen(first: First) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, wishes) = unbounded_channel();
        let mut listeners = {
            let _context = runtime.enter();
            Listeners {
                interrupt: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
            }
        };
        thread::Builder::new().name("rmap-signals".into()).spawn(move || {
            runtime.block_on(listeners.serve(first, &sender));
        })?;
        Ok(Self { wishes })
    }

    /// What the next one asks for.
    pub(super) async fn next(&mut self) -> Wish {
        match self.wishes.recv().await {
            Some(wish) => wish,
            // The thread never ends.
            None => std::future::pending().await,
        }
    }
}

struct Listeners {
    interrupt: Listener,
    quit: Listener,
    terminate: Listener,
    hangup: Listener,
}

impl Listeners {
    async fn serve(&mut self, first: First, wishes: &UnboundedSender<Wish>) {
        // If the session is over, nobody takes the wishes any more.
        let signal = self.next().await;
        if wishes.send(wish(first, signal)).is_err() {
            hurry::ask();
        }
        let signal = self.next().await;
        hurry::ask();
        let _ = wishes.send(Wish::LetGo);
        let end = Instant::now() + LAST;
        tokio::select! {
            third = self.next() => leave(third),
            () = sleep_until(end) => leave(signal),
        }
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.quit.recv() => Signal::SIGQUIT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.hangup.recv() => Signal::SIGHUP,
        }
    }
}

fn wish(first: First, signal: Signal) -> Wish {
    let by_terminal = matches!(signal, Signal::SIGINT | Signal::SIGQUIT) && in_foreground();
    match (first, by_terminal) {
        (First::Session, _) => Wish::LetGo,
        (First::Command, true) => Wish::Nothing,
        (First::OtherSession, true) => Wish::ForwardToGroup(signal as i32),
        (First::Command | First::OtherSession, false) => Wish::Forward(signal as i32),
    }
}

/// Ends rmap in the middle of whatever it does. The kernel lets go of what is traced.
fn leave(signal: Signal) -> ! {
    terminal::restore();
    // Not by the stream, which another thread may hold; and never waiting for a reader.
    let stderr = io::stderr();
    let mut one = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if matches!(poll(&mut one, PollTimeout::ZERO), Ok(1..)) {
        let line = format!("rmap: {signal} ended it before its report was done\n");
        let _ = nix::unistd::write(stderr.as_fd(), line.as_bytes());
    }
    linger::exit(128 + signal as i32)
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
    use super::*;

    #[test]
    fn signals_have_the_names_that_people_know() {
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(11), "SIGSEGV");
        assert_eq!(name(40), "SIG40");
    }

    #[test]
    fn the_first_signal_is_the_commands_or_ends_the_session() {
        let term = Signal::SIGTERM;
        assert_eq!(wish(First::Session, term), Wish::LetGo);
        assert_eq!(wish(First::Command, term), Wish::Forward(15));
        assert_eq!(wish(First::OtherSession, term), Wish::Forward(15));
    }
}
