//! Pages that came with no fault and no address, until a snapshot shows where they lie.

use super::path::PathId;

/// Pages that came with no fault and no address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unplaced {
    /// By the process's own access through the kernel, as with io_uring.
    pub pinned: u64,
    /// By another process.
    pub remote: u64,
    /// The kernel has filled holes of huge pages.
    pub collapse: bool,
    /// Who brought them.
    pub by: Vec<Unnamed>,
}

/// A path that brought pages of which the call named no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Who did it.
    pub path: PathId,
    /// The thread.
    pub tid: u32,
    /// When first.
    pub time_ns: u64,
    /// The thread runs in this space.
    pub own: bool,
    /// At most so many pages or huge pages.
    pub pages: u64,
}
