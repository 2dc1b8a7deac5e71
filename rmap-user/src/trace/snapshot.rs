//! What a snapshot of one process's memory is: plain data.
//!
//! Comes in: nothing; `live` takes snapshots from `/proc`, a recording holds them. Goes out: the
//! types. All addresses and sizes are bytes.

mod breakdown;

use std::ops::Range;

pub use breakdown::{Breakdown, Measure};

/// Why a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// At the start of tracing a process that already ran, while it stood still.
    Start,
    /// The same of a process that could not be stopped.
    StartRunning,
    /// A forked child stands before its first instruction: what it holds was copied.
    Forked,
    /// A program was just loaded and stands before its first instruction.
    Executed,
    /// In between, because of `--interval`.
    Periodic,
    /// In between, while it runs, because its resident memory had risen.
    Risen,
    /// At the end of tracing a process that goes on, while it ran.
    Live,
    /// The same while it stood still.
    Left,
    /// The last thread stands at its exit; the memory is still whole.
    AtExit,
}

impl Moment {
    /// Whether the process stood still, so that nothing changed while it was looked at.
    #[must_use]
    pub const fn stands(self) -> bool {
        match self {
            Self::Start | Self::Forked | Self::Executed | Self::Left | Self::AtExit => true,
            Self::StartRunning | Self::Periodic | Self::Risen | Self::Live => false,
        }
    }

    /// Whether tracing of a process that already ran begins with it.
    #[must_use]
    pub const fn begins(self) -> bool {
        matches!(self, Self::Start | Self::StartRunning)
    }
}

/// One process's memory at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// `CLOCK_MONOTONIC` in nanoseconds, read before the first file.
    pub time_ns: u64,
    /// The process (tgid).
    pub pid: u32,
    /// Why it was taken.
    pub moment: Moment,
    /// The segments in the order of their addresses, as smaps has them.
    pub segments: Vec<Segment>,
    /// Which pages are there, in the order of their addresses, neighbours of equal kind joined.
    /// `None`: not read for this snapshot, only sizes.
    pub pages: Option<Vec<PageRun>>,
    /// Where large folios of files lie, in the order of their addresses: those that are in one page
    /// table as a whole. Pages of such a range may be private copies, or unmapped by now. Looked
    /// for on kernels of which a fault maps such a folio at once.
    pub folios: Vec<Range<u64>>,
    /// Its threads, in the order of their ids; empty if they were not read.
    pub threads: Vec<Thread>,
    /// Highest resident size so far (`VmHWM` of `status`), 0 if it could not be read.
    pub peak_rss: u64,
}

/// One thread at the moment of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its id.
    pub tid: u32,
    /// Its name (`comm`). Not safe to print as is.
    pub name: String,
    /// Where its stack is in use; `None` if it ran, or may not be traced.
    pub stack_pointer: Option<u64>,
}

/// One mapping with the sizes that smaps gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// As in maps, for example `rw-p`.
    pub perms: String,
    /// Offset in the file.
    pub offset: u64,
    /// Device of the file, major and minor.
    pub device: (u32, u32),
    /// Inode of the file, 0 if there is none.
    pub inode: u64,
    /// Path or name in brackets as in maps, empty for anonymous memory. Not safe to print as is.
    pub name: String,
    /// `Rss`.
    pub rss: u64,
    /// `Shared_Dirty` + `Private_Dirty`.
    pub dirty: u64,
    /// `Swap`.
    pub swap: u64,
    /// `Anonymous`.
    pub anonymous: u64,
    /// `LazyFree`: pages given up by `MADV_FREE`, counted in `rss`, not in `dirty`.
    pub lazy_free: u64,
    /// `Private_Hugetlb` + `Shared_Hugetlb`, never part of `rss`.
    pub hugetlb: u64,
    /// How it divides: private, shared, huge, locked.
    pub breakdown: Breakdown,
    /// `VmFlags`.
    pub vm_flags: VmFlags,
}

/// The flags of a mapping as smaps has them, two letters each. One piece of text: a process may have
/// a hundred thousand mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmFlags(Box<str>);

impl VmFlags {
    /// Takes them from text, blanks between them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        Self(words.join(" ").into())
    }

    /// Whether a flag is set, for example `ht`.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.0.split(' ').any(|set| set == flag)
    }

    /// The flags with one blank between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A run of pages of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// Addresses.
    pub range: Range<u64>,
    /// What they are.
    pub kind: PageKind,
}

/// What a page-table entry holds, as far as the kernel tells (`PAGEMAP_SCAN`, `pagemap`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageKind {
    /// Resident, in a page of the kernel's own counting.
    pub state: PageState,
    /// Mapped by a huge entry (2 MiB).
    pub huge: bool,
    /// The folio's dirty flag (`KPF_DIRTY` of `kpageflags`), for page-cache pages in segments of
    /// which the dirty size needs it; `None`: not read.
    pub folio_dirty: Option<bool>,
    /// The page is part of a large folio (`KPF_COMPOUND_HEAD` or `_TAIL`); `None`: not read.
    pub large_folio: Option<bool>,
    /// The dirty bit of the process's own page-table entry: it wrote the page since that was last
    /// clean, with or without a fault. Read where smaps's sizes leave it open; `None`: not read.
    pub entry_dirty: Option<bool>,
}

/// Resident or not, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PageState {
    /// An anonymous page.
    Anonymous,
    /// A page of the page cache: of a file, or of shared memory.
    File,
    /// The zero page, or memory with no page of its own: not part of RSS.
    Zero,
    /// In swap, or under migration.
    Swapped,
}

impl PageState {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::File => "file",
            Self::Zero => "zero",
            Self::Swapped => "swapped",
        }
    }
}

impl Segment {
    /// The size of its address range in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Whether writes are kept from other processes and from the file.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.perms.as_bytes().get(3) == Some(&b'p')
    }

    /// Whether it may be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.perms.as_bytes().get(1) == Some(&b'w')
    }

    /// Whether a file (or shared memory, which has an inode too) is behind it.
    #[must_use]
    pub const fn has_file(&self) -> bool {
        self.inode != 0
    }
}
