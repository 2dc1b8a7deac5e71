//! Whether debug information is shallow enough for a reader that recurses.
//!
//! Comes in: a file whose DWARF nobody vouches for. Goes out: yes, or why not. Entries may nest
//! as deep as the section has bytes, and blazesym follows nested inlined functions by recursion,
//! so a small file could end the process. This is one pass over `.debug_info`, unit by unit, by
//! the same gimli that blazesym uses.

use std::fs::File;
use std::io::{self, Read};

use gimli::{DebugAbbrev, DebugInfo, LittleEndian};

use super::elf::Sections;
use super::guard::guarded;

/// Compilers stay far below.
const DEPTH_MAX: isize = 1000;
/// Of `.debug_abbrev` and of one unit, in bytes.
const PART_MAX: u64 = 64 << 20;
/// Units; the largest programs have some ten thousand.
const UNITS_MAX: usize = 1 << 20;

/// Reads all entries and forgets them.
pub(super) fn check(file: &File, sections: &Sections) -> Result<(), String> {
    guarded(|| walk(file, sections))
        .unwrap_or_else(|_| Err(io::Error::other("the parser panicked")))
        .map_err(|error| format!("its debug information is not used: {error}"))
}

fn walk(file: &File, sections: &Sections) -> io::Result<()> {
    let (Some(info), Some(abbrev)) = (sections.info, sections.abbrev) else { return Ok(()) };
    let mut abbrevs = Vec::new();
    abbrev.read(file).map_err(io::Error::other)?.take(PART_MAX).read_to_end(&mut abbrevs)?;
    let abbrevs = DebugAbbrev::new(&abbrevs, LittleEndian);
    let mut info = info.read(file).map_err(io::Error::other)?;
    let mut unit = Vec::new();
    for _ in 0..UNITS_MAX {
        if !read_unit(&mut info, &mut unit)? {
            return Ok(());
        }
        unit_depth(&unit, &abbrevs)?;
    }
    Err(io::Error::other("too many units"))
}

/// One unit with its length; false at the end of the section.
fn read_unit(info: &mut dyn Read, unit: &mut Vec<u8>) -> io::Result<bool> {
    unit.clear();
    if info.take(4).read_to_end(unit)? < 4 {
        return Ok(false);
    }
    // DWARF 5, 7.4: 0xffffffff announces a length of 64 bits.
    let mut size = u64::from(u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
    if size == u64::from(u32::MAX) {
        let mut long = [0; 8];
        info.read_exact(&mut long)?;
        unit.extend(long);
        size = u64::from_le_bytes(long);
    }
    if size > PART_MAX {
        return Err(io::Error::other("a unit is too large"));
    }
    info.take(size).read_to_end(unit)?;
    Ok(true)
}

fn unit_depth(
    unit: &[u8],
    abbrevs: &DebugAbbrev<gimli::EndianSlice<'_, LittleEndian>>,
) -> io::Result<()> {
    let info = DebugInfo::new(unit, LittleEndian);
    let Some(header) = info.units().next().map_err(io::Error::other)? else { return Ok(()) };
    let abbrevs = header.abbreviations(abbrevs).map_err(io::Error::other)?;
    let mut entries = header.entries_raw(&abbrevs, None).map_err(io::Error::other)?;
    while !entries.is_empty() {
        if entries.next_depth() > DEPTH_MAX {
            return Err(io::Error::other("it nests too deep"));
        }
        if let Some(abbrev) = entries.read_abbreviation().map_err(io::Error::other)? {
            entries.skip_attributes(abbrev.attributes()).map_err(io::Error::other)?;
        }
    }
    Ok(())
}
