//! Many stacks → frames.
//!
//! Comes in: [`RawStack`]s, each with the [`ModuleMap`] of its address space. Goes out:
//! [`Symbolized`].
//!
//! **The address that is looked up** is the instruction's own for the innermost frame, and the
//! return address − 1 for its callers, which lies in the call. A frame's `offset` is that same
//! address as the file has it, so `addr2line -e MODULE OFFSET` finds the same function and line.
//! The frame that a signal interrupted, and the signal's trampoline, are taken as they are.
//!
//! **Modules without a file**: `[anon]` is executable memory without a name (code made at run
//! time), `[unknown]` an address in no mapping that was seen; their `offset` is the address in
//! the process. What a perf map file of the program names there has the module [`PERF_MAP`]. Where a file's headers could not be read it is the offset in the file.
//!
//! **Markers**: a stack that is not [`StackEnd::Complete`] ends in a frame without a function
//! whose module is [`incomplete_marker`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;

use rustc_hash::FxHashMap;

use super::folders::{Folders, Sought};
use super::module::{Binary, ModuleMap, Names};
use super::resolve::{Resolved, Resolver};
use super::runtimes::{self, Runs};
use super::script_names;
use crate::report::{Frame, Frames, Stack, StackId};
use crate::runtime::python::Definitions;
use crate::trace::{Run, StackEnd};

/// Parsers of debug information recurse; memory for it is only used where they do.
const PARSER_STACK: usize = 64 << 20;
/// Most files whose debug information is read at once: it can be large.
const PARSERS: usize = 4;

/// Bytes of long names in all stacks together, and what a long one is cut to if there are more.
const LONG_NAMES_MAX: usize = 64 << 20;
const LONG_NAME: usize = 1024;

/// [`Frame::language`] of JavaScript's frames.
const JAVASCRIPT: &str = "javascript";
/// The module of frames whose name the program itself wrote (see [`super::perf_map`]).
pub const PERF_MAP: &str = "[perf map]";

/// `mov $15, %rax; syscall`: `rt_sigreturn`, by which unwinders know a signal frame on x86-64.
#[cfg(target_arch = "x86_64")]
const SIGRETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// `mov x8, #139; svc #0`, the same on arm64 (there it stands in the vDSO).
#[cfg(not(target_arch = "x86_64"))]
const SIGRETURN: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

/// One user stack as it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// Its id in the report.
    pub id: StackId,
    /// When it was first seen: which library was mapped then.
    pub time_ns: u64,
    /// How the walk ended.
    pub end: StackEnd,
    /// Innermost first, as in [`crate::trace::Stack`].
    pub ips: Arc<[u64]>,
    /// Frames of a language runtime, each run in place of one of those frames.
    pub runs: Box<[Run]>,
    /// Not all frames of the runtime are there.
    pub cut: bool,
}

/// Stacks with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbolized {
    /// In the order in which they came.
    pub stacks: Vec<Stack>,
    /// What could be named.
    pub stats: Stats,
}

/// What could be named, in distinct places (an offset in a file, or an address without one).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// All of them.
    pub places: u64,
    /// Those with a function.
    pub named: u64,
    /// Those in memory without a file: `[anon]`, `[unknown]`.
    pub no_file: u64,
    /// Those in a file that has no symbol for them.
    pub no_symbol: u64,
    /// By module, why names or lines of it are missing.
    pub problems: BTreeMap<String, String>,
    /// What came of looking in the folders with symbols.
    pub sought: Sought,
}

/// The module of the marker frame that stands outermost; `None` for a complete stack.
#[must_use]
pub const fn incomplete_marker(end: StackEnd) -> Option<&'static str> {
    Some(match end {
        StackEnd::Complete => return None,
        StackEnd::Approximate => "[approximate: walked by frame pointers]",
        StackEnd::Truncated => "[incomplete: too many frames]",
        StackEnd::Unreadable => "[incomplete: stack memory not readable]",
        StackEnd::NoMapping => "[incomplete: no known mapping]",
        StackEnd::NoRow => "[incomplete: no unwind row]",
        StackEnd::Unsupported => "[incomplete: unwind rule not supported]",
        StackEnd::Inconsistent => "[incomplete: stack pointer did not rise]",
        StackEnd::None => "[incomplete: no user registers]",
        StackEnd::Unknown => "[incomplete: unknown end]",
    })
}

/// Where a frame's code is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// File (index) and offset in it.
    File(usize, u64),
    /// An address in executable memory without a file that could be opened; the name's index.
    Memory(usize, u64),
    /// The same where the program's perf map file has a name; the name's index.
    Written(usize, u64),
}

/// What the frames of a stack follow from.
#[derive(PartialEq, Eq, Hash)]
struct Look<'a> {
    places: Vec<Place>,
    end: StackEnd,
    cut: bool,
    runs: &'a [Run],
}

/// The files and places that stacks name, each once.
#[derive(Default)]
struct Places<'a> {
    files: Vec<(&'a Arc<Binary>, &'a str)>,
    file_index: HashMap<(*const Binary, &'a str), usize>,
    names: Vec<&'a str>,
    offsets: Vec<HashSet<u64>>,
    memory: HashSet<(usize, u64)>,
    written: HashSet<(usize, u64)>,
    name_index: HashMap<&'a str, usize>,
    trampolines: HashMap<(usize, u64), bool>,
}

/// Where the code stands to which signal handlers return, in a piece of code.
pub fn trampolines_in(code: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memmem::find_iter(code, &SIGRETURN)
}

/// Names all frames of all stacks, each with the map of its own address space.
pub fn symbolize<'a>(
    stacks: impl IntoIterator<Item = (&'a RawStack, &'a ModuleMap)>,
) -> Symbolized {
    symbolize_keeping(stacks, &Definitions::default(), &Folders::default()).0
}

/// The same by a resolver of the caller's, with what frames of language runtimes are called; and the
/// names that were found for each file (with the name under which it was mapped), for a recording.
pub fn symbolize_keeping<'a>(
    stacks: impl IntoIterator<Item = (&'a RawStack, &'a ModuleMap)>,
    definitions: &Definitions,
    resolver: &impl Resolver,
) -> (Symbolized, Vec<(Arc<Binary>, String, Names)>) {
    let mut places = Places::default();
    let located: Vec<(&RawStack, Vec<Place>)> =
        stacks.into_iter().map(|(raw, map)| (raw, places.locate(raw, map))).collect();

    let mut stats = Stats::default();
    let resolved = at_once(places.files.len(), |file| {
        let (binary, module) = places.files[file];
        let mut offsets: Vec<u64> = places.offsets[file].iter().copied().collect();
        offsets.sort_unstable();
        resolver.resolve(binary, module, &offsets)
    });
    for ((_, module), file) in places.files.iter().zip(&resolved) {
        for frames in file.frames.values() {
            stats.places += 1;
            let named = frames.iter().any(|frame| frame.function.is_some());
            *if named { &mut stats.named } else { &mut stats.no_symbol } += 1;
        }
        stats.sought.add(&file.sought);
        if let Some(problem) = &file.problem {
            stats.problems.insert((*module).to_owned(), problem.clone());
        }
    }
    stats.no_file = places.memory.len() as u64;
    stats.named += places.written.len() as u64;
    stats.places += stats.no_file + places.written.len() as u64;

    let longest = longest_name(&located, &resolved);
    let name = |raw: &RawStack, at: Vec<Place>| {
        let mut frames: Vec<Frame> = Vec::with_capacity(at.len() + 1);
        let whole = raw.end == StackEnd::Complete && !raw.cut;
        let mut runs = Runs::new(&raw.runs, definitions, whole, || {
            let is_loop = |place: &Place| match place {
                Place::File(file, offset) => resolved[*file]
                    .frames
                    .get(offset)
                    .is_some_and(|frames| frames.iter().any(runtimes::is_loop)),
                Place::Memory(..) | Place::Written(..) => false,
            };
            let loops = at.iter().zip(0..).filter(|(place, _)| is_loop(place));
            loops.map(|(_, number)| number).collect()
        });
        for (place, number) in at.into_iter().zip(0_usize..) {
            if runs.stand_for(number, &mut frames) {
                continue;
            }
            match place {
                Place::File(file, offset) => {
                    let found = resolved[file].frames.get(&offset);
                    frames.extend(found.into_iter().flatten().map(|f| shortened(f, longest)));
                }
                Place::Memory(name, address) => {
                    frames.push(Frame::at(places.names[name], address));
                }
                Place::Written(name, _) if runs.name_again(places.names[name]) => {}
                Place::Written(name, address) => {
                    frames.push(written(places.names[name], address));
                }
            }
        }
        frames.extend(incomplete_marker(raw.end).map(|marker| Frame::at(marker, 0)));
        runs.rest(&mut frames);
        frames.extend(raw.cut.then(|| Frame::at(runtimes::CUT, 0)));
        Frames::from(frames)
    };
    // Every process of a program has the same stacks.
    let mut known: FxHashMap<Look<'_>, Frames> = FxHashMap::default();
    let stacks = located
        .into_iter()
        .map(|(raw, at)| {
            let look = Look { places: at.clone(), end: raw.end, cut: raw.cut, runs: &raw.runs };
            let frames = known.entry(look).or_insert_with(|| name(raw, at)).clone();
            Stack { id: raw.id, complete: raw.end == StackEnd::Complete && !raw.cut, frames }
        })
        .collect();
    let mut names: Vec<_> = places
        .files
        .iter()
        .zip(resolved)
        .map(|((binary, module), resolved)| {
            let names = Names::of(resolved.frames);
            (Arc::clone(binary), (*module).to_owned(), names)
        })
        .collect();
    for ((file, offset), _) in places.trampolines.iter().filter(|(_, is)| **is) {
        names[*file].2.trampolines.insert(*offset);
    }
    (Symbolized { stacks, stats }, names)
}

/// A frame whose name the program itself wrote.
fn written(name: &str, address: u64) -> Frame {
    match script_names::parse(name) {
        Some(found) => Frame {
            function: Some(found.name.to_owned()),
            file: Some(found.script.to_owned()),
            line: Some(found.line),
            language: Some(JAVASCRIPT.to_owned()),
            ..Frame::at(found.script, address)
        },
        None => Frame { function: Some(name.to_owned()), ..Frame::at(PERF_MAP, address) },
    }
}

/// How long names may be so that those of all stacks together stay within a budget: a file may have
/// one name of megabytes that stands in every stack.
fn longest_name(located: &[(&RawStack, Vec<Place>)], resolved: &[Resolved]) -> usize {
    let names = |place: &Place| match place {
        Place::File(file, offset) => {
            let frames = resolved.get(*file).and_then(|file| file.frames.get(offset));
            frames.into_iter().flatten().map(long_names).sum()
        }
        Place::Memory(..) | Place::Written(..) => 0,
    };
    let total: usize = located.iter().flat_map(|(_, at)| at).map(names).sum();
    if total > LONG_NAMES_MAX { LONG_NAME } else { usize::MAX }
}

/// Bytes of the texts of a frame that are longer than most are.
fn long_names(frame: &Frame) -> usize {
    let texts = [&frame.function, &frame.file];
    texts.into_iter().flatten().map(String::len).filter(|length| *length > LONG_NAME).sum()
}

fn shortened(frame: &Frame, longest: usize) -> Frame {
    let mut frame = frame.clone();
    for text in [&mut frame.function, &mut frame.file].into_iter().flatten() {
        if let Some((end, _)) = text.char_indices().nth(longest) {
            text.truncate(end);
            text.push('…');
        }
    }
    frame
}

/// Does pieces of work `0..count`, several at once, on threads with room for recursion; what comes
/// of each stands in its place. What no thread could do (there can be none, or it panicked) is done
/// here.
fn at_once<T: Send + Sync>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let done: Vec<OnceLock<T>> = (0..count).map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let pieces = || {
        loop {
            let piece = next.fetch_add(1, Relaxed);
            let Some(place) = done.get(piece) else { break };
            place.get_or_init(|| work(piece));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(PARSERS).min(count);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map_while(|_| {
                let name = "rmap-symbol".to_owned();
                let builder = thread::Builder::new().name(name).stack_size(PARSER_STACK);
                builder.spawn_scoped(scope, pieces).ok()
            })
            .collect();
        // A panic is told by what is missing.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    });
    let missing =
        |(piece, done): (usize, OnceLock<T>)| done.into_inner().unwrap_or_else(|| work(piece));
    done.into_iter().enumerate().map(missing).collect()
}

impl<'a> Places<'a> {
    /// Where the frames of one stack are; notes what is to be looked up.
    fn locate(&mut self, raw: &RawStack, map: &'a ModuleMap) -> Vec<Place> {
        let mut exact = true;
        let mut at = Vec::with_capacity(raw.ips.len());
        for &ip in &*raw.ips {
            let trampoline = !exact && self.is_trampoline(ip, raw.time_ns, map);
            let address = if exact || trampoline { ip } else { ip.wrapping_sub(1) };
            exact = trampoline;
            at.push(self.place(address, raw.time_ns, map));
        }
        at
    }

    fn place(&mut self, address: u64, time_ns: u64, map: &'a ModuleMap) -> Place {
        let Some(module) = map.find(address, time_ns) else {
            return self.memory("[unknown]", address, map);
        };
        let Some(binary) = &module.binary else {
            return self.memory(module.name(), address, map);
        };
        let file = self.file(binary, module.name());
        let offset = module.offset.wrapping_add(address.wrapping_sub(module.range.start));
        self.offsets[file].insert(offset);
        Place::File(file, offset)
    }

    fn file(&mut self, binary: &'a Arc<Binary>, module: &'a str) -> usize {
        *self.file_index.entry((Arc::as_ptr(binary), module)).or_insert_with(|| {
            self.files.push((binary, module));
            self.offsets.push(HashSet::new());
            self.files.len() - 1
        })
    }

    fn memory(&mut self, module: &'a str, address: u64, map: &'a ModuleMap) -> Place {
        let written = map.written_name(address);
        let names = &mut self.names;
        let name = *self.name_index.entry(written.unwrap_or(module)).or_insert_with_key(|name| {
            names.push(name);
            names.len() - 1
        });
        if written.is_some() {
            self.written.insert((name, address));
            return Place::Written(name, address);
        }
        self.memory.insert((name, address));
        Place::Memory(name, address)
    }

    /// Whether `ip` is the code to which a signal handler returns. What follows it in the stack
    /// is not a return address, and the byte before it is another function's.
    fn is_trampoline(&mut self, ip: u64, time_ns: u64, map: &'a ModuleMap) -> bool {
        let Some(module) = map.find(ip, time_ns) else { return false };
        let Some(binary) = &module.binary else { return false };
        let file = self.file(binary, module.name());
        let offset = module.offset.wrapping_add(ip.wrapping_sub(module.range.start));
        *self.trampolines.entry((file, offset)).or_insert_with(|| {
            if let Some(names) = binary.names.get()
                && binary.file.is_none()
            {
                return names.trampolines.contains(&offset);
            }
            if binary.trampolines.contains(&offset) {
                return true;
            }
            let mut code = [0; SIGRETURN.len()];
            let file = binary.file.as_ref();
            file.is_some_and(|file| file.read_exact_at(&mut code, offset).is_ok())
                && code == SIGRETURN
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn pieces_of_work_stand_in_their_places() {
        assert!(at_once(0, |piece| piece).is_empty());
        assert_eq!(at_once(1, |piece| piece), vec![0_usize]);
        let squares: Vec<usize> = (0..100).map(|piece| piece * piece).collect();
        assert_eq!(at_once(100, |piece| piece * piece), squares);
    }

    #[test]
    fn a_piece_on_which_its_thread_ended_is_done_once_more() {
        let first = AtomicBool::new(true);
        let done = at_once(20, |piece| {
            assert!(
                piece != 3 || !first.swap(false, Relaxed),
                "meant to be seen in a test's output"
            );
            piece
        });
        assert_eq!(done, (0..20).collect::<Vec<_>>());
    }
}
