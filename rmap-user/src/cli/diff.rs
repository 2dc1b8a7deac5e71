//! The command `diff`: two reports, one difference.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::budget::{Figure, Verdict};
use super::moments::MomentOptions;
use super::progress::Progress;
use super::reading::{self, ReadingOptions};
use super::report_out::{OutputOptions, Stream};
use super::save;
use super::size::size;
use crate::input;
use crate::insight::part::Parts;
use crate::view::diff::{self, Difference};
use crate::view::number;
use crate::view::page;

/// The arguments of `rmap diff`.
#[derive(Debug, Args)]
pub struct DiffOptions {
    /// The first recording or JSON report (rmap run --record or --json)
    pub a: PathBuf,

    /// The second one
    pub b: PathBuf,

    /// Which moments of both recordings.
    #[command(flatten)]
    pub moments: MomentOptions,

    /// How recordings are read.
    #[command(flatten)]
    pub reading: ReadingOptions,

    /// Exit with 3 if B has more: rss>+10M, dirty>+5%, …
    #[arg(
        long,
        value_name = "RULE",
        value_parser = rule,
        long_help = "Exit with status 3 if B has more than A by the rule: `rss>+10M` by bytes, \
                     `dirty>+5%` by a share of A, `path:NAME>+1M` of the RSS of call paths through a \
                     function with NAME in its name; may be repeated. With --at peak the peaks are \
                     compared"
    )]
    pub fail_if: Vec<Rule>,

    /// Where the difference goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Runs it.
///
/// # Errors
/// What could not be read or written.
pub fn diff(options: &DiffOptions) -> anyhow::Result<ExitCode> {
    options.output.check()?;
    let progress = Progress::start("comparing the reports");
    let selection = options.output.select.selection();
    // What is chosen may be in one of them only; an empty side is a change like any other.
    let reading = options.reading.reading(options.moments.asked())?;
    let load = |path| {
        let loaded = input::load(path, &reading)?;
        reading::remark(&loaded, path);
        anyhow::Ok(loaded.report)
    };
    let (a, b) = (load(&options.a)?, load(&options.b)?);
    let (a, b) = match (selection.of(a.clone()), selection.of(b.clone())) {
        (Err(error), Err(_)) => return Err(error.into()),
        (part_a, part_b) => {
            let none = |mut report: crate::report::Report| {
                report.processes.clear();
                report
            };
            (part_a.unwrap_or_else(|_| none(a)), part_b.unwrap_or_else(|_| none(b)))
        }
    };
    let difference = Difference::of(&a, &b);
    drop(progress);
    let printed = options.output.print_with(
        Stream::Stdout,
        &|style, out| diff::write(&difference, style, out),
        &|out| diff::write_json(&difference, out),
    );
    let page = options.output.html.as_deref().map_or(Ok(()), |path| {
        let (a, b) = (options.a.to_string_lossy(), options.b.to_string_lossy());
        save::save(path, |out| page::write_difference(&difference, [&a, &b], out))
    });
    printed.and(page)?;
    let rules = options.output.answer.json.rules()?;
    let (a, b) = (Parts::of(&a, &rules), Parts::of(&b, &rules));
    let verdict =
        Verdict::of(options.fail_if.iter().filter_map(|rule| rule.broken(&a, &b)).collect());
    verdict.complain();
    Ok(verdict.exit())
}

/// What makes a difference a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    figure: Figure,
    more: More,
    text: String,
}

/// How much more there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum More {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of what there was.
    Percent(f64),
}

fn rule(text: &str) -> Result<Rule, String> {
    let parts = text.rsplit_once('>').ok_or("give KEY>+SIZE or KEY>+N%, such as dirty>+5%")?;
    let (figure, more) = (Figure::of(parts.0.trim())?, parts.1.trim());
    let more = more.strip_prefix('+').unwrap_or(more);
    let more = match more.strip_suffix('%') {
        None => More::Bytes(size(more)?),
        Some(percent) => match percent.parse() {
            Ok(percent) if (0.0..1e9).contains(&percent) => More::Percent(percent),
            _ => return Err(format!("{percent:?} is no share in percent")),
        },
    };
    Ok(Rule { figure, more, text: text.to_owned() })
}

impl Rule {
    /// What is too much, if it is.
    fn broken(&self, a: &Parts<'_>, b: &Parts<'_>) -> Option<String> {
        let (then, now) = (self.figure.in_report(a), self.figure.in_report(b));
        let allowed = match self.more {
            More::Bytes(bytes) => bytes,
            More::Percent(percent) => (then as f64 * percent / 100.0) as u64,
        };
        let more = now.checked_sub(then).filter(|more| *more > allowed)?;
        Some(format!(
            "{}: {} rose by {}, from {} to {}",
            self.text,
            self.figure.name(),
            number::size(more),
            number::size(then),
            number::size(now)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_a_figure_and_bytes_or_a_share() {
        let of = |text| rule(text).map(|rule| (rule.figure, rule.more));
        assert_eq!(of("rss>+10M"), Ok((Figure::Rss, More::Bytes(10 << 20))));
        assert_eq!(of("dirty > 5%"), Ok((Figure::Dirty, More::Percent(5.0))));
        assert_eq!(of("path:f>+1K"), Ok((Figure::Path("f".to_owned()), More::Bytes(1024))));
        for wrong in ["rss", "rss>+x", "rss>-5%", "heap>+1M"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }
}
