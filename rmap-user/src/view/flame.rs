//! A flame graph as SVG, with search and zoom: widths are bytes. Boxes stand side by side by name;
//! the order that is asked for decides which stacks are kept.

use std::io;

use inferno::flamegraph::{self, Options};

use crate::report::Report;

use super::export::folded::Folded;
use super::number;
use super::order::Listing;
use super::samples::Of;

/// Writes the SVG.
///
/// # Errors
/// The writer's; or there is nothing to draw (`InvalidInput`).
pub fn write(report: &Report, of: Of, listing: Listing, out: &mut dyn io::Write) -> io::Result<()> {
    let folded = Folded::of(report, of, listing);
    if folded.stacks.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there are no such bytes to draw"));
    }
    let (title, what) = match of {
        Of::Resident => ("Resident memory by code path", "resident at the last snapshot"),
        Of::Dirty => ("Dirty memory by code path", "dirty at the last snapshot"),
        Of::Touched => ("Touched memory by code path", "touched in all, freed memory included"),
    };
    let mut options = Options::default();
    options.title = title.to_owned();
    let mut subtitle = format!("Widths are bytes {what}");
    if folded.left_out < 0 {
        let bytes = u64::try_from(folded.left_out.unsigned_abs()).unwrap_or(u64::MAX);
        subtitle.push_str(&format!("; {} attributed beyond what is there", number::size(bytes)));
    }
    options.subtitle = Some(subtitle);
    options.count_name = "bytes".to_owned();
    options.name_type = "Code path:".to_owned();
    options.deterministic = true;
    let lines: Vec<String> = folded.lines().collect();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
        .map_err(io::Error::other)
}
