//! Flags of page frames, from `/proc/kpageflags` (root only).
//!
//! Comes in: pages of a process, by their addresses. Goes out: what the kernel says of the folio
//! behind each: dirty, large, the zero page.
//!
//! Interface: `Documentation/admin-guide/mm/pagemap.rst`, `include/uapi/linux/kernel-page-flags.h`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use procfs::PhysicalPageFlags as Flags;

use super::pagemap;

/// Frames that one call reads.
const BATCH: usize = 512;

/// Folios of the page cache are aligned to their size and have at most this many pages
/// (`MAX_PAGECACHE_ORDER`, 11 at most).
const LARGEST_FOLIO: u64 = 1 << 11;

/// What is known of the folio behind a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folio {
    pub(super) dirty: bool,
    pub(super) large: bool,
    pub(super) zero: bool,
}

/// Looks up the frames of one process's pages.
pub(super) struct Frames<'a> {
    pagemap: &'a File,
    page: u64,
    flags: Option<File>,
    /// The last head that was looked for, with its answer: pages of one folio come in a row.
    head: Option<(Range<u64>, bool)>,
}

impl<'a> Frames<'a> {
    /// `/proc/kpageflags` may be missing or refused: then nothing is known of any page.
    pub(super) fn new(pagemap: &'a File, page: u64) -> Self {
        let flags = File::open("/proc/kpageflags").ok();
        Self { pagemap, page, flags, head: None }
    }

    /// Hands each page of the range to `found`, with its folio as far as it could be read.
    pub(super) fn folios(
        &mut self,
        range: Range<u64>,
        mut found: impl FnMut(Range<u64>, Option<Folio>),
    ) -> io::Result<()> {
        let (file, page) = (self.pagemap, self.page);
        let mut at = range.start;
        let mut unread = Ok(());
        pagemap::entries(file, range.clone(), page, |start, words| {
            at = start;
            let frames: Vec<Option<u64>> = words.iter().map(|w| pagemap::frame(*w)).collect();
            let mut rest = frames.as_slice();
            while let Some(first) = rest.first() {
                let together = consecutive(rest).min(BATCH);
                let (run, after) = rest.split_at(together);
                rest = after;
                let folios = first.map_or_else(|| Ok(Vec::new()), |f| self.run(f, run.len()));
                let folios = match folios {
                    Ok(folios) => folios,
                    Err(e) => {
                        unread = Err(e);
                        return false;
                    }
                };
                for index in 0..run.len() {
                    found(at..at + page, folios.get(index).copied());
                    at += page;
                }
            }
            true
        })?;
        unread?;
        // What could not be read is there all the same.
        if at < range.end {
            found(at..range.end, None);
        }
        Ok(())
    }

    /// The folios of frames in a row; fewer where the kernel has none.
    fn run(&mut self, first: u64, count: usize) -> io::Result<Vec<Folio>> {
        let mut flags = Vec::new();
        self.read(first, count, &mut flags)?;
        let mut folios = Vec::with_capacity(flags.len());
        for (frame, flags) in (first..).zip(flags) {
            let tail = flags.contains(Flags::COMPOUND_TAIL);
            let mut dirty = flags.contains(Flags::DIRTY);
            if tail && !dirty {
                dirty = self.head_is_dirty(frame)?;
            }
            folios.push(Folio {
                dirty,
                large: tail || flags.contains(Flags::COMPOUND_HEAD),
                zero: flags.contains(Flags::ZERO_PAGE),
            });
        }
        Ok(folios)
    }

    /// A folio is dirty as a whole. Older kernels report each page's own flags, and a
    /// tail has none; so its head is looked for: the nearest one below.
    fn head_is_dirty(&mut self, tail: u64) -> io::Result<bool> {
        if let Some((folio, dirty)) = &self.head
            && folio.contains(&tail)
        {
            return Ok(*dirty);
        }
        let lowest = tail & !(LARGEST_FOLIO - 1);
        let (mut end, mut flags) = (tail, Vec::new());
        while end > lowest {
            let start = end.saturating_sub(BATCH as u64).max(lowest);
            self.read(start, usize::try_from(end - start).unwrap_or(BATCH), &mut flags)?;
            let head = flags.iter().rposition(|f| f.contains(Flags::COMPOUND_HEAD));
            if let Some(index) = head {
                let dirty = flags[index].contains(Flags::DIRTY);
                self.head = Some((start + index as u64..tail + 1, dirty));
                return Ok(dirty);
            }
            end = start;
        }
        Ok(false)
    }

    /// Puts the flags of so many frames in a row, of [`BATCH`] at most, in place of what is in
    /// `flags`; fewer where the kernel has none.
    pub(super) fn read(&self, first: u64, count: usize, flags: &mut Vec<Flags>) -> io::Result<()> {
        flags.clear();
        let Some(file) = &self.flags else { return Ok(()) };
        let mut bytes = [0; 8 * BATCH];
        let bytes = &mut bytes[..8 * count.min(BATCH)];
        let got = file.read_at(bytes, first.saturating_mul(8))?;
        let words = bytes[..got].as_chunks().0;
        flags.extend(words.iter().map(|b| Flags::parse_info(u64::from_ne_bytes(*b))));
        Ok(())
    }
}

/// How many frames from the first on lie in a row (or are all unknown).
fn consecutive(frames: &[Option<u64>]) -> usize {
    let follows = |pair: &[Option<u64>]| match (pair[0], pair[1]) {
        (Some(a), Some(b)) => a.checked_add(1) == Some(b),
        (None, None) => true,
        _ => false,
    };
    1 + frames.windows(2).take_while(|pair| follows(pair)).count()
}

#[cfg(test)]
mod tests {
    use super::consecutive;

    #[test]
    fn frames_in_a_row_are_read_together() {
        assert_eq!(consecutive(&[Some(7), Some(8), Some(9), Some(11)]), 3);
        assert_eq!(consecutive(&[None, None, Some(3)]), 2);
        assert_eq!(consecutive(&[Some(u64::MAX), None]), 1);
    }
}
