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

/// What is kept of a fault.
#[derive(Clone, Copy, Debug)]
struct Fault {
    end: u64,
    page: u64,
    /// Bit `n`: page `n` from the window's start on was mapped.
    mapped: u32,
    path: PathId,
}

/// Faults with what they saw around them.
#[derive(Clone, Debug, Default)]
pub struct Arounds {
    // By start of the window, then by age.
    faults: BTreeMap<(u64, u32), Fault>,
    next: u32,
}

impl Arounds {
    /// Adds a fault on a page. `mapped`: bit `n` for page `n` from the start of the window on.
    pub(super) fn add(&mut self, page: u64, window: Range<u64>, mapped: u32, path: PathId) {
        let last = ((window.end - window.start) / PAGE).saturating_sub(1);
        // A folio that reaches out of the window has the page at its edge.
        let crosses = mapped & 1 != 0 || mapped >> last & 1 != 0;
        let place = (window.start, 0)..=(window.start, u32::MAX);
        if crosses && self.faults.range(place).count() < EACH {
            let fault = Fault { end: window.end, page, mapped, path };
            self.faults.insert((window.start, self.next), fault);
            self.next = self.next.wrapping_add(1);
        }
    }

    /// The pages of a range are mapped no longer.
    pub(super) fn forget(&mut self, range: &Range<u64>) {
        if self.faults.is_empty() {
            return;
        }
        let gone: Vec<_> = self.meeting(range).map(|(key, _)| key).collect();
        for key in gone {
            self.faults.remove(&key);
        }
    }

    /// The paths that saw their part of a folio mapped, the first one first. None if the folio was not
    /// mapped as a whole by that one: a later fault was on a page of it.
    #[must_use]
    pub fn over(&self, folio: &Range<u64>) -> Vec<PathId> {
        let sees_its_part = |start: u64, fault: &Fault| {
            let part = folio.start.max(start)..folio.end.min(fault.end);
            part.step_by(PAGE as usize).all(|at| fault.mapped >> ((at - start) / PAGE) & 1 != 0)
        };
        let mut found: Vec<_> = self
            .meeting(folio)
            .filter(|((start, _), fault)| sees_its_part(*start, fault))
            .map(|((_, age), fault)| (age, fault))
            .collect();
        found.sort_unstable_by_key(|(age, _)| *age);
        if found.iter().skip(1).any(|(_, fault)| folio.contains(&fault.page)) {
            return Vec::new();
        }
        found.into_iter().map(|(_, fault)| fault.path).collect()
    }

    /// The faults of which the window meets a range.
    fn meeting(&self, range: &Range<u64>) -> impl Iterator<Item = ((u64, u32), &Fault)> {
        let (start, lowest) = (range.start, range.start.saturating_sub(WINDOW));
        let near = self.faults.range((lowest, 0)..(range.end, 0));
        near.filter(move |(_, fault)| fault.end > start).map(|(key, fault)| (*key, fault))
    }
}
