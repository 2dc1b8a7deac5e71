//! Parts of a report: the same filters for every command.
//!
//! Comes in: a report and what was asked for. Goes out: the report with the processes and segments
//! that were meant, and the stacks that these name, their sums made anew, so that the identity
//! holds for what is left. The session and what was seen and lost stay those of the whole.

use std::collections::HashSet;
use std::io;

use crate::report::{BeforeAfter, Process, Report, Segment, StackId};

use super::chain::base_name;
use super::paint::{Line, Page, Paint};
use super::{Style, text};

/// Which processes and segments are meant; an empty list means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Process ids, or names of programs.
    pub processes: Vec<String>,
    /// Names (whole, labels, or the last part of a path), addresses inside, or `START-END`.
    pub segments: Vec<String>,
}

/// Nothing in the report is what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {what} of the report is {asked}; leave {option} out to see what there is")]
pub struct NothingMeant {
    what: &'static str,
    asked: String,
    option: &'static str,
}

impl Selection {
    /// The part of `report` that is meant. What was released and what is gone names no segment, so
    /// it is left out where segments are chosen.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn of(&self, mut report: Report) -> Result<Report, NothingMeant> {
        if !self.processes.is_empty() {
            report.processes.retain(|p| self.processes.iter().any(|name| is_process(p, name)));
            if report.processes.is_empty() {
                let asked = self.processes.join(", ");
                return Err(NothingMeant { what: "process", asked, option: "--process" });
            }
        }
        if !self.segments.is_empty() {
            for process in &mut report.processes {
                process.segments.retain(|s| self.segments.iter().any(|name| is_segment(s, name)));
                process.gone.clear();
                process.released.clear();
                process.rss_bytes = sum(process, |s| s.rss_bytes);
                process.dirty_bytes = sum(process, |s| s.dirty_bytes);
                process.swap_bytes = sum(process, |s| s.swap_bytes);
                process.sum_up();
                // Owners that grow elsewhere are left out with the memory that they grow in.
                let paths = process.segments.iter().flat_map(|segment| &segment.paths);
                let left: HashSet<StackId> = paths.filter_map(|path| path.stack).collect();
                process.growth.iter_mut().for_each(|g| g.stacks.retain(|id| left.contains(id)));
                process.growth.retain(|grown| !grown.stacks.is_empty());
            }
            report.processes.retain(|process| !process.segments.is_empty());
            if report.processes.is_empty() {
                let asked = self.segments.join(", ");
                return Err(NothingMeant { what: "segment", asked, option: "--segment" });
            }
        }
        if !self.is_all() {
            report.sum_up();
        }
        let named: HashSet<StackId> = named_stacks(&report).collect();
        report.stacks.retain(|stack| named.contains(&stack.id));
        Ok(report)
    }

    /// Whether a process is meant.
    #[must_use]
    pub fn means_process(&self, process: &Process) -> bool {
        let mut names = self.processes.iter();
        self.processes.is_empty() || names.any(|name| is_process(process, name))
    }

    /// Whether a segment is meant, of a process that is.
    #[must_use]
    pub fn means_segment(&self, segment: &Segment) -> bool {
        let mut names = self.segments.iter();
        self.segments.is_empty() || names.any(|name| is_segment(segment, name))
    }

    /// Whether the whole report is meant.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.processes.is_empty() && self.segments.is_empty()
    }

    /// Says over a table that it is of a part alone.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_note(&self, style: Style, out: &mut dyn io::Write) -> io::Result<()> {
        let mut words = String::new();
        for (option, names) in [("--process", &self.processes), ("--segment", &self.segments)] {
            names
                .iter()
                .for_each(|name| words.push_str(&format!(" {option} {}", text::clean(name))));
        }
        let note = format!("A part of the report, and its sums are of that part:{words}");
        Page::new(out, style).prose(&Line::of(note, Paint::Dim), 2)
    }
}

/// The stacks that a report names.
fn named_stacks(report: &Report) -> impl Iterator<Item = StackId> + '_ {
    report.processes.iter().flat_map(|process| {
        let segments = process.segments.iter();
        let mapped = segments.clone().filter_map(|s| s.mapped_by.as_ref()?.stack);
        let paths = segments.flat_map(|s| &s.paths).filter_map(|path| path.stack);
        let gone = process.gone.iter().filter_map(|gone| gone.stack);
        let released = process.released.iter().filter_map(|released| released.stack);
        let grew = process.growth.iter().flat_map(|grown| &grown.stacks).copied();
        let live = process.malloc.iter().flat_map(|malloc| &malloc.paths);
        let live = live.filter_map(|path| path.stack);
        mapped.chain(paths).chain(gone).chain(released).chain(grew).chain(live)
    })
}

fn sum(process: &Process, size: fn(&Segment) -> BeforeAfter) -> BeforeAfter {
    let add = |sum: BeforeAfter, segment| {
        let more = size(segment);
        BeforeAfter {
            before: sum.before.saturating_add(more.before),
            after: sum.after.saturating_add(more.after),
        }
    };
    process.segments.iter().fold(BeforeAfter::default(), add)
}

fn is_process(process: &Process, name: &str) -> bool {
    name.parse() == Ok(process.pid) || process.exe == name || base_name(&process.exe) == name
}

fn is_segment(segment: &Segment, name: &str) -> bool {
    let own = if segment.name.is_empty() { "[anon]" } else { &segment.name };
    if own == name || base_name(own) == name || segment.label.as_deref() == Some(name) {
        return true;
    }
    let (start, end) = (segment.start.0, segment.end.0);
    match name.split_once('-') {
        Some((from, to)) => (address(from), address(to)) == (Some(start), Some(end)),
        None => name.starts_with("0x") && address(name).is_some_and(|at| start <= at && at < end),
    }
}

/// An address in hex, with or without `0x`.
fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}
