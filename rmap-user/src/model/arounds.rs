//! Faults that mapped pages of files around them, in their order.
//!
//! Since Linux 6.18 fault-around maps each large folio that its window meets as a whole
//! (`filemap_map_folio_range`, `mm/filemap.c`), and `finish_fault` (`mm/memory.c`) the one of the
//! faulting page. How far such a folio reaches, a snapshot shows; who was the first to map a part
//! of it, and so all of it, is kept here until then.
//!
//! Comes in: the window of each such fault and what the page table had there at its end. Goes out:
//! the first path that had all of a folio's part in its window.

use std::collections::BTreeMap;
use std::ops::Range;

use super::owners::PAGE;
use super::path::PathId;

/// The largest window: `fault_around_bytes` of the kernel.
const WINDOW: u64 = 64 << 10;
/// Faults that are kept of one window; each brings a page at least, as long as none goes unseen.
const EACH: usize = (WINDOW / PAGE) as usize;

/// How far the kernel may have gone at a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Where fault-around looks.
    pub(super) window: Range<u64>,
    /// The VMA as it was then, within one page table: no folio that leaves it is mapped as a whole.
    pub(super) whole: Range<u64>,
    /// Where the VMA's file begins, as [`super::Vma::base`] has it.
    pub(super) base: u64,
}

/// What is kept of a fault.
#[derive(Clone, Debug)]
struct Fault {
    bounds: Bounds,
    page: u64,
    /// Bit `n`: page `n` from the window's start on was mapped, and was not unmapped since.
    mapped: u32,
    path: PathId,
}

impl Fault {
    /// The bits of those pages of a range that lie in the window.
    fn bits(&self, range: &Range<u64>) -> u32 {
        let window = &self.bounds.window;
        let part = range.start.max(window.start)..range.end.min(window.end);
        let pages = part.step_by(PAGE as usize).map(|at| 1 << ((at - window.start) / PAGE));
        pages.fold(0, |bits, page: u32| bits | page)
    }
}

/// By start of the window, then by age.
type Key = (u64, u32);

/// A fault of which pages were taken out of the window.
#[derive(Clone, Debug)]
pub(super) struct Window(Key, Fault);

/// Faults with what they saw around them.
#[derive(Clone, Debug, Default)]
pub struct Arounds {
    faults: BTreeMap<Key, Fault>,
    next: u32,
}

impl Arounds {
    /// Adds a fault on a page. `mapped`: bit `n` for page `n` from the start of the window on.
    pub(super) fn add(&mut self, page: u64, bounds: Bounds, mapped: u32, path: PathId) {
        let window = &bounds.window;
        let last = ((window.end - window.start) / PAGE).saturating_sub(1);
        // A folio that reaches out of the window has the page at its edge.
        let crosses = mapped & 1 != 0 || mapped >> last & 1 != 0;
        let (start, place) = (window.start, (window.start, 0)..=(window.start, u32::MAX));
        if crosses && self.faults.range(place).count() < EACH {
            self.faults.insert((start, self.next), Fault { bounds, page, mapped, path });
            self.next = self.next.wrapping_add(1);
        }
    }

    /// The pages of a range are mapped no longer. What else the same faults mapped stays known.
    pub(super) fn forget(&mut self, range: &Range<u64>) {
        self.take(range);
    }

    /// The same, and gives back the faults that had mapped some of them.
    pub(super) fn take(&mut self, range: &Range<u64>) -> Vec<Window> {
        if self.faults.is_empty() {
            return Vec::new();
        }
        let met = self.meeting(range).filter(|(_, fault)| fault.mapped & fault.bits(range) != 0);
        let met: Vec<_> = met.map(|(key, fault)| Window(key, fault.clone())).collect();
        for Window(key, fault) in &met {
            match fault.mapped & !fault.bits(range) {
                0 => _ = self.faults.remove(key),
                mapped => _ = self.faults.insert(*key, Fault { mapped, ..fault.clone() }),
            }
        }
        met
    }

    /// Puts back what was taken, of pages from an address on.
    pub(super) fn put_back(&mut self, windows: Vec<Window>, from: u64) {
        for Window(key, fault) in windows {
            let back = fault.mapped & fault.bits(&(from..u64::MAX));
            let left = self.faults.get(&key).map_or(0, |fault| fault.mapped);
            if back | left != 0 {
                self.faults.insert(key, Fault { mapped: back | left, ..fault });
            }
        }
    }

    /// The paths that mapped a folio as a whole, the first one first, with where its file begins.
    /// None if the first of them did not after all: a later fault was on a page of it.
    #[must_use]
    pub fn over(&self, folio: &Range<u64>) -> Option<(Vec<PathId>, u64)> {
        let within = |range: &Range<u64>| range.start <= folio.start && folio.end <= range.end;
        let mut found: Vec<_> = self
            .meeting(folio)
            .filter(|(_, fault)| within(&fault.bounds.whole))
            .filter(|(_, fault)| fault.mapped & fault.bits(folio) != 0)
            .map(|((_, age), fault)| (age, fault))
            .collect();
        found.sort_unstable_by_key(|(age, _)| *age);
        let base = found.first()?.1.bounds.base;
        found.retain(|(_, fault)| fault.bounds.base == base);
        if found.iter().skip(1).any(|(_, fault)| folio.contains(&fault.page)) {
            return None;
        }
        Some((found.into_iter().map(|(_, fault)| fault.path).collect(), base))
    }

    /// The faults of which the window meets a range.
    fn meeting(&self, range: &Range<u64>) -> impl Iterator<Item = (Key, &Fault)> {
        let (start, lowest) = (range.start, range.start.saturating_sub(WINDOW));
        let near = self.faults.range((lowest, 0)..(range.end, 0));
        near.filter(move |(_, fault)| fault.bounds.window.end > start).map(|(key, f)| (*key, f))
    }
}
