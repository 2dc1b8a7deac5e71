//! Memory that is written again and again (`--rewrites`).
//!
//! Comes in: nothing; [`crate::session`] fills it. Goes out: serde types.

use serde::{Deserialize, Serialize};

/// How much of a segment is written again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rewritten {
    /// The period: a page counts once for each, however often it is written in it.
    pub period_ns: u64,
    /// Pages that are written again within a period: the mean of all periods in exact mode, else an
    /// estimate.
    pub pages: u64,
    /// `pages` times the page size, by the second. Not bytes stored.
    pub bytes_per_s: u64,
    /// The least and the most that `pages` is with a probability of 95 %; empty where it was counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ci95: Vec<u64>,
    /// In sampled mode: pages that are written again within other periods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
    /// Bytes of the segment that were watched.
    pub watched_bytes: u64,
    /// Bytes that are written again within 100 ms; missing where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_bytes: Option<u64>,
    /// Bytes that are written again within the period, but for the hot ones.
    pub warm_bytes: u64,
    /// Bytes that were there and watched, and are not written again within the period.
    pub cold_bytes: u64,
    /// In exact mode: how often a scan found a page written. Σ `rewrites` of the paths +
    /// Σ `unattributed` = this.
    #[serde(default)]
    pub written_pages: u64,
    /// Of that, what no call path explains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unattributed: Vec<Unattributed>,
    /// In sampled mode: pages that were drawn here.
    #[serde(default)]
    pub arms: u64,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CurvePoint {
    /// A period.
    pub tau_ns: u64,
    /// Pages that are written again within it.
    pub pages: u64,
}

/// Pages that were written again, of which nobody is known who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unattributed {
    /// `no-fault`: the kernel or another process wrote without a fault of this one (O_DIRECT,
    /// process_vm_writev); `lost-events`: or the fault's event was lost.
    pub reason: String,
    /// How often a page was.
    pub pages: u64,
}

/// How memory was watched for writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rewrites {
    /// `exact`: every page each period; `sampled`: pages that were drawn.
    pub mode: String,
    /// By which means of the kernel: `userfaultfd`.
    pub method: String,
    /// The period.
    pub period_ns: u64,
    /// Pages that were drawn and protected.
    pub arms: u64,
    /// Faults on protected pages.
    pub faults: u64,
    /// Scans of all watched memory.
    #[serde(default)]
    pub scans: u64,
    /// In exact mode: how often a scan found a page written, over all processes.
    #[serde(default)]
    pub written_pages: u64,
    /// Of that, in memory that is unmapped since.
    #[serde(default)]
    pub gone_pages: u64,
    /// How long processes stood for it.
    pub stop_ns: u64,
}
