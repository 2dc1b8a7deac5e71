//! The command `view`: a recording or a JSON report in the terminal, moment by moment.
//!
//! Comes in: a file, keys. Goes out: pictures. Reports are read on a thread of their own, so that keys
//! count while a moment is read.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::Context as _;
use clap::Args;

use super::progress::Progress;
use super::reading::{self, ReadingOptions};
use super::{report_out, save};
use crate::input;
use crate::insight::{Rules, naming};
use crate::replay::{self, Wanted};
use crate::report::{Asked, At, Report, merge_stacks};
use crate::tui::course::Course;
use crate::tui::terminal::{Driver, Screen};
use crate::tui::{Ask, Mode, Moment, State, Update};
use crate::view::page;
use crate::view::select::Selection;
use crate::view::{self, Style};

/// Reports of moments that are kept.
const KEPT: usize = 64;
/// Columns of a segment's history.
const HISTORY_WIDTH: usize = 78;

/// The arguments of `rmap view`.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: ? help, Left Right moments, 1-4 rows, / filter, m mark, q end.",
    after_long_help = "\
Owners, segments, processes and the tree of calls, at any moment of the session: Left and Right go \
from one to the next, [ and ] to those with a name (marks, the peak, start, end). It begins at the \
peak where the end is below 80 % of it. m marks a moment: the column Since then shows what came, or \
went, from there to the moment that is shown. docs/top.md has all keys.

Example:  rmap run --record prog.rmap -- ./prog; rmap view prog.rmap"
)]
pub struct ViewOptions {
    /// A recording (rmap run --record), or a report (--json)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// How a recording is read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// Read rules for owner frames from FILE, before those that rmap brings along
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub rules: Option<PathBuf>,
}

/// Shows a file until somebody ends it.
///
/// # Errors
/// The file cannot be read, or there is no terminal.
pub fn view(options: &ViewOptions) -> anyhow::Result<ExitCode> {
    let rules = super::answer::rules(options.rules.as_deref())?;
    let progress = Progress::start("reading the recording");
    let loaded = input::load(&options.file, &options.reading.reading(Asked::default())?)?;
    drop(progress);
    reading::remark(&loaded, &options.file);
    let course = Course::of(&loaded.report);
    let moments = moments(&loaded.report, &course);
    let end = moments.len().saturating_sub(1);
    let peak = loaded.report.session.peak.map(|peak| peak.at_ns);
    let first = match (&loaded.peak, peak) {
        (Some(_), Some(at_ns)) => moments.iter().position(|m| m.at_ns == at_ns).unwrap_or(end),
        _ => end,
    };
    let mut known = vec![(end, Arc::new(loaded.report))];
    known.extend(loaded.peak.map(|peak| (first, Arc::new(peak))));
    let shown = known.last().map(|(_, report)| Arc::clone(report));
    let mut state = State::new(Mode::File, report_out::colour_is_wanted(), rules.clone());
    state.take(Update::Moments(moments.clone(), first, course));
    shown.into_iter().for_each(|report| state.take(Update::Report(report)));

    let (jobs, todo) = mpsc::channel();
    let (sender, updates) = mpsc::channel();
    let file = options.file.clone();
    let reader = Reader { reading: options.reading.clone(), file, moments, known, rules };
    thread::Builder::new()
        .name("rmap-reader".into())
        .spawn(move || reader.serve(&todo, &sender))
        .context("cannot start a thread")?;
    let mut screen = Screen::enter().with_context(|| {
        format!("cannot show {} in a terminal; try rmap report", options.file.display())
    })?;
    screen.run(&mut state, &updates, &mut Wishes { jobs }).context("cannot use the terminal")?;
    Ok(ExitCode::SUCCESS)
}

/// Every moment that can be gone to, in the order of time: those of the timeline, the marks, the peak,
/// the end.
fn moments(report: &Report, course: &Course) -> Vec<Moment> {
    let of = |at_ns: u64, name: &str| Moment { at_ns, name: name.to_owned() };
    let session = &report.session;
    let end = session.at_ns.unwrap_or(session.duration_ns);
    let mut all: Vec<Moment> = course.points().iter().map(|point| of(point.at_ns, "")).collect();
    if let Some(first) = all.first_mut() {
        first.name = "start".to_owned();
    }
    all.extend(session.marks.iter().map(|mark| of(mark.at_ns, &mark.name)));
    all.extend(session.peak.iter().map(|peak| of(peak.at_ns, "peak")));
    all.retain(|moment| moment.at_ns < end);
    all.push(of(end, "end"));
    // Of moments of one time those with a name stay.
    all.sort_by_key(|moment| (moment.at_ns, moment.name.is_empty()));
    all.dedup_by(|later, first| later.at_ns == first.at_ns && later.name.is_empty());
    all
}

/// What is asked of the file.
enum Job {
    Moment(usize),
    Explain { pid: u32, start: u64, end: u64 },
    Write(Arc<Report>),
}

/// Hands wishes to the reader.
struct Wishes {
    jobs: Sender<Job>,
}

impl Driver for Wishes {
    fn ask(&mut self, state: &mut State, ask: Ask) -> bool {
        let job = match ask {
            Ask::Quit => return false,
            Ask::Moment(number) => Some(Job::Moment(number)),
            Ask::Explain { pid, start, end } => Some(Job::Explain { pid, start, end }),
            Ask::Write => state.report().map(|report| Job::Write(Arc::clone(report))),
            Ask::Mark(_) => None,
        };
        job.is_none_or(|job| self.jobs.send(job).is_ok())
    }
}

/// Reads the file again and again.
struct Reader {
    file: PathBuf,
    reading: ReadingOptions,
    moments: Vec<Moment>,
    /// Reports that were read, the last one behind the others.
    known: Vec<(usize, Arc<Report>)>,
    rules: Rules,
}

impl Reader {
    fn serve(mut self, todo: &Receiver<Job>, updates: &Sender<Update>) {
        while let Ok(job) = todo.recv() {
            let mut jobs = vec![job];
            jobs.extend(todo.try_iter());
            // Of moments the last one counts: whoever holds a key down has passed the others.
            let last = jobs.iter().rposition(|job| matches!(job, Job::Moment(_)));
            for (at, job) in jobs.into_iter().enumerate() {
                if matches!(job, Job::Moment(_)) && Some(at) != last {
                    continue;
                }
                let update = self.answer(job).unwrap_or_else(|e| Update::Failed(format!("{e:#}")));
                if updates.send(update).is_err() {
                    return;
                }
            }
        }
    }

    fn answer(&mut self, job: Job) -> anyhow::Result<Update> {
        match job {
            Job::Moment(number) => self.moment(number).map(Update::Report),
            Job::Explain { pid, start, end } => self.explain(pid, start, end),
            Job::Write(report) => {
                let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
                let path = PathBuf::from(page_name(&stem, &report));
                write_page(&path, &report, self.file.to_str(), &self.rules)
            }
        }
    }

    fn moment(&mut self, number: usize) -> anyhow::Result<Arc<Report>> {
        if let Some((_, report)) = self.known.iter().find(|(known, _)| *known == number) {
            return Ok(Arc::clone(report));
        }
        let at_ns = self.moments.get(number).map_or(0, |moment| moment.at_ns);
        let reading = self.reading.reading(Asked::State(At::Time(at_ns)))?;
        let mut report = replay::load(&self.file, &reading)?.report;
        merge_stacks(&mut report);
        naming::name_segments(&mut report);
        let report = Arc::new(report);
        if self.known.len() >= KEPT {
            // The end, and the peak, stay.
            self.known.remove(self.known.len().min(2));
        }
        self.known.push((number, Arc::clone(&report)));
        Ok(report)
    }

    fn explain(&self, pid: u32, start: u64, end: u64) -> anyhow::Result<Update> {
        let selection = Selection {
            processes: vec![pid.to_string()],
            segments: vec![format!("{start:x}-{end:x}"), format!("0x{start:x}")],
        };
        let wanted = Wanted {
            process: &|process| selection.means_process(process),
            segment: &|segment| selection.means_segment(segment),
        };
        let explained =
            replay::explain(&self.file, wanted, &self.reading.reading(Asked::default())?)?;
        let style = Style { width: Some(HISTORY_WIDTH), ..Style::default() };
        let mut text = Vec::new();
        view::explain::write(&explained.explanation, style, &mut text)?;
        let text = String::from_utf8_lossy(&text);
        let title = format!("History of {start:x}-{end:x} of process {pid}, to the end");
        Ok(Update::Text(title, text.lines().map(str::to_owned).collect()))
    }
}

/// A page's name in the folder where rmap was called.
pub(super) fn page_name(stem: &str, report: &Report) -> String {
    let at_ns = report.session.at_ns.unwrap_or(report.session.duration_ns);
    format!("{stem}-{}.{:03}s.html", at_ns / 1_000_000_000, at_ns / 1_000_000 % 1000)
}

/// Writes the page of a report.
pub(super) fn write_page(
    path: &Path,
    report: &Report,
    source: Option<&str>,
    rules: &Rules,
) -> anyhow::Result<Update> {
    let moments = [page::Moment { name: "shown", report }];
    let write = |out: &mut dyn io::Write| page::write(&moments, source, rules, out);
    save::save(path, write)?;
    Ok(Update::Done(format!("written: {}", path.display())))
}
