//! Groups of processes as rows: how many, what they hold each and together.

use std::io;

use crate::insight::processes::ProcessGroup;
use crate::report::Report;
use crate::view::grid::{Cell, Column, Grid, Row};
use crate::view::number;
use crate::view::paint::{Line, Page, Paint};
use crate::view::text;

use super::apart::{Text, fit};
use crate::view::unit::Unit;

/// A group with the number of its processes: `40 × sh`.
pub fn counted(group: &ProcessGroup) -> String {
    match group.members.len() {
        1 => group.name(),
        many => format!("{many} × {}", group.name()),
    }
}

/// Writes the groups, the one with the largest process first.
pub fn table(
    report: &Report,
    groups: &[ProcessGroup],
    unit: Unit,
    top: usize,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let (many, kinds) = (report.processes.len() as u64, groups.len() as u64);
    page.heading(&format!(
        "{} of {} ({})",
        number::count(many, "process", "processes"),
        number::count(kinds, "program or role", "programs or roles"),
        unit.name()
    ))?;
    let shown = if groups.len() == top + 1 { top + 1 } else { top }.min(groups.len());
    let (shown, rest) = groups.split_at(shown);
    let mut grid = Grid {
        columns: vec![
            Column::figures("Many", 5),
            Column::figures("RSS each", 9),
            Column::figures("median", 8),
            Column::figures("most", 8),
            Column::figures("all RSS", 9),
            Column::figures("all Dirty", 9),
        ],
        tail_head: "Program",
        rows: Vec::new(),
    };
    let figure = |bytes: u64| unit.figure(bytes.into());
    let texts: Vec<Text> = shown
        .iter()
        .map(|group| {
            let pid = group.members.first().and_then(|at| report.processes.get(*at));
            let apart = [group.exe.clone(), pid.map_or(0, |p| p.pid).to_string()];
            Text {
                name: text::clean(&group.name()),
                apart: apart.iter().map(|apart| text::clean(apart)).collect(),
            }
        })
        .collect();
    let room = page.style.width.map(|width| width.saturating_sub(58));
    for (group, name) in shown.iter().zip(fit(&texts, room)) {
        let rss = group.rss;
        let cells = [group.members.len().to_string(), figure(rss.min), figure(rss.median)];
        let more = [figure(rss.max), figure(rss.sum), figure(group.dirty.sum)];
        grid.rows.push(Row {
            cells: cells.into_iter().chain(more).map(Cell::plain).collect(),
            tail: Some(Box::new(move |_| Line::of(name.clone(), Paint::Plain))),
            below: None,
        });
    }
    if !rest.is_empty() {
        let many: usize = rest.iter().map(|group| group.members.len()).sum();
        let rss = rest.iter().map(|group| group.rss.sum).sum();
        let dirty = rest.iter().map(|group| group.dirty.sum).sum();
        let cells = [
            many.to_string(),
            String::new(),
            String::new(),
            String::new(),
            figure(rss),
            figure(dirty),
        ];
        let text = format!("{} more", rest.len());
        grid.rows.push(Row {
            cells: cells.into_iter().map(|cell| Cell::Text(cell, Paint::Dim)).collect(),
            tail: Some(Box::new(move |_| Line::of(text.clone(), Paint::Dim))),
            below: None,
        });
    }
    grid.print(page)
}
