//! What a task's own counts of resident pages say of one fault (kernels before 6.2).

use crate::abi;

/// `struct task_rss_stat` (kernel `include/linux/mm_types_task.h`): how many faults since the
/// counts were last added to the address space, and the counts of the four members, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// `events`.
    pub events: i32,
    /// `count`.
    pub count: [i32; abi::MEMBERS],
}

/// `TASK_RSS_EVENTS_THRESH`: a fault that finds more of them adds the counts to the address space
/// before it does its own work, and sets counts and events to 0 (kernel `check_sync_rss_stat`).
const THRESHOLD: i32 = 64;

/// Which counts a fault moved: bit `n` for member `n`.
#[inline(always)]
#[must_use]
pub fn moved(before: &Counts, after: &Counts) -> u32 {
    // Every fault adds an event, so fewer or as many mean that they began anew in this one.
    let anew = after.events <= before.events;
    let mut members = 0;
    let mut member = 0;
    while member < abi::MEMBERS {
        let start = if anew { 0 } else { before.count[member] };
        if after.count[member] != start {
            members |= 1 << member;
        }
        member += 1;
    }
    members
}

/// Whether the counts are just being added to the address space: the events are set to 0 after
/// that (kernel `sync_mm_rss`).
#[inline(always)]
#[must_use]
pub const fn flushes(counts: &Counts) -> bool {
    counts.events > THRESHOLD + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u32 = 1 << abi::MEMBER_FILE;
    const ANON: u32 = 1 << abi::MEMBER_ANON;

    fn counts(events: i32, file: i32, anon: i32) -> Counts {
        let mut count = [0; abi::MEMBERS];
        count[abi::MEMBER_FILE] = file;
        count[abi::MEMBER_ANON] = anon;
        Counts { events, count }
    }

    #[test]
    fn a_fault_moves_what_differs() {
        assert_eq!(moved(&counts(3, 7, 2), &counts(4, 7, 2)), 0, "zero page");
        assert_eq!(moved(&counts(3, 7, 2), &counts(4, 7, 3)), ANON, "first write");
        assert_eq!(moved(&counts(3, 7, 2), &counts(4, 6, 3)), ANON | FILE, "private copy");
        assert_eq!(moved(&counts(3, 7, 2), &counts(5, 23, 2)), FILE, "a retry counts twice");
    }

    #[test]
    fn what_was_gathered_before_is_not_this_faults() {
        assert!(!flushes(&counts(65, 7, 2)), "the fault that finds 64 goes on");
        assert!(flushes(&counts(66, 7, 2)), "the one that finds 65 adds them");
        assert_eq!(moved(&counts(65, 7, 2), &counts(0, 0, 1)), ANON);
        assert_eq!(moved(&counts(65, 7, 2), &counts(0, 0, 0)), 0);
        assert_eq!(moved(&counts(65, 7, 2), &counts(1, 16, 0)), FILE, "a retry after that");
    }
}
