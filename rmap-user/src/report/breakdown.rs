//! How memory divides: private and shared, clean and dirty, reclaimable, huge, locked. The same
//! fields stand with a segment, with a process as their sums, and with the whole session.
//!
//! Comes in: nothing; [`crate::session`] fills it. Goes out: serde types. What the kernel did not
//! report, or a recording is too old to hold, is not there; it is not 0.

use serde::{Deserialize, Serialize};

use super::{Process, Report};

/// Sizes in bytes as smaps counts them at the last snapshot. `Documentation/filesystems/proc.rst`
/// describes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Breakdown {
    /// `Pss`: each page divided by the number of processes that map it. Sums over processes are
    /// right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    /// `Pss_Dirty` (since Linux 6.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_dirty_bytes: Option<u64>,
    /// `Shared_Clean`: mapped by others too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_clean_bytes: Option<u64>,
    /// `Shared_Dirty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_dirty_bytes: Option<u64>,
    /// `Private_Clean`: of this process alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_clean_bytes: Option<u64>,
    /// `Private_Dirty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_dirty_bytes: Option<u64>,
    /// `Anonymous`: in no file, private copies of pages of files among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_bytes: Option<u64>,
    /// `LazyFree`: given up by `MADV_FREE`, still resident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lazyfree_bytes: Option<u64>,
    /// `AnonHugePages`: anonymous memory in huge pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonhuge_bytes: Option<u64>,
    /// `ShmemPmdMapped`: shared memory mapped by huge entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shmemhuge_bytes: Option<u64>,
    /// `FilePmdMapped`: files mapped by huge entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filehuge_bytes: Option<u64>,
    /// `Locked`: the part of Pss that `mlock` keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_bytes: Option<u64>,
    /// `KSM`: merged with equal pages (since Linux 6.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ksm_bytes: Option<u64>,
    /// `SwapPss`: swapped pages, each divided by the number of processes that refer to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_pss_bytes: Option<u64>,
}

impl Breakdown {
    /// The sum of both; a size that one of them does not know is the other's.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        let sum = |of: fn(&Self) -> Option<u64>| match (of(&self), of(&more)) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        Self {
            pss_bytes: sum(|b| b.pss_bytes),
            pss_dirty_bytes: sum(|b| b.pss_dirty_bytes),
            shared_clean_bytes: sum(|b| b.shared_clean_bytes),
            shared_dirty_bytes: sum(|b| b.shared_dirty_bytes),
            private_clean_bytes: sum(|b| b.private_clean_bytes),
            private_dirty_bytes: sum(|b| b.private_dirty_bytes),
            anonymous_bytes: sum(|b| b.anonymous_bytes),
            lazyfree_bytes: sum(|b| b.lazyfree_bytes),
            anonhuge_bytes: sum(|b| b.anonhuge_bytes),
            shmemhuge_bytes: sum(|b| b.shmemhuge_bytes),
            filehuge_bytes: sum(|b| b.filehuge_bytes),
            locked_bytes: sum(|b| b.locked_bytes),
            ksm_bytes: sum(|b| b.ksm_bytes),
            swap_pss_bytes: sum(|b| b.swap_pss_bytes),
        }
    }

    /// The sum of many.
    #[must_use]
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), Self::plus)
    }
}

/// The sizes of all processes of a report together. RSS counts a page once for each process that
/// maps it; of the sizes here, Pss counts it once. Snapshots of processes that did not live at the
/// same time are summed all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Totals {
    /// Σ Rss.
    pub rss_bytes: u64,
    /// Σ Shared_Dirty + Private_Dirty.
    pub dirty_bytes: u64,
    /// Σ Swap.
    pub swap_bytes: u64,
    /// How RSS divides.
    #[serde(flatten)]
    pub breakdown: Breakdown,
}

impl Process {
    /// Makes the sums over the segments anew.
    pub fn sum_up(&mut self) {
        self.breakdown = Breakdown::sum(self.segments.iter().map(|segment| segment.breakdown));
    }
}

impl Report {
    /// Makes the totals anew from the processes.
    pub fn sum_up(&mut self) {
        let sum = |of: fn(&Process) -> u64| {
            self.processes.iter().fold(0_u64, |sum, process| sum.saturating_add(of(process)))
        };
        self.totals = Totals {
            rss_bytes: sum(|process| process.rss_bytes.after),
            dirty_bytes: sum(|process| process.dirty_bytes.after),
            swap_bytes: sum(|process| process.swap_bytes.after),
            breakdown: Breakdown::sum(self.processes.iter().map(|process| process.breakdown)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_what_is_not_known_apart_from_zero() {
        let known = |pss, ksm| Breakdown { pss_bytes: pss, ksm_bytes: ksm, ..Breakdown::default() };
        let sum = known(Some(3), None).plus(known(Some(4), Some(0)));
        assert_eq!(sum, known(Some(7), Some(0)));
        assert_eq!(Breakdown::sum(std::iter::empty()), Breakdown::default());
        let json = serde_json::to_string(&sum).unwrap();
        assert_eq!(json, r#"{"pss_bytes":7,"ksm_bytes":0}"#);
    }
}
