//! Who made the pages of files and shared memory dirty, over all processes of a session: a page of
//! the page cache is dirty in every mapping of it, whoever wrote it.
//!
//! Comes in: faults in shared mappings, and what the kernel tells of dirty folios. Goes out: the
//! last writer of each page, which `reconcile` gives to the mappings that show it dirty.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::cause::Cause;
use super::path::StackRef;
use super::range_map::RangeMap;
use crate::trace::FileId;

/// Who wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// A traced process, with its stack if there is one.
    Traced(Option<StackRef>),
    /// A process that is not traced.
    Stranger,
}

/// A writer of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Who.
    pub by: By,
    /// How.
    pub cause: Cause,
    /// The thread.
    pub tid: u32,
    /// Its first write, on `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// Its last.
    pub last_ns: u64,
}

/// The last writers of the pages of all files.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// By file: bytes in it, and the writer's place in `writers`.
    pages: FxHashMap<FileId, RangeMap<u32>>,
    writers: Vec<Writer>,
    known: FxHashMap<(By, Cause, u32), u32>,
}

impl Files {
    /// Pages (as bytes in the file) were written.
    pub fn write(&mut self, file: FileId, range: Range<u64>, by: By, cause: Cause, at: (u32, u64)) {
        let writer = self.writer(by, cause, at);
        self.pages.entry(file).or_default().insert(range, writer);
    }

    /// The same, where nobody is known to have written.
    pub fn write_unknown(
        &mut self,
        file: FileId,
        range: Range<u64>,
        by: By,
        cause: Cause,
        at: (u32, u64),
    ) {
        let writer = self.writer(by, cause, at);
        let pages = self.pages.entry(file).or_default();
        for gap in pages.gaps(range) {
            pages.insert(gap, writer);
        }
    }

    /// The pages have no writer any more.
    pub fn forget(&mut self, file: FileId, range: Range<u64>) {
        if let Some(pages) = self.pages.get_mut(&file) {
            pages.cut(range);
        }
    }

    /// Who wrote the pages of a range last, where that is known.
    pub fn writers(
        &self,
        file: FileId,
        range: Range<u64>,
    ) -> impl Iterator<Item = (Range<u64>, Writer)> {
        self.pages.get(&file).into_iter().flat_map(move |pages| {
            pages
                .within(range.clone())
                .filter_map(|(part, writer)| Some((part, *self.writers.get(*writer as usize)?)))
        })
    }

    fn writer(&mut self, by: By, cause: Cause, (tid, time_ns): (u32, u64)) -> u32 {
        let writers = &mut self.writers;
        let number = *self.known.entry((by, cause, tid)).or_insert_with(|| {
            writers.push(Writer { by, cause, tid, first_ns: time_ns, last_ns: time_ns });
            u32::try_from(writers.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(writer) = self.writers.get_mut(number as usize) {
            writer.first_ns = writer.first_ns.min(time_ns);
            writer.last_ns = writer.last_ns.max(time_ns);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId { device: (254, 0), inode: 7 };

    fn found(files: &Files, range: Range<u64>) -> Vec<(Range<u64>, By)> {
        files.writers(FILE, range).map(|(part, writer)| (part, writer.by)).collect()
    }

    #[test]
    fn the_last_writer_of_a_page_is_known() {
        let mut files = Files::default();
        let one = By::Traced(Some(StackRef(1)));
        files.write(FILE, 0..0x4000, one, Cause::SharedWrite, (5, 10));
        files.write(FILE, 0x1000..0x2000, By::Stranger, Cause::PageCacheWrite, (6, 20));
        files.write_unknown(FILE, 0x3000..0x5000, By::Traced(None), Cause::SharedWrite, (5, 30));
        let parts = [
            (0..0x1000, one),
            (0x1000..0x2000, By::Stranger),
            (0x2000..0x4000, one),
            (0x4000..0x5000, By::Traced(None)),
        ];
        assert_eq!(found(&files, 0..0x8000), parts);
        files.forget(FILE, 0..0x3000);
        assert_eq!(found(&files, 0x3000..0x4000), [(0x3000..0x4000, one)]);
        assert_eq!(found(&files, 0..0x3000), []);
    }
}
