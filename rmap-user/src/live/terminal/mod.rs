//! A terminal of its own for a command of another user, so that it cannot type into the caller's
//! (`TIOCSTI`, which works on the terminal of one's own session).
//!
//! Comes in: the terminal on stdin, and the user. Goes out: the other end of a new pseudo-terminal,
//! for the command; and from [`Terminal::connect`] on, what is typed here goes there, and what is
//! written there comes here. The terminal here is raw meanwhile: the new one makes signals of ^C and
//! ^\, for the command's session alone. Its size follows.
//!
//! As with `su --pty`, the command leads its session, so that ^Z does not stop it; the jobs of a
//! shell that it runs stop as usual.

mod relay;
mod restore;

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::tcgetattr;
use nix::unistd::pipe2;

use relay::Relay;

pub use restore::{at_restore, restore};

/// Bits of the terminal's file for its owner and the group `tty`, as login sets them.
const MODE: u32 = 0o620;

/// A pseudo-terminal that is connected to the terminal on stdin.
#[derive(Debug)]
pub struct Terminal {
    relay: Arc<Relay>,
    /// Its end ends both threads.
    stop: Option<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Terminal {
    /// A new terminal for a user, with the settings and the size of the one on stdin; `None` if
    /// stdin is none. The second value is the command's end.
    ///
    /// # Errors
    /// There is no pseudo-terminal to be had.
    pub fn open(user: u32) -> io::Result<Option<(Self, OwnedFd)>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let settings = tcgetattr(&stdin)?;
        let size = relay::size(stdin.as_fd());
        let OpenptyResult { master, slave } = openpty(size.as_ref(), &settings)?;
        let slave = File::from(slave);
        fchown(&slave, Some(user), None)?;
        slave.set_permissions(std::fs::Permissions::from_mode(MODE))?;
        // The command's process duplicates what it needs.
        for descriptor in [master.as_fd(), slave.as_fd()] {
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        let (stopped, stop) = pipe2(OFlag::O_CLOEXEC)?;
        let relay = Arc::new(Relay { master, stopped, settings: settings.into() });
        Ok(Some((Self { relay, stop: Some(stop), threads: Vec::new() }, slave.into())))
    }

    /// Connects both terminals, until this value is dropped.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn connect(&mut self) -> io::Result<()> {
        for (name, run) in
            [("rmap-keys", Relay::keys as fn(&Relay)), ("rmap-screen", Relay::screen)]
        {
            let relay = Arc::clone(&self.relay);
            let thread = thread::Builder::new().name(name.into()).spawn(move || run(&relay))?;
            self.threads.push(thread);
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Which of the standard descriptors are the terminal that stdin is. Those are the command's new
/// terminal; the others stay as they are.
#[must_use]
pub fn standard_descriptors() -> Vec<i32> {
    let device = |descriptor: BorrowedFd<'_>| {
        let file = File::from(descriptor.try_clone_to_owned().ok()?);
        file.is_terminal().then(|| file.metadata().ok().map(|found| found.rdev()))?
    };
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let all = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let Some(terminal) = device(all[0]) else { return Vec::new() };
    let same = all.into_iter().filter(|descriptor| device(*descriptor) == Some(terminal));
    same.map(|descriptor| descriptor.as_raw_fd()).collect()
}
