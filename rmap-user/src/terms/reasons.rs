//! Why no call path explains some bytes of a segment: one row a reason.

super::terms! {
    /// Why no call path explains some bytes of a segment.
    pub enum Reason: "reason" {
        BeforeAttach: "before-attach", "it was there before rmap attached",
            "`rmap run` traces a program from its first instruction";
        SharedWriteWithoutFault: "shared-write-without-fault",
            "a shared page that was mapped writable can be dirtied without a fault",
            "the process's own page table says which pages; `candidates` are the call paths that brought them or wrote others of the mapping";
        PageCacheWrite: "page-cache-write",
            "a file's page was dirtied by write(2) or through another mapping, not through this one",
            "it was dirty before tracing began, or before a traced process had mapped the file";
        Stranger: "stranger", "a process that is not traced wrote the file",
            "trace that process too";
        LargeFolio: "large-folio",
            "a large folio is dirty as a whole when one page of it is written",
            "the neighbours of the written page need no write of their own";
        LostEvents: "lost-events", "the events that would tell were lost",
            "see `coverage.lost`: nobody is known who touched the page, or somebody touched it later";
        Remote: "remote", "another process did it, and no event tells which",
            "trace the processes that may have done it";
        Pinned: "pinned", "the kernel touched it with no fault (O_DIRECT, io_uring)",
            "no address is known";
        WriteAfterMadvFree: "write-after-madv-free",
            "written again after MADV_FREE, which takes no fault",
            "the memory is in use again";
        WriteAfterSwapIn: "write-after-swap-in",
            "written after it came back from swap by a read, without a fault",
            "the read is known, the write is not";
        Cleaned: "cleaned", "more was written than is dirty: it was cleaned meanwhile (writeback)",
            "negative: the call paths wrote more than is dirty now";
        SnapshotRace: "snapshot-race", "the process ran on while it was looked at",
            "smaps and the page map were read one after the other; `rmap run` stops a process at its exit";
        BetweenSnapshots: "between-snapshots",
            "it was there at the last snapshot with no call path, and no snapshot stands at this moment",
            "`--interval` takes snapshots more often";
        BeforeWindow: "before-window", "it is older than the window that was asked for, and moved here in it",
            "`mremap` moved it; at its old place it is among what was given back";
        Migration: "migration", "under migration, so it cannot be told whose it is",
            "smaps counts such pages, the page map shows them as swapped";
        NoPageMap: "no-page-map", "the page map could not be read",
            "who owns the pages is what the events say, without a check";
        PageMapMismatch: "page-map-mismatch", "the page map and smaps do not agree",
            "the process was stopped, so please report it";
        Breakpoint: "breakpoint",
            "a breakpoint in code, whose page is a copy: a uprobe's (rmap's own with `--malloc`, or another tracer's) or a debugger's",
            "the kernel copied the page for it, no code path of the process did";
        Unknown: "unknown", "no rule explains it; please report it",
            "it is a defect of rmap";
    }
}
