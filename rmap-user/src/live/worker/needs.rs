//! What a program's headers say that it needs to run.
//!
//! Comes in: the bytes of an ELF file. Goes out: the libraries that it names (`DT_NEEDED`) and the
//! folders where they are looked for first (`DT_RUNPATH`, `DT_RPATH`), up to a limit of each.

use object::LittleEndian as Endian;
use object::elf::{
    DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRTAB, FileHeader64, PT_LOAD, ProgramHeader64,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

pub use super::protocol::Needs;

/// Libraries that one file may name; the largest programs name some two hundred.
const NAMES_MAX: usize = 256;
/// Folders that one file may name; programs name one or two.
const RUN_PATHS_MAX: usize = 16;
/// Longest name or run path, in bytes.
const NAME_MAX: usize = 4096;

/// What the dynamic section of a file names; `None`: it has none.
pub fn parse(bytes: &[u8]) -> Option<Needs> {
    let header = FileHeader64::<Endian>::parse(bytes).ok()?;
    let headers = header.program_headers(Endian, bytes).ok()?;
    let dynamic = headers.iter().find_map(|header| header.dynamic(Endian, bytes).ok()?)?;
    let entries =
        || dynamic.iter().take_while(|entry| entry.d_tag(Endian) != DT_NULL).take(1 << 12);
    let value = |entry: &object::elf::Dyn64<Endian>| -> u64 { entry.d_val(Endian) };
    let table = entries().find(|entry| entry.d_tag(Endian) == DT_STRTAB).map(value)?;
    let table = offset_of(headers, table)?;
    let text = |entry: &object::elf::Dyn64<Endian>| {
        let at = usize::try_from(table.checked_add(value(entry))?).ok()?;
        let rest = bytes.get(at..)?;
        let rest = rest.get(..rest.len().min(NAME_MAX))?;
        rest.get(..rest.iter().position(|&byte| byte == 0)?)
    };
    let mut needs = Needs::default();
    for entry in entries() {
        let tag = entry.d_tag(Endian);
        let Some(text) = text(entry).and_then(|text| std::str::from_utf8(text).ok()) else {
            continue;
        };
        if tag == DT_NEEDED && needs.names.len() < NAMES_MAX {
            needs.names.push(text.to_owned());
        } else if tag == DT_RUNPATH || tag == DT_RPATH {
            let folders = text.split(':').filter(|folder| !folder.is_empty());
            let room = RUN_PATHS_MAX.saturating_sub(needs.run_path.len());
            needs.run_path.extend(folders.take(room).map(str::to_owned));
        }
    }
    Some(needs)
}

/// Where in the file the byte at an address is.
fn offset_of(headers: &[ProgramHeader64<Endian>], address: u64) -> Option<u64> {
    headers.iter().filter(|header| header.p_type(Endian) == PT_LOAD).find_map(|header| {
        let within = address.checked_sub(header.p_vaddr(Endian))?;
        let inside = within < header.p_filesz(Endian);
        inside.then(|| header.p_offset(Endian).checked_add(within))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_needs_the_c_library() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = parse(&bytes).unwrap();
        assert!(needs.names.iter().any(|name| name.starts_with("libc.so")), "{needs:?}");
    }

    #[test]
    fn what_is_no_program_needs_nothing() {
        assert_eq!(parse(b"#!/bin/sh\n"), None);
    }
}
