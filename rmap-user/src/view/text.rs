//! Text from outside made safe to print, measured and cut.
//!
//! Comes in: any string. Goes out: one line of visible characters whose width in terminal
//! columns is known.

use unicode_width::UnicodeWidthChar;

/// No string from outside takes more columns than this, whatever the width of the output. A path
/// has at most 4096 bytes (`PATH_MAX`).
pub const LONGEST: usize = 4096;

/// Columns that `c` takes on a terminal.
fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Columns that `text` takes on a terminal, character by character.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Strong right-to-left letters. A terminal that orders text both ways would swap the figures
/// that stand beside them, so the table would be read wrong; JSON has the letters as they are.
const fn is_right_to_left(c: char) -> bool {
    matches!(c as u32,
        0x0590..=0x08ff | 0xfb1d..=0xfdff | 0xfe70..=0xfeff | 0x10800..=0x10fff | 0x1e800..=0x1efff)
}

/// Letters that look like nothing: Hangul fillers and the blank Braille pattern.
const fn is_blank_letter(c: char) -> bool {
    matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}')
}

/// Marks that combine with the letter before them, in honest use once or twice.
fn is_mark(c: char) -> bool {
    columns(c) == 0 && (c.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&c))
}

/// Whether `c` can stand in a line as it is.
fn is_plain(c: char) -> bool {
    c == ' '
        || (columns(c) > 0
            && !c.is_control()
            && !c.is_whitespace()
            && !is_right_to_left(c)
            && !is_blank_letter(c))
}

/// One line that is safe to print: control characters, line ends, escape sequences, what changes
/// the direction of text, what cannot be seen, and letters that run from right to left become
/// escapes such as `\n`, `\x1b` and `\u{202e}`. The result has at most [`LONGEST`] columns. What
/// is clean stays as it is; a backslash is not escaped.
#[must_use]
pub fn clean(text: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len().min(LONGEST));
    // Marks since the last character that is no mark; none may stand first.
    let mut marks = 2;
    for c in text.chars() {
        if is_mark(c) && marks < 2 && !is_right_to_left(c) && !is_blank_letter(c) {
            marks += 1;
            out.push(c);
            continue;
        }
        // No mark may stand on an escape either.
        marks = if is_plain(c) { 0 } else { 2 };
        // Writing to a string cannot fail.
        let _ = match c {
            _ if is_plain(c) => out.write_char(c),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
            _ => write!(out, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    cut_middle(&out, LONGEST)
}

/// `text` in at most `max` columns, the end replaced by `…` where it is too long.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    if max == 0 {
        return String::new();
    }
    format!("{}…", head(text, max - 1))
}

/// `text` in at most `max` columns, its middle replaced by `…` where it is too long. More is kept
/// of the end, where a path has its name.
#[must_use]
pub fn cut_middle(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    if max == 0 {
        return String::new();
    }
    let front = (max - 1) / 3;
    format!("{}…{}", head(text, front), tail(text, max - 1 - front))
}

/// A path in at most `max` columns: its last part whole, if that is possible, and as much of its
/// beginning as fits. What is no path is cut in the middle.
#[must_use]
pub fn cut_path(path: &str, max: usize) -> String {
    let Some(slash) = path.rfind('/').filter(|_| width(path) > max) else {
        return cut_middle(path, max);
    };
    let (end, name) = (&path[slash..], &path[slash + 1..]);
    if width(end) < max {
        return format!("{}…{end}", head(path, max - 1 - width(end)));
    }
    cut_middle(name, max)
}

/// The longest start of `text` of at most `max` columns, with no sign that it was cut.
pub(super) fn head(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += columns(c);
        if used > max {
            return &text[..at];
        }
    }
    text
}

/// The longest end of `text` of at most `max` columns that does not start with a mark.
fn tail(text: &str, max: usize) -> &str {
    let mut used = 0;
    let mut from = text.len();
    for (at, c) in text.char_indices().rev() {
        used += columns(c);
        if used > max {
            break;
        }
        if columns(c) > 0 {
            from = at;
        }
    }
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_fool_a_terminal_is_escaped() {
        assert_eq!(clean("a\nb\x1b[31m\t\r\x07\x7f"), "a\\nb\\x1b[31m\\t\\r\\x07\\x7f");
        assert_eq!(clean("\u{9b}2J"), "\\u{9b}2J");
        assert_eq!(clean("lib\u{202e}os.so"), "lib\\u{202e}os.so");
        assert_eq!(clean("a\u{200b}b\u{feff}\u{ad}"), "a\\u{200b}b\\u{feff}\\u{ad}");
        assert_eq!(clean("\u{5d0}"), "\\u{5d0}");
        assert_eq!(clean("a\u{2028}b\u{a0}c"), "a\\u{2028}b\\u{a0}c");
    }

    #[test]
    fn honest_names_stay() {
        for name in ["/usr/lib/libc.so.6", "Grüße", "日本語", "e\u{301}", "ไทย", "\u{fffd}", "a\\b"]
        {
            assert_eq!(clean(name), name);
        }
    }

    #[test]
    fn marks_do_not_pile_up() {
        assert_eq!(clean("a\u{301}\u{301}\u{301}"), "a\u{301}\u{301}\\u{301}");
        assert_eq!(clean("\u{301}"), "\\u{301}");
    }

    #[test]
    fn the_end_of_a_path_is_kept() {
        assert_eq!(cut_middle("/usr/lib/x86_64-linux-gnu/libc.so.6", 16), "/usr/…/libc.so.6");
        assert_eq!(cut_path("/usr/lib/x86_64-linux-gnu/libc.so.6", 20), "/usr/lib/…/libc.so.6");
        assert_eq!(cut_path("/usr/lib/x86_64-linux-gnu/libc.so.6", 12), "/…/libc.so.6");
        assert_eq!(cut_path("/usr/lib/x86_64-linux-gnu/libc.so.6", 10), "libc.so.6");
        assert_eq!(cut_path("/usr/lib/x86_64-linux-gnu/libc.so.6", 7), "li…so.6");
        assert_eq!(cut_path("[anon:glibc]", 10), "[an…glibc]");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut_middle("日本語日本語", 6), "…本語");
    }

    proptest! {
        #[test]
        fn clean_is_visible_and_done_once(text in ".{0,80}|[\\x00-\\x{ff}]{0,80}") {
            let once = clean(&text);
            prop_assert!(!once.chars().any(char::is_control));
            prop_assert!(width(&once) <= LONGEST);
            prop_assert_eq!(clean(&once), once.clone());
        }

        #[test]
        fn cuts_fit(text in "\\PC{0,60}", max in 0usize..40) {
            let text = clean(&text);
            prop_assert!(width(&cut(&text, max)) <= max);
            prop_assert!(width(&cut_middle(&text, max)) <= max);
            prop_assert!(width(&cut_path(&text, max)) <= max);
        }
    }
}
