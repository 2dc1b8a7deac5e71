//! Groups as rows: figures, the name, and what else is known of each group.
//!
//! Comes in: groups of parts. Goes out: lines that fit the width, no two rows of one text. What
//! is not shown is one row, so the rows add up to the total.

use std::collections::BTreeSet;
use std::io;

use crate::insight::group::{By, Group};
use crate::insight::part::{Bytes, Parts};
use crate::view::facets;
use crate::view::number;
use crate::view::paint::{Line, Page, Paint};
use crate::view::text;

use super::apart::{Text, fit};
use crate::view::unit::{self, Unit};

/// How many rows, of what.
pub struct Table<'a> {
    /// The parts.
    pub parts: &'a Parts<'a>,
    /// The keys of the groups, the outermost first.
    pub keys: &'a [By],
    /// Rows of the first level; `None`: all.
    pub top: Option<usize>,
    /// Rows of all levels below it, dealt out by size; `None`: all.
    pub nested: Option<usize>,
    /// What the shares are of.
    pub total: Bytes,
    /// The unit of the figures.
    pub unit: Unit,
}

/// One line of the table.
#[derive(Default)]
struct Row {
    bytes: Bytes,
    /// Not for rows that stand for many.
    own: Option<Bytes>,
    depth: usize,
    text: Text,
    via: String,
    cause: String,
    place: String,
    /// How fast an owner grows.
    grows: String,
    paint: Option<Paint>,
}

/// Columns in front of the name.
const FIGURES: usize = 9 + 6 + 10 + 2;

impl Table<'_> {
    /// Writes the header and the rows; without a line for the total.
    pub fn print(
        &self,
        groups: &[Group],
        background: &[Group],
        extra: &[(String, Bytes)],
        page: &mut Page<'_>,
    ) -> io::Result<()> {
        let mut rows = Vec::new();
        self.rows(groups, self.keys, 0, self.top, &mut rows);
        self.rows(background, &[By::Owner], 0, None, &mut rows);
        rows.extend(extra.iter().map(|(name, bytes)| Row {
            bytes: *bytes,
            own: Some(*bytes),
            text: Text { name: text::clean(name), apart: Vec::new() },
            ..Row::default()
        }));
        let inclusive = self.keys.first() == Some(&By::Function);
        let widths = Widths::of(&rows, page.style.width, inclusive);
        let texts = widths.names(&rows);
        page.line(&self.head(inclusive, &widths))?;
        for (row, name) in rows.iter().zip(texts) {
            page.line(&self.line(row, &name, inclusive, &widths))?;
        }
        Ok(())
    }

    fn rows(
        &self,
        groups: &[Group],
        keys: &[By],
        depth: usize,
        top: Option<usize>,
        rows: &mut Vec<Row>,
    ) {
        let Some((by, inner)) = keys.split_first() else { return };
        let shown = top.unwrap_or(usize::MAX).min(groups.len());
        // One more row says no more than "1 more".
        let shown = if shown + 1 == groups.len() { groups.len() } else { shown };
        for group in groups.iter().take(shown) {
            rows.push(self.row(group, *by, depth));
            let below = self.nested.map(|rows| self.dealt(rows, group));
            if below != Some(0) {
                self.rows(&group.groups, inner, depth + 1, below, rows);
            }
        }
        let rest = groups.get(shown..).unwrap_or_default();
        if !rest.is_empty() {
            let bytes = rest.iter().map(|group| group.bytes).sum();
            rows.push(Row {
                bytes,
                depth,
                own: (*by == By::Function).then_some(bytes),
                text: Text {
                    name: number::count(rest.len() as u64, "more", "more") + " " + plural(*by),
                    apart: Vec::new(),
                },
                paint: Some(Paint::Dim),
                ..Row::default()
            });
        }
    }

    /// A group's part of some rows; none for what holds little.
    fn dealt(&self, rows: usize, group: &Group) -> usize {
        let (weight, all) = (group.inclusive.rss.unsigned_abs(), self.total.rss.unsigned_abs());
        if weight.saturating_mul(20) < all || all == 0 {
            return 0;
        }
        usize::try_from(weight.saturating_mul(rows as u128).div_ceil(all)).unwrap_or(rows)
    }

    fn row(&self, group: &Group, by: By, depth: usize) -> Row {
        let label = &group.label;
        let mut name = text::clean(&label.name);
        if let Some(place) = &label.place {
            name = format!("{name}  {}", text::clean(place));
        }
        let apart = label.apart.iter().map(|apart| text::clean(apart)).collect();
        let mut row = Row {
            bytes: group.inclusive,
            own: Some(group.bytes),
            depth,
            text: Text { name, apart },
            paint: if label.residual {
                Some(Paint::Bad)
            } else {
                label.background.then_some(Paint::Dim)
            },
            ..Row::default()
        };
        if label.residual {
            return row;
        }
        let of_frames = matches!(by, By::Owner | By::Path | By::Function | By::Line);
        if by != By::Cause {
            row.cause = facets::largest(self.parts, group, By::Cause);
        }
        if of_frames {
            row.via = if matches!(by, By::Owner | By::Line) {
                facets::via(self.parts, group)
            } else {
                String::new()
            };
            row.place =
                if by == By::Path { String::new() } else { facets::place(self.parts, group) };
            if by == By::Owner {
                row.grows = self.grows(group);
            }
        } else if by != By::Module {
            let owner = facets::largest(self.parts, group, By::Owner);
            row.via = if owner.is_empty() { owner } else { format!("by {owner}") };
        } else {
            row.place = facets::place(self.parts, group);
        }
        row
    }

    /// How fast an owner grows, in all processes of the group.
    fn grows(&self, group: &Group) -> String {
        let parts = group.parts.iter().filter_map(|at| self.parts.all.get(*at));
        let mut speed = 0;
        let mut known = BTreeSet::new();
        for (part, stack) in parts.filter_map(|part| Some((part, part.stack?))) {
            let grown = self.parts.process(part).map_or(&[][..], |process| &process.growth);
            let at = grown.iter().position(|grown| grown.stacks.contains(&stack));
            if let Some((at, grown)) = at.and_then(|at| Some((at, grown.get(at)?)))
                && known.insert((part.process, at))
            {
                speed += grown.growth.bytes_per_s;
            }
        }
        if speed > 0 { format!("{}/s", unit::size(speed.into())) } else { String::new() }
    }

    fn head(&self, inclusive: bool, widths: &Widths) -> Line {
        let mut line = Line::of(format!("{:>9} {:>5} {:>9}", "RSS", "Share", "Dirty"), Paint::Dim);
        if inclusive {
            line.push(format!(" {:>9}", "Self"), Paint::Dim);
        }
        let keys: Vec<&str> = self.keys.iter().map(|key| head(*key)).collect();
        let name = keys.join(", ");
        line.push(format!("  {name}"), Paint::Dim);
        let used = text::width(&name);
        let mut pad = widths.name.saturating_sub(used);
        for (head, width) in [
            ("Grows", widths.grows),
            ("", widths.via),
            ("Cause", widths.cause),
            ("Where", widths.place),
        ] {
            if width > 0 {
                line.push(format!("{}  {head}", " ".repeat(pad)), Paint::Dim);
                pad = width.saturating_sub(text::width(head));
            }
        }
        line
    }

    fn line(&self, row: &Row, name: &str, inclusive: bool, widths: &Widths) -> Line {
        let paint = row.paint.unwrap_or(Paint::Plain);
        let share = if self.total.rss > 0 && row.bytes.rss >= 0 {
            number::share(row.bytes.rss.unsigned_abs(), self.total.rss.unsigned_abs())
        } else {
            "-".to_owned()
        };
        let strong = if row.paint.is_some() { paint } else { Paint::Strong };
        let dirty = if row.bytes.dirty > 0 && row.paint.is_none() { Paint::Dirty } else { paint };
        let figure = |bytes: i128| self.unit.figure(bytes);
        let mut line = Line::of(format!("{:>9}", figure(row.bytes.rss)), strong)
            .and(format!(" {share:>5}"), Paint::Dim)
            .and(format!(" {:>9}", figure(row.bytes.dirty)), dirty);
        if inclusive {
            let own = row.own.map(|own| figure(own.rss)).unwrap_or_default();
            line.push(format!(" {own:>9}"), paint);
        }
        line.push("  ", Paint::Plain);
        line.push(name, paint);
        let mut used = text::width(name);
        let mut column = widths.name;
        for (cell, width, paint) in [
            (&row.grows, widths.grows, Paint::Bad),
            (&row.via, widths.via, Paint::Dim),
            (&row.cause, widths.cause, Paint::Cause),
            (&row.place, widths.place, Paint::Plain),
        ] {
            if width > 0 {
                line.push(" ".repeat(column.saturating_sub(used) + 2), Paint::Plain);
                let cell = text::cut_middle(cell, width);
                used = text::width(&cell);
                line.push(cell, paint);
                column = width;
            }
        }
        line
    }
}

/// Columns of the texts.
struct Widths {
    name: usize,
    grows: usize,
    via: usize,
    cause: usize,
    place: usize,
    bounded: bool,
}

impl Widths {
    fn of(rows: &[Row], width: Option<usize>, inclusive: bool) -> Self {
        let widest = |text: fn(&Row) -> usize| rows.iter().map(text).max().unwrap_or(0);
        let name = widest(|row| row.depth * 2 + text::width(&row.text.name));
        let mut widths = Self {
            name,
            grows: widest(|row| text::width(&row.grows)),
            via: widest(|row| text::width(&row.via)),
            cause: widest(|row| text::width(&row.cause)),
            place: widest(|row| text::width(&row.place)),
            bounded: width.is_some(),
        };
        let Some(width) = width else {
            widths.name = name.min(UNBOUNDED_NAME);
            return widths;
        };
        let room = width.saturating_sub(FIGURES + if inclusive { 10 } else { 0 });
        widths.cause = widths.cause.min(17);
        widths.place = widths.place.min(if room > 80 { 20 } else { 14 });
        widths.via = widths.via.min(room / 3);
        for column in [Column::Via, Column::Place, Column::Cause] {
            let least = name.min(room / 2);
            let over = (least + widths.others()).saturating_sub(room);
            let (cell, shortest) = match column {
                Column::Via => (&mut widths.via, 14),
                Column::Place => (&mut widths.place, 8),
                Column::Cause => (&mut widths.cause, 8),
            };
            let shrunk = cell.saturating_sub(over);
            *cell = if over > 0 && shrunk < shortest { 0 } else { shrunk };
        }
        widths.name = name.min(room.saturating_sub(widths.others()));
        widths
    }

    fn others(&self) -> usize {
        [self.grows, self.via, self.cause, self.place]
            .iter()
            .filter(|w| **w > 0)
            .map(|w| w + 2)
            .sum()
    }

    /// The names of all rows, those of one level told apart.
    fn names(&self, rows: &[Row]) -> Vec<String> {
        let mut names = vec![String::new(); rows.len()];
        let depths: BTreeSet<usize> = rows.iter().map(|row| row.depth).collect();
        for depth in depths {
            let places: Vec<usize> = (0..rows.len())
                .filter(|at| rows.get(*at).is_some_and(|r| r.depth == depth))
                .collect();
            // Rows below different rows may have one name; those below one may not.
            let mut from = 0;
            while from < places.len() {
                let mut to = from + 1;
                while let (Some(before), Some(at)) = (places.get(to - 1), places.get(to)) {
                    if rows
                        .get(before + 1..*at)
                        .is_some_and(|between| between.iter().any(|row| row.depth < depth))
                    {
                        break;
                    }
                    to += 1;
                }
                let run = places.get(from..to).unwrap_or_default();
                let texts: Vec<Text> =
                    run.iter().filter_map(|at| rows.get(*at)).map(|row| row.text.clone()).collect();
                let indent = depth * 2;
                let room = self.bounded.then_some(self.name.saturating_sub(indent));
                for (at, text) in run.iter().zip(fit(&texts, room)) {
                    if let Some(name) = names.get_mut(*at) {
                        *name = format!("{}{text}", " ".repeat(indent));
                    }
                }
                from = to;
            }
        }
        names
    }
}

enum Column {
    Via,
    Place,
    Cause,
}

/// Without a width, longer names shift their own row only.
const UNBOUNDED_NAME: usize = 60;

/// The title of a column of names.
fn head(by: By) -> &'static str {
    match by {
        By::Owner => "Owner",
        By::Path => "Call path",
        By::Function => "Function, with all that it called",
        By::Line => "Line",
        By::Module => "Module",
        By::Segment => "Segment",
        By::Kind => "Kind of memory",
        By::Cause => "Cause",
        By::Thread => "Thread",
        By::Process => "Process",
        By::Program => "Program",
    }
}

/// What many rows are called.
pub fn plural(by: By) -> &'static str {
    match by {
        By::Owner => "owners",
        By::Path => "call paths",
        By::Function => "functions",
        By::Line => "lines",
        By::Module => "modules",
        By::Segment => "segments",
        By::Kind => "kinds",
        By::Cause => "causes",
        By::Thread => "threads",
        By::Process => "processes",
        By::Program => "programs",
    }
}
