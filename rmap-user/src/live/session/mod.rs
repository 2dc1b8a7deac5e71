//! A tracing session: the probes, the tracer and the snapshots, joined into one stream of inputs.
//!
//! Comes in: what to run, or which processes to attach to. Goes out: the [`Report`] and how the
//! command ended. One thread (tokio's) reads the ring buffer, takes the snapshots and feeds the
//! session; the ptrace engine has a thread of its own and waits for it at every stop, so that
//! a snapshot and the events before it belong together.

mod allocators;
mod attach;
mod check;
mod code;
mod collector;
mod facts;
mod feed;
mod ledger;
mod log;
mod look;
mod losses;
mod made_code;
pub mod marks;
mod members;
mod observer;
mod obstacle;
pub mod onlooker;
mod oom;
mod positions;
mod pulse;
mod rewrites;
mod rewrites_random;
mod risen;
mod sampler;
mod signals;
mod snapshots;
mod spool;
mod stream;
mod trace;
pub mod until;
mod written;

use std::{ffi::OsString, io, os::fd::OwnedFd, path::PathBuf, sync::Arc, thread, time::Duration};

use crate::{
    live::{
        btf,
        malloc::{self, Shim},
        preflight,
        probes::{self, Choice, Offsets, Probes, Settings},
        ptrace::{self, Credentials, Launch, Status},
        terminal::Terminal,
    },
    recording,
    report::{Asked, Report},
};

pub use attach::{AttachSettings, Target, attach};
pub use check::{Check, Checked};
pub use facts::facts_of;
pub use look::look;
pub use onlooker::{Onlooker, Wishes};
pub use rewrites::RewriteSettings;
use trace::Subject;

/// How a session watches, whatever it is that it watches.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Follow the processes that are created.
    pub follow: bool,
    /// Take snapshots in between, too.
    pub interval: Option<Duration>,
    /// Keep a recording in this file.
    pub record: Option<PathBuf>,
    /// Which probes serve.
    pub probes: Choice,
    /// Let the probes log.
    pub verbose: bool,
    /// Read the frames of CPython.
    pub python: bool,
    /// What the report is to be of.
    pub asked: Asked,
    /// When it is to end.
    pub until: Option<until::Until>,
    /// Who may mark moments beside root and rmap's own user: a user's number.
    pub marker: Option<u32>,
    /// Watch memory for writes.
    pub rewrites: Option<RewriteSettings>,
    /// Read the structures of allocators at the last snapshot of each process, and how long a process
    /// may stand for it.
    pub heap: Option<Duration>,
    /// Pick allocations, one byte in so many on average.
    pub malloc: Option<u64>,
    /// Shows a line to whoever waits, before processes are attached to.
    pub announce: Option<fn(&str)>,
    /// Who looks on while it runs. Then nothing is kept for moments before the end.
    pub onlooker: Option<Arc<Onlooker>>,
}

/// What `rmap run` runs, and how.
#[derive(Debug)]
pub struct RunSettings {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// As whom it runs; `None`: as rmap itself.
    pub credentials: Option<Credentials>,
    /// How it is watched.
    pub watch: Watch,
    /// Where its output goes; `None`: where rmap's own goes. With it, it has a session of its own, and
    /// no input.
    pub output: Option<Arc<OwnedFd>>,
}

/// What a session found.
#[derive(Debug)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// The report at the session's peak, where that is far above the end.
    pub peak: Option<Report>,
    /// What kept the recording from being whole.
    pub record_error: Option<recording::Error>,
    /// Why the report is that of the end, and not what was asked for.
    pub not_there: Option<String>,
    /// How the command ended; `None` if rmap let go of it before.
    pub status: Option<Status>,
    /// The command goes on, because the session ended before it.
    pub goes_on: Option<GoesOn>,
}

/// A command that goes on untraced.
#[derive(Debug)]
pub struct GoesOn {
    pid: u32,
    /// The terminal that it has to itself.
    _terminal: Option<Terminal>,
    /// What its children preload.
    _shim: Option<Shim>,
}

impl GoesOn {
    /// Waits until it has ended. `None`: nobody knows how.
    #[must_use]
    pub fn wait(self) -> Option<Status> {
        ptrace::wait_for(self.pid)
    }
}

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the main job needs is missing.
    #[error("{0}")]
    Obstacle(String),
    /// The probes cannot serve.
    #[error(transparent)]
    Probes(#[from] probes::Error),
    /// The command could not be started or traced.
    #[error(transparent)]
    Tracer(#[from] ptrace::Error),
    /// Allocations cannot be picked.
    #[error(transparent)]
    Malloc(#[from] malloc::Error),
    /// The machinery of the session itself failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What came.
        source: io::Error,
    },
}

impl Error {
    /// The exit status that the shell's convention has for it: 127 for a command that is not
    /// found, 126 for one that cannot be executed, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Tracer(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// Runs a command under trace until it and its followed descendants have ended, or until the
/// user wants no more of it. `traced` is called when tracing has ended and the report is made.
///
/// # Errors
/// The probes or the command could not be started; then nothing of them is left.
pub fn run(settings: &RunSettings, traced: impl FnOnce()) -> Result<Outcome, Error> {
    run_with(settings, traced, None)
}

/// The same, and every stack that the kernel side walked is shown to `check` with the registers
/// and the memory that it was walked from, as far as the ring has room for them. For tests: it
/// costs the command much more than tracing does.
///
/// # Errors
/// As [`run`].
pub fn run_checked(settings: &RunSettings, check: Check) -> Result<Outcome, Error> {
    run_with(settings, || (), Some(check))
}

fn run_with(
    settings: &RunSettings,
    traced: impl FnOnce(),
    check: Option<Check>,
) -> Result<Outcome, Error> {
    let (mut launch, terminal) = launch(settings)?;
    let shim = settings.watch.malloc.map(Shim::make).transpose()?;
    if let Some(shim) = &shim {
        let own = std::env::var_os(malloc::VARIABLE);
        launch.variables.push((malloc::VARIABLE.into(), shim.preload(own.as_deref())));
    }
    trace::start(Subject::Command(launch, terminal, shim), &settings.watch, traced, check)
}

/// Checks the machine and loads the probes.
///
/// # Errors
/// One line that says what is missing and what to do.
pub fn load(settings: Settings) -> Result<Probes, Error> {
    // Both read all of the kernel's types, so they do it at the same time.
    let (loader, offsets) = thread::scope(|scope| {
        let loader = thread::Builder::new().spawn_scoped(scope, probes::loader);
        let offsets = match preflight::check().first_obstacle() {
            Some(obstacle) => Err(Error::Obstacle(obstacle)),
            None => offsets(),
        };
        (loader.ok().and_then(|thread| thread.join().ok()), offsets)
    });
    let offsets = offsets?;
    Ok(Probes::load(loader.unwrap_or_else(probes::loader), &offsets, settings)?)
}

/// The running kernel's offsets.
fn offsets() -> Result<Offsets, Error> {
    let bytes = btf::load().map_err(|error| Error::Obstacle(error.to_string()))?;
    let btf = btf::Btf::parse(&bytes).map_err(|error| Error::Obstacle(error.to_string()))?;
    Ok(Offsets::find(&btf)?)
}

/// The command, and the terminal that it has to itself.
fn launch(settings: &RunSettings) -> Result<(Launch, Option<Terminal>), Error> {
    let (program, args) = settings
        .command
        .split_first()
        .ok_or_else(|| Error::Obstacle("there is no command to run".to_owned()))?;
    let credentials = settings.credentials.clone();
    // Another user's command must not type into the caller's terminal.
    let other = credentials.as_ref().map(|credentials| credentials.uid);
    let other = other.filter(|user| *user != nix::unistd::geteuid().as_raw());
    let opened = other.map(Terminal::open).transpose();
    let opened = opened.map_err(|source| Error::System { what: "open a terminal", source })?;
    let (terminal, slave) = opened.flatten().unzip();
    let launch = Launch {
        program: program.clone(),
        args: args.to_vec(),
        credentials,
        follow: settings.watch.follow,
        own_session: other.is_some() || settings.output.is_some(),
        variables: Vec::new(),
        terminal: slave.map(Arc::new),
        output: settings.output.clone(),
    };
    Ok((launch, terminal))
}
