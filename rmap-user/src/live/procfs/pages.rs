//! Which pages of a process are there, and of what kind.
//!
//! Comes in: a process and its segments. Goes out: [`PageRun`]s, each inside one segment, in the
//! order of the addresses. The `Anonymous` and `File` runs of a segment add up to its Rss: what
//! smaps does not count (the zero page, vvar, device memory, hugetlb) is `Zero`. The `Swapped` runs
//! are those of page-table entries: swapped shared memory has none, though smaps counts it in Swap.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::entry::Entry;
use super::frame::Frames;
use super::pagemap::Walker;
use super::scan::Scanner;
use super::{Error, Task};
use crate::trace::{PageKind, PageRun, PageState, Segment};

pub(super) fn read(task: &Task, segments: &[Segment]) -> Result<Vec<PageRun>, Error> {
    let file = task.open("pagemap")?;
    let scanner = Scanner::new(&file);
    read_from(&file, scanner, segments).map_err(|e| task.error("pagemap", e))
}

/// With no scanner, reads entry by entry.
pub(super) fn read_from(
    file: &File,
    mut scanner: Option<Scanner<'_>>,
    segments: &[Segment],
) -> io::Result<Vec<PageRun>> {
    let page = procfs::page_size();
    let mut walker = Walker::new(file, page);
    let mut frames = Frames::new(file, page);
    let mut runs = Vec::new();
    for segment in segments.iter().filter(|s| is_user(s)) {
        let mut own = Runs::default();
        let found = |range: Range<u64>, entry: Entry| {
            if let Some(state) = state(segment, entry) {
                let huge = entry.huge && state != PageState::Swapped;
                let kind = PageKind {
                    state,
                    huge,
                    folio_dirty: None,
                    large_folio: None,
                    entry_dirty: None,
                };
                own.push(range, kind);
            }
        };
        match &mut scanner {
            Some(scanner) => {
                // The vdso has no file either, but its pages are none of anonymous memory.
                let private =
                    segment.is_private() && !segment.has_file() && segment.anonymous == segment.rss;
                scanner.scan(segment.start..segment.end, private, found)?;
            }
            None => walker.scan(segment, found)?,
        }
        if own.bytes(PageState::Anonymous) + own.bytes(PageState::File) > segment.rss {
            own = without_zero_pages(own, &mut frames, scanner.is_some())?;
        }
        if segment.dirty > 0 && own.bytes(PageState::File) > 0 {
            own = with_folios(own, &mut frames)?;
        }
        runs.append(&mut own.0);
    }
    Ok(runs)
}

/// `[vsyscall]` lies in the kernel's half, where pagemap has nothing to say.
fn is_user(segment: &Segment) -> bool {
    i64::try_from(segment.end).is_ok()
}

/// What an entry is, by smaps's own rules; `None`: nothing is there.
fn state(segment: &Segment, entry: Entry) -> Option<PageState> {
    let flag = |name: &str| segment.vm_flags.has(name);
    if entry.guard {
        return None;
    }
    if !entry.present {
        // A marker of userfaultfd's write protection looks like a swap entry.
        let marker = segment.swap == 0 && flag("uw");
        return (!marker && !flag("ht")).then_some(PageState::Swapped);
    }
    if entry.zero || flag("ht") {
        return Some(PageState::Zero);
    }
    if entry.file {
        return Some(PageState::File);
    }
    // Frames without a page (vvar, device memory) look anonymous, but are in no size of smaps.
    if segment.anonymous == 0 || flag("pf") {
        return Some(PageState::Zero);
    }
    Some(PageState::Anonymous)
}

/// Kernels differ in what they report the huge zero page as (a page of a file on 6.18, in
/// `pagemap`), so where there is more than smaps counts, the frames tell. `only_huge`: small zero
/// pages are known already.
fn without_zero_pages(runs: Runs, frames: &mut Frames<'_>, only_huge: bool) -> io::Result<Runs> {
    let mut all = Runs::default();
    for run in runs.0 {
        let counted = matches!(run.kind.state, PageState::Anonymous | PageState::File);
        if !counted || only_huge && !run.kind.huge {
            all.push(run.range, run.kind);
            continue;
        }
        frames.folios(run.range, |range, folio| {
            let zero = folio.is_some_and(|f| f.zero);
            let state = if zero { PageState::Zero } else { run.kind.state };
            all.push(range, PageKind { state, ..run.kind });
        })?;
    }
    Ok(all)
}

/// Splits the runs of page-cache pages by what their folios say.
fn with_folios(runs: Runs, frames: &mut Frames<'_>) -> io::Result<Runs> {
    let mut all = Runs::default();
    for run in runs.0 {
        if run.kind.state != PageState::File {
            all.push(run.range, run.kind);
            continue;
        }
        frames.folios(run.range, |range, folio| {
            let folio_dirty = folio.map(|f| f.dirty);
            let large_folio = folio.map(|f| f.large);
            all.push(range, PageKind { folio_dirty, large_folio, ..run.kind });
        })?;
    }
    Ok(all)
}

/// The runs of one segment.
#[derive(Default)]
struct Runs(Vec<PageRun>);

impl Runs {
    /// Adds a run behind the others, joined with the last where it can be.
    fn push(&mut self, range: Range<u64>, kind: PageKind) {
        match self.0.last_mut() {
            Some(last) if last.range.end == range.start && last.kind == kind => {
                last.range.end = range.end;
            }
            _ => self.0.push(PageRun { range, kind }),
        }
    }

    fn bytes(&self, state: PageState) -> u64 {
        self.0
            .iter()
            .filter(|run| run.kind.state == state)
            .map(|run| run.range.end - run.range.start)
            .sum()
    }
}
