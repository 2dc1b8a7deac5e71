//! A file becomes a report.
//!
//! Comes in: a recording, from anybody. Goes out: the report that the session itself made, byte
//! for byte; from a recording that was cut off, what can be told up to there, which the report
//! says among its probes. Names that a recording does not have are looked for by build id on this
//! machine.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use super::batch::{Code, Input, Joined, Unbatch};
use super::course::Collector;
use super::frame::{self, Frames};
use super::moment::{Cut, Survey};
use super::plausible::Limits;
use super::tape::{self, Named};
use super::varint::{Bad, Reader};
use super::{Ending, Error, Opening};
use crate::event::{Body, FaultRun};
use crate::investigate::{Closing, Findings, Investigation, Target};
use crate::model::{Arch, MmKey};
use crate::report::course::Course;
use crate::report::{At, Frame, Probe, Report};
use crate::symbol::{Binary, Folders, Module, ModuleMap, Names, PerfMap};

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
    if reading.at == At::End {
        let symbols = Arc::clone(&reading.symbols);
        let plan = Plan { symbols, joined: true, ..Plan::default() };
        return guarded(|at| Ok(play(open()?, plan, at)?.load()));
    }
    if !File::open(path)?.metadata()?.is_file() {
        let why = "the state before the end is found by reading it twice: give a regular file";
        return Err(Error::NotThere(why.to_owned()));
    }
    let cut = guarded(|at| survey(open()?, reading.at, at))?;
    let plan = Plan { cut, symbols: Arc::clone(&reading.symbols), ..Plan::default() };
    guarded(|at| Ok(play(open()?, plan, at)?.load()))
}

/// Reads a recording up to its end, and the course of its session too.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn load_course(path: &Path, reading: &Reading) -> Result<(Loaded, Course), Error> {
    let from = BufReader::new(File::open(path)?);
    let symbols = Arc::clone(&reading.symbols);
    let plan = Plan { course: true, symbols, ..Plan::default() };
    let mut played = guarded(|at| play(from, plan, at))?;
    let course = played.course.take().unwrap_or_default();
    Ok((played.load(), course))
}

/// Reads one from any source of bytes.
///
/// # Errors
/// What is wrong with the bytes, and where.
pub fn read(from: impl Read) -> Result<Loaded, Error> {
    guarded(|at| Ok(play(from, Plan { joined: true, ..Plan::default() }, at)?.load()))
}

/// The last resort: what is checked should leave nothing on which the model fails.
pub(super) fn guarded<T>(work: impl FnOnce(&mut u64) -> Result<T, Error>) -> Result<T, Error> {
    let mut at = 0;
    let done = catch_unwind(AssertUnwindSafe(|| work(&mut at)));
    done.unwrap_or_else(|_| Err(damaged(at, "it holds what cannot be")))
}

/// For fuzzing: any bytes are a report or an error.
pub fn fuzz_entry(bytes: &[u8]) {
    let mut at = 0;
    let plan = Plan { course: true, ..Plan::default() };
    let played = play(bytes, plan, &mut at);
    let joined = play(bytes, Plan { joined: true, ..Plan::default() }, &mut at);
    assert_eq!(
        joined.as_ref().map(|played| &played.findings.report).map_err(ToString::to_string),
        played.as_ref().map(|played| &played.findings.report).map_err(ToString::to_string),
        "runs of faults mean what their faults mean"
    );
    let first = played.as_ref().ok().and_then(|played| {
        let mut segments = played.findings.report.processes.iter().flat_map(|p| &p.segments);
        segments.next().map(|segment| segment.start.clone())
    });
    let _ = played.map(Played::load);
    if let Some(start) = first {
        let wanted =
            super::Wanted { process: &|_| true, segment: &|segment| segment.start == start };
        let _ = super::explain_from(&|| Ok(bytes), wanted, &Reading::default());
    }
    if let Ok(cut @ Some(_)) = survey(bytes, At::Peak, &mut at) {
        let _ = play(bytes, Plan { cut, ..Plan::default() }, &mut at).map(Played::load);
    }
}

fn damaged(at: u64, what: &str) -> Error {
    Error::Damaged { at, what: what.to_owned() }
}

/// A session that is played again.
struct Replay {
    investigation: Investigation,
    modules: HashMap<MmKey, ModuleMap>,
    files: HashMap<u32, Arc<Binary>>,
    names: HashMap<u32, Names>,
    last_ns: u64,
    first_pid: Option<u32>,
}

/// What stands around the inputs of a recording.
pub(super) struct Around {
    opening: Opening,
    ending: Option<Ending>,
    /// The file ends here.
    end: u64,
    /// It ends inside of a frame.
    cut: bool,
    skipped: u64,
}

/// Who takes a run of faults at once.
type TakeRun<S> = fn(&mut S, &FaultRun);

/// Goes through a recording: `begin` is told how it begins, and what that gives is shown every
/// input, with how many come before it, and the names. Who has a `run` is not shown the faults of
/// a run one by one, and told no number that means anything.
fn walk<S>(
    from: impl Read,
    place: &mut u64,
    begin: impl FnOnce(&Opening) -> S,
    mut input: impl FnMut(&mut S, u64, Input),
    run: Option<TakeRun<S>>,
    mut names: impl FnMut(&mut S, &[u8]) -> Result<(), Bad>,
) -> Result<(S, Around), Error> {
    let mut frames = Frames::open(from)?;
    let mut cut = false;
    let opening = loop {
        match frames.next(&mut cut)? {
            Some(frame) if frame.kind == frame::OPENING => {
                break serde_json::from_slice::<Opening>(&frame.payload)
                    .map_err(|error| damaged(frame.at, &format!("its description: {error}")))?;
            }
            Some(frame) if frame.kind > frame::ENDING => {}
            Some(frame) => return Err(damaged(frame.at, "a session begins without description")),
            None => return Err(Error::NoOpening(frames.at)),
        }
    };
    let mut state = begin(&opening);
    let mut limits = Limits::new(arch(&opening));
    let (mut skipped, mut ending, mut number) = (0, None, 0);
    while let Some(frame) = frames.next(&mut cut)? {
        *place = frame.at;
        let bad = |Bad(what): Bad| damaged(frame.at, what);
        match frame.kind {
            frame::BATCH => {
                let mut inputs = Unbatch::new(&frame.payload, frames.version);
                loop {
                    let next = if let Some(run) = run {
                        match inputs.next_joined().map_err(bad)? {
                            Some(Joined::Input(input)) => Some(input),
                            Some(Joined::Run(faults)) => {
                                limits.check_run(&faults).map_err(bad)?;
                                run(&mut state, &faults);
                                continue;
                            }
                            None => None,
                        }
                    } else {
                        inputs.next().map_err(bad)?
                    };
                    let Some(next) = next else { break };
                    limits.check(&next, frames.at).map_err(bad)?;
                    input(&mut state, number, next);
                    number += 1;
                }
            }
            frame::NAMES => names(&mut state, &frame.payload).map_err(bad)?,
            frame::ENDING => {
                let read = serde_json::from_slice::<Ending>(&frame.payload);
                ending =
                    Some(read.map_err(|error| damaged(frame.at, &format!("its end: {error}")))?);
            }
            frame::OPENING => return Err(damaged(frame.at, "a second session begins")),
            _ => skipped += 1,
        }
    }
    Ok((state, Around { opening, ending, end: frames.at, cut, skipped }))
}

fn arch(opening: &Opening) -> Arch {
    if opening.host.arch == "aarch64" { Arch::Aarch64 } else { Arch::X86_64 }
}

/// Finds where the state that is asked for ends.
fn survey(from: impl Read, at: At, place: &mut u64) -> Result<Option<Cut>, Error> {
    let add = |survey: &mut Survey, number, input| survey.add(number, &input);
    let (survey, around) = walk(from, place, |_| Survey::default(), add, None, |_, _| Ok(()))?;
    let ended_ns = around.ending.map(|ending| ending.ended_ns);
    survey.cut(at, around.opening.started_ns, ended_ns).map_err(Error::NotThere)
}

/// How a recording is played.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Up to here; `None`: to its end.
    pub cut: Option<Cut>,
    /// The stories that are asked for.
    pub targets: Vec<Target>,
    /// Whether its course is asked for.
    pub course: bool,
    /// Where symbols are looked for that it lacks.
    pub symbols: Arc<Folders>,
    /// Faults of one run are taken at once, unless somebody wants to see each of them.
    pub joined: bool,
}

/// A session that was played to its end, or to a moment.
pub(super) struct Played {
    /// What was found; its stacks have no names.
    pub findings: Findings,
    modules: HashMap<MmKey, ModuleMap>,
    symbols: Arc<Folders>,
    course: Option<Course>,
    /// As [`Loaded::cut_at`].
    pub cut_at: Option<u64>,
    skipped: u64,
}

impl Played {
    /// The report, with names.
    pub(super) fn load(self) -> Loaded {
        let (cut_at, skipped) = (self.cut_at, self.skipped);
        let Named { report, notes, .. } =
            tape::name(self.findings, &[], &self.modules, &self.symbols);
        Loaded { report, cut_at, skipped, notes }
    }
}

/// Plays a recording.
pub(super) fn play(from: impl Read, plan: Plan, place: &mut u64) -> Result<Played, Error> {
    play_beside(from, plan, place, |_, _| {})
}

/// The same with somebody beside it, who is shown every input and told the machine.
pub(super) fn play_beside(
    from: impl Read,
    plan: Plan,
    place: &mut u64,
    mut beside: impl FnMut(&Input, Arch),
) -> Result<Played, Error> {
    let Plan { cut, targets, course, symbols, joined } = plan;
    let joined = joined && cut.is_none() && targets.is_empty() && !course;
    let begin = |opening: &Opening| {
        let mut replay = Replay::new(opening);
        if let Some(cut) = cut {
            replay.investigation.stop_at(cut.at_ns);
        }
        if !targets.is_empty() {
            replay.investigation.explain(targets);
        }
        (replay, course.then(|| Collector::new(opening.started_ns)), arch(opening))
    };
    type State = (Replay, Option<Collector>, Arch);
    let input = |(replay, collector, arch): &mut State, number, input: Input| {
        beside(&input, *arch);
        if let Some(collector) = collector {
            collector.input(&input);
        }
        if cut.is_none_or(|cut| cut.takes(number, &input)) {
            replay.input(input);
        }
    };
    let names = |(replay, ..): &mut State, payload: &[u8]| replay.add_names(payload);
    let run: TakeRun<State> = |(replay, ..), run| replay.run(run);
    let run = joined.then_some(run);
    let ((replay, collector, _), around) = walk(from, place, begin, input, run, names)?;
    let cut_at = (around.cut || around.ending.is_none()).then_some(around.end);
    let opening = around.opening;
    let mut ending = around.ending.unwrap_or_else(|| Ending {
        pids: match replay.first_pid {
            Some(pid) if opening.pids.is_empty() => vec![pid],
            _ => opening.pids.clone(),
        },
        ended_ns: replay.last_ns,
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
    let (findings, modules) = replay.finish(opening, ending);
    if cut.is_some() && findings.report.processes.is_empty() {
        return Err(Error::NotThere("no process lived at that moment".to_owned()));
    }
    let course = collector.map(|course| course.finish(&findings.report, &findings.stacks));
    Ok(Played { findings, modules, symbols, course, cut_at, skipped: around.skipped })
}

/// What the report says of the recording itself.
fn note(why: String) -> Probe {
    Probe { name: "recording".to_owned(), attached: false, why_not: Some(why) }
}

impl Replay {
    fn new(opening: &Opening) -> Self {
        Self {
            investigation: Investigation::on(arch(opening), opening.mode, opening.started_ns),
            modules: HashMap::new(),
            files: HashMap::new(),
            names: HashMap::new(),
            last_ns: opening.started_ns,
            first_pid: None,
        }
    }

    fn run(&mut self, run: &FaultRun) {
        self.last_ns = run.times_ns.iter().fold(self.last_ns, |last, time_ns| last.max(*time_ns));
        self.investigation.faults(run);
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Event(event) => {
                self.last_ns = self.last_ns.max(event.time_ns);
                self.investigation.event(&event);
                if let Body::Fork(fork) = &event.body
                    && !fork.thread
                {
                    let instance = |pid| self.investigation.instance(pid);
                    let (parent, child) = (instance(event.pid), instance(fork.child_pid));
                    ModuleMap::inherit(&mut self.modules, parent, child);
                }
            }
            Input::Snapshot(snapshot) => {
                self.last_ns = self.last_ns.max(snapshot.time_ns);
                self.investigation.snapshot(&snapshot);
            }
            Input::Process(pid, facts) => {
                self.first_pid.get_or_insert(pid);
                self.investigation.process(pid, facts);
            }
            Input::Lost(lost) => self.investigation.lost(lost),
            Input::Written(instance, names) => {
                self.modules.entry(instance).or_default().set_names(PerfMap::parse(&names));
            }
            Input::Code(pid, time_ns, code) => {
                let Some(instance) = self.investigation.instance(pid) else { return };
                let modules = code.into_iter().map(|code| self.module(code)).collect();
                self.modules.entry(instance).or_default().update(time_ns, modules);
            }
        }
    }

    fn module(&mut self, code: Code) -> Module {
        if let (Some(number), Some(bias)) = (code.file, code.bias) {
            let size = code.end.saturating_sub(code.start);
            let offsets = code.offset..code.offset.saturating_add(size);
            self.names.entry(number).or_default().add_bias(offsets, bias);
        }
        let binary = code.file.map(|number| {
            let new = || Arc::new(Binary::without_file(code.build_id, "it is on another machine"));
            Arc::clone(self.files.entry(number).or_insert_with(new))
        });
        Module {
            range: code.start..code.end,
            offset: code.offset,
            path: code.path,
            device: code.device,
            inode: code.inode,
            binary,
        }
    }

    fn add_names(&mut self, payload: &[u8]) -> Result<(), Bad> {
        let mut from = Reader(payload);
        while !from.0.is_empty() {
            let number = from.small()?;
            let names = self.names.entry(number).or_default();
            for _ in 0..from.count()? {
                let offset = from.number()?;
                if from.byte()? != 0 {
                    names.trampolines.insert(offset);
                }
                let mut frames = Vec::new();
                for _ in 0..from.count()? {
                    let address = from.text()?;
                    let flags = from.byte()?;
                    let (function, file) = (from.text()?, from.text()?);
                    let line = from.number()?.checked_sub(1).map(u32::try_from).transpose();
                    frames.push(Frame {
                        function: (flags & 2 != 0).then_some(function),
                        offset: address,
                        file: (flags & 4 != 0).then_some(file),
                        line: line.map_err(|_| Bad("the number of a line is too large"))?,
                        inlined: flags & 1 != 0,
                        ..Frame::default()
                    });
                }
                names.frames.insert(offset, frames);
            }
        }
        Ok(())
    }

    fn finish(mut self, opening: Opening, ending: Ending) -> (Findings, HashMap<MmKey, ModuleMap>) {
        for (number, names) in self.names.drain() {
            if let Some(binary) = self.files.get(&number) {
                // Nobody has set them before.
                let _ = binary.names.set(names);
            }
        }
        let findings = self.investigation.finish(Closing {
            host: opening.host,
            command: opening.command,
            pids: ending.pids,
            started_at: opening.started_at,
            ended_ns: ending.ended_ns,
            exit: ending.exit,
            probes: ending.probes,
        });
        (findings, self.modules)
    }
}
