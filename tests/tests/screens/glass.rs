//! A pseudo-terminal with somebody who looks at it.
//!
//! Comes in: a command, keys. Goes out: what the screen shows, and how the command ended.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use rmap_tests::process::patience;

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

/// The terminal, the command, and what the screen shows.
pub struct Glass {
    terminal: File,
    /// The other end, whose settings are looked at.
    pub slave: File,
    child: Child,
    screen: vt100::Parser,
    before: Termios,
}

impl Glass {
    /// A command on a terminal of its own, whose session it leads.
    pub fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let slave = File::from(pty.slave);
        let before = tcgetattr(&slave).unwrap();
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        leader.env_remove("NO_COLOR").env("TERM", "xterm-256color");
        leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        leader.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
        let end = || slave.try_clone().unwrap();
        let child = leader.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = vt100::Parser::new(cells(rows), cells(columns), 0);
        Self { terminal: pty.master.into(), slave, child, screen, before }
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Sends rmap a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Another size, as a window gets it.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the call reads one `winsize`, which outlives it.
        let set =
            unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(set, 0, "TIOCSWINSZ");
        self.screen.screen_mut().set_size(cells(rows), cells(columns));
    }

    /// What is to be seen, line by line.
    pub fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Whether the screen is the one that programs leave again.
    pub fn is_alternate(&self) -> bool {
        self.screen.screen().alternate_screen()
    }

    /// Whether any cell has a colour.
    pub fn has_colours(&self) -> bool {
        let screen = self.screen.screen();
        let (rows, columns) = screen.size();
        let cells =
            (0..rows.get()).flat_map(|row| (0..columns.get()).map(move |column| (row, column)));
        cells
            .filter_map(|(row, column)| screen.cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default)
    }

    /// Reads what has come.
    fn look(&mut self) {
        let mut one = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut one, 50_u16), Ok(1..)) {
            let mut part = [0; 8192];
            let count = self.terminal.read(&mut part).unwrap_or_default();
            self.screen.process(&part[..count]);
        }
    }

    /// Waits until the screen shows what is wanted.
    pub fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            self.look();
            let text = self.text();
            if is(&text) {
                return text;
            }
            assert!(begun.elapsed() < patience(Duration::from_secs(30)), "{what}: {text}");
        }
    }

    /// Waits for a text.
    pub fn shows(&mut self, wanted: &str) -> String {
        self.until(wanted, |text| text.contains(wanted))
    }

    /// Waits for the command's end, and holds that the terminal is as it was.
    pub fn ends(&mut self) -> ExitStatus {
        let begun = Instant::now();
        let status = loop {
            self.look();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < patience(Duration::from_secs(30)), "{}", self.text());
        };
        for _ in 0..4 {
            self.look();
        }
        assert!(!self.is_alternate(), "{}", self.text());
        assert!(!self.screen.screen().hide_cursor(), "the cursor is hidden");
        assert_eq!(tcgetattr(&self.slave).unwrap(), self.before, "the terminal's settings");
        status
    }
}

impl Drop for Glass {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
