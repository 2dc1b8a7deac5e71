//! What a call takes out of a part of an address space, to put it elsewhere or back.
//!
//! Plain data: `taking.rs` takes it out, and enters it at another address or where it was.

use std::ops::Range;

use super::arounds::Window;
use super::candidates::Candidate;
use super::lock::Lock;
use super::mapping::Vma;
use super::owner::Owner;
use super::owners::PAGE;
use super::path::StackRef;
use super::populated::Populated;

/// All that was known of a range.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    pub(super) old: Range<u64>,
    pub(super) vmas: Vec<(Range<u64>, Vma)>,
    pub(super) owners: Vec<(Range<u64>, Owner)>,
    pub(super) around: Vec<(u64, Candidate)>,
    pub(super) lazy_free: Vec<(Range<u64>, Option<StackRef>)>,
    pub(super) windows: Vec<Window>,
    pub(super) populated: Vec<(Range<u64>, Populated)>,
    pub(super) paged_out: Vec<(Range<u64>, Option<StackRef>)>,
    pub(super) mergeable: Vec<(Range<u64>, ())>,
    pub(super) lost: Vec<(Range<u64>, ())>,
    pub(super) locks: Vec<(Range<u64>, Lock)>,
}

impl Taken {
    /// Nothing yet, of a range.
    pub(super) fn of(old: Range<u64>) -> Self {
        Self { old, ..Self::default() }
    }

    /// Adds what was taken of another part.
    pub(super) fn append(&mut self, mut more: Self) {
        self.vmas.append(&mut more.vmas);
        self.owners.append(&mut more.owners);
        self.around.append(&mut more.around);
        self.lazy_free.append(&mut more.lazy_free);
        self.windows.append(&mut more.windows);
        self.populated.append(&mut more.populated);
        self.paged_out.append(&mut more.paged_out);
        self.mergeable.append(&mut more.mergeable);
        self.lost.append(&mut more.lost);
        self.locks.append(&mut more.locks);
    }

    /// Pages from an address on that were resident, as far as they are known.
    pub(super) fn resident_pages(&self, from: u64) -> u64 {
        let resident = self.owners.iter().filter(|(_, owner)| owner.resident.is_some());
        let owned: u64 =
            resident.map(|(run, _)| run.end.saturating_sub(run.start.max(from)) / PAGE).sum();
        let around = self.around.iter().filter(|(start, _)| *start >= from);
        owned + around.map(|(_, candidate)| u64::from(candidate.remaining)).sum::<u64>()
    }
}

/// Where the file of a mapping that moved `shift` bytes up begins.
pub(super) const fn shifted(vma: &Vma, shift: u64) -> u64 {
    if vma.file || vma.shared { vma.base.wrapping_add(shift) } else { vma.base }
}
