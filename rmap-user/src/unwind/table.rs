//! The unwind table of one module: from the call frame information of an ELF file to rows.
//!
//! Comes in: the file's bytes, which the caller mapped or read. Goes out: a [`Table`], which does
//! not depend on where the module is loaded, so that it can be cached by build id and shared by
//! all processes. Words have the layout of `rmap_ebpf::abi`, with two things relative to the
//! table: index words count rows from the table's first, and rules are the table's own.
//!
//! All work and memory is bounded by the constants here and by the input's length; what does not
//! fit or makes no sense is left out and counted in [`Stats`].

use super::elf::{Elf, ElfError, Segment};
use super::functions::Raw;
pub use super::limits::*;
use rmap_ebpf::abi::{BUCKET_BYTES, BUCKET_SHIFT, ROW_RULE, Rule};
use rmap_ebpf::logic::unwind_row::{ROW_NONE, index_word, row_payload, row_type};

/// Tables begin and end at pages, as mappings do.
pub(super) const PAGE: u64 = 4096;

/// Why a file has no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// There is no executable segment.
    #[error("the file has no executable segment")]
    NoText,
    /// The executable segments span too much.
    #[error("the executable segments span {0} bytes, more than {MAX_TEXT_BYTES}")]
    TextTooLarge(u64),
}

/// The rows of one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The file's build id, empty if it has none.
    pub build_id: Vec<u8>,
    /// The executable segments, by which a mapping of the file finds its addresses.
    pub segments: Vec<Segment>,
    /// Address (before relocation) of the first byte of the first bucket.
    pub(super) base: u64,
    /// Rows in the order of their addresses. The first is always one for "not covered".
    pub(super) rows: Vec<u32>,
    /// One word a bucket.
    pub(super) index: Vec<u32>,
    /// The rules that rows name by number.
    pub(super) rules: Vec<Rule>,
    /// What was met.
    pub stats: Stats,
}

impl Table {
    /// Builds the table of an ELF file. A file without any call frame information has a table
    /// that covers nothing.
    ///
    /// # Errors
    /// It is no ELF file for x86-64 with executable segments of bearable size.
    pub fn build(data: &[u8]) -> Result<Self, TableError> {
        let elf = Elf::parse(data)?;
        let segments: Vec<Segment> =
            elf.segments.iter().filter(|segment| segment.executable).copied().collect();
        let base =
            segments.iter().map(|s| s.address).min().ok_or(TableError::NoText)? & !(PAGE - 1);
        let end = segments.iter().map(|s| s.address.saturating_add(s.file_size)).max();
        let end = end.ok_or(TableError::NoText)?;
        let end = end.checked_next_multiple_of(PAGE).unwrap_or(!(PAGE - 1));
        let span = end - base;
        if span > MAX_TEXT_BYTES {
            return Err(TableError::TextTooLarge(span));
        }
        let mut raw = Raw::new(base, u32::try_from(span).unwrap_or(u32::MAX), &segments);
        for frames in &elf.frames {
            raw.read(frames);
        }
        let rows = raw.join(&elf);
        let (rows, index) = into_buckets(rows, span);
        let Raw { rules, stats, .. } = raw;
        Ok(Self {
            build_id: elf.build_id.unwrap_or_default().to_vec(),
            segments,
            base,
            rows,
            index,
            rules,
            stats,
        })
    }

    /// First address that the table speaks of, before relocation.
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// First address behind it.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.base + (self.index.len() as u64) * BUCKET_BYTES
    }

    /// How many rows there are.
    #[must_use]
    pub const fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// How many rules do not fit a row.
    #[must_use]
    pub const fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Memory that the words of index and rows take, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        4 * (self.rows.len() + self.index.len())
    }

    /// Whether any code is covered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// The address (before relocation) of the byte at `offset` of the file, if it is in an
    /// executable segment or in the page where one begins or ends.
    #[must_use]
    pub fn address_of_offset(&self, offset: u64) -> Option<u64> {
        address_of_offset(&self.segments, offset)
    }

    /// The row that holds at an address before relocation, and the rule that it names.
    #[must_use]
    pub fn row_at(&self, address: u64) -> Option<(u32, Option<Rule>)> {
        let relative = address.checked_sub(self.base)?;
        let word = *self.index.get(usize::try_from(relative >> BUCKET_SHIFT).ok()?)?;
        let (first, count) = ((word >> 8) as usize, (word & 0xff) as usize);
        let within = (relative & (BUCKET_BYTES - 1)) as u32;
        let rows = self.rows.get(first.checked_sub(1)?..first.checked_add(count)?)?;
        let (carried, begun) = rows.split_first()?;
        let row = begun.iter().rfind(|&&row| row & 0xff <= within).unwrap_or(carried) & !0xff;
        let rule = (row_type(row) == ROW_RULE)
            .then(|| self.rules.get(row_payload(row) as usize).copied())
            .flatten();
        Some((row, rule))
    }
}

/// Sorts rows into buckets: sets the byte of each row and makes the index.
fn into_buckets(rows: Vec<(u32, u32)>, span: u64) -> (Vec<u32>, Vec<u32>) {
    let buckets = usize::try_from(span >> BUCKET_SHIFT).unwrap_or(0);
    let mut index = Vec::with_capacity(buckets);
    let mut words = Vec::with_capacity(rows.len() + 1);
    words.push(ROW_NONE);
    let mut rows = rows.into_iter().peekable();
    for bucket in 0..buckets {
        let first = words.len();
        while let Some((at, row)) = rows.next_if(|&(at, _)| (at >> BUCKET_SHIFT) as usize <= bucket)
        {
            words.push(row | at & (BUCKET_BYTES as u32 - 1));
        }
        let count = words.len() - first;
        index.push(index_word(first as u32, count as u32));
    }
    (words, index)
}

/// [`Table::address_of_offset`] for one who has kept only the executable segments.
#[must_use]
pub fn address_of_offset(segments: &[Segment], offset: u64) -> Option<u64> {
    segments.iter().find_map(|segment| {
        let start = segment.offset & !(PAGE - 1);
        let end = segment.offset.checked_add(segment.file_size)?.checked_next_multiple_of(PAGE)?;
        (offset >= start && offset < end)
            .then(|| segment.address.wrapping_add(offset.wrapping_sub(segment.offset)))
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
