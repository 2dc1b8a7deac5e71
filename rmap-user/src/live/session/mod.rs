//! A tracing session: the probes, the tracer and the snapshots, joined into one investigation.
//!
//! Comes in: what to run. Goes out: the [`Report`] and how the command ended. One thread (tokio's)
//! reads the ring buffer, takes the snapshots and feeds the investigation; the ptrace engine has
//! a thread of its own and waits for it at every stop, so that a snapshot and the events before
//! it belong together.

mod check;
mod collector;
mod facts;
mod observer;
mod signals;

use std::{ffi::OsString, io, path::PathBuf, time::Duration};

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
use aya::maps::{MapData, RingBuf};
use tokio::{io::unix::AsyncFd, sync::mpsc, time};

use crate::{
    live::{
        btf, preflight,
        probes::{self, Offsets, Probes, Settings},
        procfs,
        ptrace::{self, Credentials, Launch, Status, Tracer},
    },
    recording::{self, Opening, Recorder},
    report::{Exit, Mode, Report},
};

pub use check::{Check, Checked};
use collector::Collector;
use observer::{Forwarder, Message};
use signals::{Signals, Wish};

/// How long the ring is left alone after it was emptied. As long as records wait in it the kernel
/// wakes nobody, and a wake-up for each record would cost the command more than the probes do.
/// There is no rest while raw stacks come: a thousand of them fill the ring.
const REST: Duration = Duration::from_millis(1);

/// What `rmap run` runs, and how.
#[derive(Debug)]
pub struct RunSettings {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Follow its children.
    pub follow: bool,
    /// As whom it runs; `None`: as rmap itself.
    pub credentials: Option<Credentials>,
    /// Take snapshots in between, too.
    pub interval: Option<Duration>,
    /// Keep a recording in this file.
    pub record: Option<PathBuf>,
    /// Let the probes log.
    pub verbose: bool,
}

/// What a session found.
#[derive(Debug)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// What kept the recording from being whole.
    pub record_error: Option<recording::Error>,
    /// How the command ended; `None` if rmap let go of it before.
    pub status: Option<Status>,
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

fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what, source }
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the event loop"))?;
    let launch = launch(settings)?;
    let probes = load(Settings {
        follow: settings.follow,
        verbose: settings.verbose,
        check_unwind: check.is_some(),
    })?;
    runtime.block_on(trace(settings, launch, probes, traced, check))
}

/// Checks the machine and loads the probes.
///
/// # Errors
/// One line that says what is missing and what to do.
pub fn load(settings: Settings) -> Result<Probes, Error> {
    if let Some(obstacle) = preflight::check().first_obstacle() {
        return Err(Error::Obstacle(obstacle));
    }
    let offsets = offsets()?;
    Ok(Probes::load(&offsets, settings)?)
}

/// The running kernel's offsets.
fn offsets() -> Result<Offsets, Error> {
    let bytes = btf::load().map_err(|error| Error::Obstacle(error.to_string()))?;
    let btf = btf::Btf::parse(&bytes).map_err(|error| Error::Obstacle(error.to_string()))?;
    Ok(Offsets::find(|structure, member| btf.member_offset(structure, member))?)
}

fn launch(settings: &RunSettings) -> Result<Launch, Error> {
    let (program, args) = settings
        .command
        .split_first()
        .ok_or_else(|| Error::Obstacle("there is no command to run".to_owned()))?;
    Ok(Launch {
        program: program.clone(),
        args: args.to_vec(),
        credentials: settings.credentials.clone(),
        follow: settings.follow,
    })
}

async fn trace(
    settings: &RunSettings,
    launch: Launch,
    mut probes: Probes,
    traced: impl FnOnce(),
    check: Option<Check>,
) -> Result<Outcome, Error> {
    let started_ns = procfs::monotonic_ns();
    let ring: RingBuf<MapData> = probes.ring()?;
    // SAFETY: the ring keeps its own descriptor open as long as it lives.
    let ring = unsafe { AsyncFd::register(ring) }
        .map_err(|error| system("watch the ring buffer")(error.into_parts().1))?;
    let mut signals = Signals::listen().map_err(system("listen for signals"))?;
    let mut logs = collector::logger(&mut probes, settings.verbose)
        .map_err(system("read the messages of the probes"))?;
    let (sender, mut messages) = mpsc::unbounded_channel();
    let started_at = OffsetDateTime::now_utc();
    let opening = || Opening {
        rmap_version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: Mode::Run,
        host: facts::host(),
        started_ns,
        started_at: started_at.format(&Rfc3339).unwrap_or_default(),
        command: Some(words(&settings.command)),
        pids: Vec::new(),
    };
    let recorder = settings
        .record
        .as_deref()
        .map(|path| {
            Recorder::create(path, &opening()).map_err(|error| {
                Error::Obstacle(format!("cannot write {}: {error}", path.display()))
            })
        })
        .transpose()?;
    let mut collector = Collector::new(Mode::Run, started_ns, probes, ring, started_at, recorder);
    collector.check_with(check);
    let tracer = start(launch, &mut collector, &mut messages, sender).await?;
    let mut interval = settings.interval.map(|period| {
        let mut interval = time::interval_at(time::Instant::now() + period, period);
        interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        interval
    });
    let mut rested = time::Instant::now();
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => collector.handle(message),
                // The engine's thread has ended, and its end of the channel with it.
                None => break,
            },
            ready = async {
                time::sleep_until(rested).await;
                collector.ring().readable().await
            } => {
                let mut ready = ready.map_err(system("wait for the ring buffer"))?;
                ready.clear_ready();
                drop(ready);
                if !collector.drain() {
                    rested = time::Instant::now() + REST;
                }
            }
            () = tick(&mut interval) => collector.periodic(),
            wish = signals.next() => match wish {
                Wish::Forward(signal) => tracer.forward_signal(signal),
                Wish::LetGo => tracer.detach_all(),
                Wish::Nothing => {}
            },
            () = collector::flush(&mut logs) => {}
        }
    }
    let pid = tracer.pid();
    let status = tracer.join()?;
    traced();
    collector.drain();
    let exit = status.map(exit_of);
    let (report, record_error) = collector.finish(settings, pid, exit);
    Ok(Outcome { report, record_error, status })
}

/// A command's words as the report has them.
fn words(command: &[OsString]) -> Vec<String> {
    command.iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

async fn tick(interval: &mut Option<time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn exit_of(status: Status) -> Exit {
    match status {
        Status::Code(code) => Exit::Code(code),
        Status::Signal(signal) => Exit::Signal(signals::name(signal)),
    }
}

/// Starts the command. The engine stops for the probes meanwhile, so this thread has to be at its
/// service.
async fn start(
    launch: Launch,
    collector: &mut Collector,
    messages: &mut mpsc::UnboundedReceiver<Message>,
    sender: mpsc::UnboundedSender<Message>,
) -> Result<Tracer, Error> {
    let observer = Box::new(Forwarder::new(sender));
    let mut spawned = tokio::task::spawn_blocking(move || ptrace::spawn(launch, observer));
    loop {
        tokio::select! {
            result = &mut spawned => {
                return Ok(result.map_err(|e| system("start the tracer")(io::Error::other(e)))??);
            }
            Some(message) = messages.recv() => collector.handle(message),
        }
    }
}
