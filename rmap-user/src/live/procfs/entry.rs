//! What a page-table entry says, as the readers of `pagemap` and of `PAGEMAP_SCAN` report it.

/// What a page-table entry says, from either source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Present; else swapped, under migration, or a marker.
    pub(super) present: bool,
    /// Not anonymous, and a page of the kernel's own counting.
    pub(super) file: bool,
    /// The zero page.
    pub(super) zero: bool,
    /// A guard (`MADV_GUARD_INSTALL`): no page, whatever else is said.
    pub(super) guard: bool,
    /// Mapped by a huge entry.
    pub(super) huge: bool,
}
