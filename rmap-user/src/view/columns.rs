//! The segments of each process with columns of the caller's choice beside RSS and Dirty.
//!
//! Comes in: a report and columns. Goes out: a table for each process, with its totals; KiB. What the
//! kernel did not say is `-`, and so is a total of which a part is not known.

use std::io;

use super::grid::{Cell, Column, Grid, Row};
use super::listed::{address, in_order, mode};
use super::paint::{Line, Page, Paint};
use super::samples::segment_name;
use super::{Style, text};
use crate::report::{Breakdown, Report, Segment};

/// A column that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Each page divided by the number of processes that map it.
    Pss,
    /// Mapped by this process alone.
    Private,
    /// Mapped by others too.
    Shared,
    /// In swap.
    Swap,
    /// Given up by `MADV_FREE`, still resident.
    LazyFree,
    /// Anonymous memory in huge pages.
    AnonHuge,
    /// Kept by `mlock`.
    Locked,
    /// Merged with equal pages.
    Ksm,
    /// What code paths touched, given back or not.
    Touched,
}

/// All columns, with the names by which they are asked for, and their heads.
pub const EXTRAS: [(Extra, &str, &str); 9] = [
    (Extra::Pss, "pss", "PSS"),
    (Extra::Private, "private", "Private"),
    (Extra::Shared, "shared", "Shared"),
    (Extra::Swap, "swap", "Swap"),
    (Extra::LazyFree, "lazyfree", "LazyFree"),
    (Extra::AnonHuge, "anonhuge", "AnonHuge"),
    (Extra::Locked, "locked", "Locked"),
    (Extra::Ksm, "ksm", "KSM"),
    (Extra::Touched, "touched", "Touched"),
];

impl Extra {
    /// The column of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        EXTRAS.iter().find(|(_, own, _)| *own == name).map(|(extra, _, _)| *extra)
    }

    const fn head(self) -> &'static str {
        EXTRAS[self as usize].2
    }

    /// Bytes of a segment; `None` if they are not known.
    fn of(self, segment: &Segment) -> Option<u64> {
        let Breakdown {
            pss_bytes,
            private_clean_bytes,
            private_dirty_bytes,
            shared_clean_bytes,
            shared_dirty_bytes,
            lazyfree_bytes,
            anonhuge_bytes,
            locked_bytes,
            ksm_bytes,
            ..
        } = segment.breakdown;
        match self {
            Self::Pss => pss_bytes,
            Self::Private => Some(private_clean_bytes? + private_dirty_bytes?),
            Self::Shared => Some(shared_clean_bytes? + shared_dirty_bytes?),
            Self::Swap => Some(segment.swap_bytes.after),
            Self::LazyFree => lazyfree_bytes,
            Self::AnonHuge => anonhuge_bytes,
            Self::Locked => locked_bytes,
            Self::Ksm => ksm_bytes,
            Self::Touched => Some(segment.paths.iter().map(|path| path.touched_bytes).sum()),
        }
    }
}

/// Writes the tables.
///
/// # Errors
/// The writer's.
pub fn write(
    report: &Report,
    extras: &[Extra],
    style: Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut page = Page::new(out, style);
    for (index, process) in report.processes.iter().enumerate() {
        if index > 0 {
            page.gap()?;
        }
        let title = format!("{} {}", process.pid, text::clean(&process.command));
        page.line(&Line::of(title, Paint::Strong))?;
        table(&process.segments, extras, &mut page)?;
    }
    Ok(())
}

fn table(segments: &[Segment], extras: &[Extra], page: &mut Page<'_>) -> io::Result<()> {
    let order = in_order(segments, page.style.sort);
    let shown = page.style.top.unwrap_or(usize::MAX).min(order.len());
    let mut grid = Grid { columns: columns(extras), tail_head: "", rows: Vec::new() };
    let mut row = |cells| grid.rows.push(Row { cells, ..Row::default() });
    for segment in &order[..shown] {
        row(cells(&[segment], address(segment.start), segment_name(segment), extras));
    }
    if shown < order.len() {
        let label = format!("{} more", order.len() - shown);
        row(cells(&order[shown..], label, "(--top 0: all)".to_owned(), extras));
    }
    row(rule(extras));
    row(cells(&order, "total kB".to_owned(), String::new(), extras));
    grid.print(page)
}

fn columns(extras: &[Extra]) -> Vec<Column> {
    let mut columns =
        vec![Column { head: "Address", right: false, min: 16, max: Some(16), gap: 0 }];
    columns.extend(["Kbytes", "RSS", "Dirty"].map(|head| Column::figures(head, 7)));
    columns.extend(extras.iter().map(|extra| Column::figures(extra.head(), 7)));
    columns.push(Column { head: "Mode", right: false, min: 5, max: Some(5), gap: 1 });
    columns.push(Column::names("Mapping"));
    columns
}

/// A row for some segments: their sums.
fn cells(segments: &[&Segment], first: String, name: String, extras: &[Extra]) -> Vec<Cell> {
    let sum = |of: &dyn Fn(&Segment) -> Option<u64>| {
        segments.iter().try_fold(0_u64, |sum, segment| Some(sum.saturating_add(of(segment)?)))
    };
    let figure = |bytes: Option<u64>| {
        Cell::plain(bytes.map_or_else(|| "-".to_owned(), |bytes| (bytes >> 10).to_string()))
    };
    let mut cells = vec![Cell::plain(first)];
    cells.push(figure(sum(&|segment| Some(segment.size_bytes))));
    cells.push(figure(sum(&|segment| Some(segment.rss_bytes.after))));
    cells.push(figure(sum(&|segment| Some(segment.dirty_bytes.after))));
    cells.extend(extras.iter().map(|extra| figure(sum(&|segment| extra.of(segment)))));
    let mode = match segments {
        [one] if !name.is_empty() => mode(&one.perms),
        _ => String::new(),
    };
    cells.push(Cell::plain(mode));
    cells.push(Cell::plain(name));
    cells
}

fn rule(extras: &[Extra]) -> Vec<Cell> {
    let mut cells = vec![Cell::Rule; 4 + extras.len()];
    cells.extend([Cell::none(), Cell::none()]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::BeforeAfter;
    use crate::view::order::Sort;

    fn segment(name: &str, rss: u64, pss: Option<u64>) -> Segment {
        Segment {
            perms: "rw-p".to_owned(),
            name: name.to_owned(),
            size_bytes: 2 * rss,
            rss_bytes: BeforeAfter { before: 0, after: rss },
            breakdown: Breakdown { pss_bytes: pss, ..Breakdown::default() },
            ..Segment::default()
        }
    }

    #[test]
    fn a_total_of_which_a_part_is_not_known_is_not_known() {
        let segments = vec![segment("[heap]", 8 << 10, Some(4 << 10)), segment("", 4 << 10, None)];
        let mut out = Vec::new();
        let style = Style {
            width: Some(80),
            colour: false,
            sort: Sort::Address,
            top: None,
            short: None,
            processes: None,
            verbose: false,
        };
        table(&segments, &[Extra::Pss, Extra::Swap], &mut Page::new(&mut out, style)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0][4..6], ["PSS", "Swap"], "{text}");
        assert_eq!(words[1][1..], ["16", "8", "0", "4", "0", "rw---", "[heap]"], "{text}");
        assert_eq!(words[2][1..], ["8", "4", "0", "-", "0", "rw---", "[anon]"], "{text}");
        assert_eq!(words[4], ["total", "kB", "24", "12", "0", "-", "0"], "{text}");
    }

    #[test]
    fn every_column_stands_at_its_own_place() {
        for (extra, name, head) in EXTRAS {
            assert_eq!(Extra::of_name(name), Some(extra));
            assert_eq!(extra.head(), head);
        }
    }
}
