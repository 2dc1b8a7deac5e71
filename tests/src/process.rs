//! Runs a command to its end, or to a point in its middle.
//!
//! Comes in: a [`Command`]. Goes out: a [`Running`], and at its end an [`Ended`]: status, output,
//! time and peak memory. Output goes to files, so that nothing blocks on a full pipe. What still
//! runs when a test fails is killed, by its process id.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// No command of the tests takes longer than this, on a machine that is not slow.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What is awaited in the middle of a command comes within this time.
pub const SOON: Duration = Duration::from_secs(20);

/// The same on this machine: emulated processors are slower, which `RMAP_SLOW` tells.
#[must_use]
pub fn patience(time: Duration) -> Duration {
    time * crate::machine::slow()
}

/// Waits between two looks for so many milliseconds, and on a slow machine for longer, where each
/// look takes the time of what is looked for.
pub fn pause(milliseconds: u64) {
    let slow = crate::machine::slow().min(10);
    std::thread::sleep(Duration::from_millis(milliseconds) * slow);
}

/// A command that was started.
pub struct Running {
    pid: Pid,
    dir: tempfile::TempDir,
    started: Instant,
    peak_rss: u64,
    reaped: bool,
    line: String,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// From its start to its end.
    pub wall: Duration,
    /// The highest `VmHWM` that was seen of it, in bytes, looked up every few milliseconds.
    /// `ru_maxrss` would miss nothing, but it keeps the peak of the memory that the process had
    /// before its exec (kernel `setmax_mm_hiwater_rss`), which is that of the test itself.
    pub peak_rss: u64,
}

impl Ended {
    /// The status as a shell shows it: the exit code, or 128 and the signal's number.
    ///
    /// # Panics
    /// Never: a status is one or the other.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap())
    }

    /// Its standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Running {
    /// Starts the command; `stdin` is what it reads, and nothing if that is `None`.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, stdin: Option<&[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let input = match stdin {
            None => Stdio::null(),
            Some(bytes) => {
                std::fs::write(dir.path().join("in"), bytes).unwrap();
                File::open(dir.path().join("in")).unwrap().into()
            }
        };
        Self::start_in(dir, command, input)
    }

    /// Starts the command with a pipe at its standard input, and returns the pipe's other end.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_piped(command: &mut Command) -> (Self, io::PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        (Self::start_in(tempfile::tempdir().unwrap(), command, reader.into()), writer)
    }

    #[expect(clippy::zombie_processes, reason = "`poll` and `drop` wait for it by its id")]
    fn start_in(dir: tempfile::TempDir, command: &mut Command, stdin: Stdio) -> Self {
        let line = format!("{command:?}");
        command
            .stdin(stdin)
            .stdout(File::create(dir.path().join("out")).unwrap())
            .stderr(File::create(dir.path().join("err")).unwrap());
        // A shell that starts the tests in the background has them ignore Ctrl-C, and all of their
        // children would as well.
        for signal in [Signal::SIGINT, Signal::SIGQUIT] {
            // SAFETY: the default action is no handler that could run at a wrong moment.
            let _ =
                unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
        }
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|e| panic!("start {line}: {e}"));
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        Self { pid, dir, started, peak_rss: 0, reaped: false, line }
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// What it has written so far to standard output.
    ///
    /// # Panics
    /// The file cannot be read.
    #[must_use]
    pub fn out_so_far(&self) -> Vec<u8> {
        std::fs::read(self.file("out")).unwrap()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// It is not there.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// Sends a signal to the process group that it leads.
    ///
    /// # Panics
    /// It leads none.
    pub fn signal_group(&self, signal: Signal) {
        nix::sys::signal::killpg(self.pid, signal).unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It takes longer than [`LIMIT`], see [`patience`].
    #[must_use]
    pub fn wait(mut self) -> Ended {
        loop {
            if let Some(status) = self.poll() {
                return Ended {
                    status,
                    stdout: std::fs::read(self.file("out")).unwrap(),
                    stderr: std::fs::read(self.file("err")).unwrap(),
                    wall: self.started.elapsed(),
                    peak_rss: self.peak_rss,
                };
            }
            let passed = self.started.elapsed();
            assert!(
                passed < patience(LIMIT),
                "{} goes on after {passed:?}; so far: {:?} {:?}",
                self.line,
                String::from_utf8_lossy(&self.out_so_far()),
                std::fs::read_to_string(self.file("err"))
            );
            // Fine at first, so that short commands are timed well.
            pause(if passed < Duration::from_secs(1) { 1 } else { 5 });
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its status, if it has ended.
    fn poll(&mut self) -> Option<ExitStatus> {
        if let Some(peak) = status_bytes(self.pid(), "VmHWM:") {
            self.peak_rss = self.peak_rss.max(peak);
        }
        let mut status = 0;
        // SAFETY: the pointer is to memory of the right type that outlives the call.
        let got = unsafe { libc::waitpid(self.pid.as_raw(), &raw mut status, libc::WNOHANG) };
        assert!(got >= 0, "wait for {}: {}", self.line, io::Error::last_os_error());
        self.reaped = got != 0;
        self.reaped.then(|| ExitStatus::from_raw(status))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(self.pid, None);
        }
    }
}

/// Runs the command to its end with nothing to read.
///
/// # Panics
/// It cannot be started, or takes too long.
#[must_use]
pub fn run(command: &mut Command) -> Ended {
    Running::start(command, None).wait()
}

/// A size of `/proc/PID/status` in bytes; `None` if the process is gone.
#[must_use]
pub fn status_bytes(pid: u32, key: &str) -> Option<u64> {
    let value = status_field(pid, key)?;
    let kib: u64 = value.trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// A line's value of `/proc/PID/status`; `None` if the process is gone.
#[must_use]
pub fn status_field(pid: u32, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
}

/// Waits until `found` gives something.
///
/// # Panics
/// It does not within [`SOON`], see [`patience`].
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        let passed = start.elapsed();
        assert!(passed < patience(SOON), "not within {passed:?}: {what}");
        pause(5);
    }
}

/// Whether the program is on the `PATH`.
#[must_use]
pub fn has_program(name: &str) -> bool {
    program(name).is_some()
}

/// Where the program is, by the `PATH`.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| {
        file.is_file() && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok()
    })
}
