//! Who holds live blocks of malloc: a section of the first screen and of the long table.
//!
//! Comes in: a report. Goes out: lines; none where allocations were not sampled.

use std::io;

use super::number;
use super::paint::{Line, Page, Paint};
use super::text;
use super::unit::{self, Unit};
use crate::insight::malloc::{Estimate, Holder, Live, holders};
use crate::insight::{By, Parts, Rules};
use crate::report::Report;

/// Writes who holds live blocks, in at most so many rows: owners, or call paths.
///
/// # Errors
/// The writer's.
pub fn section(
    report: &Report,
    rules: &Rules,
    by: By,
    top: usize,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let Some(live) = Live::of(report) else { return Ok(()) };
    let parts = Parts::of_live(report, rules);
    let all = live.bytes;
    let unit = Unit::of(all.bytes.into());
    if live.processes + live.bypassed == 0 {
        page.heading("Who holds malloc's blocks")?;
        return page.prose(&not_sampled(&live, Line::new()), 2);
    }
    let mean = unit::size(live.mean.into());
    let what = if report.session.window.is_some() { "allocated and still live" } else { "live" };
    page.heading(&format!(
        "Who holds malloc's blocks, {what} ({}; estimates from one byte in {mean}, with their 95 % \
         intervals)",
        unit.name()
    ))?;
    let holders = holders(&parts, by);
    let shown = if holders.len() == top + 1 { top + 1 } else { top.min(holders.len()) };
    let room = page.style.width.unwrap_or(text::LONGEST);
    for holder in &holders[..shown] {
        row(holder, unit, all.bytes, room, page)?;
    }
    if let Some(rest) = holders.get(shown..).filter(|rest| !rest.is_empty()) {
        let bytes = rest.iter().map(|holder| holder.bytes.bytes).fold(0, u64::saturating_add);
        let share = number::share(bytes.into(), all.bytes.into());
        let more = match by {
            By::Path => number::count(rest.len() as u64, "more call path", "more call paths"),
            _ => number::count(rest.len() as u64, "more owner", "more owners"),
        };
        let figures = format!("{:>9} {:>19} {share:>5}  ", unit.figure(bytes.into()), "");
        page.line(&Line::of(figures, Paint::Plain).and(more, Paint::Dim))?;
    }
    let [low, high] = all.bounds.map(|bytes| unit::size(bytes.into()));
    let blocks = number::count(live.blocks, "block", "blocks");
    let mut line = Line::of(format!("Live: {}", unit::size(all.bytes.into())), Paint::Strong);
    line.push(
        format!(" ({low} to {high}) in about {blocks}, {} of them picked.", live.sampled),
        Paint::Plain,
    );
    page.prose(&not_sampled(&live, line), 2)
}

/// Adds of which processes, and of which blocks, nothing is known.
fn not_sampled(live: &Live, mut line: Line) -> Line {
    if live.since_attach > 0 {
        line.push(
            " What was allocated before rmap attached is not known and in no sum.".to_owned(),
            Paint::Plain,
        );
    }
    let without = if live.attached {
        "of which no function of an allocator is known by name, or which called none"
    } else {
        "without the sampling library (linked statically, or started without LD_PRELOAD)"
    };
    for (many, why) in
        [(live.without, without), (live.bypassed, "with an allocator in the program's own file")]
    {
        if many > 0 {
            let processes = number::count(many as u64, "process", "processes");
            line.push(format!(" Not sampled: {processes} {why}."), Paint::Bad);
        }
    }
    if live.unkept > 0 {
        let picked = number::count(live.unkept, "picked block", "picked blocks");
        line.push(
            format!(" {picked} found the table of live ones full and are in no sum: pick fewer."),
            Paint::Bad,
        );
    }
    line
}

/// One holder.
fn row(holder: &Holder, unit: Unit, all: u64, room: usize, page: &mut Page<'_>) -> io::Result<()> {
    let Estimate { bytes, bounds } = holder.bytes;
    let [low, high] = bounds.map(|bytes| unit.figure(bytes.into()));
    let share = number::share(bytes.into(), all.into());
    let between = format!("({low} to {high})");
    let figures = format!("{:>9} {between:>19} {share:>5}  ", unit.figure(bytes.into()));
    let label = &holder.group.label;
    let mut name = text::clean(&label.name);
    if let Some(place) = &label.place {
        name = format!("{name}  {}", text::clean(place));
    }
    let mut more = String::new();
    let via: Vec<String> = holder.via.iter().take(2).map(|name| text::clean(name)).collect();
    if !via.is_empty() {
        more = format!("  via {}", via.join(", "));
    }
    more.push_str(&format!("  {}", number::count(holder.blocks, "block", "blocks")));
    let growth = holder.growth.map(|rate| format!("  growing {}/s", unit::size(rate.into())));
    let growth = growth.unwrap_or_default();
    let used = [&figures, &more, &growth].map(|text| text::width(text)).iter().sum();
    let line = Line::of(figures, Paint::Plain)
        .and(text::cut_middle(&name, room.saturating_sub(used).max(20)), Paint::Strong)
        .and(more, Paint::Dim)
        .and(growth, Paint::Bad);
    page.line(&line)
}
