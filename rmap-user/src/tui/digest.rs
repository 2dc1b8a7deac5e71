//! A report as the rows of one tab, and as the figures above them.
//!
//! Comes in: a report, the rules for owner frames, a tab. Goes out: clean text and bytes, the rows in
//! the report's own order. Rows of one level add up to the total, residuals included.

use std::collections::HashMap;

use crate::insight::group::{By, Group, Label};
use crate::insight::tree::{Direction, Node, tree};
use crate::insight::{Bytes, Parts, Rules, kind};
use crate::report::{Process, Reason, Report, Segment};
use crate::view::screen::Text;
use crate::view::{facets, text};

/// What joins the keys of rows that are in each other.
pub(super) const WITHIN: &str = "\u{1}";

/// The reason of what was there when rmap came.
const BEFORE: &str = Reason::BeforeAttach.as_str();

/// Which rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Owner frames, and their call paths below.
    #[default]
    Owners,
    /// Segments, and the owners of each below.
    Segments,
    /// Processes, and the owners of each below.
    Processes,
    /// Functions as a tree, callers above callees.
    Tree,
}

/// Every tab, in the order of its number.
pub const TABS: [(Tab, &str); 4] = [
    (Tab::Owners, "Owners"),
    (Tab::Segments, "Segments"),
    (Tab::Processes, "Processes"),
    (Tab::Tree, "Tree"),
];

/// How much a row counts for a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// It is what was asked for.
    #[default]
    Plain,
    /// Every program has it.
    Background,
    /// No call path explains it.
    Residual,
}

/// One row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What it is known by in every report of a session. A row that stands for several, each of which is
    /// in the one before, has the keys of all.
    pub key: String,
    /// Its name, and what others of that name do not have. Clean.
    pub text: Text,
    /// How much it is.
    pub bytes: Bytes,
    /// Its addresses and their permissions, of a segment.
    pub range: Option<Range>,
    /// The cause, of owners; the largest owner, of what has owners. Clean.
    pub why: String,
    /// Where it is. Clean.
    pub place: String,
    /// How much it counts.
    pub weight: Weight,
    /// What is in it.
    pub children: Vec<Self>,
    /// There is something in it that was not asked for.
    pub more: bool,
}

/// Where a segment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Whose it is.
    pub pid: u32,
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// For example `rw-p`. Clean.
    pub perms: String,
}

/// The figures of a whole report.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What was traced. Clean.
    pub what: String,
    /// Since the start of the session, ns.
    pub at_ns: u64,
    /// RSS and Dirty of all processes.
    pub total: Bytes,
    /// Swap of all processes.
    pub swap: u64,
    /// What no call path explains, but for what was there before rmap came.
    pub unattributed: Bytes,
    /// What was there before rmap came.
    pub before: Bytes,
    /// Events, stacks and snapshots that were lost.
    pub lost: [u64; 3],
    /// Processes, and how many of them have ended.
    pub processes: [usize; 2],
    /// Why probes do not serve, one line each. Clean.
    pub troubles: Vec<String>,
}

/// A report, digested for one tab.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    /// The figures.
    pub summary: Summary,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Digest {
    /// Makes the rows of a tab. Of segments, which can be thousands, those alone have what is in them
    /// whose key is `open`.
    #[must_use]
    pub fn of(report: &Report, rules: &Rules, tab: Tab, open: &dyn Fn(&str) -> bool) -> Self {
        let parts = Parts::of(report, rules);
        let rows = match tab {
            Tab::Owners => groups(&parts, parts.by(&[By::Owner, By::Path]), &[By::Owner, By::Path]),
            Tab::Segments => segments(&parts, open),
            Tab::Processes => processes(&parts),
            Tab::Tree => tree(&parts, Direction::FromRoot).iter().map(of_node).collect(),
        };
        Self { summary: Summary::of(&parts), rows }
    }
}

impl Summary {
    fn of(parts: &Parts<'_>) -> Self {
        let report = parts.report;
        let lost = report.coverage.lost;
        let old = parts.all.iter().filter(|part| !part.attributed && part.why == BEFORE);
        let before: Bytes = old.map(|part| part.bytes).sum();
        let troubles = report.coverage.probes.iter().filter(|probe| !probe.attached);
        Self {
            what: text::clean(&what(report)),
            at_ns: report.session.at_ns.unwrap_or(report.session.duration_ns),
            total: parts.total(),
            swap: report.totals.swap_bytes,
            unattributed: parts.unattributed() - before,
            before,
            lost: [lost.events, lost.stacks, lost.snapshots],
            processes: [
                report.processes.len(),
                report.processes.iter().filter(|process| process.ended_ns.is_some()).count(),
            ],
            troubles: troubles
                .map(|probe| {
                    let why = probe.why_not.as_deref().unwrap_or("not attached");
                    text::clean(&format!("{}: {why}", probe.name))
                })
                .collect(),
        }
    }
}

/// The command, or the first process.
fn what(report: &Report) -> String {
    if let Some(command) = &report.session.command {
        return command.join(" ");
    }
    let Some(first) = report.processes.first() else { return String::new() };
    match report.processes.len() {
        1 => format!("{} {}", first.pid, first.command),
        more => format!("{} {} +{}", first.pid, first.command, more - 1),
    }
}

fn groups(parts: &Parts<'_>, groups: Vec<Group>, keys: &[By]) -> Vec<Row> {
    let Some((by, inner)) = keys.split_first() else { return Vec::new() };
    groups.into_iter().map(|group| of_group(parts, group, *by, inner)).collect()
}

fn of_group(parts: &Parts<'_>, mut group: Group, by: By, inner: &[By]) -> Row {
    let children = groups(parts, std::mem::take(&mut group.groups), inner);
    let residual = group.label.residual;
    let of_frames = !residual && by == By::Owner;
    Row {
        key: key(&group.label),
        text: text_of(&group.label),
        bytes: group.bytes,
        why: if residual { String::new() } else { facets::largest(parts, &group, By::Cause) },
        place: if of_frames { facets::place(parts, &group) } else { String::new() },
        weight: weight(&group.label),
        // One call path of the same name says nothing more.
        children: if residual { Vec::new() } else { children },
        range: None,
        more: false,
    }
}

/// A function that called only one that holds all of its bytes is one row with that: an interpreter has
/// dozens of them.
fn of_node(node: &Node) -> Row {
    let mut keys = vec![key(&node.label)];
    let mut last = node;
    while let [only] = &last.children[..]
        && only.bytes == node.bytes
    {
        keys.push(key(&only.label));
        last = only;
    }
    let mut text = text_of(&last.label);
    if keys.len() > 1 {
        let arrow = if keys.len() == 2 { "→" } else { "→ … →" };
        text.name = format!("{} {arrow} {}", text::clean(&node.label.name), text.name);
    }
    Row {
        key: keys.join(WITHIN),
        text,
        bytes: node.bytes,
        weight: weight(&node.label),
        children: last.children.iter().map(of_node).collect(),
        ..Row::default()
    }
}

/// Lines may come to a label later, so they are no part of its key.
fn key(label: &Label) -> String {
    format!("{}\0{}", label.name, label.apart.join("\0"))
}

fn text_of(label: &Label) -> Text {
    let mut name = text::clean(&label.name);
    if let Some(place) = &label.place {
        name = format!("{name}  {}", text::clean(place));
    }
    Text { name, apart: label.apart.iter().map(|apart| text::clean(apart)).collect() }
}

fn weight(label: &Label) -> Weight {
    match (label.residual, label.background) {
        // Nobody who looks on has missed it.
        (true, _) if label.name.ends_with(BEFORE) => Weight::Background,
        (true, _) => Weight::Residual,
        (false, true) => Weight::Background,
        (false, false) => Weight::Plain,
    }
}

fn segments(parts: &Parts<'_>, open: &dyn Fn(&str) -> bool) -> Vec<Row> {
    let mut of_segment: HashMap<*const Segment, Vec<usize>> = HashMap::new();
    for (at, part) in parts.all.iter().enumerate() {
        of_segment.entry(std::ptr::from_ref(part.segment)).or_default().push(at);
    }
    let all = parts.report.processes.iter();
    let all = all.flat_map(|process| process.segments.iter().map(move |s| (process, s)));
    let several = parts.report.processes.len() > 1;
    let mut rows: Vec<Row> = all
        .map(|(process, segment)| {
            let some = of_segment.remove(&std::ptr::from_ref(segment)).unwrap_or_default();
            let row = of_one_segment(parts, process, segment, some.clone(), several);
            if !row.more || !open(&row.key) {
                return row;
            }
            let owners = parts.group(some, &[By::Owner, By::Path]);
            let children = groups(parts, owners, &[By::Owner, By::Path]);
            Row { children, more: false, ..row }
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes.weight()));
    rows
}

fn of_one_segment(
    parts: &Parts<'_>,
    process: &Process,
    segment: &Segment,
    some: Vec<usize>,
    several: bool,
) -> Row {
    let more = !some.is_empty();
    let why = facets::largest_of(parts, some, By::Owner);
    let bytes =
        Bytes { rss: segment.rss_bytes.after.into(), dirty: segment.dirty_bytes.after.into() };
    Row {
        key: format!("{}\0{}", process.pid, segment.start),
        text: Text {
            name: text::clean(&kind::short_name(segment)),
            apart: vec![segment.start.to_string(), format!("{} of {}", segment.start, process.pid)],
        },
        bytes,
        range: Some(Range {
            pid: process.pid,
            start: segment.start.0,
            end: segment.end.0,
            perms: text::clean(&segment.perms),
        }),
        why,
        place: if several { process.pid.to_string() } else { String::new() },
        weight: Weight::Plain,
        children: Vec::new(),
        more,
    }
}

fn processes(parts: &Parts<'_>) -> Vec<Row> {
    let mut of_process: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, part) in parts.all.iter().enumerate() {
        of_process.entry(part.process).or_default().push(at);
    }
    let mut rows: Vec<Row> = parts
        .report
        .processes
        .iter()
        .enumerate()
        .map(|(at, process)| {
            let owners =
                parts.group(of_process.remove(&at).unwrap_or_default(), &[By::Owner, By::Path]);
            let largest = owners.iter().find(|group| !group.label.residual);
            Row {
                key: format!("{}\0{}", process.pid, process.started_ns),
                text: Text {
                    name: text::clean(&format!("{} {}", process.pid, process.command)),
                    apart: vec![text::clean(&process.exe)],
                },
                bytes: owners.iter().map(|group| group.bytes).sum(),
                why: largest.map_or_else(String::new, |group| text::clean(&group.label.name)),
                place: if process.ended_ns.is_some() { "ended".into() } else { String::new() },
                weight: Weight::Plain,
                children: groups(parts, owners, &[By::Owner, By::Path]),
                ..Row::default()
            }
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes.weight()));
    rows
}
