//! The command `report`: the report again, from a recording.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use super::budget::BudgetOptions;
use super::moments::MomentOptions;
use super::progress::Progress;
use super::reading::{self, ReadingOptions};
use super::report_out::{OutputOptions, Stream};
use crate::insight::{growth, naming};
use crate::replay;
use crate::report::{Asked, At, Report, merge_stacks};

/// The arguments of `rmap report`.
#[derive(Debug, Args)]
#[command(
    mut_arg("at", |arg| arg.hide_short_help(false)),
    mut_arg("window", |arg| arg.hide_short_help(false)),
    after_help = "Example:  rmap run --record prog.rmap -- ./prog; rmap report prog.rmap",
    after_long_help = "\
The state at a moment (--at) is exact by the events up to it: who holds which page, without the \
processes that have ended by then. Sizes are the kernel's where a snapshot stands at that moment; \
elsewhere they are what the events add up to, and what the last snapshot showed with no call path is \
the residual between-snapshots. `peak` is the moment at which all processes together held most. The \
first screen leads with the peak where the end is below 80 % of it; --at end shows the end. A window \
(--window) has what came after its first moment and is still there at the second; what was there \
before, minus what was freed, plus what came, is what is there then."
)]
pub struct ReportOptions {
    /// Where the report goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,

    /// Which moments.
    #[command(flatten)]
    pub moments: MomentOptions,

    /// What may have been used.
    #[command(flatten)]
    pub budget: BudgetOptions,

    /// How the recording is read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// A recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Prints the report of a recording. One that was cut off is told on stderr too.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn run(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    options.output.check()?;
    let rules = options.output.answer.json.rules()?;
    let path = options.file.display();
    let reading = options.reading.reading(options.moments.asked())?;
    let progress = Progress::start("reading the recording");
    let mut loaded =
        replay::load(&options.file, &reading).with_context(|| format!("cannot read {path}"))?;
    for report in [Some(&mut loaded.report), loaded.peak.as_mut()].into_iter().flatten() {
        merge_stacks(report);
        naming::name_segments(report);
        growth::judge(report, &rules);
    }
    let between = between(options, &loaded.report);
    drop(progress);
    reading::remark(&loaded, &options.file);
    let peak = loaded.peak.as_ref().filter(|_| !options.moments.is_given());
    let output = OutputOptions { source: Some(options.file.clone()), ..options.output.clone() };
    output.print_with_moments(&loaded.report, peak, &between, Stream::Stdout)?;
    let verdict = options.budget.judge(&loaded.report, loaded.peak.as_ref(), &rules);
    verdict.complain();
    Ok(verdict.exit())
}

/// Moments of which a page has a report too, in eighths of the session, in the order in which they
/// are read.
const BETWEEN: [u64; 7] = [4, 2, 6, 1, 3, 5, 7];
/// When so much time has gone into them no more are read.
const PATIENCE: Duration = Duration::from_secs(5);

/// The reports of moments between start and end, for the page. Where no process lived there is none.
fn between(options: &ReportOptions, end: &Report) -> Vec<Report> {
    let mut reports = Vec::new();
    if options.output.html.is_none() || options.moments.is_given() {
        return reports;
    }
    let began = Instant::now();
    for eighth in BETWEEN {
        if began.elapsed() > PATIENCE {
            break;
        }
        let at = At::Time(end.session.duration_ns / 8 * eighth);
        let Ok(reading) = options.reading.reading(Asked::State(at)) else { break };
        if let Ok(mut loaded) = replay::load(&options.file, &reading) {
            merge_stacks(&mut loaded.report);
            naming::name_segments(&mut loaded.report);
            reports.push(loaded.report);
        }
    }
    reports
}
