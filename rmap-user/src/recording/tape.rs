//! An investigation that writes down what it is given, if that is wanted.
//!
//! Comes in: what an [`Investigation`] takes, and the executable mappings. Goes out: the same
//! investigation, and the inputs in their order to a [`Recorder`]. Its methods have the names of
//! the investigation's, so whoever feeds one feeds the other.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use super::batch::Code;
use super::writer::{FileNames, Recorder};
use super::{Ending, Error};
use crate::event::{Body, Event, FaultRun};
use crate::investigate::{Closing, Findings, Investigation, ProcessFacts, RawStack};
use crate::model::{MmKey, PAGE};
use crate::report::{Lost, Report};
use crate::snapshot::Snapshot;
use crate::symbol::{self, Binary, Folders, Module, ModuleMap};

/// An investigation with a recorder beside it.
pub struct Tape {
    investigation: Investigation,
    /// Faults that the investigation is still to be given, all at once.
    run: Option<FaultRun>,
    /// Memory for the next one.
    times: Vec<u64>,
    /// Thread and address of the last fault.
    last: (u32, u64),
    recorder: Option<Recorder>,
    /// Each file under each of its names; keeping the files keeps their addresses theirs.
    files: HashMap<(*const Binary, String), (u32, Arc<Binary>)>,
}

impl Tape {
    /// Without a recorder it is the investigation alone.
    #[must_use]
    pub fn new(investigation: Investigation, recorder: Option<Recorder>) -> Self {
        Self {
            investigation,
            run: None,
            times: Vec::new(),
            last: (0, 0),
            recorder,
            files: HashMap::new(),
        }
    }

    /// As [`Investigation::event`]; what has come so far counts from [`Tape::settle`] on.
    pub fn event(&mut self, event: &Event) {
        if let Some(recorder) = &self.recorder {
            recorder.add(|batch| batch.event(event));
        }
        if self.run.as_mut().is_some_and(|run| run.take(event)) {
            return;
        }
        self.settle();
        if self.goes_on(event) {
            self.run = FaultRun::begin(event, &mut self.times);
        }
        if self.run.is_none() {
            self.investigation.event(event);
        }
    }

    /// Whether an event is a fault one page beside the last one: only then a run may begin.
    fn goes_on(&mut self, event: &Event) -> bool {
        let Body::Fault(fault) = &event.body else { return false };
        let (tid, address) = mem::replace(&mut self.last, (event.tid, fault.address));
        tid == event.tid && address.abs_diff(fault.address) == PAGE
    }

    /// Gives the investigation all that has come. Whoever asks it anything does that before.
    pub fn settle(&mut self) {
        let Some(run) = self.run.take() else { return };
        match run.times_ns.len() {
            1 => self.investigation.event(&run.first),
            _ => self.investigation.faults(&run),
        }
        self.times = run.times_ns;
    }

    /// As [`Investigation::snapshot`].
    pub fn snapshot(&mut self, snapshot: &Snapshot) {
        self.settle();
        if let Some(recorder) = &self.recorder {
            recorder.add(|batch| batch.snapshot(snapshot));
        }
        self.investigation.snapshot(snapshot);
    }

    /// As [`Investigation::process`].
    pub fn process(&mut self, pid: u32, facts: ProcessFacts) {
        self.settle();
        if let Some(recorder) = &self.recorder {
            recorder.add(|batch| batch.process(pid, &facts));
        }
        self.investigation.process(pid, facts);
    }

    /// As [`Investigation::lost`].
    pub fn lost(&mut self, lost: Lost) {
        self.settle();
        if let Some(recorder) = &self.recorder {
            recorder.add(|batch| batch.lost(&lost));
        }
        self.investigation.lost(lost);
    }

    /// As [`Investigation::instance`].
    #[must_use]
    pub fn instance(&self, pid: u32) -> Option<MmKey> {
        self.investigation.instance(pid)
    }

    /// As [`Investigation::has_processes`].
    #[must_use]
    pub fn has_processes(&self) -> bool {
        self.investigation.has_processes()
    }

    /// What a process's [`ModuleMap`] is updated with: to be told right before that is done.
    pub fn code(&mut self, pid: u32, time_ns: u64, modules: &[Module]) {
        let Some(recorder) = &self.recorder else { return };
        let files = &mut self.files;
        let code: Vec<Code> = modules
            .iter()
            .map(|module| Code {
                start: module.range.start,
                end: module.range.end,
                offset: module.offset,
                path: module.path.clone(),
                device: module.device,
                inode: module.inode,
                file: module.binary.as_ref().map(|binary| {
                    let next = u32::try_from(files.len()).unwrap_or(u32::MAX);
                    let key = (Arc::as_ptr(binary), module.name().to_owned());
                    files.entry(key).or_insert_with(|| (next, Arc::clone(binary))).0
                }),
                build_id: module.binary.as_ref().and_then(|binary| binary.build_id.clone()),
                bias: module.binary.as_ref().and_then(|binary| {
                    binary.headers.as_ref().and_then(|headers| headers.bias_of(&module.offsets()))
                }),
            })
            .collect();
        recorder.add(|batch| batch.code(pid, time_ns, &code));
    }

    /// The names that a program wrote for its own code: what [`ModuleMap::set_names`] is given.
    pub fn written(&self, instance: MmKey, names: &[u8]) {
        if let Some(recorder) = &self.recorder {
            recorder.add(|batch| batch.written(instance, names));
        }
    }

    /// Ends the investigation: the report with names for all that it mentions; and the error that
    /// kept the recording from being whole. `aside` is called as soon as the investigation needs
    /// no more.
    pub fn finish(
        mut self,
        closing: Closing,
        modules: &HashMap<MmKey, ModuleMap>,
        aside: impl FnOnce(),
    ) -> (Report, Option<Error>) {
        self.settle();
        let Self { investigation, recorder, files, .. } = self;
        let ending = Ending {
            pids: closing.pids.clone(),
            ended_ns: closing.ended_ns,
            exit: closing.exit.clone(),
            probes: closing.probes.clone(),
        };
        // A report of an earlier moment names other stacks, so a recording has names for all.
        let all = recorder.as_ref().map(|_| investigation.all_stacks()).unwrap_or_default();
        let findings = investigation.finish(closing);
        aside();
        let Named { report, names: named, .. } = name(findings, &all, modules, &Folders::default());
        let error = recorder.and_then(|recorder| {
            let names: Vec<FileNames> = named
                .into_iter()
                .filter_map(|(binary, module, names)| {
                    let (number, _) = files.get(&(Arc::as_ptr(&binary), module))?;
                    Some(FileNames { number: *number, names })
                })
                .collect();
            recorder.finish(&names, &ending).err().map(Error::Io)
        });
        (report, error)
    }
}

/// A report with names.
pub(super) struct Named {
    /// The report.
    pub report: Report,
    /// What was found for which file.
    pub names: Vec<(Arc<Binary>, String, symbol::Names)>,
    /// What a person should know of how symbols were looked for.
    pub notes: Vec<String>,
}

/// Gives the stacks of a report their frames.
pub(super) fn name(
    findings: Findings,
    more: &[RawStack],
    modules: &HashMap<MmKey, ModuleMap>,
    folders: &Folders,
) -> Named {
    let mut report = findings.report;
    let none = ModuleMap::new();
    let raw = |stack: &RawStack| {
        let raw = symbol::RawStack {
            id: stack.id,
            time_ns: stack.first_ns,
            end: stack.end,
            ips: stack.ips.clone(),
        };
        (raw, stack.instance)
    };
    let stacks: Vec<_> = findings.stacks.iter().chain(more).map(raw).collect();
    let (mut named, names) = symbol::symbolize_keeping(
        stacks.iter().map(|(raw, instance)| (raw, modules.get(instance).unwrap_or(&none))),
        folders,
    );
    named.stacks.truncate(findings.stacks.len());
    report.stacks = named.stacks;
    Named { report, names, notes: folders.notes(&named.stats.sought) }
}
