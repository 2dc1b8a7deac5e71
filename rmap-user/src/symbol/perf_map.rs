//! Names that a program writes for code that it makes at run time: perf map files.
//!
//! Comes in: the bytes of `/tmp/perf-PID.map`, lines `START SIZE NAME` with hexadecimal numbers
//! (Linux `tools/perf/Documentation/jit-interface.txt`). Goes out: for an address, the name.
//!
//! JIT compilers use memory again, so of entries that overlap the later one holds. The file is the
//! program's own and may be written at that moment: what is no whole line is left out and counted.

use std::collections::BTreeMap;

/// Bytes of a name; longer ones are cut.
const NAME_MAX: usize = 1024;

/// The names of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfMap {
    /// By first address: the first address behind it, and the name. They do not overlap.
    entries: BTreeMap<u64, (u64, Box<str>)>,
    /// Lines that are no entries; an unfinished last line is not among them.
    pub bad_lines: u64,
}

impl PerfMap {
    /// Reads a file. Bytes behind the last line end are a line that is still being written.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut map = Self::default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            match entry(line) {
                Some((start, end, name)) => map.put(start, end, name),
                None => map.bad_lines += 1,
            }
        }
        map
    }

    /// The name of the code at an address.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&str> {
        let (_, (end, name)) = self.entries.range(..=address).next_back()?;
        (address < *end).then_some(name)
    }

    /// Puts an entry over what was there.
    fn put(&mut self, start: u64, end: u64, name: Box<str>) {
        if let Some((_, before)) = self.entries.range_mut(..start).next_back()
            && before.0 > start
        {
            let rest = (before.0, before.1.clone());
            before.0 = start;
            if rest.0 > end {
                self.entries.insert(end, rest);
            }
        }
        while let Some((&at, _)) = self.entries.range(start..end).next() {
            if let Some((old_end, old)) = self.entries.remove(&at)
                && old_end > end
            {
                self.entries.insert(end, (old_end, old));
            }
        }
        self.entries.insert(start, (end, name));
    }
}

fn entry(line: &[u8]) -> Option<(u64, u64, Box<str>)> {
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
    let name = String::from_utf8_lossy(&name[..name.len().min(NAME_MAX)]);
    Some((start, end, name.into()))
}

#[cfg(test)]
mod tests {
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

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300), at: u64) {
            let _ = PerfMap::parse(&bytes).find(at);
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
