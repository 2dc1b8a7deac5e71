//! Which bytes of an ELF file serve what.
//!
//! Comes in: an open file, from anybody. Goes out: ranges of its bytes: those on which its unwind
//! table depends, those that its names need, and its debug information. So whoever wants them can
//! take a copy of just these, in which every byte has the place that it has in the file; what was
//! checked there is what is read there, whatever the owner writes meanwhile.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use zerocopy::FromBytes;

use super::elf::{
    ElfError, NAMES_MAX, PF_X, PHNUM_MAX, PT_LOAD, PT_NOTE, Phdr, SHT_NOBITS, Shdr, c_string, ehdr,
    read_at,
};

/// Bytes that are copied at once.
const PIECE: u64 = 1 << 20;

/// The bytes of a file that serve, in order and without overlap, all of them within the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// What its unwind table depends on.
    pub unwinding: Vec<Range<u64>>,
    /// What functions' names need.
    pub names: Vec<Range<u64>>,
    /// The same with debug information.
    pub debug: Vec<Range<u64>>,
    /// Its code.
    pub code: Vec<Range<u64>>,
}

impl Parts {
    /// Reads the headers of a file of `length` bytes.
    ///
    /// # Errors
    /// It is no ELF program or library.
    pub fn read(file: &File, length: u64) -> Result<Self, ElfError> {
        let ehdr = ehdr(file)?;
        let count = ehdr.phnum.get().min(PHNUM_MAX);
        let start = ehdr.phoff.get();
        let bytes = read_at(file, start, usize::from(count) * size_of::<Phdr>())?;
        let phdrs =
            <[Phdr]>::ref_from_bytes(&bytes).map_err(|_| ElfError::Malformed("program headers"))?;
        let mut heads = vec![0..64, range(start, bytes.len() as u64)];
        let (mut loads, mut code, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for phdr in phdrs {
            let bytes = range(phdr.offset.get(), phdr.filesz.get());
            match phdr.kind.get() {
                PT_LOAD if phdr.flags.get() & PF_X != 0 => code.push(bytes),
                PT_LOAD => loads.push(bytes),
                PT_NOTE => notes.push(bytes),
                _ => {}
            }
        }
        let mut parts = Self::default();
        // A file without sections has no names.
        let sections = sections(file, &mut heads).unwrap_or_default();
        let mut is_gos = false;
        for (name, bytes) in sections {
            match name.as_slice() {
                b".debug_frame" => parts.unwinding.push(bytes),
                b".gopclntab" | b".data.rel.ro.gopclntab" => {
                    is_gos = true;
                    parts.names.push(bytes);
                }
                b".symtab" | b".strtab" | b".dynsym" | b".dynstr" => {
                    parts.names.push(bytes.clone());
                    parts.unwinding.push(bytes);
                }
                name if name.starts_with(b".debug_") || name.starts_with(b".zdebug_") => {
                    parts.debug.push(bytes);
                }
                name if name.starts_with(b".gnu_debug") || name.starts_with(b".note") => {
                    parts.names.push(bytes);
                }
                _ => {}
            }
        }
        parts.names.extend(heads.iter().chain(&notes).cloned());
        // Go's table is believed if it fits the code.
        parts.names.extend(code.iter().filter(|_| is_gos).cloned());
        parts.debug.extend(parts.names.iter().cloned());
        parts.unwinding.extend([heads, notes, loads, code.clone()].concat());
        parts.code = code;
        for ranges in [&mut parts.unwinding, &mut parts.names, &mut parts.debug, &mut parts.code] {
            *ranges = joined(std::mem::take(ranges), length);
        }
        Ok(parts)
    }
}

/// How many bytes ranges have.
#[must_use]
pub fn bytes_in(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// Reads the bytes of ranges, in pieces. `take` gets each with its offset.
///
/// # Errors
/// Reading failed, also because the file became shorter; or `take` gave up.
pub fn copy(
    file: &File,
    ranges: &[Range<u64>],
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = Vec::new();
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            piece.resize((range.end - at).min(PIECE) as usize, 0);
            file.read_exact_at(&mut piece, at)?;
            take(at, &piece)?;
            at += piece.len() as u64;
        }
    }
    Ok(())
}

/// A section's name, and its bytes in the file.
type Section = (Vec<u8>, Range<u64>);

/// Name and bytes of each section that has any. Where their headers lie is added to `heads`.
fn sections(file: &File, heads: &mut Vec<Range<u64>>) -> Result<Vec<Section>, ElfError> {
    let ehdr = ehdr(file)?;
    if usize::from(ehdr.shentsize.get()) != size_of::<Shdr>() {
        return Err(ElfError::NoSections);
    }
    let start = ehdr.shoff.get();
    let bytes = read_at(file, start, usize::from(ehdr.shnum.get()) * size_of::<Shdr>())?;
    let shdrs =
        <[Shdr]>::ref_from_bytes(&bytes).map_err(|_| ElfError::Malformed("section headers"))?;
    let names = shdrs
        .get(usize::from(ehdr.shstrndx.get()))
        .filter(|names| names.size <= NAMES_MAX)
        .ok_or(ElfError::Malformed("section names"))?;
    let text = read_at(file, names.offset.get(), names.size.get() as usize)?;
    heads.push(range(start, bytes.len() as u64));
    heads.push(range(names.offset.get(), names.size.get()));
    let with_bytes = shdrs.iter().filter(|shdr| shdr.kind != SHT_NOBITS);
    let named = with_bytes.map(|shdr| {
        // Longer names are none of those that are looked for.
        let name = c_string(&text, shdr.name.get() as usize);
        let name = name.get(..name.len().min(32)).unwrap_or_default().to_vec();
        (name, range(shdr.offset.get(), shdr.size.get()))
    });
    Ok(named.collect())
}

const fn range(start: u64, length: u64) -> Range<u64> {
    start..start.saturating_add(length)
}

/// The ranges in order, as far as they lie within `length`; those that touch are one.
fn joined(mut ranges: Vec<Range<u64>>, length: u64) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let range = range.start..range.end.min(length);
        if range.start >= range.end {
            continue;
        }
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ranges_are_joined_and_cut() {
        let found = joined(vec![30..u64::MAX, 0..10, 5..7, 10..12, 20..20, 90..91], 40);
        assert_eq!(found, vec![0..12, 30..40]);
        assert_eq!(bytes_in(&found), 22);
    }

    #[test]
    fn the_parts_of_this_program_lie_in_it() {
        let path = std::env::current_exe().unwrap();
        let file = File::open(&path).unwrap();
        let length = fs::metadata(&path).unwrap().len();
        let parts = Parts::read(&file, length).unwrap();
        assert!(bytes_in(&parts.code) > 100_000);
        assert!(bytes_in(&parts.names) > 10_000);
        assert!(bytes_in(&parts.unwinding) > bytes_in(&parts.code));
        assert!(bytes_in(&parts.debug) > bytes_in(&parts.names));
        let mut copied = 0;
        copy(&file, &parts.names, |_, bytes| {
            copied += bytes.len() as u64;
            Ok(())
        })
        .unwrap();
        assert_eq!(copied, bytes_in(&parts.names));
    }
}
