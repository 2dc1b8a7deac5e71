//! Whether a mapped file is a CPython, which one, and how the kernel side is to read it.
//!
//! Comes in: an ELF file, read piece by piece, and its name. Goes out: an [`Interpreter`], or why it
//! is not read. Nothing beyond `.dynsym` is needed, so stripped files do. The file's own data must
//! agree with what is known of that version; where it does not the layout is unknown, and nothing is
//! read.

use object::LittleEndian as Endian;
use object::elf::{FileHeader64, SHT_DYNSYM, SectionHeader64, Sym64};
use object::pod::slice_from_all_bytes;
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};
use rmap_ebpf::abi::PythonConfig;
use serde::{Deserialize, Serialize};

use super::layout::{TYPE_BASIC_SIZE, Version, layout};
use crate::unwind::elf::Elf;

/// Bytes at the start of a file in which its headers are looked for.
const HEAD: usize = 4096;
/// Most section headers that are read.
const SECTIONS_MAX: usize = 4096;
/// Most bytes of `.dynsym` and of `.dynstr`.
const SYMBOLS_MAX: u64 = 64 << 20;

/// The first bytes of `_PyRuntime` from 3.13 on (`Include/internal/pycore_debug_offsets.h`); the
/// version, whether the build is free-threaded, and sizes follow.
const COOKIE: &[u8] = b"xdebugpy";
/// The first version that has it.
const HAS_COOKIE: u8 = 13;

/// A CPython that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Its version.
    pub version: Version,
    /// Address of `_PyRuntime` before relocation.
    runtime: u64,
    /// Address of `PyCode_Type` before relocation.
    code_type: u64,
}

impl Interpreter {
    /// What the kernel side needs where the file is mapped `bias` bytes above the addresses that it
    /// names; `None` for a version that is not known. `salt` tells its code objects from those of
    /// other programs.
    #[must_use]
    pub fn config(&self, bias: u64, salt: u64) -> Option<PythonConfig> {
        let known = layout(self.version.minor)?;
        let key_at = self.runtime.wrapping_add(bias).wrapping_add(known.key);
        let code_type = self.code_type.wrapping_add(bias);
        Some(PythonConfig { salt, key_at, code_type, ..known.config })
    }
}

/// What a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// No CPython.
    #[default]
    Nothing,
    /// One that can be read.
    Interpreter(Interpreter),
    /// One that is not read: its version as far as it is known, and why.
    Refused(Option<Version>, String),
}

/// Looks at a file with the name under which it was mapped. `read` gives so many bytes from an offset
/// in the file on.
#[must_use]
pub fn recognise(name: &str, read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Found {
    look(name, &read).unwrap_or_default()
}

fn look(name: &str, read: &dyn Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Found> {
    let head = read(0, HEAD)?;
    let elf = Elf::parse(&head).ok()?;
    let symbols = Symbols::find(&head, read)?;
    let (runtime, code_type) = (symbols.runtime?, symbols.code_type?);
    let bytes_at = |address: u64, count: usize| {
        let holds = |at: &u64, size: u64| *at < size;
        let offset = elf.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address);
            let within = within.filter(|at| holds(at, segment.file_size))?;
            segment.offset.checked_add(within)
        })?;
        read(offset, count)
    };
    let version = symbols.version.and_then(|at| version_of(&bytes_at(at.address, 8)?));
    let Some(version) = version.or_else(|| version_of_name(name)) else {
        return Some(Found::Refused(None, "layout unknown: the file names no version".to_owned()));
    };
    let refused = |why: &str| Some(Found::Refused(Some(version), why.to_owned()));
    if symbols.musl {
        return refused("built for musl, whose thread-local storage is not read");
    }
    let known = if version.major == 3 { layout(version.minor) } else { None };
    let Some(known) = known else {
        return refused("layout unknown: this version is not supported");
    };
    if runtime.size < known.key + 8 {
        return refused("layout unknown: _PyRuntime is smaller than that of this version");
    }
    if version.minor >= HAS_COOKIE {
        let Some(table) = bytes_at(runtime.address, 24) else {
            return refused("layout unknown: no debug offsets");
        };
        if !table.starts_with(COOKIE) {
            return refused("layout unknown: no debug offsets");
        }
        if word(&table, 16) != Some(0) {
            return refused("free-threaded build");
        }
        let stated = word(&table, 8).map(|stated| stated >> 16);
        if stated != Some(u64::from(version.major) << 8 | u64::from(version.minor)) {
            return refused("layout unknown: its debug offsets are of another version");
        }
    }
    let size_at = code_type.address.saturating_add(TYPE_BASIC_SIZE);
    let basic_size = bytes_at(size_at, 8).and_then(|bytes| word(&bytes, 0));
    if known.code_size != 0 && basic_size != Some(known.code_size) {
        return refused("layout unknown: its code objects have another size");
    }
    Some(Found::Interpreter(Interpreter {
        version,
        runtime: runtime.address,
        code_type: code_type.address,
    }))
}

/// Eight bytes at a place.
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// `Py_Version` (`PY_VERSION_HEX`): a byte each of major, minor and micro version, then the release.
fn version_of(bytes: &[u8]) -> Option<Version> {
    let number = word(bytes, 0)?;
    let byte = |shift: u32| u8::try_from(number >> shift & 0xff).ok();
    let version = Version { major: byte(24)?, minor: byte(16)?, micro: byte(8) };
    (number >> 32 == 0).then_some(version)
}

/// `python3.9`, `libpython3.10.so.1.0`.
fn version_of_name(name: &str) -> Option<Version> {
    let name = name.rsplit('/').next()?;
    let (_, rest) = name.split_once("python")?;
    let (major, rest) = rest.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let minor = rest.get(..digits)?.parse().ok()?;
    Some(Version { major: major.parse().ok()?, minor, micro: None })
}

/// A symbol of data.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    address: u64,
    size: u64,
}

/// The symbols by which CPython is known.
#[derive(Debug, Default)]
struct Symbols {
    runtime: Option<Symbol>,
    code_type: Option<Symbol>,
    version: Option<Symbol>,
    musl: bool,
}

impl Symbols {
    /// Looks through `.dynsym`; `None` if there is none, or nothing of CPython in it.
    fn find(head: &[u8], read: &dyn Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Self> {
        let header = FileHeader64::<Endian>::parse(head).ok()?;
        let count = usize::from(header.e_shnum.get(Endian)).min(SECTIONS_MAX);
        let size = size_of::<SectionHeader64<Endian>>();
        let bytes = read(header.e_shoff.get(Endian), count.checked_mul(size)?)?;
        let sections = slice_from_all_bytes::<SectionHeader64<Endian>>(&bytes).ok()?;
        let table = sections.iter().find(|section| section.sh_type(Endian) == SHT_DYNSYM)?;
        let part = |section: &SectionHeader64<Endian>| {
            let size = Some(section.sh_size(Endian)).filter(|size| *size <= SYMBOLS_MAX)?;
            read(section.sh_offset(Endian), usize::try_from(size).ok()?)
        };
        let names = part(sections.get(usize::try_from(table.sh_link(Endian)).ok()?)?)?;
        // Most files end here, before their symbols are read.
        if !has(&names, b"\0_PyRuntime\0") {
            return None;
        }
        let symbols = part(table)?;
        let mut found = Self { musl: has(&names, b"libc.musl-"), ..Self::default() };
        for symbol in slice_from_all_bytes::<Sym64<Endian>>(&symbols).ok()? {
            let name = names.get(usize::try_from(symbol.st_name(Endian)).ok()?..);
            let name = name.and_then(|name| name.split(|byte| *byte == 0).next());
            let place = match name {
                Some(b"_PyRuntime") => &mut found.runtime,
                Some(b"PyCode_Type") => &mut found.code_type,
                Some(b"Py_Version") => &mut found.version,
                _ => continue,
            };
            *place = defined(symbol).or(*place);
        }
        Some(found)
    }
}

fn defined(symbol: &Sym64<Endian>) -> Option<Symbol> {
    let address = symbol.st_value(Endian);
    (symbol.st_shndx(Endian) != 0 && address != 0)
        .then(|| Symbol { address, size: symbol.st_size(Endian) })
}

/// Whether bytes are among others.
fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|bytes| bytes == wanted)
}

/// Takes any bytes as a file. For fuzzing: it must not panic.
pub(super) fn fuzz_entry(bytes: &[u8]) {
    let _ = recognise("libpython3.13.so", of_bytes(bytes));
}

/// Reads of a file that is in memory. Behind its end nothing is read but the headers.
fn of_bytes(bytes: &[u8]) -> impl Fn(u64, usize) -> Option<Vec<u8>> + '_ {
    |offset, count| {
        let from = bytes.get(usize::try_from(offset).ok()?..)?;
        let count = if offset == 0 { count.min(from.len()) } else { count };
        from.get(..count).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stands_in_names_of_files() {
        let version = |name| version_of_name(name).map(|version| version.to_string());
        assert_eq!(version("/usr/lib/libpython3.10.so.1.0").as_deref(), Some("3.10"));
        assert_eq!(version("/opt/python/bin/python3.8").as_deref(), Some("3.8"));
        for name in ["/usr/bin/python3", "/usr/bin/perl", "python", "python3.", "python3.x"] {
            assert_eq!(version(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_python_is_nothing() {
        assert_eq!(recognise("python3.11", of_bytes(b"\x7fELF")), Found::Nothing);
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(recognise("python3.11", of_bytes(&own)), Found::Nothing);
    }

    /// The interpreter of this machine, if it is one that can be read.
    #[test]
    fn the_python_of_this_machine_is_recognised() {
        let path = "/usr/bin/python3";
        let Ok(path) = std::fs::canonicalize(path) else {
            println!("SKIP the_python_of_this_machine_is_recognised: no {path}");
            return;
        };
        let bytes = std::fs::read(&path).unwrap();
        let Found::Interpreter(python) = recognise(&path.to_string_lossy(), of_bytes(&bytes))
        else {
            println!("SKIP the_python_of_this_machine_is_recognised: none of a known version");
            return;
        };
        let config = python.config(0x1000, 7).unwrap();
        assert_eq!((config.salt, config.active), (7, 1));
        assert_eq!(config.minor, u32::from(python.version.minor));
        assert!(config.key_at > 0x1000 && config.code_type > 0x1000);
        // A file that lies of its size, or is cut, is not read.
        assert_eq!(recognise("python3.11", of_bytes(&bytes[..bytes.len() / 2])), Found::Nothing);
    }
}
