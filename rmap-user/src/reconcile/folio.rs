//! Large folios of files that one fault mapped as a whole: since Linux 6.18 `finish_fault` does so
//! where the folio was not at hand for fault-around (locked, for one), and no other fault of its
//! pages follows. The probe looks at the 128 KiB around the fault, so the rest has no owner yet.
//!
//! Comes in: resident pages that nobody owns, after all who may have brought them otherwise. Goes
//! out: those of large folios as claims of the one path that mapped neighbours of theirs.
//!
//! Which pages are one folio is not told, only which are part of a large one. So all large folios
//! that stand together count as one, within a mapping and a page table, beyond which no fault goes;
//! where several paths own some of them, nobody can tell whose the rest is.

use std::ops::Range;

use super::pages::within;
use crate::model::{AddressSpace, HUGE, PathId};
use crate::snapshot::{PageKind, PageRun, PageState};

/// Gives the pages to their owners; `first` tells a path's first thread and time.
pub fn give(
    space: &mut AddressSpace,
    pages: &[PageRun],
    unowned: Vec<(Range<u64>, PageKind)>,
    first: impl Fn(&AddressSpace, &Range<u64>, PathId) -> (u32, u64),
) {
    for (run, _) in unowned.into_iter().filter(|(_, kind)| is_large(*kind)) {
        let mut at = run.start;
        while at < run.end {
            let table = at & !(HUGE - 1)..(at & !(HUGE - 1)) + HUGE;
            let part = at..run.end.min(table.end);
            at = part.end;
            let Some((mapping, _)) = space.mappings.vmas().find(part.start) else { continue };
            let bounds = table.start.max(mapping.start)..table.end.min(mapping.end);
            let part = part.start..part.end.min(bounds.end);
            if let Some(path) = only_owner(space, &stretch(pages, bounds, part.start)) {
                let by = first(space, &part, path);
                space.claim_found(part, path, false, by);
            }
        }
    }
}

const fn is_large(kind: PageKind) -> bool {
    matches!((kind.state, kind.large_folio), (PageState::File, Some(true)))
}

/// The pages of large folios that stand together around an address.
fn stretch(pages: &[PageRun], bounds: Range<u64>, address: u64) -> Range<u64> {
    let mut found = address..address;
    let mut current: Option<Range<u64>> = None;
    for (run, _) in within(pages, bounds).filter(|(_, kind)| is_large(*kind)) {
        let joined = match current.take() {
            Some(before) if before.end == run.start => before.start..run.end,
            _ => run,
        };
        if joined.contains(&address) {
            found = joined.clone();
        }
        current = Some(joined);
    }
    found
}

/// The path that mapped pages of the range from the page cache, if it is one alone.
fn only_owner(space: &AddressSpace, range: &Range<u64>) -> Option<PathId> {
    let mut owners = Vec::new();
    space.owners.walk(range.clone(), |_, owner| {
        let cause = space.paths.get(owner.resident).map(|path| path.cause);
        if cause.is_some_and(|cause| cause.maps_page_cache()) && !owners.contains(&owner.resident) {
            owners.push(owner.resident);
        }
    });
    if let [path] = owners[..] { Some(path) } else { None }
}
