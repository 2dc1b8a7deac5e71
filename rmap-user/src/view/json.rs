//! The report as `rmap.report/1`, for programs. `docs/report.md` describes every field.

use std::io;

use crate::report::Report;

/// Writes the report as indented JSON with a line end behind it.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    // A report holds nothing that JSON cannot, so an error here is the writer's own.
    serde_json::to_writer_pretty(&mut *out, report).map_err(io::Error::from)?;
    out.write_all(b"\n")
}
