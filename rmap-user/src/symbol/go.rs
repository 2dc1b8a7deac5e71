//! Names of a Go program's functions from the table that its runtime needs: a stripped program has
//! it too, and blazesym does not read it.
//!
//! Comes in: a file with its headers. Goes out: the table, if there is one that fits the code.

use std::fs::File;

use super::elf::{Headers, Sections, read_at};
use crate::pclntab::Table;

/// The section's bytes, and the address from which its own count.
pub(super) type Section = (Vec<u8>, u64);

/// Reads the section, if there is one.
pub(super) fn section(file: &File, sections: &Sections) -> Option<Section> {
    let (part, text) = sections.go?;
    Some((part.bytes(file).ok()?, text))
}

/// The table in it.
pub(super) fn table<'a>(section: &'a Section, file: &File, headers: &Headers) -> Option<Table<'a>> {
    let (bytes, text) = section;
    Table::parse(bytes, *text, |address| {
        read_at(file, headers.offset_of_code(address)?, 2).ok()?.try_into().ok()
    })
}
