//! One address space: its mappings, its pages' owners, and what was given back.
//!
//! `touch` applies faults to it, `remap` calls that change mappings, `counters` what moved with no
//! fault.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::arounds::Arounds;
use super::blocks::Blocks;
use super::candidates::{Candidate, Candidates};
use super::cause::{Cause, How};
use super::files::Writer;
use super::lock::Locks;
use super::mapping::{Actor, Call, InstanceId, Mappings, Vma};
use super::owner::Owner;
use super::owners::{PAGE, PageOwners};
use super::path::{Path, PathId, PathTable, StackRef};
use super::pending::{Doubt, Pending};
use super::populated::Populated;
use super::range_map::RangeMap;
use super::rewrites::RewriteLog;
use super::taken::Taken;
use super::unplaced::Unplaced;
use crate::trace::{FileId, MmKey, RewriteStep};

/// The code that forked copies of an address space have in common: whose it was, and after how many
/// changes.
pub(super) type Family = (MmKey, u32);

/// One address space.
#[derive(Clone, Debug)]
pub struct AddressSpace {
    /// Its name.
    pub(super) key: MmKey,
    /// What is mapped.
    pub(super) mappings: Mappings,
    /// Who owns the pages.
    pub(super) owners: PageOwners,
    /// The code paths.
    pub(super) paths: PathTable,
    /// Pages brought in by fault-around.
    pub(super) around: Candidates,
    /// What faults saw around them in memory of files.
    pub(super) arounds: Arounds,
    /// Memory brought in with no fault, by `MAP_POPULATE`, `mlock`, `O_DIRECT` and the like.
    pub(super) populated: RangeMap<Populated>,
    /// Memory given up by `MADV_FREE`, and who did so.
    pub(super) lazy_free: RangeMap<Option<StackRef>>,
    /// Memory of which `MADV_PAGEOUT` was asked, and by whom: what of it went is seen later.
    pub(super) paged_out: RangeMap<Option<StackRef>>,
    /// Memory of which KSM may merge the pages.
    pub(super) mergeable: RangeMap<()>,
    /// Memory of which it may have merged pages before `MADV_UNMERGEABLE`.
    pub(super) unmerged: RangeMap<()>,
    /// Pages of shared memory that were dirty when they were first mapped here.
    pub(super) found_dirty: RangeMap<()>,
    /// Pages that came with no fault, and no address.
    pub(super) unplaced: Unplaced,
    /// Where anybody may have brought in the pages that nobody owns: events were lost.
    pub(super) lost: RangeMap<()>,
    /// Calls were lost, so that the mappings are no longer sure.
    pub(super) calls_lost: bool,
    /// The program break.
    pub(super) brk: Option<u64>,
    /// The path of pages that were there when the space was copied by fork.
    pub(super) fork_path: Option<(PathId, Actor)>,
    /// A snapshot has shown which pages fork copied: what comes to light later it did not.
    pub(super) fork_shown: bool,
    /// A program was loaded, and no snapshot has shown yet with what.
    pub(super) fresh_exec: Option<Actor>,
    /// The event of its exec has come, and the snapshot of the process that stands there is still to
    /// come. Others may come before it: of all processes, while this one waits for its turn.
    pub(super) stands_at_exec: bool,
    pub(super) stacks: FxHashMap<crate::trace::StackHash, StackRef>,
    /// How often its code was changed.
    code_changes: u32,
    /// Whose code it has: copies that fork made of the same code name equal stacks alike.
    pub(super) family: Option<Family>,
    pub(super) heap: Option<InstanceId>,
    /// What is locked.
    pub(super) locks: Locks,
    /// What calls that failed may have given back.
    pub(super) doubts: RangeMap<Doubt>,
    pub(super) in_flight: FxHashMap<u32, Taken>,
    pub(super) pending: FxHashMap<u32, Pending>,
    /// Blocks of its allocator that were picked and are live.
    pub(super) blocks: Blocks,
    /// Who writes again, where that is watched.
    pub(super) rewrites: Option<Box<RewriteLog>>,
    /// Anonymous pages may be shared with a parent or a child.
    pub(super) may_share: bool,
    released: FxHashMap<(Option<StackRef>, How), u64>,
}

/// What is left of address spaces that are gone.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By path: bytes touched, mapping instances.
    pub gone: FxHashMap<Path, (u64, u64)>,
    /// Bytes given back.
    pub released: FxHashMap<(Option<StackRef>, How), u64>,
}

impl AddressSpace {
    /// What comes from now on is apart from what came before.
    pub(super) fn begin_window(&mut self) {
        self.paths.begin_window();
    }

    /// An empty address space.
    #[must_use]
    pub(super) fn new(key: MmKey) -> Self {
        Self {
            key,
            mappings: Mappings::default(),
            owners: PageOwners::default(),
            paths: PathTable::default(),
            around: Candidates::default(),
            arounds: Arounds::default(),
            populated: RangeMap::default(),
            lazy_free: RangeMap::default(),
            paged_out: RangeMap::default(),
            mergeable: RangeMap::default(),
            unmerged: RangeMap::default(),
            found_dirty: RangeMap::default(),
            unplaced: Unplaced::default(),
            lost: RangeMap::default(),
            calls_lost: false,
            brk: None,
            fork_path: None,
            fork_shown: false,
            fresh_exec: None,
            stands_at_exec: false,
            stacks: FxHashMap::default(),
            code_changes: 0,
            family: None,
            heap: None,
            locks: Locks::default(),
            doubts: RangeMap::default(),
            in_flight: FxHashMap::default(),
            pending: FxHashMap::default(),
            blocks: Blocks::default(),
            rewrites: None,
            may_share: false,
            released: FxHashMap::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn key(&self) -> MmKey {
        self.key
    }

    /// The mappings.
    #[must_use]
    pub const fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// The owners of its pages.
    #[must_use]
    pub const fn owners(&self) -> &PageOwners {
        &self.owners
    }

    /// The call paths.
    #[must_use]
    pub const fn paths(&self) -> &PathTable {
        &self.paths
    }

    /// Memory given up by `MADV_FREE`, and by whom.
    #[must_use]
    pub const fn lazy_free(&self) -> &RangeMap<Option<StackRef>> {
        &self.lazy_free
    }

    /// Who writes again, where that is watched.
    #[must_use]
    pub fn rewrites(&self) -> Option<&RewriteLog> {
        self.rewrites.as_deref()
    }

    /// Takes a step of watching for writes.
    pub(super) fn watch_rewrites(&mut self, step: &RewriteStep, time_ns: u64) {
        let begins = matches!(step, RewriteStep::Begin { .. });
        if begins || self.rewrites.is_some() {
            self.rewrites.get_or_insert_default().step(step, time_ns);
        }
    }

    /// Pages that came with no fault, and no address.
    #[must_use]
    pub const fn unplaced(&self) -> &Unplaced {
        &self.unplaced
    }

    /// The path of pages that a fork copied into this space, and who forked.
    #[must_use]
    pub const fn fork_path(&self) -> Option<(PathId, Actor)> {
        self.fork_path
    }

    /// The copy that fork makes: the same mappings, pages shared until they are written.
    #[must_use]
    pub(super) fn fork(&mut self, key: MmKey, parent: Actor) -> Self {
        self.may_share = true;
        let mut child = Self::new(key);
        child.mappings = self.mappings.inherit();
        child.brk = self.brk;
        child.heap = self.heap;
        child.mergeable = self.mergeable.clone();
        child.unmerged = self.unmerged.clone();
        child.blocks = self.blocks.fork();
        child.family = self.family.or(Some((self.key, self.code_changes)));
        child.forked_by(parent);
        child
    }

    /// Blocks of its allocator that were picked and are live.
    #[must_use]
    pub const fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Code was mapped or made: from now on its addresses may mean something else than in others.
    pub(super) const fn code_changed(&mut self) {
        self.code_changes += 1;
        self.family = None;
    }

    /// Notes that all pages which are there without an owner were copied by fork.
    pub(super) fn forked_by(&mut self, parent: Actor) {
        self.may_share = true;
        self.fork_path = Some((self.paths.intern(parent.stack, Cause::ForkCopy), parent));
    }

    /// Notes that what it did before tracing began is not known.
    pub(super) const fn attached(&mut self) {
        self.may_share = true;
    }

    /// Claims pages found at a snapshot: nobody faulted on them.
    pub(super) fn claim_found(
        &mut self,
        pages: Range<u64>,
        path: PathId,
        dirty: bool,
        by: (u32, u64),
    ) {
        let (tid, time_ns) = by;
        self.owners.claim(pages.clone(), Some(path), dirty.then_some(path));
        let pieces: Vec<_> = self.instances_in(pages);
        for (piece, instance) in pieces {
            let count = (piece.end - piece.start) / PAGE;
            self.mappings.stats_mut(instance, path).add(count, 0, tid, time_ns);
        }
    }

    /// Pages that were taken for a path's and are another's.
    pub(super) fn not_touched(&mut self, pages: Range<u64>, path: PathId) {
        if path.is_none() {
            return;
        }
        for (piece, instance) in self.instances_in(pages) {
            let stats = self.mappings.stats_mut(instance, path);
            stats.touched_pages =
                stats.touched_pages.saturating_sub((piece.end - piece.start) / PAGE);
        }
    }

    /// Pages that somebody else's write to their file made dirty.
    pub(super) fn claim_dirty(
        &mut self,
        pages: Range<u64>,
        stack: Option<StackRef>,
        writer: &Writer,
    ) {
        let path = self.paths.intern(stack, writer.cause);
        self.owners.claim(pages.clone(), None, Some(path));
        for (piece, instance) in self.instances_in(pages) {
            let count = (piece.end - piece.start) / PAGE;
            let stats = self.mappings.stats_mut(instance, path);
            stats.add(count, 0, writer.tid, writer.first_ns);
            stats.add(0, 0, writer.tid, writer.last_ns);
        }
    }

    /// The mapping instances of a range, [`InstanceId::UNKNOWN`] where there is no mapping.
    #[must_use]
    pub fn instances_in(&self, range: Range<u64>) -> Vec<(Range<u64>, InstanceId)> {
        let vmas = self.mappings.vmas();
        if let Some((_, vma)) = vmas.find(range.start).filter(|(r, _)| r.end >= range.end) {
            return vec![(range, vma.instance)];
        }
        let mut pieces: Vec<_> =
            vmas.within(range.clone()).map(|(piece, vma)| (piece, vma.instance)).collect();
        pieces.extend(vmas.gaps(range).into_iter().map(|gap| (gap, InstanceId::UNKNOWN)));
        pieces.sort_unstable_by_key(|(piece, _)| piece.start);
        pieces
    }

    /// The pages of a range are no longer resident. `how` is `None` if that is only now known.
    pub(super) fn release(&mut self, range: Range<u64>, how: Option<(How, Option<StackRef>)>) {
        let mut pages = 0;
        self.owners.take(range.clone(), |run, owner| {
            if owner.resident.is_some() {
                pages += (run.end - run.start) / PAGE;
            }
        });
        pages += cut_all(&mut self.around, range.clone());
        self.populated.cut(range.clone());
        self.lazy_free.cut(range.clone());
        self.paged_out.cut(range.clone());
        self.arounds.forget(&range);
        self.found_dirty.cut(range.clone());
        if let Some(rewrites) = &mut self.rewrites {
            rewrites.released(&range);
        }
        self.lost.cut(range);
        if let Some((how, stack)) = how {
            self.credit(how, stack, pages);
        }
    }

    /// Pages that were given up by `MADV_FREE` are there no longer: the kernel has taken them.
    pub(super) fn taken_back(&mut self, range: Range<u64>) {
        for (piece, stack) in self.lazy_free.cut(range) {
            self.release(piece, Some((How::Free, stack)));
        }
    }

    /// Pages are found in swap, or came back from there: who owned them has lost them.
    pub(super) fn swapped_out(&mut self, range: Range<u64>) {
        let mut went = Vec::new();
        self.owners.walk(range, |run, owner| {
            if owner.resident.is_some() {
                went.push(run);
            }
        });
        for run in went {
            self.owners.update(run.clone(), |_| Owner::default());
            let mut pages = (run.end - run.start) / PAGE;
            for (part, stack) in self.paged_out.cut(run) {
                let asked = (part.end - part.start) / PAGE;
                self.credit(How::Pageout, stack, asked);
                pages -= asked;
            }
            self.credit(How::Reclaim, None, pages);
        }
    }

    /// Bytes of a file became dirty by somebody else than the owners of its pages here.
    pub(super) fn dirtied(&mut self, file: FileId, bytes: &Range<u64>) {
        for (place, vma) in self.mappings.places(file, bytes) {
            if vma.shared {
                self.owners.update(place, |owner| Owner { dirty: PathId::NONE, ..owner });
            }
        }
    }

    /// Bytes of a file left the page cache, and so all mappings of it. Private copies stay.
    pub(super) fn removed(
        &mut self,
        file: FileId,
        bytes: &Range<u64>,
        how: How,
        stack: Option<StackRef>,
    ) {
        for (place, vma) in self.mappings.places(file, bytes) {
            if vma.shared {
                self.release(place, Some((how, stack)));
                continue;
            }
            let mut cached = Vec::new();
            self.owners.walk(place, |run, owner| {
                if owner.dirty.is_none() {
                    cached.push(run);
                }
            });
            for run in cached {
                self.release(run, Some((how, stack)));
            }
        }
    }

    /// Notes who gave pages back.
    pub(super) fn credit(&mut self, how: How, stack: Option<StackRef>, pages: u64) {
        if pages > 0 {
            *self.released.entry((stack, how)).or_default() += pages * PAGE;
        }
    }

    /// Whether a page of shared memory was dirty before this process mapped it, by nobody that is
    /// known. `clean`: its own page-table entry is clean. And whether that mapping is from before
    /// tracing began.
    #[must_use]
    pub fn was_dirty(&self, address: u64, clean: bool) -> (bool, bool) {
        let vma = self.mappings.vmas().find(address);
        let before = vma.is_some_and(|(_, vma)| vma.origin.call == Call::Unknown);
        (clean || self.found_dirty.find(address).is_some(), before)
    }

    /// Pages of a range that KSM may have merged.
    #[must_use]
    pub fn merged(&self, range: Range<u64>) -> u64 {
        let parts = self.mergeable.within(range.clone()).chain(self.unmerged.within(range));
        parts.map(|(part, ())| (part.end - part.start) / PAGE).sum()
    }

    /// Takes back that pages were given back.
    pub(super) fn discredit(&mut self, how: How, stack: Option<StackRef>, pages: u64) {
        if let Some(bytes) = self.released.get_mut(&(stack, how)) {
            *bytes = bytes.saturating_sub(pages * PAGE);
        }
    }

    /// What was given back so far: who, how, bytes.
    pub fn released(&self) -> impl Iterator<Item = (Option<StackRef>, How, u64)> {
        let some = self.released.iter().filter(|(_, bytes)| **bytes > 0);
        some.map(|((stack, how), bytes)| (*stack, *how, *bytes))
    }

    /// The end of the space: adds to the ledger what its paths touched and who gave back what.
    /// `how`: what ends it, if the pages that it still had are to be counted as given back.
    pub fn close(&self, how: Option<How>, ledger: &mut Ledger) {
        for (stack, how, bytes) in self.released() {
            *ledger.released.entry((stack, how)).or_default() += bytes;
        }
        if let Some(how) = how {
            let mut pages = 0;
            self.owners.walk(0..u64::MAX, |run, owner: Owner| {
                if owner.resident.is_some() {
                    pages += (run.end - run.start) / PAGE;
                }
            });
            if pages > 0 {
                *ledger.released.entry((None, how)).or_default() += pages * PAGE;
            }
        }
        let mut add = |path: PathId, pages: u64, instances: u64| {
            if let Some(path) = self.paths.get(path).filter(|_| pages > 0) {
                let gone = ledger.gone.entry(path).or_default();
                gone.0 += pages * PAGE;
                gone.1 += instances;
            }
        };
        for (path, pages, instances) in self.mappings.gone() {
            add(path, pages, instances);
        }
        for instance in self.mappings.instances() {
            for (path, stats) in self.mappings.stats(instance) {
                add(path, stats.touched_pages, 1);
            }
        }
    }

    /// Maps memory that a snapshot shows and no event told of.
    pub(super) fn learn(&mut self, range: Range<u64>, vma: Vma) {
        let instance = self.mappings.new_instance();
        if vma.origin.call == Call::Brk {
            self.heap = Some(instance);
        }
        self.mappings.map(range, Vma { instance, ..vma });
    }
}

/// Cuts a range out of claims, and says how many resident pages are known to go with it.
fn cut_all(candidates: &mut Candidates, range: Range<u64>) -> u64 {
    let whole: Vec<(u64, Candidate)> = candidates.cut(range);
    whole.iter().map(|(_, candidate)| u64::from(candidate.remaining)).sum()
}
