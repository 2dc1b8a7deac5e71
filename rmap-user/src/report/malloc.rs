//! Live blocks of an allocator by call path (`--malloc`): estimates from those that were picked.

use serde::{Deserialize, Serialize};

use super::{Growth, StackId};

/// The name of the allocator's shim among the probes of a report. With it, a process that has no
/// [`Malloc`] did not load the shim.
pub const MALLOC_PROBE: &str = "uprobe:rmap_malloc_report";

/// The name of the probes at allocators' own functions (`rmap attach --malloc`) among the probes of a
/// report. With it, a process that has no [`Malloc`] has no such function that is known.
pub const ALLOCATOR_PROBE: &str = "uprobe:malloc and free";

/// Whether a process's allocations were picked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MallocState {
    /// They were.
    Sampled,
    /// The program has an allocator of its own, and no allocation came through the shim.
    Bypassed,
}

/// The live blocks of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Malloc {
    /// Whether its allocations were picked from.
    pub state: MallocState,
    /// Bytes from one picked byte to the next on average.
    pub mean_bytes: u64,
    /// Blocks that were picked.
    pub picked: u64,
    /// Picked ones that were freed.
    pub freed: u64,
    /// Picked ones that could not be followed: they are in no sum.
    pub unkept: u64,
    /// Picked ones of which the end was not seen before their address was picked again.
    pub unseen_ends: u64,
    /// Bytes that the program asked for and has not freed, by estimate.
    pub live_bytes: u64,
    /// The 95 % interval of `live_bytes`: lowest, highest.
    pub ci95: [u64; 2],
    /// Blocks, by estimate.
    pub live_count: u64,
    /// Picked blocks that are live.
    pub sampled: u64,
    /// It ran before rmap came: what it allocated then is in no sum.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub since_attach: bool,
    /// By call path, the largest first.
    pub paths: Vec<MallocPath>,
}

/// The live blocks of a call path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MallocPath {
    /// Who allocated them; `None` if the stack was lost.
    pub stack: Option<StackId>,
    /// Bytes, by estimate.
    pub live_bytes: u64,
    /// The 95 % interval of `live_bytes`: lowest, highest.
    pub ci95: [u64; 2],
    /// Blocks, by estimate.
    pub live_count: u64,
    /// Picked blocks that are live.
    pub sampled: u64,
    /// When the oldest of them was allocated.
    pub first_ns: u64,
    /// When the youngest was.
    pub last_ns: u64,
    /// It still held more and more at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
    /// When it was looked at, and what it held then: growth is judged by that. It is in no JSON.
    #[serde(skip)]
    pub curve: Vec<(u64, u64)>,
}
