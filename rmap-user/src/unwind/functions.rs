//! The functions of one section of call frame information, and their rows in order.
//!
//! Comes in: the bytes of `.eh_frame` or `.debug_frame`. Goes out: rows sorted by address without
//! overlap, and the rules that they name. Entries are found by their lengths, so that one that
//! cannot be read costs no other.

use super::cfi::{BadProgram, Bytes, Encoded, Extent, Program, State};
use super::code::{self, Piece};
use super::context;
use super::elf::{Elf, FrameKind, Frames, Segment};
use super::go::{self, Holds};
use super::limits::{
    MAX_CIE_BYTES, MAX_CIES, MAX_FRAME_BYTES, MAX_FUNCTIONS, MAX_PADDING, MAX_ROWS, MAX_RULES,
    MAX_SEARCH_BYTES, Stats,
};
use super::uncovered::{Joined, gap};
use gimli::{
    BaseAddresses, CommonInformationEntry, DebugFrame, EhFrame, EndianSlice, LittleEndian,
    UnwindOffset, UnwindSection,
};
use rmap_ebpf::abi::{Rule, SPECIAL_END, SPECIAL_SIGNAL, SPECIAL_UNSUPPORTED};
use rmap_ebpf::logic::unwind_row::{rule_row, special_row};
use std::collections::HashMap;
use std::ops::Range;

/// A function with its rows in [`Raw::rows`], before sorting. Addresses count from the base.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: u32,
    end: u32,
    first_row: u32,
    row_count: u32,
}

/// What is collected in the order of the file.
pub struct Raw<'a> {
    base: u64,
    span: u32,
    segments: &'a [Segment],
    functions: Vec<Function>,
    /// Address from the base, and the row without its byte.
    rows: Vec<(u32, u32)>,
    /// The rules that rows name by number.
    pub rules: Vec<Rule>,
    rule_numbers: HashMap<Rule, u32>,
    /// What was met.
    pub stats: Stats,
}

/// What all functions of a CIE share.
#[derive(Clone)]
struct Common<'data> {
    cie: CommonInformationEntry<Bytes<'data>>,
    state: State,
}

impl<'a> Raw<'a> {
    /// For segments of which the first begins at `base`, and which span `span` bytes.
    pub fn new(base: u64, span: u32, segments: &'a [Segment]) -> Self {
        Self {
            base,
            span,
            segments,
            functions: Vec::new(),
            rows: Vec::new(),
            rules: Vec::new(),
            rule_numbers: HashMap::new(),
            stats: Stats::default(),
        }
    }

    /// Takes the functions of a section.
    pub fn read(&mut self, frames: &Frames<'_>) {
        let mut bytes = frames.bytes;
        if bytes.len() > MAX_FRAME_BYTES {
            bytes = bytes.get(..MAX_FRAME_BYTES).unwrap_or_default();
            self.stats.limited = 1;
        }
        let bases = BaseAddresses::default().set_eh_frame(frames.address).set_text(frames.text);
        match frames.kind {
            FrameKind::Eh => {
                let mut section = EhFrame::new(bytes, LittleEndian);
                section.set_address_size(8);
                self.read_section(&section, &bases, bytes, true);
            }
            FrameKind::Debug => {
                let mut section = DebugFrame::new(bytes, LittleEndian);
                section.set_address_size(8);
                let known = self.functions.len();
                self.read_section(&section, &bases, bytes, false);
                self.drop_covered(known);
            }
        }
    }

    /// Goes over the entries by their lengths, so that one that gimli refuses costs no other.
    fn read_section<'data, S>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        bytes: &'data [u8],
        eh: bool,
    ) where
        S: UnwindSection<Bytes<'data>>,
        S::Offset: UnwindOffset<usize>,
    {
        let mut cies: HashMap<usize, Option<Common<'data>>> = HashMap::new();
        // CIEs may overlap and each may be long: all of them together get as many bytes as a
        // honest section could hold a few times over.
        let mut cie_budget = bytes.len().saturating_mul(4).saturating_add(MAX_CIE_BYTES);
        let mut at = 0usize;
        while let Some(entry) = entry_at(bytes, at, eh) {
            let entry = match entry {
                Entry::End => break,
                Entry::Padding => {
                    at += 4;
                    continue;
                }
                Entry::Broken => {
                    self.stats.bad_entries += 1;
                    break;
                }
                Entry::Whole { next, cie } => {
                    let this = at;
                    at = next;
                    match cie {
                        None => continue,
                        Some(cie) => (this, cie),
                    }
                }
            };
            let (fde_at, cie_at) = entry;
            if self.functions.len() >= MAX_FUNCTIONS
                || self.rows.len() >= MAX_ROWS
                || cie_budget == 0
                || cies.len() >= MAX_CIES
            {
                self.stats.limited = 1;
                break;
            }
            let common = cies.entry(cie_at).or_insert_with(|| {
                let common = common(section, bases, cie_at);
                let cost = common.as_ref().map_or(16, |c| 16 + c.cie.entry_len());
                cie_budget = cie_budget.saturating_sub(cost);
                common
            });
            let Some(common) = common else {
                self.stats.bad_entries += 1;
                continue;
            };
            let fde = section
                .fde_from_offset(bases, S::Offset::from(fde_at), |_, _, _| Ok(common.cie.clone()));
            match fde {
                Ok(fde) => self.function(section, bases, common, &fde),
                Err(_) => self.stats.bad_entries += 1,
            }
        }
    }

    fn function<'data, S: UnwindSection<Bytes<'data>>>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        common: &Common<'data>,
        fde: &gimli::FrameDescriptionEntry<Bytes<'data>>,
    ) {
        let extent = Extent { start: fde.initial_address(), end: fde.end_address() };
        if extent.end <= extent.start {
            self.stats.empty += 1;
            return;
        }
        let inside = self
            .segments
            .iter()
            .any(|s| extent.start >= s.address && extent.end - s.address <= s.file_size);
        let relative = |address: u64| u32::try_from(address.checked_sub(self.base)?).ok();
        let (Some(start), Some(end), true) = (relative(extent.start), relative(extent.end), inside)
        else {
            self.stats.outside += 1;
            return;
        };
        let first = self.rows.len();
        if common.cie.is_signal_trampoline() {
            self.rows.push((start, special_row(SPECIAL_SIGNAL)));
        } else {
            let program = Program {
                section,
                data_align: common.cie.data_alignment_factor(),
                code_align: common.cie.code_alignment_factor(),
                initial: common.state,
            };
            let base = self.base;
            let mut last = None;
            let result = program.run(fde.instructions(section, bases), extent, |address, state| {
                if last != Some(*state) {
                    last = Some(*state);
                    self.push(first, (address - base) as u32, state);
                }
            });
            if result == Err(BadProgram) {
                self.stats.bad_entries += 1;
                self.rows.truncate(first);
                self.rows.push((start, special_row(SPECIAL_UNSUPPORTED)));
            }
        }
        self.stats.functions += 1;
        self.functions.push(Function {
            start,
            end,
            first_row: first as u32,
            row_count: (self.rows.len() - first) as u32,
        });
    }

    /// Forgets the functions from number `known` on that overlap one before it.
    fn drop_covered(&mut self, known: usize) {
        let added = self.functions.split_off(known);
        self.functions.sort_by_key(|f| (f.start, u32::MAX - f.end));
        // The furthest end of a function that begins at or before each one.
        let mut furthest = 0;
        let ends: Vec<u32> = self
            .functions
            .iter()
            .map(|f| {
                furthest = furthest.max(f.end);
                furthest
            })
            .collect();
        let overlaps = |function: &Function| {
            let behind = self.functions.partition_point(|f| f.start < function.end);
            behind.checked_sub(1).and_then(|n| ends.get(n)).is_some_and(|&end| end > function.start)
        };
        let before = added.len();
        let new: Vec<Function> = added.into_iter().filter(|function| !overlaps(function)).collect();
        self.stats.functions -= (before - new.len()) as u32;
        self.stats.debug_frame = new.len() as u32;
        self.functions.extend(new);
    }

    /// Adds a row of the function whose rows begin at `first`.
    fn push(&mut self, first: usize, at: u32, state: &State) {
        if self.rows.len() >= MAX_ROWS {
            return;
        }
        let row = match state.encode() {
            Encoded::Row(row) => row,
            Encoded::Rule(rule) => self.rule(rule),
        };
        if row == special_row(SPECIAL_UNSUPPORTED) {
            self.stats.unsupported += 1;
        }
        match self.rows.get_mut(first..).and_then(<[_]>::last_mut) {
            Some((_, same)) if *same == row => {}
            Some((place, other)) if *place == at => *other = row,
            _ => self.rows.push((at, row)),
        }
    }

    fn rule(&mut self, rule: Rule) -> u32 {
        if let Some(&number) = self.rule_numbers.get(&rule) {
            return rule_row(number);
        }
        if self.rules.len() >= MAX_RULES {
            self.stats.rules_full += 1;
            return special_row(SPECIAL_UNSUPPORTED);
        }
        let number = self.rules.len() as u32;
        self.rules.push(rule);
        self.rule_numbers.insert(rule, number);
        rule_row(number)
    }

    /// The ranges of executable code (addresses before relocation) that no function covers, in
    /// order, but for what is padding between two. The functions are sorted.
    fn uncovered(&self, functions: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut ranges = Vec::new();
        let mut segments: Vec<&Segment> = self.segments.iter().collect();
        segments.sort_by_key(|segment| segment.address);
        for segment in segments {
            let mut at = segment.address;
            let end = segment.address.saturating_add(segment.file_size);
            for function in functions.iter().take_while(|function| function.start < end) {
                if function.start > at.saturating_add(u64::from(MAX_PADDING)) {
                    ranges.push(at..function.start);
                }
                at = at.max(function.end);
            }
            if at < end {
                ranges.push(at..end);
            }
        }
        ranges
    }

    /// What is known of code that no call frame information describes, in order: what Go's own
    /// table tells, and elsewhere what the instructions do.
    fn known_by_code(&mut self, elf: &Elf<'_>, described: &[Range<u64>]) -> Vec<Piece> {
        let uncovered = self.uncovered(described);
        let mut told = Vec::new();
        let mut rest = Vec::new();
        let mut go = go::find(elf).into_iter().peekable();
        for range in &uncovered {
            let mut at = range.start;
            while let Some((piece, holds)) = go.next_if(|(piece, _)| piece.start < range.end) {
                if piece.start < at || piece.end > range.end {
                    continue;
                }
                if piece.start > at {
                    rest.push(at..piece.start);
                }
                at = piece.end;
                let row = match holds {
                    Holds::Row(row) => row,
                    Holds::Rule(rule) => self.rule(rule),
                };
                told.push(Piece { start: piece.start, end: piece.end, row });
            }
            if at < range.end {
                rest.push(at..range.end);
            }
        }
        told.extend(code::find(elf, &rest, described));
        told.sort_by_key(|piece| piece.start);
        told
    }

    /// Sorts the functions and joins their rows into one list without overlap.
    pub fn join(&mut self, elf: &Elf<'_>) -> Vec<(u32, u32)> {
        // Of two that begin together the longer wins.
        self.functions.sort_by_key(|f| (f.start, u32::MAX - f.end));
        let mut joined =
            Joined { rows: Vec::with_capacity(self.rows.len()), search: MAX_SEARCH_BYTES };
        let described: Vec<Range<u64>> = self
            .functions
            .iter()
            .map(|f| self.base + u64::from(f.start)..self.base + u64::from(f.end))
            .collect();
        let followed = self.known_by_code(elf, &described);
        let contexts = context::starts(elf);
        let mut covered = 0;
        let mut previous = None;
        for (n, function) in self.functions.iter().enumerate() {
            if previous == Some(function.start) {
                self.stats.overlapping += 1;
                continue;
            }
            previous = Some(function.start);
            if function.start > covered + MAX_PADDING || covered == 0 {
                let range = covered..function.start;
                gap(&mut joined, elf, self.base, range, &followed, &mut self.stats);
            }
            // As in the linker's own search table, the later start wins.
            let next = self.functions.get(n + 1..).and_then(|rest| {
                rest.iter().map(|f| f.start).find(|&start| start != function.start)
            });
            let mut end = function.end;
            if let Some(next) = next.filter(|&next| next < end) {
                self.stats.overlapping += 1;
                end = next;
            }
            let at = self.base + u64::from(function.start);
            if function.start > covered && contexts.contains(&at) {
                joined.push(function.start - 1, special_row(SPECIAL_END));
            }
            let first = function.first_row as usize;
            let rows = self.rows.get(first..first + function.row_count as usize);
            for &(at, row) in rows.unwrap_or_default().iter().take_while(|(at, _)| *at < end) {
                joined.push(at, row);
            }
            covered = end;
        }
        gap(&mut joined, elf, self.base, covered..self.span, &followed, &mut self.stats);
        if joined.rows.len() > MAX_ROWS {
            joined.rows.truncate(MAX_ROWS);
            self.stats.limited = 1;
        }
        joined.rows
    }
}

fn common<'data, S>(section: &S, bases: &BaseAddresses, at: usize) -> Option<Common<'data>>
where
    S: UnwindSection<Bytes<'data>>,
    S::Offset: UnwindOffset<usize>,
{
    let cie = section.cie_from_offset(bases, S::Offset::from(at)).ok()?;
    if cie.return_address_register() != gimli::Register(16) || cie.entry_len() > MAX_CIE_BYTES {
        return None;
    }
    let program = Program {
        section,
        data_align: cie.data_alignment_factor(),
        code_align: cie.code_alignment_factor(),
        initial: State::INITIAL,
    };
    let nowhere = Extent { start: 0, end: u64::MAX };
    let state = program.run(cie.instructions(section, bases), nowhere, |_, _| {}).ok()?;
    Some(Common { cie, state })
}

/// An entry of the section, by its length and its id alone.
enum Entry {
    /// A CIE, or an FDE with its CIE's place, and where the next entry begins.
    Whole { next: usize, cie: Option<usize> },
    /// A zero that ends `.eh_frame`.
    End,
    /// A zero between entries of `.debug_frame`.
    Padding,
    /// It does not fit the section.
    Broken,
}

fn entry_at(bytes: &[u8], at: usize, eh: bool) -> Option<Entry> {
    let mut rest = EndianSlice::new(bytes.get(at..)?, LittleEndian);
    if rest.is_empty() {
        return None;
    }
    Some(entry(&mut rest, bytes.len(), at, eh).unwrap_or(Entry::Broken))
}

fn entry(rest: &mut Bytes<'_>, len: usize, at: usize, eh: bool) -> Option<Entry> {
    use gimli::Reader;
    let (length, format) = rest.read_initial_length().ok()?;
    if length == 0 {
        return Some(if eh { Entry::End } else { Entry::Padding });
    }
    let id_at = at + usize::from(format.initial_length_size());
    let next = id_at.checked_add(length).filter(|&next| next <= len)?;
    let wide = format == gimli::Format::Dwarf64;
    // In .eh_frame the id has 4 bytes in both formats, and counts back from its own place.
    if eh {
        let id = rest.read_u32().ok()?;
        let back = usize::try_from(id).ok()?;
        let cie = if id == 0 { None } else { Some(id_at.checked_sub(back)?) };
        return Some(Entry::Whole { next, cie });
    }
    let id = if wide { rest.read_u64().ok()? } else { u64::from(rest.read_u32().ok()?) };
    let none = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let cie = if id == none { None } else { Some(usize::try_from(id).ok()?) };
    Some(Entry::Whole { next, cie })
}
