//! Which code each traced process has mapped: for the unwind tables in the kernel, and for the names in
//! the report.
//!
//! Comes in: processes at their stops, calls that mapped code, perf map files. Goes out: tables in the
//! kernel; [`Input::Code`] and [`Input::Written`] for the session.
//!
//! A program may be gone before anybody could read what it had mapped (`env` executes another within a
//! millisecond). Then a mapping is taken for one of the files that the program's headers name, if
//! exactly one of them has its code at that offset in that length: the loader maps nothing else so.
//! Otherwise its stacks end there, and say so.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use super::{feed::Feed, losses::LossCounter, made_code::MadeCode, written::WrittenNames};
use crate::{
    live::{
        modules::{Catalogue, Site},
        probes::Probes,
        procfs,
        unwind::Fresh,
        worker::Worker,
    },
    session::Session,
    symbol::{Binary, Module, ModuleMap, Stamp},
    trace::{Event, Input, MapCall, MmKey},
};

/// Which program a process is seen to run when its mappings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image {
    /// It stands still, and its events were taken: the program that the session knows.
    Known,
    /// It runs on: perhaps it has executed another program, and the event that says so is still in
    /// the ring. Stacks of the old program must not be walked by the new one's code.
    MayBeAnother,
}

/// The code of all processes.
pub(super) struct CodeTracker {
    catalogue: Catalogue,
    /// The names that programs write for their own code.
    written: WrittenNames,
    /// For each process, its program and the files that its headers name.
    predicted: HashMap<u32, (MmKey, Vec<Arc<Binary>>)>,
    /// Processes that have run code which no file holds: they alone may have written its names.
    makers: HashSet<u32>,
    /// Those among them whose mappings are to be read again.
    made: MadeCode,
}

/// What the tracker works on.
pub(super) struct To<'a> {
    pub(super) probes: &'a mut Probes,
    pub(super) feed: &'a mut Feed,
    pub(super) losses: &'a mut LossCounter,
}

impl To<'_> {
    /// Gives the kernel the tables of the code that the session knows of a process.
    fn show_tables(&mut self, pid: u32) {
        let Some(map) = self.feed.session().code_of(pid) else { return };
        if self.probes.show(pid, map.living()).is_err() {
            self.losses.failed_tables += 1;
        }
    }
}

impl CodeTracker {
    /// Nothing is mapped yet. Tables are left in `fresh`.
    pub(super) fn new(fresh: Fresh) -> Self {
        Self {
            catalogue: Catalogue::with_tables(fresh),
            written: WrittenNames::default(),
            predicted: HashMap::new(),
            makers: HashSet::new(),
            made: MadeCode::default(),
        }
    }

    /// Who opens and reads foreign files.
    pub(super) const fn worker(&mut self) -> &mut Worker {
        self.catalogue.worker()
    }

    /// One line about the files that have no table because they were too much, if there are any.
    pub(super) fn trouble(&self) -> Option<String> {
        self.catalogue.trouble()
    }

    /// Reads which code a process has mapped now, and says whether it could. `tid` is a thread of it
    /// that still has its memory.
    pub(super) fn scan(&mut self, mut to: To<'_>, pid: u32, tid: u32, image: Image) -> bool {
        if to.feed.session().space_of(pid).is_none() {
            return false;
        }
        // Now, and not the time of the event that asks: the process may have executed another
        // program since, and stacks of the time between belong to what is not mapped any more.
        let time_ns = procfs::monotonic_ns();
        // A process that is gone meanwhile was read before, or has run nothing.
        let Ok(modules) = self.catalogue.scan(tid) else { return false };
        let known = to.feed.session().code_of(pid);
        let same = known.is_some_and(|known| known.is_same_program(&modules));
        if image == Image::MayBeAnother && !same {
            return false;
        }
        if modules.iter().any(is_made) {
            self.makers.insert(pid);
        }
        to.feed.code(pid, time_ns, &modules);
        to.show_tables(pid);
        true
    }

    /// Reads the code of a process that ran before, and gives the kernel its tables; the session does
    /// not know the process yet. Gives what it is to be told then, with the time.
    pub(super) fn scan_attached(
        &mut self,
        to: To<'_>,
        pid: u32,
        tid: u32,
    ) -> Option<(u64, Vec<Module>)> {
        let modules = self.catalogue.scan(tid).ok()?;
        if modules.iter().any(is_made) {
            self.makers.insert(pid);
        }
        if to.probes.show(pid, modules.iter()).is_err() {
            to.losses.failed_tables += 1;
        }
        Some((procfs::monotonic_ns(), modules))
    }

    /// Functions of allocators among a process's modules.
    pub(super) fn allocators(
        &mut self,
        losses: &mut LossCounter,
        pid: u32,
        modules: &[Module],
    ) -> Vec<Site> {
        let (sites, troubles) = self.catalogue.allocators(pid, modules);
        for why in troubles {
            losses.note("malloc", format!("no function of an allocator is known of {why}"));
        }
        sites
    }

    /// Makes the unwind tables of the code that a process has mapped, so that it need not stand
    /// still as long as that takes. Gives that code.
    pub(super) fn prepare(&mut self, to: To<'_>, pid: u32) -> Vec<Module> {
        let Ok(modules) = self.catalogue.scan(pid) else { return Vec::new() };
        let files: Vec<_> = modules.iter().filter_map(|module| module.binary.clone()).collect();
        if to.probes.prepare(&files).is_err() {
            to.losses.failed_tables += 1;
        }
        modules
    }

    /// Makes the tables of the files that the program of a process will load, while it stands:
    /// afterwards it would be faster than the tables.
    pub(super) fn predict(&mut self, to: To<'_>, pid: u32) {
        let program = to.feed.session().code_of(pid).and_then(|code| program(pid, code));
        let files = self.catalogue.forecast(pid, program);
        if to.probes.prepare(&files).is_err() {
            to.losses.failed_tables += 1;
        }
        if let Some(key) = to.feed.session().space_of(pid) {
            self.predicted.insert(pid, (key, files));
        }
    }

    /// A call has mapped code: reads it, or, if the program is gone meanwhile, takes it for what was
    /// predicted.
    pub(super) fn mapped(&mut self, to: To<'_>, event: &Event, call: &MapCall) {
        let To { probes, feed, losses } = to;
        let again = To { probes: &mut *probes, feed: &mut *feed, losses };
        if !self.scan(again, event.pid, event.pid, Image::MayBeAnother) {
            self.as_predicted(probes, feed, event, call);
        }
    }

    /// Takes a mapping that is not there any more for what it must have been.
    fn as_predicted(&self, probes: &Probes, feed: &mut Feed, event: &Event, call: &MapCall) {
        let Some(key) = feed.session().space_of(event.pid) else { return };
        let Some((of, files)) = self.predicted.get(&event.pid) else { return };
        let Ok(start) = u64::try_from(call.result) else { return };
        let (length, offset) = (call.args[1], call.args[5]);
        let Some(end) = start.checked_add(length) else { return };
        let tables = probes.tables();
        let mut fitting = files.iter().filter(|file| tables.has_code_at(file, offset, length));
        let (Some(binary), None, true) = (fitting.next(), fitting.next(), *of == key) else {
            return;
        };
        let Some(path) = binary.opened_as.clone() else { return };
        let inode = binary.stamp.map_or(0, |stamp| stamp.inode);
        let binary = Some(Arc::clone(binary));
        let module = Module { range: start..end, offset, path, device: (0, 0), inode, binary };
        let mut map = feed.session().code_of(event.pid).cloned().unwrap_or_default();
        map.add(event.time_ns, module);
        let living: Vec<Module> = map.living().cloned().collect();
        feed.code(event.pid, event.time_ns, &living);
    }

    /// A program begins: a perf map file that is there already is another's.
    pub(super) fn begin_names(&mut self, feed: &mut Feed, pid: u32, tid: u32) {
        self.makers.remove(&pid);
        let Some(key) = feed.session().space_of(pid) else { return };
        self.written.begin(self.catalogue.worker(), pid, tid, key);
    }

    /// A process was forked. What its parent has written names for, it goes on running.
    pub(super) fn forked(&mut self, feed: &mut Feed, parent: u32, pid: u32, tid: u32) {
        if self.makers.contains(&parent) {
            self.begin_names(feed, pid, tid);
            self.makers.insert(pid);
        } else {
            self.begin_attached(feed, pid);
        }
    }

    /// A call may have made code that no file holds. Where it lies is read when the events of now are
    /// taken, unless it is known: programs change between writing and running the same memory.
    pub(super) fn made(&mut self, session: &mut Session, pid: u32, call: &MapCall) {
        self.makers.insert(pid);
        let start = if call.syscall == libc::SYS_mmap { call.result as u64 } else { call.args[0] };
        let known = session.code_of(pid).is_some_and(|code| {
            let end = start.saturating_add(call.args[1]);
            code.living().any(|module| module.range.start <= start && end <= module.range.end)
        });
        if !known {
            self.made.note(pid);
        }
    }

    /// Reads the mappings of processes that have made code.
    pub(super) fn read_made(&mut self, to: To<'_>) {
        let To { probes, feed, losses } = to;
        for pid in self.made.take_due(Instant::now()) {
            let begun = Instant::now();
            let to = To { probes: &mut *probes, feed: &mut *feed, losses: &mut *losses };
            self.scan(to, pid, pid, Image::MayBeAnother);
            self.made.read(pid, Instant::now(), begun.elapsed());
        }
    }

    /// The same of a process that ran before: the file that is there is its own.
    pub(super) fn begin_attached(&mut self, feed: &mut Feed, pid: u32) {
        if let Some(key) = feed.session().space_of(pid) {
            self.written.begin_with_none(pid, key);
        }
    }

    /// Reads the names that a process's program has written for its own code so far. When it
    /// executes another one, they are still of the one before.
    pub(super) fn read_names(&mut self, to: To<'_>, pid: u32, tid: u32) {
        if !self.makers.contains(&pid) {
            return;
        }
        match self.written.read(self.catalogue.worker(), pid, tid) {
            Ok(Some((key, names))) => {
                if names.bad_lines > 0 {
                    let why = format!("process {pid}: {} lines are no entries", names.bad_lines);
                    to.losses.note("perf-map", why);
                }
                if names.left_out > 0 {
                    let why = format!("process {pid}: {} lines are too many", names.left_out);
                    to.losses.note("perf-map", why);
                }
                to.feed.apply(&Input::Written(key, names.to_text().into_bytes()));
            }
            Ok(None) => {}
            Err(why) => to.losses.note("perf-map", why),
        }
    }

    /// A process stands at its exit; its names were read.
    pub(super) fn exiting(&mut self, pid: u32) {
        self.written.forget(pid);
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, pid: u32) {
        self.predicted.remove(&pid);
        self.makers.remove(&pid);
        self.made.forget(pid);
    }
}

/// Whether a mapping holds code that a program may have made: no ELF file does, nor the kernel.
fn is_made(module: &Module) -> bool {
    let file = module.binary.as_ref().is_some_and(|binary| binary.headers.is_some());
    !file && !module.path.starts_with("[v") || module.path.starts_with("/memfd:")
}

/// What the program of a process is, if its file is the system's own and was looked at a moment ago.
fn program(pid: u32, code: &ModuleMap) -> Option<Stamp> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path = path.to_str()?;
    let of = code.living().find(|module| module.path == path)?.binary.as_ref()?;
    of.stamp.filter(|_| of.is_lasting)
}
