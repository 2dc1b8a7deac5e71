//! One segment's pages, counted by owner and by reason.

use std::ops::Range;

use super::reason::{Reason, Residuals};
use crate::model::{AddressSpace, Cause, Owner, PAGE, PathId, Unplaced};
use crate::trace::pages::{is_resident, within};
use crate::trace::{Moment, PageKind, PageRun, PageState, Segment};

/// A path's pages in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Pages that it made resident.
    pub rss: u64,
    /// Pages that it made dirty, those counted in `cleanable` too.
    pub dirty: u64,
    /// Dirty pages of a file that may have been written back since: the folio's flag is not known.
    pub cleanable: u64,
}

/// What is true of the whole snapshot.
#[derive(Clone, Debug)]
pub struct Setting {
    /// When the snapshot was taken.
    pub moment: Moment,
    /// Events were lost.
    pub lost: bool,
    /// Pages that came with no fault and no address, and that no segment has taken yet.
    pub unplaced: Unplaced,
}

/// Counts the pages of one segment after the other.
#[derive(Default)]
pub struct Tally {
    counts: Vec<Count>,
    used: Vec<PathId>,
    present: u64,
    swapped: u64,
    before: Count,
    /// Pages that processes wrote which are not traced.
    stranger: Count,
    /// Resident pages that nobody owns.
    unowned_anonymous: u64,
    unowned_file: u64,
    /// Pages of which the folio is dirty and no path made it so.
    foreign: u64,
    large_folio: u64,
    /// Pages that may be dirty with no fault, by what made that possible.
    after_free: u64,
    after_swap_in: u64,
    silent: u64,
    unflagged: u64,
    anonymous_clean: u64,
    /// Dirty pages that KSM may have replaced by clean copies.
    merged: u64,
    /// The same three, of which the process's own page table says that it wrote them.
    sure_after_free: u64,
    sure_after_swap_in: u64,
    sure_silent: u64,
    /// Who brought the pages that may be dirty with no fault.
    silent_paths: Vec<PathId>,
    stretch: Stretch,
    /// Pages given up by MADV_FREE: by whom, whose they were, how many.
    given_up: Vec<(PathId, PathId, u64)>,
}

/// Neighbouring pages of large folios that are dirty.
#[derive(Default)]
struct Stretch {
    end: u64,
    unowned: u64,
    owned: bool,
}

impl Tally {
    /// For the paths of a space.
    #[must_use]
    pub fn new(space: &AddressSpace) -> Self {
        Self { counts: vec![Count::default(); space.paths().index_end()], ..Self::default() }
    }

    /// Counts a piece of the segment. `each` sees every run with its owner.
    pub fn piece(
        &mut self,
        space: &AddressSpace,
        segment: &Segment,
        pages: Option<&[PageRun]>,
        piece: Range<u64>,
        mut each: impl FnMut(u64, Owner),
    ) {
        let Some(pages) = pages else {
            // With no page map the model's word is all there is.
            space.owners().walk(piece, |run, owner| {
                let owner = known(owner);
                let count = (run.end - run.start) / PAGE;
                self.resident(owner.resident, count, true);
                if owner.dirty.is_some() {
                    self.dirty(owner.dirty, count, true);
                }
                each(count, owner);
            });
            return;
        };
        for (run, kind) in within(pages, piece) {
            if !is_resident(kind) {
                if kind.state == PageState::Swapped {
                    self.swapped += (run.end - run.start) / PAGE;
                }
                continue;
            }
            space.owners().walk_all(run, |run, owner| {
                let owner = known(owner);
                let count = (run.end - run.start) / PAGE;
                self.present += count;
                if kind.state == PageState::Anonymous {
                    self.anonymous(space, segment, run, kind, owner);
                } else {
                    self.resident(owner.resident, count, false);
                    self.file(space, segment, run, kind, owner);
                }
                each(count, owner);
            });
        }
    }

    fn count_mut(&mut self, path: PathId) -> &mut Count {
        if path == PathId::BEFORE {
            return &mut self.before;
        }
        if path == PathId::STRANGER {
            return &mut self.stranger;
        }
        let count = &mut self.counts[path.index()];
        if *count == Count::default() {
            self.used.push(path);
        }
        count
    }

    fn resident(&mut self, path: PathId, pages: u64, anonymous: bool) {
        if path.is_some() {
            self.count_mut(path).rss += pages;
        } else if anonymous {
            self.unowned_anonymous += pages;
        } else {
            self.unowned_file += pages;
        }
    }

    fn dirty(&mut self, path: PathId, pages: u64, cleanable: bool) {
        let count = self.count_mut(path);
        count.dirty += pages;
        if cleanable {
            count.cleanable += pages;
        }
    }

    /// Anonymous pages are dirty unless they were given up or came back from swap by a read.
    fn anonymous(
        &mut self,
        space: &AddressSpace,
        segment: &Segment,
        run: Range<u64>,
        kind: PageKind,
        owner: Owner,
    ) {
        let pages = (run.end - run.start) / PAGE;
        if owner.dirty.is_some() {
            self.resident(owner.resident, pages, true);
            // What KSM has merged and given back is a copy that nobody wrote.
            let clean = kind.entry_dirty == Some(false) || segment.dirty == 0;
            self.dirty(owner.dirty, pages, clean);
            if kind.entry_dirty.is_none() && !clean {
                self.merged += if segment.vm_flags.has("mg") { pages } else { space.merged(run) };
            }
            return;
        }
        let sure = kind.entry_dirty == Some(true);
        let mut free = 0;
        for (part, stack) in space.lazy_free().within(run) {
            let pages = (part.end - part.start) / PAGE;
            free += pages;
            let giver = space.paths().find(*stack, Cause::GivenUp).filter(|_| !sure);
            match giver {
                Some(giver) => self.given_up.push((giver, owner.resident, pages)),
                None => self.resident(owner.resident, pages, true),
            }
        }
        if pages > free {
            self.resident(owner.resident, pages - free, true);
        }
        if sure {
            self.sure_after_free += free;
        } else {
            self.after_free += free;
        }
        let swapped_in = space.paths().get(owner.resident).map(|p| p.cause) == Some(Cause::SwapIn);
        if swapped_in && sure {
            self.sure_after_swap_in += pages - free;
        } else if swapped_in {
            self.after_swap_in += pages - free;
        } else {
            self.anonymous_clean += pages - free;
        }
    }

    fn file(
        &mut self,
        space: &AddressSpace,
        segment: &Segment,
        run: Range<u64>,
        kind: PageKind,
        owner: Owner,
    ) {
        let pages = (run.end - run.start) / PAGE;
        let private = segment.is_private();
        // A page of the page cache in a private mapping is not the copy that a path wrote.
        let of_file = owner.dirty == PathId::BEFORE
            || owner.dirty == PathId::STRANGER
            || space.paths().get(owner.dirty).is_some_and(|path| path.cause.maps_page_cache());
        let owner =
            if private && !of_file { Owner { dirty: PathId::NONE, ..owner } } else { owner };
        let shared_memory = !private && {
            let cause = space.paths().get(owner.resident).map(|path| path.cause);
            cause == Some(Cause::SharedMemory) || is_shared_memory(segment)
        };
        if shared_memory && owner.dirty.is_none() && kind.folio_dirty == Some(true) {
            self.shared_dirty(space, run, kind, owner);
            return;
        }
        if shared_memory && owner.dirty.is_none() && kind.entry_dirty == Some(true) {
            // Written through this mapping, and no fault has told.
            self.sure_silent += pages;
            self.silent_path(owner.resident);
            return;
        }
        if kind.folio_dirty == Some(true) && kind.large_folio == Some(true) {
            self.stretch(run, owner.dirty.is_some());
        } else if kind.folio_dirty == Some(true) && owner.dirty.is_none() {
            self.foreign += pages;
        }
        match (owner.dirty.is_some(), kind.folio_dirty) {
            // Written back since, and write-protected again: a new write would have faulted.
            (true, Some(false)) if kind.entry_dirty != Some(true) => {}
            (true, known) => self.dirty(owner.dirty, pages, known.is_none()),
            (false, Some(true)) => {}
            (false, Some(false) | None) if shared_memory => {
                // Its own entry may say that it is clean.
                if kind.entry_dirty.is_none() {
                    self.silent += pages;
                    self.silent_path(owner.resident);
                }
            }
            (false, None) => self.unflagged += pages,
            (false, Some(false)) => {}
        }
    }

    /// Shared memory that is dirty, and that nobody is known to have written: before this process
    /// mapped it, or through this mapping with no fault.
    fn shared_dirty(
        &mut self,
        space: &AddressSpace,
        run: Range<u64>,
        kind: PageKind,
        owner: Owner,
    ) {
        let large = kind.large_folio == Some(true);
        for at in run.step_by(PAGE as usize) {
            let (was_dirty, before) = space.was_dirty(at, kind.entry_dirty == Some(false));
            if was_dirty && before {
                self.before.dirty += 1;
            } else if kind.entry_dirty == Some(true) && !was_dirty {
                self.sure_silent += 1;
                self.silent_path(owner.resident);
            } else if large {
                self.stretch(at..at + PAGE, false);
            } else {
                self.foreign += 1;
            }
        }
    }

    fn silent_path(&mut self, path: PathId) {
        if !self.silent_paths.contains(&path) {
            self.silent_paths.push(path);
        }
    }

    /// The kernel counts a large folio as dirty as a whole.
    fn stretch(&mut self, run: Range<u64>, owned: bool) {
        if run.start != self.stretch.end {
            self.end_stretch();
        }
        self.stretch.end = run.end;
        if owned {
            self.stretch.owned = true;
        } else {
            self.stretch.unowned += (run.end - run.start) / PAGE;
        }
    }

    /// Of the pages that were given up, so many are so still, as smaps counts them; the others were
    /// written since, with no fault, and have their old owner.
    fn end_given_up(&mut self, mut still: u64) {
        for (giver, owner, pages) in std::mem::take(&mut self.given_up) {
            let kept = pages.min(still);
            still -= kept;
            if kept > 0 {
                self.resident(giver, kept, true);
            }
            if pages > kept {
                self.resident(owner, pages - kept, true);
            }
        }
    }

    fn end_stretch(&mut self) {
        let stretch = std::mem::take(&mut self.stretch);
        if stretch.owned {
            self.large_folio += stretch.unowned;
        } else {
            self.foreign += stretch.unowned;
        }
    }

    /// Ends the segment: the paths' counts, and the reasons for the rest of RSS and Dirty. Then
    /// the tally is ready for the next segment. The last part is who may have written shared memory
    /// with no fault: who brought those pages, and who wrote others.
    pub fn finish(
        &mut self,
        segment: &Segment,
        has_pages: bool,
        setting: &mut Setting,
    ) -> (Vec<(PathId, Count)>, Residuals, Vec<PathId>) {
        self.end_stretch();
        self.end_given_up(segment.lazy_free / PAGE);
        let mut paths = Vec::with_capacity(self.used.len());
        for path in std::mem::take(&mut self.used) {
            paths.push((path, std::mem::take(&mut self.counts[path.index()])));
        }
        let mut residuals = Residuals::default();
        let unowned = self.finish_rss(segment, has_pages, setting, &paths, &mut residuals);
        self.finish_dirty(segment, has_pages, setting, &mut paths, &unowned, &mut residuals);
        let mut candidates = std::mem::take(&mut self.silent_paths);
        if !candidates.is_empty() {
            let writers = paths.iter().filter(|(_, count)| count.dirty > 0).map(|(path, _)| *path);
            let known = candidates.clone();
            candidates.extend(writers.filter(|path| !known.contains(path)));
        }
        let counts = std::mem::take(&mut self.counts);
        *self = Self { counts, ..Self::default() };
        (paths, residuals, candidates)
    }

    /// Reasons for the rest of RSS. Gives back the reasons of anonymous pages that nobody owns,
    /// in pages.
    fn finish_rss(
        &self,
        segment: &Segment,
        has_pages: bool,
        setting: &mut Setting,
        paths: &[(PathId, Count)],
        residuals: &mut Residuals,
    ) -> Vec<(Reason, u64)> {
        residuals.rss(Reason::BeforeAttach, bytes(self.before.rss));
        let unplaced = &mut setting.unplaced;
        let mut reasons = Vec::new();
        let mut rest = self.unowned_anonymous;
        for (reason, budget) in
            [(Reason::Remote, &mut unplaced.remote), (Reason::Pinned, &mut unplaced.pinned)]
        {
            let pages = rest.min(*budget);
            *budget -= pages;
            rest -= pages;
            reasons.push((reason, pages));
        }
        let otherwise = if setting.lost {
            Reason::LostEvents
        } else if setting.moment.stands() {
            unknown(segment)
        } else {
            Reason::SnapshotRace
        };
        reasons.push((otherwise, rest));
        let mut file = self.unowned_file;
        let pinned = file.min(setting.unplaced.pinned);
        setting.unplaced.pinned -= pinned;
        file -= pinned;
        residuals.rss(Reason::Pinned, bytes(pinned));
        residuals.rss(otherwise, bytes(file));
        for (reason, pages) in &reasons {
            residuals.rss(*reason, bytes(*pages));
        }
        let explained: u64 =
            paths.iter().map(|(_, count)| count.rss).sum::<u64>() + self.before.rss;
        let known = explained + self.unowned_anonymous + self.unowned_file;
        let missing = signed(segment.rss) - bytes(known);
        let reason = if !has_pages {
            Reason::NoPageMap
        } else if !setting.moment.stands() {
            Reason::SnapshotRace
        } else if missing > 0 && bytes(self.swapped) >= missing {
            Reason::Migration
        } else {
            Reason::PageMapMismatch
        };
        residuals.rss(reason, missing);
        reasons
    }

    fn finish_dirty(
        &self,
        segment: &Segment,
        has_pages: bool,
        setting: &Setting,
        paths: &mut [(PathId, Count)],
        unowned: &[(Reason, u64)],
        residuals: &mut Residuals,
    ) {
        residuals.dirty(Reason::BeforeAttach, bytes(self.before.dirty));
        residuals.dirty(Reason::Stranger, bytes(self.stranger.dirty));
        residuals.dirty(Reason::PageCacheWrite, bytes(self.foreign));
        residuals.dirty(Reason::LargeFolio, bytes(self.large_folio));
        residuals.dirty(Reason::WriteAfterMadvFree, bytes(self.sure_after_free));
        residuals.dirty(Reason::WriteAfterSwapIn, bytes(self.sure_after_swap_in));
        residuals.dirty(Reason::SharedWriteWithoutFault, bytes(self.sure_silent));
        let sum = |paths: &[(PathId, Count)]| paths.iter().map(|(_, c)| c.dirty).sum::<u64>();
        let certain = sum(paths)
            + self.before.dirty
            + self.stranger.dirty
            + self.foreign
            + self.large_folio
            + self.sure_after_free
            + self.sure_after_swap_in
            + self.sure_silent;
        let mut rest = signed(segment.dirty) - bytes(certain);
        let cleanable: u64 = paths.iter().map(|(_, count)| count.cleanable).sum();
        if rest < 0 && (segment.dirty == 0 || rest == -bytes(cleanable)) {
            for (_, count) in paths.iter_mut() {
                count.dirty -= count.cleanable;
            }
            rest += bytes(cleanable);
        } else if rest < 0 {
            let cleaned = rest.max(-bytes(cleanable + self.merged + segment.lazy_free / PAGE));
            residuals.dirty(Reason::Cleaned, cleaned);
            rest -= cleaned;
        }
        // Pages that may be dirty with no fault, the likeliest first. Nobody owns some anonymous
        // pages at all; they have their reasons from RSS.
        let unowned_pages: u64 = unowned.iter().map(|(_, pages)| *pages).sum();
        let owned_clean = self.anonymous_clean.saturating_sub(unowned_pages);
        let pools = unowned.iter().copied().chain([
            (Reason::WriteAfterMadvFree, self.after_free),
            (Reason::WriteAfterSwapIn, self.after_swap_in),
            (Reason::SharedWriteWithoutFault, self.silent),
            (self.replaced(segment, setting), owned_clean),
            (Reason::BeforeAttach, self.before.rss - self.before.dirty.min(self.before.rss)),
            (Reason::PageCacheWrite, self.unflagged),
        ]);
        for (reason, pages) in pools {
            let part = rest.clamp(0, bytes(pages));
            residuals.dirty(reason, part);
            rest -= part;
        }
        let reason = if !has_pages {
            Reason::NoPageMap
        } else if !setting.moment.stands() {
            Reason::SnapshotRace
        } else if setting.lost {
            Reason::LostEvents
        } else if !segment.is_private() {
            // What is shared may be written, or written back, while this process stands still.
            Reason::SnapshotRace
        } else {
            Reason::Unknown
        };
        residuals.dirty(reason, rest);
    }

    /// Who put an anonymous page, with no fault, where a path had mapped another.
    fn replaced(&self, segment: &Segment, setting: &Setting) -> Reason {
        if setting.unplaced.remote > 0 {
            Reason::Remote
        } else if setting.unplaced.pinned > 0 {
            Reason::Pinned
        } else if setting.lost {
            Reason::LostEvents
        } else {
            unknown(segment)
        }
    }
}

/// Why a private page is there that nobody is known to have brought: in code of a file, a breakpoint.
fn unknown(segment: &Segment) -> Reason {
    let code = segment.is_private() && segment.has_file() && segment.perms.contains('x');
    if code { Reason::Breakpoint } else { Reason::Unknown }
}

/// The owner as far as no event was lost since.
fn known(owner: Owner) -> Owner {
    let sure = |path: PathId| if path == PathId::LOST { PathId::NONE } else { path };
    Owner { resident: sure(owner.resident), dirty: sure(owner.dirty) }
}

/// Shared memory by its name in maps, where no fault has told.
fn is_shared_memory(segment: &Segment) -> bool {
    ["/memfd:", "/SYSV", "/dev/zero", "/dev/shm/"]
        .iter()
        .any(|prefix| segment.name.starts_with(prefix))
}

fn bytes(pages: u64) -> i64 {
    signed(pages.saturating_mul(PAGE))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
