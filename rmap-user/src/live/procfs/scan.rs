//! Which pages are there, by the `PAGEMAP_SCAN` ioctl.
//!
//! Comes in: an open `/proc/PID/pagemap` and a range of addresses. Goes out: runs of entries of
//! one kind. A reservation of terabytes takes microseconds.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::entry::Entry;
use super::pagemap_scan::{
    IS_FILE, IS_GUARD, IS_HUGE, IS_PFNZERO, IS_PRESENT, IS_SWAPPED, Question, Regions,
};

const RETURNED: u64 = IS_FILE | IS_PRESENT | IS_SWAPPED | IS_PFNZERO | IS_HUGE;

/// Whether this kernel has `PAGEMAP_SCAN`, asked on our own memory.
///
/// # Errors
/// `/proc/self/pagemap` cannot be opened.
pub fn is_supported() -> io::Result<bool> {
    let file = File::open("/proc/self/pagemap")?;
    Ok(Scanner::new(&file).is_some())
}

/// Asks for the pages of one process.
pub(super) struct Scanner<'a> {
    file: &'a File,
    returned: u64,
    regions: Regions,
}

impl<'a> Scanner<'a> {
    /// `None`: this kernel does not have the ioctl.
    pub(super) fn new(file: &'a File) -> Option<Self> {
        let mut regions = Regions::default();
        let returned = [RETURNED | IS_GUARD, RETURNED]
            .into_iter()
            .find(|returned| regions.is_known(file, &question(*returned)))?;
        Some(Self { file, returned, regions })
    }

    /// Hands each run of entries in the range to `found`, in the order of the addresses. `private`:
    /// no file is mapped there, so no page is one of a file. The kernel then need not look at each
    /// page's own data, which takes most of the time where there are many.
    pub(super) fn scan(
        &mut self,
        range: Range<u64>,
        private: bool,
        mut found: impl FnMut(Range<u64>, Entry),
    ) -> io::Result<()> {
        let unwanted = if private { IS_FILE } else { 0 };
        self.regions.scan(
            self.file,
            range,
            &question(self.returned & !unwanted),
            |run, categories| found(run, entry(categories)),
        )
    }
}

/// What is there or in swap, with these categories.
fn question(returned: u64) -> Question {
    Question {
        category_anyof_mask: IS_PRESENT | IS_SWAPPED,
        return_mask: returned,
        ..Question::default()
    }
}

const fn entry(categories: u64) -> Entry {
    Entry {
        present: categories & IS_PRESENT != 0,
        file: categories & IS_FILE != 0,
        zero: categories & IS_PFNZERO != 0,
        guard: categories & IS_GUARD != 0,
        huge: categories & IS_HUGE != 0,
    }
}
