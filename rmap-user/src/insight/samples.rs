//! Reports for the tests of this room.

use crate::report::{BeforeAfter, Path, Process, Report, StackId};

/// A report of one process, with no segments.
pub fn report() -> Report {
    serde_json::from_str(include_str!("../../tests/view/golden/empty.json")).unwrap()
}

/// A process of one size, with no segments.
pub fn process(pid: u32, rss: u64) -> Process {
    Process {
        pid,
        rss_bytes: BeforeAfter { before: 0, after: rss },
        peak_rss_bytes: rss,
        ..report().processes.remove(0)
    }
}

/// A call path's share; sizes are bytes.
pub fn path(stack: u32, cause: &str, rss_bytes: u64, dirty_bytes: u64) -> Path {
    Path {
        stack: Some(StackId(stack)),
        cause: cause.into(),
        rss_bytes,
        dirty_bytes,
        touched_bytes: rss_bytes,
        faults: 1,
        first_ns: 0,
        last_ns: 0,
        tids: Vec::new(),
        retained_bytes: None,
        growth: None,
        rewrites: 0,
        rewritten_bytes: 0,
    }
}
