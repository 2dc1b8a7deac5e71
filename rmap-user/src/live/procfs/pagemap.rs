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

use procfs::PhysicalPageFlags as Flags;

use super::entry::Entry;
use crate::trace::Segment;

/// Bit 55 upwards are flags, those below the frame number (0 without `CAP_SYS_ADMIN`).
const FRAME: u64 = (1 << 55) - 1;
const GUARD: u64 = 1 << 58;
const FILE: u64 = 1 << 61;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;

/// Pages that one call reads: those of several huge pages.
const BATCH: u64 = 4096;

/// Bytes of a huge page.
const HUGE: u64 = 2 << 20;

/// Flags of page frames, for root alone.
const FLAGS: &str = "/proc/kpageflags";

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
        // Up to a multiple of the batch's own size, so that no block of a huge page is cut.
        let want = ((range.end - at) / page).min(BATCH - at / page % BATCH);
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

/// Finds pages where `PAGEMAP_SCAN` is missing. Entries do not say whether they are huge: 2 MiB of
/// memory on a huge page's frames in their order are taken for it. Where the kernel hides frame
/// numbers, that and the zero page are not known.
pub(super) struct Walker<'a> {
    file: &'a File,
    page: u64,
    zero_frame: Option<u64>,
    flags: Option<File>,
    budget: u64,
}

impl<'a> Walker<'a> {
    pub(super) fn new(file: &'a File, page: u64) -> Self {
        let flags = File::open(FLAGS).ok();
        Self { file, page, zero_frame: zero_frame(page), flags, budget: SPARSE_BUDGET }
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
        let Self { file, page, zero_frame, flags, budget } = self;
        let page = *page;
        let half = *budget / 2 * page;
        let mut read = |range: Range<u64>| {
            entries(file, range, page, |start, words| {
                let mut at = start;
                let mut rest = words;
                while let Some(word) = rest.first() {
                    let huge = is_huge(at, rest, page, flags.as_ref());
                    let pages = if huge { (HUGE / page) as usize } else { 1 };
                    let end = at + pages as u64 * page;
                    if let Some(entry) = entry(*word, *zero_frame) {
                        found(at..end, Entry { huge, ..entry });
                        if !entry.zero && !entry.guard {
                            missing = missing.saturating_sub(end - at);
                        }
                    }
                    rest = &rest[pages..];
                    at = end;
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

/// Whether the entries begin with those of a huge page, which is mapped as a whole.
fn is_huge(at: u64, words: &[u64], page: u64, flags: Option<&File>) -> bool {
    let pages = (HUGE / page) as usize;
    if !at.is_multiple_of(HUGE) || words.len() < pages {
        return false;
    }
    let Some(first) = frame(words[0]).filter(|first| first.is_multiple_of(HUGE / page)) else {
        return false;
    };
    let same = FILE | GUARD;
    let follows = |(word, expected): (&u64, u64)| {
        frame(*word) == Some(expected) && (word ^ words[0]) & same == 0
    };
    // The last one tells of most blocks that they are none.
    if !follows((&words[pages - 1], first + pages as u64 - 1))
        || !words[..pages].iter().zip(first..).all(follows)
    {
        return false;
    }
    let mut bytes = [0; 8];
    flags.is_some_and(|file| file.read_exact_at(&mut bytes, first * 8).is_ok())
        && Flags::parse_info(u64::from_ne_bytes(bytes)).contains(Flags::THP)
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
