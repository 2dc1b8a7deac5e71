//! Reads `/proc/PID/pagemap`: one entry of 64 bits for each page.
//!
//! Comes in: the open file and a range of addresses. Goes out: entries. It serves frame numbers
//! to [`super::frame`], and stands in for `PAGEMAP_SCAN` on kernels before 6.7.
//!
//! Interface: `Documentation/admin-guide/mm/pagemap.rst`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::pages::Entry;
use crate::snapshot::Segment;

/// Bit 55 upwards are flags, those below the frame number (0 without `CAP_SYS_ADMIN`).
const FRAME: u64 = (1 << 55) - 1;
const GUARD: u64 = 1 << 58;
const FILE: u64 = 1 << 61;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;

/// Pages that one call reads.
const BATCH: u64 = 4096;

/// Segments up to this size are read to their end; of larger ones only until as much was found
/// as smaps says is there.
const READ_WHOLE: u64 = 1 << 30;

/// Entries that one snapshot may read in segments larger than [`READ_WHOLE`]: those of 64 GiB,
/// which takes a few tenths of a second. Reading one of many terabytes would take minutes.
const SPARSE_BUDGET: u64 = 1 << 24;

/// Reads the entries of a range in batches and hands each batch to `found` with the address of
/// its first page. `found` says whether to go on.
pub(super) fn entries(
    file: &File,
    range: Range<u64>,
    page: u64,
    mut found: impl FnMut(u64, &[u64]) -> bool,
) -> io::Result<()> {
    let pages = (range.end - range.start) / page;
    let mut bytes = vec![0; 8 * usize::try_from(pages.min(BATCH)).unwrap_or(0)];
    let mut words = Vec::with_capacity(bytes.len() / 8);
    let mut at = range.start;
    while at < range.end {
        let want = ((range.end - at) / page).min(BATCH);
        let Some(buffer) = usize::try_from(want).ok().and_then(|n| bytes.get_mut(..8 * n)) else {
            break;
        };
        let got = file.read_at(buffer, at / page * 8)?;
        words.clear();
        words.extend(buffer[..got].as_chunks().0.iter().map(|b| u64::from_ne_bytes(*b)));
        // Nothing: the memory is gone, or the addresses are not the process's own ([vsyscall]).
        if words.is_empty() || !found(at, &words) {
            break;
        }
        at += words.len() as u64 * page;
    }
    Ok(())
}

/// The frame number of an entry; `None` if there is no page, or if the kernel hides it.
pub(super) const fn frame(entry: u64) -> Option<u64> {
    if entry & PRESENT == 0 || entry & FRAME == 0 { None } else { Some(entry & FRAME) }
}

/// Finds pages where `PAGEMAP_SCAN` is missing. It cannot see which entries are huge,
/// nor, where the kernel hides frame numbers, which are the zero page.
pub(super) struct Walker<'a> {
    file: &'a File,
    page: u64,
    zero_frame: Option<u64>,
    budget: u64,
}

impl<'a> Walker<'a> {
    pub(super) fn new(file: &'a File, page: u64) -> Self {
        Self { file, page, zero_frame: zero_frame(page), budget: SPARSE_BUDGET }
    }

    /// Hands each run of entries of the segment to `found`, in the order of the addresses.
    ///
    /// Of a segment larger than the budget its start and its end are read, where programs that
    /// reserve much use it; pages in between are not found.
    pub(super) fn scan(
        &mut self,
        segment: &Segment,
        mut found: impl FnMut(Range<u64>, Entry),
    ) -> io::Result<()> {
        let sparse = segment.size() > READ_WHOLE;
        let mut missing = segment.rss.saturating_add(segment.swap);
        if missing == 0 {
            return Ok(());
        }
        let Self { file, page, zero_frame, budget } = self;
        let page = *page;
        let half = *budget / 2 * page;
        let mut read = |range: Range<u64>| {
            entries(file, range, page, |start, words| {
                let mut at = start;
                for word in words {
                    if let Some(entry) = entry(*word, *zero_frame) {
                        found(at..at + page, entry);
                        if !entry.zero && !entry.guard {
                            missing = missing.saturating_sub(page);
                        }
                    }
                    at += page;
                }
                if sparse {
                    *budget = budget.saturating_sub(words.len() as u64);
                }
                !sparse || missing > 0
            })?;
            Ok::<_, io::Error>((missing, *budget))
        };
        let (start, end) = (segment.start, segment.end);
        if !sparse {
            return read(start..end).map(drop);
        }
        let front = end.min(start.saturating_add(half));
        let (missing, left) = read(start..front)?;
        if missing > 0 {
            let back = front.max(end.saturating_sub(left.saturating_mul(page)));
            read(back..end)?;
        }
        Ok(())
    }
}

fn entry(word: u64, zero_frame: Option<u64>) -> Option<Entry> {
    if word & (PRESENT | SWAPPED | GUARD) == 0 {
        return None;
    }
    Some(Entry {
        present: word & PRESENT != 0,
        file: word & FILE != 0,
        zero: zero_frame.is_some() && frame(word) == zero_frame,
        guard: word & GUARD != 0,
        huge: false,
    })
}

/// The frame of the zero page: what a read of our own fresh memory maps.
fn zero_frame(page: u64) -> Option<u64> {
    let memory = memmap2::MmapMut::map_anon(usize::try_from(page).ok()?).ok()?;
    if std::hint::black_box(memory.first()) != Some(&0) {
        return None;
    }
    let file = File::open("/proc/self/pagemap").ok()?;
    let start = memory.as_ptr() as u64;
    let mut zero = None;
    entries(&file, start..start + page, page, |_, words| {
        zero = words.first().copied().and_then(frame);
        false
    })
    .ok()?;
    zero
}
