//! Line tables of code objects.
//!
//! Comes in: a table's bytes, the first line, the version, an instruction. Goes out: its line; `None`
//! for an instruction that has none, or where the table does not cover it. Sources: CPython's
//! `Objects/lnotab_notes.txt` (3.8, 3.9; PEP 626 for 3.10) and `InternalDocs/code_objects.md` (3.11
//! and later, `co_positions`). Tables come from the memory of traced programs: what is cut off or
//! makes no sense ends the search.

/// The line of the instruction at `at` bytes from the start of the bytecode. Below 0, what the
/// function's first line is: it is being entered.
#[must_use]
pub fn line_at(minor: u8, table: &[u8], first_line: u32, at: i32) -> Option<u32> {
    let Ok(at) = u64::try_from(at) else { return Some(first_line) };
    match minor {
        0..=9 => Some(pairs(table, first_line, at)),
        10 => ranges(table, first_line, at),
        _ => locations(table, first_line, at),
    }
}

/// 3.8, 3.9: pairs of an unsigned number of bytes and a signed number of lines.
fn pairs(table: &[u8], first_line: u32, at: u64) -> u32 {
    let (mut address, mut line) = (0_u64, i64::from(first_line));
    for pair in table.as_chunks::<2>().0 {
        let [bytes, lines] = *pair;
        address += u64::from(bytes);
        if address > at {
            break;
        }
        line += i64::from(lines.cast_signed());
    }
    u32::try_from(line).unwrap_or(first_line)
}

/// 3.10: pairs of an unsigned number of bytes and a signed number of lines before them; −128 is no
/// line.
fn ranges(table: &[u8], first_line: u32, at: u64) -> Option<u32> {
    let (mut end, mut line) = (0_u64, i64::from(first_line));
    for pair in table.as_chunks::<2>().0 {
        let [bytes, lines] = *pair;
        let lines = lines.cast_signed();
        end += u64::from(bytes);
        if lines != i8::MIN {
            line += i64::from(lines);
        }
        if at < end {
            return if lines == i8::MIN { None } else { u32::try_from(line).ok() };
        }
    }
    None
}

/// 3.11 and later: entries of one to some bytes, each for one to eight units of two bytes.
fn locations(table: &[u8], first_line: u32, at: u64) -> Option<u32> {
    let mut rest = table;
    let (mut end, mut line) = (0_u64, i64::from(first_line));
    while let Some((&head, tail)) = rest.split_first() {
        // Only the first byte of an entry has the highest bit.
        if head & 0x80 == 0 {
            return None;
        }
        rest = tail;
        let (kind, units) = (head >> 3 & 15, u64::from(head & 7) + 1);
        end += 2 * units;
        let lines = match kind {
            0..=9 => {
                rest = rest.get(1..)?;
                Some(0)
            }
            10..=12 => {
                rest = rest.get(2..)?;
                Some(i64::from(kind - 10))
            }
            13 => Some(signed(&mut rest)?),
            14 => {
                let lines = signed(&mut rest)?;
                for _ in 0..3 {
                    unsigned(&mut rest)?;
                }
                Some(lines)
            }
            _ => None,
        };
        line = line.checked_add(lines.unwrap_or(0))?;
        if at < end {
            return lines.and_then(|_| u32::try_from(line).ok());
        }
    }
    None
}

/// Six bits a byte, the lowest first; bit 6 says that there are more.
fn unsigned(rest: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x3f).checked_shl(shift)?;
        shift += 6;
        if byte & 0x40 == 0 {
            return Some(value);
        }
        if shift > 30 {
            return None;
        }
    }
}

/// The sign is the lowest bit.
fn signed(rest: &mut &[u8]) -> Option<i64> {
    let value = unsigned(rest)?;
    let size = i64::try_from(value >> 1).ok()?;
    Some(if value & 1 == 0 { size } else { -size })
}

/// Takes any bytes as a table. For fuzzing: it must not panic.
pub(super) fn fuzz_entry(bytes: &[u8]) {
    let Some((&[minor, first, low, high], table)) = bytes.split_first_chunk::<4>() else { return };
    let at = i32::from(i16::from_le_bytes([low, high]));
    let _ = line_at(minor % 16, table, first.into(), at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_of_3_9_go_back_and_forth() {
        // Six bytes of line 10, two of line 12, then back to line 9.
        let table = [6, 2, 2, 0xfd];
        let lines = [0, 5, 6, 7, 8, 100].map(|at| line_at(9, &table, 10, at));
        assert_eq!(lines, [10, 10, 12, 12, 9, 9].map(Some));
        assert_eq!(line_at(8, &[], 7, 40), Some(7));
    }

    #[test]
    fn ranges_of_3_10_may_have_no_line() {
        let table = [4, 1, 2, 0x80, 6, 2];
        let lines = [0, 3, 4, 6, 11, 12].map(|at| line_at(10, &table, 10, at));
        assert_eq!(lines, [Some(11), Some(11), None, Some(13), Some(13), None]);
    }

    #[test]
    fn locations_of_3_11_have_five_forms() {
        let table = [
            0x80 | 2 << 3 | 1,
            0x12, // two units, line 10
            0x80 | 11 << 3,
            1,
            2,              // one unit, line 11
            0x80 | 15 << 3, // one unit without a line
            0x80 | 13 << 3,
            0x41,
            0x02, // one unit, -(65 >> 1 ...)
            0x80 | 14 << 3,
            0x06,
            0,
            1,
            2, // one unit, 3 lines on
        ];
        // 0x41 goes on: 1 | 2 << 6 = 129, odd: 64 lines back.
        let lines = [0, 3, 4, 6, 8, 10, 12].map(|at| line_at(12, &table, 100, at));
        let expected = [Some(100), Some(100), Some(101), None, Some(37), Some(40), None];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_function_that_is_being_entered_is_at_its_first_line() {
        for minor in 8..=14 {
            assert_eq!(line_at(minor, &[], 31, -2), Some(31));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_table(
            minor in 8u8..15, table in prop::collection::vec(any::<u8>(), 0..200),
            first: u32, at: i32,
        ) {
            let _ = line_at(minor, &table, first, at);
        }

        /// Entries written by the rules of `Objects/codeobject.c` are read back.
        #[test]
        fn locations_that_were_written_are_read(
            entries in prop::collection::vec((1u64..=8, -40i64..40, any::<bool>()), 1..60),
        ) {
            let (mut table, mut expected, mut line) = (Vec::new(), Vec::new(), 10_000_i64);
            for (units, lines, long) in entries {
                line += lines;
                let head = |kind: u8| 0x80 | kind << 3 | (units as u8 - 1);
                let number = (lines.unsigned_abs() << 1) | u64::from(lines < 0);
                let varint = |mut value: u64, out: &mut Vec<u8>| {
                    while value >= 64 {
                        out.push(0x40 | (value & 0x3f) as u8);
                        value >>= 6;
                    }
                    out.push(value as u8);
                };
                table.push(head(if long { 14 } else { 13 }));
                varint(number, &mut table);
                for value in [3, 700, 9].into_iter().filter(|_| long) {
                    varint(value, &mut table);
                }
                expected.extend((0..2 * units).map(|_| line as u32));
            }
            for (at, line) in expected.iter().enumerate() {
                prop_assert_eq!(line_at(13, &table, 10_000, at as i32), Some(*line));
            }
            prop_assert_eq!(line_at(13, &table, 10_000, expected.len() as i32), None);
        }
    }
}
