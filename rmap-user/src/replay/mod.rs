//! A recording becomes a report: its inputs go into a [`Session`], as they did live.
//!
//! Comes in: a recording, from anybody. Goes out: the report that the session itself made, byte for
//! byte; from a recording that was cut off, the report up to there, which says so among its probes.
//! Names that a recording lacks are looked for by build id on this machine.
//!
//! * `survey`: where in it the moments are; `binaries`: files by the recording's word;
//! * `course`: how sizes moved and faults came, for a trace; `explain`: the history of segments.

mod binaries;
mod course;
mod explain;
#[cfg(test)]
mod hostile_tests;
mod survey;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::recording::read::{Visitor, arch, damaged, walk};
use crate::recording::varint::Bad;
use crate::recording::{Ending, Error, Opening, frame};
use crate::report::course::Course;
use crate::report::{Asked, At, Host, Mode, Probe, Report};
use crate::session::names::{Named, name};
use crate::session::{Closing, Findings, Question, Session};
use crate::symbol::Folders;
use crate::trace::Input;

use binaries::Shared;
use course::Collector;

pub use explain::{Explained, Wanted, explain, explain_from};

/// What a recording holds.
#[derive(Debug)]
pub struct Loaded {
    /// The report of the state that was asked for.
    pub report: Report,
    /// The report at the session's peak, where that is far above the end.
    pub peak: Option<Report>,
    /// The recording ends at this byte, before the session did.
    pub cut_at: Option<u64>,
    /// Frames of kinds that this version does not know.
    pub skipped: u64,
    /// What a person should know of how symbols were looked for.
    pub notes: Vec<String>,
}

/// How a recording is read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// What is asked for.
    pub asked: Asked,
    /// Where symbols are looked for that it lacks.
    pub symbols: Arc<Folders>,
}

/// Reads a recording: once to find the moments, and once more for the states there. What can be read
/// only once has the report of its end alone, without its peak.
///
/// # Errors
/// What is wrong with the file, and where; or it has no such state.
pub fn load(path: &Path, reading: &Reading) -> Result<Loaded, Error> {
    let again = File::open(path)?.metadata()?.is_file();
    let open = || Ok::<_, Error>(BufReader::new(File::open(path)?));
    if !again {
        if reading.asked != Asked::default() {
            let why = "the state before the end is found by reading it twice: give a regular file";
            return Err(Error::NotThere(why.to_owned()));
        }
        let plan = Plan { symbols: Arc::clone(&reading.symbols), ..Plan::default() };
        return guarded(|at| Ok(play(open()?, plan, at)?.load()));
    }
    load_from(&open, reading)
}

/// The same from any bytes that can be read again and again.
fn load_from<R: Read>(
    open: &dyn Fn() -> Result<R, Error>,
    reading: &Reading,
) -> Result<Loaded, Error> {
    let mut plan = Plan { symbols: Arc::clone(&reading.symbols), ..Plan::default() };
    let end = reading.asked == Asked::default();
    let peak = reading.asked.moments().any(|at| *at == At::Peak);
    let mut first = None;
    if end || peak {
        first = Some(guarded(|at| play(open()?, Plan::default(), at))?);
    }
    match first.as_mut().filter(|_| end) {
        Some(first) => plan.question = first.session_moments(),
        None => {
            let peak = first.map(|mut first| first.session.peak()).unwrap_or_default();
            plan.question = guarded(|at| survey::question(open()?, &reading.asked, peak, at))?;
            plan.at_state = !plan.question.states.is_empty();
        }
    }
    guarded(|at| Ok(play(open()?, plan, at)?.load()))
}

/// Reads a recording up to its end, and the course of its session too.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn load_course(path: &Path, reading: &Reading) -> Result<(Loaded, Course), Error> {
    let again = File::open(path)?.metadata()?.is_file();
    let open = || Ok::<_, Error>(BufReader::new(File::open(path)?));
    let mut plan = Plan { symbols: Arc::clone(&reading.symbols), ..Plan::default() };
    if again {
        plan.question = guarded(|at| play(open()?, Plan::default(), at))?.session_moments();
    }
    let (played, course) = guarded(|at| play_course(open()?, plan, at))?;
    Ok((played.load(), course))
}

/// Reads one from a source that can be read only once: without its peak.
///
/// # Errors
/// As [`read`].
pub fn read_once(from: impl Read) -> Result<Loaded, Error> {
    guarded(|at| Ok(play(from, Plan::default(), at)?.load()))
}

/// Reads one from bytes.
///
/// # Errors
/// What is wrong with the bytes, and where.
pub fn read(from: &[u8]) -> Result<Loaded, Error> {
    load_from(&|| Ok(from), &Reading::default())
}

/// The last resort: what is checked should leave nothing on which the model fails.
fn guarded<T>(work: impl FnOnce(&mut u64) -> Result<T, Error>) -> Result<T, Error> {
    let mut at = 0;
    let done = catch_unwind(AssertUnwindSafe(|| work(&mut at)));
    done.unwrap_or_else(|_| Err(damaged(at, "it holds what cannot be")))
}

/// For fuzzing: any bytes are a report or an error.
pub fn fuzz_entry(bytes: &[u8]) {
    let mut at = 0;
    let played = play_course(bytes, Plan { single: true, ..Plan::default() }, &mut at);
    let played = played.map(|(played, _)| played);
    let joined = play(bytes, Plan::default(), &mut at);
    assert_eq!(
        joined.as_ref().map(|played| &played.findings.report).map_err(ToString::to_string),
        played.as_ref().map(|played| &played.findings.report).map_err(ToString::to_string),
        "runs of faults mean what their faults mean"
    );
    let first = played.as_ref().ok().and_then(|played| {
        let mut segments = played.findings.report.processes.iter().flat_map(|p| &p.segments);
        segments.next().map(|segment| segment.start)
    });
    let _ = played.map(Played::load);
    if let Some(start) = first {
        let wanted = Wanted { process: &|_| true, segment: &|segment| segment.start == start };
        let _ = explain_from(&|| Ok(bytes), wanted, &Reading::default());
    }
    let window = Asked::Window(At::Time(1000), At::Peak);
    for asked in [Asked::State(At::Peak), Asked::State(At::Time(1000)), window] {
        let _ = load_from(&|| Ok(bytes), &Reading { asked, ..Reading::default() });
    }
}

/// For fuzzing: any inputs in any order, as a batch of a recording has them, are a report of which
/// the sums are right, or an error.
pub fn fuzz_session(batch: &[u8]) {
    let opening = Opening {
        rmap_version: String::new(),
        mode: Mode::Run,
        host: Host::default(),
        started_ns: 0,
        started_at: String::new(),
        command: None,
        pids: Vec::new(),
    };
    let Ok(opening) = serde_json::to_vec(&opening) else { return };
    let frames = [(frame::OPENING, opening.as_slice()), (frame::BATCH, batch)];
    let mut file = frame::head().to_vec();
    for ((kind, bytes), number) in frames.into_iter().zip(0..) {
        file.extend(frame::encode(kind, number, bytes).unwrap_or_default());
    }
    fuzz_entry(&file);
}

/// How a recording is played.
#[derive(Debug, Default)]
struct Plan {
    /// What is asked for besides the end.
    question: Question,
    /// The report is that of the one state in the question, and nothing that comes later is played.
    at_state: bool,
    /// Where symbols are looked for that it lacks.
    symbols: Arc<Folders>,
    /// Each fault is applied for itself, for comparison.
    single: bool,
}

/// A session that was played to its end, or to a moment.
struct Played {
    /// What was found; its stacks have no names.
    findings: Findings,
    /// The same at the peak.
    peak: Option<Findings>,
    session: Session,
    symbols: Arc<Folders>,
    /// On `CLOCK_MONOTONIC`.
    ended_ns: u64,
    /// As [`Loaded::cut_at`].
    cut_at: Option<u64>,
    skipped: u64,
}

impl Played {
    /// The report, with names.
    fn load(self) -> Loaded {
        let (cut_at, skipped) = (self.cut_at, self.skipped);
        let modules = self.session.modules();
        let Named { report, peak, notes, .. } =
            name(self.findings, self.peak, &[], modules, &*self.symbols);
        Loaded { report, peak, cut_at, skipped, notes }
    }

    /// The moments that the report of the same session shows.
    fn session_moments(&mut self) -> Question {
        self.session.moments_of(self.ended_ns)
    }
}

/// Plays a recording.
fn play(from: impl Read, plan: Plan, place: &mut u64) -> Result<Played, Error> {
    play_beside(from, plan, place, |_, _| {})
}

/// Plays a recording, and gathers its course.
fn play_course(from: impl Read, plan: Plan, place: &mut u64) -> Result<(Played, Course), Error> {
    let mut collector: Option<Collector> = None;
    let played = play_beside(from, plan, place, |input, opening| {
        let new = || Collector::new(opening.started_ns);
        collector.get_or_insert_with(new).input(input);
    })?;
    let findings = &played.findings;
    let course = collector.map(|course| course.finish(&findings.report, &findings.stacks));
    Ok((played, course.unwrap_or_default()))
}

/// Plays a recording, and shows `beside` every input.
fn play_beside(
    from: impl Read,
    plan: Plan,
    place: &mut u64,
    beside: impl FnMut(&Input, &Opening),
) -> Result<Played, Error> {
    let Plan { question, at_state, symbols, single } = plan;
    let end = question.states.first().map(|(number, _)| *number).filter(|_| at_state);
    let begin = |opening: &Opening| {
        let (mode, started_ns) = (opening.mode, opening.started_ns);
        let binaries = Shared::default();
        let files = Box::new(binaries.clone());
        Replay {
            session: Session::new(arch(opening), mode, started_ns, question, files),
            binaries,
            opening: opening.clone(),
            first_pid: None,
            end,
            single,
            beside,
        }
    };
    let (replay, around) = walk(from, place, begin)?;
    let Replay { mut session, binaries, first_pid, .. } = replay;
    let cut_at = (around.cut || around.ending.is_none()).then_some(around.end);
    let opening = around.opening;
    let mut ending = around.ending.unwrap_or_else(|| Ending {
        pids: match first_pid {
            Some(pid) if opening.pids.is_empty() => vec![pid],
            _ => opening.pids.clone(),
        },
        ended_ns: session.last_ns(),
        exit: None,
        probes: Vec::new(),
        cgroup: None,
        oom: Vec::new(),
        packages: Vec::new(),
    });
    if at_state {
        ending.exit = None;
        ending.cgroup = None;
    }
    if let Some(at) = cut_at {
        let why =
            format!("it ends at byte {at}, before the session did; what came later is not known");
        ending.probes.push(note(why));
    }
    if around.skipped > 0 {
        let skipped = around.skipped;
        ending.probes.push(note(format!("{skipped} frames of unknown kinds were skipped")));
    }
    binaries.name_all();
    let ended_ns = ending.ended_ns;
    let closing = Closing {
        host: opening.host,
        command: opening.command,
        pids: ending.pids,
        started_at: opening.started_at,
        ended_ns,
        exit: ending.exit,
        probes: ending.probes,
        cgroup: ending.cgroup,
        oom: ending.oom,
        packages: ending.packages,
    };
    let skipped = around.skipped;
    let state = session.take_state();
    let (findings, peak) = if at_state {
        let state = state.unwrap_or_default();
        let findings = session.report_at(&state, closing);
        if findings.report.processes.is_empty() {
            return Err(Error::NotThere("no process lived at that moment".to_owned()));
        }
        (findings, None)
    } else {
        let findings = session.report(closing.clone());
        let peak = state.filter(|state| state.leads(&findings.report));
        let peak = peak.map(|state| session.report_at(&state, closing));
        (findings, peak)
    };
    Ok(Played { findings, peak, session, symbols, ended_ns, cut_at, skipped })
}

/// What the report says of the recording itself.
fn note(why: String) -> Probe {
    Probe { name: "recording".to_owned(), attached: false, why_not: Some(why) }
}

/// A session that is played again.
struct Replay<B> {
    session: Session,
    binaries: Shared,
    opening: Opening,
    first_pid: Option<u32>,
    /// Inputs behind so many are not applied.
    end: Option<u64>,
    single: bool,
    beside: B,
}

impl<B: FnMut(&Input, &Opening)> Visitor for Replay<B> {
    fn input(&mut self, input: Input) {
        (self.beside)(&input, &self.opening);
        if let (Input::Process(pid, _), None) = (&input, self.first_pid) {
            self.first_pid = Some(*pid);
        }
        // What a program wrote of its own code comes when it ends, and names what is shown of before.
        let names = matches!(input, Input::Written(..));
        if !names && self.end.is_some_and(|end| self.session.place().number >= end) {
            return;
        }
        match input {
            Input::Faults(run) if self.single => {
                run.events().for_each(|event| self.session.apply(&Input::Event(event)));
            }
            input => self.session.apply(&input),
        }
    }

    fn names(&mut self, payload: &[u8]) -> Result<(), Bad> {
        self.binaries.add_names(payload)
    }
}
