//! Events that were lost: claims that are older than they are no longer sure.
//!
//! Comes in: which pages lost events were about, as far as that is known. What is not sure any more
//! belongs to nobody until somebody claims it anew, and is reported as lost.

use super::owner::Owner;
use super::path::PathId;
use super::space::AddressSpace;
use crate::trace::MissingPages;

/// Who owns a page of which an event was lost.
const LOST: Owner = Owner { resident: PathId::LOST, dirty: PathId::LOST };

impl AddressSpace {
    /// Faults on these pages were lost, later than all that is known of them.
    pub fn missing_pages(&mut self, pages: &MissingPages) {
        for run in pages.runs() {
            self.owners.update(run.clone(), |_| LOST);
            self.lazy_free.cut(run);
        }
    }

    /// Something was lost, and where is not known. `calls`: not only faults.
    pub fn missing_anywhere(&mut self, calls: bool, time_ns: u64) {
        let mut owned = Vec::new();
        self.owners.walk(0..u64::MAX, |run, _| owned.push(run));
        for run in owned {
            self.owners.update(run, |_| LOST);
        }
        let everything = 0..u64::MAX;
        self.around.cut(everything.clone());
        self.arounds.forget(&everything);
        self.paged_out.cut(everything.clone());
        self.populated.cut(everything.clone());
        self.lazy_free.cut(everything.clone());
        self.lost.insert(everything, ());
        if calls {
            // What a move has taken along may be anywhere, and a fork may have been among them.
            self.in_flight.clear();
            self.all_went_well();
            self.may_share = true;
            self.calls_lost = true;
            self.mappings.forget_origins(time_ns);
        }
    }
}
