//! Who keeps writing: a section of the first screen and of the long table, and a part of a segment's
//! history.
//!
//! Comes in: a report, or a segment of it. Goes out: lines; none where nothing was watched.

use std::io;

use super::number;
use super::paint::{Line, Page, Paint};
use super::text;
use super::unit::{self, Unit};
use crate::insight::Rules;
use crate::insight::rewrites::{Again, writers};
use crate::report::{Report, Rewritten};

/// Writes who writes again, in at most so many rows.
///
/// # Errors
/// The writer's.
pub fn section(report: &Report, rules: &Rules, top: usize, page: &mut Page<'_>) -> io::Result<()> {
    let (Some(how), Some(again)) = (&report.session.rewrites, Again::of(report)) else {
        return Ok(());
    };
    let period = number::duration(how.period_ns);
    let unit = Unit::of(again.rewritten.into());
    let basis = match how.mode.as_str() {
        "exact" => format!("every page, {}", number::count(how.scans, "scan", "scans")),
        _ => format!("{} drawn pages", how.arms),
    };
    page.heading(&format!("Who writes again within {period} ({}; {basis})", unit.name()))?;
    let seconds = how.period_ns.max(1);
    let rate = |bytes: i128| bytes * 1_000_000_000 / i128::from(seconds);
    let writers = writers(report, rules);
    let shown = if writers.len() == top + 1 { top + 1 } else { top.min(writers.len()) };
    let room = page.style.width.unwrap_or(text::LONGEST);
    for writer in writers.iter().take(shown) {
        let bytes = writer.group.bytes.rss;
        let label = &writer.group.label;
        let mut name = text::clean(&label.name);
        if let Some(place) = &label.place {
            name = format!("{name}  {}", text::clean(place));
        }
        let more = match writer.segments {
            0 | 1 => String::new(),
            many => format!(" and {} more", many - 1),
        };
        let place = format!("  {}{more}", text::clean(&writer.place));
        let figures = figures(unit, bytes, again.rewritten, rate(bytes));
        let left = room.saturating_sub(text::width(&figures) + text::width(&place));
        let line = Line::of(figures, Paint::Plain)
            .and(text::cut_middle(&name, left.max(20)), Paint::Strong)
            .and(place, Paint::Dim);
        page.line(&line)?;
    }
    if let Some(rest) = writers.get(shown..).filter(|rest| !rest.is_empty()) {
        let bytes = rest.iter().map(|writer| writer.group.bytes.rss).sum();
        let figures = figures(unit, bytes, again.rewritten, rate(bytes));
        let line = Line::of(figures, Paint::Plain)
            .and(number::count(rest.len() as u64, "more owner", "more owners"), Paint::Dim);
        page.line(&line)?;
    }
    let mut line =
        Line::of(format!("Written again: {}", unit::size(again.rewritten.into())), Paint::Strong);
    if let Some([low, high]) = again.bounds {
        let (low, high) = (unit::size(low.into()), unit::size(high.into()));
        line.push(format!(" ({low} to {high})"), Paint::Plain);
    }
    let watched = again.rewritten.saturating_add(again.cold);
    line.push(
        format!(
            " of {} watched, {} a second",
            unit::size(watched.into()),
            unit::size(again.per_second.into())
        ),
        Paint::Plain,
    );
    if let Some(hot) = again.hot {
        line.push(format!("; {} within 100 ms", unit::size(hot.into())), Paint::Plain);
    }
    if again.unattributed > 0 {
        let pages = number::count(again.unattributed, "page", "pages");
        line.push(format!("; {pages} with no call path"), Paint::Bad);
    }
    line.push(
        ". A page counts once a period, for its first writer; whole pages, not bytes stored.",
        Paint::Dim,
    );
    page.prose(&line, 2)
}

/// Columns in front of a name.
fn figures(unit: Unit, bytes: i128, all: u64, rate: i128) -> String {
    let share = number::share(bytes.unsigned_abs(), all.into());
    format!("{:>9} {share:>5} {:>9}/s  ", unit.figure(bytes), unit.figure(rate))
}

/// Writes how much of a segment is written again.
///
/// # Errors
/// The writer's.
pub fn of_segment(rewritten: &Rewritten, page: &mut Page<'_>) -> io::Result<()> {
    let period = number::duration(rewritten.period_ns);
    let size = |bytes: u64| unit::size(bytes.into());
    let mut line = Line::of(format!("  Written again within {period}: "), Paint::Plain);
    let warm = rewritten.warm_bytes.saturating_add(rewritten.hot_bytes.unwrap_or(0));
    line.push(size(warm), Paint::Strong);
    if let [low, high] = rewritten.ci95[..] {
        line.push(format!(" ({low} to {high} pages)"), Paint::Plain);
    }
    line.push(format!(", {} a second", size(rewritten.bytes_per_s)), Paint::Plain);
    if let Some(hot) = rewritten.hot_bytes {
        line.push(format!("; {} of it within 100 ms", size(hot)), Paint::Plain);
    }
    line.push(format!("; not: {}.", size(rewritten.cold_bytes)), Paint::Plain);
    page.prose(&line, 4)?;
    if rewritten.curve.is_empty() {
        return Ok(());
    }
    let points: Vec<String> = rewritten
        .curve
        .iter()
        .map(|point| format!("{} {}", number::duration(point.tau_ns), point.pages))
        .collect();
    let line = format!("  Pages written again within: {}.", points.join(", "));
    page.prose(&Line::of(line, Paint::Plain), 4)
}
