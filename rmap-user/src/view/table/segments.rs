//! The segments of one process: the columns of `pmap -x`, then what changed, how much is
//! explained, the pattern and the top code path.

use std::io;

use crate::report::{Process, Segment};
use crate::view::chain::Stacks;
use crate::view::grid::{Cell, Column, Fluid, Grid, Row};
use crate::view::listed::{address, in_order, mode};
use crate::view::paint::{Line, Page, Paint};
use crate::view::samples::segment_name;
use crate::view::{number, text};

use super::sums::Sums;

/// Index of the column of mappings.
const MAPPING: usize = 5;
/// Room for a code path beside the other columns, under which it gets a line of its own.
const PATH_ROOM: usize = 60;
/// Columns of the mapping under which the code path gets a line of its own.
const MAPPING_WIDE: usize = 28;
/// Columns of the mapping under which the pattern moves to the second line.
const MAPPING_ROOM: usize = 18;
/// Columns that the pattern takes with the gap before it.
const PATTERN_ROOM: usize = 13;

/// How a row is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// All in one line.
    Wide,
    /// The code path on a second line.
    Medium,
    /// The pattern there too.
    Narrow,
}

/// Writes the table.
pub fn table(process: &Process, stacks: &Stacks<'_>, page: &mut Page<'_>) -> io::Result<()> {
    let order = in_order(&process.segments, page.style.sort);
    let shown = page.style.top.unwrap_or(usize::MAX).min(order.len());
    let swap = order.iter().any(|s| s.swap_bytes.after > 0 || s.swap_bytes.before > 0);

    let mut rows: Vec<(Vec<Cell>, Option<&Segment>)> = Vec::new();
    for segment in &order[..shown] {
        rows.push((cells(segment, swap), Some(segment)));
    }
    if shown < order.len() {
        let rest = Sums::of(order[shown..].iter().copied());
        let label = format!("{} more", order.len() - shown);
        let hint = Cell::Text("(--top 0: all)".to_owned(), Paint::Dim);
        rows.push((sum_cells(label, &rest, hint, swap, Paint::Dim), None));
    }
    let all = Sums::of(&process.segments);
    let gone = Sums::gone(process, &all);
    if gone != Sums::default() {
        let none = Cell::Text("[no longer mapped]".to_owned(), Paint::Dim);
        rows.push((sum_cells(String::new(), &gone, none, swap, Paint::Dim), None));
    }
    rows.push((rule(swap), None));
    let all = all.and(gone);
    rows.push((sum_cells("total kB".to_owned(), &all, Cell::none(), swap, Paint::Strong), None));

    let mut grid = Grid { columns: columns(swap), tail_head: "", rows: Vec::new() };
    grid.rows =
        rows.iter().map(|(cells, _)| Row { cells: cells.clone(), ..Row::default() }).collect();
    let layout = lay_out(&mut grid, page.style.width);
    if layout == Layout::Narrow {
        grid.columns.pop();
    }
    grid.tail_head = if layout == Layout::Wide { "Top code path" } else { "" };
    for (row, (_, segment)) in grid.rows.iter_mut().zip(&rows) {
        let Some(segment) = *segment else { continue };
        let path = top_path(segment, stacks);
        match (layout, path) {
            (Layout::Wide, path) => row.tail = path,
            (Layout::Medium, path) => row.below = path,
            (Layout::Narrow, path) => row.below = with_pattern(segment, path),
        }
    }
    grid.print(page)
}

fn columns(swap: bool) -> Vec<Column> {
    let mut columns = vec![
        Column { head: "Address", right: false, min: 16, max: Some(16), gap: 0 },
        Column::figures("Kbytes", 6),
        Column::figures("RSS", 6),
        Column::figures("Dirty", 6),
        Column { head: "Mode", right: false, min: 5, max: Some(5), gap: 1 },
        Column { head: "Mapping", right: false, min: 0, max: None, gap: 1 },
        Column::figures("ΔRSS", 6),
        Column::figures("ΔDirty", 6),
    ];
    if swap {
        columns.push(Column::figures("Swap", 5));
    }
    columns.push(Column::figures("Expl", 5));
    columns.push(Column::names("Pattern"));
    columns
}

/// Chooses the layout, and how long a mapping's name may be.
fn lay_out(grid: &mut Grid<'_>, width: Option<usize>) -> Layout {
    let Some(width) = width else { return Layout::Wide };
    let pattern = grid.columns.len() - 1;
    let others: usize = (0..pattern)
        .filter(|&at| at != MAPPING)
        .map(|at| grid.width_of(at, true) + grid.columns[at].gap)
        .sum();
    let natural = grid.width_of(MAPPING, true);
    let left = width.saturating_sub(others + grid.columns[MAPPING].gap);
    let (layout, room) = if left >= natural.min(MAPPING_WIDE) + PATTERN_ROOM + 2 + PATH_ROOM {
        (Layout::Wide, left - PATTERN_ROOM - 2 - PATH_ROOM)
    } else if left >= natural.min(MAPPING_ROOM) + PATTERN_ROOM {
        (Layout::Medium, left - PATTERN_ROOM)
    } else {
        (Layout::Narrow, left.max("Mapping".len()))
    };
    grid.columns[MAPPING].max = Some(room);
    layout
}

fn cells(segment: &Segment, swap: bool) -> Vec<Cell> {
    let sums = Sums::of([segment]);
    let dirty = if segment.dirty_bytes.after > 0 { Paint::Dirty } else { Paint::Plain };
    let mut cells = vec![
        Cell::plain(address(segment.start)),
        Cell::plain(number::kib(segment.size_bytes)),
        Cell::plain(number::kib(segment.rss_bytes.after)),
        Cell::Text(number::kib(segment.dirty_bytes.after), dirty),
        Cell::plain(mode(&segment.perms)),
        Cell::plain(segment_name(segment)),
        Cell::plain(number::kib_change(segment.rss_bytes)),
        Cell::plain(number::kib_change(segment.dirty_bytes)),
    ];
    if swap {
        cells.push(Cell::plain(number::kib(segment.swap_bytes.after)));
    }
    cells.push(explained(&sums, Paint::Plain));
    cells.push(Cell::plain(pattern(segment).unwrap_or_default()));
    cells
}

fn sum_cells(label: String, sums: &Sums, mapping: Cell, swap: bool, paint: Paint) -> Vec<Cell> {
    let cell = |text: String| Cell::Text(text, paint);
    let mut cells = vec![
        cell(label),
        cell(sums.size_kib()),
        cell(sums.rss.kib()),
        cell(sums.dirty.kib()),
        Cell::none(),
        mapping,
        cell(number::kib_change(sums.rss.sizes())),
        cell(number::kib_change(sums.dirty.sizes())),
    ];
    if swap {
        cells.push(cell(sums.swap.kib()));
    }
    cells.push(explained(sums, paint));
    cells.push(Cell::none());
    cells
}

/// The rule over the totals, as `pmap -x` draws it.
fn rule(swap: bool) -> Vec<Cell> {
    let mut cells = vec![Cell::Rule; 4];
    cells.extend([Cell::none(), Cell::none(), Cell::Rule, Cell::Rule, Cell::Rule]);
    if swap {
        cells.push(Cell::Rule);
    }
    cells
}

fn explained(sums: &Sums, paint: Paint) -> Cell {
    let paint = if sums.has_unexplained() { Paint::Bad } else { paint };
    Cell::Text(sums.share(), paint)
}

/// The name of a segment's pattern.
fn pattern(segment: &Segment) -> Option<String> {
    segment.pattern.as_ref().map(|pattern| text::clean(pattern.as_str()))
}

/// The code path that holds most of the segment, and how many others there are.
fn top_path<'a>(segment: &'a Segment, stacks: &'a Stacks<'a>) -> Option<Fluid<'a>> {
    let mut shares = stacks.merge(&segment.paths);
    shares.retain(|share| share.rss + share.dirty > 0);
    if shares.is_empty() {
        let mut reasons: Vec<&str> = segment
            .unexplained
            .iter()
            .filter(|rest| rest.rss_bytes != 0 || rest.dirty_bytes != 0)
            .map(|rest| rest.reason.as_str())
            .collect();
        reasons.dedup();
        if reasons.is_empty() {
            return None;
        }
        let text = format!("not explained: {}", text::clean(&reasons.join(", ")));
        return Some(Box::new(move |_| Line::of(text.clone(), Paint::Bad)));
    }
    let more = shares.len() - 1;
    let top = shares.swap_remove(0);
    let cause = format!("{} ", text::clean(top.cause.as_str()));
    let suffix = if more > 0 { format!("  (+{more} more)") } else { String::new() };
    Some(Box::new(move |room| {
        let fixed = text::width(&cause) + text::width(&suffix);
        let chain = stacks.chain(&top.stacks).line(room.map(|room| room.saturating_sub(fixed)));
        let mut line = Line::of(cause.clone(), Paint::Cause);
        line.append(chain);
        line.and(suffix.clone(), Paint::Dim)
    }))
}

/// The pattern in front of the code path.
fn with_pattern<'a>(segment: &Segment, path: Option<Fluid<'a>>) -> Option<Fluid<'a>> {
    let Some(pattern) = pattern(segment) else { return path };
    Some(Box::new(move |room| {
        let mut line = Line::of(pattern.clone(), Paint::Plain);
        if let Some(path) = &path {
            line.push(": ", Paint::Plain);
            let room = room.map(|room| room.saturating_sub(line.width()));
            line.append(path(room));
        }
        line
    }))
}
