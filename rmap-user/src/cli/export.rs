//! The commands `export` and `flame`: a report in other forms.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::progress::Progress;
use super::{save, select::SelectOptions};
use crate::input;
use crate::report::Report;
use crate::view::export::{folded, perfetto, pprof, speedscope};
use crate::view::samples::Of;
use crate::view::{flame, json};

/// The forms that `rmap export` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The report itself, rmap.report/1
    Json,
    /// One line a stack, for scripts and other flame graphs
    Folded,
    /// profile.proto, compressed by gzip, for `go tool pprof`
    Pprof,
    /// For www.speedscope.app
    Speedscope,
    /// A trace for ui.perfetto.dev: sizes and faults in time; of recordings alone
    Perfetto,
}

/// What is weighed, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weight {
    /// Bytes that are resident
    Resident,
    /// Bytes that are dirty
    Dirty,
    /// Bytes touched in all, freed memory included
    Touched,
}

impl From<Weight> for Of {
    fn from(weight: Weight) -> Self {
        match weight {
            Weight::Resident => Self::Resident,
            Weight::Dirty => Self::Dirty,
            Weight::Touched => Self::Touched,
        }
    }
}

/// The arguments of `rmap export`.
#[derive(Debug, Args)]
pub struct ExportOptions {
    /// A recording or JSON report (rmap run --record or --json)
    pub file: PathBuf,

    /// The form
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Format,

    /// Write to FILE, not to stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// What folded stacks weigh; pprof and speedscope hold all three
    #[arg(long, value_name = "WEIGHT", default_value = "dirty")]
    pub of: Weight,

    /// Which part of the report.
    #[command(flatten)]
    pub select: SelectOptions,
}

/// The arguments of `rmap flame`.
#[derive(Debug, Args)]
pub struct FlameOptions {
    /// A recording or JSON report (rmap run --record or --json)
    pub file: PathBuf,

    /// Write the SVG to FILE, not to stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// What the widths are
    #[arg(long, value_name = "WEIGHT", default_value = "dirty")]
    pub of: Weight,

    /// Which part of the report.
    #[command(flatten)]
    pub select: SelectOptions,
}

/// Runs `rmap export`.
///
/// # Errors
/// What could not be read or written.
pub fn export(options: &ExportOptions) -> anyhow::Result<()> {
    let of = options.of.into();
    let (file, out) = (&options.file, options.output.as_ref());
    let listing = options.select.listing();
    if options.format == Format::Perfetto {
        return trace(file, &options.select, out);
    }
    convert(file, &options.select, out, |report, out| match options.format {
        Format::Json => json::write(report, out),
        Format::Folded => folded::write(report, of, listing, out),
        Format::Pprof => pprof::write(report, listing, out),
        Format::Speedscope => speedscope::write(report, listing, out),
        // Written above: it needs more than the report.
        Format::Perfetto => Ok(()),
    })
}

/// Runs `rmap flame`.
///
/// # Errors
/// What could not be read or written.
pub fn flame(options: &FlameOptions) -> anyhow::Result<()> {
    let (of, listing) = (options.of.into(), options.select.listing());
    convert(&options.file, &options.select, options.output.as_ref(), |report, out| {
        flame::write(report, of, listing, out)
    })
}

fn convert(
    file: &std::path::Path,
    select: &SelectOptions,
    output: Option<&PathBuf>,
    write: impl FnOnce(&Report, &mut dyn io::Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    if let Some(path) = output {
        save::check(path)?;
    }
    let _progress = Progress::start("reading the report");
    let report = select.selection().of(input::load(file)?)?;
    put(output, |out| write(&report, out))
}

/// The trace: of a recording, since a report does not tell how things came about.
fn trace(
    file: &std::path::Path,
    select: &SelectOptions,
    output: Option<&PathBuf>,
) -> anyhow::Result<()> {
    if let Some(path) = output {
        save::check(path)?;
    }
    let _progress = Progress::start("reading the recording");
    let (report, course) = input::load_course(file)?;
    let (report, course) = perfetto::part(report, course, &select.selection())?;
    put(output, |out| perfetto::write(&report, &course, select.listing(), out))
}

fn put(
    output: Option<&PathBuf>,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    match output {
        Some(path) => save::save(path, write),
        None => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            save::unless_gone(write(&mut out).and_then(|()| out.flush()))
                .context("cannot write to stdout")
        }
    }
}
