//! Which snapshot the sizes are of, in words. What a cause, a reason or a pattern means stands with
//! its name in [`crate::terms`].

use crate::report::SnapshotKind;

/// Which moment the sizes are of, to follow a comma.
#[must_use]
pub const fn snapshot(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::AtExit => "as it stood at its exit",
        SnapshotKind::Live => "as it stood when rmap let go of it, still running",
        SnapshotKind::LastPeriodic => {
            "at the last snapshot before it ended, what it did after that is not in these figures"
        }
        SnapshotKind::Events => "by its events, between two snapshots",
        SnapshotKind::None => "no snapshot, it ended before one could be taken",
    }
}

/// The same in one word, for a column.
#[must_use]
pub const fn snapshot_name(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::AtExit => "at-exit",
        SnapshotKind::Live => "live",
        SnapshotKind::LastPeriodic => "periodic",
        SnapshotKind::Events => "events",
        SnapshotKind::None => "none",
    }
}
