//! Which pages of watched memory are there, and which were written since they were protected, by
//! the `PAGEMAP_SCAN` ioctl.
//!
//! Comes in: an open `/proc/PID/pagemap` and a range of addresses. Goes out: runs of pages; where
//! asked, what was written is protected again in the same step, so that no write is missed.
//!
//! A page that is not there counts as written for the kernel, and protecting it makes page tables
//! for it. So only pages that are there are ever asked for, and not the zero page.

use std::fs::File;
use std::io;
use std::ops::Range;

use crate::live::procfs::pagemap_scan::{
    CHECK_WPASYNC, IS_HUGE, IS_PFNZERO, IS_PRESENT, IS_WRITTEN, Question, Regions, WP_MATCHING,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Every page that is there.
    Present,
    /// Those that were written, and they are protected again.
    Written,
}

/// Asks for pages of one process.
#[derive(Debug)]
pub(super) struct Scanner {
    file: File,
    /// Huge pages count too.
    huge: bool,
    regions: Regions,
}

impl Scanner {
    /// `huge`: huge pages are looked at, and protected, as others are.
    pub(super) fn new(file: File, huge: bool) -> Self {
        Self { file, huge, regions: Regions::default() }
    }

    /// Adds the runs of wanted pages of a range, in the order of their addresses.
    ///
    /// # Errors
    /// `EPERM`: not all of the range is registered; else the process is gone.
    pub(super) fn scan(
        &mut self,
        range: Range<u64>,
        wanted: Wanted,
        found: &mut Vec<Range<u64>>,
    ) -> io::Result<()> {
        let huge = if self.huge { 0 } else { IS_HUGE };
        let (flags, written) = match wanted {
            Wanted::Present => (0, 0),
            Wanted::Written => (WP_MATCHING | CHECK_WPASYNC, IS_WRITTEN),
        };
        let question = Question {
            flags,
            category_inverted: IS_PFNZERO | huge,
            category_mask: IS_PRESENT | IS_PFNZERO | written | huge,
            return_mask: IS_PRESENT,
            ..Question::default()
        };
        self.regions.scan(&self.file, range, &question, |run, _| match found.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => found.push(run),
        })
    }
}
