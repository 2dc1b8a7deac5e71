//! The report as `rmap.report/1` or `/2`, for programs. `docs/report.md` describes every field.

use std::io;

use crate::insight::Rules;
use crate::insight::json::{Document, Schema};
use crate::report::Report;

/// Writes the report as indented JSON with a line end behind it. The second schema, which is for
/// many processes, is not indented.
///
/// # Errors
/// The writer's.
pub fn write(
    report: &Report,
    rules: &Rules,
    schema: Schema,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let document = Document::of(report, rules, schema);
    // A report holds nothing that JSON cannot, so an error here is the writer's own.
    if document.is_second() {
        serde_json::to_writer(&mut *out, &document).map_err(io::Error::from)?;
    } else {
        serde_json::to_writer_pretty(&mut *out, &document).map_err(io::Error::from)?;
    }
    out.write_all(b"\n")
}
