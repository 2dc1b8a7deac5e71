//! Claims that only a snapshot can decide: which pages fault-around brought, which were populated,
//! copied by fork, loaded by exec, or there before.

use std::ops::Range;

use super::folios;
use crate::model::{AddressSpace, Call, Cause, HUGE, Owner, PAGE, PageOwners, PathId, RangeMap};
use crate::trace::pages::{is_resident, within};
use crate::trace::{Moment, PageKind, PageRun, PageState, Snapshot};

/// Gives pages that are there, and that nobody owns, to those who must have brought them.
pub(super) fn resolve_pending(space: &mut AddressSpace, snapshot: &Snapshot) {
    let Some(pages) = &snapshot.pages else { return };
    if snapshot.moment.begins() {
        before(space, pages);
        return;
    }
    taken_back(space, pages, snapshot.moment);
    decide_doubts(space, pages, snapshot.moment);
    if snapshot.moment.stands() {
        for run in pages.iter().filter(|run| run.kind.state == PageState::Swapped) {
            space.swapped_out(run.range.clone());
        }
    }
    if space.lost.is_empty() {
        folios::whole(space, snapshot, first_of);
    }
    counted(space, pages);
    replaced_by_populate(space, pages);
    for (run, kind) in unowned(space, pages) {
        by_call(space, run, kind, snapshot.moment);
    }
    unnamed(space, pages);
    uncounted(space, pages);
    // While the process runs, the event of a page's own fault may still be on its way.
    if snapshot.moment.stands() {
        let left = unowned(space, pages);
        folios::give(space, pages, left, first_of);
    }
    space.fork_shown |= snapshot.moment == Moment::Forked;
    if snapshot.moment == Moment::Executed || space.fresh_exec.is_some() {
        space.fresh_exec = None;
    }
}

/// Pages that nobody owns were there before tracing began.
fn before(space: &mut AddressSpace, pages: &[PageRun]) {
    for (run, kind) in unowned(space, pages) {
        let dirty = kind.state == PageState::Anonymous || kind.folio_dirty == Some(true);
        space.owners.claim(run, Some(PathId::BEFORE), dirty.then_some(PathId::BEFORE));
    }
}

/// Resident pages that nobody made resident.
fn unowned(space: &AddressSpace, pages: &[PageRun]) -> Vec<(Range<u64>, PageKind)> {
    let mut found = Vec::new();
    for run in pages.iter().filter(|run| is_resident(run.kind)) {
        let free = free(&space.owners, &space.lost, run.range.clone());
        found.extend(free.into_iter().map(|part| (part, run.kind)));
    }
    found
}

/// Pages that were given up by `MADV_FREE` and are not there. While the process runs, the page map
/// may be older than the last event.
fn taken_back(space: &mut AddressSpace, pages: &[PageRun], moment: Moment) {
    if !moment.stands() {
        return;
    }
    let given_up: Vec<_> = space.lazy_free.iter().map(|(range, _)| range).collect();
    for range in given_up {
        let mut at = range.start;
        for (run, _) in within(pages, range.clone()) {
            space.taken_back(at..run.start);
            at = run.end;
        }
        space.taken_back(at..range.end);
    }
}

/// Pages that a call which failed may have given back: it did where they are not there.
fn decide_doubts(space: &mut AddressSpace, pages: &[PageRun], moment: Moment) {
    if !moment.stands() || space.doubts.is_empty() {
        return;
    }
    let doubts: Vec<_> = space.doubts.iter().map(|(range, _)| range).collect();
    for range in doubts {
        let mut at = range.start;
        for (run, _) in within(pages, range.clone()) {
            space.doubt_confirmed(at..run.start);
            at = run.end;
        }
        space.doubt_confirmed(at..range.end);
        // What is there was not given back.
        space.doubts.cut(range);
    }
}

/// The parts of a range that nobody owns, and that cannot be anybody's whose events were lost.
fn free(owners: &PageOwners, lost: &RangeMap<()>, range: Range<u64>) -> Vec<Range<u64>> {
    let mut free = Vec::new();
    owners.walk_all(range, |part, owner| match (owner.resident.is_none(), lost.is_empty()) {
        (true, true) => free.push(part),
        (true, false) => free.extend(lost.gaps(part)),
        (false, _) => {}
    });
    free
}

/// Claims of so many pages in a window, the oldest first.
fn counted(space: &mut AddressSpace, pages: &[PageRun]) {
    let (owners, lost) = (&mut space.owners, &space.lost);
    space.around.settle(|start, candidate| {
        for (run, kind) in within(pages, start..candidate.end) {
            if candidate.remaining == 0 {
                break;
            }
            if !is_resident(kind) {
                continue;
            }
            for part in free(owners, lost, run) {
                let count = ((part.end - part.start) / PAGE).min(u64::from(candidate.remaining));
                let part = part.start..part.start + count * PAGE;
                owners.claim(part, Some(candidate.path), None);
                candidate.remaining -= count as u32;
            }
        }
        // What is not there now may come to light at a later snapshot.
        candidate.remaining > 0 || !candidate.exact
    });
}

/// Pages in a window whose count was not exact go to the oldest claim over them.
fn uncounted(space: &mut AddressSpace, pages: &[PageRun]) {
    let mut open = Vec::new();
    space.around.settle(|start, candidate| {
        if !candidate.exact {
            open.push((start, *candidate));
        }
        true
    });
    for (start, candidate) in open {
        for (run, _) in within(pages, start..candidate.end).filter(|(_, kind)| is_resident(*kind)) {
            for part in free(&space.owners, &space.lost, run) {
                let (tid, time_ns) = first_of(space, &part, candidate.path);
                space.claim_found(part, candidate.path, false, (tid, time_ns));
            }
        }
    }
}

/// Pages that came with no fault, no address, and that nobody else can have brought: if only one
/// path is known that did so, they are its own. Of several nobody can tell whose they are.
fn unnamed(space: &mut AddressSpace, pages: &[PageRun]) {
    let [by] = space.unplaced.by[..] else { return };
    let mut left = by.pages;
    let mut placed = 0;
    for (run, kind) in unowned(space, pages) {
        let each = if kind.huge { HUGE } else { PAGE };
        let size = (run.end - run.start).min(left.saturating_mul(each));
        if size == 0 {
            break;
        }
        left -= size.div_ceil(each);
        placed += size.div_ceil(each);
        let dirty = kind.state == PageState::Anonymous || kind.folio_dirty == Some(true);
        space.claim_found(run.start..run.start + size, by.path, dirty, (by.tid, by.time_ns));
    }
    let unplaced = &mut space.unplaced;
    let budget = if by.own { &mut unplaced.pinned } else { &mut unplaced.remote };
    *budget = budget.saturating_sub(placed);
    unplaced.by[0].pages = left;
}

/// The thread and the time of a path's claim in a mapping.
fn first_of(space: &AddressSpace, part: &Range<u64>, path: PathId) -> (u32, u64) {
    space
        .instances_in(part.clone())
        .into_iter()
        .flat_map(|(_, instance)| space.mappings.stats(instance))
        .find(|(of, _)| *of == path)
        .map_or((0, 0), |(_, stats)| (stats.tids.first().copied().unwrap_or(0), stats.first_ns))
}

/// `mlock` and `MADV_POPULATE_WRITE` put private copies in the place of a file's pages.
fn replaced_by_populate(space: &mut AddressSpace, pages: &[PageRun]) {
    let ranges: Vec<_> = space.populated.iter().map(|(range, by)| (range, *by)).collect();
    for (range, by) in ranges.into_iter().filter(|(_, by)| by.write) {
        let mut copies = Vec::new();
        for (run, kind) in within(pages, range) {
            let dirty = kind.state == PageState::Anonymous || kind.folio_dirty == Some(true);
            if !dirty || !is_resident(kind) {
                continue;
            }
            space.owners.walk(run, |part, owner: Owner| {
                let cause = space.paths.get(owner.resident).map(|path| path.cause);
                if owner.dirty.is_none() && cause.is_some_and(Cause::maps_page_cache) {
                    copies.push((part, kind.state));
                }
            });
        }
        for (part, state) in copies {
            match state {
                PageState::Anonymous => {
                    space.claim_found(part, by.path, true, (by.tid, by.time_ns));
                }
                PageState::File | PageState::Zero | PageState::Swapped => {
                    space.owners.claim(part, None, Some(by.path));
                }
            }
        }
    }
}

/// Pages that a call brought in with no fault: populate, exec, fork, collapse.
fn by_call(space: &mut AddressSpace, run: Range<u64>, kind: PageKind, moment: Moment) {
    let anonymous = kind.state == PageState::Anonymous;
    let mut rest = Vec::new();
    let populated: Vec<_> =
        space.populated.within(run.clone()).map(|(part, by)| (part, *by)).collect();
    rest.extend(space.populated.gaps(run));
    for (part, by) in populated {
        let dirty = anonymous || (by.write && kind.folio_dirty == Some(true));
        space.claim_found(part, by.path, dirty, (by.tid, by.time_ns));
    }
    for part in std::mem::take(&mut rest) {
        locked(space, part, anonymous, &mut rest);
    }
    if let Some(actor) = space.fresh_exec {
        let path = space.paths.intern(None, Cause::Exec);
        let all = moment == Moment::Executed;
        let loaded = |call: Call| all || matches!(call, Call::Exec | Call::Stack);
        for part in take_mapped(space, &mut rest, all, |vma| loaded(vma.origin.call)) {
            space.claim_found(part, path, anonymous, (actor.tid, actor.time_ns));
        }
    }
    if let Some((path, actor)) = space.fork_path.filter(|_| !space.fork_shown) {
        let all = moment == Moment::Forked;
        for part in take_mapped(space, &mut rest, all, |vma| all || vma.inherited) {
            space.claim_found(part, path, anonymous, (actor.tid, actor.time_ns));
        }
    }
    if kind.huge && anonymous && space.unplaced.collapse {
        for part in rest {
            let path = space.paths.intern(None, Cause::Collapse);
            space.owners.claim(part.clone(), Some(path), Some(path));
            for (piece, instance) in space.instances_in(part) {
                let stats = space.mappings.stats_mut(instance, path);
                stats.touched_pages += (piece.end - piece.start) / PAGE;
            }
        }
    }
}

/// Pages of locked memory: whoever mapped it brought them in. What is not goes to `rest`.
fn locked(space: &mut AddressSpace, run: Range<u64>, dirty: bool, rest: &mut Vec<Range<u64>>) {
    let vmas = space.mappings.vmas();
    let pieces: Vec<_> = vmas.within(run.clone()).map(|(piece, _)| piece).collect();
    rest.extend(vmas.gaps(run));
    for piece in pieces {
        let Some(by) = space.locked_by(piece.start) else {
            rest.push(piece);
            continue;
        };
        let path = space.paths.intern(by.stack, Cause::Populate);
        space.claim_found(piece, path, dirty, (by.tid, by.time_ns));
    }
}

/// Takes the parts of ranges out that lie in certain VMAs, or all.
fn take_mapped(
    space: &AddressSpace,
    rest: &mut Vec<Range<u64>>,
    all: bool,
    is_in: impl Fn(&crate::model::Vma) -> bool,
) -> Vec<Range<u64>> {
    if all {
        return std::mem::take(rest);
    }
    let vmas = space.mappings.vmas();
    let mut taken = Vec::new();
    let mut left = Vec::new();
    for range in rest.drain(..) {
        left.extend(vmas.gaps(range.clone()));
        for (part, vma) in vmas.within(range) {
            if is_in(vma) { taken.push(part) } else { left.push(part) }
        }
    }
    *rest = left;
    taken
}
