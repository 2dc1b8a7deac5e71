//! Ranges that a call filled at once.

use super::path::PathId;

/// Memory that a call brought in with no fault. Which pages, a snapshot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Populated {
    /// Who did it.
    pub path: PathId,
    /// The thread.
    pub tid: u32,
    /// When.
    pub time_ns: u64,
    /// Brought in as by a write, so that pages of shared files are dirty too.
    pub write: bool,
}
