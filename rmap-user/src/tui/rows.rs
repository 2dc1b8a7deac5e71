//! Which rows are visible, and in which order.
//!
//! Comes in: rows, a filter, an order, what is folded. Goes out: lines from the top, each with its depth.

use std::cmp::Ordering;
use std::collections::HashMap;

use regex_lite::Regex;

use crate::insight::Bytes;

use super::digest::{Row, WITHIN, Weight};

/// What stands first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Resident bytes.
    #[default]
    Rss,
    /// Dirty bytes.
    Dirty,
    /// What came since the mark.
    Since,
    /// The name, or the address of a segment.
    Name,
}

/// Every order with the head of its column.
pub const ORDERS: [(Order, &str); 4] =
    [(Order::Rss, "RSS"), (Order::Dirty, "Dirty"), (Order::Since, "Since"), (Order::Name, "name")];

/// What decides about rows.
#[derive(Debug, Default)]
pub struct View {
    /// What stands first.
    pub order: Order,
    /// The last is first.
    pub inverted: bool,
    /// Rows that do not match are left out.
    pub filter: Option<Regex>,
    /// What a person has folded (false) or unfolded, by path.
    pub folds: HashMap<String, bool>,
    /// All rows are unfolded or folded.
    pub all: Option<bool>,
    /// What rows had at the mark, by path; `None`: there is no mark.
    pub base: Option<HashMap<String, Bytes>>,
    /// A row of so many bytes is unfolded if nobody says otherwise.
    pub open_from: Option<u128>,
}

/// A visible row.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// The row.
    pub row: &'a Row,
    /// The keys of what it is in, from the top.
    pub above: String,
    /// The same with its own, which name it in every report.
    pub path: String,
    /// How many rows it is in.
    pub depth: usize,
    /// Unfolded or folded; `None`: nothing is in it.
    pub open: Option<bool>,
    /// What came since the mark.
    pub since: Option<Bytes>,
}

/// The visible lines.
#[must_use]
pub fn visible<'a>(rows: &'a [Row], view: &View) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    add(rows, view, "", 0, view.filter.is_none(), &mut lines);
    lines
}

/// What rows hold, by path.
#[must_use]
pub fn by_path(rows: &[Row]) -> HashMap<String, Bytes> {
    let mut all = HashMap::new();
    gather(rows, "", &mut all);
    all
}

fn gather(rows: &[Row], above: &str, all: &mut HashMap<String, Bytes>) {
    for row in rows {
        let mut path = above.to_owned();
        for key in row.key.split(WITHIN) {
            path = path_of(&path, key);
            *all.entry(path.clone()).or_default() += row.bytes;
        }
        gather(&row.children, &path, all);
    }
}

fn path(above: &str, row: &Row) -> String {
    path_of(above, &row.key)
}

fn path_of(above: &str, key: &str) -> String {
    format!("{above}{WITHIN}{key}")
}

impl View {
    /// Whether what is in the row of the first level with this key is to be seen.
    #[must_use]
    pub fn wants(&self, key: &str) -> bool {
        let fold = self.folds.get(&path_of("", key)).copied().or(self.all);
        fold.unwrap_or(self.filter.is_some())
    }
}

fn add<'a>(
    rows: &'a [Row],
    view: &View,
    above: &str,
    depth: usize,
    all: bool,
    lines: &mut Vec<Line<'a>>,
) {
    let mut found: Vec<(Line<'a>, bool)> = rows
        .iter()
        .filter_map(|row| {
            let own = all || view.filter.as_ref().is_none_or(|filter| matches(row, filter));
            let inner = || view.filter.as_ref().is_some_and(|filter| below(row, filter));
            if !own && !inner() {
                return None;
            }
            let path = path(above, row);
            let since = view.base.as_ref().map(|base| {
                let first = row.key.split(WITHIN).next().unwrap_or_default();
                let then = base.get(&path_of(above, first)).copied().unwrap_or_default();
                row.bytes - then
            });
            let some = row.more || !row.children.is_empty();
            let open = some.then(|| is_open(row, &path, view, own));
            Some((Line { row, above: above.to_owned(), path, depth, open, since }, own))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| {
        let order = compare(a, b, view.order);
        if view.inverted { order.reverse() } else { order }
    });
    for (line, own) in found {
        let (row, open, path) = (line.row, line.open, line.path.clone());
        lines.push(line);
        if open == Some(true) {
            add(&row.children, view, &path, depth + 1, own, lines);
        }
    }
}

fn is_open(row: &Row, path: &str, view: &View, own: bool) -> bool {
    match (view.folds.get(path).copied(), view.all) {
        (Some(open), _) | (None, Some(open)) => open,
        // What was sought is inside of it.
        (None, None) if !own => true,
        (None, None) => {
            let size = row.bytes.rss.unsigned_abs();
            view.open_from.is_some_and(|least| size >= least)
        }
    }
}

fn matches(row: &Row, filter: &Regex) -> bool {
    let perms = row.range.as_ref().map(|range| range.perms.as_str());
    let texts = [row.text.name.as_str(), &row.why, &row.place];
    texts.into_iter().chain(perms).any(|text| filter.is_match(text))
}

fn below(row: &Row, filter: &Regex) -> bool {
    row.children.iter().any(|row| matches(row, filter) || below(row, filter))
}

fn compare(a: &Line<'_>, b: &Line<'_>, order: Order) -> Ordering {
    let size = |line: &Line<'_>| match order {
        Order::Dirty => line.row.bytes.dirty,
        Order::Since => line.since.unwrap_or(line.row.bytes).rss,
        Order::Rss | Order::Name => line.row.bytes.rss,
    };
    let start = |line: &Line<'_>| line.row.range.as_ref().map(|range| (range.pid, range.start));
    let by_name = || (start(a), &a.row.text.name).cmp(&(start(b), &b.row.text.name));
    // What is too much counts like what is missing.
    let weight = |line: &Line<'_>| match line.row.weight {
        Weight::Residual if order != Order::Since => size(line).abs(),
        _ => size(line),
    };
    // As in the report, what every program has stands behind the rest.
    let background = |line: &Line<'_>| line.row.weight == Weight::Background;
    match order {
        Order::Name => by_name(),
        Order::Since => weight(b).cmp(&weight(a)).then_with(by_name),
        Order::Rss | Order::Dirty => background(a)
            .cmp(&background(b))
            .then_with(|| weight(b).cmp(&weight(a)))
            .then_with(by_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, rss: i128, children: Vec<Row>) -> Row {
        Row { key: key.to_owned(), bytes: Bytes { rss, dirty: 0 }, children, ..Row::default() }
    }

    #[test]
    fn growth_of_rows_that_stand_for_several_is_that_of_the_first() {
        let since = |then: &[Row], now: &[Row]| -> Vec<i128> {
            let view = View { base: Some(by_path(then)), all: Some(true), ..View::default() };
            let lines = visible(now, &view);
            lines.iter().map(|line| line.since.unwrap().rss).collect()
        };
        let one = [row("a\u{1}b\u{1}c", 10, vec![])];
        let two = [row("a", 14, vec![row("b\u{1}c", 10, vec![]), row("d", 4, vec![])])];
        assert_eq!(since(&one, &two), [4, 0, 4]);
        assert_eq!(since(&two, &one), [-4]);
        assert_eq!(since(&two, &two), [0, 0, 0]);
    }
}
