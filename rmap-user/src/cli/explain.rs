//! The command `explain`: the story of a segment, from a recording or of a process that runs.
//!
//! A process that runs is watched into a recording first, which has no name and is gone with rmap
//! unless it is to be kept; so both are told by the same code.

use std::ffi::OsString;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::pmap;
use super::progress::Progress;
use super::reading::{self, ReadingOptions};
use super::report_out::{OutputOptions, Stream};
use super::seconds::seconds;
use super::watch::LookOptions;
use crate::live::session::{self, AttachSettings, Target, Watch};
use crate::replay::{self, Explained, Wanted};
use crate::report::{self, Asked};
use crate::view::{self, select::Selection};

/// The arguments of `rmap explain`.
#[derive(Debug, Args)]
#[command(
    mut_arg("interval", |arg| of_watching(arg, "While watching look at the memory every SECS seconds too")),
    mut_arg("html", |arg| arg.hide(true)),
    mut_arg("record", |arg| of_watching(arg, "Keep what was watched in FILE, for other commands")),
    override_usage = "rmap explain [OPTIONS] FILE SEGMENT\n       rmap explain [OPTIONS] -p PID SEGMENT",
    after_help = "Example:  rmap explain prog.rmap '[heap]'",
    after_long_help = "\
Times are counted from the start of the session. What code paths made resident or dirty, what was \
given back and what was moved adds up to what the snapshots show; `=` marks the sizes of a snapshot. \
A segment that is no longer there is told of too, if it was in a snapshot or an address in it is \
given. Of more than 64 segments the largest 64 are told of. With -p PID the segment must be there \
when rmap comes, and the process stands still at the start and at the end for a moment, as with rmap \
attach; what it held before is before-attach. docs/report.md describes everything."
)]
pub struct ExplainOptions {
    /// A recording (rmap run --record); with -p the segment
    #[arg(value_name = "FILE")]
    pub first: OsString,

    /// Its name, an address in it (0x…), START-END
    #[arg(
        value_name = "SEGMENT",
        required_unless_present = "pid",
        help = "Its name ([heap], libc.so.6), an address in it (0x…), START-END"
    )]
    pub second: Option<String>,

    /// Watch this process, and tell of it
    #[arg(
        short,
        long = "pid",
        value_name = "PID",
        conflicts_with = "second",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub pid: Option<u32>,

    /// Watch for SECS seconds, not until it ends or Ctrl-C
    #[arg(
        short,
        long,
        value_name = "SECS",
        requires = "pid",
        conflicts_with = "second",
        value_parser = seconds
    )]
    pub duration: Option<Duration>,

    /// When it is looked at, and what is kept of that.
    #[command(flatten)]
    pub look: LookOptions,

    /// How the recording is read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// Where the story goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// An option that goes with a process, not with a recording.
fn of_watching(arg: clap::Arg, help: &'static str) -> clap::Arg {
    arg.requires("pid").conflicts_with("second").hide_short_help(true).help(help)
}

/// Tells the story.
///
/// # Errors
/// What was attempted and did not succeed.
pub fn explain(options: &ExplainOptions) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        options.output.html.is_none(),
        "--html writes a page of a whole report: rmap report FILE --html PAGE"
    );
    options.output.check()?;
    match (options.pid, &options.second) {
        (Some(pid), _) => live(options, pid)?,
        (None, Some(segment)) => {
            let file = Path::new(&options.first);
            tell(options, segment, file, &file.display().to_string())?;
        }
        (None, None) => anyhow::bail!("give a recording and a segment, or a process with -p PID"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A segment that is not there when rmap comes is more often one that was mistyped than one that
/// comes later, and nobody wants to learn that when the watching is over.
fn must_be_there(pid: u32, segment: &str, selection: &Selection) -> anyhow::Result<()> {
    // Why a process cannot be read is told by who attaches.
    let Ok(segments) = pmap::segments(pid) else { return Ok(()) };
    let is_there = segments.iter().any(|shown| {
        let segment = report::Segment::of_addresses(&(shown.start..shown.end), &shown.name);
        selection.means_segment(&segment)
    });
    anyhow::ensure!(
        is_there || segments.is_empty(),
        "process {pid} has no segment {segment}, so it is not watched; of one that comes later tell \
         rmap attach -p {pid} --record FILE, then rmap explain FILE {segment}"
    );
    Ok(())
}

/// Watches a process, and tells of it then.
fn live(options: &ExplainOptions, pid: u32) -> anyhow::Result<()> {
    let segment = options.first.to_str().context("the segment's name is no UTF-8")?;
    must_be_there(pid, segment, &selection(options, segment))?;
    let unnamed;
    options.look.check()?;
    let path = match &options.look.record {
        Some(path) => path.clone(),
        None => {
            unnamed =
                tempfile::tempfile().context("cannot make a temporary file to record into")?;
            PathBuf::from(format!("/proc/self/fd/{}", unnamed.as_raw_fd()))
        }
    };
    let settings = AttachSettings {
        target: Target::Processes(vec![pid]),
        duration: options.duration,
        watch: Watch {
            follow: false,
            interval: options.look.interval,
            record: Some(path.clone()),
            verbose: options.output.verbose > 1,
            python: true,
            ..Watch::default()
        },
    };
    let mut progress = None;
    let outcome = session::attach(&settings, || {
        progress = Some(Progress::start("naming code paths"));
    })?;
    drop(progress);
    if let Some(error) = outcome.record_error {
        return Err(anyhow::Error::new(error).context("what was watched could not be kept whole"));
    }
    tell(options, segment, &path, &format!("what was watched of process {pid}"))
}

/// What is meant: the segment, and what `--segment` and `--process` say.
fn selection(options: &ExplainOptions, segment: &str) -> Selection {
    let mut selection = options.output.select.selection();
    selection.segments.push(segment.to_owned());
    selection
}

/// Tells of what is in a recording.
fn tell(options: &ExplainOptions, segment: &str, file: &Path, called: &str) -> anyhow::Result<()> {
    let selection = selection(options, segment);
    let progress = Progress::start("reading the recording");
    let wanted = Wanted {
        process: &|process| selection.means_process(process),
        segment: &|segment| selection.means_segment(segment),
    };
    let reading = options.reading.reading(Asked::default())?;
    let Explained { explanation, cut_at, notes } = replay::explain(file, wanted, &reading)
        .with_context(|| format!("cannot explain {segment} from {called}"))?;
    drop(progress);
    reading::remark_on(cut_at, &notes, called);
    options.output.print_with(
        Stream::Stdout,
        &|style, out| view::explain::write(&explanation, style, out),
        &|out| view::explain::write_json(&explanation, out),
    )
}
