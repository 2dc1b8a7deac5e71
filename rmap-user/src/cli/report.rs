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
Sizes are known where a snapshot was taken: when a process begins, at its exit, when rmap lets go of \
it, and in between with --interval SECS. So the state at a moment (--at) is that of the last snapshot \
of each process up to it, without the processes that have ended by then; and `peak` is the snapshot \
at which RSS, summed over the processes, was highest. What code paths explain and what they do not \
adds up to the sizes of that snapshot, as it does at the end."
)]
pub struct ReportOptions {
    /// Where the report goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,

    /// Which state: `peak` (RSS was highest), `end`, or SECONDS after the start
    #[arg(long, value_name = "WHEN", default_value = "end", value_parser = moment)]
    pub at: At,

    /// How the recording is read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// A recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `peak`, `end`, or seconds after the start, 0 too.
fn moment(text: &str) -> Result<At, String> {
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
    let reading = options.reading.reading(options.at)?;
    let progress = Progress::start("reading the recording");
    let mut loaded =
        replay::load(&options.file, &reading).with_context(|| format!("cannot read {path}"))?;
    naming::name_segments(&mut loaded.report);
    drop(progress);
    reading::remark(&loaded, &options.file);
    options.output.print(&loaded.report, Stream::Stdout)?;
    Ok(ExitCode::SUCCESS)
}
