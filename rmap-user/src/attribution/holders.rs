//! One segment's pages at a snapshot, and whose they are: the same as [`super::count`] counts, page
//! by page.

use std::ops::Range;

use crate::model::{AddressSpace, Cause, Owner, PathId};
use crate::trace::pages::{is_resident, within};
use crate::trace::{PageKind, PageState, Segment, Snapshot};

/// Neighbouring pages of one kind with one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Addresses.
    pub range: Range<u64>,
    /// What they are.
    pub kind: PageKind,
    /// Who made them resident, and who made them dirty.
    pub owner: Owner,
}

/// Whose the pages of a segment are, in the order of their addresses. Nothing where the pages were
/// not read, or where smaps counts them apart (hugetlbfs).
#[must_use]
pub fn holders(space: &AddressSpace, snapshot: &Snapshot, segment: &Segment) -> Vec<Holder> {
    let mut holders: Vec<Holder> = Vec::new();
    let Some(pages) = &snapshot.pages else { return holders };
    if segment.hugetlb > 0 || segment.vm_flags.has("ht") {
        return holders;
    }
    // Bytes that MADV_FREE gave up, and that were not written since.
    let mut still = segment.lazy_free;
    let mut add = |range: Range<u64>, kind, owner| match holders.last_mut() {
        Some(last) if last.range.end == range.start && (last.kind, last.owner) == (kind, owner) => {
            last.range.end = range.end;
        }
        _ => holders.push(Holder { range, kind, owner }),
    };
    for (run, kind) in within(pages, segment.start..segment.end) {
        if is_resident(kind) {
            space.owners().walk_all(run, |part, owner| {
                let owner = Owner { dirty: dirty(segment, kind, owner), ..owner };
                let may_be_given_up = kind.state == PageState::Anonymous
                    && owner.dirty.is_none()
                    && kind.entry_dirty != Some(true);
                if !may_be_given_up {
                    return add(part, kind, owner);
                }
                let mut at = part.start;
                for (given, stack) in space.lazy_free().within(part.clone()) {
                    if at < given.start {
                        add(at..given.start, kind, owner);
                    }
                    at = given.end;
                    let giver = space.paths().find(*stack, Cause::GivenUp);
                    // As many as smaps counts, in the order in which the table counts them.
                    let kept = giver.map_or(0, |_| (given.end - given.start).min(still));
                    still -= kept;
                    let (to, rest) = (given.start + kept, given.end);
                    if kept > 0 {
                        let resident = giver.unwrap_or(owner.resident);
                        add(given.start..to, kind, Owner { resident, ..owner });
                    }
                    if to < rest {
                        add(to..rest, kind, owner);
                    }
                }
                if at < part.end {
                    add(at..part.end, kind, owner);
                }
            });
        } else {
            add(run, kind, Owner::default());
        }
    }
    holders
}

/// To whom a page's dirtiness is counted, if it is dirty at all.
fn dirty(segment: &Segment, kind: PageKind, owner: Owner) -> PathId {
    match kind.state {
        PageState::Anonymous => owner.dirty,
        // A page of the page cache in a private mapping is not the copy that a path wrote, and one
        // that was written back is clean.
        PageState::File if segment.is_private() && owner.dirty != PathId::BEFORE => PathId::NONE,
        PageState::File if kind.folio_dirty == Some(false) => PathId::NONE,
        PageState::File => owner.dirty,
        PageState::Zero | PageState::Swapped => PathId::NONE,
    }
}
