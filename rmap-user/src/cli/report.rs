//! The command `report`: the report again, from a recording.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::progress::Progress;
use super::reading::{self, ReadingOptions};
use super::report_out::{OutputOptions, Stream};
use crate::insight::naming;
use crate::replay;
use crate::report::At;

/// The arguments of `rmap report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  rmap run --record prog.rmap -- ./prog; rmap report prog.rmap",
    after_long_help = "\
The state at a moment (--at) is exact by the events up to it: who holds which page, without the \
processes that have ended by then. Sizes are the kernel's where a snapshot stands at that moment; \
elsewhere they are what the events add up to, and what the last snapshot showed with no call path is \
the residual between-snapshots. `peak` is the moment at which all processes together held most. The \
first screen leads with the peak where the end is below 80 % of it; --at end shows the end."
)]
pub struct ReportOptions {
    /// Where the report goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,

    /// Which moment: `peak` (RSS was highest), `end`, or SECONDS after the start
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub at: Option<At>,

    /// How the recording is read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// A recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `peak`, `end`, or seconds after the start, 0 too.
pub(super) fn moment(text: &str) -> Result<At, String> {
    let wrong = || "give peak, end, or seconds after the start, such as 0.5".to_owned();
    match text {
        "end" => Ok(At::End),
        "peak" => Ok(At::Peak),
        _ => {
            let after: f64 = text.parse().map_err(|_| wrong())?;
            let after = Duration::try_from_secs_f64(after).map_err(|_| wrong())?;
            u64::try_from(after.as_nanos()).map(At::Time).map_err(|_| wrong())
        }
    }
}

/// Prints the report of a recording. One that was cut off is told on stderr too.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn run(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    options.output.check()?;
    let path = options.file.display();
    let reading = options.reading.reading(options.at.unwrap_or_default())?;
    let progress = Progress::start("reading the recording");
    let mut loaded =
        replay::load(&options.file, &reading).with_context(|| format!("cannot read {path}"))?;
    naming::name_segments(&mut loaded.report);
    loaded.peak.as_mut().map(naming::name_segments);
    drop(progress);
    reading::remark(&loaded, &options.file);
    let peak = loaded.peak.as_ref().filter(|_| options.at.is_none());
    options.output.print(&loaded.report, peak, Stream::Stdout)?;
    Ok(ExitCode::SUCCESS)
}
