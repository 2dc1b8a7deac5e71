//! Where a report goes: the table to a stream or a file, the JSON beside it.
//!
//! Comes in: a [`Report`] and what was asked for. Goes out: text. Here the terminal is asked for
//! its width and for whether it wants colours; the views know nothing of it.

use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{ArgAction, Args};

use super::answer::AnswerOptions;
use super::save;
use super::select::SelectOptions;
use crate::insight::Parts;
use crate::insight::heap::held;
use crate::report::Report;
use crate::view::page::Moment;
use crate::view::screen::{Ask, End};
use crate::view::{
    DEFAULT_PROCESSES, DEFAULT_SHORT, DEFAULT_TOP, Style, columns, json, page, screen, table,
};

/// Columns of a terminal that does not tell how many it has.
const USUAL_WIDTH: usize = 80;

/// Options of every command that makes a report.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputOptions {
    /// Write the table to FILE
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write the report as JSON to FILE (`-` is stdout)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the report as a page for a browser to FILE
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// The recording, which the page's commands name.
    #[arg(skip)]
    pub source: Option<PathBuf>,

    /// Show whole stacks; twice: the probes' messages too
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Which part of it, and how it is listed.
    #[command(flatten)]
    pub select: SelectOptions,

    /// Which answer.
    #[command(flatten)]
    pub answer: AnswerOptions,
}

/// The stream that the table goes to if no file is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// For `run`, where stdout is the command's.
    Stderr,
    /// For commands that have stdout for themselves.
    Stdout,
}

impl OutputOptions {
    /// Says early what could not be written in the end.
    ///
    /// # Errors
    /// A file that could not be made.
    pub fn check(&self) -> anyhow::Result<()> {
        let json = self.json.as_deref().filter(|path| !is_stdout(path));
        let files = self.output.as_deref().into_iter().chain(json).chain(self.html.as_deref());
        files.into_iter().try_for_each(save::check)?;
        self.answer.json.rules().map(|_| ())
    }

    /// Prints the table of the part of a report that is meant and, if asked for, its JSON. Both are
    /// attempted, whatever becomes of the other one. A reader that has gone is no error. `peak`: the
    /// report at the session's peak, which the first screen leads with.
    ///
    /// # Errors
    /// Nothing of the report is meant; or the first file or stream that could not be written.
    pub fn print(
        &self,
        report: &Report,
        peak: Option<&Report>,
        stream: Stream,
    ) -> anyhow::Result<()> {
        self.print_with_moments(report, peak, &[], stream)
    }

    /// The same; the page has the reports of the moments `between` too.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_with_moments(
        &self,
        report: &Report,
        peak: Option<&Report>,
        between: &[Report],
        stream: Stream,
    ) -> anyhow::Result<()> {
        let end = End::of(report);
        // A part that is there at the end alone is shown as it is there.
        let peak = peak.and_then(|peak| self.select.part(peak).ok());
        let (selection, report) = (self.select.selection(), &*self.select.part(report)?);
        let rules = self.answer.json.rules()?;
        let ask = Ask {
            by: self.answer.by.clone(),
            tree: self.answer.direction(),
            height: height(stream),
            no_advice: self.answer.no_advice,
            top: self.select.top.map(|_| self.select.rows(None)),
            course: screen::course(report),
            end: peak.is_some().then_some(end),
            held: held(&Parts::of(report, &rules)),
        };
        let full = self.answer.full || self.verbose > 0;
        let table = |style, out: &mut dyn Write| {
            if !selection.is_all() {
                selection.write_note(style, out)?;
            }
            if full {
                return table::write(report, style, out);
            }
            if !self.answer.columns.is_empty() {
                return columns::write(report, &self.answer.columns, style, out);
            }
            screen::write(peak.as_deref().unwrap_or(report), &rules, &ask, style, out)
        };
        let printed = self.print_with(stream, &table, &|out| {
            json::write(report, &rules, self.answer.json.schema(), out)
        });
        let page = self.html.as_deref().map_or(Ok(()), |path| {
            let parts: Vec<_> =
                between.iter().filter_map(|report| self.select.part(report).ok()).collect();
            let peak = peak.as_deref().map(|report| Moment { name: "peak", report });
            let between = parts.iter().map(|report| Moment { name: "between", report });
            let end = Moment { name: "end", report };
            let moments: Vec<Moment<'_>> = peak.into_iter().chain([end]).chain(between).collect();
            let source = self.source.as_deref().map(Path::to_string_lossy);
            save::save(path, |out| page::write(&moments, source.as_deref(), &rules, out))
        });
        both(printed, page)
    }

    /// The same for whatever has a table and a JSON.
    ///
    /// # Errors
    /// The first file or stream that could not be written.
    pub fn print_with(
        &self,
        stream: Stream,
        table: &dyn Fn(Style, &mut dyn Write) -> io::Result<()>,
        json: &dyn Fn(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let table = self.print_table(stream, table);
        let json = match self.json.as_deref() {
            None => Ok(()),
            Some(path) if is_stdout(path) => {
                to_stream(io::stdout().lock(), json).context("cannot write the JSON to stdout")
            }
            Some(path) => save::save(path, json),
        };
        both(table, json)
    }

    fn print_table(
        &self,
        stream: Stream,
        table: &dyn Fn(Style, &mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        if let Some(path) = &self.output {
            let style = self.style(None, false);
            return save::save(path, |out| table(style, out));
        }
        match stream {
            // A stdout that JSON was asked for has no table in it.
            Stream::Stdout if self.json.as_deref().is_some_and(is_stdout) => Ok(()),
            Stream::Stderr => {
                let style = self.style_of(&io::stderr());
                to_stream(io::stderr().lock(), |out| table(style, out))
                    .context("cannot write the report to stderr")
            }
            Stream::Stdout => {
                let style = self.style_of(&io::stdout());
                to_stream(io::stdout().lock(), |out| table(style, out))
                    .context("cannot write the report to stdout")
            }
        }
    }

    /// The style for a stream: a terminal has a width and, unless refused, colours.
    fn style_of(&self, stream: &(impl IsTerminal + AsFd)) -> Style {
        if !stream.is_terminal() {
            return self.style(None, false);
        }
        let width = terminal_size::terminal_size_of(stream).map_or(0, |(width, _)| width.0);
        let width = if width == 0 { USUAL_WIDTH } else { width.into() };
        self.style(Some(width), colour_is_wanted())
    }

    fn style(&self, width: Option<usize>, colour: bool) -> Style {
        let verbose = self.verbose > 0;
        Style {
            width,
            colour,
            sort: self.select.order(),
            top: self.select.rows(Some(DEFAULT_TOP)),
            short: self.select.rows(Some(if verbose { DEFAULT_TOP } else { DEFAULT_SHORT })),
            processes: (!verbose).then_some(DEFAULT_PROCESSES),
            verbose,
        }
    }
}

/// What failed of two attempts.
fn both(first: anyhow::Result<()>, second: anyhow::Result<()>) -> anyhow::Result<()> {
    match (first, second) {
        (Err(first), Err(second)) => Err(anyhow::anyhow!("{first:#}; {second:#}")),
        (first, second) => first.and(second),
    }
}

/// Lines of the terminal that a stream goes to; `None` if it is none, or does not tell.
fn height(stream: Stream) -> Option<usize> {
    let size = match stream {
        Stream::Stderr => terminal_size::terminal_size_of(io::stderr()),
        Stream::Stdout => terminal_size::terminal_size_of(io::stdout()),
    };
    size.map(|(_, height)| usize::from(height.0)).filter(|height| *height > 0)
}

/// Whether the environment of a terminal asks for colours.
pub(super) fn colour_is_wanted() -> bool {
    let no_color = std::env::var_os("NO_COLOR");
    let term = std::env::var_os("TERM");
    wants_colour(no_color.as_deref(), term.as_deref())
}

/// <https://no-color.org>: set and not empty means no. Terminals without escapes call themselves
/// `dumb`, or nothing.
fn wants_colour(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_some_and(|term| term != "dumb")
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn to_stream(
    stream: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(stream);
    let result = write(&mut out).and_then(|()| out.flush());
    // Not once more when it is dropped.
    let _ = out.into_parts();
    save::unless_gone(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_those_who_want_it() {
        let os = |text| Some(OsStr::new(text));
        assert!(wants_colour(None, os("xterm")));
        assert!(wants_colour(os(""), os("xterm")));
        assert!(!wants_colour(os("1"), os("xterm")));
        assert!(!wants_colour(None, os("dumb")));
        assert!(!wants_colour(None, None));
    }

    #[test]
    fn a_json_that_fails_keeps_no_table_back() {
        let report = include_str!("../../tests/view/golden/empty.json");
        let report: Report = serde_json::from_str(report).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let table = directory.path().join("table.txt");
        let options = OutputOptions {
            output: Some(table.clone()),
            json: Some("/dev/full".into()),
            ..OutputOptions::default()
        };
        options.check().unwrap();
        let error = format!("{:#}", options.print(&report, None, Stream::Stderr).unwrap_err());
        assert!(error.starts_with("cannot write /dev/full: "), "{error}");
        assert!(!error.contains('\n'));
        assert!(std::fs::read_to_string(&table).unwrap().contains("Lost 0."));

        let json = directory.path().join("report.json");
        let options = OutputOptions { json: Some(json.clone()), ..options };
        options.print(&report, None, Stream::Stderr).unwrap();
        let written = std::fs::read_to_string(&json).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&written).unwrap(), report);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(to_stream(Gone, |out| out.write_all(&[0; 100_000])).is_ok());
    }
}
