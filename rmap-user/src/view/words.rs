//! What the contract's names mean, in words. Names that are not known here are shown as they
//! are, without words.

use crate::report::{Pattern, SnapshotKind};

/// What a cause means.
#[must_use]
pub fn cause(name: &str) -> Option<&'static str> {
    Some(match name {
        "first-write" => "first write to fresh memory: the kernel gave a page of zeros",
        "zero-page-write" => "write to memory that had only been read: the zero page was replaced",
        "huge-page" => "a huge page (2 MiB) was given at once; untouched parts of it count too",
        "file-read" => "pages of a file were mapped; neighbours come along (fault-around)",
        "file-cow" => "write to a private mapping of a file: the page was copied",
        "fork-cow" => "write after fork: the page shared with parent or child was copied",
        "fork-reuse" => "write after fork by the last owner: the page was not copied",
        "shared-write" => "write to a shared mapping of a file: the file's page became dirty",
        "shared-memory" => "shared memory was touched (shmem, memfd, System V)",
        "page-cache-write" => "write(2) or the like, by any process, to the mapped file",
        "populate" => "filled on demand of MAP_POPULATE, mlock or MADV_POPULATE",
        "kernel-write" => "the kernel wrote into the buffer of a system call (read, recv)",
        "pinned" => "pinned for access without faults (O_DIRECT, io_uring)",
        "userfaultfd" => "filled by a handler of userfaultfd (UFFDIO_COPY)",
        "remote-write" => "another process wrote (ptrace, process_vm_writev, /proc/PID/mem)",
        "swap-in" => "came back from swap",
        "collapse" => "khugepaged joined small pages into a huge one",
        "fork-copy" => "copied by fork with the parent's page tables",
        "exec" => "set up by the kernel when the program was loaded",
        "stack-growth" => "the stack grew",
        "mthp" => "a large folio (mTHP) was given at once; untouched parts of it count too",
        "ksm-cow" => "write to a page that KSM had merged with equal ones: it was copied",
        "protected-write" => "write to a page that was write-protected for no reason that was seen",
        "other-fault" => "a fault that no other rule fits",
        _ => return None,
    })
}

/// What a reason for unexplained bytes means.
#[must_use]
pub fn reason(name: &str) -> Option<&'static str> {
    Some(match name {
        "before-attach" => "it was there before rmap attached",
        "shared-write-without-fault" => {
            "a shared page that was mapped writable can be dirtied without a fault"
        }
        "page-cache-write" => {
            "a file's page was dirtied by write(2) or through another mapping, not through this one"
        }
        "stranger" => "a process that is not traced wrote the file",
        "large-folio" => "a large folio is dirty as a whole when one page of it is written",
        "lost-events" => "the events that would tell were lost",
        "remote" => "another process did it, and no event tells which",
        "pinned" => "the kernel touched it with no fault (O_DIRECT, io_uring)",
        "write-after-madv-free" => "written again after MADV_FREE, which takes no fault",
        "write-after-swap-in" => "written after it came back from swap by a read, without a fault",
        "cleaned" => "more was written than is dirty: it was cleaned meanwhile (writeback)",
        "snapshot-race" => "the process ran on while it was looked at",
        "migration" => "under migration, so it cannot be told whose it is",
        "no-page-map" => "the page map could not be read",
        "page-map-mismatch" => "the page map and smaps do not agree",
        "unknown" => "no rule explains it; please report it",
        _ => return None,
    })
}

/// A pattern as the contract names it.
#[must_use]
pub const fn pattern(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::Written => "written",
        Pattern::ReadMostly => "read-mostly",
        Pattern::Reserved => "reserved",
        Pattern::Growing => "growing",
    }
}

/// Which moment the sizes are of, to follow a comma.
#[must_use]
pub const fn snapshot(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::AtExit => "as it stood at its exit",
        SnapshotKind::Live => "as it stood when rmap let go of it, still running",
        SnapshotKind::LastPeriodic => {
            "at the last snapshot before it ended, what it did after that is not in these figures"
        }
        SnapshotKind::None => "no snapshot, it ended before one could be taken",
    }
}

/// The same in one word, for a column.
#[must_use]
pub const fn snapshot_name(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::AtExit => "at-exit",
        SnapshotKind::Live => "live",
        SnapshotKind::LastPeriodic => "periodic",
        SnapshotKind::None => "none",
    }
}
