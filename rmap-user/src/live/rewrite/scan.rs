//! Which pages of watched memory are there, and which were written since they were protected, by
//! the `PAGEMAP_SCAN` ioctl.
//!
//! Comes in: an open `/proc/PID/pagemap` and a range of addresses. Goes out: runs of pages; where
//! asked, what was written is protected again in the same step, so that no write is missed.
//!
//! A page that is not there counts as written for the kernel, and protecting it makes page tables
//! for it. So only pages that are there are ever asked for, and not the zero page.
//!
//! Interface: `Documentation/admin-guide/mm/pagemap.rst`, `include/uapi/linux/fs.h`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;

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

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = 3 << 30 | 96 << 16 | (b'f' as u64) << 8 | 16;
const _: () = assert!(size_of::<Argument>() == 96);

/// `PM_SCAN_WP_MATCHING`: what matches is protected; `PM_SCAN_CHECK_WPASYNC`: the call fails with
/// `EPERM` where memory is not registered.
const WP_MATCHING: u64 = 1 << 0;
const CHECK_WPASYNC: u64 = 1 << 1;

const IS_WRITTEN: u64 = 1 << 1;
const IS_PRESENT: u64 = 1 << 3;
const IS_PFNZERO: u64 = 1 << 5;
const IS_HUGE: u64 = 1 << 6;

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
    regions: Vec<Region>,
}

impl Scanner {
    /// `huge`: huge pages are looked at, and protected, as others are.
    pub(super) fn new(file: File, huge: bool) -> Self {
        Self { file, huge, regions: vec![Region::default(); 1024] }
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
        let mut at = range.start;
        while at < range.end {
            let (count, walked) = self.ask(at..range.end, wanted)?;
            let mut next = walked;
            for region in self.regions.iter().take(count) {
                let run = region.start.max(at)..region.end.min(range.end);
                // `walk_end` may stay behind the last run (6.18), see `procfs/scan.rs`. Such pages
                // are protected already, and do not match a second time.
                next = next.max(run.end);
                match found.last_mut() {
                    Some(last) if last.end == run.start => last.end = run.end,
                    _ if run.start < run.end => found.push(run),
                    _ => {}
                }
            }
            if next <= at {
                break;
            }
            at = next;
        }
        Ok(())
    }

    fn ask(&mut self, range: Range<u64>, wanted: Wanted) -> io::Result<(usize, u64)> {
        let huge = if self.huge { 0 } else { IS_HUGE };
        let (flags, written) = match wanted {
            Wanted::Present => (0, 0),
            Wanted::Written => (WP_MATCHING | CHECK_WPASYNC, IS_WRITTEN),
        };
        let mut argument = Argument {
            size: size_of::<Argument>() as u64,
            flags,
            start: range.start,
            end: range.end,
            vec: self.regions.as_mut_ptr() as u64,
            vec_len: self.regions.len() as u64,
            category_inverted: IS_PFNZERO | huge,
            category_mask: IS_PRESENT | IS_PFNZERO | written | huge,
            return_mask: IS_PRESENT,
            ..Argument::default()
        };
        loop {
            // SAFETY: the argument has the kernel's layout and says its size; the regions are this
            // scanner's own, which nobody touches during the call.
            let result = unsafe {
                libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN as libc::Ioctl, &raw mut argument)
            };
            match usize::try_from(result) {
                Ok(count) => return Ok((count.min(self.regions.len()), argument.walk_end)),
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
