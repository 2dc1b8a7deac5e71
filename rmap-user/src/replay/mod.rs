//! A recording becomes a report: its inputs go into a [`Session`], as they did live.
//!
//! Comes in: a recording, from anybody. Goes out: the report that the session itself made, byte for
//! byte; from a recording that was cut off, the report up to there, which says so among its probes.
//! Names that a recording lacks are looked for by build id on this machine.
//!
//! * `moment`: which inputs make up the state at a moment; `binaries`: files by the recording's word;
//! * `course`: how sizes moved and faults came, for a trace; `explain`: the history of segments.

mod binaries;
mod course;
mod explain;
#[cfg(test)]
mod hostile_tests;
mod moment;
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
use crate::report::{At, Host, Mode, Probe, Report};
use crate::session::names::{Named, name};
use crate::session::{Closing, Findings, Question, Session, Target};
use crate::symbol::Folders;
use crate::trace::Input;

use binaries::Shared;
use course::Collector;
use moment::{Cut, Survey};

pub use explain::{Explained, Wanted, explain, explain_from};

/// What a recording holds.
#[derive(Debug)]
pub struct Loaded {
    /// The report.
    pub report: Report,
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
    /// Which state is asked for.
    pub at: At,
    /// Where symbols are looked for that it lacks.
    pub symbols: Arc<Folders>,
}

/// Reads a recording. For a state that is not that of its end it is read twice.
///
/// # Errors
/// What is wrong with the file, and where; or it has no such state.
pub fn load(path: &Path, reading: &Reading) -> Result<Loaded, Error> {
    let open = || Ok::<_, Error>(BufReader::new(File::open(path)?));
    let mut plan = Plan { symbols: Arc::clone(&reading.symbols), ..Plan::default() };
    if reading.at != At::End {
        if !File::open(path)?.metadata()?.is_file() {
            let why = "the state before the end is found by reading it twice: give a regular file";
            return Err(Error::NotThere(why.to_owned()));
        }
        plan.cut = guarded(|at| survey(open()?, reading.at, at))?;
    }
    guarded(|at| Ok(play(open()?, plan, at)?.load()))
}

/// Reads a recording up to its end, and the course of its session too.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn load_course(path: &Path, reading: &Reading) -> Result<(Loaded, Course), Error> {
    let from = BufReader::new(File::open(path)?);
    let plan = Plan { symbols: Arc::clone(&reading.symbols), ..Plan::default() };
    let (played, course) = guarded(|at| play_course(from, plan, at))?;
    Ok((played.load(), course))
}

/// Reads one from any source of bytes.
///
/// # Errors
/// What is wrong with the bytes, and where.
pub fn read(from: impl Read) -> Result<Loaded, Error> {
    guarded(|at| Ok(play(from, Plan::default(), at)?.load()))
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
    if let Ok(cut @ Some(_)) = survey(bytes, At::Peak, &mut at) {
        let _ = play(bytes, Plan { cut, ..Plan::default() }, &mut at).map(Played::load);
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

/// Finds where the state that is asked for ends.
fn survey(from: impl Read, at: At, place: &mut u64) -> Result<Option<Cut>, Error> {
    let (survey, around) = walk(from, place, |_| Survey::default())?;
    let ended_ns = around.ending.map(|ending| ending.ended_ns);
    survey.cut(at, around.opening.started_ns, ended_ns).map_err(Error::NotThere)
}

/// How a recording is played.
#[derive(Debug, Default)]
struct Plan {
    /// Up to here; `None`: to its end.
    cut: Option<Cut>,
    /// The histories that are asked for.
    targets: Vec<Target>,
    /// Where symbols are looked for that it lacks.
    symbols: Arc<Folders>,
    /// Each fault is applied for itself, for comparison.
    single: bool,
}

/// A session that was played to its end, or to a moment.
struct Played {
    /// What was found; its stacks have no names.
    findings: Findings,
    session: Session,
    symbols: Arc<Folders>,
    /// As [`Loaded::cut_at`].
    cut_at: Option<u64>,
    skipped: u64,
}

impl Played {
    /// The report, with names.
    fn load(self) -> Loaded {
        let (cut_at, skipped) = (self.cut_at, self.skipped);
        let Named { report, notes, .. } =
            name(self.findings, &[], self.session.modules(), &*self.symbols);
        Loaded { report, cut_at, skipped, notes }
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
    let Plan { cut, targets, symbols, single } = plan;
    let begin = |opening: &Opening| {
        let question = Question { at_ns: cut.map(|cut| cut.at_ns), targets };
        let (mode, started_ns) = (opening.mode, opening.started_ns);
        let binaries = Shared::default();
        let files = Box::new(binaries.clone());
        Replay {
            session: Session::new(arch(opening), mode, started_ns, question, files),
            binaries,
            opening: opening.clone(),
            first_pid: None,
            cut,
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
    });
    if let Some(cut) = cut {
        ending.ended_ns = cut.at_ns;
        ending.exit = None;
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
    let findings = session.report(Closing {
        host: opening.host,
        command: opening.command,
        pids: ending.pids,
        started_at: opening.started_at,
        ended_ns: ending.ended_ns,
        exit: ending.exit,
        probes: ending.probes,
    });
    if cut.is_some() && findings.report.processes.is_empty() {
        return Err(Error::NotThere("no process lived at that moment".to_owned()));
    }
    Ok(Played { findings, session, symbols, cut_at, skipped: around.skipped })
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
    cut: Option<Cut>,
    single: bool,
    beside: B,
}

impl<B: FnMut(&Input, &Opening)> Replay<B> {
    fn apply(&mut self, number: u64, input: &Input) {
        match input {
            // A moment may lie in the middle of a run.
            Input::Faults(run) if self.cut.is_some() || self.single => {
                run.events().for_each(|event| self.apply(number, &Input::Event(event)));
            }
            input if self.cut.is_none_or(|cut| cut.takes(number, input)) => {
                self.session.apply(input);
            }
            _ => {}
        }
    }
}

impl<B: FnMut(&Input, &Opening)> Visitor for Replay<B> {
    fn input(&mut self, number: u64, input: Input) {
        (self.beside)(&input, &self.opening);
        if let (Input::Process(pid, _), None) = (&input, self.first_pid) {
            self.first_pid = Some(*pid);
        }
        self.apply(number, &input);
    }

    fn names(&mut self, payload: &[u8]) -> Result<(), Bad> {
        self.binaries.add_names(payload)
    }
}
