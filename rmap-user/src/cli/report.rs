//! The command `report`: the report again, from a recording.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::progress::Progress;
use super::report_out::{OutputOptions, Stream};
use crate::recording;

/// The arguments of `rmap report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  rmap run --record prog.rmap -- ./prog; rmap report prog.rmap")]
pub struct ReportOptions {
    /// Where the report goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,

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
    let path = options.file.display();
    let progress = Progress::start("reading the recording");
    let loaded = recording::load(&options.file).with_context(|| format!("cannot read {path}"))?;
    drop(progress);
    if let Some(at) = loaded.cut_at {
        super::complain(&anyhow::anyhow!(
            "{path} ends at byte {at}, before the session did: the report shows what came before"
        ));
    }
    options.output.print(&loaded.report, Stream::Stdout)?;
    Ok(ExitCode::SUCCESS)
}
