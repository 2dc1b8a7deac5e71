//! ELF headers of a file that nobody vouches for.
//!
//! Comes in: an open file. Goes out: where its bytes lie in memory, its build id, and whether its
//! sections are fit to be given to blazesym, which trusts sizes. Everything is read by `pread`
//! with a limit; nothing is mapped, so a file that shrinks meanwhile is an error and no signal.
//! 64-bit little-endian files only. Sources: elf(5), the gABI's compression header.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

pub(super) const PHNUM_MAX: u16 = 1024;
/// Of notes and of a debug link, in bytes.
const NOTE_MAX: u64 = 64 << 10;
const BUILD_ID_MAX: usize = 64;
/// Of section names, in bytes.
pub(super) const NAMES_MAX: u64 = 4 << 20;
/// Of a symbol table or its names, in bytes; browsers have some 50 MiB.
pub(super) const SYMBOLS_MAX: u64 = 256 << 20;
/// Of all compressed sections unpacked, in bytes.
const UNPACKED_MAX: u64 = 512 << 20;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
pub(super) const PT_LOAD: u32 = 1;
pub(super) const PT_NOTE: u32 = 4;
pub(super) const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;
pub(super) const SHT_NOBITS: u32 = 8;
const SHF_COMPRESSED: u64 = 0x800;
const COMPRESS_ZLIB: u32 = 1;
const COMPRESS_ZSTD: u32 = 2;

/// Why a file's headers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Reading failed, also because the file is shorter than it says.
    #[error("the file could not be read: {0}")]
    Io(#[from] io::Error),
    /// Not a 64-bit little-endian ELF program or library.
    #[error("not a 64-bit little-endian ELF program or library")]
    NotElf,
    /// A size or count beyond what is read.
    #[error("{0} beyond the limit")]
    Limit(&'static str),
    /// There are no sections, so no symbols.
    #[error("no section headers")]
    NoSections,
    /// Something does not fit together.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Ehdr {
    ident: [u8; 16],
    kind: U16,
    machine: U16,
    version: U32,
    entry: U64,
    pub(super) phoff: U64,
    pub(super) shoff: U64,
    flags: U32,
    ehsize: U16,
    pub(super) phentsize: U16,
    pub(super) phnum: U16,
    pub(super) shentsize: U16,
    pub(super) shnum: U16,
    pub(super) shstrndx: U16,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Phdr {
    pub(super) kind: U32,
    pub(super) flags: U32,
    pub(super) offset: U64,
    vaddr: U64,
    paddr: U64,
    pub(super) filesz: U64,
    memsz: U64,
    align: U64,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Shdr {
    pub(super) name: U32,
    pub(super) kind: U32,
    pub(super) flags: U64,
    addr: U64,
    pub(super) offset: U64,
    pub(super) size: U64,
    pub(super) link: U32,
    info: U32,
    addralign: U64,
    entsize: U64,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Chdr {
    kind: U32,
    reserved: U32,
    size: U64,
    align: U64,
}

/// What the program headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// Lower-case hex.
    pub build_id: Option<String>,
    loads: Vec<Load>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Load {
    offset: u64,
    size: u64,
    vaddr: u64,
    executable: bool,
}

impl Headers {
    /// Reads them.
    ///
    /// # Errors
    /// Not such an ELF file, or it is cut off.
    pub fn read(file: &File) -> Result<Self, ElfError> {
        let ehdr = ehdr(file)?;
        let count = ehdr.phnum.get();
        if count > PHNUM_MAX {
            return Err(ElfError::Limit("program headers"));
        }
        if count != 0 && usize::from(ehdr.phentsize.get()) != size_of::<Phdr>() {
            return Err(ElfError::Malformed("size of a program header"));
        }
        let bytes = read_at(file, ehdr.phoff.get(), usize::from(count) * size_of::<Phdr>())?;
        let phdrs =
            <[Phdr]>::ref_from_bytes(&bytes).map_err(|_| ElfError::Malformed("program headers"))?;
        let mut headers = Self::default();
        for phdr in phdrs {
            if phdr.kind == PT_LOAD {
                headers.loads.push(Load {
                    offset: phdr.offset.get(),
                    size: phdr.filesz.get(),
                    vaddr: phdr.vaddr.get(),
                    executable: phdr.flags.get() & PF_X != 0,
                });
            } else if phdr.kind == PT_NOTE
                && headers.build_id.is_none()
                && phdr.filesz.get() <= NOTE_MAX
                && let Ok(notes) = read_at(file, phdr.offset.get(), phdr.filesz.get() as usize)
            {
                headers.build_id = build_id(&notes, if phdr.align == 8 { 8 } else { 4 });
            }
        }
        Ok(headers)
    }

    /// Whether headers that another process read are such as [`Headers::read`] gives.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        self.loads.len() <= usize::from(PHNUM_MAX)
            && self.build_id.as_ref().is_none_or(|id| {
                id.len() <= 2 * BUILD_ID_MAX && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
    }

    /// Where in the file the code at a virtual address is.
    #[must_use]
    pub fn offset_of_code(&self, address: u64) -> Option<u64> {
        self.loads.iter().filter(|load| load.executable).find_map(|load| {
            let within = address.checked_sub(load.vaddr).filter(|at| *at < load.size)?;
            load.offset.checked_add(within)
        })
    }

    /// The virtual address, as the file has it, of the byte at a file offset. Where segments
    /// share a page of the file, the executable one counts.
    #[must_use]
    pub fn address_of(&self, file_offset: u64) -> Option<u64> {
        let of = |executable| {
            self.loads.iter().find_map(|load| {
                let within = file_offset.checked_sub(load.offset).filter(|at| *at < load.size)?;
                (load.executable == executable).then_some(load.vaddr.wrapping_add(within))
            })
        };
        of(true).or_else(|| of(false))
    }

    /// Virtual address minus file offset of what is mapped from these file offsets, as the file
    /// has it: of the executable segment that has most of them, else of another one. `None`: none
    /// has any.
    #[must_use]
    pub fn bias_of(&self, offsets: &Range<u64>) -> Option<i64> {
        let overlap = |load: &Load| {
            let end = load.offset.saturating_add(load.size).min(offsets.end);
            end.saturating_sub(load.offset.max(offsets.start))
        };
        let most = |executable| {
            let loads = self.loads.iter().filter(|load| load.executable == executable);
            loads.filter(|load| overlap(load) > 0).max_by_key(|load| overlap(load))
        };
        let load = most(true).or_else(|| most(false))?;
        Some(load.vaddr.wrapping_sub(load.offset).cast_signed())
    }
}

/// What the section headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    /// It refers to other files by name (`.gnu_debuglink`, `.gnu_debugaltlink`, `.debug_sup`).
    pub has_links: bool,
    /// The file name of `.gnu_debuglink`, without any directory.
    pub debug_link: Option<String>,
    /// Only root may have written the file: what it says of itself is believed.
    pub is_systems: bool,
    /// It has a full table of symbols (`.symtab`), which `strip` takes away.
    pub has_symbols: bool,
    /// `.debug_info` and `.debug_abbrev`.
    pub(super) info: Option<Part>,
    pub(super) abbrev: Option<Part>,
    /// Go's own table of functions, and the address of `.text`.
    pub(super) go: Option<(Part, u64)>,
    /// Address and size of what is in memory.
    loaded: Vec<(u64, u64)>,
}

/// Where a section's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    offset: u64,
    size: u64,
    compressed: bool,
}

impl Part {
    /// The bytes of a section that is not compressed.
    pub(super) fn bytes(&self, file: &File) -> io::Result<Vec<u8>> {
        read_at(file, self.offset, self.size as usize)
    }

    /// The section's bytes, unpacked.
    pub(super) fn read<'a>(&self, file: &'a File) -> Result<Box<dyn Read + 'a>, ElfError> {
        if self.compressed {
            Ok(unpack(file, self)?.1)
        } else {
            Ok(Box::new(buffered(file, self.offset, self.size)))
        }
    }
}

impl Sections {
    /// Reads them, and checks that blazesym may: sizes within limits, compressed data that
    /// unpacks to the size it states.
    ///
    /// # Errors
    /// There are none, or they are not fit.
    pub fn read(file: &File) -> Result<Self, ElfError> {
        let meta = file.metadata()?;
        Self::read_as(file, meta.uid() == 0 && meta.mode() & 0o022 == 0)
    }

    /// The same of a file of which somebody else knows whether only root may have written it.
    ///
    /// # Errors
    /// As [`Sections::read`].
    pub fn read_as(file: &File, is_systems: bool) -> Result<Self, ElfError> {
        let ehdr = ehdr(file)?;
        let count = ehdr.shnum.get();
        if count == 0 || ehdr.shoff == 0 {
            return Err(ElfError::NoSections);
        }
        if usize::from(ehdr.shentsize.get()) != size_of::<Shdr>() {
            return Err(ElfError::Malformed("size of a section header"));
        }
        let bytes = read_at(file, ehdr.shoff.get(), usize::from(count) * size_of::<Shdr>())?;
        let shdrs =
            <[Shdr]>::ref_from_bytes(&bytes).map_err(|_| ElfError::Malformed("section headers"))?;
        let names = shdrs
            .get(usize::from(ehdr.shstrndx.get()))
            .ok_or(ElfError::Malformed("index of the section names"))?;
        if names.size > NAMES_MAX {
            return Err(ElfError::Limit("section names"));
        }
        let names = read_at(file, names.offset.get(), names.size.get() as usize)?;

        let mut sections = Self { is_systems, ..Self::default() };
        let mut unpacked = 0;
        let (mut go, mut text) = (None, 0);
        for shdr in shdrs {
            if shdr.addr != 0 {
                sections.loaded.push((shdr.addr.get(), shdr.size.get()));
            }
            if shdr.kind == SHT_NOBITS {
                continue;
            }
            let compressed = shdr.flags.get() & SHF_COMPRESSED != 0;
            let part = Part { offset: shdr.offset.get(), size: shdr.size.get(), compressed };
            match c_string(&names, shdr.name.get() as usize) {
                b".symtab" | b".strtab" | b".dynsym" | b".dynstr" if shdr.size > SYMBOLS_MAX => {
                    return Err(ElfError::Limit("the symbol table"));
                }
                b".symtab" => sections.has_symbols = true,
                b".text" => text = shdr.addr.get(),
                b".gopclntab" | b".data.rel.ro.gopclntab" => {
                    go = Some(part).filter(|part| part.size <= SYMBOLS_MAX && !part.compressed);
                }
                b".debug_info" => sections.info = Some(part),
                b".debug_abbrev" => sections.abbrev = Some(part),
                b".gnu_debugaltlink" | b".debug_sup" => sections.has_links = true,
                b".gnu_debuglink" => {
                    sections.has_links = true;
                    if shdr.size <= NOTE_MAX {
                        let link = read_at(file, shdr.offset.get(), shdr.size.get() as usize)?;
                        sections.debug_link = link_name(c_string(&link, 0));
                    }
                }
                _ => {}
            }
            if compressed {
                let (stated, bytes) = unpack(file, &part)?;
                if stated > UNPACKED_MAX - unpacked {
                    return Err(ElfError::Limit("compressed sections"));
                }
                unpacked += stated;
                if !is_systems && io::copy(&mut bytes.take(stated + 1), &mut io::sink())? != stated
                {
                    return Err(ElfError::Malformed("size of compressed data"));
                }
            }
        }
        sections.go = go.map(|part| (part, text));
        Ok(sections)
    }

    /// There is DWARF debug information in the file itself.
    #[must_use]
    pub const fn has_dwarf(&self) -> bool {
        self.info.is_some() && self.abbrev.is_some()
    }

    /// Both addresses lie in the same section: a symbol without a size may stand for the other.
    #[must_use]
    pub fn share_section(&self, one: u64, other: u64) -> bool {
        let holds = |(start, size): (u64, u64), address: u64| {
            address.checked_sub(start).is_some_and(|at| at < size)
        };
        self.loaded.iter().any(|section| holds(*section, one) && holds(*section, other))
    }
}

pub(super) fn ehdr(file: &File) -> Result<Ehdr, ElfError> {
    let bytes = read_at(file, 0, size_of::<Ehdr>()).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ElfError::NotElf,
        _ => ElfError::Io(error),
    })?;
    let ehdr = Ehdr::read_from_bytes(&bytes).map_err(|_| ElfError::NotElf)?;
    // The magic, ELFCLASS64, ELFDATA2LSB.
    let ours = ehdr.ident.starts_with(b"\x7fELF\x02\x01");
    let (ET_EXEC | ET_DYN, true) = (ehdr.kind.get(), ours) else {
        return Err(ElfError::NotElf);
    };
    Ok(ehdr)
}

/// Callers keep `size` within a limit.
pub(super) fn read_at(file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The bytes from `at` up to a NUL, none if there is no NUL.
pub(super) fn c_string(bytes: &[u8], at: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(|byte| *byte == 0).map_or(&[], |end| &rest[..end])
}

/// A debug link is a bare file name; anything else is not followed.
fn link_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let bare = !matches!(name, "" | "." | "..") && !name.contains('/');
    bare.then(|| name.to_owned())
}

/// The GNU build id among notes that are padded to `align` bytes.
fn build_id(mut notes: &[u8], align: usize) -> Option<String> {
    loop {
        let (name_size, rest) = U32::read_from_prefix(notes).ok()?;
        let (size, rest) = U32::read_from_prefix(rest).ok()?;
        let (kind, rest) = U32::read_from_prefix(rest).ok()?;
        let (name_size, size) = (name_size.get() as usize, size.get() as usize);
        let name = rest.get(..name_size)?;
        // The header has 12 bytes; padding counts from the note's start.
        let data_at = (12 + name_size).checked_next_multiple_of(align)? - 12;
        let data = rest.get(data_at..)?;
        let id = data.get(..size)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && (1..=BUILD_ID_MAX).contains(&size) {
            return Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = data.get(size.checked_next_multiple_of(align)?..)?;
    }
}

/// The size that a compressed section states, and its bytes as they unpack.
fn unpack<'a>(file: &'a File, part: &Part) -> Result<(u64, Box<dyn Read + 'a>), ElfError> {
    let header = size_of::<Chdr>();
    let chdr = Chdr::read_from_bytes(&read_at(file, part.offset, header)?)
        .map_err(|_| ElfError::Malformed("compression header"))?;
    let start =
        part.offset.checked_add(header as u64).ok_or(ElfError::Malformed("offset of a section"))?;
    let packed = buffered(file, start, part.size.saturating_sub(header as u64));
    let bytes: Box<dyn Read> = match chdr.kind.get() {
        COMPRESS_ZLIB => Box::new(flate2::bufread::ZlibDecoder::new(packed)),
        COMPRESS_ZSTD => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        // A copy of the names alone has a hole in place of debug information.
        0 => return Ok((0, Box::new(io::empty()))),
        _ => return Err(ElfError::Malformed("kind of compression")),
    };
    Ok((chdr.size.get(), bytes))
}

fn buffered(file: &File, at: u64, size: u64) -> io::BufReader<io::Take<ReadAt<'_>>> {
    io::BufReader::with_capacity(64 << 10, ReadAt { file, at }.take(size))
}

struct ReadAt<'a> {
    file: &'a File,
    at: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, data: &[u8], align: usize) -> Vec<u8> {
        let mut note = Vec::new();
        note.extend((name.len() as u32).to_le_bytes());
        note.extend((data.len() as u32).to_le_bytes());
        note.extend(kind.to_le_bytes());
        note.extend(name);
        note.resize(note.len().next_multiple_of(align), 0);
        note.extend(data);
        note.resize(note.len().next_multiple_of(align), 0);
        note
    }

    #[test]
    fn a_build_id_behind_other_notes() {
        for align in [4, 8] {
            let mut notes = note(b"GNU\0", 5, &[1; 13], align);
            notes.extend(note(b"stapsdt\0", 3, b"not it", align));
            notes.extend(note(b"GNU\0", 3, &[0xab, 0, 0x1f], align));
            assert_eq!(build_id(&notes, align).as_deref(), Some("ab001f"));
        }
    }

    #[test]
    fn lying_notes_end() {
        assert_eq!(build_id(&[0xff; 64], 4), None);
        assert_eq!(build_id(&note(b"GNU\0", 3, &[7; 65], 4), 4), None, "too long");
        assert_eq!(build_id(&note(b"GNU\0", 3, &[], 4), 4), None, "empty");
        let whole = note(b"GNU\0", 3, &[7; 20], 4);
        for cut in 0..whole.len() {
            assert_eq!(build_id(&whole[..cut], 4), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_debug_link_is_a_bare_name() {
        assert_eq!(link_name(b"a.debug").as_deref(), Some("a.debug"));
        for name in [&b"../x"[..], b"/etc/x", b"", b"..", b"\xff"] {
            assert_eq!(link_name(name), None);
        }
    }
}
