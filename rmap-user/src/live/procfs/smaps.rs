//! Parses the text of `/proc/PID/smaps`, line by line.
//!
//! Comes in: lines as bytes. Goes out: [`Segment`]s, or a [`TextError`] with the line's number.
//!
//! The `procfs` crate (0.18) is not used for this file, because a traced program chooses the
//! names of its files: the crate takes lines as UTF-8 and fails for the whole process where one
//! name is not; it slices names that begin with `/SYSV` or `[stack:` without a check and panics
//! on short ones; it trims blanks off the ends of names, and drops ` (deleted)` of shared memory
//! and every `VmFlags` pair that it does not know.
//!
//! The kernel writes a newline in a name as `\012` and every other byte as it is. Bytes that are
//! not UTF-8 are kept here in the same notation.

use crate::trace::{Measure, Segment, VmFlags};

/// Longest line that is accepted: a path of `PATH_MAX` bytes, each escaped, and the columns.
const MAX_LINE: usize = 4 * 4096 + 256;

/// Where the text is not what the kernel documents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TextError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Takes lines, and has the segments at the end.
#[derive(Default)]
pub(super) struct Parser {
    segments: Vec<Segment>,
    lines: usize,
    /// Rss of the segment under way was seen.
    seen: bool,
}

impl Parser {
    /// Takes one line without its newline.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), TextError> {
        self.lines += 1;
        if line.len() > MAX_LINE {
            return Err(self.error("longer than any path can make it"));
        }
        // The fields begin with a capital letter, the addresses are lower-case hex.
        if line.first().is_some_and(u8::is_ascii_uppercase) {
            return self.field(line);
        }
        self.end_segment()?;
        let segment = header(line).map_err(|what| self.error(what))?;
        self.segments.push(segment);
        Ok(())
    }

    /// The segments in the order of the text.
    pub(super) fn finish(mut self) -> Result<Vec<Segment>, TextError> {
        self.end_segment()?;
        Ok(self.segments)
    }

    fn end_segment(&mut self) -> Result<(), TextError> {
        let complete = |segment: &Segment| {
            let dirty = [Measure::SharedDirty, Measure::PrivateDirty];
            self.seen && dirty.iter().all(|measure| segment.breakdown.get(*measure).is_some())
        };
        if self.segments.last().is_some_and(|segment| !complete(segment)) {
            return Err(self.error("a segment ends without Rss, Shared_Dirty and Private_Dirty"));
        }
        self.seen = false;
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), TextError> {
        let error = |what| TextError { line: self.lines, what };
        let Some(segment) = self.segments.last_mut() else {
            return Err(error("a field before the first segment"));
        };
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return Err(error("a field without a colon"));
        };
        let (key, value) = (&line[..colon], &line[colon + 1..]);
        if key == b"VmFlags" {
            segment.vm_flags = VmFlags::parse(&escaped(value));
            return Ok(());
        }
        if key == b"THPeligible" {
            let eligible = decimal(value.trim_ascii()).ok_or_else(|| error("neither 0 nor 1"))?;
            segment.breakdown.set_thp_eligible(eligible != 0);
            return Ok(());
        }
        let size = || kilobytes(value).ok_or_else(|| error("a size that is not a number of kB"));
        if let Some(measure) = Measure::of_smaps(key) {
            let size = size()?;
            if segment.breakdown.get(measure).is_some() {
                return Err(error("a field is there twice"));
            }
            segment.breakdown.set(measure, size);
            if matches!(measure, Measure::SharedDirty | Measure::PrivateDirty) {
                segment.dirty = segment.dirty.checked_add(size).ok_or_else(|| error(BEYOND))?;
            }
            return Ok(());
        }
        let wanted = match key {
            b"Rss" if self.seen => return Err(error("a field is there twice")),
            b"Rss" => {
                self.seen = true;
                &mut segment.rss
            }
            b"Swap" => &mut segment.swap,
            b"Anonymous" => &mut segment.anonymous,
            b"LazyFree" => &mut segment.lazy_free,
            b"Shared_Hugetlb" | b"Private_Hugetlb" => &mut segment.hugetlb,
            _ => return Ok(()),
        };
        *wanted = wanted.checked_add(size()?).ok_or_else(|| error(BEYOND))?;
        Ok(())
    }

    fn error(&self, what: &'static str) -> TextError {
        TextError { line: self.lines, what }
    }
}

const BEYOND: &str = "a size beyond 64 bits";

/// Whether the segments rise and do not overlap, as those of a process that stands still do.
pub(super) fn is_ordered(segments: &[Segment]) -> bool {
    segments.windows(2).all(|pair| pair[0].end <= pair[1].start)
}

/// Of segments that overlap, because the process changed them while they were read, keeps those
/// that were read last.
pub(super) fn keep_newest(segments: &mut Vec<Segment>) {
    let mut kept: Vec<Segment> = Vec::with_capacity(segments.len());
    for segment in segments.drain(..) {
        while kept.last().is_some_and(|last| last.end > segment.start) {
            kept.pop();
        }
        kept.push(segment);
    }
    *segments = kept;
}

/// ` 12 kB` in bytes.
pub(super) fn kilobytes(value: &[u8]) -> Option<u64> {
    let number = value.trim_ascii().strip_suffix(b"kB")?.trim_ascii_end();
    decimal(number)?.checked_mul(1024)
}

/// `start-end perms offset major:minor inode   name`
fn header(line: &[u8]) -> Result<Segment, &'static str> {
    const COLUMNS: &str = "not the columns of a mapping";
    let mut rest = line;
    let mut column = || {
        let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
        let (column, after) = rest.split_at(end);
        rest = after.strip_prefix(b" ").unwrap_or(after);
        column
    };
    let (range, perms, offset, device, inode) = (column(), column(), column(), column(), column());
    let (start, end) = pair(range, b'-').ok_or(COLUMNS)?;
    let (major, minor) = pair(device, b':').ok_or(COLUMNS)?;
    if start >= end {
        return Err("a mapping that ends before it starts");
    }
    let known = |(byte, of): (&u8, &[u8; 2])| of.contains(byte);
    if perms.len() != 4 || !perms.iter().zip([b"r-", b"w-", b"x-", b"ps"]).all(known) {
        return Err("permissions that are none");
    }
    Ok(Segment {
        start,
        end,
        perms: escaped(perms),
        offset: hex(offset).ok_or(COLUMNS)?,
        device: (
            u32::try_from(major).map_err(|_| COLUMNS)?,
            u32::try_from(minor).map_err(|_| COLUMNS)?,
        ),
        inode: decimal(inode).ok_or(COLUMNS)?,
        // Padded with blanks; no name begins with one.
        name: escaped(rest.trim_ascii_start()),
        ..Segment::default()
    })
}

/// Two hex numbers with a byte between them.
fn pair(text: &[u8], between: u8) -> Option<(u64, u64)> {
    let at = text.iter().position(|b| *b == between)?;
    Some((hex(&text[..at])?, hex(&text[at + 1..])?))
}

fn hex(text: &[u8]) -> Option<u64> {
    number(text, 16)
}

fn decimal(text: &[u8]) -> Option<u64> {
    number(text, 10)
}

/// Digits only: Rust's own parsing takes a plus sign, which the kernel never writes.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    if text.first() == Some(&b'+') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

/// As UTF-8; bytes that are not become `\ooo`, as the kernel writes a newline.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\{byte:03o}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Breakdown;
    use proptest::prelude::*;

    fn parse(text: &[u8]) -> Result<Vec<Segment>, TextError> {
        let mut parser = Parser::default();
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            parser.line(line)?;
        }
        parser.finish()
    }

    const ONE: &[u8] = b"\
7f00deadb000-7f00deadf000 rw-s 0001f000 103:0000a 18446744073709551615           /tmp/a b\\012\xff (deleted)
Size:                 16 kB
KernelPageSize:        4 kB
Rss:                  12 kB
Pss:                  12 kB
Shared_Clean:          0 kB
Shared_Dirty:          4 kB
Private_Clean:         0 kB
Private_Dirty:         8 kB
Referenced:           12 kB
Anonymous:             1 kB
LazyFree:              2 kB
Shared_Hugetlb:     2048 kB
Private_Hugetlb:    4096 kB
Swap:                  3 kB
ProtectionKey:         0
THPeligible:           0
NewField:     of the future
VmFlags: rd wr sh mr mw me ms zz
";

    #[test]
    fn every_field_is_read() {
        let segment = Segment {
            start: 0x7f00_dead_b000,
            end: 0x7f00_dead_f000,
            perms: "rw-s".into(),
            offset: 0x1f000,
            device: (0x103, 10),
            inode: u64::MAX,
            name: "/tmp/a b\\012\\377 (deleted)".into(),
            rss: 12 << 10,
            dirty: 12 << 10,
            swap: 3 << 10,
            anonymous: 1 << 10,
            lazy_free: 2 << 10,
            hugetlb: 6 << 20,
            vm_flags: VmFlags::parse("rd wr sh mr mw me ms zz"),
            breakdown: {
                let mut breakdown = Breakdown::default();
                breakdown.set(Measure::Pss, 12 << 10);
                breakdown.set(Measure::SharedClean, 0);
                breakdown.set(Measure::SharedDirty, 4 << 10);
                breakdown.set(Measure::PrivateClean, 0);
                breakdown.set(Measure::PrivateDirty, 8 << 10);
                breakdown.set_thp_eligible(false);
                breakdown
            },
        };
        assert_eq!(parse(ONE).unwrap(), [segment]);
    }

    #[test]
    fn names_that_break_other_parsers_are_kept() {
        for name in
            ["/SYSV", "[stack:", "[stack:]", "/x  ", "[", "/é", "Rss: 4 kB", "/SYSVzzzzzzzz"]
        {
            let text = [
                b"1000-2000 r--p 00000000 00:00 0 \t   ",
                name.as_bytes(),
                b"\nRss: 0 kB\nShared_Dirty: 0 kB\nPrivate_Dirty: 0 kB\n",
            ]
            .concat();
            assert_eq!(parse(&text).unwrap()[0].name, name);
        }
    }

    #[test]
    fn what_is_no_smaps_is_refused_with_its_line() {
        let refused = |text: &[u8]| parse(text).unwrap_err().line;
        assert_eq!(refused(b"Rss: 4 kB\n"), 1);
        assert_eq!(refused(b"1000-2000 r--p 0 00:00 0 \n"), 1, "maps has no sizes");
        assert_eq!(refused(b"2000-1000 r--p 0 00:00 0 \n"), 1);
        assert_eq!(refused(b"1000-2000 r-?p 0 00:00 0 \n"), 1);
        assert_eq!(refused(b"1000-2000 r--p 0 00:00 0 \nRss: 99999999999999999999 kB\n"), 2);
        assert_eq!(refused(b"1000-2000 r--p 0 00:00 0 \nRss: 18446744073709551615 kB\n"), 2);
        assert_eq!(refused(b"1000-2000 r--p 0 00:00 0 \nRss: 4 kB\nRss: 4 kB\n"), 3);
        assert_eq!(refused(&vec![b'a'; MAX_LINE + 1]), 1);
    }

    #[test]
    fn of_overlapping_segments_the_last_read_stays() {
        let at = |start, end| Segment { start, end, ..Segment::default() };
        let mut segments = vec![at(1, 2), at(2, 4), at(4, 6), at(3, 8), at(8, 9)];
        assert!(!is_ordered(&segments));
        keep_newest(&mut segments);
        assert_eq!(segments, [at(1, 2), at(3, 8), at(8, 9)]);
        assert!(is_ordered(&segments));
    }

    proptest! {
        #[test]
        fn any_bytes_are_segments_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn damaged_text_is_segments_or_an_error(at in 0..ONE.len(), byte: u8, cut in 0..ONE.len()) {
            let mut text = ONE.to_vec();
            text[at] = byte;
            let _ = parse(&text);
            let _ = parse(&text[cut..]);
            let _ = parse(&text[..cut]);
        }

        #[test]
        fn segments_are_in_order_once_the_newest_are_kept(
            starts in proptest::collection::vec((0u64..50, 1u64..9), 0..20),
        ) {
            let mut segments: Vec<Segment> = starts
                .into_iter()
                .map(|(start, size)| Segment { start, end: start + size, ..Segment::default() })
                .collect();
            keep_newest(&mut segments);
            prop_assert!(is_ordered(&segments));
        }
    }
}
