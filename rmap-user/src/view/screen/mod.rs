//! The first screen: what a person needs, in as many lines as the terminal has.
//!
//! Comes in: a report, and what is asked of it. Goes out: who holds the memory, of what kind it
//! is, and where to look next; or one view of all of it by other keys, or as a tree. Each table
//! adds up to the total that stands under it.

mod apart;
mod heap;
mod processes;
mod rows;
mod spark;
mod tree;
mod window;

use std::io;

use crate::insight::group::{By, Group};
use crate::insight::heap::{Held, handed_on};
use crate::insight::part::{Bytes, Parts};
use crate::insight::processes::ProcessGroup;
use crate::insight::tree::Direction;
use crate::insight::{self, Rules};
use crate::report::{Report, SnapshotKind};

use super::paint::{Line, Page, Paint};
use super::{Style, malloc, number, rewrites, table, text};

pub use apart::{Text, fit};
pub use spark::course;

use super::unit::{self, Unit};
use rows::Table;

/// Lines of a terminal that is none.
pub const USUAL_HEIGHT: usize = 40;

/// What is asked of a report.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Rows are groups by these keys; none: what fits the report best.
    pub by: Vec<By>,
    /// A tree of call paths instead.
    pub tree: Option<Direction>,
    /// Lines that there are.
    pub height: Option<usize>,
    /// Rows that were asked for; `Some(None)`: all.
    pub top: Option<Option<usize>>,
    /// Without advice.
    pub no_advice: bool,
    /// RSS through the session, of points evenly spread in time.
    pub course: Vec<u64>,
    /// The report is that of the session's peak, and this was left at the end.
    pub end: Option<End>,
    /// What the heaps hold at the end, if they were read.
    pub held: Option<Held>,
}

/// What was left at the end of a session.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// RSS, in bytes.
    pub rss: u64,
    /// Dirty, in bytes.
    pub dirty: u64,
    /// The sizes are those of processes at their exit.
    pub at_exit: bool,
}

impl End {
    /// What the processes hold that go on, or what the last one held at its exit.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let ended = |process: &crate::report::Process| process.ended_ns.unwrap_or(u64::MAX);
        let last = report.processes.iter().map(ended).max();
        let left = || report.processes.iter().filter(|process| Some(ended(process)) == last);
        Self {
            rss: left().map(|process| process.rss_bytes.after).sum(),
            dirty: left().map(|process| process.dirty_bytes.after).sum(),
            at_exit: last.is_some_and(|last| last != u64::MAX),
        }
    }
}

/// Writes what was asked for.
///
/// # Errors
/// The writer's.
pub fn write(
    report: &Report,
    rules: &Rules,
    ask: &Ask,
    style: Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut page = Page::new(out, style);
    let parts = Parts::of(report, rules);
    let total = parts.total();
    let unit = Unit::of(total.rss.max(total.dirty));
    table::session(report, &mut page)?;
    let screen = Screen { report, rules, parts: &parts, total, unit, ask };
    match (ask.tree, &ask.by[..]) {
        (Some(direction), _) => screen.tree(direction, &mut page)?,
        (None, []) => screen.first(&mut page)?,
        (None, keys) => screen.view(keys, &mut page)?,
    }
    if report.session.window.is_some() {
        window::given_back(&parts, unit, ask.top, &mut page)?;
    }
    screen.losses(&mut page)?;
    if ask.tree.is_none() && ask.by.is_empty() {
        if !ask.no_advice {
            advice(&parts, &mut page)?;
        }
        let more = "More: --full, --tree, --by path, --by segment, --by function; --help";
        page.line(&Line::of(more, Paint::Dim))?;
    }
    table::contradiction(report, &mut page)
}

/// One writing.
struct Screen<'a> {
    report: &'a Report,
    rules: &'a Rules,
    parts: &'a Parts<'a>,
    total: Bytes,
    unit: Unit,
    ask: &'a Ask,
}

/// Lines of the first screen beside its tables: session, sizes, heads, total, kinds, losses, more.
const OTHER_LINES: usize = 15;
/// Lines about heaps.
const HEAP_LINES: usize = 2;
/// Most rows of owners, most groups of processes.
const MOST_ROWS: usize = 12;
const MOST_GROUPS: usize = 5;
/// Most owners that write again.
const MOST_WRITERS: usize = 5;
/// Most owners of live blocks.
const MOST_HOLDERS: usize = 6;

impl Screen<'_> {
    /// The first screen: groups of processes, kinds, owners.
    fn first(&self, page: &mut Page<'_>) -> io::Result<()> {
        let groups = insight::processes::groups(self.report);
        if self.report.processes.len() > 1 {
            processes::table(self.report, &groups, self.unit, MOST_GROUPS, page)?;
            page.gap()?;
        }
        self.sizes(page)?;
        spark::line(&self.ask.course, self.unit, page)?;
        if self.parts.all.is_empty() {
            return Ok(());
        }
        let lead = lead(&groups);
        let (here, others) = groups.split_at(lead);
        let members: std::collections::BTreeSet<usize> =
            here.iter().flat_map(|group| &group.members).copied().collect();
        let of_lead = |at: &usize| {
            self.parts.all.get(*at).is_some_and(|part| members.contains(&part.process))
        };
        let chosen: Vec<usize> = (0..self.parts.all.len()).filter(of_lead).collect();
        let kinds = self.parts.group(chosen.clone(), &[By::Kind]);
        let extra = rest_of_processes(others);
        let answer = Answer::of(self.parts, chosen);
        let height = self.ask.height.unwrap_or(USUAL_HEIGHT);
        let spoken = if self.ask.no_advice { 0 } else { insight::advice::advice(self.parts).len() };
        let handed_on = handed_on(self.parts);
        let heaps = self.ask.held.is_some() || handed_on.is_some();
        let used = OTHER_LINES
            + if heaps { HEAP_LINES } else { 0 }
            + usize::from(!self.ask.course.is_empty())
            + if spoken > 0 { 3 * spoken.min(MOST_ADVICE) + 2 } else { 0 }
            + extra.len()
            + if self.report.session.rewrites.is_some() { MOST_WRITERS + 4 } else { 0 }
            + if self.sampled() { MOST_HOLDERS + 4 } else { 0 }
            + answer.background.len()
            + if self.report.processes.len() > 1 {
                groups.len().min(MOST_GROUPS + 1) + 3
            } else {
                0
            };
        let rows = height.saturating_sub(used).clamp(3, MOST_ROWS);
        let (top, nested) = match self.ask.top {
            Some(top) => (top, top),
            None if answer.keys.len() > 1 => (Some(rows.min(4)), Some(rows - 3)),
            None => (Some(rows), None),
        };
        let table = Table {
            parts: self.parts,
            keys: answer.keys,
            top,
            nested,
            total: self.total,
            unit: self.unit,
        };
        let of = if others.is_empty() {
            String::new()
        } else {
            let names: Vec<String> = here.iter().map(|group| text::clean(&group.name())).collect();
            format!(" in {}", names.join(", "))
        };
        let who = match self.report.session.window {
            Some(_) => "Who brought what is still there",
            // Memory of allocators is of whoever came first, not of whoever holds it.
            None if handed_on.is_some() => "Who touched it first",
            None => "Who holds it",
        };
        page.heading(&format!("{who}{of} ({})", self.unit.name()))?;
        table.print(&answer.groups, &answer.background, &extra, page)?;
        self.total_line(page)?;
        let kinds: Vec<String> = kinds
            .iter()
            .map(|kind| {
                let figure = self.unit.figure(kind.bytes.rss);
                format!("{} {figure}", text::clean(&kind.label.name))
            })
            .collect();
        let line = format!("Kinds ({}): {}.", self.unit.name(), kinds.join(", "));
        page.prose(&Line::of(line, Paint::Plain), 2)?;
        self.division(page)?;
        match (&self.ask.held, handed_on) {
            (Some(held), _) => heap::held(held, page)?,
            (None, Some(bytes)) => heap::handed_on(bytes, self.sampled(), page)?,
            (None, None) => {}
        }
        malloc::section(self.report, self.rules, By::Owner, MOST_HOLDERS, page)?;
        rewrites::section(self.report, self.rules, MOST_WRITERS, page)
    }

    /// Whether allocations were to be sampled.
    fn sampled(&self) -> bool {
        insight::malloc::is_asked(self.report)
    }

    /// How RSS divides, in words; what the kernel did not report is left out.
    fn division(&self, page: &mut Page<'_>) -> io::Result<()> {
        let all = self.report.totals.breakdown;
        let private = all.private_clean_bytes.zip(all.private_dirty_bytes);
        let shared = all.shared_clean_bytes.zip(all.shared_dirty_bytes);
        let Some(((clean, dirty), (shared_clean, shared_dirty))) = private.zip(shared) else {
            return Ok(());
        };
        let figure = |bytes: u64| self.unit.figure(bytes.into());
        let mut line = Line::of(
            format!(
                "Private {} ({} of it dirty) + shared with others {} ({} dirty) {}",
                figure(clean.saturating_add(dirty)),
                figure(dirty),
                figure(shared_clean.saturating_add(shared_dirty)),
                figure(shared_dirty),
                self.unit.name(),
            ),
            Paint::Plain,
        );
        if let Some(pss) = all.pss_bytes {
            line.push(format!("; PSS {}", figure(pss)), Paint::Plain);
        }
        if let Some(free) = all.lazyfree_bytes.filter(|bytes| *bytes > 0) {
            let free = format!("; given up by MADV_FREE, still resident: {}", figure(free));
            line.push(free, Paint::Plain);
        }
        page.prose(&line.and(".", Paint::Plain), 2)
    }

    /// All of it by some keys.
    fn view(&self, keys: &[By], page: &mut Page<'_>) -> io::Result<()> {
        self.sizes(page)?;
        let names: Vec<&str> = keys.iter().map(|key| key.name()).collect();
        page.heading(&format!("By {} ({})", names.join(", then "), self.unit.name()))?;
        let rows = self.ask.height.unwrap_or(USUAL_HEIGHT).saturating_sub(10).max(8);
        let top = match self.ask.top {
            Some(top) => top,
            None if keys.len() > 1 => Some(8),
            None => Some(rows),
        };
        let nested = self.ask.top.map_or(Some(rows - 5), |top| top);
        let table =
            Table { parts: self.parts, keys, top, nested, total: self.total, unit: self.unit };
        table.print(&self.parts.by(keys), &[], &[], page)?;
        self.total_line(page)
    }

    /// All of it as a tree.
    fn tree(&self, direction: Direction, page: &mut Page<'_>) -> io::Result<()> {
        self.sizes(page)?;
        let from = match direction {
            Direction::FromRoot => "callers above callees",
            Direction::FromLeaf => "callees above callers",
        };
        page.heading(&format!("Call paths as a tree, {from} ({})", self.unit.name()))?;
        // Half a per cent of the total deserves a line of its own.
        let least = if self.ask.top == Some(None) { None } else { Some(200) };
        let tree = tree::Tree { total: self.total, unit: self.unit, least };
        tree.print(&insight::tree::tree(self.parts, direction), page)?;
        self.total_line(page)
    }

    fn total_line(&self, page: &mut Page<'_>) -> io::Result<()> {
        let (rss, dirty) = (self.unit.figure(self.total.rss), self.unit.figure(self.total.dirty));
        page.line(&Line::of(format!("{rss:>9} 100 % {dirty:>9}  total"), Paint::Strong))
    }

    /// RSS and Dirty at the end, and the highest RSS.
    fn sizes(&self, page: &mut Page<'_>) -> io::Result<()> {
        if let Some(span) = self.report.session.window {
            return window::sizes(self.report, span, self.total, self.unit, page);
        }
        let processes = &self.report.processes;
        if processes.iter().all(|process| process.snapshot == SnapshotKind::None) {
            let line = "No snapshot could be taken, so there are no sizes.";
            return page.line(&Line::of(line, Paint::Bad));
        }
        let moment = match (self.report.session.at_ns, processes.first().map(|p| p.snapshot)) {
            (Some(at), _) => format!("at {}", number::duration(at)),
            (None, Some(SnapshotKind::AtExit)) => "at exit".to_owned(),
            (None, Some(SnapshotKind::LastPeriodic)) => "at the last snapshot".to_owned(),
            _ => "at the end".to_owned(),
        };
        let rss = self.unit.size(self.total.rss);
        let dirty = self.unit.size(self.total.dirty);
        if let (Some(end), Some(at)) = (self.ask.end, self.report.session.at_ns) {
            let (end_rss, end_dirty) =
                (self.unit.size(end.rss.into()), self.unit.size(end.dirty.into()));
            let when = if end.at_exit { "at exit" } else { "at the end" };
            let whose = match processes.len() {
                1 => String::new(),
                many => format!(", of {many} processes"),
            };
            let line = Line::of(
                format!("At its peak, {}{whose}: RSS {rss}, ", number::duration(at)),
                Paint::Strong,
            )
            .and(format!("Dirty {dirty}"), Paint::Dirty)
            .and(format!(";  {when}: {end_rss}, {end_dirty}."), Paint::Plain);
            return page.prose(&line, 2);
        }
        let whose = match processes.len() {
            1 => format!("Held {moment}"),
            many => format!("Held by {many} processes, each {moment}"),
        };
        let mut line = Line::of(format!("{whose}: RSS {rss}, "), Paint::Strong)
            .and(format!("Dirty {dirty}"), Paint::Dirty);
        if let [process] = &processes[..]
            && process.peak_rss_bytes > 0
        {
            let peak = self.unit.size(process.peak_rss_bytes.into());
            line.push(format!("; highest RSS {peak}"), Paint::Plain);
        }
        let before: i128 = processes.iter().map(|p| i128::from(p.rss_bytes.before)).sum();
        if before > 0 {
            line.push(format!("; before: RSS {}", self.unit.size(before)), Paint::Plain);
        }
        if processes.len() > 1 {
            line.push("; what processes share counts in each", Paint::Dim);
        }
        page.prose(&line.and(".", Paint::Plain), 2)
    }

    /// What no call path explains, and what was lost, in one line.
    fn losses(&self, page: &mut Page<'_>) -> io::Result<()> {
        let rest = self.parts.unattributed();
        let mut line = Line::new();
        if rest.is_zero() && self.parts.all.iter().all(|part| part.attributed) {
            line.push("Unattributed 0.", Paint::Plain);
        } else {
            let (rss, dirty) = (unit::size(rest.rss), unit::size(rest.dirty));
            let mut reasons: Vec<String> = self
                .parts
                .by(&[By::Cause])
                .into_iter()
                .filter(|group| group.label.residual)
                .map(|group| text::clean(group.label.name.trim_start_matches("unattributed: ")))
                .collect();
            let more = reasons.len().saturating_sub(3);
            reasons.truncate(3);
            if more > 0 {
                reasons.push(format!("{more} more"));
            }
            let why = reasons.join(", ");
            line.push(format!("Unattributed: RSS {rss}, Dirty {dirty} ({why})."), Paint::Bad);
        }
        let lost = self.report.coverage.lost;
        if lost.events == 0 && lost.stacks == 0 && lost.snapshots == 0 {
            line.push(" Lost 0.", Paint::Plain);
        } else {
            let lost = format!(
                " Lost: {}, {}, {}.",
                number::count(lost.events, "event", "events"),
                number::count(lost.stacks, "stack", "stacks"),
                number::count(lost.snapshots, "snapshot", "snapshots"),
            );
            line.push(lost, Paint::Bad);
        }
        let missing = self.report.coverage.probes.iter().filter(|probe| !probe.attached).count();
        if missing > 0 {
            let missing = number::count(missing as u64, "probe", "probes");
            line.push(format!(" {missing} not attached: --full shows why."), Paint::Bad);
        }
        page.prose(&line, 2)
    }
}

/// Most pieces of advice on a screen.
const MOST_ADVICE: usize = 3;

/// What can be done about it; nothing where no rule finds anything.
fn advice(parts: &Parts<'_>, page: &mut Page<'_>) -> io::Result<()> {
    let found = insight::advice::advice(parts);
    if found.is_empty() {
        return Ok(());
    }
    page.heading("Advice")?;
    let room = page.style.width.unwrap_or(200);
    for advice in found.iter().take(MOST_ADVICE) {
        // Names of templates alone are longer than that, and they stand at the end.
        let evidence = text::cut(&text::clean(&advice.evidence), 3 * room);
        let line = Line::of(format!("  {evidence}: "), Paint::Plain)
            .and(advice.remedy, Paint::Strong)
            .and(format!(". Harmless when {}.", advice.harmless_when), Paint::Dim);
        page.prose(&line, 4)?;
    }
    if found.len() > MOST_ADVICE {
        let more = format!("  {} more in the JSON", found.len() - MOST_ADVICE);
        page.line(&Line::of(more, Paint::Dim))?;
    }
    Ok(())
}

/// The groups of the first screen: by the keys that fit, and what every program has apart.
struct Answer {
    keys: &'static [By],
    groups: Vec<Group>,
    background: Vec<Group>,
}

impl Answer {
    /// Owners, if the ten largest groups hold at least four fifths of the bytes; else modules or
    /// kinds with owners inside.
    fn of(parts: &Parts<'_>, chosen: Vec<usize>) -> Self {
        const CHOICE: &[&[By]] = &[&[By::Owner], &[By::Module, By::Owner], &[By::Kind, By::Owner]];
        let whole = parts.sum(&chosen).rss;
        let (background, groups): (Vec<Group>, Vec<Group>) =
            parts.group(chosen, &[By::Owner]).into_iter().partition(is_apart);
        let owned: Vec<usize> = groups.iter().flat_map(|group| group.parts.clone()).collect();
        for keys in CHOICE {
            let groups = parts.group(owned.clone(), keys);
            let mut sizes: Vec<i128> =
                groups.iter().chain(&background).map(|group| group.bytes.rss).collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            let top: i128 = sizes.iter().take(10).sum();
            if top.saturating_mul(10) >= whole.saturating_mul(8) {
                return Self { keys, groups, background };
            }
        }
        Self { keys: &[By::Owner], groups, background }
    }
}

/// What stands below the owners: what every program has, and residuals.
const fn is_apart(group: &Group) -> bool {
    group.label.background || group.label.residual
}

/// How many groups the owners are shown of: those whose largest process has at least half of what
/// the largest one has, three at most.
fn lead(groups: &[ProcessGroup]) -> usize {
    let most = groups.first().map_or(0, |group| group.rss.max);
    groups.iter().take(3).filter(|group| group.rss.max.saturating_mul(2) >= most).count()
}

/// Groups of processes whose owners are not shown, as rows of the owners' table.
fn rest_of_processes(others: &[ProcessGroup]) -> Vec<(String, Bytes)> {
    const NAMED: usize = 3;
    let named = if others.len() == NAMED + 1 { NAMED + 1 } else { NAMED };
    let mut rows: Vec<(String, Bytes)> = others
        .iter()
        .take(named)
        .map(|group| (format!("[{}]", processes::counted(group)), group.bytes()))
        .collect();
    let rest = others.get(named..).unwrap_or_default();
    if !rest.is_empty() {
        let many: usize = rest.iter().map(|group| group.members.len()).sum();
        rows.push((format!("[{many} more processes]"), rest.iter().map(ProcessGroup::bytes).sum()));
    }
    rows
}
