//! Why no call path explains some bytes of a segment: one row a reason.

super::terms! {
    /// Why no call path explains some bytes of a segment.
    pub enum Reason: "reason" {
        BeforeAttach: "before-attach", "it was there before rmap attached";
        SharedWriteWithoutFault: "shared-write-without-fault",
            "a shared page that was mapped writable can be dirtied without a fault";
        PageCacheWrite: "page-cache-write",
            "a file's page was dirtied by write(2) or through another mapping, not through this one";
        Stranger: "stranger", "a process that is not traced wrote the file";
        LargeFolio: "large-folio",
            "a large folio is dirty as a whole when one page of it is written";
        LostEvents: "lost-events", "the events that would tell were lost";
        Remote: "remote", "another process did it, and no event tells which";
        Pinned: "pinned", "the kernel touched it with no fault (O_DIRECT, io_uring)";
        WriteAfterMadvFree: "write-after-madv-free",
            "written again after MADV_FREE, which takes no fault";
        WriteAfterSwapIn: "write-after-swap-in",
            "written after it came back from swap by a read, without a fault";
        Cleaned: "cleaned", "more was written than is dirty: it was cleaned meanwhile (writeback)";
        SnapshotRace: "snapshot-race", "the process ran on while it was looked at";
        Migration: "migration", "under migration, so it cannot be told whose it is";
        NoPageMap: "no-page-map", "the page map could not be read";
        PageMapMismatch: "page-map-mismatch", "the page map and smaps do not agree";
        Unknown: "unknown", "no rule explains it; please report it";
    }
}
