//! `--budget`: what a program may use, and who used more. For CI.
//!
//! Comes in: limits, and a report. Goes out: lines on stderr, and the exit status 3.

use std::process::ExitCode;

use clap::Args;

use super::size::size;
use crate::insight::part::{Bytes, Parts};
use crate::insight::{By, Rules};
use crate::report::Report;
use crate::view::{number, text};

/// The exit status where more was used.
pub const EXCEEDED: u8 = 3;
/// So many owners of the excess are named.
const OWNERS: usize = 3;

/// What may be used.
#[derive(Clone, Debug, Default, Args)]
pub struct BudgetOptions {
    /// Exit with 3 if the peak is above rss=SIZE,dirty=SIZE
    #[arg(
        long,
        value_name = "KEY=SIZE,…",
        value_delimiter = ',',
        value_parser = limit,
        hide_short_help = true,
        long_help = "Exit with status 3, and name the owners on the last lines, if more was used: \
                     rss=SIZE and dirty=SIZE at the peak of all processes together, or at the moment \
                     that --at names; path:NAME=SIZE for the RSS of call paths through a function \
                     with NAME in its name. SIZE is in bytes, or with K, M, G (powers of 1024)"
    )]
    pub budget: Vec<Limit>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figure {
    /// RSS.
    Rss,
    /// Dirty.
    Dirty,
    /// RSS of call paths through a function with this in its name.
    Path(String),
}

/// A figure and the most that it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    figure: Figure,
    most: u64,
}

impl Figure {
    /// By its name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn of(text: &str) -> Result<Self, String> {
        match text {
            "rss" => Ok(Self::Rss),
            "dirty" => Ok(Self::Dirty),
            _ => match text.strip_prefix("path:").filter(|name| !name.is_empty()) {
                Some(name) => Ok(Self::Path(name.to_owned())),
                None => Err(format!("{text:?} is not counted: use rss, dirty or path:NAME")),
            },
        }
    }

    /// What it is called in a sentence.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Rss => "RSS".to_owned(),
            Self::Dirty => "Dirty".to_owned(),
            Self::Path(name) => format!("RSS through {}", text::clean(name)),
        }
    }

    /// How much of it a report holds.
    #[must_use]
    pub fn in_report(&self, parts: &Parts<'_>) -> u64 {
        let total = parts.total();
        let bytes = match self {
            Self::Rss => total.rss,
            Self::Dirty => total.dirty,
            Self::Path(name) => through(parts, name),
        };
        u64::try_from(bytes.max(0)).unwrap_or(u64::MAX)
    }
}

/// RSS of call paths through a function with this in its name.
fn through(parts: &Parts<'_>, name: &str) -> i128 {
    let passes = |stack| {
        let frames = parts.owners.frames(stack).iter();
        frames.filter_map(|frame| frame.function.as_deref()).any(|function| function.contains(name))
    };
    let parts = parts.all.iter().filter(|part| part.stack.is_some_and(passes));
    parts.map(|part| part.bytes.rss).sum()
}

fn limit(text: &str) -> Result<Limit, String> {
    let (figure, most) = text.rsplit_once('=').ok_or("give KEY=SIZE, such as rss=200M")?;
    Ok(Limit { figure: Figure::of(figure)?, most: size(most)? })
}

/// What came of the budget.
#[derive(Debug, Default)]
pub struct Verdict {
    lines: Vec<String>,
}

impl Verdict {
    /// One whose lines say what is too much; none: nothing is.
    #[must_use]
    pub const fn of(lines: Vec<String>) -> Self {
        Self { lines }
    }

    /// Says what was too much, on stderr.
    pub fn complain(&self) {
        self.lines.iter().for_each(|line| super::complain(&anyhow::anyhow!("{line}")));
    }

    /// 3 if more was used.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        if self.lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXCEEDED) }
    }
}

impl BudgetOptions {
    /// Judges a report by its peak, as far as that is known. `peak`: the report at the peak, where the
    /// end is another.
    #[must_use]
    pub fn judge(&self, report: &Report, peak: Option<&Report>, rules: &Rules) -> Verdict {
        if self.budget.is_empty() {
            return Verdict::default();
        }
        let parts = Parts::of(peak.unwrap_or(report), rules);
        let mut lines = Vec::new();
        for limit in &self.budget {
            let used = used(&limit.figure, report, &parts);
            if used > limit.most {
                let what = limit.figure.name();
                lines.push(format!(
                    "over budget: {what} was {}, {} more than {}",
                    number::size(used),
                    number::size(used - limit.most),
                    number::size(limit.most)
                ));
                lines.extend(owners(&parts, &limit.figure));
            }
        }
        Verdict { lines }
    }
}

/// The most of it that was used: of states the peak, by the events and by the kernel's own count.
fn used(figure: &Figure, report: &Report, parts: &Parts<'_>) -> u64 {
    // A report of one moment is judged by that; and processes that ended one after the other never
    // held together what an end adds up.
    let shown = || figure.in_report(parts);
    let (is_end, one) = (report.session.at_ns.is_none(), report.processes.len() == 1);
    let peak = report.session.peak.filter(|_| is_end && report.session.window.is_none());
    let Some(peak) = peak else { return shown() };
    let kernel = report.processes.iter().map(|process| process.peak_rss_bytes).max().unwrap_or(0);
    let by_events = match figure {
        Figure::Rss => peak.rss_bytes.max(kernel),
        Figure::Dirty => peak.dirty_bytes,
        Figure::Path(_) => return shown(),
    };
    if one { by_events.max(shown()) } else { by_events }
}

/// Who held most of it.
fn owners(parts: &Parts<'_>, figure: &Figure) -> Vec<String> {
    let size = |bytes: Bytes| if *figure == Figure::Dirty { bytes.dirty } else { bytes.rss };
    let mut groups = parts.by(&[By::Owner]);
    groups.sort_by_key(|group| std::cmp::Reverse(size(group.bytes)));
    let line = |group: &crate::insight::group::Group| {
        let place = group.label.place.as_deref().map(|place| format!("  {place}"));
        let bytes = u64::try_from(size(group.bytes).max(0)).unwrap_or(u64::MAX);
        let name = text::clean(&format!("{}{}", group.label.name, place.unwrap_or_default()));
        format!("  {:>10}  {name}", number::size(bytes))
    };
    groups.iter().filter(|group| size(group.bytes) > 0).take(OWNERS).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_figure_and_a_size() {
        let of = |figure, most| Ok(Limit { figure, most });
        assert_eq!(limit("rss=200M"), of(Figure::Rss, 200 << 20));
        assert_eq!(limit("path:a=b=1K"), of(Figure::Path("a=b".to_owned()), 1024));
        for wrong in ["rss", "heap=1M", "path:=1M", "dirty=much"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_peak_is_judged_and_the_owners_are_named() {
        let report = include_str!("../../tests/view/golden/article.json");
        let report: Report = serde_json::from_str(report).unwrap();
        let verdict = |text: &str| {
            let budget = text.split(',').map(|text| limit(text).unwrap()).collect();
            BudgetOptions { budget }.judge(&report, None, &Rules::built_in()).lines
        };
        assert!(verdict("rss=1T,dirty=1T").is_empty());
        let lines = verdict("rss=1M,dirty=1T");
        assert!(lines[0].starts_with("over budget: RSS was "), "{lines:?}");
        assert!(lines.len() > 1, "{lines:?}");
    }
}
