//! The commands `export` and `flame`: a report in other forms.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use super::answer::{self, JsonOptions};
use super::moments::MomentOptions;
use super::progress::Progress;
use super::reading::{self, ReadingOptions};
use super::{save, select::SelectOptions};
use crate::input;
use crate::insight::{By, growth};
use crate::report::{Asked, Report};
use crate::view::export::{folded, perfetto, pprof, speedscope};
use crate::view::flame::Boxes;
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
    /// Bytes that are written again within a period (--rewrites)
    Rewritten,
    /// Bytes in live blocks of malloc, by estimate (--malloc)
    Live,
}

impl Weight {
    /// Which bytes of pages; `None` for those of blocks.
    const fn of_pages(self) -> Option<Of> {
        match self {
            Self::Resident => Some(Of::Resident),
            Self::Dirty => Some(Of::Dirty),
            Self::Touched => Some(Of::Touched),
            Self::Rewritten => Some(Of::Rewritten),
            Self::Live => None,
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

    /// Which moments of a recording.
    #[command(flatten)]
    pub moments: MomentOptions,

    /// How a recording is read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// Which part of the report.
    #[command(flatten)]
    pub select: SelectOptions,

    /// How the JSON is written.
    #[command(flatten)]
    pub json: JsonOptions,
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

    /// Put groups below the call paths: owner, module, segment, kind, cause, …
    #[arg(long, value_name = "KEY,…", value_delimiter = ',', value_parser = answer::key)]
    pub by: Vec<By>,

    /// Put callees below their callers
    #[arg(long)]
    pub reverse: bool,

    /// Read rules for owner frames from FILE, before those that rmap brings along
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub rules: Option<PathBuf>,

    /// Which moments of a recording.
    #[command(flatten)]
    pub moments: MomentOptions,

    /// How a recording is read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// Which part of the report.
    #[command(flatten)]
    pub select: SelectOptions,
}

/// Runs `rmap export`.
///
/// # Errors
/// What could not be read or written.
pub fn export(options: &ExportOptions) -> anyhow::Result<()> {
    let of = options.of.of_pages();
    let listing = options.select.listing();
    let (rules, schema) = (options.json.rules()?, options.json.schema());
    let source = Source {
        file: &options.file,
        moments: &options.moments,
        reading: &options.reading,
        select: &options.select,
        output: options.output.as_ref(),
    };
    if options.format == Format::Perfetto {
        return source.trace();
    }
    source.convert(|report, out| match options.format {
        Format::Json => {
            let mut report = report.clone();
            growth::judge(&mut report, &rules);
            json::write(&report, &rules, schema, out)
        }
        Format::Folded => match of {
            Some(of) => folded::write(report, of, listing, out),
            None => folded::write_live(report, out),
        },
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
    let listing = options.select.listing();
    let source = Source {
        file: &options.file,
        moments: &options.moments,
        reading: &options.reading,
        select: &options.select,
        output: options.output.as_ref(),
    };
    let Some(of) = options.of.of_pages() else {
        ensure!(
            options.by.is_empty() && !options.reverse,
            "cannot draw live blocks in groups, nor reversed: leave --by and --reverse out"
        );
        return source.convert(flame::write_live);
    };
    if options.by.is_empty() && !options.reverse {
        return source.convert(|report, out| flame::write(report, of, listing, out));
    }
    ensure!(
        !options.by.contains(&By::Function),
        "cannot draw by function: a function's bytes include what it called, so boxes would overlap; \
         use owner, or --reverse"
    );
    ensure!(
        options.of != Weight::Touched,
        "cannot draw touched memory in groups: much of it is in no segment; use --of resident"
    );
    let rules = answer::rules(options.rules.as_deref())?;
    let boxes = Boxes { by: options.by.clone(), reverse: options.reverse };
    source.convert(|report, out| flame::write_grouped(report, &rules, of, &boxes, out))
}

/// What is read, which part of it is meant, and where it goes.
struct Source<'a> {
    file: &'a Path,
    moments: &'a MomentOptions,
    reading: &'a ReadingOptions,
    select: &'a SelectOptions,
    output: Option<&'a PathBuf>,
}

impl Source<'_> {
    fn convert(
        &self,
        write: impl FnOnce(&Report, &mut dyn io::Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        self.output.map_or(Ok(()), |path| save::check(path))?;
        let progress = Progress::start("reading the report");
        let reading = self.reading.reading(self.moments.asked())?;
        let loaded = input::load(self.file, &reading)?;
        drop(progress);
        reading::remark(&loaded, self.file);
        let report = self.select.selection().of(loaded.report)?;
        let _progress = Progress::start("writing");
        put(self.output, |out| write(&report, out))
    }

    /// The trace: of a recording, since a report does not tell how things came about.
    fn trace(&self) -> anyhow::Result<()> {
        self.output.map_or(Ok(()), |path| save::check(path))?;
        let progress = Progress::start("reading the recording");
        ensure!(
            !self.moments.is_given(),
            "a trace shows the whole session in time: leave --at and --window out"
        );
        let reading = self.reading.reading(Asked::default())?;
        let (loaded, course) = input::load_course(self.file, &reading)?;
        drop(progress);
        reading::remark(&loaded, self.file);
        let (report, course) = perfetto::part(loaded.report, course, &self.select.selection())?;
        let _progress = Progress::start("writing");
        put(self.output, |out| perfetto::write(&report, &course, self.select.listing(), out))
    }
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
