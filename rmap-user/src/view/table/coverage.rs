//! What was seen and what was lost: the last lines of the table.

use std::io;

use crate::report::{Report, check_identity};
use crate::view::paint::{Line, Page, Paint};
use crate::view::{number, text};

/// Losses (0 is said too), stacks, probes, and whether the report agrees with itself.
pub fn write(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    lost(report, page)?;
    stacks(report, page)?;
    probes(report, page)?;
    contradiction(report, page)
}

/// A report whose figures do not add up says so.
pub fn contradiction(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    if let Err(error) = check_identity(report) {
        let line = format!(
            "This report contradicts itself, please report it as a defect of rmap: {}.",
            text::clean(&error.to_string())
        );
        page.prose(&Line::of(line, Paint::Bad), 2)?;
    }
    Ok(())
}

fn lost(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let lost = report.coverage.lost;
    let text = format!(
        "Lost: {}, {}, {}.",
        number::count(lost.events, "event", "events"),
        number::count(lost.stacks, "stack", "stacks"),
        number::count(lost.snapshots, "snapshot", "snapshots"),
    );
    let any = lost.events > 0 || lost.stacks > 0 || lost.snapshots > 0;
    let mut line = Line::of(text, if any { Paint::Bad } else { Paint::Plain });
    if lost.events > 0 {
        line.push(
            " The sizes are the kernel's all the same; some code paths are missing, or hold what \
             others did.",
            Paint::Plain,
        );
    } else if lost.stacks > 0 {
        line.push(" Some code paths are missing.", Paint::Plain);
    }
    page.prose(&line, 2)
}

fn stacks(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let unwind = &report.coverage.unwind;
    let all = unwind.complete.saturating_add(unwind.incomplete);
    if all == 0 {
        return page.line(&Line::of("Stacks: none were walked.", Paint::Plain));
    }
    if unwind.incomplete == 0 {
        let line = format!("Stacks: {} of {all} walked to the outermost frame.", unwind.complete);
        return page.line(&Line::of(line, Paint::Plain));
    }
    let reasons: Vec<String> = unwind
        .reasons
        .iter()
        .map(|(reason, count)| format!("{} {count}", text::clean(reason)))
        .collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let share = number::share(u128::from(unwind.complete), u128::from(all));
    let line = Line::of(
        format!("Stacks: {} of {all} walked to the outermost frame ({share}); ", unwind.complete),
        Paint::Plain,
    )
    .and(format!("{} end before it{why}.", unwind.incomplete), Paint::Bad);
    page.prose(&line, 2)
}

fn probes(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let probes = &report.coverage.probes;
    let attached = probes.iter().filter(|probe| probe.attached).count();
    let text = match (attached, probes.len()) {
        (_, 0) => "Probes: none are named.".to_owned(),
        (attached, all) if attached == all => format!("Probes: all {all} attached."),
        (attached, all) if page.style.verbose => format!("Probes: {attached} of {all} attached:"),
        (attached, all) => format!("Probes: {attached} of {all} attached; not attached:"),
    };
    page.line(&Line::of(text, Paint::Plain))?;
    for probe in probes {
        if probe.attached && !page.style.verbose {
            continue;
        }
        let mut line = Line::of(format!("  {}", text::clean(&probe.name)), Paint::Plain);
        if probe.attached {
            line.push(": attached", Paint::Plain);
        } else {
            let why = probe.why_not.as_deref().unwrap_or("no reason is given");
            line.push(format!(": {}", text::clean(why)), Paint::Bad);
        }
        page.prose(&line, 4)?;
    }
    Ok(())
}
