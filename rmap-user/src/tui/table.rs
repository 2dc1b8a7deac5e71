//! The rows: their heads, as many as fit, and the whole name of the one under the cursor.

use std::collections::BTreeMap;

use crate::insight::group::CALLER;
use crate::view::screen::{Text, fit};
use crate::view::unit::Unit;
use crate::view::{number, text};

use super::canvas::{Canvas, Ink};
use super::digest::{Row, Tab, Weight};
use super::rows::Line;
use super::state::State;

/// Where the heads stand.
const HEADS: u16 = 5;
/// Columns of the two cells behind the name, at most, and where there is much room.
const CELLS: (usize, usize) = (16, 26);
/// The name has so many, at least.
const NAME: usize = 26;
/// From here on there is much room.
const WIDE: u16 = 110;

/// Columns of the parts of a line.
struct Columns {
    figures: usize,
    name: usize,
    why: usize,
    place: usize,
}

/// Draws heads, rows and the line below them.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    let (lines, cursor, top) = state.lines();
    let room = state.room();
    let shown = lines.get(top..lines.len().min(top + room)).unwrap_or_default();
    let unit = Unit::of(state.summary.total.rss);
    let heads = figures_head(state, canvas.width, unit);
    let columns = columns(shown, text::width(&heads), canvas.width);
    canvas.put(0, HEADS, &head(state, &heads, &columns), Ink::Dim, canvas.width);
    let names = names(shown, columns.name, canvas.width >= WIDE);
    for ((line, name), at) in shown.iter().zip(names).zip(0_u16..) {
        let y = HEADS + 1 + at;
        row(state, line, &name, &columns, unit, y, canvas);
        if usize::from(at) + top == cursor {
            canvas.choose(y);
        }
    }
    if lines.is_empty() {
        let why = match (state.report().is_some(), state.filter.is_empty()) {
            (false, _) => "waiting for the first picture …",
            (true, true) => "nothing is resident",
            (true, false) => "no row matches the filter; Esc shows all",
        };
        canvas.put(2, HEADS + 1, why, Ink::Dim, canvas.width);
    }
    below(state, &lines, cursor, top, canvas);
}

fn figures_head(state: &State, width: u16, unit: Unit) -> String {
    let mut head = format!("{:>9} {:>5} {:>9}", format!("RSS {}", unit.name()), "Share", "Dirty");
    if state.base.is_some() {
        head.push_str(&format!(" {:>9}", "Since"));
    }
    if state.tab == Tab::Segments {
        head.push_str(&format!(" {:>9} Mode", "Size"));
        if width >= WIDE {
            head.push_str(&format!(" {:<14}", "Address"));
        }
    }
    head
}

fn head(state: &State, figures: &str, columns: &Columns) -> String {
    let name = match state.tab {
        Tab::Owners => "Owner",
        Tab::Segments => "Segment",
        Tab::Processes => "Process",
        Tab::Tree => "Function, with all that it called",
    };
    let why = if state.tab == Tab::Owners { "Cause" } else { "Owner" };
    let place = match state.tab {
        Tab::Owners => "Where",
        Tab::Segments => "PID",
        Tab::Processes | Tab::Tree => "",
    };
    let mut head = format!("{figures}    {name}");
    for (title, width, before) in [
        (why, columns.why, columns.figures + 2 + columns.name),
        (place, columns.place, columns.figures + 2 + columns.name + 2 + columns.why),
    ] {
        if width > 0 {
            let pad = (before + 2).saturating_sub(text::width(&head));
            head.push_str(&format!("{}{title}", " ".repeat(pad)));
        }
    }
    head
}

fn columns(lines: &[Line<'_>], figures: usize, width: u16) -> Columns {
    let most = if width >= WIDE { CELLS.1 } else { CELLS.0 };
    let widest = |cell: fn(&Row) -> &String| {
        lines.iter().map(|line| text::width(cell(line.row))).max().unwrap_or(0).min(most)
    };
    let (mut why, mut place) = (widest(|row| &row.why), widest(|row| &row.place));
    let room = usize::from(width).saturating_sub(figures + 2);
    let taken = |cell: usize| if cell > 0 { cell + 2 } else { 0 };
    if room < NAME + taken(why) + taken(place) {
        place = 0;
    }
    if room < NAME + taken(why) {
        why = 0;
    }
    Columns { figures, name: room.saturating_sub(taken(why) + taken(place)), why, place }
}

/// Blanks in front of a name, so that something is left for it.
fn indent(depth: usize, room: usize) -> usize {
    (depth * 2).min(room.saturating_sub(NAME))
}

/// The names of lines; equal ones with what makes them differ.
fn names(lines: &[Line<'_>], room: usize, with_address: bool) -> Vec<String> {
    let mut names = vec![String::new(); lines.len()];
    let mut siblings: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        siblings.entry(&line.above).or_default().push(at);
    }
    for places in siblings.into_values() {
        let some: Vec<&Line<'_>> = places.iter().filter_map(|at| lines.get(*at)).collect();
        let depth = some.first().map_or(0, |line| line.depth);
        let room = room.saturating_sub(indent(depth, room) + 2);
        let texts = some.iter().map(|line| line.row.text.clone());
        let told_apart = with_address && some.iter().any(|line| line.row.range.is_some());
        let fitting: Vec<String> = if told_apart {
            texts.map(|text| text::cut_middle(&text.name, room)).collect()
        } else {
            fit(&texts.collect::<Vec<Text>>(), Some(room))
        };
        for (at, name) in places.into_iter().zip(fitting) {
            if let Some(slot) = names.get_mut(at) {
                *slot = name;
            }
        }
    }
    names
}

fn row(
    state: &State,
    line: &Line<'_>,
    name: &str,
    columns: &Columns,
    unit: Unit,
    y: u16,
    canvas: &mut Canvas<'_>,
) {
    let (row, width) = (line.row, canvas.width);
    let ink = match row.weight {
        Weight::Plain => Ink::Plain,
        Weight::Background => Ink::Dim,
        Weight::Residual => Ink::Bad,
    };
    let strong = if ink == Ink::Plain { Ink::Strong } else { ink };
    let dirty = if ink == Ink::Plain && row.bytes.dirty > 0 { Ink::Dirty } else { ink };
    let total = state.summary.total.rss;
    let share = if total > 0 && row.bytes.rss >= 0 {
        number::share(row.bytes.rss.unsigned_abs(), total.unsigned_abs())
    } else {
        "-".to_owned()
    };
    let mut x = canvas.put(0, y, &format!("{:>9}", unit.figure(row.bytes.rss)), strong, width);
    x = canvas.put(x, y, &format!(" {share:>5}"), Ink::Dim, width);
    x = canvas.put(x, y, &format!(" {:>9}", unit.figure(row.bytes.dirty)), dirty, width);
    if let Some(since) = line.since {
        let sign = if since.rss > 0 { "+" } else { "" };
        let since = format!(" {:>9}", format!("{sign}{}", unit.figure(since.rss)));
        x = canvas.put(x, y, &since, strong, width);
    }
    if state.tab == Tab::Segments
        && let Some(range) = &row.range
    {
        let size = i128::from(range.end.saturating_sub(range.start));
        let figure = format!(" {:>9} {:<4}", unit.figure(size), range.perms);
        x = canvas.put(x, y, &figure, Ink::Plain, width);
        if width >= WIDE {
            canvas.put(x, y, &format!(" {:012x}", range.start), Ink::Dim, width);
        }
    }
    let at = |column: usize| u16::try_from(column).unwrap_or(u16::MAX);
    let mark = match line.open {
        Some(true) => "▾ ",
        Some(false) => "▸ ",
        None => "  ",
    };
    let name = format!("{}{mark}{name}", " ".repeat(indent(line.depth, columns.name)));
    let from = columns.figures + 2;
    canvas.put(at(from), y, &name, ink, at(columns.name));
    let mut from = from + columns.name;
    for (cell, room, ink) in
        [(&row.why, columns.why, Ink::Cause), (&row.place, columns.place, Ink::Plain)]
    {
        if room > 0 {
            let cell = text::cut_middle(cell, room);
            canvas.put(at(from + 2), y, &cell, ink, at(room));
            from += room + 2;
        }
    }
}

/// The whole name of what is under the cursor, and how many lines there are.
fn below(state: &State, lines: &[Line<'_>], cursor: usize, top: usize, canvas: &mut Canvas<'_>) {
    let y = canvas.height - 2;
    let last = (top + state.room()).min(lines.len());
    let many = format!(" {}-{last} of {}", (top + 1).min(last), lines.len());
    let end = canvas.put_right(y, &many, Ink::Dim);
    let Some(line) = lines.get(cursor) else { return };
    let row = line.row;
    let mut whole = row.text.name.clone();
    if let Some(range) = &row.range {
        whole = format!("{:x}-{:x} {} {whole}", range.start, range.end, range.perms);
    }
    // Equal names differ by the whole path, or by the module.
    if let Some(apart) = row.text.apart.last().filter(|apart| !whole.contains(apart.as_str())) {
        whole = if apart.contains(CALLER) { apart.clone() } else { format!("{whole}  {apart}") };
    }
    if !row.why.is_empty() {
        let by = if row.range.is_some() { "by " } else { "" };
        whole = format!("{whole}  {by}{}", row.why);
    }
    let room = usize::from(end.saturating_sub(1));
    canvas.put(0, y, &text::cut_middle(&whole, room), Ink::Strong, end.saturating_sub(1));
}
