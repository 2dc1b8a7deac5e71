//! What differs between two reports.
//!
//! Comes in: two reports. Goes out: [`Difference`], its text and its JSON (`rmap.diff/1`). What is
//! compared has the same program, the same segment and the same code path: segments are matched by
//! name, permissions and who mapped them, not by address, and code paths by cause and functions.
//! What is alike in all of these is summed up; stacks that are not whole are matched with those that
//! begin like them (`alike`), and what is chance is one row (`chance`).

mod alike;
mod chance;
mod owners;

use std::collections::{BTreeMap, HashMap};
use std::io;

use serde::{Deserialize, Serialize};

use crate::report::{Report, Stack, StackId};

use super::chain::base_name;
use super::grid::{Cell, Column, Grid, Row};
use super::order::{Keys, Sort};
use super::paint::{Line, Page, Paint};
use super::samples::{frame_name, lasting_name, samples};
use super::{Style, number, text};

/// The `schema` of its JSON.
pub const SCHEMA: &str = "rmap.diff/1";

/// A size in the first and in the second report, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// In the first.
    pub a: i64,
    /// In the second.
    pub b: i64,
}

impl Sizes {
    const fn change(self) -> i128 {
        self.b as i128 - self.a as i128
    }
}

/// A segment, or a code path, whose sizes differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The program; empty for owners, whose memory is that of all programs.
    pub program: String,
    /// Segments: the name. Code paths: the functions, the innermost first. Owners: the name.
    pub names: Vec<String>,
    /// Segments: permissions. Code paths: the cause, or `not explained: ` and the reason. Owners: the
    /// place in the source.
    pub kind: String,
    /// Segments: the call and the functions that mapped it, if they are known.
    pub mapped_by: Vec<String>,
    /// Resident bytes.
    pub rss_bytes: Sizes,
    /// Dirty bytes.
    pub dirty_bytes: Sizes,
}

/// What differs, the largest change first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// [`SCHEMA`].
    pub schema: String,
    /// All of it.
    pub rss_bytes: Sizes,
    /// All of it.
    pub dirty_bytes: Sizes,
    /// Segments that differ.
    pub segments: Vec<Change>,
    /// Code paths that differ, over all segments of a program.
    pub paths: Vec<Change>,
    /// Owners that differ, over all programs.
    pub owners: Vec<Change>,
}

/// What is compared: equal keys are the same thing in both reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// The program.
    program: String,
    /// Segments: the name. Code paths: nothing.
    name: Vec<String>,
    /// Permissions; or the cause.
    kind: String,
    /// Segments: the call that mapped it, if it is known.
    call: Option<String>,
    /// The functions, the innermost first: of who mapped it, or of the code path.
    stack: Chain,
}

/// The functions of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Chain {
    /// The innermost first; the mark of an incomplete one is among them.
    names: Vec<String>,
    /// It was walked to its outermost frame.
    complete: bool,
}

/// RSS and Dirty of both reports.
type Sums = BTreeMap<Key, [Sizes; 2]>;

impl Difference {
    /// From the first report to the second.
    #[must_use]
    pub fn of(a: &Report, b: &Report) -> Self {
        let (mut segments, mut paths) = (Sums::new(), Sums::new());
        add(a, |sizes| &mut sizes.a, &mut segments, &mut paths);
        add(b, |sizes| &mut sizes.b, &mut segments, &mut paths);
        alike::join(&mut segments);
        alike::join(&mut paths);
        chance::join(&mut paths);
        let mut whole = [Sizes::default(); 2];
        for sums in segments.values() {
            for (whole, sum) in whole.iter_mut().zip(sums) {
                whole.a = whole.a.saturating_add(sum.a);
                whole.b = whole.b.saturating_add(sum.b);
            }
        }
        Self {
            schema: SCHEMA.to_owned(),
            rss_bytes: whole[0],
            dirty_bytes: whole[1],
            segments: changes(segments),
            paths: changes(paths),
            owners: ordered(owners::changes(a, b)),
        }
    }
}

fn add(report: &Report, side: fn(&mut Sizes) -> &mut i64, segments: &mut Sums, paths: &mut Sums) {
    let stacks: HashMap<StackId, &Stack> = report.stacks.iter().map(|s| (s.id, s)).collect();
    let put = |sums: &mut Sums, key: Key, bytes: [i64; 2]| {
        for (sizes, bytes) in sums.entry(key).or_default().iter_mut().zip(bytes) {
            let sum = side(sizes);
            *sum = sum.saturating_add(bytes);
        }
    };
    for process in &report.processes {
        for segment in &process.segments {
            let by = segment.mapped_by.as_ref();
            let stack = by.and_then(|by| stacks.get(&by.stack?));
            let key = Key {
                program: text::clean(&process.exe),
                name: vec![lasting_name(segment)],
                kind: text::clean(&segment.perms),
                call: by.map(|by| text::clean(by.call.as_str())),
                stack: stack.map_or_else(Chain::default, |stack| Chain {
                    names: stack.frames.iter().map(frame_name).collect(),
                    complete: stack.complete,
                }),
            };
            let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            let sizes = [segment.rss_bytes.after, segment.dirty_bytes.after].map(signed);
            put(segments, key, sizes);
        }
    }
    for sample in samples(report) {
        let reason = sample.reason();
        let kind = reason.trim_matches(['[', ']']).to_owned();
        let key = Key {
            program: text::clean(&sample.process.exe),
            name: Vec::new(),
            kind,
            call: None,
            stack: Chain {
                names: sample.frames.iter().map(frame_name).collect(),
                complete: sample.complete,
            },
        };
        put(paths, key, [sample.bytes[0], sample.bytes[1]]);
    }
}

fn changes(sums: Sums) -> Vec<Change> {
    let changes: Vec<Change> = sums
        .into_iter()
        .filter(|(_, sums)| sums.iter().any(|sizes| sizes.change() != 0))
        .map(|(key, [rss_bytes, dirty_bytes])| {
            let Key { program, name, kind, call, stack } = key;
            let is_path = name.is_empty();
            let by = call.into_iter().chain(stack.names.iter().filter(|_| !is_path).cloned());
            let mapped_by = by.collect();
            let names = if is_path { stack.names } else { name };
            Change { program, names, kind, mapped_by, rss_bytes, dirty_bytes }
        })
        .collect();
    ordered(changes)
}

/// The largest change first.
fn ordered(changes: Vec<Change>) -> Vec<Change> {
    let mut order: Vec<&Change> = changes.iter().collect();
    in_order(&mut order, Sort::Total);
    order.into_iter().cloned().collect()
}

/// Writes the JSON.
///
/// # Errors
/// The writer's.
pub fn write_json(difference: &Difference, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, difference)?;
    out.write_all(b"\n")
}

/// Writes it for people.
///
/// # Errors
/// The writer's.
pub fn write(difference: &Difference, style: Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(out, style);
    if difference.segments.is_empty() && difference.paths.is_empty() {
        return page.line(&Line::of("No difference.", Paint::Strong));
    }
    list("Segments that differ", "Mode", &difference.segments, &mut page)?;
    page.gap()?;
    list("Code paths that differ", "Cause", &difference.paths, &mut page)?;
    page.gap()?;
    list("Owners that differ", "Where", &difference.owners, &mut page)?;
    page.gap()?;
    let change = |sizes: Sizes| signed(sizes.change());
    let (rss, dirty) = (change(difference.rss_bytes), change(difference.dirty_bytes));
    page.line(&Line::of(format!("In all: ΔRSS {rss} KiB, ΔDirty {dirty} KiB."), Paint::Strong))
}

fn signed(bytes: i128) -> String {
    format!("{}{}", if bytes > 0 { "+" } else { "" }, number::kib_signed(bytes))
}

/// By how much they change, whatever the direction; [`Sort::Growth`] has it from what grew most to
/// what shrank most.
fn in_order(changes: &mut [&Change], sort: Sort) {
    let (rss, dirty) = (|c: &Change| c.rss_bytes.change(), |c: &Change| c.dirty_bytes.change());
    let keys = Keys {
        total: &|c: &&Change| rss(c).abs() + dirty(c).abs(),
        rss: &|c| rss(c).abs(),
        dirty: &|c| dirty(c).abs(),
        growth: &|c| rss(c) + dirty(c),
        address: None,
        name: &|c| c.names.join(" ← "),
    };
    sort.order(changes, &keys);
}

fn list(head: &str, kind: &'static str, all: &[Change], page: &mut Page<'_>) -> io::Result<()> {
    let words = match page.style.sort {
        Sort::Total | Sort::Address => "the largest change first",
        other => other.words(false),
    };
    page.heading(&format!("{head}, {words} (KiB)"))?;
    let mut all: Vec<&Change> = all.iter().collect();
    in_order(&mut all, page.style.sort);
    let mut grid = Grid {
        columns: vec![
            Column::figures("ΔRSS", 8),
            Column::figures("ΔDirty", 8),
            Column { max: Some(18), ..Column::names(kind) },
        ],
        tail_head: "What",
        rows: Vec::new(),
    };
    let shown = page.style.top.unwrap_or(usize::MAX).min(all.len());
    for change in &all[..shown] {
        let mut what = change.names.join(" ← ");
        if !change.mapped_by.is_empty() {
            what.push_str(&format!(" (by {})", change.mapped_by.join(" ← ")));
        }
        if !change.program.is_empty() {
            what.push_str(&format!("  {}", base_name(&change.program)));
        }
        grid.rows.push(Row {
            cells: vec![
                Cell::plain(signed(change.rss_bytes.change())),
                Cell::plain(signed(change.dirty_bytes.change())),
                Cell::plain(change.kind.clone()),
            ],
            tail: Some(Box::new(move |room| {
                let room = room.unwrap_or(text::LONGEST);
                Line::of(text::cut_middle(what.trim_start(), room), Paint::Plain)
            })),
            below: None,
        });
    }
    if shown < all.len() {
        let sum = |sizes: fn(&Change) -> Sizes| {
            let bytes = all[shown..].iter().map(|change| sizes(change).change()).sum();
            Cell::Text(signed(bytes), Paint::Dim)
        };
        let more = format!("{} more (--top 0 shows all)", all.len() - shown);
        grid.rows.push(Row {
            cells: vec![sum(|c| c.rss_bytes), sum(|c| c.dirty_bytes), Cell::none()],
            tail: Some(Box::new(move |_| Line::of(more.clone(), Paint::Dim))),
            below: None,
        });
    }
    grid.print(page)
}
