//! What the commands that trace have in common: options, and what becomes of a session's outcome.
//!
//! Comes in: arguments, an outcome. Goes out: how a session watches, and the printed report.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::budget::{BudgetOptions, Verdict};
use super::moments::MomentOptions;
use super::progress::Progress;
use super::report_out::{OutputOptions, Stream};
use super::rewrites::RewriteOptions;
use super::seconds::seconds;
use super::size::size;
use crate::insight::{Rules, growth, naming};
use crate::live::heap::LIMIT;
use crate::live::probes::Choice;
use crate::live::session::until::{Above, Figure, Until};
use crate::live::session::{Error, Outcome, Watch};
use crate::report::merge_stacks;

/// Options of `rmap run` and `rmap attach`.
#[derive(Clone, Debug, Default, Args)]
pub struct WatchOptions {
    /// Where the report goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,

    /// When it is looked at, and what is kept of that.
    #[command(flatten)]
    pub look: LookOptions,

    /// Which moments the report is of.
    #[command(flatten)]
    pub moments: MomentOptions,

    /// What may be used.
    #[command(flatten)]
    pub budget: BudgetOptions,

    /// Who keeps writing.
    #[command(flatten)]
    pub rewrites: RewriteOptions,

    /// Report when it holds more: 'rss>2G', 'dirty>500M', 'rss>90%'
    #[arg(
        long,
        value_name = "COND",
        value_parser = until,
        hide_short_help = true,
        long_help = "Report as soon as the processes together hold more: `rss>SIZE`, `dirty>SIZE`, or a \
                     share of the limit of their control group, such as `rss>90%`. They go on untraced. \
                     It is looked every 10 ms, less often only where looking would cost more than 1 % of \
                     the time"
    )]
    pub until: Option<Until>,

    /// Trace what is named, not what that starts
    #[arg(long)]
    pub no_follow: bool,

    /// Show what malloc holds at the end: live, free but kept
    #[arg(
        long,
        hide_short_help = true,
        long_help = "Read the structures of glibc's malloc at the last snapshot of each process: what \
                     is live, what is free but kept, and who touched those pages first. The process \
                     stands for about 0.3 s more for each GiB of heap"
    )]
    pub heap: bool,

    /// Let a process stand SECS seconds for its heap at most (5)
    #[arg(long, value_name = "SECS", value_parser = seconds, requires = "heap", hide_short_help = true)]
    pub heap_limit: Option<Duration>,

    /// Show which call paths hold malloc's live blocks, sampled: one byte in BYTES (512K)
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = mean,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "512K",
        hide_short_help = true,
        long_help = "Show which call paths hold live blocks of malloc and its kin: what was allocated \
                     and not freed, estimated from a sample of one byte in BYTES on average (512K). \
                     `run` preloads a small library into the command and its children, which picks \
                     blocks; programs that are linked statically, and those that have an allocator of \
                     their own in their file, are not sampled, and that is shown. `attach` puts \
                     probes at the functions of the allocator that a process has, which makes each \
                     call of malloc and free slower by a microsecond or more for as long (it says how \
                     much before); what was allocated before is not known. docs/heap.md has what both \
                     cost"
    )]
    pub malloc: Option<u64>,

    /// Which probes serve
    #[arg(long, value_name = "PLAN", value_enum, default_value_t, hide_short_help = true)]
    pub probes: ProbesOption,

    /// Show functions and lines of Python programs: auto, or off
    #[arg(long, value_name = "WHICH", value_enum, default_value_t, hide_short_help = true)]
    pub python: PythonOption,
}

/// Whether the frames of Python programs are read, on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PythonOption {
    /// Where a process runs CPython 3.8 to 3.14
    #[default]
    Auto,
    /// Nowhere: only the interpreter's own functions are shown
    Off,
}

/// Options of every command that traces.
#[derive(Clone, Debug, Default, Args)]
pub struct LookOptions {
    /// Take a snapshot every SECS seconds too
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub interval: Option<Duration>,

    /// Keep a recording in FILE, for `rmap report FILE`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

impl LookOptions {
    /// Says early that the recording could not be written.
    ///
    /// # Errors
    /// A file that could not be made.
    pub fn check(&self) -> anyhow::Result<()> {
        self.record.as_deref().map_or(Ok(()), super::save::check)
    }
}

/// Which probes serve, on the command line.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum ProbesOption {
    /// All that make the figures more exact on this kernel
    #[default]
    Auto,
    /// Tracepoints and perf events alone; page tables are not read
    Plain,
}

impl From<ProbesOption> for Choice {
    fn from(option: ProbesOption) -> Self {
        match option {
            ProbesOption::Auto => Self::Auto,
            ProbesOption::Plain => Self::Plain,
        }
    }
}

/// Bytes from one picked byte to the next.
fn mean(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("pick one byte in 1 or more".to_owned()),
        mean => Ok(mean),
    }
}

/// `rss>2G`, `dirty>500M`, `rss>90%`.
fn until(text: &str) -> Result<Until, String> {
    let (figure, above) =
        text.split_once('>').ok_or("give rss>SIZE, dirty>SIZE, rss>N% or dirty>N%")?;
    let figure = match figure.trim() {
        "rss" => Figure::Rss,
        "dirty" => Figure::Dirty,
        other => return Err(format!("{other:?} is not counted: use rss or dirty")),
    };
    let above = match above.trim().strip_suffix('%') {
        None => Above::Bytes(size(above.trim())?),
        Some(percent) => match percent.parse() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Above::Percent(percent),
            _ => return Err(format!("{percent:?} is no share of a limit in percent")),
        },
    };
    Ok(Until { figure, above })
}

impl WatchOptions {
    /// Says early what could not be written in the end.
    ///
    /// # Errors
    /// A file that could not be made.
    pub fn check(&self) -> anyhow::Result<()> {
        self.output.check()?;
        self.look.check()?;
        self.rewrites.check()
    }

    /// The same for a session.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch {
            follow: !self.no_follow,
            interval: self.look.interval,
            record: self.look.record.clone(),
            probes: self.probes.into(),
            verbose: self.output.verbose > 1,
            python: self.python == PythonOption::Auto,
            asked: self.moments.asked(),
            until: self.until,
            marker: None,
            rewrites: self.rewrites.settings(),
            heap: self.heap.then(|| self.heap_limit.unwrap_or(LIMIT)),
            malloc: self.malloc,
            announce: Some(super::say),
            onlooker: None,
        }
    }

    /// Has a session done, with a word on the terminal where naming the code paths takes long.
    ///
    /// # Errors
    /// The session's.
    pub fn trace(
        &self,
        session: impl FnOnce(&mut dyn FnMut()) -> Result<Outcome, Error>,
    ) -> Result<Outcome, Error> {
        let mut progress = None;
        let mut outcome = session(&mut || progress = Some(Progress::start("naming code paths")))?;
        // The file of rules was read before the session; if it is gone, owners are not lost with it.
        let rules = self.output.answer.json.rules().unwrap_or_else(|_| Rules::built_in());
        for report in [Some(&mut outcome.report), outcome.peak.as_mut()].into_iter().flatten() {
            merge_stacks(report);
            naming::name_segments(report);
            growth::judge(report, &rules);
        }
        Ok(outcome)
    }

    /// Prints the report, complains of what could not be written, and judges the budget.
    #[must_use]
    pub fn print(&self, outcome: Outcome, stream: Stream) -> Printed {
        if let Err(error) = self.output.select.part(&outcome.report) {
            // The session is over and cannot be had again, so all of it is better than nothing.
            super::complain(&anyhow::Error::new(error).context("the whole report follows"));
            let mut output = self.output.clone();
            output.select.segment.clear();
            output.select.process.clear();
            let printed = Self { output, ..self.clone() }.print_whole(outcome, stream);
            return Printed { whole: false, ..printed };
        }
        self.print_whole(outcome, stream)
    }

    fn print_whole(&self, outcome: Outcome, stream: Stream) -> Printed {
        let mut whole = true;
        if let Some(why) = &outcome.not_there {
            let why = anyhow::anyhow!("{why}; the report is that of the end");
            super::complain(&why.context("the session has no such moment"));
            whole = false;
        }
        let rules = self.output.answer.json.rules();
        let judge = |rules| self.budget.judge(&outcome.report, outcome.peak.as_ref(), &rules);
        let verdict = rules.map(judge).unwrap_or_default();
        let output = OutputOptions { source: self.look.record.clone(), ..self.output.clone() };
        // Whoever names a moment, be it the end, means that one.
        let peak = outcome.peak.as_ref().filter(|_| !self.moments.is_given());
        if let Err(error) = output.print(&outcome.report, peak, stream) {
            super::complain(&error);
            whole = false;
        }
        verdict.complain();
        if let (Some(error), Some(path)) = (outcome.record_error, &self.look.record) {
            let what = format!("the recording {} ends early", path.display());
            super::complain(&anyhow::Error::new(error).context(what));
            whole = false;
        }
        Printed { whole, verdict }
    }
}

/// What became of a report.
#[derive(Debug)]
pub struct Printed {
    /// Everything that was asked for was written.
    pub whole: bool,
    /// What was used, against what may be.
    pub verdict: Verdict,
}
