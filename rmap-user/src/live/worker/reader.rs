//! The process that reads foreign bytes: it may do nothing else.
//!
//! Comes in: tasks of the opener, with open files. Goes out: answers. ELF, call frame information,
//! DWARF, Go's tables, perf maps, compressed sections and mangled names are parsed here, in a
//! process without capabilities, without the network and without a file system ([`super::sandbox`]).
//! A file that is too much for it ends it; rmap starts another and goes on without that file.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use super::image::{self, Image};
use super::protocol::{Answer, ModuleAnswer, Opened, Request, TRAMPOLINES_MAX, Task, Wanted};
use super::{needs, sandbox};
use crate::runtime::python::recognise;
use crate::symbol::elf::{Headers, Sections};
use crate::symbol::parts::{Parts, bytes_in};
use crate::symbol::{self, PerfMap, SymbolFile, allocator};
use crate::unwind::{cache, table::Table};

/// Code in which they are looked for, in bytes.
const CODE_MAX: u64 = 256 << 20;

/// What a file may take: of one of the system's more is read.
struct Limits {
    /// Bytes of its parts that are copied.
    bytes: u64,
    /// The same of debug information.
    debug: u64,
    /// Memory, the copies included.
    memory: u64,
    /// Time that its debug information is read.
    time: Duration,
}

impl Limits {
    const fn of(is_systems: bool) -> Self {
        if is_systems {
            Self { bytes: 2 << 30, debug: 4 << 30, memory: 8 << 30, time: Duration::from_secs(20) }
        } else {
            Self {
                bytes: 192 << 20,
                debug: 256 << 20,
                memory: 448 << 20,
                time: Duration::from_secs(2),
            }
        }
    }
}

/// What comes of a task: the answer, the bytes behind it, and a descriptor.
pub type Done = (Answer, Vec<u8>, Option<OwnedFd>);

/// The reader's state: the file that it read last.
#[derive(Debug, Default)]
pub struct Reader {
    last: Option<Image>,
}

impl Reader {
    /// Does a task.
    pub fn run(&mut self, task: Task, files: Vec<OwnedFd>) -> Done {
        let done = |answer| (answer, Vec::new(), None);
        let refused = |why: &str| done(Answer::Refused(why.to_owned()));
        let is_table = matches!(task.request, Request::Table);
        let last = self.last.take();
        let mut files = files.into_iter().map(File::from);
        match &task.request {
            Request::Module { copy_max, .. } => match (task.files.first(), files.next()) {
                (Some(Ok(opened)), Some(file)) => self.module(opened, &file, *copy_max),
                _ => refused("no file came with the request"),
            },
            Request::Allocator { .. } => match (task.files.first(), files.next()) {
                (Some(Ok(opened)), Some(file)) => {
                    let limits = Limits::of(opened.systems);
                    sandbox::limit(limits.memory, limits.time);
                    match allocator::find(&file) {
                        Ok(functions) => done(Answer::Functions(functions)),
                        Err(error) => refused(&error.to_string()),
                    }
                }
                _ => refused("no file came with the request"),
            },
            Request::Table if is_table => match last.map(|image| Table::build(&image.bytes)) {
                Some(Ok(table)) => (Answer::Bytes, cache::encode(&table), None),
                Some(Err(error)) => refused(&error.to_string()),
                None => refused("no file was read before"),
            },
            Request::PerfMap { most, .. } => match files.next() {
                Some(file) => match perf_map(&file, *most) {
                    Ok(names) => (Answer::Bytes, names.encode(), None),
                    Err(why) => refused(&why),
                },
                None => refused("no file came with the request"),
            },
            Request::Names(wanted) => done(names(wanted, &task.files, task.copy, files)),
            _ => refused("not a request of the reader's"),
        }
    }

    fn module(&mut self, opened: &Opened, file: &File, copy_max: u64) -> Done {
        let limits = Limits::of(opened.systems);
        sandbox::limit(limits.memory, limits.time);
        let length = opened.stamp.size;
        let mut answer = ModuleAnswer {
            opened: opened.clone(),
            headers: Headers::read(file).ok(),
            trampolines: Vec::new(),
            debug_link: None,
            python: recognise(&opened.path, |offset, count| {
                // The headers of a file that is shorter than is asked for.
                let count = count.min(usize::try_from(length.saturating_sub(offset)).ok()?);
                let mut bytes = vec![0; count];
                file.read_exact_at(&mut bytes, offset).ok()?;
                Some(bytes)
            }),
            digest: None,
            needs: needs::Needs::default(),
            copied: None,
        };
        let mut copy = None;
        if answer.headers.is_some()
            && let Ok(parts) = Parts::read(file, length)
        {
            answer.trampolines = trampolines(file, &parts);
            // The link alone is wanted, so nothing is unpacked.
            answer.debug_link = Sections::read_as(file, true).ok().and_then(|s| s.debug_link);
            if bytes_in(&parts.unwinding) <= limits.bytes {
                self.last = Image::read(file, length, &parts.unwinding).ok();
            }
            if let Some(image) = &self.last {
                answer.digest = Some(hex(&image.digest));
                answer.needs = needs::parse(&image.bytes).unwrap_or_default();
            }
            if !opened.lasting {
                let has_debug = bytes_in(&parts.debug) <= copy_max.min(COPY_WITH_DEBUG_MAX);
                let ranges = if has_debug { &parts.debug } else { &parts.names };
                if bytes_in(ranges) <= copy_max {
                    copy = image::sealed_copy(file, length, ranges).ok();
                    answer.copied = copy.as_ref().map(|_| (bytes_in(ranges), has_debug));
                }
            }
        }
        (Answer::Module(Box::new(answer)), Vec::new(), copy)
    }
}

/// Of a larger file that may go, symbols are kept and debug information is not, in bytes.
const COPY_WITH_DEBUG_MAX: u64 = 8 << 20;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where in a file the code stands to which signal handlers return.
fn trampolines(file: &File, parts: &Parts) -> Vec<u64> {
    let mut found = Vec::new();
    if bytes_in(&parts.code) > CODE_MAX {
        return found;
    }
    for range in &parts.code {
        let mut code = vec![0; (range.end - range.start) as usize];
        if file.read_exact_at(&mut code, range.start).is_ok() {
            let offsets = symbol::trampolines_in(&code).map(|at| range.start + at as u64);
            found.extend(offsets.take(TRAMPOLINES_MAX - found.len()));
        }
    }
    found
}

fn perf_map(file: &File, most: u64) -> Result<PerfMap, String> {
    let limits = Limits::of(false);
    sandbox::limit(limits.memory, limits.time);
    let bytes = super::super::foreign::read_at_most(file, most).map_err(|e| e.to_string())?;
    Ok(PerfMap::parse(&bytes))
}

/// Names for offsets, from the file that was mapped, or the copy that rmap kept of it, and from the
/// first debug file that is its own.
fn names(
    wanted: &Wanted,
    opened: &[Result<Opened, String>],
    has_copy: bool,
    mut files: impl Iterator<Item = File>,
) -> Answer {
    let mut sources: Vec<Result<(&Opened, File), String>> = opened
        .iter()
        .map(|opened| match opened {
            Ok(opened) => files.next().map(|file| (opened, file)).ok_or_else(String::new),
            Err(why) => Err(why.clone()),
        })
        .collect();
    let copy = files.next().filter(|_| has_copy);
    let is_systems = sources.iter().flatten().any(|(opened, _)| opened.systems);
    let limits = Limits::of(is_systems);
    sandbox::limit(limits.memory, limits.time);
    let mut own = match wanted.own {
        Some(_) if !sources.is_empty() => sources.remove(0),
        _ => Err("it was not kept".to_owned()),
    };
    let changed = own.as_ref().is_ok_and(|(opened, file)| !is_it(wanted, opened, file));
    if changed {
        own = Err("the file changed since it was mapped".to_owned());
    }
    let mut problem = None;
    let own = match (own, copy) {
        (Ok((opened, file)), _) => source(&file, opened, wanted.dwarf, &mut problem),
        (Err(_), Some(file)) => {
            Ok(SymbolFile { file, is_systems: false, dwarf: wanted.dwarf && wanted.copy_has_debug })
        }
        (Err(why), None) => Err(why),
    };
    let separate = sources.into_iter().flatten().filter_map(|(opened, file)| {
        let is_its = Headers::read(&file).is_ok_and(|headers| headers.build_id == wanted.build_id);
        is_its.then(|| source(&file, opened, wanted.dwarf, &mut None).ok())?
    });
    let separate: Vec<SymbolFile> = separate.take(1).collect();
    // Mappings of the copies are counted too, though their memory is counted already.
    let sizes =
        |file: &File| file.metadata().map_or((0, 0), |meta| (meta.len(), meta.blocks() * 512));
    let copies = own.iter().chain(&separate).map(|source| sizes(&source.file));
    let (mapped, copied) = copies.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
    sandbox::limit(limits.memory.saturating_sub(copied).saturating_add(mapped), limits.time);
    let build_id = wanted.build_id.as_deref();
    let resolved = symbol::look_up(build_id, own, separate, &wanted.offsets, limits.time);
    let mut frames: Vec<_> = resolved.frames.into_iter().collect();
    frames.sort_unstable_by_key(|(offset, _)| *offset);
    Answer::Names { frames, problem: resolved.problem.or(problem) }
}

/// Whether an opened file is the one that was mapped: it has its build id, or, without one, nothing of
/// it has changed.
fn is_it(wanted: &Wanted, opened: &Opened, file: &File) -> bool {
    match (&wanted.build_id, &wanted.stamp) {
        (Some(_), _) => {
            Headers::read(file).is_ok_and(|headers| headers.build_id == wanted.build_id)
        }
        (None, Some(stamp)) => stamp.has_same_content(&opened.stamp),
        (None, None) => false,
    }
}

/// A copy of what the names of a file need.
fn source(
    file: &File,
    opened: &Opened,
    mut dwarf: bool,
    problem: &mut Option<String>,
) -> Result<SymbolFile, String> {
    let limits = Limits::of(opened.systems);
    let length = opened.stamp.size;
    let parts = Parts::read(file, length).map_err(|error| error.to_string())?;
    if dwarf && bytes_in(&parts.debug) > limits.debug {
        dwarf = false;
        let why = format!("its debug information is larger than {} MiB", limits.debug >> 20);
        problem.get_or_insert(why);
    }
    let ranges = if dwarf { &parts.debug } else { &parts.names };
    if bytes_in(ranges) > limits.debug {
        return Err(format!("its symbols are larger than {} MiB", limits.debug >> 20));
    }
    let copy = image::sealed_copy(file, length, ranges).map_err(|error| error.to_string())?;
    Ok(SymbolFile { file: copy.into(), is_systems: opened.systems, dwarf })
}
