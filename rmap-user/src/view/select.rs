//! Parts of a report: the same filters for every command.
//!
//! Comes in: a report and what was asked for. Goes out: the report with the processes and segments
//! that were meant, their sums made anew, so that the identity holds for what is left.

use crate::report::{BeforeAfter, Process, Report, Segment};

use super::chain::base_name;

/// Which processes and segments are meant; an empty list means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Process ids, or names of programs.
    pub processes: Vec<String>,
    /// Names (whole, or the last part of a path), addresses inside, or `START-END`.
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
            }
            report.processes.retain(|process| !process.segments.is_empty());
            if report.processes.is_empty() {
                let asked = self.segments.join(", ");
                return Err(NothingMeant { what: "segment", asked, option: "--segment" });
            }
        }
        Ok(report)
    }
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
    if own == name || base_name(own) == name {
        return true;
    }
    let (Some(start), Some(end)) = (address(&segment.start), address(&segment.end)) else {
        return false;
    };
    match name.split_once('-') {
        Some((from, to)) => (address(from), address(to)) == (Some(start), Some(end)),
        None => name.starts_with("0x") && address(name).is_some_and(|at| start <= at && at < end),
    }
}

/// An address in hex, with or without `0x`.
pub fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}
