//! The command `top`: a live view of processes that run, or of a command, in the terminal.
//!
//! Comes in: what to trace, keys. Goes out: pictures. The session has the main thread, the terminal one
//! of its own: reports go one way, wishes the other, and no key makes a traced process wait.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};

use super::progress::Progress;
use super::said::Said;
use super::view::{page_name, write_page};
use super::watch::ProbesOption;
use super::{report_out, save};
use crate::insight::{Rules, naming};
use crate::live::cgroup::Group;
use crate::live::session::{
    self, AttachSettings, Onlooker, Outcome, RunSettings, Target, Watch, Wishes,
};
use crate::live::{linger, privileges, terminal};
use crate::report::{Exit, Report, merge_stacks};
use crate::tui::terminal::{Driver, Screen, is_there, leave};
use crate::tui::{Ask, Mode, State, Update};

/// The arguments of `rmap top`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rmap top [OPTIONS] -p PID|--tree PID|--cgroup PATH|--container ID\n       rmap top [OPTIONS] -- CMD [ARG…]",
    group = clap::ArgGroup::new("what").args(["pids", "tree", "cgroup", "container", "command"]).required(true),
    after_help = "Keys: ? help, 1-4 rows, s sort, / filter, m mark, p pause, q end.",
    after_long_help = "\
Who holds the memory of processes that run, looked at once a second: owners with their call paths, \
segments, processes, the tree of calls. What they held before is before-attach, as with rmap attach, \
and q or Ctrl-C lets go of them as they were. m marks a moment: the column Since shows what came from \
there on.

Of a command the screen is rmap's: it has a session of its own, no input, and what it writes goes to a \
file, -o FILE or one without a name. The last line is shown at the bottom; what a file without a name \
holds (1 MiB at most) is printed at the end. q lets go of the command, which goes on untraced.

The corner shows what rmap itself takes of one processor. docs/top.md has all keys."
)]
pub struct TopOptions {
    /// The processes
    #[arg(
        short,
        long = "pid",
        value_name = "PID",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub pids: Vec<u32>,

    /// A process with all descendants
    #[arg(
        long,
        value_name = "PID",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub tree: Vec<u32>,

    /// The processes of a cgroup, and those that join it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// The same of a container by its ID, or a systemd unit
    #[arg(long, value_name = "ID")]
    pub container: Option<String>,

    /// Keep a recording in FILE, for `rmap view FILE` and others
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Write what CMD writes to FILE
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["pids", "tree", "cgroup", "container"])]
    pub output: Option<PathBuf>,

    /// Trace what is named, not what that starts
    #[arg(long)]
    pub no_follow: bool,

    /// Read rules for owner frames from FILE, before those that rmap brings along
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub rules: Option<PathBuf>,

    /// Which probes serve
    #[arg(long, value_name = "PLAN", value_enum, default_value_t, hide_short_help = true)]
    pub probes: ProbesOption,

    /// The command and its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

impl TopOptions {
    fn target(&self) -> anyhow::Result<Target> {
        Ok(match (&self.cgroup, &self.container) {
            (Some(path), _) => Target::Group(Group::at(path)?),
            (None, Some(id)) => Target::Group(Group::of_container(id)?),
            (None, None) if !self.tree.is_empty() => Target::Trees(self.tree.clone()),
            (None, None) => Target::Processes(self.pids.clone()),
        })
    }
}

/// Shows a session until it or its onlooker ends it.
///
/// # Errors
/// There is no terminal, or what the session attempted and did not succeed.
pub fn top(options: &TopOptions) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        is_there(),
        "cannot show anything: stdin and stdout are not both a terminal; try rmap attach"
    );
    options.record.as_deref().map_or(Ok(()), save::check)?;
    let rules = super::answer::rules(options.rules.as_deref())?;
    let said = if options.command.is_empty() {
        None
    } else {
        Some(Said::open(options.output.as_deref())?)
    };
    let (onlooker, wishes, reports) = Onlooker::new();
    let watch = Watch {
        follow: !options.no_follow,
        record: options.record.clone(),
        probes: options.probes.into(),
        python: true,
        onlooker: Some(onlooker),
        ..Watch::default()
    };
    terminal::at_restore(leave);
    let (updates, shown) = mpsc::channel();
    let quit = Arc::new(AtomicBool::new(false));
    let artist = Artist {
        rules,
        wishes,
        quit: Arc::clone(&quit),
        said: said.as_ref().map(Said::again).transpose()?,
        used: (Duration::ZERO, Instant::now()),
    };
    let artist = thread::Builder::new()
        .name("rmap-screen".into())
        .spawn(move || artist.run(&shown))
        .context("cannot start a thread")?;
    pass_on(reports, updates.clone())?;

    // Whoever has ended it needs no report: nothing more is read or counted, unless it is recorded.
    let mut progress = None;
    let traced = || match (quit.load(Ordering::SeqCst), &options.record) {
        (true, None) => {
            leave();
            let printed = said.as_ref().is_none_or(|said| said.print().is_ok());
            linger::exit(i32::from(!printed));
        }
        (true, Some(_)) => progress = Some(Progress::start("naming code paths")),
        // The last picture is still to be seen.
        (false, _) => {}
    };
    let outcome = if options.command.is_empty() {
        session::attach(
            &AttachSettings { target: options.target()?, duration: None, watch },
            traced,
        )
    } else {
        let output = said.as_ref().map(Said::descriptor).transpose()?;
        let command = options.command.clone();
        session::run(&RunSettings { command, credentials: None, watch, output }, traced)
    };
    let outcome = outcome.inspect_err(|_| leave())?;
    drop(progress);
    let (report, how) = (outcome.report.clone(), how(&outcome));
    // A receiver that has gone has been ended.
    let _ = updates.send(Update::Report(Arc::new(ready(report))));
    let _ = updates.send(how.map_or(Update::Quit, Update::Ended));
    drop(updates);
    let drawn = artist.join().unwrap_or(Ok(()));
    said.as_ref().map_or(Ok(()), Said::print).context("cannot print what the command wrote")?;
    if let (Some(error), Some(path)) = (outcome.record_error, &options.record) {
        let what = format!("the recording {} ends early", path.display());
        return Err(anyhow::Error::new(error).context(what));
    }
    drawn?;
    Ok(ExitCode::SUCCESS)
}

/// How a session ended by itself; `None`: somebody has ended it.
fn how(outcome: &Outcome) -> Option<String> {
    match &outcome.report.session.exit {
        Some(Exit::Code(code)) => return Some(format!("exited with {code}")),
        Some(Exit::Signal(name)) => return Some(format!("killed by {name}")),
        None => {}
    }
    let all = outcome.report.processes.iter().all(|process| process.ended_ns.is_some());
    all.then(|| "all have ended".to_owned())
}

/// Hands reports on as they are to be shown.
fn pass_on(reports: Receiver<Report>, updates: Sender<Update>) -> anyhow::Result<()> {
    let pass = move || {
        for report in reports {
            if updates.send(Update::Report(Arc::new(ready(report)))).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("rmap-reports".into())
        .spawn(pass)
        .context("cannot start a thread")?;
    Ok(())
}

fn ready(mut report: Report) -> Report {
    merge_stacks(&mut report);
    naming::name_segments(&mut report);
    report
}

/// Draws, on a thread of its own.
struct Artist {
    rules: Rules,
    wishes: Wishes,
    quit: Arc<AtomicBool>,
    said: Option<Said>,
    /// Processor time of rmap when it was last looked at, and when that was.
    used: (Duration, Instant),
}

impl Artist {
    /// The terminal is taken when there is something to show: a session that cannot begin says why on it.
    fn run(mut self, updates: &Receiver<Update>) -> anyhow::Result<()> {
        // It reads no memory and traces nobody; what it keeps, it does not need either.
        let _ = privileges::limit();
        let Ok(first) = updates.recv() else { return Ok(()) };
        let mut state = State::new(Mode::Live, report_out::colour_is_wanted(), self.rules.clone());
        state.take(first);
        let done = Screen::enter()
            .and_then(|mut screen| screen.run(&mut state, updates, &mut self))
            .context("cannot use the terminal");
        // The terminal is as it was now. What went wrong is said when the session is over.
        self.quit.store(done.is_ok(), Ordering::SeqCst);
        self.wishes.let_go();
        done
    }

    /// What rmap has taken of one processor since the last look, in thousandths.
    fn cost(&mut self) -> Option<u32> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let time = |value: nix::sys::time::TimeVal| {
            Duration::from_micros(
                u64::try_from(value.tv_sec() * 1_000_000 + value.tv_usec()).unwrap_or(0),
            )
        };
        let used = time(usage.user_time()) + time(usage.system_time());
        let (before, then) = std::mem::replace(&mut self.used, (used, Instant::now()));
        if before.is_zero() {
            return None;
        }
        let share = used.saturating_sub(before).as_secs_f64() / then.elapsed().as_secs_f64();
        Some((share * 1000.0).round() as u32)
    }
}

impl Driver for Artist {
    fn ask(&mut self, state: &mut State, ask: Ask) -> bool {
        match ask {
            Ask::Quit => return false,
            Ask::Mark(name) => self.wishes.mark(name),
            Ask::Write => {
                let Some(report) = state.report().cloned() else { return true };
                let name = page_name("rmap-top", &report);
                let written = write_page(name.as_ref(), &report, None, &self.rules);
                state.take(written.unwrap_or_else(|e| Update::Failed(format!("{e:#}"))));
            }
            Ask::Moment(_) | Ask::Explain { .. } => {}
        }
        true
    }

    fn turn(&mut self, state: &mut State) {
        if let Some(share) = self.cost() {
            state.take(Update::Cost(share));
        }
        if let Some(line) = self.said.as_ref().and_then(Said::last_line) {
            state.take(Update::Output(line));
        }
    }
}
