//! The table that a person reads after `rmap run`.
//!
//! Comes in: a [`Report`] and a [`Style`]. Goes out: what was traced and how it ended; for each
//! process its sizes, its segments, its code paths and what those do not explain; then what was
//! lost. The sums are those of everything, also of what is not shown.

mod coverage;
mod paths;
mod process;
mod segments;
mod sums;

use std::io;

use crate::report::{Exit, Mode, Report};

pub use coverage::contradiction;

use super::chain::Stacks;
use super::number;
use super::paint::{Line, Page, Paint};
use super::{Style, cgroup, malloc, rewrites, text};
use crate::insight::malloc::is_asked;
use crate::insight::{By, Rules};

/// Writes the whole table.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, style: Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(out, style);
    let stacks = Stacks::new(&report.stacks);
    session(report, &mut page)?;

    let order = process::in_order(&report.processes, style.sort);
    if order.len() > 1 {
        page.gap()?;
        process::summary(&order, &mut page)?;
    }
    let shown = style.processes.unwrap_or(usize::MAX).min(order.len());
    for process in &order[..shown] {
        page.gap()?;
        process::details(process, &stacks, &mut page)?;
    }
    page.gap()?;
    if shown < order.len() {
        let left = order.len() - shown;
        let line = format!(
            "{left} more of {} processes, not shown in detail: -v shows all, --json FILE keeps all.",
            order.len()
        );
        page.prose(&Line::of(line, Paint::Dim), 0)?;
    }
    if is_asked(report) {
        let top = style.top.unwrap_or(usize::MAX - 1);
        malloc::section(report, &Rules::built_in(), By::Path, top, &mut page)?;
        page.gap()?;
    }
    if report.session.rewrites.is_some() {
        let top = style.top.unwrap_or(usize::MAX - 1);
        rewrites::section(report, &Rules::built_in(), top, &mut page)?;
        page.gap()?;
    }
    if order.is_empty() {
        page.line(&Line::of("No process was seen.", Paint::Bad))?;
    }
    coverage::write(report, &mut page)?;
    if style.verbose {
        paths::glossary(report, &mut page)?;
    }
    Ok(())
}

/// What was traced, and how it ended.
pub fn session(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let session = &report.session;
    let what = match (&session.command, session.mode) {
        (Some(command), _) => command_line(command),
        (None, Mode::Attach) | (None, Mode::Run) => {
            let pids: Vec<String> = session.pids.iter().map(u32::to_string).collect();
            format!("PID {}", pids.join(", "))
        }
    };
    let after = number::duration(session.duration_ns);
    let ended = match &session.exit {
        _ if session.window.is_some() => "in a window of its time".to_owned(),
        _ if session.at_ns.is_some() => format!("as it was {after} after its start"),
        Some(Exit::Code(code)) => format!("exited with {code} after {after}"),
        Some(Exit::Signal(signal)) => {
            format!("was killed by {} after {after}", text::clean(signal))
        }
        None => format!("watched for {after}"),
    };
    let host = &report.host;
    let pages = match host.page_bytes {
        4096 => String::new(),
        other => format!(", {} KiB pages", number::kib(other)),
    };
    let machine = format!(
        "  (rmap {}, Linux {} {}{pages})",
        text::clean(&report.rmap_version),
        text::clean(&host.kernel),
        text::clean(&host.arch),
    );
    let room = page.style.width.map_or(usize::MAX, |width| {
        // Where it cannot all stand in two lines, the command gives way.
        (2 * width).saturating_sub(text::width(&ended) + text::width(&machine) + 8).max(width / 2)
    });
    let line = Line::of(text::cut_middle(&what, room), Paint::Strong)
        .and(format!(" {ended}"), Paint::Strong)
        .and(machine, Paint::Dim);
    page.prose(&line, 2)?;
    for oom in &report.oom {
        let at = number::duration(oom.at_ns);
        let limit =
            oom.limit_bytes.map(|limit| format!(" at its limit of {}", number::size(limit)));
        let limit = limit.unwrap_or_default();
        let whose = match &oom.cgroup {
            Some(group) => {
                format!("control group {} had no memory left{limit}", text::clean(group))
            }
            None => "the machine had no memory left".to_owned(),
        };
        let line = format!("The kernel killed process {} at {at}: {whose}.", oom.pid);
        page.prose(&Line::of(line, Paint::Bad), 2)?;
    }
    for note in &session.notes {
        page.prose(&Line::of(text::clean(note), Paint::Plain), 2)?;
    }
    if let Some(cgroup) = &report.cgroup {
        cgroup::write(cgroup, page)?;
    }
    Ok(())
}

/// A command as one could type it.
fn command_line(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            if !word.is_empty() && word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        })
        .collect();
    text::clean(&quoted.join(" "))
}
