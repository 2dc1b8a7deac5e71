//! Why pages became resident or dirty ([`Cause`]) and how they were given back ([`How`]): the
//! names of the contract. Matches on them have no `_`, so that the compiler shows every place
//! that a new one concerns.

/// Why a page became resident or dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// First write to anonymous memory: a zero-filled page.
    FirstWrite,
    /// Write to anonymous memory that was read before (the zero page stood there).
    ZeroPageWrite,
    /// A 2 MiB page for a write to anonymous memory.
    HugePage,
    /// A large folio below 2 MiB (multi-size THP) for a write to anonymous memory.
    MultiSizeHugePage,
    /// A page of a file mapped by a read, fault-around included.
    FileRead,
    /// A private copy of a file's page.
    FileCow,
    /// A private copy of a page that was shared by fork.
    ForkCow,
    /// A write to a page that was shared by fork, by its last owner: it was not copied.
    ForkReuse,
    /// A private copy of a page that KSM had merged with equal ones.
    KsmCow,
    /// A write to a page that was write-protected with no fork known.
    ProtectedWrite,
    /// A page of a shared file mapping made dirty.
    SharedWrite,
    /// Shared memory: shared anonymous, memfd, tmpfs, SysV.
    SharedMemory,
    /// Dirty by `write(2)` and the like.
    PageCacheWrite,
    /// `MAP_POPULATE`, `mlock`, `MADV_POPULATE_READ` or `_WRITE`.
    Populate,
    /// The kernel filled a buffer: `read`, `recv`.
    KernelWrite,
    /// `O_DIRECT` and other access to user pages with no fault.
    Pinned,
    /// Filled by a handler of userfaultfd (`UFFDIO_COPY`).
    UserFault,
    /// Another process wrote: ptrace, `process_vm_writev`, `/proc/PID/mem`.
    RemoteWrite,
    /// Brought back from swap.
    SwapIn,
    /// khugepaged or `MADV_COLLAPSE` filled the holes of a 2 MiB block.
    Collapse,
    /// Copied (shared until written) by fork.
    ForkCopy,
    /// The kernel loaded a program.
    Exec,
    /// The stack grew.
    StackGrowth,
    /// A fault of which the counters fit no known kind.
    OtherFault,
}

impl Cause {
    /// The name in the report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstWrite => "first-write",
            Self::ZeroPageWrite => "zero-page-write",
            Self::HugePage => "huge-page",
            Self::MultiSizeHugePage => "mthp",
            Self::FileRead => "file-read",
            Self::FileCow => "file-cow",
            Self::ForkCow => "fork-cow",
            Self::ForkReuse => "fork-reuse",
            Self::KsmCow => "ksm-cow",
            Self::ProtectedWrite => "protected-write",
            Self::SharedWrite => "shared-write",
            Self::SharedMemory => "shared-memory",
            Self::PageCacheWrite => "page-cache-write",
            Self::Populate => "populate",
            Self::KernelWrite => "kernel-write",
            Self::Pinned => "pinned",
            Self::UserFault => "userfaultfd",
            Self::RemoteWrite => "remote-write",
            Self::SwapIn => "swap-in",
            Self::Collapse => "collapse",
            Self::ForkCopy => "fork-copy",
            Self::Exec => "exec",
            Self::StackGrowth => "stack-growth",
            Self::OtherFault => "other-fault",
        }
    }

    /// Whether a page that this cause made resident was a page of the page cache. If such a page
    /// is anonymous later, it was replaced by a private copy.
    #[must_use]
    pub const fn maps_page_cache(self) -> bool {
        match self {
            Self::FileRead | Self::SharedWrite | Self::SharedMemory | Self::PageCacheWrite => true,
            Self::FirstWrite
            | Self::ZeroPageWrite
            | Self::HugePage
            | Self::MultiSizeHugePage
            | Self::FileCow
            | Self::ForkCow
            | Self::ForkReuse
            | Self::KsmCow
            | Self::ProtectedWrite
            | Self::Populate
            | Self::KernelWrite
            | Self::Pinned
            | Self::UserFault
            | Self::RemoteWrite
            | Self::SwapIn
            | Self::Collapse
            | Self::ForkCopy
            | Self::Exec
            | Self::StackGrowth
            | Self::OtherFault => false,
        }
    }
}

/// How resident memory was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// `munmap`.
    Munmap,
    /// `mmap` with `MAP_FIXED` over it.
    MmapFixed,
    /// `mremap` that shrank a mapping or replaced another.
    Mremap,
    /// `brk` that lowered the break.
    Brk,
    /// `shmdt`.
    Shmdt,
    /// `MADV_DONTNEED`.
    Dontneed,
    /// `MADV_FREE`, and the kernel took it since.
    Free,
    /// `MADV_REMOVE`.
    Remove,
    /// `MADV_PAGEOUT`.
    Pageout,
    /// A new program took the place of the old one.
    Exec,
    /// The process ended.
    Exit,
    /// The kernel took it back under pressure.
    Reclaim,
    /// The file was cut or holes were punched.
    Truncate,
}

impl How {
    /// The name in the report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Munmap => "munmap",
            Self::MmapFixed => "mmap-fixed",
            Self::Mremap => "mremap",
            Self::Brk => "brk",
            Self::Shmdt => "shmdt",
            Self::Dontneed => "dontneed",
            Self::Free => "free",
            Self::Remove => "remove",
            Self::Pageout => "pageout",
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Reclaim => "reclaim",
            Self::Truncate => "truncate",
        }
    }
}
