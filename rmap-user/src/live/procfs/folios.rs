//! Where large folios of files lie in a process: whose pages one fault has mapped together.
//!
//! Comes in: a process's segments and its pages. Goes out: the address ranges of folios of which a
//! page is mapped and that lie in one page table as a whole. Pages of such a range may have private
//! copies, or be unmapped since: a mapping may have been cut after the fault that mapped the folio.
//!
//! Interface: as [`super::frame`].

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use procfs::PhysicalPageFlags as Flags;

use super::frame::Frames;
use super::{Error, Task, pagemap};
use crate::trace::{PageRun, PageState, Segment};

/// Bytes that one page table maps.
const TABLE: u64 = 2 << 20;
/// Frames of which the flags are read at once, from a multiple of their number on. Folios are aligned
/// to their size in memory too, and most are not larger.
const TOGETHER: u64 = 32;
/// No folio that lies in one page table has more frames.
const LARGEST: u64 = 512;
/// So many reads are a hundredth of a second. What lies behind is not told.
const READS: u32 = 8192;

/// How long a folio is taken for the one that it was: it may be split, or its memory used again.
const KNOWN_TIME: Duration = Duration::from_secs(1);
/// Pages of which the folio is remembered at most.
const KNOWN_MAX: usize = 1 << 16;

/// The folios of pages that were looked at a moment ago. Programs that are run one after the other map
/// the same pages of the same libraries, and each page of a small folio is a read of its own.
#[derive(Debug, Default)]
pub struct KnownFolios {
    /// By the frame: the file's inode and the page in it, and the first frame and the number of frames of
    /// its large folio (0: it is in none).
    pages: FxHashMap<u64, (u64, u64, u64, u32)>,
    since: Option<Instant>,
}

impl KnownFolios {
    /// Forgets what is too old.
    fn begin(&mut self) {
        let old = self.since.is_none_or(|since| since.elapsed() > KNOWN_TIME);
        if old || self.pages.len() > KNOWN_MAX {
            self.pages.clear();
            self.since = Some(Instant::now());
        }
    }

    /// The folio of a page of a file; `None`: it is not known.
    fn get(&self, frame: u64, file: (u64, u64)) -> Option<Option<Range<u64>>> {
        let (inode, page, first, frames) = *self.pages.get(&frame)?;
        let folio = (frames > 0).then(|| first..first + u64::from(frames));
        ((inode, page) == file).then_some(folio)
    }

    fn put(&mut self, frame: u64, (inode, page): (u64, u64), folio: Option<&Range<u64>>) {
        let (first, frames) = folio.map_or((0, 0), |folio| (folio.start, folio.end - folio.start));
        let frames = u32::try_from(frames).unwrap_or(0);
        self.pages.insert(frame, (inode, page, first, frames));
    }
}

pub(super) fn find(
    task: &Task,
    segments: &[Segment],
    pages: &[PageRun],
    known: &mut KnownFolios,
) -> Result<Vec<Range<u64>>, Error> {
    known.begin();
    let file = task.open("pagemap")?;
    let page = procfs::page_size();
    let mut flags =
        Window { frames: Frames::new(&file, page), first: None, flags: vec![], reads: 0 };
    let mut found: Vec<Range<u64>> = Vec::new();
    // The last folio: its frames, and the address at which the first of them would lie.
    let mut last = (0..0, 0);
    for segment in segments {
        let first = pages.partition_point(|run| run.range.end <= segment.start);
        let own = pages[first..].iter().take_while(|run| run.range.start < segment.end);
        for run in own.filter(|r| r.kind.state == PageState::File && !r.kind.huge) {
            if flags.reads > READS {
                return Ok(found);
            }
            let mut failed = None;
            pagemap::entries(&file, run.range.clone(), page, |start, words| {
                for (at, word) in (start..).step_by(page as usize).zip(words) {
                    let Some(frame) = pagemap::frame(*word) else { continue };
                    let begins = |first: u64| at.wrapping_sub((frame.wrapping_sub(first)) * page);
                    if last.0.contains(&frame) && begins(last.0.start) == last.1 {
                        continue;
                    }
                    let in_file = (at - segment.start).saturating_add(segment.offset) / page;
                    let file = (segment.inode, in_file);
                    let folio = match known.get(frame, file) {
                        Some(folio) => Ok(folio),
                        None => flags.folio(frame).inspect(|folio| {
                            known.put(frame, file, folio.as_ref());
                        }),
                    };
                    match folio {
                        Ok(Some(folio)) => {
                            let start = begins(folio.start);
                            let end = start.saturating_add((folio.end - folio.start) * page);
                            // What is mapped of a folio that leaves its page table is mapped page
                            // by page.
                            let behind = found.last().is_none_or(|before| before.end <= start);
                            if behind && start < end && start / TABLE == (end - 1) / TABLE {
                                found.push(start..end);
                            }
                            last = (folio, start);
                        }
                        Ok(None) => {}
                        Err(e) => failed = Some(e),
                    }
                    if failed.is_some() || flags.reads > READS {
                        return false;
                    }
                }
                true
            })
            .map_err(|e| task.error("pagemap", e))?;
            if let Some(e) = failed {
                return Err(task.error("pagemap", e));
            }
        }
    }
    Ok(found)
}

/// Flags of some frames in a row.
struct Window<'a> {
    frames: Frames<'a>,
    /// The first of them; `None`: none were read yet.
    first: Option<u64>,
    flags: Vec<Flags>,
    reads: u32,
}

impl Window<'_> {
    /// The frames of the large folio that a frame is part of; `None`: it is none.
    fn folio(&mut self, frame: u64) -> io::Result<Option<Range<u64>>> {
        let (mut start, mut end) = (frame, frame + 1);
        while self.has(start, Flags::COMPOUND_TAIL)? && frame - start < LARGEST {
            start = start.saturating_sub(1);
        }
        if !self.has(start, Flags::COMPOUND_HEAD)? {
            return Ok(None);
        }
        while self.has(end, Flags::COMPOUND_TAIL)? && end - start <= LARGEST {
            end += 1;
        }
        Ok((end - start <= LARGEST).then_some(start..end))
    }

    /// Whether a frame has a flag. Where its flags are not read yet, those around it are read too.
    fn has(&mut self, frame: u64, flag: Flags) -> io::Result<bool> {
        let first = frame / TOGETHER * TOGETHER;
        if self.first != Some(first) {
            self.frames.read(first, TOGETHER as usize, &mut self.flags)?;
            self.first = Some(first);
            self.reads += 1;
        }
        let flags = self.flags.get((frame - first) as usize);
        Ok(flags.is_some_and(|flags| flags.contains(flag)))
    }
}
