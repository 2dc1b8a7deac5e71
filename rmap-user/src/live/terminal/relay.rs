//! Bytes from the terminal here to the command's, and back.
//!
//! Comes in: keys and the size of the window here; the command's output there. Goes out: each at the
//! other end. Two threads, so that a command that does not read keeps nothing back that it writes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, pthread_sigmask};
use nix::sys::termios::{LocalFlags, SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, read, tcgetpgrp, write};

use super::restore;

/// Milliseconds between two looks at the window's size, and at whether rmap is in the foreground.
const LOOK: u16 = 200;
/// Milliseconds until a terminal that nobody had open a moment ago is looked at again.
const REST: u16 = 20;

/// Both ends.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) master: OwnedFd,
    /// Readable when the command has ended.
    pub(super) stopped: OwnedFd,
    /// Those of the terminal here.
    pub(super) settings: libc::termios,
}

impl Relay {
    /// Sends what is typed, until the end.
    pub(super) fn keys(&self) {
        ignore_signals();
        let stdin = io::stdin();
        let (mut known, mut buffer) = (None, [0; 4096]);
        loop {
            // In the background neither the keys nor the settings are rmap's.
            let ours = match tcgetpgrp(&stdin) {
                Ok(group) => group == getpgrp(),
                Err(_) => break self.hang_up(),
            };
            if ours {
                self.make_raw(stdin.as_fd());
            }
            let now = size(stdin.as_fd());
            if now != known {
                now.as_ref().into_iter().for_each(|size| set_size(self.master.as_fd(), size));
                known = now;
            }
            let asked = if ours { PollFlags::POLLIN } else { PollFlags::empty() };
            match wait(stdin.as_fd(), asked, self.stopped.as_fd(), LOOK) {
                Woken::Stopped => break,
                Woken::Nothing => continue,
                Woken::Ready => {}
            }
            let Ok(count @ 1..) = read(&stdin, &mut buffer) else { break self.hang_up() };
            if !self.send(&buffer[..count]) {
                break;
            }
        }
        restore();
    }

    /// Shows what the command writes, until it has ended and all is shown.
    pub(super) fn screen(&self) {
        ignore_signals();
        let (stdout, stderr, stdin) = (io::stdout(), io::stderr(), io::stdin());
        let shared = super::standard_descriptors();
        let out = [stdout.as_fd(), stderr.as_fd()]
            .into_iter()
            .find(|descriptor| shared.contains(&descriptor.as_raw_fd()))
            .unwrap_or(stdin.as_fd());
        let mut buffer = [0; 4096];
        let mut ended = false;
        loop {
            let mut both = [
                PollFd::new(self.master.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
            ];
            // When the command has ended, only what is there already is still shown.
            let _ = if ended { poll(&mut both, PollTimeout::ZERO) } else { poll(&mut both, LOOK) };
            ended |= both[1].any() == Some(true);
            let readable = both[0].revents().is_some_and(|found| found.contains(PollFlags::POLLIN));
            let closed = both[0].any() == Some(true) && !readable;
            if readable {
                match read(&self.master, &mut buffer) {
                    Ok(count @ 1..) if write_all(out, &buffer[..count]) => {}
                    Err(Errno::EINTR | Errno::EAGAIN) => {}
                    Ok(_) | Err(_) => return,
                }
            } else if ended {
                return;
            } else if closed {
                // Nobody has the other end open at the moment.
                let mut stopped = [PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut stopped, REST);
            }
        }
    }

    /// The terminal here has gone: says so to who is in the foreground there.
    fn hang_up(&self) {
        if let Ok(group) = tcgetpgrp(&self.master) {
            let _ = killpg(group, Signal::SIGHUP);
            let _ = killpg(group, Signal::SIGCONT);
        }
    }

    fn make_raw(&self, terminal: BorrowedFd<'_>) {
        let Ok(mut settings) = tcgetattr(terminal) else { return };
        if !settings.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ISIG) {
            return;
        }
        restore::remember(self.settings);
        cfmakeraw(&mut settings);
        let _ = tcsetattr(terminal, SetArg::TCSANOW, &settings);
    }

    /// Sends keys; false if the command has ended. One that does not read lets them wait.
    fn send(&self, mut keys: &[u8]) -> bool {
        while !keys.is_empty() {
            match wait(self.master.as_fd(), PollFlags::POLLOUT, self.stopped.as_fd(), LOOK) {
                Woken::Stopped => return false,
                Woken::Nothing => continue,
                Woken::Ready => {}
            }
            match write(&self.master, keys) {
                Ok(count) => keys = keys.get(count..).unwrap_or_default(),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// What ended a wait.
enum Woken {
    Ready,
    Stopped,
    Nothing,
}

/// Waits for a descriptor, so many milliseconds at most.
fn wait(of: BorrowedFd<'_>, events: PollFlags, stopped: BorrowedFd<'_>, timeout: u16) -> Woken {
    let mut both = [PollFd::new(of, events), PollFd::new(stopped, PollFlags::POLLIN)];
    if events.is_empty() {
        // A hang-up would be shown without being asked for.
        both.swap(0, 1);
        let _ = poll(&mut both[..1], timeout);
        return if both[0].any() == Some(true) { Woken::Stopped } else { Woken::Nothing };
    }
    let _ = poll(&mut both, timeout);
    match (both[0].any(), both[1].any()) {
        (_, Some(true)) => Woken::Stopped,
        (Some(true), _) => Woken::Ready,
        _ => Woken::Nothing,
    }
}

fn write_all(out: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match write(out, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut one = [PollFd::new(out, PollFlags::POLLOUT)];
                let _ = poll(&mut one, LOOK);
            }
            Err(_) => return false,
        }
    }
    true
}

/// Signals are for other threads; and setting a terminal must never stop rmap (`SIGTTOU`).
fn ignore_signals() {
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
}

/// The size of a terminal's window.
pub(super) fn size(terminal: BorrowedFd<'_>) -> Option<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one struct winsize to the address.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0).then_some(size)
}

fn set_size(terminal: BorrowedFd<'_>, size: &Winsize) {
    // SAFETY: the kernel reads one struct winsize from the address.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) };
}
