//! Large folios of files that one fault mapped as a whole: since Linux 6.18 a fault does so with each
//! one that its fault-around meets, in front of its 64 KiB and behind them. The probe looks at 128
//! KiB from there on, so some of such pages have no owner yet, or a later fault's.
//!
//! Comes in: what a snapshot shows. Goes out: pages of large folios as claims of the path that
//! mapped them. Which pages are one folio is told of those that are there as a whole: they belong to
//! the first fault that saw them ([`whole`]). Of the others, all that stand together count as one,
//! within a mapping and a page table, beyond which no fault goes; where several paths own some of
//! them, nobody can tell whose the rest is ([`give`]).

use std::ops::Range;

use crate::model::{AddressSpace, HUGE, PathId, Vma};
use crate::trace::pages::within;
use crate::trace::{PageKind, PageRun, PageState, Snapshot};

/// Gives all of a folio that one fault mapped to that fault; `first` tells a path's first thread and
/// time.
pub(super) fn whole(
    space: &mut AddressSpace,
    snapshot: &Snapshot,
    first: impl Fn(&AddressSpace, &Range<u64>, PathId) -> (u32, u64),
) {
    let pages = snapshot.pages.as_deref().unwrap_or_default();
    for folio in &snapshot.folios {
        let Some((paths, base)) = space.arounds.over(folio) else { continue };
        let Some(path) = paths.first().copied() else { continue };
        let (mut others, mut known) = (Vec::new(), true);
        // Private copies are not of the folio any more, nor is what was mapped in its place.
        let cached = within(pages, folio.clone()).filter(|(_, k)| k.state == PageState::File);
        let same = |vma: &Vma| vma.file && vma.base == base;
        let parts = cached.flat_map(|(run, _)| space.mappings.vmas().within(run));
        for (run, _) in parts.filter(|(_, vma)| same(vma)) {
            space.owners.walk_all(run, |part, owner| match owner.resident {
                resident if resident == path => {}
                resident if resident.is_none() || paths.contains(&resident) => {
                    others.push((part, resident));
                }
                // It came otherwise, before all of these.
                _ => known = false,
            });
        }
        for (part, before) in others.into_iter().filter(|_| known) {
            let by = first(space, &part, path);
            space.not_touched(part.clone(), before);
            space.claim_found(part, path, false, by);
        }
    }
}

/// Gives pages that nobody owns to their owners; `first` tells a path's first thread and time.
pub(super) fn give(
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Actor, Call, InstanceId, Origin, PAGE, StackRef, Vma};
    use crate::trace::{Access, Delta, Entry, Fault, MmKey, Moment};

    const AT: u64 = 0x7f00_0000_0000;
    const AROUND: u64 = 16;

    /// A file that is mapped, and what the kernel does at a fault; in pages from `AT` on.
    struct Kernel {
        mapping: Range<u64>,
        folios: Vec<Range<u64>>,
        /// By whose fault a page was mapped.
        mapped: BTreeMap<u64, u32>,
    }

    impl Kernel {
        /// `before`: where the file begins in front of `AT`. Folios as large as asked for, one
        /// after the other, smaller where they would not be aligned.
        fn new(mapping: Range<u64>, before: u64, orders: &[u32]) -> Self {
            let (mut folios, mut index) = (Vec::new(), 0u64);
            for order in orders.iter().cycle() {
                let order = if index == 0 { *order } else { index.trailing_zeros().min(*order) };
                folios.push((index, index + (1 << order)));
                index += 1 << order;
                if index >= before + mapping.end {
                    break;
                }
            }
            // One that begins in front of `AT` is not in the mapping as a whole: page by page.
            let shown = folios.into_iter().filter(|(_, end)| *end > before);
            let folios = shown.flat_map(|(start, end)| {
                let size = if start < before { 1 } else { end - start };
                let starts = (start.max(before)..end).step_by(size as usize);
                starts.map(move |start| start - before..start - before + size)
            });
            Self { folios: folios.collect(), mapping, mapped: BTreeMap::new() }
        }

        fn table(page: u64) -> Range<u64> {
            let start = page / 512 * 512;
            start..start + 512
        }

        /// The window of the record.
        fn fault(&mut self, page: u64, by: u32) -> u32 {
            let table = Self::table(page);
            let limits = self.mapping.start.max(table.start)..self.mapping.end.min(table.end);
            let block = page / AROUND * AROUND;
            let start = block.max(limits.start);
            let around = start..(start + AROUND).min(limits.end);
            for folio in self.folios.iter().filter(|f| f.start < around.end && f.end > around.start)
            {
                let whole = limits.start <= folio.start && folio.end <= limits.end;
                let part = folio.start.max(around.start)..folio.end.min(around.end);
                for page in if whole { folio.clone() } else { part } {
                    self.mapped.entry(page).or_insert(by);
                }
            }
            let shown = (0..32).filter(|n| table.contains(&(block + n)));
            let bits = shown.filter(|n| self.mapped.contains_key(&(block + n))).map(|n| 1 << n);
            bits.sum()
        }

        /// What a snapshot shows.
        fn shown(&self) -> Snapshot {
            let address = |page: u64| AT + page * PAGE;
            let kind = PageKind {
                state: PageState::File,
                huge: false,
                folio_dirty: None,
                large_folio: None,
                entry_dirty: None,
            };
            let run = |page: &u64| PageRun { range: address(*page)..address(page + 1), kind };
            let large = self.folios.iter().filter(|folio| {
                let table = Self::table(folio.start);
                folio.end - folio.start > 1
                    && self.mapping.start.max(table.start) <= folio.start
                    && folio.end <= self.mapping.end.min(table.end)
                    && self.mapped.range(folio.start..folio.end).next().is_some()
            });
            Snapshot {
                time_ns: 0,
                pid: 1,
                moment: Moment::AtExit,
                segments: Vec::new(),
                pages: Some(self.mapped.keys().map(run).collect()),
                folios: large.map(|folio| address(folio.start)..address(folio.end)).collect(),
                threads: Vec::new(),
                peak_rss: 0,
            }
        }
    }

    fn space(mapping: &Range<u64>, before: u64) -> AddressSpace {
        let mut space = AddressSpace::new(MmKey(0));
        let actor = Actor { pid: 1, tid: 1, time_ns: 0, stack: None };
        let vma = Vma {
            instance: InstanceId::UNKNOWN,
            origin: Origin { call: Call::Mmap, actor },
            file: true,
            shared: false,
            grows_down: false,
            inherited: false,
            prot: 1,
            base: AT - before * PAGE,
            id: None,
        };
        space.mappings.map(AT + mapping.start * PAGE..AT + mapping.end * PAGE, vma);
        space
    }

    fn tell(space: &mut AddressSpace, page: u64, by: u32, window: u32) {
        let fault = Fault {
            address: AT + page * PAGE,
            kernel: false,
            major: false,
            access: Some(Access { present: false, write: false, instruction: false }),
            delta: Delta { file: Some(1), anon: None, swap: None, shmem: None },
            delta_inexact: true,
            entry: Some(Entry { huge: false, dirty: false, window: Some(window) }),
            same_page: None,
            rewrite: None,
            syscall: None,
            stack: None,
        };
        let actor = Actor { pid: 1, tid: 1, time_ns: 0, stack: Some(StackRef(by)) };
        space.fault(&fault, actor, false);
    }

    /// Who owns each page.
    fn owned(space: &AddressSpace) -> BTreeMap<u64, u32> {
        let mut owned = BTreeMap::new();
        space.owners.walk(AT..AT + (4 << 30), |run, owner| {
            let by = space.paths.get(owner.resident).and_then(|path| path.stack);
            for at in run.step_by(PAGE as usize) {
                owned.insert((at - AT) / PAGE, by.map_or(u32::MAX, |by| by.0));
            }
        });
        owned
    }

    /// Plays faults at those pages that are not there yet.
    fn play(kernel: &mut Kernel, space: &mut AddressSpace, faults: &[u64]) {
        for (by, page) in (0..).zip(faults) {
            if kernel.mapping.contains(page) && !kernel.mapped.contains_key(page) {
                let told = kernel.fault(*page, by);
                tell(space, *page, by, told);
            }
        }
    }

    proptest! {
        #[test]
        fn every_page_of_a_folio_has_the_fault_that_mapped_it(
            orders in proptest::collection::vec(0u32..=9, 1..20),
            before in 0u64..1200,
            start in 0u64..600,
            length in 1u64..900,
            faults in proptest::collection::vec(0u64..1500, 1..30),
        ) {
            let mapping = start..start + length;
            let mut kernel = Kernel::new(mapping.clone(), before, &orders);
            let mut space = space(&mapping, before);
            play(&mut kernel, &mut space, &faults);
            whole(&mut space, &kernel.shown(), |_, _, _| (1, 0));
            prop_assert_eq!(owned(&space), kernel.mapped);
        }
    }

    #[test]
    fn a_folio_that_begins_below_the_block_is_all_of_its_fault() {
        // What a copied program's text looks like: folios of 16 pages, 7 pages off the blocks.
        let mapping = 0..46;
        let mut kernel = Kernel::new(mapping.clone(), 23, &[4]);
        let mut space = space(&mapping, 23);
        play(&mut kernel, &mut space, &[40, 20, 2]);
        assert!(owned(&space) != kernel.mapped, "the records alone tell");
        whole(&mut space, &kernel.shown(), |_, _, _| (1, 0));
        assert_eq!(owned(&space), kernel.mapped);
        assert_eq!(kernel.mapped.len(), 46);
    }

    #[test]
    fn a_folio_of_which_a_part_came_again_stays_as_it_was_told() {
        let mapping = 0..64;
        let mut kernel = Kernel::new(mapping.clone(), 8, &[4]);
        let mut space = space(&mapping, 8);
        play(&mut kernel, &mut space, &[20]);
        // Pages 24 to 31 were mapped with the folio, and taken out with no event.
        kernel.mapped.retain(|page, _| !(24..32).contains(page));
        play(&mut kernel, &mut space, &[0, 30]);
        let told = owned(&space);
        whole(&mut space, &kernel.shown(), |_, _, _| (1, 0));
        let part =
            |owned: &BTreeMap<u64, u32>| owned.range(24..40).map(|(p, b)| (*p, *b)).collect();
        let (before, after): (Vec<_>, Vec<_>) = (part(&told), part(&owned(&space)));
        assert_eq!(before, after);
    }
}
