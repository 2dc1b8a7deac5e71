//! What is kept of faults of which the record found no room: where they were, so that nobody
//! older is taken for the owner of those pages.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a [`LostKey::region`].
pub const LOST_REGION: u64 = 2 << 20;
/// Pages of a [`LostKey::region`].
pub const LOST_PAGES: usize = 512;

/// Key of the map `LOST_PAGES`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LostKey {
    /// The address space, as `Header::mm`.
    pub mm: u64,
    /// The address divided by [`LOST_REGION`].
    pub region: u64,
}

/// Value of the map `LOST_PAGES`: the pages of one region on which faults were lost. Entries are
/// never taken out, so that nothing is lost between the kernel side that writes and user space that
/// reads; what is new among them says the generation.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LostPages {
    /// The last of them, `CLOCK_MONOTONIC` in nanoseconds.
    pub last_ns: u64,
    /// The process that took it.
    pub pid: u32,
    /// Not used.
    pub reserved: u32,
    /// For each page: the generation of the last loss on it, 0 if there was none. A byte each:
    /// several processors write here at once.
    pub pages: [u8; LOST_PAGES],
}

/// Value of the map `LOST_SPACES`, by address space: losses of which the place could not be kept.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LostSpace {
    /// The last of them, `CLOCK_MONOTONIC` in nanoseconds.
    pub last_ns: u64,
    /// The process in whose context it was.
    pub pid: u32,
    /// 1: not only faults were lost, but calls that change mappings, forks, execs or exits.
    pub calls: u8,
    /// The generation of the last one.
    pub generation: u8,
    /// Not used.
    pub reserved: u16,
}

const _: () = assert!(size_of::<LostKey>() == 16);
const _: () = assert!(size_of::<LostPages>() == 16 + LOST_PAGES);
const _: () = assert!(size_of::<LostSpace>() == 16);
