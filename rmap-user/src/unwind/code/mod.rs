//! Rows of machine code that nothing describes, from the code itself: what each instruction does
//! to the stack pointer. musl and Go's runtime have no call frame information, and neither have
//! hand-written functions of others.
//!
//! Comes in: a file and the ranges of its code that no call frame information covers. Goes out:
//! pieces of code and the rows that hold there. A function is followed from its first instruction
//! ([`function`]); it is known only if each of its ways ends with the stack as it was at the
//! entry, so that bytes that are no code, and places where no function begins, give nothing.

mod effect;
mod function;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use object::LittleEndian as Endian;
use object::elf::{FileHeader64, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, STT_NOTYPE};
use object::read::elf::{FileHeader as _, Sym as _};

use self::function::Known;
use super::elf::Elf;
use rmap_ebpf::abi::SPECIAL_END;
use rmap_ebpf::logic::unwind_row::special_row;

/// Less uncovered code is not looked at: it is padding, or known by its bytes.
const MIN_BYTES: u64 = 64;
/// Less of it is not called from code that is described.
const MIN_CALLED: u64 = 4096;
/// Most instructions that are followed in one file; some 0.2 s.
const MAX_INSTRUCTIONS: usize = 1 << 20;
/// Most symbols that are looked at.
const MAX_SYMBOLS: usize = 1 << 20;
/// Most bytes of described code that are searched for calls of code that is not.
const MAX_CALLERS: usize = 8 << 20;

/// Functions that nobody called: what the stack holds above them is no return address. Go's
/// scheduler puts `runtime.goexit` there, as if it had called the goroutine's first function.
const OUTERMOST: [&[u8]; 2] = [b"runtime.goexit", b"runtime.goexit.abi0"];
/// How long those are at most, in bytes.
const MAX_OUTERMOST: u64 = 64;

/// A stretch of code in which one row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its address before relocation.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// The row, without its byte.
    pub row: u32,
}

/// The rows of `uncovered` code (addresses before relocation, in order), in order. `described` are
/// the functions that call frame information describes.
pub fn find(elf: &Elf<'_>, uncovered: &[Range<u64>], described: &[Range<u64>]) -> Vec<Piece> {
    let bytes: u64 = uncovered.iter().map(|range| range.end - range.start).sum();
    if bytes < MIN_BYTES {
        return Vec::new();
    }
    let known = Known { elf, uncovered, described };
    let mut left = MAX_INSTRUCTIONS;
    let mut roots = Roots::default();
    let outermost = roots.symbols(&known);
    roots.add(&known, elf.entry);
    if bytes >= MIN_CALLED {
        roots.callers(&known);
    }
    // Once to learn where functions begin, and once with that in mind: behind a call that does not
    // return the next one begins.
    let named = roots.seen.clone();
    let mut sure = named.clone();
    while let Some(root) = roots.queue.pop() {
        let Some(followed) = function::follow(&known, root, &named, &mut left) else { continue };
        sure.insert(root);
        followed.found.iter().for_each(|&found| roots.add(&known, found));
    }
    roots.queue.extend(&sure);
    let mut rows: BTreeMap<u64, (u64, Option<u32>)> = BTreeMap::new();
    while let Some(root) = roots.queue.pop() {
        let Some(followed) = function::follow(&known, root, &sure, &mut left) else { continue };
        followed.found.iter().for_each(|&found| roots.add(&known, found));
        for (at, end, row) in followed.rows {
            let place = rows.entry(at).or_insert((end, row));
            // Two that disagree know nothing.
            if *place != (end, row) {
                *place = (end, None);
            }
        }
    }
    for range in outermost {
        rows.retain(|at, _| !range.contains(at));
        rows.insert(range.start, (range.end, Some(special_row(SPECIAL_END))));
    }
    into_pieces(rows)
}

fn into_pieces(rows: BTreeMap<u64, (u64, Option<u32>)>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (start, (end, row)) in rows {
        let Some(row) = row else { continue };
        match pieces.last_mut() {
            // One instruction in the middle of another.
            Some(last) if last.end > start => last.end = start,
            Some(last) if last.end == start && last.row == row => {
                last.end = end;
                continue;
            }
            _ => {}
        }
        pieces.push(Piece { start, end, row });
    }
    pieces
}

/// Where functions begin.
#[derive(Default)]
struct Roots {
    queue: Vec<u64>,
    seen: HashSet<u64>,
}

impl Roots {
    fn add(&mut self, known: &Known<'_>, address: u64) {
        if known.covers(address) && self.seen.insert(address) {
            self.queue.push(address);
        }
    }

    /// Takes the functions that symbols name. Returns those that nobody called.
    fn symbols(&mut self, known: &Known<'_>) -> Vec<Range<u64>> {
        let mut outermost = Vec::new();
        let data = known.elf.data();
        let Ok(header) = FileHeader64::<Endian>::parse(data) else { return outermost };
        let Ok(sections) = header.sections(Endian, data) else { return outermost };
        for kind in [SHT_SYMTAB, SHT_DYNSYM] {
            let Ok(symbols) = sections.symbols(Endian, data, kind) else { continue };
            for symbol in symbols.iter().take(MAX_SYMBOLS) {
                let address = symbol.st_value.get(Endian);
                if !known.covers(address) || !matches!(symbol.st_type(), STT_FUNC | STT_NOTYPE) {
                    continue;
                }
                self.add(known, address);
                let name = symbol.name(Endian, symbols.strings()).unwrap_or_default();
                if OUTERMOST.contains(&name) {
                    let size = symbol.st_size.get(Endian).min(MAX_OUTERMOST);
                    let end = address.saturating_add(size);
                    outermost.push(address..end);
                }
            }
        }
        outermost
    }

    /// Takes what described code calls. Its functions begin where they are said to, so that its
    /// instructions are known.
    fn callers(&mut self, known: &Known<'_>) {
        let mut left = MAX_CALLERS;
        for function in known.described {
            let Some(bytes) = known.elf.bytes_from(function.start) else { continue };
            let length = usize::try_from(function.end - function.start).unwrap_or(usize::MAX);
            let bytes = bytes.get(..length.min(bytes.len()).min(left)).unwrap_or_default();
            left -= bytes.len();
            let decoder = Decoder::with_ip(64, bytes, function.start, DecoderOptions::NONE);
            for instruction in decoder {
                if matches!(
                    instruction.flow_control(),
                    FlowControl::Call | FlowControl::UnconditionalBranch
                ) {
                    self.add(known, instruction.near_branch_target());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
