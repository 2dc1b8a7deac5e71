//! A flame graph as SVG, with search and zoom: widths are bytes. Boxes stand side by side by name;
//! the order that is asked for decides which stacks are kept.

use std::io;

use inferno::flamegraph::{self, Options};

use crate::insight::owner;
use crate::insight::{By, Group, Label, Parts, Rules};
use crate::report::Report;

use super::export::folded::Folded;
use super::number;
use super::order::Listing;
use super::samples::Of;
use super::text;

/// Most columns of the command in the title.
const TITLE_ROOM: usize = 60;

/// Writes the SVG.
///
/// # Errors
/// The writer's; or there is nothing to draw (`InvalidInput`).
pub fn write(report: &Report, of: Of, listing: Listing, out: &mut dyn io::Write) -> io::Result<()> {
    let mut folded = Folded::of(report, of, listing);
    folded.stacks.iter_mut().filter_map(|(names, _)| names.get_mut(1)).for_each(file_first);
    draw(report, &folded, words(of), out)
}

/// Writes the SVG of the call paths that hold live blocks of an allocator (`--malloc`).
///
/// # Errors
/// The writer's; or there is nothing to draw (`InvalidInput`).
pub fn write_live(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let words = ("live", "that malloc handed out and nobody freed, estimated from a sample");
    draw(report, &Folded::of_live(report), words, out)
}

/// What stands below the call paths of a flame graph, and how those stand.
#[derive(Clone, Debug, Default)]
pub struct Boxes {
    /// The lowest boxes are groups by these keys.
    pub by: Vec<By>,
    /// Callees stand below their callers.
    pub reverse: bool,
}

/// Writes the SVG with groups by any keys as its lowest boxes.
///
/// # Errors
/// The writer's; or there is nothing to draw (`InvalidInput`).
pub fn write_grouped(
    report: &Report,
    rules: &Rules,
    of: Of,
    boxes: &Boxes,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let parts = match of {
        Of::Rewritten => Parts::of_rewrites(report, rules),
        Of::Resident | Of::Dirty | Of::Touched => Parts::of(report, rules),
    };
    let mut folded = Folded::default();
    let groups = Group {
        label: Label::default(),
        bytes: parts.total(),
        inclusive: parts.total(),
        parts: (0..parts.all.len()).collect(),
        groups: parts.by(&boxes.by),
    };
    stack_up(&parts, &groups, of, boxes.reverse, &mut Vec::new(), &mut folded);
    folded.stacks.sort_unstable();
    draw(report, &folded, words(of), out)
}

/// Adds the stacks of a group: the labels of those around it, and its call paths.
fn stack_up(
    parts: &Parts<'_>,
    group: &Group,
    of: Of,
    reverse: bool,
    around: &mut Vec<String>,
    folded: &mut Folded,
) {
    for inner in &group.groups {
        around.push(text::clean(&inner.label.name).replace(';', ":"));
        stack_up(parts, inner, of, reverse, around, folded);
        around.pop();
    }
    if !group.groups.is_empty() {
        return;
    }
    for part in group.parts.iter().filter_map(|at| parts.all.get(*at)) {
        let bytes = if of == Of::Dirty { part.bytes.dirty } else { part.bytes.rss };
        if bytes <= 0 {
            folded.left_out += bytes;
            continue;
        }
        let frames = part.stack.map_or(&[][..], |stack| parts.owners.frames(stack));
        let mut names: Vec<String> =
            frames.iter().map(|frame| text::clean(&owner::display(frame))).collect();
        if !reverse {
            names.reverse();
        }
        let why = text::clean(part.why);
        names.push(if part.attributed {
            format!("[{why}]")
        } else {
            format!("[unattributed: {why}]")
        });
        let names = names.into_iter().map(|name| name.replace(';', ":"));
        folded.stacks.push((around.iter().cloned().chain(names).collect(), bytes));
    }
}

/// Of what kind the bytes are: a word, and what it means.
const fn words(of: Of) -> (&'static str, &'static str) {
    match of {
        Of::Resident => ("resident", "resident at the last snapshot"),
        Of::Dirty => ("dirty", "dirty at the last snapshot"),
        Of::Touched => ("touched", "touched in all, freed memory included"),
        Of::Rewritten => ("rewritten", "that are written again within a period"),
    }
}

/// Draws stacks with their weights.
fn draw(
    report: &Report,
    folded: &Folded,
    (kind, what): (&str, &str),
    out: &mut dyn io::Write,
) -> io::Result<()> {
    if folded.stacks.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there are no such bytes to draw"));
    }
    let mut options = Options::default();
    options.title = title(report, kind);
    let mut subtitle = format!("Widths are bytes {what}");
    if folded.left_out < 0 {
        let bytes = u64::try_from(folded.left_out.unsigned_abs()).unwrap_or(u64::MAX);
        subtitle.push_str(&format!("; {} attributed beyond what is there", number::size(bytes)));
    }
    options.subtitle = Some(subtitle);
    options.count_name = "bytes".to_owned();
    options.name_type = "Code path:".to_owned();
    options.deterministic = true;
    let lines: Vec<String> = folded.lines().collect();
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .map_err(io::Error::other)?;
    let svg = String::from_utf8(svg).map_err(io::Error::other)?;
    let all: i128 = folded.stacks.iter().map(|(_, bytes)| bytes).sum();
    let all = number::size(u64::try_from(all).unwrap_or(u64::MAX));
    out.write_all(with_name_of_all(&svg, &format!("all {kind} memory, {all}")).as_bytes())
}

/// The name of a file before its directory: in a narrow box the beginning is all that there is.
fn file_first(segment: &mut String) {
    if let Some((directory, file)) = segment.rsplit_once('/')
        && segment.starts_with('/')
        && !file.is_empty()
    {
        let directory = if directory.is_empty() { "/" } else { directory };
        *segment = format!("{file} ({directory})");
    }
}

/// Whose memory it is, of what kind.
fn title(report: &Report, kind: &str) -> String {
    let whose = match &report.session.command {
        Some(command) => command.join(" "),
        None => report
            .processes
            .iter()
            .map(|process| process.command.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let whose = text::cut_middle(&text::clean(&whose), TITLE_ROOM);
    format!("What made memory of {whose} {kind}, by code path")
}

/// Gives the box at the bottom a name: inferno writes none into it, and `all` into its title, from
/// which a browser takes the name again whenever it is zoomed.
fn with_name_of_all(svg: &str, name: &str) -> String {
    const TITLE: &str = "<title>all (";
    let Some((before, of_all)) = svg.split_once(TITLE) else { return svg.to_owned() };
    let named = of_all.replacen("></text>", &format!(">{name}</text>"), 1);
    format!("{before}<title>{name} ({named}")
}
