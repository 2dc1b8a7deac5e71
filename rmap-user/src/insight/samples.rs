//! Reports for the tests of this room.

use crate::report::{BeforeAfter, Process, Report};

/// A process of one size, with no segments.
pub fn process(pid: u32, rss: u64) -> Process {
    let text = include_str!("../../tests/view/golden/empty.json");
    let mut report: Report = serde_json::from_str(text).unwrap();
    Process {
        pid,
        rss_bytes: BeforeAfter { before: 0, after: rss },
        peak_rss_bytes: rss,
        ..report.processes.remove(0)
    }
}
