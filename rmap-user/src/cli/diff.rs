//! The command `diff`: two reports, one difference.

use std::path::PathBuf;

use clap::Args;

use super::progress::Progress;
use super::reading::{self, ReadingOptions};
use super::report_out::{OutputOptions, Stream};
use crate::input;
use crate::report::At;
use crate::view::diff::{self, Difference};

/// The arguments of `rmap diff`.
#[derive(Debug, Args)]
pub struct DiffOptions {
    /// The first recording or JSON report (rmap run --record or --json)
    pub a: PathBuf,

    /// The second one
    pub b: PathBuf,

    /// How recordings are read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// Where the difference goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Runs it.
///
/// # Errors
/// What could not be read or written.
pub fn diff(options: &DiffOptions) -> anyhow::Result<()> {
    options.output.check()?;
    let progress = Progress::start("comparing the reports");
    let selection = options.output.select.selection();
    // What is chosen may be in one of them only; an empty side is a change like any other.
    let reading = options.reading.reading(At::End)?;
    let load = |path| {
        let loaded = input::load(path, &reading)?;
        reading::remark(&loaded, path);
        anyhow::Ok(loaded.report)
    };
    let (a, b) = (load(&options.a)?, load(&options.b)?);
    let (a, b) = match (selection.of(a.clone()), selection.of(b.clone())) {
        (Err(error), Err(_)) => return Err(error.into()),
        (part_a, part_b) => {
            let none = |mut report: crate::report::Report| {
                report.processes.clear();
                report
            };
            (part_a.unwrap_or_else(|_| none(a)), part_b.unwrap_or_else(|_| none(b)))
        }
    };
    let difference = Difference::of(&a, &b);
    drop(progress);
    options.output.print_with(
        Stream::Stdout,
        &|style, out| diff::write(&difference, style, out),
        &|out| diff::write_json(&difference, out),
    )
}
