//! A window on the first screen: what came in it, and what was given back.
//!
//! Comes in: a report of a window. Goes out: one line with the sizes, and a table of what was given back,
//! by the owners of the call paths that had brought it.

use std::collections::BTreeMap;
use std::io;

use crate::insight::owner::display;
use crate::insight::part::{Bytes, Parts};
use crate::report::{GivenBack, Report, Span, Window};
use crate::view::number;
use crate::view::paint::{Line, Page, Paint};
use crate::view::text;

use crate::view::unit::Unit;

/// Rows of what was given back.
const ROWS: usize = 5;

/// From when to when, what came and is still there, what was given back, and the sizes at both ends.
pub(super) fn sizes(
    report: &Report,
    span: Span,
    came: Bytes,
    unit: Unit,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let windows = || report.processes.iter().filter_map(|process| process.window.as_ref());
    let sum = |of: fn(&Window) -> u64| windows().map(|window| i128::from(of(window))).sum::<i128>();
    let back = |of: fn(&GivenBack) -> u64| {
        let all = windows().flat_map(|window| &window.given_back);
        all.map(|back| i128::from(of(back))).sum::<i128>()
    };
    let (from, to) = (number::duration(span.from_ns), number::duration(span.to_ns));
    let whose = match report.processes.len() {
        1 => String::new(),
        many => format!(", {many} processes"),
    };
    let line = Line::of(
        format!("From {from} to {to}{whose}: RSS {}, ", unit.size(came.rss)),
        Paint::Strong,
    )
    .and(format!("Dirty {}", unit.size(came.dirty)), Paint::Dirty)
    .and(" came and are still there", Paint::Strong)
    .and(
        format!(
            "; given back: {}, {}; RSS was {} and is {}.",
            unit.size(back(|back| back.rss_bytes)),
            unit.size(back(|back| back.dirty_bytes)),
            unit.size(sum(|window| window.rss_bytes.before)),
            unit.size(sum(|window| window.rss_bytes.after)),
        ),
        Paint::Plain,
    );
    page.prose(&line, 2)
}

/// What was given back, by owner. Nothing where nothing was.
pub(super) fn given_back(
    parts: &Parts<'_>,
    unit: Unit,
    top: Option<Option<usize>>,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let mut rows: BTreeMap<String, Bytes> = BTreeMap::new();
    let windows = parts.report.processes.iter().filter_map(|process| process.window.as_ref());
    for back in windows.flat_map(|window| &window.given_back) {
        let bytes = Bytes { rss: back.rss_bytes.into(), dirty: back.dirty_bytes.into() };
        *rows.entry(name(parts, back)).or_default() += bytes;
    }
    if rows.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<(String, Bytes)> = rows.into_iter().collect();
    rows.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.weight()));
    page.heading(&format!("What was given back ({})", unit.name()))?;
    let head = format!("{:>9} {:>9}  Who had brought it", "RSS", "Dirty");
    page.line(&Line::of(head, Paint::Dim))?;
    let shown = top.unwrap_or(Some(ROWS)).unwrap_or(usize::MAX).min(rows.len());
    let rest: Bytes = rows[shown..].iter().map(|(_, bytes)| *bytes).sum();
    let row = |name: &str, bytes: Bytes, paint, page: &mut Page<'_>| {
        let (rss, dirty) = (unit.figure(bytes.rss), unit.figure(bytes.dirty));
        let room = page.style.width.map_or(usize::MAX, |width| width.saturating_sub(21));
        let line = format!("{rss:>9} {dirty:>9}  {}", text::cut_middle(name, room));
        page.line(&Line::of(line, paint))
    };
    for (name, bytes) in &rows[..shown] {
        row(name, *bytes, Paint::Plain, page)?;
    }
    if shown < rows.len() {
        row(&format!("{} more", rows.len() - shown), rest, Paint::Dim, page)?;
    }
    Ok(())
}

/// The owner frame with its place, or what there is instead.
fn name(parts: &Parts<'_>, back: &GivenBack) -> String {
    let owner = back.stack.and_then(|stack| parts.owners.owner_frame(stack));
    let name = match (owner, &back.cause, &back.reason) {
        (Some((_, frame)), ..) => display(frame),
        (None, Some(cause), _) => format!("[kernel] {}", cause.as_str()),
        (None, None, Some(reason)) => format!("unattributed: {}", reason.as_str()),
        (None, None, None) => "?".to_owned(),
    };
    text::clean(&name)
}
