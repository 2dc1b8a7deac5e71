//! Where tables lie: index and rows in slabs, rules in one array, as the kernel side walks them.
//!
//! Comes in: [`Table`]s. Goes out: the words to write, each with its slab and place, the rules,
//! and the [`Mapping`]s of a process. Slabs are filled from the front and never rewritten: what
//! was written can be published and read while the next table is placed behind it.

use super::elf::Segment;
use super::table::{PAGE, Table};
use rmap_ebpf::abi::{
    BUCKET_BYTES, FileTable, Mapping, ROW_RULE, RULES, Rule, SLAB_UNCOVERED, SLAB_WORDS, SLABS,
    SPECIAL_UNSUPPORTED,
};
use rmap_ebpf::logic::unwind_row::{
    index_count, index_first, index_word, row_offset, row_payload, row_type, rule_row, special_row,
};
use std::collections::HashMap;
use std::ops::Range;

/// A table is cut rather than begun in a slab with fewer free words than this.
const MIN_FREE: usize = 1 << 14;

/// All slabs are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} words of unwind table find no room in {SLABS} slabs of {SLAB_WORDS} words")]
pub struct SlabsFull {
    /// How many words the table takes.
    pub needed: usize,
}

/// Gives every table its place. It holds no words itself.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Words in use, for each slab that was begun.
    used: Vec<usize>,
    rules: Vec<Rule>,
    rule_numbers: HashMap<Rule, u32>,
    /// Rows that are unsupported because the array of rules is full.
    pub rules_full: u64,
}

/// A part of a table in one slab.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Addresses before relocation.
    addresses: Range<u64>,
    slab: u32,
    idx_base: u32,
}

/// Where a table lies. It is to be kept for as long as a process may map the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    parts: Vec<Part>,
}

impl Layout {
    /// Places a table and hands its words to `write` as (slab, first word, words). The words
    /// must be visible to readers before a [`Mapping`] that leads to them is.
    ///
    /// # Errors
    /// There is no room; nothing that counts was written.
    pub fn place(
        &mut self,
        table: &Table,
        mut write: impl FnMut(u32, usize, &[u32]),
    ) -> Result<Placed, SlabsFull> {
        let full = SlabsFull { needed: table.index.len() + table.rows.len() };
        if table.is_empty() {
            return Ok(Placed { parts: Vec::new() });
        }
        let before = self.used.clone();
        let mut parts = Vec::new();
        let mut words = Vec::new();
        let mut bucket = 0;
        while bucket < table.index.len() {
            let (slab, at) = self.free(table, bucket);
            if slab >= SLABS as usize {
                self.used = before;
                return Err(full);
            }
            let end = fitting(table, bucket, SLAB_WORDS - at);
            if end == bucket {
                // Not even one bucket fits: the rest of the slab stays empty.
                self.used.resize(slab + 1, 0);
                if let Some(used) = self.used.get_mut(slab) {
                    *used = SLAB_WORDS;
                }
                continue;
            }
            words.clear();
            self.part(table, bucket..end, at, &mut words);
            write(slab as u32, at, &words);
            self.used.resize(slab + 1, 0);
            if let Some(used) = self.used.get_mut(slab) {
                *used = at + words.len();
            }
            let address = |bucket: usize| table.base + bucket as u64 * BUCKET_BYTES;
            parts.push(Part {
                addresses: address(bucket)..address(end),
                slab: slab as u32,
                idx_base: at as u32,
            });
            bucket = end;
        }
        Ok(Placed { parts })
    }

    /// The rules, by their number. Only ever appended to.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How many slabs were begun.
    #[must_use]
    pub const fn slabs(&self) -> usize {
        self.used.len()
    }

    /// Words in use.
    #[must_use]
    pub fn words(&self) -> usize {
        self.used.iter().sum()
    }

    /// The slab and the word from which to place the rest of a table.
    fn free(&self, table: &Table, bucket: usize) -> (usize, usize) {
        let Some((last, &used)) = self.used.iter().enumerate().next_back() else { return (0, 0) };
        let free = SLAB_WORDS - used.min(SLAB_WORDS);
        if free >= MIN_FREE || fitting(table, bucket, free) == table.index.len() {
            (last, used)
        } else {
            (last + 1, 0)
        }
    }

    /// The words of some buckets for a place at word `at` of a slab: index, the row that carries
    /// over into the first bucket, rows.
    fn part(&mut self, table: &Table, buckets: Range<usize>, at: usize, words: &mut Vec<u32>) {
        let index = table.index.get(buckets).unwrap_or_default();
        let Some(&first) = index.first() else { return };
        let carry = index_first(first) as usize - 1;
        // Where row `carry` comes to lie.
        let rows_at = at + index.len();
        let moved = |row: u32| (rows_at + (row as usize - carry)) as u32;
        words.extend(
            index.iter().map(|&word| index_word(moved(index_first(word)), index_count(word))),
        );
        let end = index.last().map_or(carry, |&w| (index_first(w) + index_count(w)) as usize);
        let rows = table.rows.get(carry..end.max(carry + 1)).unwrap_or_default();
        words.extend(rows.iter().map(|&row| self.global(table, row)));
    }

    /// The row with the number of its rule in the array of all.
    fn global(&mut self, table: &Table, row: u32) -> u32 {
        if row_type(row) != ROW_RULE {
            return row;
        }
        let place = row_offset(row);
        let Some(rule) = table.rules.get(row_payload(row) as usize) else {
            return special_row(SPECIAL_UNSUPPORTED) | place;
        };
        if let Some(&number) = self.rule_numbers.get(rule) {
            return rule_row(number) | place;
        }
        if self.rules.len() >= RULES {
            self.rules_full += 1;
            return special_row(SPECIAL_UNSUPPORTED) | place;
        }
        let number = self.rules.len() as u32;
        self.rules.push(*rule);
        self.rule_numbers.insert(*rule, number);
        rule_row(number) | place
    }
}

/// Up to which bucket the words from `bucket` on fit into `free` words.
fn fitting(table: &Table, bucket: usize, free: usize) -> usize {
    let rest = table.index.get(bucket..).unwrap_or_default();
    let Some(&first) = rest.first() else { return bucket };
    let carry = index_first(first) - 1;
    let fits = |&(n, &word): &(usize, &u32)| {
        n + 1 + (index_first(word) + index_count(word) - carry) as usize <= free
    };
    // Both index and rows grow with the bucket, so the last that fits can be searched for.
    let (mut low, mut high) = (0, rest.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if rest.get(middle).is_some_and(|word| fits(&(middle, word))) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bucket + low
}

impl Placed {
    /// The mappings of a process for one of its executable mappings of the file.
    ///
    /// `addresses` are those in the process, and `file_address` is what
    /// [`Table::address_of_offset`] says for the mapping's file offset.
    #[must_use]
    pub fn mappings(&self, file_address: u64, addresses: Range<u64>) -> Vec<Mapping> {
        let load = addresses.start.wrapping_sub(file_address);
        let mut all = Vec::new();
        let mut at = addresses.start;
        for part in &self.parts {
            let start = part.addresses.start.wrapping_add(load).max(at);
            let end = part.addresses.end.wrapping_add(load).min(addresses.end);
            if start >= end {
                continue;
            }
            if start > at {
                all.push(uncovered(at..start));
            }
            // The part begins at a bucket, the mapping may begin within it.
            let bias = part.addresses.start.wrapping_add(load);
            all.push(Mapping { start, end, bias, idx_base: part.idx_base, slab: part.slab });
            at = end;
        }
        if at < addresses.end {
            all.push(uncovered(at..addresses.end));
        }
        all
    }
}

impl Placed {
    /// The same for the kernel side, which finds the mappings by itself; `None` if the file has several
    /// executable segments, or its table is in several pieces. The time of change is left open.
    #[must_use]
    pub fn of_file(&self, segments: &[Segment]) -> Option<FileTable> {
        let mut executable = segments.iter().filter(|segment| segment.executable);
        let (segment, None) = (executable.next()?, executable.next()) else { return None };
        let [part] = &self.parts[..] else { return None };
        let in_file =
            |address: u64| address.wrapping_sub(segment.address).wrapping_add(segment.offset);
        let end = segment.offset.checked_add(segment.file_size)?;
        Some(FileTable {
            from: segment.offset & !(PAGE - 1),
            to: end.checked_next_multiple_of(PAGE)?,
            first: in_file(part.addresses.start),
            behind: in_file(part.addresses.end),
            idx_base: part.idx_base,
            slab: part.slab,
            ..FileTable::default()
        })
    }
}

fn uncovered(addresses: Range<u64>) -> Mapping {
    Mapping {
        start: addresses.start,
        end: addresses.end,
        slab: SLAB_UNCOVERED,
        ..Mapping::default()
    }
}

/// Slabs in this process's own memory.
#[derive(Default)]
pub struct Slabs {
    layout: Layout,
    slabs: Vec<Box<[u32; SLAB_WORDS]>>,
}

impl Slabs {
    /// Places a table.
    ///
    /// # Errors
    /// There is no room.
    pub fn place(&mut self, table: &Table) -> Result<Placed, SlabsFull> {
        let slabs = &mut self.slabs;
        self.layout.place(table, |slab, at, words| {
            while slabs.len() <= slab as usize {
                let Ok(empty) = vec![0; SLAB_WORDS].into_boxed_slice().try_into() else { return };
                slabs.push(empty);
            }
            let place = slabs
                .get_mut(slab as usize)
                .and_then(|slab| slab.get_mut(at..at.checked_add(words.len())?));
            if let Some(place) = place {
                place.copy_from_slice(words);
            }
        })
    }

    /// One slab.
    #[must_use]
    pub fn slab(&self, number: u32) -> Option<&[u32; SLAB_WORDS]> {
        self.slabs.get(number as usize).map(|slab| &**slab)
    }

    /// Where everything lies.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::table::Stats;
    use rmap_ebpf::logic::unwind_row::{ROW_NONE, find_row};

    /// A table with `buckets` buckets and rows with rules 0, 1, 2, …, one every `every` bytes.
    fn table(buckets: usize, every: usize) -> Table {
        let mut rows = vec![ROW_NONE];
        let mut index = Vec::new();
        for bucket in 0..buckets {
            let first = rows.len() as u32;
            for byte in (0..128).filter(|byte| (bucket * 128 + byte) % every == 0) {
                rows.push(rule_row((rows.len() % 100) as u32) | byte as u32);
            }
            index.push(index_word(first, rows.len() as u32 - first));
        }
        let rules = (0..100).map(|cfa_off| Rule { cfa_off, ..Rule::default() }).collect();
        let stats = Stats::default();
        Table {
            build_id: Vec::new(),
            segments: Vec::new(),
            base: 0x1000,
            rows,
            index,
            rules,
            stats,
        }
    }

    fn check(slabs: &Slabs, placed: &Placed, table: &Table) {
        let load = 0x7000_0000_0000;
        let mappings = placed.mappings(table.base, load + table.base..load + table.end());
        let rules = slabs.layout().rules();
        for address in (table.base..table.end()).step_by(61) {
            let pc = load + address;
            let mapping = mappings.iter().find(|m| m.start <= pc && pc < m.end).unwrap();
            let row = find_row(slabs.slab(mapping.slab).unwrap(), mapping, pc);
            let (expected, rule) = table.row_at(address).unwrap();
            assert_eq!(row_type(row), row_type(expected));
            if let Some(rule) = rule {
                assert_eq!(rules[row_payload(row) as usize], rule, "{address:#x}");
            }
        }
        for pair in mappings.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
    }

    #[test]
    fn small_tables_share_a_slab() {
        let mut slabs = Slabs::default();
        let tables = [table(10, 7), table(1, 1), table(300, 1000)];
        let placed: Vec<_> = tables.iter().map(|t| slabs.place(t).unwrap()).collect();
        for (table, placed) in tables.iter().zip(&placed) {
            assert_eq!(placed.parts.len(), 1);
            check(&slabs, placed, table);
        }
        assert_eq!(slabs.layout().slabs(), 1);
        assert_eq!(slabs.layout().rules().len(), 100, "equal rules are kept once");
    }

    #[test]
    fn a_large_table_is_cut_at_the_ends_of_slabs() {
        let mut slabs = Slabs::default();
        let small = table(100, 10);
        let large = table(9_000, 1);
        let first = slabs.place(&small).unwrap();
        let second = slabs.place(&large).unwrap();
        let third = slabs.place(&small).unwrap();
        assert_eq!(second.parts.len(), 2);
        check(&slabs, &first, &small);
        check(&slabs, &second, &large);
        check(&slabs, &third, &small);
    }

    #[test]
    fn a_table_that_finds_no_room_leaves_the_others_as_they_are() {
        let used = vec![SLAB_WORDS - 1000; SLABS as usize];
        let mut layout = Layout { used: used.clone(), ..Layout::default() };
        let full = layout.place(&table(100, 1), |_, _, _| {}).unwrap_err();
        assert_eq!(full.needed, 100 + 100 * 128 + 1);
        assert_eq!(layout.used, used);
        assert!(layout.place(&table(10, 10), |_, _, _| {}).is_ok());
    }

    #[test]
    fn a_mapping_that_a_table_does_not_reach_is_uncovered_there() {
        let mut slabs = Slabs::default();
        let table = table(32, 7);
        let placed = slabs.place(&table).unwrap();
        let mappings = placed.mappings(table.base, 0x5000..0x5000 + 0x3000);
        assert_eq!(mappings.len(), 2);
        assert_eq!(
            (mappings[0].start, mappings[0].end, mappings[0].bias),
            (0x5000, 0x6000, 0x5000)
        );
        assert_eq!((mappings[1].end, mappings[1].slab), (0x8000, SLAB_UNCOVERED));
        let nothing = Placed { parts: Vec::new() }.mappings(0, 0x5000..0x6000);
        assert_eq!(nothing[0].slab, SLAB_UNCOVERED);
    }
}
