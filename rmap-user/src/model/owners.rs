//! For every page of 4 KiB: the path that last made it resident, and the one that last made it
//! dirty.
//!
//! Pages are kept in leaves of 2 MiB. A leaf is uniform (one entry, as a huge page is), sparse or
//! full, so that a touched page costs a few bytes and an untouched one nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use super::counting::{Counts, PageCount, Peak, Sum};
use super::journal::{Change, Journal};
use super::owner::Owner;
use super::path::PathId;

/// Bytes in a page. The model counts in the smallest page of x86-64 and arm64.
pub const PAGE: u64 = 4096;
/// Bytes in a huge page, and in a leaf.
pub const HUGE: u64 = 2 << 20;

const LEAF_PAGES: usize = (HUGE / PAGE) as usize;
/// From here on a full leaf is as small as a sparse one that is half used.
const SPARSE_MAX: usize = 160;

/// The address rounded down to its page.
#[must_use]
pub const fn page_down(address: u64) -> u64 {
    address & !(PAGE - 1)
}

/// The address rounded up to a page; the last page's end does not overflow.
#[must_use]
pub const fn page_up(address: u64) -> u64 {
    page_down(address.saturating_add(PAGE - 1))
}

#[derive(Clone, Debug)]
enum Leaf {
    /// Every page has this owner.
    Uniform(Owner),
    /// Sorted by page; none is nobody.
    Sparse(Vec<(u16, Owner)>),
    /// Indexed by page, with the number of pages that are owned.
    Full(Box<[Owner; LEAF_PAGES]>, u16),
}

/// The owners of one address space's pages.
#[derive(Clone, Debug, Default)]
pub struct PageOwners {
    leaves: BTreeMap<u64, Leaf>,
    journal: Option<Box<Journal>>,
    count: PageCount,
}

impl PageOwners {
    /// Who owns the page of an address.
    #[must_use]
    pub fn get(&self, address: u64) -> Owner {
        let page = ((address % HUGE) / PAGE) as usize;
        match self.leaves.get(&(address / HUGE)) {
            None => Owner::NOBODY,
            Some(Leaf::Uniform(owner)) => *owner,
            Some(Leaf::Sparse(pages)) => pages
                .binary_search_by_key(&(page as u16), |(p, _)| *p)
                .map_or(Owner::NOBODY, |at| pages[at].1),
            Some(Leaf::Full(pages, _)) => pages[page],
        }
    }

    /// Changes the owner of every page in a range of whole pages, owned or not. `change` is
    /// called once for 2 MiB that are alike.
    pub fn update(&mut self, range: Range<u64>, mut change: impl FnMut(Owner) -> Owner) {
        let watched = self.watched(&range);
        let mut moved = Moved::default();
        for (key, pages) in leaf_ranges(range) {
            update_leaf(&mut self.leaves, key, pages, &mut |owner, pages| {
                moved.count(owner, change(owner), pages)
            });
        }
        self.count.change(moved.resident, moved.dirty);
        self.note(watched);
    }

    /// Counts its pages in a sum from now on.
    pub(super) fn count_in(&mut self, sum: &Sum) {
        self.count.count_in(sum);
    }

    /// How many pages have an owner.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.count.counts()
    }

    /// How many pages became resident, those too that are not there any more.
    #[must_use]
    pub const fn came(&self) -> u64 {
        self.count.came()
    }

    /// When most pages had a resident owner.
    #[must_use]
    pub const fn peak(&self) -> Peak {
        self.count.peak()
    }

    /// Another number whenever pages have come or gone.
    #[must_use]
    pub const fn change_count(&self) -> u64 {
        self.count.changes()
    }

    /// Writes down from now on what changes in some ranges.
    pub fn watch(&mut self, ranges: &[Range<u64>]) {
        self.journal = Some(Box::new(Journal::of(ranges)));
    }

    /// Takes what was written down since it was taken last.
    pub fn changes(&mut self) -> Vec<Change> {
        self.journal.as_mut().map(|journal| journal.take()).unwrap_or_default()
    }

    /// The owners of those pages of a range that are watched.
    fn watched(&self, range: &Range<u64>) -> Vec<(Range<u64>, Owner)> {
        let mut owners = Vec::new();
        if let Some(journal) = &self.journal {
            for part in journal.within(range) {
                self.walk_all(part, |run, owner| owners.push((run, owner)));
            }
        }
        owners
    }

    /// Writes down what is not as it was.
    fn note(&mut self, watched: Vec<(Range<u64>, Owner)>) {
        if watched.is_empty() {
            return;
        }
        let mut changes = Vec::new();
        for (run, old) in watched {
            self.walk_all(run, |pages, new| {
                if new != old {
                    changes.push(Change { pages, old, new });
                }
            });
        }
        if let Some(journal) = &mut self.journal {
            changes.into_iter().for_each(|change| journal.add(change));
        }
    }

    /// Sets the owners that are given, and leaves the others.
    pub fn claim(&mut self, range: Range<u64>, resident: Option<PathId>, dirty: Option<PathId>) {
        self.update(range, |owner| Owner {
            resident: resident.unwrap_or(owner.resident),
            dirty: dirty.unwrap_or(owner.dirty),
        });
    }

    /// Takes all owners out of a range, and gives `sink` each run of pages with its owner, in the
    /// order of addresses.
    pub fn take(&mut self, range: Range<u64>, mut sink: impl FnMut(Range<u64>, Owner)) {
        let watched = self.watched(&range);
        let keys: Vec<u64> = self.leaves.range(leaf_keys(&range)).map(|(key, _)| *key).collect();
        let mut moved = Moved::default();
        for key in keys {
            let pages = pages_in_leaf(key, &range);
            if let Some(leaf) = self.leaves.get(&key) {
                walk_leaf(leaf, key, pages.clone(), &mut sink);
            }
            update_leaf(&mut self.leaves, key, pages, &mut |owner, pages| {
                moved.count(owner, Owner::NOBODY, pages)
            });
        }
        self.count.change(moved.resident, moved.dirty);
        self.note(watched);
    }

    /// Gives `sink` each run of owned pages in a range, in the order of addresses. Neighbours of
    /// the same owner may come as several runs.
    pub fn walk(&self, range: Range<u64>, mut sink: impl FnMut(Range<u64>, Owner)) {
        for (key, leaf) in self.leaves.range(leaf_keys(&range)) {
            walk_leaf(leaf, *key, pages_in_leaf(*key, &range), &mut sink);
        }
    }

    /// Like [`PageOwners::walk`], but the pages that nobody owns come as runs too.
    pub fn walk_all(&self, range: Range<u64>, mut sink: impl FnMut(Range<u64>, Owner)) {
        let mut at = range.start;
        self.walk(range.clone(), |run, owner| {
            if at < run.start {
                sink(at..run.start, Owner::NOBODY);
            }
            at = run.end;
            sink(run, owner);
        });
        if at < range.end {
            sink(at..range.end, Owner::NOBODY);
        }
    }

    /// How many pages of a range have no resident owner.
    #[must_use]
    pub fn count_not_resident(&self, range: Range<u64>) -> u64 {
        let mut pages = range.end.saturating_sub(range.start) / PAGE;
        self.walk(range, |run, owner| {
            if owner.resident.is_some() {
                pages -= (run.end - run.start) / PAGE;
            }
        });
        pages
    }
}

/// Pages that came, less those that went.
#[derive(Default)]
struct Moved {
    resident: i64,
    dirty: i64,
}

impl Moved {
    /// So many pages have another owner; gives it back.
    fn count(&mut self, old: Owner, new: Owner, pages: i64) -> Owner {
        let by =
            |was: PathId, is: PathId| pages * (i64::from(is.is_some()) - i64::from(was.is_some()));
        self.resident += by(old.resident, new.resident);
        self.dirty += by(old.dirty, new.dirty);
        new
    }
}

fn leaf_keys(range: &Range<u64>) -> Range<u64> {
    let end = if range.end > range.start { (range.end - 1) / HUGE + 1 } else { range.start / HUGE };
    range.start / HUGE..end
}

fn pages_in_leaf(key: u64, range: &Range<u64>) -> Range<usize> {
    let start = range.start.saturating_sub(key * HUGE) / PAGE;
    let end = range.end.saturating_sub(key * HUGE).div_ceil(PAGE).min(LEAF_PAGES as u64);
    start as usize..end as usize
}

fn leaf_ranges(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    leaf_keys(&range).map(move |key| (key, pages_in_leaf(key, &range)))
}

fn walk_leaf(leaf: &Leaf, key: u64, pages: Range<usize>, sink: &mut impl FnMut(Range<u64>, Owner)) {
    let address = |page: usize| key * HUGE + page as u64 * PAGE;
    let mut run: Option<(Range<usize>, Owner)> = None;
    let mut add = |page: usize, owner: Owner| match &mut run {
        Some((pages, of)) if pages.end == page && *of == owner => pages.end += 1,
        other => {
            if let Some((pages, of)) = other.replace((page..page + 1, owner)) {
                sink(address(pages.start)..address(pages.end), of);
            }
        }
    };
    match leaf {
        Leaf::Uniform(owner) => run = Some((pages, *owner)),
        Leaf::Sparse(entries) => {
            let from = entries.partition_point(|(page, _)| usize::from(*page) < pages.start);
            for (page, owner) in &entries[from..] {
                if usize::from(*page) >= pages.end {
                    break;
                }
                add(usize::from(*page), *owner);
            }
        }
        Leaf::Full(owners, _) => {
            for page in pages {
                if !owners[page].is_nobody() {
                    add(page, owners[page]);
                }
            }
        }
    }
    if let Some((pages, of)) = run {
        sink(address(pages.start)..address(pages.end), of);
    }
}

fn update_leaf(
    leaves: &mut BTreeMap<u64, Leaf>,
    key: u64,
    pages: Range<usize>,
    change: &mut impl FnMut(Owner, i64) -> Owner,
) {
    let whole = pages.len() == LEAF_PAGES;
    let leaf = leaves.entry(key).or_insert_with(|| Leaf::Sparse(Vec::new()));
    let alike = match leaf {
        Leaf::Uniform(owner) => Some(*owner),
        Leaf::Sparse(entries) if entries.is_empty() => Some(Owner::NOBODY),
        Leaf::Sparse(_) | Leaf::Full(..) => None,
    };
    if let (true, Some(owner)) = (whole, alike) {
        *leaf = Leaf::Uniform(change(owner, LEAF_PAGES as i64));
    } else {
        if !matches!(leaf, Leaf::Sparse(entries) if entries.len() + pages.len() <= SPARSE_MAX) {
            make_full(leaf);
        }
        match leaf {
            Leaf::Sparse(entries) => update_sparse(entries, pages, change),
            Leaf::Full(owners, owned) => {
                for owner in &mut owners[pages] {
                    let was = !owner.is_nobody();
                    *owner = change(*owner, 1);
                    match (was, !owner.is_nobody()) {
                        (false, true) => *owned += 1,
                        (true, false) => *owned -= 1,
                        (true, true) | (false, false) => {}
                    }
                }
            }
            // make_full leaves no uniform leaf.
            Leaf::Uniform(_) => {}
        }
    }
    let empty = match leaf {
        Leaf::Uniform(owner) => owner.is_nobody(),
        Leaf::Sparse(entries) => entries.is_empty(),
        Leaf::Full(_, owned) => *owned == 0,
    };
    if empty {
        leaves.remove(&key);
    }
}

fn make_full(leaf: &mut Leaf) {
    if matches!(leaf, Leaf::Full(..)) {
        return;
    }
    let mut owners = Box::new([Owner::NOBODY; LEAF_PAGES]);
    let owned = match leaf {
        Leaf::Uniform(owner) => {
            owners.fill(*owner);
            LEAF_PAGES
        }
        Leaf::Sparse(entries) => {
            for (page, owner) in entries.iter() {
                owners[usize::from(*page)] = *owner;
            }
            entries.len()
        }
        Leaf::Full(..) => return,
    };
    *leaf = Leaf::Full(owners, owned as u16);
}

fn update_sparse(
    entries: &mut Vec<(u16, Owner)>,
    pages: Range<usize>,
    change: &mut impl FnMut(Owner, i64) -> Owner,
) {
    for page in pages {
        let page = page as u16;
        let at = match entries.last() {
            Some((last, _)) if *last < page => Err(entries.len()),
            _ => entries.binary_search_by_key(&page, |(p, _)| *p),
        };
        match at {
            Ok(at) => {
                let owner = change(entries[at].1, 1);
                if owner.is_nobody() {
                    entries.remove(at);
                } else {
                    entries[at].1 = owner;
                }
            }
            Err(at) => {
                let owner = change(Owner::NOBODY, 1);
                if !owner.is_nobody() {
                    entries.insert(at, (page, owner));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cause, PathTable, StackRef};
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Claim(Range<u64>, Option<usize>, Option<usize>),
        Release(Range<u64>),
        Move(Range<u64>, u64),
    }

    fn range() -> impl Strategy<Value = Range<u64>> {
        let small = (0u64..1600, 0u64..40).prop_map(|(start, pages)| start..start + pages);
        let huge = (0u64..3, 1u64..3).prop_map(|(start, n)| start * 512..(start + n) * 512);
        let large = (0u64..1200, 0u64..900).prop_map(|(start, pages)| start..start + pages);
        prop_oneof![4 => small, 1 => huge, 1 => large].prop_map(|r| r.start * PAGE..r.end * PAGE)
    }

    fn op() -> impl Strategy<Value = Op> {
        let path = || proptest::option::of(0usize..4);
        prop_oneof![
            4 => (range(), path(), path()).prop_map(|(r, a, b)| Op::Claim(r, a, b)),
            2 => range().prop_map(Op::Release),
            1 => (range(), 0u64..2000).prop_map(|(r, to)| Op::Move(r, to * PAGE)),
        ]
    }

    type Naive = BTreeMap<u64, Owner>;

    fn naive(pages: &mut Naive, op: &Op, ids: &[PathId]) {
        let each = |r: &Range<u64>| (r.start..r.end).step_by(PAGE as usize);
        match op {
            Op::Claim(r, resident, dirty) => {
                for page in each(r) {
                    let owner = pages.entry(page).or_default();
                    owner.resident = resident.map_or(owner.resident, |i| ids[i]);
                    owner.dirty = dirty.map_or(owner.dirty, |i| ids[i]);
                }
            }
            Op::Release(r) => {
                for page in each(r) {
                    pages.remove(&page);
                }
            }
            Op::Move(r, to) => {
                let old: Vec<_> =
                    each(r).filter_map(|p| Some((p - r.start, pages.remove(&p)?))).collect();
                for (offset, owner) in old {
                    pages.insert(to + offset, owner);
                }
            }
        }
        pages.retain(|_, owner| !owner.is_nobody());
    }

    fn real(owners: &mut PageOwners, op: &Op, ids: &[PathId]) {
        match op {
            Op::Claim(r, resident, dirty) => {
                owners.claim(r.clone(), resident.map(|i| ids[i]), dirty.map(|i| ids[i]));
            }
            Op::Release(r) => owners.take(r.clone(), |_, _| {}),
            Op::Move(r, to) => {
                let mut runs = Vec::new();
                owners.take(r.clone(), |run, owner| runs.push((run, owner)));
                for (run, owner) in runs {
                    let run = run.start - r.start + to..run.end - r.start + to;
                    owners.update(run, |_| owner);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn owners_are_those_of_a_naive_map(ops in proptest::collection::vec(op(), 0..40)) {
            let mut table = PathTable::default();
            let ids: Vec<_> =
                (0..4).map(|i| table.intern(Some(StackRef(i)), Cause::FirstWrite)).collect();
            let (mut owners, mut pages) = (PageOwners::default(), Naive::new());
            for op in &ops {
                real(&mut owners, op, &ids);
                naive(&mut pages, op, &ids);
            }
            let (mut journal, mut told) = (Naive::new(), PageOwners::default());
            told.watch(&[20 * PAGE..700 * PAGE, 600 * PAGE..1100 * PAGE]);
            for op in &ops {
                real(&mut told, op, &ids);
                for Change { pages, old, new } in told.changes() {
                    for page in pages.step_by(PAGE as usize) {
                        prop_assert_eq!(journal.insert(page, new).unwrap_or_default(), old);
                    }
                }
            }
            journal.retain(|_, owner| !owner.is_nobody());
            let watched: Naive =
                pages.range(20 * PAGE..1100 * PAGE).map(|(page, owner)| (*page, *owner)).collect();
            prop_assert_eq!(&journal, &watched);
            let mut seen = Naive::new();
            owners.walk(0..1 << 30, |run, owner| {
                for page in (run.start..run.end).step_by(PAGE as usize) {
                    seen.insert(page, owner);
                }
            });
            prop_assert_eq!(&seen, &pages);
            for page in (0..3000u64).map(|p| p * PAGE) {
                prop_assert_eq!(owners.get(page), pages.get(&page).copied().unwrap_or_default());
            }
            let unowned = owners.count_not_resident(0..3000 * PAGE);
            let resident =
                pages.range(..3000 * PAGE).filter(|(_, o)| o.resident.is_some()).count() as u64;
            prop_assert_eq!(unowned, 3000 - resident);
            let mut all = 0;
            owners.walk_all(5 * PAGE..2000 * PAGE, |run, _| all += run.end - run.start);
            prop_assert_eq!(all, 1995 * PAGE);
        }
    }

    #[test]
    fn a_huge_page_is_one_entry_until_it_is_split() {
        let path = PathTable::default().intern(None, Cause::HugePage);
        let mut owners = PageOwners::default();
        owners.claim(HUGE..2 * HUGE, Some(path), Some(path));
        assert!(matches!(owners.leaves[&1], Leaf::Uniform(_)));
        owners.take(HUGE + PAGE..HUGE + 2 * PAGE, |_, _| {});
        assert!(matches!(owners.leaves[&1], Leaf::Full(_, 511)));
        assert!(owners.get(HUGE + PAGE).is_nobody());
        owners.take(0..4 * HUGE, |_, _| {});
        assert!(owners.leaves.is_empty());
    }
}
