//! Folded stacks: `process;segment;outermost;…;innermost;[cause] BYTES`, a line for each.
//!
//! The form cannot hold negative weights: such parts are left out, and [`lines`] says how much
//! they are.

use std::collections::BTreeMap;
use std::io;

use crate::report::Report;
use crate::view::samples::{Of, samples};

/// The lines, sorted, equal stacks summed up; and the bytes (negative) that are not in them.
#[must_use]
pub fn lines(report: &Report, of: Of) -> (Vec<String>, i128) {
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    for sample in samples(report) {
        let names: Vec<String> = sample.names().iter().map(|name| name.replace(';', ":")).collect();
        *sums.entry(names.join(";")).or_default() += i128::from(sample.value(of));
    }
    let left_out = sums.values().filter(|bytes| **bytes < 0).sum();
    let there = sums.into_iter().filter(|(_, bytes)| *bytes > 0);
    (there.map(|(names, bytes)| format!("{names} {bytes}")).collect(), left_out)
}

/// Writes the lines.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, of: Of, out: &mut dyn io::Write) -> io::Result<()> {
    lines(report, of).0.iter().try_for_each(|line| writeln!(out, "{line}"))
}
