//! The table of the battery.
//!
//! Comes in: rows. Goes out: Markdown.

use std::fmt::Write as _;

use super::Row;

/// The whole document.
pub fn of(rows: &[Row]) -> String {
    let trials = rows.iter().flat_map(|row| &row.trials);
    let (all, good) = trials.fold((0, 0), |(all, good), trial| {
        (all + 1, good + usize::from(trial.complaints.is_empty()))
    });
    let mut text = format!(
        "# The battery\n\n\
         `cargo xtask battery` runs the stressors of stress-ng's memory, vm, process, signal and \
         scheduler classes, and those that map files, untraced and under rmap. Each has the same \
         work in every column; slow-down is the time of the whole rmap session over that of the \
         stressor alone, the loading of the probes included. A trial is good if the program ends and \
         complains as it does alone, leaves nothing behind, every segment adds up, nothing is lost, \
         at most 1 % of the segments and 4 KiB in any are `unknown`, and the recording gives the \
         same report.\n\n\
         {good} of {all} trials of {} stressors are good.\n\n\
         | stressor | watched by | slow-down | processes | segments | unknown in | at most | lost | \
         rmap's memory | |\n|---|---|--:|--:|--:|--:|--:|--:|--:|---|\n",
        rows.len()
    );
    for row in rows {
        for trial in &row.trials {
            let found = &trial.findings;
            let slower = trial.slower.map_or_else(String::new, |slower| format!("{slower:.1}"));
            let _ = writeln!(
                text,
                "| {} | `{}` | {slower} | {} | {} | {} | {} KiB | {} | {} MiB | {} |",
                row.name,
                trial.mode.name(),
                found.processes,
                found.segments,
                found.unknown,
                found.most_unknown / 1024,
                found.lost,
                trial.peak_kib / 1024,
                trial.complaints.join("; ").replace('|', "/"),
            );
        }
    }
    text
}
