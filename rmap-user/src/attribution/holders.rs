//! One segment's pages at a snapshot, and whose they are: the same as [`super::count`] counts, page
//! by page.

use std::ops::Range;

use crate::model::{AddressSpace, Owner, PathId};
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
    let mut add = |range: Range<u64>, kind, owner| match holders.last_mut() {
        Some(last) if last.range.end == range.start && (last.kind, last.owner) == (kind, owner) => {
            last.range.end = range.end;
        }
        _ => holders.push(Holder { range, kind, owner }),
    };
    for (run, kind) in within(pages, segment.start..segment.end) {
        if is_resident(kind) {
            space.owners().walk_all(run, |part, owner| {
                add(part, kind, Owner { dirty: dirty(segment, kind, owner), ..owner });
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
