//! Who touched the pages of free memory first.
//!
//! Comes in: free bytes of resident pages, as an allocator's structures show them. Goes out: for each
//! segment of a snapshot, the free bytes in the resident pages of each path, set in its shares.

use rustc_hash::FxHashMap;

use super::segment::Segment;
use crate::model::{AddressSpace, Cause, StackRef};
use crate::trace::FreeRun;

/// Bytes of a page, in which free bytes are counted.
const PAGE: u64 = 4096;

/// Sets what of each path's resident bytes is free. `free` is in the order of the addresses.
pub fn set_retained(space: &AddressSpace, free: &[FreeRun], segments: &mut [Segment]) {
    for segment in segments {
        let range = segment.shown.start..segment.shown.end;
        let first = free.partition_point(|run| run.range.end <= range.start);
        let runs = free.get(first..).unwrap_or_default();
        let mut sums: FxHashMap<(Option<StackRef>, Cause), u64> = FxHashMap::default();
        for run in runs.iter().take_while(|run| run.range.start < range.end) {
            let part = run.range.start.max(range.start)..run.range.end.min(range.end);
            space.owners().walk(part, |part, owner| {
                if let Some(path) = space.paths().get(owner.resident) {
                    let pages = (part.end - part.start) / PAGE;
                    *sums.entry((path.stack, path.cause)).or_default() +=
                        pages * u64::from(run.free);
                }
            });
        }
        if sums.is_empty() {
            continue;
        }
        for path in &mut segment.paths {
            let sum = sums.get(&(path.stack, path.cause)).copied().unwrap_or(0);
            // A page of which events were lost may be counted and not owned.
            path.retained = Some(sum.min(path.rss));
        }
    }
}
