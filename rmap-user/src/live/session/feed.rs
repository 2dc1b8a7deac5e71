//! Where the inputs of a live session go: to the session, and to the recorder if there is one.
//!
//! Comes in: inputs, in their order. Goes out: the [`Session`], which has taken them; at the end the
//! report, and the recording.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use crate::{
    live::worker::names::Names,
    model::Arch,
    recording::{self, Ending, FileNames, Recorder},
    report::{Mode, Probe, Report},
    session::{Binaries, Closing, Question, Session, names},
    symbol::{Binary, Module, Resolver as _},
    trace::{Code, Input},
};

/// The session, and the recorder beside it.
pub(super) struct Feed {
    session: Session,
    recorder: Option<Recorder>,
    files: Files,
}

impl Feed {
    /// A session on this machine that begins at a moment of `CLOCK_MONOTONIC`.
    pub(super) fn new(mode: Mode, started_ns: u64, recorder: Option<Recorder>) -> Self {
        let files = Files::default();
        let binaries = Box::new(files.clone());
        let arch = Arch::native();
        let session = Session::new(arch, mode, started_ns, Question::default(), binaries);
        Self { session, recorder, files }
    }

    /// Hands an input to both.
    pub(super) fn apply(&mut self, input: &Input) {
        if let Some(recorder) = &self.recorder {
            recorder.add(input);
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

    /// Ends the session: the report with names for all that it mentions; and the error that kept the
    /// recording from being whole. `aside` is called as soon as no more is needed of the kernel.
    pub(super) fn finish(
        mut self,
        closing: Closing,
        aside: impl FnOnce(),
    ) -> (Report, Option<recording::Error>) {
        let mut ending = Ending {
            pids: closing.pids.clone(),
            ended_ns: closing.ended_ns,
            exit: closing.exit.clone(),
            probes: closing.probes.clone(),
        };
        // A report of an earlier moment names other stacks, so a recording has names for all.
        let all = self.recorder.as_ref().map(|_| self.session.all_stacks()).unwrap_or_default();
        let findings = self.session.report(closing);
        aside();
        let resolver = Names::default();
        let mut named = names::name(findings, &all, self.session.modules(), &resolver);
        if let Some(why) = resolver.trouble() {
            let name = "symbols".to_owned();
            let row = Probe { name, attached: false, why_not: Some(why) };
            named.report.coverage.probes.push(row.clone());
            ending.probes.push(row);
        }
        let error = self.recorder.and_then(|recorder| {
            let names: Vec<FileNames> = named
                .names
                .into_iter()
                .filter_map(|(binary, name, names)| {
                    Some(FileNames { number: self.files.number(&binary, name)?, names })
                })
                .collect();
            recorder.finish(&names, &ending).err().map(recording::Error::Io)
        });
        (named.report, error)
    }
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
