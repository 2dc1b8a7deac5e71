//! Names that a program writes for code that it makes at run time: perf map files.
//!
//! Comes in: the bytes of `/tmp/perf-PID.map`, lines `START SIZE NAME` with hexadecimal numbers
//! (Linux `tools/perf/Documentation/jit-interface.txt`). Goes out: for an address, the name.
//!
//! JIT compilers use memory again, so of entries that overlap the later one holds. The file is the
//! program's own and may be written at that moment: what is no whole line is left out and counted.
//! Equal names are kept once, and what is kept has a limit: a file of 64 MiB can have five million
//! lines. [`PerfMap::encode`] and [`PerfMap::decode`] take the result from one process to another.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// Bytes of a name; longer ones are cut.
const NAME_MAX: usize = 1024;
/// Entries of one file that are kept; large programs have some hundred thousand.
const ENTRIES_MAX: usize = 1 << 20;
/// Bytes of the names of one file, equal ones once.
const TEXT_MAX: usize = 32 << 20;
/// Bytes of a number, of an entry, and of what comes before names and entries.
const ENTRY_BYTES: usize = 20;
const HEAD_BYTES: usize = 28;

/// The names of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfMap {
    /// In the order of their addresses, without overlap.
    entries: Vec<Entry>,
    /// Where in `text` each name ends; it begins where the one before ends.
    ends: Vec<u32>,
    text: String,
    /// Lines that are no entries; an unfinished last line is not among them.
    pub bad_lines: u64,
    /// Entries beyond the limit.
    pub left_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    start: u64,
    end: u64,
    name: u32,
}

impl PerfMap {
    /// Reads a file. Bytes behind the last line end are a line that is still being written.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut map = Self::default();
        let mut numbers: HashMap<&[u8], u32> = HashMap::new();
        let mut entries: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let whole = bytes.get(..whole).unwrap_or_default();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Some((start, end, name)) = entry(line) else {
                map.bad_lines += 1;
                continue;
            };
            let number = match numbers.get(name) {
                Some(number) => Some(*number),
                None => map.add_name(name).inspect(|number| {
                    numbers.insert(name, *number);
                }),
            };
            match number.filter(|_| entries.len() < ENTRIES_MAX) {
                Some(number) => put(&mut entries, start, end, number),
                None => map.left_out += 1,
            }
        }
        let entries = entries.into_iter();
        map.entries = entries.map(|(start, (end, name))| Entry { start, end, name }).collect();
        map
    }

    /// The name of the code at an address.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&str> {
        let behind = self.entries.partition_point(|entry| entry.start <= address);
        let entry = self.entries.get(behind.checked_sub(1)?)?;
        (address < entry.end).then(|| self.name(entry.name))?
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.ends.len() * 4 + self.text.len()
    }

    /// The same names as a perf map file, without what is hidden by later entries.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for Entry { start, end, name } in &self.entries {
            let name = self.name(*name).unwrap_or_default();
            // A string takes whatever is written to it.
            let _ = writeln!(text, "{start:x} {:x} {name}", end - start);
        }
        text
    }

    /// The bytes from which [`PerfMap::decode`] makes it again: five counts, the ends of the
    /// names, the entries, and the text, all numbers little-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = HEAD_BYTES + 4 * self.ends.len() + ENTRY_BYTES * self.entries.len();
        let mut out = Vec::with_capacity(length + self.text.len());
        out.extend(self.bad_lines.to_le_bytes());
        out.extend(self.left_out.to_le_bytes());
        for count in [self.ends.len(), self.entries.len(), self.text.len()] {
            out.extend((count as u32).to_le_bytes());
        }
        self.ends.iter().for_each(|end| out.extend(end.to_le_bytes()));
        for Entry { start, end, name } in &self.entries {
            out.extend(start.to_le_bytes());
            out.extend(end.to_le_bytes());
            out.extend(name.to_le_bytes());
        }
        out.extend(self.text.as_bytes());
        out
    }

    /// Reads what [`PerfMap::encode`] wrote; `None`: it is nothing of the kind.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let bad_lines = take(&mut rest).map(u64::from_le_bytes)?;
        let left_out = take(&mut rest).map(u64::from_le_bytes)?;
        let mut count = |most: usize| {
            let count = take(&mut rest).map(u32::from_le_bytes)? as usize;
            (count <= most).then_some(count)
        };
        let (names, entries, text) = (count(TEXT_MAX)?, count(2 * ENTRIES_MAX)?, count(TEXT_MAX)?);
        if rest.len() != 4 * names + ENTRY_BYTES * entries + text {
            return None;
        }
        let mut ends = Vec::with_capacity(names);
        for _ in 0..names {
            ends.push(take(&mut rest).map(u32::from_le_bytes)?);
        }
        let mut list: Vec<Entry> = Vec::with_capacity(entries);
        for _ in 0..entries {
            let start = take(&mut rest).map(u64::from_le_bytes)?;
            let end = take(&mut rest).map(u64::from_le_bytes)?;
            let name = take(&mut rest).map(u32::from_le_bytes)?;
            let before = list.last().map_or(0, |last| last.end);
            if start >= end || start < before || name as usize >= names {
                return None;
            }
            list.push(Entry { start, end, name });
        }
        let text = std::str::from_utf8(rest).ok()?.to_owned();
        let begins = std::iter::once(&0).chain(&ends);
        let sound = begins.zip(&ends).all(|(begin, end)| {
            text.get(*begin as usize..*end as usize).is_some_and(|name| !name.contains('\n'))
        });
        let whole = ends.last().map_or(0, |end| *end as usize) == text.len();
        (sound && whole).then_some(Self { entries: list, ends, text, bad_lines, left_out })
    }

    fn name(&self, number: u32) -> Option<&str> {
        let number = number as usize;
        let begin = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(begin as usize..*self.ends.get(number)? as usize)
    }

    /// The number of a new name; `None`: there is no room.
    fn add_name(&mut self, name: &[u8]) -> Option<u32> {
        let name = String::from_utf8_lossy(name);
        if self.text.len() + name.len() > TEXT_MAX {
            return None;
        }
        self.text.push_str(&name);
        self.ends.push(u32::try_from(self.text.len()).ok()?);
        u32::try_from(self.ends.len() - 1).ok()
    }
}

/// Puts an entry over what was there.
fn put(entries: &mut BTreeMap<u64, (u64, u32)>, start: u64, end: u64, name: u32) {
    if let Some((_, before)) = entries.range_mut(..start).next_back()
        && before.0 > start
    {
        let rest = *before;
        before.0 = start;
        if rest.0 > end {
            entries.insert(end, rest);
        }
    }
    while let Some((&at, _)) = entries.range(start..end).next() {
        if let Some((old_end, old)) = entries.remove(&at)
            && old_end > end
        {
            entries.insert(end, (old_end, old));
        }
    }
    entries.insert(start, (end, name));
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn entry(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let mut number = || {
        let text = std::str::from_utf8(fields.next()?).ok()?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = fields.next()?.trim_ascii();
    let end = start.checked_add(size)?;
    if size == 0 || name.is_empty() {
        return None;
    }
    Some((start, end, name.get(..name.len().min(NAME_MAX))?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_later_of_overlapping_entries_holds() {
        let map = PerfMap::parse(b"1000 100 outer\n0x1040 10 inner f\n10f0 20 next\n1200 10 half");
        let names = [0xfff, 0x1000, 0x103f, 0x1040, 0x1050, 0x10ef, 0x10f0, 0x1110, 0x1200];
        let names = names.map(|at| map.find(at));
        let expected =
            [None, Some("outer"), Some("outer"), Some("inner f"), Some("outer"), Some("outer")];
        assert_eq!(names[..6], expected);
        assert_eq!(names[6..], [Some("next"), None, None], "the last line is not finished");
        assert_eq!(map.bad_lines, 0);
    }

    #[test]
    fn what_is_no_entry_is_counted() {
        let map = PerfMap::parse(
            b"\nx 1 a\n10 y b\n10 0 empty\n10 8\n10 8 \nffffffffffffffff 2 over\n-1 2 n\n20 1 \xff\n",
        );
        assert_eq!(map.bad_lines, 7);
        assert_eq!(map.find(0x20), Some("\u{fffd}"));
    }

    #[test]
    fn a_file_of_millions_of_lines_takes_bounded_memory() {
        let mut text = Vec::new();
        for at in 0..1_500_000_u64 {
            writeln!(text, "{:x} 1 a", 2 * at).unwrap();
        }
        // An entry over all of them, and one into it: its rest is no copy of its name.
        writeln!(text, "0 {:x} {}", 1 << 24, "n".repeat(5000)).unwrap();
        let map = PerfMap::parse(&text);
        assert_eq!(map.left_out, 1_500_000 + 1 - ENTRIES_MAX as u64);
        assert!(map.bytes() < 32 << 20, "{}", map.bytes());
        assert_eq!(map.find(0x100), Some("a"));
        assert_eq!(PerfMap::decode(&map.encode()), Some(map));
    }

    #[test]
    fn a_name_that_is_split_again_and_again_is_kept_once() {
        let mut text = format!("0 {:x} {}\n", 1_u64 << 32, "n".repeat(1000));
        for at in 0..100_000_u64 {
            text += &format!("{:x} 1 a\n", 16 * at);
        }
        let map = PerfMap::parse(text.as_bytes());
        assert!(map.bytes() < 5 << 20, "{}", map.bytes());
        assert_eq!(map.find(1), Some("n".repeat(1000).as_str()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300), at: u64) {
            let _ = PerfMap::parse(&bytes).find(at);
            let _ = PerfMap::decode(&bytes);
        }

        #[test]
        fn a_map_comes_back_from_its_bytes_and_from_its_text(
            entries in prop::collection::vec((0u64..64, 1u64..32, "[a-c]{1,2}"), 0..40),
            at in 0_usize..400,
            byte: u8,
        ) {
            let text: String =
                entries.iter().map(|(s, n, name)| format!("{s:x} {n:x} {name}\n")).collect();
            let map = PerfMap::parse(text.as_bytes());
            let mut bytes = map.encode();
            prop_assert_eq!(PerfMap::decode(&bytes), Some(map.clone()));
            let again = PerfMap::parse(map.to_text().as_bytes());
            for at in 0..100 {
                prop_assert_eq!(again.find(at), map.find(at));
            }
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(map) = PerfMap::decode(&bytes) {
                prop_assert_eq!(map.encode(), bytes);
                let _ = map.find(10);
            }
        }

        #[test]
        fn the_last_entry_at_an_address_is_found(
            entries in prop::collection::vec((0u64..64, 1u64..32), 0..40),
        ) {
            let text: String =
                entries.iter().zip(0..).map(|((s, n), i)| format!("{s:x} {n:x} f{i}\n")).collect();
            let map = PerfMap::parse(text.as_bytes());
            for at in 0..100 {
                let last = entries.iter().rposition(|(s, n)| (*s..s + n).contains(&at));
                let last = last.map(|i| format!("f{i}"));
                prop_assert_eq!(map.find(at), last.as_deref());
            }
        }
    }
}
