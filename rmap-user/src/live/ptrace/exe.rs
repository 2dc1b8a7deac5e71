//! Tells programs that use ptrace themselves, from their symbols.
//!
//! Comes in: the file a process executes. Goes out: what may be followed. A tracee cannot be
//! traced by a second one, so debuggers, strace and the leak sanitizer would fail under rmap.
//! Only the string tables of the symbols are read (not mapped: the file may shrink meanwhile),
//! once per file. A stripped static program shows nothing and counts as ordinary.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;

use object::elf::{FileHeader32, FileHeader64, SHT_DYNSYM, SHT_SYMTAB};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use object::{Endianness, FileKind, ReadCache, SectionIndex};

/// Larger tables are not read.
const MAX_TABLE_BYTES: u64 = 64 << 20;

/// Files remembered at most.
const MAX_KNOWN: usize = 4096;

/// What may be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All of it.
    Ordinary,
    /// The process, but not its children: it calls ptrace.
    UsesPtrace,
    /// Nothing: its leak check traces its own threads.
    LeakCheck,
}

/// Remembers the kinds of files by device, inode, size and times.
#[derive(Debug, Default)]
pub(super) struct Kinds(HashMap<[u64; 7], Kind>);

impl Kinds {
    /// The kind of the program that a process executes.
    pub(super) fn of(&mut self, pid: u32) -> Kind {
        let Ok(file) = File::open(format!("/proc/{pid}/exe")) else { return Kind::Ordinary };
        let Ok(metadata) = file.metadata() else { return Kind::Ordinary };
        let key = identity(&metadata);
        if let Some(&kind) = self.0.get(&key) {
            return kind;
        }
        if self.0.len() >= MAX_KNOWN {
            self.0.clear();
        }
        let kind = inspect(file);
        self.0.insert(key, kind);
        kind
    }
}

fn identity(metadata: &Metadata) -> [u64; 7] {
    [
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
        metadata.ctime().cast_unsigned(),
        metadata.ctime_nsec().cast_unsigned(),
    ]
}

/// The kind of a file; one that is no ELF, or a broken one, is ordinary.
fn inspect(file: File) -> Kind {
    let data = ReadCache::new(file);
    let kind = match FileKind::parse(&data) {
        Ok(FileKind::Elf64) => inspect_elf::<FileHeader64<Endianness>>(&data),
        Ok(FileKind::Elf32) => inspect_elf::<FileHeader32<Endianness>>(&data),
        _ => Ok(Kind::Ordinary),
    };
    kind.unwrap_or(Kind::Ordinary)
}

fn inspect_elf<H: FileHeader<Endian = Endianness>>(data: &ReadCache<File>) -> object::Result<Kind> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let tables = |kind| sections.iter().filter(move |section| section.sh_type(endian) == kind);
    // The full table matters only where there is no dynamic one: it can be very large.
    let kind = if tables(SHT_DYNSYM).next().is_some() { SHT_DYNSYM } else { SHT_SYMTAB };
    for table in tables(kind) {
        let strings = sections.section(SectionIndex(table.sh_link(endian) as usize))?;
        if strings.sh_size(endian).into() > MAX_TABLE_BYTES
            || table.sh_size(endian).into() > MAX_TABLE_BYTES
        {
            continue;
        }
        let found = Names::in_table(strings.data(endian, data)?);
        if found.leak_check {
            return Ok(Kind::LeakCheck);
        }
        if !found.ptrace.is_empty() {
            let symbols: &[H::Sym] = table.data_as_array(endian, data)?;
            if symbols.iter().any(|symbol| found.ptrace.contains(&symbol.st_name(endian))) {
                return Ok(Kind::UsesPtrace);
            }
        }
    }
    Ok(Kind::Ordinary)
}

/// What a string table has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    /// Offsets of `ptrace`. Linkers let a name share the end of a longer one, so whether it is a
    /// name of its own only a symbol can tell.
    ptrace: Vec<u32>,
    leak_check: bool,
}

impl Names {
    fn in_table(strings: &[u8]) -> Self {
        const PTRACE: &[u8] = b"ptrace";
        let mut names = Self::default();
        let mut offset = 0;
        for name in strings.split(|&byte| byte == 0) {
            if name.ends_with(PTRACE)
                && let Ok(start) = u32::try_from(offset + name.len() - PTRACE.len())
            {
                names.ptrace.push(start);
            }
            let sanitizer: [&[u8]; 4] = [b"liblsan.so", b"libasan.so", b"libhwasan.so", b"__lsan_"];
            names.leak_check |= sanitizer.iter().any(|prefix| name.starts_with(prefix));
            offset += name.len() + 1;
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_their_offsets() {
        assert_eq!(Names::in_table(b""), Names::default());
        assert_eq!(Names::in_table(b"\0puts\0ptraces\0"), Names::default());
        let found = Names::in_table(b"\0ptrace\0my_ptrace\0");
        assert_eq!(found, Names { ptrace: vec![1, 11], leak_check: false });
        assert!(Names::in_table(b"\0libasan.so.8\0").leak_check);
        assert!(Names::in_table(b"\0__lsan_do_leak_check\0").leak_check);
        assert!(!Names::in_table(b"\0my__lsan_\0").leak_check);
    }

    #[test]
    fn what_is_no_program_is_ordinary() {
        assert_eq!(inspect(File::open("/etc/passwd").unwrap()), Kind::Ordinary);
        assert_eq!(inspect(File::open("/bin/sh").unwrap()), Kind::Ordinary);
    }
}
