//! How resident memory was released: one row a way.

super::terms! {
    /// How resident memory was released.
    pub enum ReleaseKind: "release" {
        Munmap: "munmap", "by munmap",
            "";
        MmapFixed: "mmap-fixed", "mmap with MAP_FIXED put another mapping over it",
            "";
        Mremap: "mremap", "by mremap, which shrank a mapping or replaced another",
            "";
        Brk: "brk", "by brk, which lowered the break",
            "";
        Shmdt: "shmdt", "by shmdt",
            "";
        Dontneed: "dontneed", "by madvise with MADV_DONTNEED",
            "";
        Free: "free", "given up by MADV_FREE, and the kernel took it since",
            "until then it is resident";
        Remove: "remove", "by madvise with MADV_REMOVE",
            "";
        Guard: "guard", "by madvise with MADV_GUARD_INSTALL",
            "";
        Pageout: "pageout", "by madvise with MADV_PAGEOUT",
            "";
        Exec: "exec", "a new program took the place of the old one",
            "";
        Exit: "exit", "the process ended, and nobody else ran in its memory",
            "no call path; not shown in the table";
        Reclaim: "reclaim", "the kernel took it back under pressure, or moved it to swap",
            "no call path: pages of files at once, anonymous pages when a snapshot finds them in swap or they come back";
        Truncate: "truncate", "the file was cut, or holes were punched",
            "the call path is that of who did it, also in another traced process; none if that process is not traced";
    }
}
