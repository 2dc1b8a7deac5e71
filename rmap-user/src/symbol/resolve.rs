//! One file's offsets → frames.
//!
//! Comes in: a [`Binary`], the name of its module, the file offsets to look up. Goes out: for
//! each offset its frames, innermost first: inlined functions, then the function itself. The names
//! that a recording has are taken as they are if they have lines; others are looked up again.
//!
//! blazesym takes paths, so it gets `/proc/self/fd/N` of files that stay open meanwhile. Each
//! file has a symbolizer of its own, dropped with all its caches at the end. The separate debug
//! file is found here and not by blazesym, which would follow any name that a file gives.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

use super::debug_file;
use super::demangle::{cut, demangle};
use super::depth;
use super::elf::{Headers, Sections};
use super::folders::{Folders, Sought};
use super::go;
use super::guard::guarded;
use super::module::{Binary, Names, Stamp};
use crate::report::{Address, Frame};

/// After this long in one file its debug information is left aside; its symbols are quick.
const TIME_MAX: Duration = Duration::from_secs(20);

/// The frames of one file.
#[derive(Debug, Default)]
pub struct Resolved {
    /// By file offset. Each has one frame or more.
    pub frames: HashMap<u64, Vec<Frame>>,
    /// Why names are missing for the file as a whole.
    pub problem: Option<String>,
    /// What came of looking in the folders.
    pub sought: Sought,
}

/// Who finds names in files: this process, or one that may do nothing else.
pub trait Resolver: Sync {
    /// Looks up `offsets`, which are in order, in the file of `binary`, which was mapped as `module`.
    fn resolve(&self, binary: &Binary, module: &str, offsets: &[u64]) -> Resolved;

    /// What a person should know of how symbols were looked for in folders.
    fn notes(&self, _sought: &Sought) -> Vec<String> {
        Vec::new()
    }

    /// One line about files that were too much, if there were any.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// This process, with folders in which symbols are looked for too.
impl Resolver for Folders {
    fn resolve(&self, binary: &Binary, module: &str, offsets: &[u64]) -> Resolved {
        resolve(binary, module, offsets, self)
    }

    fn notes(&self, sought: &Sought) -> Vec<String> {
        Self::notes(self, sought)
    }
}

/// A file in which names are looked for.
#[derive(Debug)]
pub struct SymbolFile {
    /// The file, or a copy of what its names need.
    pub file: File,
    /// Only root may have written it: what it says of itself is believed.
    pub is_systems: bool,
    /// Its debug information may be read.
    pub dwarf: bool,
}

impl SymbolFile {
    fn lookup(self, sections: Sections) -> Lookup {
        if self.dwarf {
            Lookup::new(self.file, sections)
        } else {
            Lookup::of_symbols(self.file, sections)
        }
    }
}

/// Looks up `offsets` in files that are open: the one that was mapped, if it is the one of this
/// build id, and those that may have its debug information, of which the first with that build id
/// serves. The frames name no module.
pub fn look_up(
    build_id: Option<&str>,
    own: Result<SymbolFile, String>,
    separate: impl IntoIterator<Item = SymbolFile>,
    offsets: &[u64],
    time: Duration,
) -> Resolved {
    let mut resolved = Resolved::default();
    let bare = |address: u64| Frame { offset: Address(address), ..Frame::default() };
    let mut headers = None;
    let mut own_sections = None;
    match own.and_then(|own| {
        let headers = Headers::read(&own.file).map_err(|error| error.to_string())?;
        if build_id.is_some() && headers.build_id.as_deref() != build_id {
            return Err("the file changed since it was mapped".to_owned());
        }
        Ok((own, headers))
    }) {
        Ok((own, own_headers)) => {
            headers = Some(own_headers);
            match Sections::read_as(&own.file, own.is_systems) {
                Ok(sections) => own_sections = Some((own, sections)),
                Err(error) => resolved.problem = Some(error.to_string()),
            }
        }
        Err(problem) => resolved.problem = Some(problem),
    }
    let has_dwarf =
        own_sections.as_ref().is_some_and(|(own, sections)| own.dwarf && sections.has_dwarf());
    let separate = build_id.filter(|_| !has_dwarf).and_then(|build_id| {
        let source = separate.into_iter().find(|source| {
            Headers::read(&source.file)
                .is_ok_and(|headers| headers.build_id.as_deref() == Some(build_id))
        })?;
        let sections = Sections::read_as(&source.file, source.is_systems).ok()?;
        Some(source.lookup(sections))
    });
    let section =
        own_sections.as_ref().and_then(|(own, sections)| go::section(&own.file, sections));
    let go = own_sections.as_ref().zip(headers.as_ref()).zip(section.as_ref());
    let own_file = own_sections.as_ref().and_then(|(own, _)| own.file.try_clone().ok());
    let go = go.zip(own_file.as_ref());
    let go = go.and_then(|(((_, headers), section), file)| go::table(section, file, headers));
    let own = own_sections.map(|(own, sections)| own.lookup(sections));
    let mut sources: Vec<Lookup> = separate.into_iter().chain(own).collect();
    let refused = sources.iter().find_map(|lookup| lookup.refused.clone());
    resolved.problem = refused.or(resolved.problem);
    let mut clock = Clock { started: Instant::now(), time, problem: None };
    for &offset in offsets {
        let address = headers.as_ref().and_then(|headers| headers.address_of(offset));
        let found = address.and_then(|at| clock.look_up(&mut sources, at, &bare(at)));
        let frames = found.unwrap_or_else(|| {
            let function = go.as_ref().zip(address);
            let function = function.and_then(|(go, at)| Some(cut(go.at(at)?.name).to_owned()));
            vec![Frame { function, ..bare(address.unwrap_or(offset)) }]
        });
        resolved.frames.insert(offset, frames);
    }
    resolved.problem = clock.problem.or(resolved.problem);
    resolved
}

/// Looks up `offsets` in the file of `binary`, which was mapped as `module`. What a recording has
/// no name for, or none with a line, is looked for in `folders` and among the system's debug files.
pub(super) fn resolve(
    binary: &Binary,
    module: &str,
    offsets: &[u64],
    folders: &Folders,
) -> Resolved {
    let mut resolved = Resolved::default();
    let bare = |address: u64| Frame {
        module: module.to_owned(),
        build_id: binary.build_id.clone(),
        offset: Address(address),
        ..Frame::default()
    };
    let mut layout = Layout { headers: None, names: binary.names.get() };
    for at in offsets {
        if let Some(frames) = layout.names.and_then(|names| names.frames.get(at)) {
            let own = |frame: &Frame| Frame {
                module: module.to_owned(),
                build_id: binary.build_id.clone(),
                ..frame.clone()
            };
            resolved.frames.insert(*at, frames.iter().map(own).collect());
        }
    }
    let has_line = |at: &u64| resolved.frames[at].iter().any(|frame| frame.file.is_some());
    let (known, unknown): (Vec<u64>, Vec<u64>) =
        offsets.iter().copied().partition(|at| resolved.frames.contains_key(at));
    let (lined, poor): (Vec<u64>, Vec<u64>) = known.into_iter().partition(has_line);
    if unknown.is_empty() && poor.is_empty() {
        return resolved;
    }

    if folders.is_unasked() && !unknown.is_empty() {
        resolved.sought.files += 1;
    }
    let mut own = None;
    if !unknown.is_empty() {
        match open(binary, module, folders) {
            Ok((file, headers)) => {
                layout.headers = Some(headers);
                match Sections::read(&file) {
                    Ok(sections) => own = Some((file, sections)),
                    Err(error) => resolved.problem = Some(error.to_string()),
                }
            }
            Err(problem) => resolved.problem = Some(problem),
        }
    }
    // Who recorded had debug information if there is one line.
    let system = !folders.is_alone()
        && lined.is_empty()
        && own.as_ref().is_none_or(|(_, own)| !own.has_dwarf());
    let mut separate = separate(binary, module, folders, &mut resolved.sought, |id| {
        let link = own.as_ref().and_then(|(_, own)| own.debug_link.as_deref());
        system.then(|| debug_file::find(id, link, module)).flatten()
    });
    let section = own.as_ref().and_then(|(file, sections)| go::section(file, sections));
    let go = own.as_ref().zip(layout.headers.as_ref()).zip(section.as_ref());
    let go = go.and_then(|(((file, _), headers), section)| go::table(section, file, headers));
    let own = own.map(|(file, sections)| Lookup::new(file, sections));
    let refused = separate.iter().chain(&own).find_map(|lookup| lookup.refused.clone());
    resolved.problem = refused.or(resolved.problem);

    let mut clock = Clock { started: Instant::now(), time: TIME_MAX, problem: None };
    for offset in poor {
        let Some(address) = layout.address_of(offset) else { continue };
        let found = clock.look_up(&mut separate, address, &bare(address));
        let better = found.filter(|frames| frames.iter().any(|frame| frame.function.is_some()));
        resolved.frames.extend(better.map(|frames| (offset, frames)));
    }
    separate.extend(own);
    for offset in unknown {
        let address = layout.address_of(offset);
        let found = address.and_then(|at| clock.look_up(&mut separate, at, &bare(at)));
        let frames = found.unwrap_or_else(|| {
            let function = go.zip(address).and_then(|(go, at)| Some(go.at(at)?.name.to_owned()));
            vec![Frame { function, ..bare(address.unwrap_or(offset)) }]
        });
        resolved.frames.insert(offset, frames);
    }
    resolved.problem = clock.problem.or(resolved.problem);
    resolved
}

/// Where a file's bytes lie in memory, as far as its headers or its recording tell.
struct Layout<'a> {
    headers: Option<Headers>,
    names: Option<&'a Names>,
}

impl Layout<'_> {
    /// The virtual address, as the file has it, of the byte at a file offset.
    fn address_of(&self, offset: u64) -> Option<u64> {
        match &self.headers {
            Some(headers) => headers.address_of(offset),
            None => self.names?.address_of(offset),
        }
    }
}

/// The file that was mapped, if it still is what it was.
fn open(binary: &Binary, module: &str, folders: &Folders) -> Result<(File, Headers), String> {
    let (file, kept) = match &binary.file {
        Some(file) => (file.try_clone().map_err(|error| error.to_string())?, true),
        None => {
            let why = binary.why_no_file.as_deref().unwrap_or("it was not kept open");
            if binary.build_id.is_none() || folders.is_alone() {
                return Err(why.to_owned());
            }
            let file = debug_file::open_regular(Path::new(module))
                .map_err(|error| format!("{why}; opening it by its name: {error}"))?;
            (file, false)
        }
    };
    let headers = Headers::read(&file).map_err(|error| error.to_string())?;
    let same = match (&binary.build_id, &binary.stamp) {
        (Some(_), _) => headers.build_id == binary.build_id,
        (None, Some(stamp)) => {
            file.metadata().is_ok_and(|meta| Stamp::from(&meta).has_same_content(stamp))
        }
        (None, None) => kept,
    };
    if same { Ok((file, headers)) } else { Err("the file changed since it was mapped".to_owned()) }
}

/// Files that are not the one that was mapped, but tell of it: those in the folders, then what
/// `system` has. What has debug information comes first.
fn separate(
    binary: &Binary,
    module: &str,
    folders: &Folders,
    sought: &mut Sought,
    system: impl FnOnce(&str) -> Option<File>,
) -> Vec<Lookup> {
    let mut found: Vec<Lookup> = Vec::new();
    if let Some(id) = binary.build_id.as_deref() {
        found.extend(folders.find(id).into_iter().map(|(file, s)| Lookup::new(file, s)));
    }
    if !folders.is_empty() {
        sought.files += 1;
        sought.found += u64::from(!found.is_empty());
        let half = found.first().and_then(|lookup| lookup.refused.as_ref());
        let why = half.map(|why| format!("of {module} in the folder with symbols: {why}"));
        let missing = || folders.mismatch(module, binary.build_id.as_deref());
        sought.refused.extend(if found.is_empty() { missing() } else { why });
    }
    let system = binary.build_id.as_deref().and_then(system);
    found.extend(system.and_then(|file| {
        let sections = Sections::read(&file).ok()?;
        Some(Lookup::new(file, sections))
    }));
    found.sort_by_key(|lookup| !lookup.dwarf);
    found
}

/// Looks addresses up for as long as that is worth.
struct Clock {
    started: Instant,
    /// After this long in debug information it is left aside.
    time: Duration,
    problem: Option<String>,
}

impl Clock {
    /// The frames at an address, from the first file that knows it.
    fn look_up(
        &mut self,
        sources: &mut [Lookup],
        address: u64,
        bare: &Frame,
    ) -> Option<Vec<Frame>> {
        for source in sources {
            if source.dwarf && self.started.elapsed() > self.time {
                self.problem = Some("its debug information takes too long to read".to_owned());
                source.without_dwarf();
            }
            match source.look_up(address) {
                Ok(Some(found)) => {
                    return Some(found.into_iter().map(|f| f.frame(bare)).collect());
                }
                Ok(None) => {}
                Err(problem) => self.problem = Some(problem),
            }
        }
        None
    }
}

/// One file in which addresses are looked up.
struct Lookup {
    file: File,
    sections: Sections,
    dwarf: bool,
    /// Why there is debug information that is not used.
    refused: Option<String>,
    symbolizer: Symbolizer,
}

/// One function at an address.
struct Function {
    name: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    inlined: bool,
}

impl Function {
    fn new(name: &str, at: Option<&CodeInfo<'_>>, inlined: bool) -> Self {
        Self {
            name: (!name.is_empty()).then(|| demangle(name)),
            file: at.map(|at| cut(&at.to_path().to_string_lossy()).to_owned()),
            line: at.and_then(|at| at.line),
            inlined,
        }
    }

    fn frame(self, bare: &Frame) -> Frame {
        Frame {
            function: self.name,
            file: self.file,
            line: self.line,
            inlined: self.inlined,
            ..bare.clone()
        }
    }
}

impl Lookup {
    fn new(file: File, sections: Sections) -> Self {
        let refused = if !sections.has_dwarf() || sections.is_systems {
            None
        } else if sections.has_links {
            // blazesym follows links to wherever they lead.
            Some("its debug information refers to other files".to_owned())
        } else {
            depth::check(&file, &sections).err()
        };
        let dwarf = sections.has_dwarf() && refused.is_none();
        Self { file, sections, dwarf, refused, symbolizer: symbolizer() }
    }

    /// Reads symbols only.
    fn of_symbols(file: File, sections: Sections) -> Self {
        Self { file, sections, dwarf: false, refused: None, symbolizer: symbolizer() }
    }

    /// Symbols only from here on.
    fn without_dwarf(&mut self) {
        self.dwarf = false;
        // A parser that failed may have left half of its caches.
        self.symbolizer = symbolizer();
    }

    /// The functions at `address`, innermost first. `None`: this file names none.
    fn look_up(&mut self, address: u64) -> Result<Option<Vec<Function>>, String> {
        if self.dwarf {
            match self.look_up_once(address, true) {
                Ok(found) => return Ok(found),
                Err(problem) => {
                    self.without_dwarf();
                    let symbol = self.look_up_once(address, false).unwrap_or(None);
                    return symbol.map_or(Err(problem), |found| Ok(Some(found)));
                }
            }
        }
        self.look_up_once(address, false)
    }

    fn look_up_once(&self, address: u64, dwarf: bool) -> Result<Option<Vec<Function>>, String> {
        let found = guarded(|| {
            let sym = self.blazesym(address, dwarf)?;
            let sure = sym.filter(|sym| self.is_sure(sym, address, dwarf));
            let mut found = sure.map(|sym| functions(&sym));
            if dwarf
                && let Some(function) = found.as_mut().and_then(|found| found.last_mut())
                && function.name.is_none()
            {
                let symbol = self.blazesym(address, false)?;
                let sure = symbol.filter(|symbol| self.is_sure(symbol, address, false));
                function.name = sure.map(|symbol| demangle(&symbol.name));
            }
            Ok(found)
        });
        found.unwrap_or_else(|_| Err("it is malformed: the parser panicked".to_owned()))
    }

    fn blazesym(&self, address: u64, dwarf: bool) -> Result<Option<Sym<'_>>, String> {
        let mut elf = Elf::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        elf.debug_syms = dwarf;
        match self.symbolizer.symbolize_single(&Source::Elf(elf), Input::VirtOffset(address)) {
            Ok(Symbolized::Sym(sym)) => Ok(Some(sym)),
            Ok(Symbolized::Unknown(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// blazesym lets a symbol without a size reach up to the next symbol; that may be another
    /// section (the nearest symbol before a PLT is `_init`).
    fn is_sure(&self, sym: &Sym<'_>, address: u64, dwarf: bool) -> bool {
        if sym.size.is_some() || self.sections.share_section(sym.addr, address) {
            return true;
        }
        // A function of several address ranges comes from DWARF without a start and a size, but
        // it was found by its ranges. That it is no symbol is known from the symbol table alone.
        dwarf
            && sym.addr == 0
            && self.blazesym(address, false).is_ok_and(|symbol| {
                symbol.is_none_or(|symbol| symbol.addr != 0 || symbol.size.is_some())
            })
    }
}

fn symbolizer() -> Symbolizer {
    Symbolizer::builder().enable_auto_reload(false).build()
}

/// blazesym gives the function itself, then the inlined ones from the outermost inwards.
fn functions(sym: &Sym<'_>) -> Vec<Function> {
    let inlined = sym.inlined.iter().rev();
    let mut functions: Vec<_> =
        inlined.map(|f| Function::new(&f.name, f.code_info.as_ref(), true)).collect();
    functions.push(Function::new(&sym.name, sym.code_info.as_deref(), false));
    functions
}
