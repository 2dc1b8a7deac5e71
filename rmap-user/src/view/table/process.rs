//! One process: its sizes, its largest dirty segment in words, its tables. And the summary of
//! several.

use std::io;

use crate::report::{Process, Segment, SnapshotKind};
use crate::view::chain::{Stacks, base_name};
use crate::view::grid::{Cell, Column, Grid, Row};
use crate::view::order::{Keys, Sort};
use crate::view::paint::{Line, Page, Paint};
use crate::view::samples::segment_name;
use crate::view::{number, text, words};

use super::sums::Sums;
use super::{paths, segments};

/// The processes in the order that was asked for; those of one size in the order of the report.
pub fn in_order(processes: &[Process], sort: Sort) -> Vec<&Process> {
    let mut order: Vec<&Process> = processes.iter().collect();
    let keys = Keys {
        total: &|p: &&Process| i128::from(p.rss_bytes.after) + i128::from(p.dirty_bytes.after),
        rss: &|p| p.rss_bytes.after.into(),
        dirty: &|p| p.dirty_bytes.after.into(),
        growth: &|p| number::change(p.rss_bytes) + number::change(p.dirty_bytes),
        address: None,
        name: &|p| base_name(&p.exe).to_owned(),
    };
    sort.order(&mut order, &keys);
    order
}

/// One line for each process.
pub fn summary(order: &[&Process], page: &mut Page<'_>) -> io::Result<()> {
    let words = page.style.sort.words(false);
    page.heading(&format!("{} processes, {words} (KiB)", order.len()))?;
    let shown = page.style.top.unwrap_or(usize::MAX).min(order.len());
    let mut grid = Grid {
        columns: vec![
            Column::figures("PID", 7),
            Column::figures("Parent", 7),
            Column::figures("RSS", 7),
            Column::figures("Dirty", 7),
            Column::figures("Peak RSS", 8),
            Column::figures("Expl", 5),
            Column::names("Snapshot"),
        ],
        tail_head: "Command",
        rows: Vec::new(),
    };
    for process in &order[..shown] {
        let sums = Sums::of(&process.segments);
        let bad = if sums.has_unexplained() { Paint::Bad } else { Paint::Plain };
        let none = process.snapshot == SnapshotKind::None;
        let size = |bytes: u64| if none { "-".to_owned() } else { number::kib(bytes) };
        let dirty = if process.dirty_bytes.after > 0 { Paint::Dirty } else { Paint::Plain };
        let snapshot = if none { Paint::Bad } else { Paint::Plain };
        let command = text::clean(&process.command);
        grid.rows.push(Row {
            cells: vec![
                Cell::plain(process.pid.to_string()),
                Cell::plain(process.parent_pid.to_string()),
                Cell::plain(size(process.rss_bytes.after)),
                Cell::Text(size(process.dirty_bytes.after), dirty),
                Cell::plain(peak(process)),
                Cell::Text(sums.share(), bad),
                Cell::Text(words::snapshot_name(process.snapshot).to_owned(), snapshot),
            ],
            tail: Some(Box::new(move |room| {
                Line::of(text::cut_middle(&command, room.unwrap_or(usize::MAX)), Paint::Plain)
            })),
            below: None,
        });
    }
    if shown < order.len() {
        let rest = order[shown..].iter();
        let sum = |size: fn(&Process) -> u64| {
            let sum: u128 = rest.clone().map(|p| u128::from(size(p))).sum();
            Cell::Text(number::kib(u64::try_from(sum).unwrap_or(u64::MAX)), Paint::Dim)
        };
        let (rss, dirty) = (sum(|p| p.rss_bytes.after), sum(|p| p.dirty_bytes.after));
        let text = format!("{} more (--top 0 shows all)", order.len() - shown);
        grid.rows.push(Row {
            cells: vec![Cell::none(), Cell::none(), rss, dirty],
            tail: Some(Box::new(move |_| Line::of(text.clone(), Paint::Dim))),
            below: None,
        });
    }
    grid.print(page)?;
    page.prose(
        &Line::of("A page that several processes map counts in each of them.", Paint::Dim),
        0,
    )
}

fn peak(process: &Process) -> String {
    if process.peak_rss_bytes == 0 { "-".to_owned() } else { number::kib(process.peak_rss_bytes) }
}

/// Everything of one process.
pub fn details(process: &Process, stacks: &Stacks<'_>, page: &mut Page<'_>) -> io::Result<()> {
    head(process, page)?;
    if process.segments.is_empty() {
        if process.snapshot != SnapshotKind::None {
            page.line(&Line::of("  It has no memory mapped.", Paint::Plain))?;
        }
    } else {
        largest_dirty(process, stacks, page)?;
        page.gap()?;
        segments::table(process, stacks, page)?;
        page.gap()?;
        paths::code_paths(process, stacks, page)?;
    }
    paths::released(process, stacks, page)?;
    paths::gone(process, stacks, page)
}

/// PID and command; then the sizes.
fn head(process: &Process, page: &mut Page<'_>) -> io::Result<()> {
    let command = text::clean(&process.command);
    let pid = format!("{} ", process.pid);
    let room = page.style.width.map_or(usize::MAX, |width| width.saturating_sub(pid.len()));
    let line = Line::of(pid, Paint::Strong).and(text::cut_middle(&command, room), Paint::Strong);
    page.line(&line)?;
    if process.snapshot == SnapshotKind::None {
        let line = match process.ended_ns {
            Some(_) => "  It ended before a snapshot could be taken, so there are no sizes.",
            None => "  No snapshot of it was taken, so there are no sizes.",
        };
        return page.prose(&Line::of(line, Paint::Bad), 2);
    }

    let sums = Sums::of(&process.segments);
    let mut line =
        Line::of(format!("  RSS {}, ", number::size(process.rss_bytes.after)), Paint::Strong);
    line.push(format!("Dirty {}", number::size(process.dirty_bytes.after)), Paint::Dirty);
    if process.swap_bytes.after > 0 {
        line.push(format!(", Swap {}", number::size(process.swap_bytes.after)), Paint::Plain);
    }
    let explained = match (sums.rss.share().as_str(), sums.dirty.share().as_str()) {
        ("-", "-") => String::new(),
        (rss, "-") => format!("; explained {rss} of RSS"),
        (rss, dirty) => format!("; explained {rss} of RSS, {dirty} of Dirty"),
    };
    line.push(explained, if sums.has_unexplained() { Paint::Bad } else { Paint::Plain });
    if process.peak_rss_bytes > 0 {
        let peak = number::size(process.peak_rss_bytes);
        line.push(format!("; peak RSS {peak}"), Paint::Plain);
    }
    let before = (process.rss_bytes.before, process.dirty_bytes.before);
    if before != (0, 0) {
        let (rss, dirty) = (number::size(before.0), number::size(before.1));
        line.push(format!("; before: RSS {rss}, Dirty {dirty}"), Paint::Plain);
    }
    let goes_on = process.ended_ns.is_none() && process.snapshot == SnapshotKind::LastPeriodic;
    let moment = match process.snapshot_ns.filter(|_| goes_on) {
        Some(at) => format!("at its last snapshot, {} after the start", number::duration(at)),
        None => words::snapshot(process.snapshot).to_owned(),
    };
    line.push(format!("; {moment}."), Paint::Plain);
    page.prose(&line, 2)?;

    let own = [process.rss_bytes, process.dirty_bytes, process.swap_bytes];
    let all = sums.and(Sums::gone(process, &sums));
    if own != [all.rss.sizes(), all.dirty.sizes(), all.swap.sizes()] {
        let line = "  These sums are not those of its segments: a defect, please report it.";
        page.prose(&Line::of(line, Paint::Bad), 2)?;
    }
    Ok(())
}

/// The largest dirty segment in words, and who wrote most of it.
fn largest_dirty(process: &Process, stacks: &Stacks<'_>, page: &mut Page<'_>) -> io::Result<()> {
    let mut largest: Option<&Segment> = None;
    for segment in &process.segments {
        if segment.dirty_bytes.after > largest.map_or(0, |found| found.dirty_bytes.after) {
            largest = Some(segment);
        }
    }
    let Some(segment) = largest else {
        return page.line(&Line::of("  Nothing is dirty.", Paint::Plain));
    };
    let (rss, dirty) = (segment.rss_bytes.after, segment.dirty_bytes.after);
    let name = text::cut_middle(&segment_name(segment), page.style.width.unwrap_or(200) / 2);
    let mut line = Line::of("  Most dirty: ", Paint::Dim).and(name, Paint::Strong);
    let resident =
        format!(", {} of {} resident", number::kib(rss), number::size(segment.size_bytes));
    let (amount, of) = if dirty == rss {
        (", all dirty".to_owned(), "")
    } else {
        (format!(", {} dirty", number::size(dirty)), " of that")
    };
    line.push(format!("{resident}{amount}; "), Paint::Plain);

    let top = stacks.merge(&segment.paths).into_iter().max_by_key(|s| (s.dirty, s.rss));
    match top.filter(|share| share.dirty > 0) {
        Some(share) => {
            let part = number::share(share.dirty, u128::from(dirty));
            let part = if part == "100 %" { "all".to_owned() } else { part };
            line.push(format!("{part}{of} by "), Paint::Plain);
            let chain = stacks.chain(&share.stacks);
            let cause = text::clean(share.cause.as_str());
            if chain.is_no_code() {
                line.push(cause, Paint::Cause);
                line.push(" (the kernel, with no code of the process)", Paint::Plain);
            } else {
                line.push(chain.up_to(&process.exe), Paint::Strong);
                line.push(", ", Paint::Plain);
                line.push(cause, Paint::Cause);
            }
            line.push(".", Paint::Plain);
        }
        None => line.push("no code path explains that.", Paint::Bad),
    }
    page.prose(&line, 2)
}
