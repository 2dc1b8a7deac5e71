//! Rows of code that no call frame information covers.
//!
//! Comes in: gaps between functions. Goes out: rows that say so, but for what is known all the same:
//! the signal trampoline and the C runtime's start files by their bytes, the entry stub, and
//! functions by what their instructions do ([`super::code`]).

use super::code::Piece;
use super::crt;
use super::elf::Elf;
use super::limits::Stats;
use rmap_ebpf::abi::{SPECIAL_END, SPECIAL_SIGNAL};
use rmap_ebpf::logic::unwind_row::{ROW_NONE, special_row};

/// Rows in the order of their addresses, equal neighbours as one.
pub struct Joined {
    /// Addresses from the table's base, and rows without their byte.
    pub rows: Vec<(u32, u32)>,
    /// How many bytes of code may still be searched.
    pub search: usize,
}

impl Joined {
    /// Adds a row that begins at `at`.
    pub fn push(&mut self, at: u32, row: u32) {
        match self.rows.last_mut() {
            Some((_, same)) if *same == row => {}
            Some((place, other)) if *place == at => *other = row,
            None if row == ROW_NONE => {}
            _ => self.rows.push((at, row)),
        }
    }
}

/// `mov $15, %rax; syscall`: the return from a signal handler, known to debuggers by its bytes.
pub const SIGRETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// How long the entry stub of a C library or of the dynamic linker is at most, in bytes.
const STUB_BYTES: u32 = 64;

/// Rows of a range that no function covers: none, but for a signal trampoline (of which musl and
/// Go have one without call frame information) and for the entry stub of the program.
pub fn gap(
    joined: &mut Joined,
    elf: &Elf<'_>,
    base: u64,
    range: std::ops::Range<u32>,
    followed: &[Piece],
    stats: &mut Stats,
) {
    if range.is_empty() {
        return;
    }
    joined.push(range.start, ROW_NONE);
    let mut found: Vec<(u32, u32, u32)> = Vec::new();
    let bytes = |from: u32| {
        let bytes = elf.bytes_from(base + u64::from(from))?;
        bytes.get(..bytes.len().min((range.end - from) as usize))
    };
    // The gap may begin before its segment does.
    let start = elf
        .segments
        .iter()
        .filter(|s| s.executable)
        .filter_map(|s| u32::try_from(s.address.checked_sub(base)?).ok())
        .filter(|start| range.contains(start))
        .chain([range.start]);
    for start in start {
        let Some(bytes) = bytes(start) else { continue };
        let bytes = bytes.get(..bytes.len().min(joined.search)).unwrap_or_default();
        joined.search -= bytes.len();
        if let Some(at) = find(bytes, &SIGRETURN) {
            // The handler returns to the trampoline's first byte, and the byte before a return
            // address is looked up.
            let at = start + at as u32;
            let end = at + SIGRETURN.len() as u32;
            found.push((at.saturating_sub(1), end, special_row(SPECIAL_SIGNAL)));
        }
        for piece in crt::find(bytes, base + u64::from(start)) {
            found.push((start + piece.start as u32, start + piece.end as u32, piece.row));
        }
    }
    // What is known by its bytes needs no other way.
    let by_bytes = found.clone();
    let relative = |address: u64| u32::try_from(address.saturating_sub(base)).unwrap_or(u32::MAX);
    let first = followed.partition_point(|piece| relative(piece.end) <= range.start);
    let pieces = followed.get(first..).unwrap_or_default();
    for piece in pieces.iter().take_while(|piece| relative(piece.start) < range.end) {
        let (start, end) = (relative(piece.start), relative(piece.end).min(range.end));
        if !by_bytes.iter().any(|&(from, to, _)| from < end && start < to) {
            found.push((start, end, piece.row));
        }
    }
    let entry = elf.entry.checked_sub(base).and_then(|entry| u32::try_from(entry).ok());
    // Nobody calls the entry point: the kernel starts there, with nothing to return to. The
    // dynamic linker's stub makes several calls.
    if let Some(entry) = entry.filter(|entry| range.contains(entry)) {
        let end = entry.saturating_add(STUB_BYTES);
        found.push((entry, end.min(range.end), special_row(SPECIAL_END)));
    }
    found.sort_unstable();
    found.dedup();
    for (n, &(start, end, row)) in found.iter().enumerate() {
        // The entry stub's length is a guess: what is known behind it is not.
        let next = found.get(n + 1).map_or(end, |&(next, ..)| next);
        let end = end.min(next.max(start));
        if joined.rows.last().is_none_or(|&(at, _)| at <= start) {
            stats.by_code += 1;
            joined.push(start, row);
            joined.push(end, ROW_NONE);
        }
    }
}

fn find(bytes: &[u8], pattern: &[u8; 9]) -> Option<usize> {
    // The last byte but one is rare enough to go by.
    let mut from = 7;
    loop {
        let hit = bytes.get(from..)?.iter().position(|&byte| byte == 0x0f)? + from;
        if bytes.get(hit - 7..hit + 2) == Some(pattern) {
            return Some(hit - 7);
        }
        from = hit + 1;
    }
}
