//! `rmap run --user` on a terminal: the command has a session, a terminal and a login of its own, and
//! none of rmap's rights.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{Winsize, openpty};
use rmap_tests::process::{patience, pause, run};
use rmap_tests::rmap::{binary, rmap};
use rmap_tests::{begin, workload};

/// The user that every system has, without rights.
const NOBODY: &str = "nobody";

/// A shell script on a terminal of its own, whose session it leads; `$rmap` is the binary.
struct Screen {
    terminal: File,
    child: Child,
    text: String,
}

impl Screen {
    fn start(script: &str, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        // Whoever inherits this end keeps the terminal from ending.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        let slave = File::from(pty.slave);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "sh", "-c", script]).env("rmap", binary());
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let child = command.current_dir("/").spawn().unwrap();
        Self { terminal: pty.master.into(), child, text: String::new() }
    }

    fn type_in(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows a text, and gives all that it has shown.
    fn await_text(&mut self, text: &str) -> &str {
        let begun = Instant::now();
        while !self.text.contains(text) {
            assert!(begun.elapsed() < patience(Duration::from_secs(30)), "{:?}", self.text);
            let mut one = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            if !matches!(poll(&mut one, 100_u16), Ok(1..)) {
                continue;
            }
            let mut part = [0; 4096];
            let count = self.terminal.read(&mut part).unwrap_or_default();
            assert!(count > 0, "the terminal ended: {:?}", self.text);
            self.text += &String::from_utf8_lossy(&part[..count]);
        }
        &self.text
    }
}

impl Drop for Screen {
    /// The terminal's end hangs up on its session, and rmap's on the command's.
    fn drop(&mut self) {
        let session = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        for signal in [nix::sys::signal::Signal::SIGHUP, nix::sys::signal::Signal::SIGKILL] {
            let _ = nix::sys::signal::killpg(session, signal);
            pause(50);
        }
        let _ = self.child.wait();
    }
}

/// A copy of a workload that everybody can reach.
fn reachable(name: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.path().join(name);
    std::fs::copy(workload::build(name), &copy).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    let path = copy.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn a_command_of_another_user_cannot_type_into_the_callers_terminal() {
    let machine = begin!();
    let allowed = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    if allowed.is_ok_and(|allowed| allowed.trim() == "0") {
        return machine.skip("the kernel forbids TIOCSTI (dev.tty.legacy_tiocsti)");
    }
    let (_folder, typist) = reachable("typist");
    // On the terminal as a whole; with another stdin; with the terminal as one more descriptor.
    for with in ["", "</dev/null", "9<>/dev/tty", "</dev/null 9<>/dev/tty"] {
        let script = format!(
            "\"$rmap\" run -o /dev/null --user {NOBODY} -- {typist} {with}\n\
             echo ready; read -r line; echo \"the shell reads: $line.\""
        );
        let mut screen = Screen::start(&script, 24, 80);
        let text = screen.await_text("ready\r\n").to_owned();
        assert!(text.contains("tried"), "{with}: {text}");
        screen.type_in("typed by hand\n");
        let text = screen.await_text("the shell reads: ").to_owned();
        screen.await_text(".\r\n");
        assert!(screen.text.contains("the shell reads: typed by hand."), "{with}: {text}");
    }
}

#[test]
fn an_interactive_command_of_another_user_has_a_terminal_of_its_own() {
    let machine = begin!();
    let script = format!(
        "\"$rmap\" run -o /dev/null --user {NOBODY} -- sh -c '\n\
         stty size; test -w \"$(tty)\" && stat -c %U \"$(tty)\"\n\
         trap \"echo interrupted\" INT; echo waiting\n\
         until read -r line && test -n \"$line\"; do :; done; echo \"read $line\"\n\
         trap \"stty size; echo resized; exit 7\" WINCH; echo again; while :; do sleep 0.1; done'\n\
         echo \"status $?\"; stty -a | grep -o ' [-]*icanon'; echo over"
    );
    let mut screen = Screen::start(&script, 33, 101);
    let text = screen.await_text("waiting");
    assert!(text.contains("33 101") && text.contains(NOBODY), "{text}");
    screen.type_in("\x03");
    screen.await_text("interrupted");
    screen.type_in("hello\r");
    screen.await_text("read hello");
    screen.await_text("again");
    let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one struct winsize from the address.
    let result =
        unsafe { libc::ioctl(screen.terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(result, 0);
    let text = screen.await_text("over\r\n");
    assert!(text.contains("40 120"), "{text}");
    assert!(text.contains("status 7") && text.contains(" icanon"), "{text}");
    drop(machine);
}

#[test]
fn a_command_of_another_user_has_a_login_and_none_of_rmaps_rights() {
    let _machine = begin!();
    let script = "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status\n\
                  echo \"$HOME $USER $LOGNAME $SHELL\"; ls /proc/self/fd | wc -l\n\
                  ps -o sid= -p $$ | tr -d ' '; echo $$";
    let mut command = rmap(["run", "-o", "/dev/null", "--user", NOBODY, "--", "sh", "-c", script]);
    let ended = run(command.current_dir("/"));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let out = ended.out();
    let lines: Vec<&str> = out.lines().collect();
    for line in &lines[..5] {
        assert_eq!(line.split_whitespace().nth(1), Some("0000000000000000"), "{out}");
    }
    let entry = run(Command::new("getent").args(["passwd", NOBODY])).out();
    let fields: Vec<&str> = entry.trim().split(':').collect();
    assert_eq!(lines[5], format!("{} {NOBODY} {NOBODY} {}", fields[5], fields[6]));
    // Those that rmap was given, and none of its own.
    let given = run(Command::new("sh").args(["-c", "ls /proc/self/fd | wc -l"])).out();
    assert_eq!(lines[6], given.trim(), "{out}");
    assert_eq!(lines[7], lines[8], "it leads a session: {out}");
}
