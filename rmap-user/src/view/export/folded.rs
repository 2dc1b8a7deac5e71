//! Folded stacks: `process;segment;outermost;…;innermost;[cause] BYTES`, a line for each.
//!
//! The form cannot hold negative weights: such parts are left out, and [`Folded::left_out`] says
//! how much they are.

use std::collections::HashMap;
use std::io;

use crate::report::{Report, Stack, StackId};
use crate::view::order::Listing;
use crate::view::samples::{KINDS, Of, Stacks, frame_name, process_name};

/// Stacks with their weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Names from the outside in, and bytes, over 0. Sorted by name where no order was asked for.
    pub stacks: Vec<(Vec<String>, i128)>,
    /// Bytes (negative) that are in none of them.
    pub left_out: i128,
}

impl Folded {
    /// The stacks of a report.
    #[must_use]
    pub fn of(report: &Report, of: Of, listing: Listing) -> Self {
        let all = Stacks::of(report, listing, Some(of));
        let weigh = |bytes: [i128; KINDS]| bytes[of.index()];
        let mut stacks: Vec<(Vec<String>, i128)> = all
            .rows
            .into_iter()
            .map(|row| {
                let bytes = weigh(row.bytes());
                let names = row.names.into_iter().map(|name| name.replace(';', ":"));
                (names.collect(), bytes)
            })
            .collect();
        if listing.sort.is_none() {
            stacks.sort_unstable();
        }
        stacks.extend(all.rest.map(|(n, bytes)| (vec![Stacks::rest_name(n)], weigh(bytes))));
        let left_out = stacks.iter().map(|(_, bytes)| *bytes).filter(|bytes| *bytes < 0).sum();
        stacks.retain(|(_, bytes)| *bytes > 0);
        Self { stacks, left_out }
    }

    /// The call paths that hold live blocks of an allocator (`--malloc`), by their estimated bytes.
    #[must_use]
    pub fn of_live(report: &Report) -> Self {
        let by_id: HashMap<StackId, &Stack> =
            report.stacks.iter().map(|stack| (stack.id, stack)).collect();
        let mut stacks = Vec::new();
        for process in &report.processes {
            for path in process.malloc.iter().flat_map(|malloc| &malloc.paths) {
                let stack = path.stack.and_then(|stack| by_id.get(&stack));
                let frames = stack.map_or(&[][..], |stack| &stack.frames);
                let mut names = vec![process_name(process)];
                names.extend(frames.iter().rev().map(frame_name));
                names.push("[live]".to_owned());
                let names = names.into_iter().map(|name| name.replace(';', ":")).collect();
                stacks.push((names, i128::from(path.live_bytes)));
            }
        }
        stacks.retain(|(_, bytes)| *bytes > 0);
        stacks.sort_unstable();
        Self { stacks, left_out: 0 }
    }

    /// A line for each, without line ends.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.stacks.iter().map(|(names, bytes)| format!("{} {bytes}", names.join(";")))
    }
}

/// Writes the lines.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, of: Of, listing: Listing, out: &mut dyn io::Write) -> io::Result<()> {
    Folded::of(report, of, listing).lines().try_for_each(|line| writeln!(out, "{line}"))
}

/// Writes the lines of live blocks.
///
/// # Errors
/// The writer's.
pub fn write_live(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    Folded::of_live(report).lines().try_for_each(|line| writeln!(out, "{line}"))
}
