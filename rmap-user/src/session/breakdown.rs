//! A segment as smaps shows it: its addresses, sizes and flags, with nothing of who made them.
//!
//! Comes in: a [`Segment`] of a snapshot. Goes out: a segment of the report without paths.

use crate::report::{self, Breakdown};
use crate::trace::{Measure, Segment};

/// The segment with its sizes as they are now; before they were 0.
pub(super) fn shown(segment: &Segment) -> report::Segment {
    let now = |after: u64| report::BeforeAfter { before: 0, after };
    report::Segment {
        perms: segment.perms.clone(),
        offset: segment.offset,
        device: format!("{:02x}:{:02x}", segment.device.0, segment.device.1),
        inode: segment.inode,
        rss_bytes: now(segment.rss),
        dirty_bytes: now(segment.dirty),
        swap_bytes: now(segment.swap),
        hugetlb_bytes: segment.hugetlb,
        breakdown: breakdown(segment),
        thp_eligible: segment.breakdown.thp_eligible(),
        vm_flags: segment.vm_flags.as_str().to_owned(),
        ..report::Segment::of_addresses(&(segment.start..segment.end), &segment.name)
    }
}

/// How a segment's memory divides.
fn breakdown(segment: &Segment) -> Breakdown {
    let of = |measure| segment.breakdown.get(measure);
    Breakdown {
        pss_bytes: of(Measure::Pss),
        pss_dirty_bytes: of(Measure::PssDirty),
        shared_clean_bytes: of(Measure::SharedClean),
        shared_dirty_bytes: of(Measure::SharedDirty),
        private_clean_bytes: of(Measure::PrivateClean),
        private_dirty_bytes: of(Measure::PrivateDirty),
        anonymous_bytes: Some(segment.anonymous),
        lazyfree_bytes: Some(segment.lazy_free),
        anonhuge_bytes: of(Measure::AnonHuge),
        shmemhuge_bytes: of(Measure::ShmemHuge),
        filehuge_bytes: of(Measure::FileHuge),
        locked_bytes: of(Measure::Locked),
        ksm_bytes: of(Measure::Ksm),
        swap_pss_bytes: of(Measure::SwapPss),
    }
}
