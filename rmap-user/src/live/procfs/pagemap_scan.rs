//! The `PAGEMAP_SCAN` ioctl (since Linux 6.7): runs of pages of the wanted categories.
//!
//! Comes in: an open `/proc/PID/pagemap`, a range of addresses and a [`Question`]. Goes out: runs of
//! pages with their categories, in the order of their addresses. Holes cost nothing: the kernel skips
//! them by whole page tables.
//!
//! Interface: `Documentation/admin-guide/mm/pagemap.rst`, `include/uapi/linux/fs.h`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// `PAGE_IS_WRITTEN`: written since it was protected; so is a page that is not there.
pub(in crate::live) const IS_WRITTEN: u64 = 1 << 1;
/// `PAGE_IS_FILE`: of a file, or shared memory.
pub(in crate::live) const IS_FILE: u64 = 1 << 2;
/// `PAGE_IS_PRESENT`.
pub(in crate::live) const IS_PRESENT: u64 = 1 << 3;
/// `PAGE_IS_SWAPPED`.
pub(in crate::live) const IS_SWAPPED: u64 = 1 << 4;
/// `PAGE_IS_PFNZERO`: the zero page.
pub(in crate::live) const IS_PFNZERO: u64 = 1 << 5;
/// `PAGE_IS_HUGE`.
pub(in crate::live) const IS_HUGE: u64 = 1 << 6;
/// `PAGE_IS_GUARD`, since Linux 6.15; before it, guard pages look like swapped ones.
pub(in crate::live) const IS_GUARD: u64 = 1 << 8;

/// `PM_SCAN_WP_MATCHING`: what matches is protected against writing.
pub(in crate::live) const WP_MATCHING: u64 = 1 << 0;
/// `PM_SCAN_CHECK_WPASYNC`: fails with `EPERM` where memory is not registered.
pub(in crate::live) const CHECK_WPASYNC: u64 = 1 << 1;

/// How many runs the kernel may give at once.
const RUNS: usize = 1024;

/// What is asked for: members of `struct pm_scan_arg` of these names.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::live) struct Question {
    /// `PM_SCAN_` flags; 0: the kernel only reads.
    pub flags: u64,
    /// Categories that must not be set where the mask has them.
    pub category_inverted: u64,
    /// Categories that are all looked at.
    pub category_mask: u64,
    /// Categories of which one suffices.
    pub category_anyof_mask: u64,
    /// Categories that are given back.
    pub return_mask: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct Argument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

const _: () = assert!(size_of::<Argument>() == 96);
const _: () = assert!(size_of::<Region>() == 24);

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = 3 << 30 | 96 << 16 | (b'f' as u64) << 8 | 16;

/// Where the kernel writes the runs of one call.
#[derive(Debug)]
pub(in crate::live) struct Regions(Vec<Region>);

impl Default for Regions {
    fn default() -> Self {
        Self(vec![Region::default(); RUNS])
    }
}

impl Regions {
    /// Hands each run of the range that matches to `found`, with its categories, in the order of the
    /// addresses.
    ///
    /// # Errors
    /// The kernel's: `EPERM` see [`CHECK_WPASYNC`], `EINVAL` or `ENOTTY` where it does not know the
    /// question or the ioctl, `ESRCH` where the process is gone.
    pub(in crate::live) fn scan(
        &mut self,
        pagemap: &File,
        range: Range<u64>,
        question: &Question,
        mut found: impl FnMut(Range<u64>, u64),
    ) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let (count, walked) = self.ask(pagemap, at..range.end, question)?;
            let mut next = walked;
            for region in self.0.iter().take(count) {
                // The kernel keeps to the range; a run that did not would break the order.
                let run = region.start.max(at)..region.end.min(range.end);
                // Its own buffer is half of ours. Where the walk ends in its second filling,
                // `walk_end` stays at the end of the first (`pagemap_scan_ioctl`, 6.18): what is
                // in the runs was walked all the same, and what was protected does not match again.
                next = next.max(run.end);
                if run.start < run.end {
                    found(run, region.categories);
                }
            }
            if next <= at {
                break;
            }
            at = next;
        }
        Ok(())
    }

    /// Whether the kernel knows the question. An empty range touches nothing; an unknown category or
    /// ioctl is refused all the same.
    pub(in crate::live) fn is_known(&mut self, pagemap: &File, question: &Question) -> bool {
        self.ask(pagemap, 0..0, question).is_ok()
    }

    /// One call: how many regions it filled, and how far it came.
    fn ask(
        &mut self,
        pagemap: &File,
        range: Range<u64>,
        question: &Question,
    ) -> io::Result<(usize, u64)> {
        let mut argument = Argument {
            size: size_of::<Argument>() as u64,
            flags: question.flags,
            start: range.start,
            end: range.end,
            vec: self.0.as_mut_ptr() as u64,
            vec_len: self.0.len() as u64,
            category_inverted: question.category_inverted,
            category_mask: question.category_mask,
            category_anyof_mask: question.category_anyof_mask,
            return_mask: question.return_mask,
            ..Argument::default()
        };
        loop {
            // SAFETY: the argument has the kernel's layout and says its size; `vec` and `vec_len` are
            // these regions, which nothing else touches during the call.
            let result = unsafe {
                libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as libc::Ioctl, &raw mut argument)
            };
            match usize::try_from(result) {
                Ok(count) => return Ok((count.min(self.0.len()), argument.walk_end)),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}
