//! Faults: whose the pages are afterwards.

use std::ops::Range;

use super::arounds::Bounds;
use super::candidates::Candidate;
use super::cause::Cause;
use super::fault::{Outcome, Reach, classify};
use super::mapping::{Actor, InstanceId, Vma};
use super::owner::Owner;
use super::owners::{HUGE, PAGE, page_down};
use super::path::PathId;
use super::space::AddressSpace;
use crate::trace::{Delta, Fault, FaultRun, FileId};

/// `fault_around_bytes` of the kernel (`mm/memory.c`), as it is unless debugfs changed it.
const FAULT_AROUND: u64 = 64 << 10;
/// A stack does not grow by more than this at once: the usual limit of stacks, with room.
const STACK_REACH: u64 = 256 << 20;

/// The strides of a run that goes from page to page.
const UP: i64 = PAGE as i64;
const DOWN: i64 = -UP;

/// What a page was that was written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// Dirty, and it stayed the same: nothing changes but its content.
    Dirty,
    /// Clean, or it was copied: it has another owner now.
    Clean,
}

/// Bytes of a file, or of shared memory, that a fault wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub file: FileId,
    /// Which bytes of it.
    pub bytes: Range<u64>,
    /// How.
    pub cause: Cause,
}

impl AddressSpace {
    /// Applies a fault. `loading`: the kernel took it while it loaded a program into this space.
    /// Gives back what it wrote of a file or of shared memory that others may map.
    pub fn fault(&mut self, fault: &Fault, actor: Actor, loading: bool) -> Option<Written> {
        let page = page_down(fault.address);
        let again = self.written_again(page, fault, actor);
        if again == Some(Again::Dirty) {
            return None;
        }
        let (vma, grew) = self.vma_of_fault(page);
        let mut outcome = classify(fault, vma.as_ref().map(|(_, vma)| vma), grew)?;
        if outcome.cause == Cause::SwapIn {
            self.swapped_out(block_of(page, &outcome, vma.as_ref()));
        }
        let forked = matches!(outcome.cause, Cause::ForkCow | Cause::ForkReuse);
        if outcome.cause == Cause::ForkCow && self.mergeable.find(page).is_some() {
            outcome.cause = Cause::KsmCow;
        } else if again.is_some() && outcome.cause == Cause::ForkReuse {
            // Clean, for it was given up by MADV_FREE, or came back from swap.
            outcome.cause = Cause::ProtectedWrite;
            self.lazy_free.cut(page..page + PAGE);
        } else if forked && !self.may_share {
            // Nobody to share with: another thread was faster, or something else than a fork had
            // write-protected the page.
            let merged = self.merged(page..page + PAGE) > 0;
            if self.owners.get(page).dirty.is_some() && !merged {
                return None;
            }
            outcome.cause = Cause::ProtectedWrite;
        }
        // What is resident and dirty stays whose it was; only a page that was clean is made dirty.
        outcome.dirty &= outcome.resident
            || outcome.cause != Cause::ForkReuse
            || self.owners.get(page).dirty.is_none();
        if outcome.guess && self.owners.get(page).resident.is_some() {
            return None;
        }
        // Anonymous neighbours came with others if no counter tells how many did.
        let alone = outcome.guess && matches!(outcome.reach, Reach::Block(1));
        let shown = fault.entry.and_then(|entry| entry.window).filter(|_| !alone);
        if outcome.cause == Cause::FirstWrite
            && self.shows_neighbours(page, shown.unwrap_or(0), vma.as_ref(), &outcome)
        {
            outcome.cause = Cause::MultiSizeHugePage;
        }
        let path = if loading {
            self.paths.intern(None, Cause::Exec)
        } else {
            self.paths.intern(actor.stack, outcome.cause)
        };
        let instance = vma.as_ref().map_or(InstanceId::UNKNOWN, |(_, vma)| vma.instance);
        if fault.access.is_some_and(|access| !access.present) {
            self.taken_back(page..page + PAGE);
            if !self.doubts.is_empty() {
                self.doubt_confirmed(page..page + PAGE);
            }
        }
        let keeps_dirty = vma.as_ref().is_some_and(|(_, vma)| vma.shared);
        self.note_found_dirty(page, fault, keeps_dirty);
        let came = fault.access.is_none_or(|access| !access.present);
        // The page table knows which neighbours came; else their number must do, if it is known.
        let pages = match outcome.reach {
            Reach::Block(1) | Reach::Around(_) if shown.is_some() && outcome.resident => {
                self.claim_page(page, path, &outcome, came && !keeps_dirty);
                let shown = shown.unwrap_or(0);
                if let (Reach::Around(_), Some(vma)) = (outcome.reach, &vma) {
                    let bounds = bounds(page, vma);
                    let skipped = bounds.window.start % FAULT_AROUND / PAGE;
                    self.arounds.add(page, bounds, shown >> skipped, path);
                }
                1 + self.claim_shown(page, shown, vma.as_ref(), path, &outcome)
            }
            Reach::Block(1) => {
                self.claim_page(page, path, &outcome, came && !keeps_dirty);
                1
            }
            Reach::Block(pages) => {
                let block = block(page, u64::from(pages), vma.as_ref());
                self.claim_block(page, block, path, &outcome, fault.delta_inexact)
            }
            Reach::Around(pages) => {
                self.claim_page(page, path, &outcome, came && !keeps_dirty);
                let window = window(page, u64::from(pages), vma.as_ref());
                let others = if fault.delta_inexact && fault.entry.is_none() {
                    u32::try_from((window.end - window.start) / PAGE).unwrap_or(1) - 1
                } else {
                    pages - 1
                };
                1 + self.claim_around(window, others, path, !fault.delta_inexact)
            }
        };
        self.mappings.stats_mut(instance, path).add(pages, 1, actor.tid, actor.time_ns);
        let (_, of) = vma.as_ref().filter(|(_, vma)| vma.shared && outcome.dirty)?;
        let pages = block_of(page, &outcome, vma.as_ref());
        let bytes = pages.start.wrapping_sub(of.base)..pages.end.wrapping_sub(of.base);
        Some(Written { file: of.id?, bytes, cause: outcome.cause })
    }

    /// Counts a write to a page that is protected to see it. `None`: it is none.
    fn written_again(&mut self, page: u64, fault: &Fault, actor: Actor) -> Option<Again> {
        let rewrites = self.rewrites.as_deref_mut()?;
        let writes = fault.access.is_some_and(|access| access.write && access.present);
        let unmoved = fault.delta == Delta::default();
        // Where page tables are not read, what is known to be protected must do.
        let unread = fault.same_page.is_none() && fault.rewrite.is_none();
        let guessed = unread && writes && unmoved && rewrites.is_armed(page);
        if fault.rewrite.is_none() && !guessed {
            return None;
        }
        let path = self.paths.intern(actor.stack, Cause::Rewrite);
        rewrites.fault(page, path, actor.tid, actor.time_ns);
        let dirty = fault.rewrite.is_none_or(|rewrite| rewrite.was_dirty);
        let same = unmoved && fault.same_page != Some(false);
        // The entry of shared memory that was only read here is dirty if somebody wrote the page.
        let shared = self.mappings.vmas().find(page).is_some_and(|(_, vma)| vma.shared);
        let known = !shared || self.owners.get(page).dirty.is_some();
        Some(if dirty && same && known { Again::Dirty } else { Again::Clean })
    }

    /// Applies a run of faults at once, of which `fault` is the first: the ones that are most of all
    /// faults, first writes to one page of private memory after the other. `None`, and nothing is
    /// done, if it is another one, or if there is more to look at than that.
    pub fn first_writes(&mut self, fault: &Fault, run: &FaultRun, actor: Actor) -> Option<()> {
        let more = u64::try_from(run.times_ns.len()).ok()?.checked_sub(1)?;
        let page = page_down(fault.address);
        let (start, last) = match run.stride {
            UP => (page, page.checked_add(more.checked_mul(PAGE)?)?),
            DOWN => (page.checked_sub(more.checked_mul(PAGE)?)?, page),
            _ => return None,
        };
        let pages = start..last.checked_add(PAGE)?;
        let (range, vma) = self.mappings.vmas().find(page)?;
        let inside = range.start <= pages.start && pages.end <= range.end;
        let came = fault.access.is_some_and(|access| !access.present);
        let alone = fault.entry.is_none_or(|entry| entry.window.is_none());
        if !(inside
            && vma.is_private_anonymous()
            && came
            && alone
            && self.lazy_free.is_empty()
            && self.doubts.is_empty())
        {
            return None;
        }
        let outcome = classify(fault, Some(vma), false)?;
        let plain = matches!(outcome.cause, Cause::FirstWrite | Cause::KernelWrite)
            && outcome.reach == Reach::Block(1)
            && outcome.resident
            && outcome.dirty
            && !outcome.guess;
        if !plain {
            return None;
        }
        // Then the space holds most at the last one, as if each of them came for itself.
        if self.owners.count_not_resident(pages.clone()) != more + 1 {
            return None;
        }
        let instance = vma.instance;
        let path = self.paths.intern(actor.stack, outcome.cause);
        self.owners.claim(pages, Some(path), Some(path));
        let times = &run.times_ns;
        let (first_ns, last_ns) = (times.iter().min()?, times.iter().max()?);
        let stats = self.mappings.stats_mut(instance, path);
        stats.add(more + 1, more + 1, actor.tid, *first_ns);
        stats.add(0, 0, actor.tid, *last_ns);
        Some(())
    }

    /// A read that finds a page of shared memory dirty: it was written before. Since Linux 6.13 its
    /// page-table entry is dirty from then on (`set_pte_range`, `mm/memory.c`). What fault-around
    /// maps with it is taken to be alike.
    fn note_found_dirty(&mut self, page: u64, fault: &Fault, shared: bool) {
        let read = fault.access.is_some_and(|access| !access.write && !access.present);
        let Some(entry) = fault.entry.filter(|entry| shared && read && entry.dirty) else { return };
        let start = page & !(FAULT_AROUND - 1);
        let mut rest = entry.window.unwrap_or(0);
        self.found_dirty.insert(page..page + PAGE, ());
        while rest != 0 {
            let at = start + u64::from(rest.trailing_zeros()) * PAGE;
            rest &= rest - 1;
            if self.owners.get(at).resident.is_none() {
                self.found_dirty.insert(at..at + PAGE, ());
            }
        }
    }

    fn claim_page(&mut self, page: u64, path: PathId, outcome: &Outcome, clean: bool) {
        let replaces = outcome.resident && outcome.dirty && outcome.cause == Cause::FileCow;
        self.owners.update(page..page + PAGE, |owner| Owner {
            resident: if outcome.resident { path } else { owner.resident },
            dirty: match (outcome.dirty, clean) {
                (true, _) => path,
                (false, true) => PathId::NONE,
                (false, false) => owner.dirty,
            },
        });
        if replaces && !self.around.is_empty() {
            self.around.consume(page);
        }
    }

    /// A folio came as a whole. If the number is not sure, pages that others own stay theirs.
    fn claim_block(
        &mut self,
        page: u64,
        block: Range<u64>,
        path: PathId,
        outcome: &Outcome,
        inexact: bool,
    ) -> u64 {
        let dirty = if outcome.dirty { path } else { PathId::NONE };
        let new = Owner { resident: path, dirty };
        if !inexact {
            self.owners.update(block.clone(), |_| new);
            return (block.end - block.start) / PAGE;
        }
        let mut free = Vec::new();
        self.owners.walk_all(block, |run, owner| {
            if owner.is_nobody() {
                free.push(run);
            }
        });
        let mut pages = 0;
        for run in free {
            pages += (run.end - run.start) / PAGE;
            self.owners.update(run, |_| new);
        }
        if self.owners.get(page) != new {
            self.owners.update(page..page + PAGE, |_| new);
            pages += 1;
        }
        pages
    }

    /// Neighbours that were mapped with the faulting page, which has its owner already.
    fn claim_around(&mut self, window: Range<u64>, others: u32, path: PathId, exact: bool) -> u64 {
        let pages = (window.end - window.start) / PAGE;
        let others = u64::from(others).min(pages.saturating_sub(1));
        if others == 0 {
            return 0;
        }
        if exact && others + 1 == pages {
            // All of them came, so whoever had some before has lost them.
            self.owners.claim(window, Some(path), None);
            return others;
        }
        if exact && others >= self.owners.count_not_resident(window.clone()) {
            self.owners.update(window, |owner| Owner {
                resident: if owner.resident.is_none() { path } else { owner.resident },
                dirty: owner.dirty,
            });
            return others;
        }
        let remaining = u32::try_from(others).unwrap_or(u32::MAX);
        self.around.add(window.start, Candidate { end: window.end, remaining, path, exact });
        others
    }

    /// Neighbours of the faulting page (which has its owner already) that the page table shows
    /// after the fault: bit `n` of `window` is page `n` of the block that it is in, and of the next
    /// one. Those without an owner came with this fault.
    fn claim_shown(
        &mut self,
        page: u64,
        window: u32,
        vma: Option<&(Range<u64>, Vma)>,
        path: PathId,
        outcome: &Outcome,
    ) -> u64 {
        // Anonymous neighbours are of the same folio, and so as dirty as it is.
        let around = matches!(outcome.reach, Reach::Around(_));
        let dirty = !around && outcome.dirty;
        let new = Owner { resident: path, dirty: if dirty { path } else { PathId::NONE } };
        let mut pages = 0;
        for neighbour in self.neighbours(page, window, vma, outcome) {
            if self.owners.get(neighbour).is_nobody() {
                self.owners.update(neighbour..neighbour + PAGE, |_| new);
                pages += 1;
            }
        }
        pages
    }

    /// Whether there are such neighbours: then it was no single page that came.
    fn shows_neighbours(
        &self,
        page: u64,
        window: u32,
        vma: Option<&(Range<u64>, Vma)>,
        outcome: &Outcome,
    ) -> bool {
        self.neighbours(page, window, vma, outcome)
            .into_iter()
            .any(|neighbour| neighbour != page && self.owners.get(neighbour).is_nobody())
    }

    /// The pages that the page table shows after a fault and that may have come with it: not those
    /// that a call has brought in, nor those of other mappings.
    fn neighbours(
        &self,
        page: u64,
        window: u32,
        vma: Option<&(Range<u64>, Vma)>,
        outcome: &Outcome,
    ) -> Vec<u64> {
        if window == 0 {
            return Vec::new();
        }
        let start = page & !(FAULT_AROUND - 1);
        // What lies further away came otherwise.
        let around = matches!(outcome.reach, Reach::Around(_));
        let reach = if around { self::window(page, 1, vma) } else { 0..u64::MAX };
        let inside = vma.map_or_else(|| self.gap_around(page), |(range, _)| range.clone());
        let mut found = Vec::new();
        // Most faults show few, so only the bits that are set are looked at.
        let mut rest = window;
        while rest != 0 {
            let at = start + u64::from(rest.trailing_zeros()) * PAGE;
            rest &= rest - 1;
            if inside.contains(&at) && reach.contains(&at) && self.populated.find(at).is_none() {
                found.push(at);
            }
        }
        found
    }

    /// What lies between the mappings that are known, around an address in none of them.
    fn gap_around(&self, address: u64) -> Range<u64> {
        let vmas = self.mappings.vmas();
        let start = vmas.last_below(address).map_or(0, |(range, _)| range.end);
        start..vmas.first_from(address).map_or(u64::MAX, |(range, _)| range.start)
    }

    /// The VMA of a fault, extended if it is a stack that grew.
    fn vma_of_fault(&mut self, page: u64) -> (Option<(Range<u64>, Vma)>, bool) {
        let vmas = self.mappings.vmas();
        if let Some((range, vma)) = vmas.find(page) {
            return (Some((range, *vma)), false);
        }
        let above = vmas
            .first_from(page)
            .filter(|(range, vma)| vma.grows_down && range.start - page <= STACK_REACH)
            .map(|(range, vma)| (range, *vma));
        let Some((range, vma)) = above else { return (None, false) };
        self.mappings.map(page..range.start, vma);
        (Some((page..range.end, vma)), true)
    }
}

/// The pages that an outcome is sure of.
fn block_of(page: u64, outcome: &Outcome, vma: Option<&(Range<u64>, Vma)>) -> Range<u64> {
    match outcome.reach {
        Reach::Block(pages) => block(page, u64::from(pages), vma),
        Reach::Around(_) => page..page + PAGE,
    }
}

/// The naturally aligned block of so many pages that holds a page. A folio of a file is aligned
/// in the file.
fn block(page: u64, pages: u64, vma: Option<&(Range<u64>, Vma)>) -> Range<u64> {
    let size = pages.next_power_of_two() * PAGE;
    let base = match vma {
        // Huge entries are aligned in memory, whatever the file.
        Some((_, vma)) if vma.file && size < HUGE => vma.base,
        _ => 0,
    };
    let into = page.wrapping_sub(base) % size;
    let start = page.saturating_sub(into);
    let block = start..start.saturating_add(size);
    match vma {
        Some((range, _)) => block.start.max(range.start)..block.end.min(range.end),
        None => block,
    }
}

/// How far a fault in a file's mapping may have gone.
fn bounds(page: u64, vma: &(Range<u64>, Vma)) -> Bounds {
    let window = window(page, 1, Some(vma));
    Bounds { window, whole: in_table(page, Some(vma)), base: vma.1.base }
}

/// The part of a mapping that has the page table of a page.
fn in_table(page: u64, vma: Option<&(Range<u64>, Vma)>) -> Range<u64> {
    let table = page & !(HUGE - 1)..(page & !(HUGE - 1)).saturating_add(HUGE);
    match vma {
        Some((range, _)) => table.start.max(range.start)..table.end.min(range.end),
        None => table,
    }
}

/// Where a fault of so many pages may have mapped neighbours (`do_fault_around`, `mm/memory.c`):
/// the window starts at a multiple of its size or at the VMA's start, and ends at the VMA's end
/// or at the page table's.
fn window(page: u64, pages: u64, vma: Option<&(Range<u64>, Vma)>) -> Range<u64> {
    if pages * PAGE > FAULT_AROUND {
        return block(page, pages, vma);
    }
    let limit = in_table(page, vma);
    let start = (page & !(FAULT_AROUND - 1)).max(limit.start);
    start..(start + FAULT_AROUND).min(limit.end)
}
