//! Columns: cells go in, aligned lines go out.

use std::io;

use super::paint::{Line, Page, Paint};
use super::text;

/// One unbounded name does not push the whole table to the right: cells that are longer than this
/// and stand in a table without a width shift their own row only.
const WIDEST_PAD: usize = 48;

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its title.
    pub head: &'static str,
    /// Figures stand to the right.
    pub right: bool,
    /// Not narrower than this.
    pub min: usize,
    /// Cells are cut to this.
    pub max: Option<usize>,
    /// Blanks before it.
    pub gap: usize,
}

impl Column {
    /// A column of figures.
    pub const fn figures(head: &'static str, min: usize) -> Self {
        Self { head, right: true, min, max: None, gap: 1 }
    }

    /// A column of names.
    pub const fn names(head: &'static str) -> Self {
        Self { head, right: false, min: 0, max: None, gap: 2 }
    }
}

/// What stands in a column.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Clean text.
    Text(String, Paint),
    /// A rule across the column.
    Rule,
}

impl Cell {
    /// Body text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::Text(text.into(), Paint::Plain)
    }

    /// Nothing.
    pub fn none() -> Self {
        Self::plain("")
    }
}

/// Makes a line for the room that is left; `None`: as long as it likes.
pub type Fluid<'a> = Box<dyn Fn(Option<usize>) -> Line + 'a>;

/// One row.
#[derive(Default)]
pub struct Row<'a> {
    /// One for each column; the missing ones are empty.
    pub cells: Vec<Cell>,
    /// Behind the last column.
    pub tail: Option<Fluid<'a>>,
    /// On a line of its own under the row.
    pub below: Option<Fluid<'a>>,
}

/// A table.
pub struct Grid<'a> {
    /// Its columns.
    pub columns: Vec<Column>,
    /// The title over the tails, empty for none.
    pub tail_head: &'static str,
    /// The rows in their order.
    pub rows: Vec<Row<'a>>,
}

impl Grid<'_> {
    /// How wide column `at` is.
    pub fn width_of(&self, at: usize, bounded: bool) -> usize {
        let column = self.columns[at];
        let widest = self
            .rows
            .iter()
            .filter_map(|row| match row.cells.get(at) {
                Some(Cell::Text(text, _)) => Some(text::width(text)),
                _ => None,
            })
            .filter(|&width| column.right || bounded || width <= WIDEST_PAD)
            .max()
            .unwrap_or(0);
        let width = widest.max(text::width(column.head)).max(column.min);
        column.max.map_or(width, |max| width.min(max))
    }

    /// Writes the header and the rows.
    pub fn print(&self, page: &mut Page<'_>) -> io::Result<()> {
        let bounded = page.style.width.is_some();
        let widths: Vec<usize> =
            (0..self.columns.len()).map(|at| self.width_of(at, bounded)).collect();
        let room = |line: &Line, gap: usize| {
            page.style.width.map(|width| width.saturating_sub(line.width() + gap))
        };

        let heads =
            self.columns.iter().map(|c| Cell::Text(c.head.to_owned(), Paint::Dim)).collect();
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        let mut header = self.cells(&Row { cells: heads, ..Row::default() }, &widths, true);
        if !self.tail_head.is_empty() {
            header.push(format!("  {}", self.tail_head), Paint::Dim);
        }
        lines.push(header);
        for row in &self.rows {
            let mut line = self.cells(row, &widths, row.tail.is_some());
            if let Some(tail) = &row.tail {
                let tail = tail(room(&line, 2));
                line.push("  ", Paint::Plain);
                line.append(tail);
            }
            lines.push(line);
            if let Some(below) = &row.below {
                let mut line = Line::of("    ", Paint::Plain);
                line.append(below(room(&line, 0)));
                lines.push(line);
            }
        }
        lines.iter().try_for_each(|line| page.line(line))
    }

    /// The cells of one row; `pad`: the last one too.
    fn cells(&self, row: &Row<'_>, widths: &[usize], pad: bool) -> Line {
        let mut line = Line::new();
        let none = Cell::none();
        for (at, (column, &width)) in self.columns.iter().zip(widths).enumerate() {
            let gap = if at == 0 { 0 } else { column.gap };
            let (text, paint) = match row.cells.get(at).unwrap_or(&none) {
                Cell::Text(text, paint) => {
                    let max = column.max.unwrap_or(usize::MAX);
                    (text::cut_path(text, max), *paint)
                }
                Cell::Rule => ("-".repeat(width), Paint::Dim),
            };
            let blanks = " ".repeat(width.saturating_sub(text::width(&text)));
            if column.right {
                line.push(format!("{}{blanks}", " ".repeat(gap)), Paint::Plain);
                line.push(text, paint);
            } else {
                line.push(" ".repeat(gap), Paint::Plain);
                line.push(text, paint);
                if pad || at + 1 < widths.len() {
                    line.push(blanks, Paint::Plain);
                }
            }
        }
        line
    }
}
