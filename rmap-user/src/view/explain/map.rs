//! The pages of a segment as a map: one letter for each piece of memory, by who owns most of it.

use std::collections::HashMap;
use std::io;

use crate::report::story::{Pages, Story};
use crate::report::{Cause, Named, Path, Segment};
use crate::view::chain::{Key, Share, Stacks};
use crate::view::number;
use crate::view::paint::{Line, Page, Paint};
use crate::view::text;

/// Cells in a line where no width asks for fewer.
const IN_A_LINE: u64 = 64;
/// Lines of the map.
const LINES: u64 = 24;
const PAGE: u64 = 4096;

/// What a cell shows.
const EMPTY: char = '.';
const ZERO: char = '0';
const SWAPPED: char = '-';
const BEFORE: char = '#';
const NOBODY: char = '?';
const OTHERS: char = '*';

/// Writes the map and its legend.
pub fn write(
    story: &Story,
    segment: &Segment,
    stacks: &Stacks<'_>,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let (start, end) = (segment.start.0, segment.end.0);
    if story.pages.is_empty() {
        return page.line(&Line::of("No page of it is there, or none was looked at.", Paint::Dim));
    }
    let width = page.style.width.map_or(IN_A_LINE, |width| (width as u64).saturating_sub(20));
    let in_a_line = [64, 32, 16, 8].into_iter().find(|cells| *cells <= width).unwrap_or(8);
    let mut cell = PAGE;
    while end.saturating_sub(start).div_ceil(cell) > in_a_line * LINES {
        cell *= 2;
    }
    page.heading(&format!(
        "Pages: whose most of each {} KiB is, a capital letter where it is dirty",
        cell / 1024
    ))?;
    let letters = Letters::of(segment, stacks);
    let cells = cells(&story.pages, &letters, start, end, cell);
    let mut empty = 0;
    for (at, row) in cells.chunks(in_a_line as usize).enumerate() {
        let from = start + at as u64 * in_a_line * cell;
        // Of many lines with nothing the first is enough.
        empty = if row.iter().all(|cell| *cell == EMPTY) { empty + 1 } else { 0 };
        match empty {
            0 | 1 => {
                let line = Line::of(format!("  {from:016x}  "), Paint::Dim);
                page.line(&line.and(row.iter().collect::<String>(), Paint::Plain))?;
            }
            2 => page.line(&Line::of("  …", Paint::Dim))?,
            _ => {}
        }
    }
    letters.legend(&cells, segment, stacks, page)
}

/// The letter of each path.
struct Letters<'a> {
    of_path: Vec<char>,
    /// The letters with the stacks of each, the largest first.
    shares: Vec<(char, Share<'a>)>,
}

impl<'a> Letters<'a> {
    fn of(segment: &'a Segment, stacks: &Stacks<'a>) -> Self {
        let mut by_key: HashMap<(&Named<Cause>, Key), char> = HashMap::new();
        let mut shares = Vec::new();
        let there = |path: &&Path| path.rss_bytes + path.dirty_bytes > 0;
        for (at, share) in stacks.merge(segment.paths.iter().filter(there)).into_iter().enumerate()
        {
            let letter = u8::try_from(at).ok().filter(|at| *at < 26).map(|at| (b'a' + at) as char);
            let letter = letter.unwrap_or(OTHERS);
            let first = share.stacks.first().copied().flatten();
            by_key.insert((share.cause, stacks.key(first)), letter);
            shares.push((letter, share));
        }
        let letter = |path: &Path| {
            by_key.get(&(&path.cause, stacks.key(path.stack))).copied().unwrap_or(OTHERS)
        };
        Self { of_path: segment.paths.iter().map(letter).collect(), shares }
    }

    /// What pages are.
    fn of_pages(&self, pages: &Pages) -> char {
        let path = |at: Option<u32>| at.and_then(|at| self.of_path.get(at as usize)).copied();
        match pages.state.as_str() {
            "zero" => ZERO,
            "swapped" => SWAPPED,
            // Who made it dirty matters more than who brought it.
            _ => match (path(pages.dirty), path(pages.resident)) {
                (Some(letter), _) => letter.to_ascii_uppercase(),
                (None, Some(letter)) => letter,
                (None, None) if pages.before => BEFORE,
                (None, None) => NOBODY,
            },
        }
    }

    fn legend(
        &self,
        cells: &[char],
        segment: &Segment,
        stacks: &Stacks<'_>,
        page: &mut Page<'_>,
    ) -> io::Result<()> {
        let is_there =
            |letter: char| cells.contains(&letter) || cells.contains(&letter.to_ascii_uppercase());
        for (letter, share) in &self.shares {
            if *letter == OTHERS {
                break;
            }
            let kib = |bytes: u128| number::kib(u64::try_from(bytes).unwrap_or(u64::MAX));
            let mut line = Line::of(format!("  {letter}  "), Paint::Strong);
            line.push(text::clean(share.cause.as_str()), Paint::Cause);
            line.push(
                format!(", RSS {}, Dirty {}: ", kib(share.rss), kib(share.dirty)),
                Paint::Plain,
            );
            let room = page.style.width.map(|width| width.saturating_sub(line.width()));
            line.append(stacks.chain(&share.stacks).line(room));
            page.line(&line)?;
        }
        for (sign, words) in [
            (OTHERS, "others"),
            (NOBODY, "resident, and no code path explains it"),
            (BEFORE, "there before tracing began"),
            (ZERO, "read, never written: the zero page, not part of RSS"),
            (SWAPPED, "in swap"),
            (EMPTY, "not there"),
        ] {
            if is_there(sign) {
                page.line(&Line::of(format!("  {sign}  {words}"), Paint::Dim))?;
            }
        }
        let _ = segment;
        Ok(())
    }
}

/// For each cell what most of its pages are, of what is there.
fn cells(pages: &[Pages], letters: &Letters<'_>, start: u64, end: u64, cell: u64) -> Vec<char> {
    let many = end.saturating_sub(start).div_ceil(cell);
    let mut counts: Vec<Vec<(char, u64)>> = vec![Vec::new(); usize::try_from(many).unwrap_or(0)];
    for run in pages {
        let (from, to) = (run.start.0.max(start), run.end.0.min(end));
        let letter = letters.of_pages(run);
        let mut at = from;
        while at < to {
            let number = (at - start) / cell;
            let next = (start + (number + 1) * cell).min(to);
            if let Some(count) = counts.get_mut(number as usize) {
                match count.iter_mut().find(|(known, _)| *known == letter) {
                    Some((_, bytes)) => *bytes += next - at,
                    None => count.push((letter, next - at)),
                }
            }
            at = next;
        }
    }
    let most = |count: Vec<(char, u64)>| {
        count.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(EMPTY, |(letter, _)| letter)
    };
    counts.into_iter().map(most).collect()
}
