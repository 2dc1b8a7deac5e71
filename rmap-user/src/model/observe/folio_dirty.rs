//! Dirty pages of large folios that nobody wrote: the kernel marks a large folio dirty as a whole
//! when one page of it is written.
//!
//! Comes in: what a snapshot shows dirty, after all writers that are known have their pages. Goes
//! out: the other pages of such a folio as dirty by whoever mapped them with a write (since Linux
//! 6.18 one fault maps all of a folio), or by the only one who wrote to the folio. If several did,
//! nobody can say whose the rest is.

use std::ops::Range;

use crate::model::{AddressSpace, Cause, HUGE, PathId};
use crate::trace::pages::within;
use crate::trace::{PageKind, PageRun, PageState, Snapshot};

/// Gives dirty pages of large folios to who wrote the folio.
pub fn share(space: &mut AddressSpace, snapshot: &Snapshot) {
    if snapshot.moment.begins() {
        return;
    }
    let pages = snapshot.pages.as_deref().unwrap_or_default();
    for run in pages.iter().filter(|run| is_dirty_large(run.kind)) {
        mapped_by_a_write(space, run.range.clone());
    }
    for folio in units(space, pages, &snapshot.folios) {
        let Some(path) = only_writer(space, pages, &folio) else { continue };
        for part in unwritten(space, pages, folio) {
            space.owners.claim(part, None, Some(path));
        }
    }
}

const fn is_dirty_large(kind: PageKind) -> bool {
    matches!(
        (kind.state, kind.folio_dirty, kind.large_folio),
        (PageState::File, Some(true), Some(true))
    )
}

/// Pages that a write fault mapped are dirty by it, whichever of them it was on.
fn mapped_by_a_write(space: &mut AddressSpace, run: Range<u64>) {
    let mut found = Vec::new();
    space.owners.walk(run, |part, owner| {
        let cause = space.paths.get(owner.resident).map(|path| path.cause);
        if owner.dirty.is_none() && cause == Some(Cause::SharedWrite) {
            found.push((part, owner.resident));
        }
    });
    for (part, path) in found {
        space.owners.claim(part, None, Some(path));
    }
}

/// Ranges that are dirty together: folios where they are known, otherwise pages of large folios
/// that stand together in one mapping and one page table.
fn units(space: &AddressSpace, pages: &[PageRun], folios: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut units: Vec<Range<u64>> = Vec::new();
    for run in pages.iter().filter(|run| is_dirty_large(run.kind)) {
        for (piece, _) in space.mappings.vmas().within(run.range.clone()) {
            let mut at = piece.start;
            while at < piece.end {
                let next = folios.partition_point(|folio| folio.end <= at);
                let known = folios.get(next).filter(|folio| folio.start < piece.end);
                let end = match known {
                    Some(folio) if folio.contains(&at) => folio.end,
                    Some(folio) => folio.start,
                    None => piece.end,
                };
                let table = (at & !(HUGE - 1)).saturating_add(HUGE);
                let unit = at..end.min(piece.end).min(table);
                at = unit.end;
                units.push(unit);
            }
        }
    }
    units
}

/// The path that wrote pages of a folio, if it is one alone.
fn only_writer(space: &AddressSpace, pages: &[PageRun], folio: &Range<u64>) -> Option<PathId> {
    let mut writers = Vec::new();
    for (run, _) in within(pages, folio.clone()).filter(|(_, kind)| is_dirty_large(*kind)) {
        space.owners.walk(run, |_, owner| {
            if owner.dirty.is_some() && !writers.contains(&owner.dirty) {
                writers.push(owner.dirty);
            }
        });
    }
    let [writer] = writers[..] else { return None };
    space.paths.get(writer).is_some().then_some(writer)
}

/// Dirty pages of a folio that nobody wrote.
fn unwritten(space: &AddressSpace, pages: &[PageRun], folio: Range<u64>) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for (run, _) in within(pages, folio).filter(|(_, kind)| is_dirty_large(*kind)) {
        space.owners.walk_all(run, |part, owner| {
            if owner.dirty.is_none() {
                found.push(part);
            }
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Call, InstanceId, Origin, PAGE, StackRef, Vma};
    use crate::trace::{MmKey, Moment};

    const AT: u64 = 0x7f00_0000_0000;

    fn pages(numbers: Range<u64>) -> Range<u64> {
        AT + numbers.start * PAGE..AT + numbers.end * PAGE
    }

    fn space() -> AddressSpace {
        let mut space = AddressSpace::new(MmKey(0));
        let actor = Actor { pid: 1, tid: 1, time_ns: 0, stack: None };
        let vma = Vma {
            instance: InstanceId::UNKNOWN,
            origin: Origin { call: Call::Mmap, actor },
            file: true,
            shared: true,
            grows_down: false,
            inherited: false,
            prot: 3,
            base: AT,
            id: None,
        };
        space.mappings.map(pages(0..64), vma);
        space
    }

    fn snapshot(folios: &[Range<u64>]) -> Snapshot {
        let kind = PageKind {
            state: PageState::File,
            huge: false,
            folio_dirty: Some(true),
            large_folio: Some(true),
            entry_dirty: None,
        };
        Snapshot {
            time_ns: 0,
            pid: 1,
            moment: Moment::AtExit,
            segments: Vec::new(),
            pages: Some(vec![PageRun { range: pages(0..32), kind }]),
            folios: folios.iter().cloned().map(pages).collect(),
            peak_rss: 0,
            threads: Vec::new(),
        }
    }

    fn path(space: &mut AddressSpace, stack: u32, cause: Cause) -> PathId {
        space.paths.intern(Some(StackRef(stack)), cause)
    }

    #[test]
    fn the_only_writer_of_a_folio_has_all_of_its_dirt() {
        for folios in [&[0..16, 16..32][..], &[]] {
            let mut space = space();
            let read = path(&mut space, 1, Cause::FileRead);
            let write = path(&mut space, 2, Cause::SharedWrite);
            space.owners.claim(pages(0..32), Some(read), None);
            space.owners.claim(pages(3..4), None, Some(write));
            space.owners.claim(pages(20..21), None, Some(write));
            share(&mut space, &snapshot(folios));
            assert_eq!(space.owners.get(AT).dirty, write);
            assert_eq!(space.owners.get(AT + 31 * PAGE).dirty, write);
        }
    }

    #[test]
    fn a_folio_of_two_writers_is_shared_as_far_as_is_known() {
        let mut space = space();
        let read = path(&mut space, 1, Cause::FileRead);
        let one = path(&mut space, 2, Cause::SharedWrite);
        let other = path(&mut space, 3, Cause::SharedWrite);
        space.owners.claim(pages(0..32), Some(read), None);
        space.owners.claim(pages(3..4), None, Some(one));
        space.owners.claim(pages(5..6), None, Some(other));
        space.owners.claim(pages(20..21), None, Some(other));
        share(&mut space, &snapshot(&[0..16, 16..32]));
        assert_eq!(space.owners.get(AT).dirty, PathId::NONE, "either may have");
        assert_eq!(space.owners.get(AT + 31 * PAGE).dirty, other);
    }

    #[test]
    fn a_write_fault_dirties_each_page_that_it_mapped() {
        let mut space = space();
        let one = path(&mut space, 2, Cause::SharedWrite);
        let other = path(&mut space, 3, Cause::SharedWrite);
        space.owners.claim(pages(0..16), Some(one), None);
        space.owners.claim(pages(3..4), None, Some(other));
        share(&mut space, &snapshot(&[0..16, 16..24]));
        assert_eq!(space.owners.get(AT).dirty, one);
        assert_eq!(space.owners.get(AT + 3 * PAGE).dirty, other);
        assert_eq!(space.owners.get(AT + 20 * PAGE).dirty, PathId::NONE, "another folio");
    }
}
