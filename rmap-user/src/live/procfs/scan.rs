//! Which pages are there, by the `PAGEMAP_SCAN` ioctl (since Linux 6.7).
//!
//! Comes in: an open `/proc/PID/pagemap` and a range of addresses. Goes out: runs of entries of
//! one kind. Holes cost nothing: the kernel skips them by whole page tables, so a reservation of
//! terabytes takes microseconds.
//!
//! Interface: `Documentation/admin-guide/mm/pagemap.rst`, `include/uapi/linux/fs.h`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::entry::Entry;

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct ScanArg {
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
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

const _: () = assert!(size_of::<ScanArg>() == 96);
const _: () = assert!(size_of::<Region>() == 24);

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = 3 << 30 | 96 << 16 | (b'f' as u64) << 8 | 16;

const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
const IS_PFNZERO: u64 = 1 << 5;
const IS_HUGE: u64 = 1 << 6;
/// Since Linux 6.15; before it, guard pages cannot be told from swapped ones.
const IS_GUARD: u64 = 1 << 8;

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
    regions: Vec<Region>,
}

impl<'a> Scanner<'a> {
    /// `None`: this kernel does not have the ioctl.
    pub(super) fn new(file: &'a File) -> Option<Self> {
        let mut scanner =
            Self { file, returned: RETURNED | IS_GUARD, regions: vec![Region::default(); 1024] };
        // An empty range touches nothing; an unknown category or ioctl is refused all the same.
        if scanner.ask(0..0, 0).is_ok() {
            return Some(scanner);
        }
        scanner.returned = RETURNED;
        scanner.ask(0..0, 0).is_ok().then_some(scanner)
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
        let mut at = range.start;
        while at < range.end {
            let (count, walked) = self.ask(at..range.end, if private { IS_FILE } else { 0 })?;
            let mut next = walked;
            for region in self.regions.iter().take(count) {
                // The kernel keeps to the range; a run that did not would break the order.
                let run = region.start.max(at)..region.end.min(range.end);
                // Its own buffer is half of ours. Where the walk ends in its second filling,
                // `walk_end` stays at the end of the first (`pagemap_scan_ioctl`, 6.18): what is
                // in the runs was walked all the same.
                next = next.max(run.end);
                if run.start < run.end {
                    found(run, entry(region.categories));
                }
            }
            if next <= at {
                break;
            }
            at = next;
        }
        Ok(())
    }

    /// One call: how many regions it filled, and how far it came. `unwanted`: categories that it leaves out.
    fn ask(&mut self, range: Range<u64>, unwanted: u64) -> io::Result<(usize, u64)> {
        let mut arg = ScanArg {
            size: size_of::<ScanArg>() as u64,
            start: range.start,
            end: range.end,
            vec: self.regions.as_mut_ptr() as u64,
            vec_len: self.regions.len() as u64,
            category_anyof_mask: IS_PRESENT | IS_SWAPPED,
            return_mask: self.returned & !unwanted,
            ..ScanArg::default()
        };
        loop {
            // SAFETY: `arg` has the layout of `struct pm_scan_arg` and says its size; `vec` and
            // `vec_len` are `self.regions`, which nothing else touches during the call. Flags are
            // 0, so the kernel only reads page tables.
            let result = unsafe {
                libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN as libc::Ioctl, &raw mut arg)
            };
            match usize::try_from(result) {
                Ok(count) => return Ok((count.min(self.regions.len()), arg.walk_end)),
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

const fn entry(categories: u64) -> Entry {
    Entry {
        present: categories & IS_PRESENT != 0,
        file: categories & IS_FILE != 0,
        zero: categories & IS_PFNZERO != 0,
        guard: categories & IS_GUARD != 0,
        huge: categories & IS_HUGE != 0,
    }
}
