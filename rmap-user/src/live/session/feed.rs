//! Where the inputs of a live session go: to the session, to the spool, and to the recorder if there is
//! one.
//!
//! Comes in: inputs, in their order. Goes out: the [`Session`], which has taken them; at the end the
//! report, and the recording. Where the moments of a session were is known at its end: then a second
//! session takes the inputs once more from the spool, and stops at them, or at what was asked for.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use crate::{
    live::{packages, worker::names::Names},
    model::Arch,
    recording::{self, Ending, FileNames, Recorder},
    report::{Asked, Mode, Probe, Report},
    session::{Binaries, Closing, Question, Session, Survey, names},
    symbol::{Binary, Module, Resolver as _},
    trace::{Code, Input},
};

use super::spool::Spool;

/// What a session found.
pub(super) struct Found {
    /// The report, with names for all that it mentions.
    pub(super) report: Report,
    /// The same at the session's peak, where that is far above the end.
    pub(super) peak: Option<Report>,
    /// What kept the recording from being whole.
    pub(super) record_error: Option<recording::Error>,
    /// Why the report is that of the end, and not what was asked for.
    pub(super) not_there: Option<String>,
}

/// The session, and who keeps what it takes.
pub(super) struct Feed {
    session: Session,
    mode: Mode,
    started_ns: u64,
    recorder: Option<Recorder>,
    spool: Spool,
    files: Files,
    asked: Asked,
    /// It is looked at while it runs, and its moments are not kept.
    looked_on: bool,
}

impl Feed {
    /// A session on this machine that begins at a moment of `CLOCK_MONOTONIC`.
    pub(super) fn new(
        mode: Mode,
        started_ns: u64,
        recorder: Option<Recorder>,
        asked: Asked,
    ) -> Self {
        let files = Files::default();
        let session = session(mode, started_ns, Question::default(), &files);
        Self {
            session,
            mode,
            started_ns,
            recorder,
            spool: Spool::default(),
            files,
            asked,
            looked_on: false,
        }
    }

    /// Keeps nothing for moments before the end, from the start.
    pub(super) const fn looked_on(&mut self) {
        self.looked_on = true;
    }

    /// Hands an input to all.
    pub(super) fn apply(&mut self, input: &Input) {
        if let Some(recorder) = &self.recorder {
            recorder.add(input);
        }
        if !self.looked_on {
            self.spool.add(input);
        }
        self.session.apply(input);
    }

    /// The executable mappings of a process as they are at a time.
    pub(super) fn code(&mut self, pid: u32, time_ns: u64, modules: &[Module]) {
        let code = modules.iter().map(|module| self.files.code(module)).collect();
        self.apply(&Input::Code(pid, time_ns, code));
    }

    /// The session, to be asked.
    pub(super) const fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Ends the session. `aside` is called at once: no more is needed of the kernel.
    pub(super) fn finish(mut self, mut closing: Closing, aside: impl FnOnce()) -> Found {
        aside();
        let (question, not_there) = self.question(closing.ended_ns);
        let is_end = not_there.is_some() || self.asked == Asked::default();
        let mut again = match self.play_again(question) {
            _ if self.looked_on => None,
            Ok(session) => Some(session),
            Err(why) => {
                closing.probes.push(Probe {
                    name: "moments".to_owned(),
                    attached: false,
                    why_not: Some(format!("{why}; the peak and what grows are not known")),
                });
                None
            }
        };
        let not_there = match again {
            None if !is_end => Some("its events were not kept".to_owned()),
            _ => not_there,
        };

        let mut ending = Ending {
            pids: closing.pids.clone(),
            ended_ns: closing.ended_ns,
            exit: closing.exit.clone(),
            probes: closing.probes.clone(),
            cgroup: closing.cgroup.clone(),
            oom: closing.oom.clone(),
            packages: Vec::new(),
        };
        // A report of an earlier moment names other stacks, so a recording has names for all.
        let all = self.recorder.as_ref().map(|_| self.session.all_stacks()).unwrap_or_default();
        let session = again.as_mut().unwrap_or(&mut self.session);
        let state = session.take_state();
        let (findings, peak) = match state {
            Some(state) if !is_end => {
                (session.report_at(&state, Closing { exit: None, ..closing }), None)
            }
            state => {
                let findings = session.report(closing.clone());
                let state = state.filter(|state| state.leads(&findings.report));
                let peak = state.map(|state| session.report_at(&state, closing));
                (findings, peak)
            }
        };
        let resolver = Names::default();
        let mut named = names::name(findings, peak, &all, self.session.modules(), &resolver);
        if let Some(why) = resolver.trouble() {
            let name = "symbols".to_owned();
            let row = Probe { name, attached: false, why_not: Some(why) };
            named.report.coverage.probes.push(row.clone());
            ending.probes.push(row);
        }
        // Where most is held, most is missing.
        ending.packages = packages::of(named.peak.as_ref().unwrap_or(&named.report));
        for report in [Some(&mut named.report), named.peak.as_mut()].into_iter().flatten() {
            report.coverage.packages.clone_from(&ending.packages);
        }
        let record_error = self.recorder.and_then(|recorder| {
            let names: Vec<FileNames> = named
                .names
                .into_iter()
                .filter_map(|(binary, name, names)| {
                    Some(FileNames { number: self.files.number(&binary, name)?, names })
                })
                .collect();
            recorder.finish(&names, &ending).err().map(recording::Error::Io)
        });
        Found { report: named.report, peak: named.peak, record_error, not_there }
    }

    /// What a second session is to be asked; and why that is not what was asked for, if it is not.
    fn question(&mut self, ended_ns: u64) -> (Question, Option<String>) {
        if self.asked == Asked::default() {
            return (self.session.moments_of(ended_ns), None);
        }
        let mut survey = Survey::of(&self.asked, self.started_ns);
        // What cannot be read is found out once more when it is played.
        let _ = self.spool.play(|input| survey.input(input));
        let peak = self.session.peak();
        match survey.question(&self.asked, Some(ended_ns), peak) {
            Ok(question) => (question, None),
            Err(why) => (self.session.moments_of(ended_ns), Some(why)),
        }
    }

    /// A second session that takes the same inputs, and stops at the moments.
    fn play_again(&mut self, moments: Question) -> Result<Session, String> {
        if let Some(why) = self.spool.why_not() {
            return Err(why.to_owned());
        }
        // Behind a state that is asked for nothing counts.
        let end = moments.state_ns.and(moments.states.first()).map(|(number, _)| *number);
        let mut again = session(self.mode, self.started_ns, moments, &self.files);
        let played = self.spool.play(|input| {
            // What a program wrote of its own code names what is shown of before.
            let names = matches!(input, Input::Written(..));
            if names || end.is_none_or(|end| again.place().number < end) {
                again.apply(input);
            }
        });
        played.map(|()| again).map_err(|error| format!("cannot read the session's events: {error}"))
    }
}

/// A session on this machine.
fn session(mode: Mode, started_ns: u64, question: Question, files: &Files) -> Session {
    Session::new(Arch::native(), mode, started_ns, question, Box::new(files.clone()))
}

/// The files with code of a session, numbered in the order in which they were met: each one under each
/// of its names.
#[derive(Clone, Default)]
struct Files(Rc<RefCell<Known>>);

#[derive(Default)]
struct Known {
    /// Keeping the files keeps their addresses theirs.
    files: Vec<Arc<Binary>>,
    numbers: HashMap<(*const Binary, String), u32>,
}

impl Files {
    /// A mapping that names its file by number.
    fn code(&self, module: &Module) -> Code {
        let binary = module.binary.as_ref();
        let headers = binary.and_then(|binary| binary.headers.as_ref());
        Code {
            start: module.range.start,
            end: module.range.end,
            offset: module.offset,
            path: module.path.clone(),
            device: module.device,
            inode: module.inode,
            file: binary.map(|binary| self.0.borrow_mut().number(binary, module.name())),
            build_id: binary.and_then(|binary| binary.build_id.clone()),
            bias: headers.and_then(|headers| headers.bias_of(&module.offsets())),
        }
    }

    /// The number of a file under a name, if it was met.
    fn number(&self, binary: &Arc<Binary>, name: String) -> Option<u32> {
        self.0.borrow().numbers.get(&(Arc::as_ptr(binary), name)).copied()
    }
}

impl Known {
    fn number(&mut self, binary: &Arc<Binary>, name: &str) -> u32 {
        let files = &mut self.files;
        *self.numbers.entry((Arc::as_ptr(binary), name.to_owned())).or_insert_with(|| {
            files.push(Arc::clone(binary));
            u32::try_from(files.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

impl Binaries for Files {
    fn binary(&mut self, code: &Code) -> Option<Arc<Binary>> {
        self.0.borrow().files.get(code.file? as usize).cloned()
    }
}
