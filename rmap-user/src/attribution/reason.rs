//! Why bytes are not explained by any code path: the names of the contract.

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It was there before tracing began.
    BeforeAttach,
    /// Shared memory that was read first, and then written with no fault.
    SharedWriteWithoutFault,
    /// The page of a file was made dirty by `write(2)`, or through another mapping of it.
    PageCacheWrite,
    /// A process that is not traced wrote the file's page.
    Stranger,
    /// A neighbour in the same large folio was written, and the kernel counts the whole folio.
    LargeFolio,
    /// Events were lost.
    LostEvents,
    /// Another process wrote.
    Remote,
    /// The kernel brought it in for the process with no fault, and no address is known.
    Pinned,
    /// Given up by `MADV_FREE`, and then written with no fault.
    WriteAfterMadvFree,
    /// Brought from swap by a read, and then written with no fault.
    WriteAfterSwapIn,
    /// Negative: made clean since, by writeback or by `MADV_FREE`.
    Cleaned,
    /// smaps and the page map were read one after the other while the process ran.
    SnapshotRace,
    /// Under migration: smaps counts such pages, the page map shows them as swapped.
    Migration,
    /// The page map was not read for this snapshot.
    NoPageMap,
    /// smaps and the page map of a process that stood still differ.
    PageMapMismatch,
    /// None of the above.
    Unknown,
}

impl Reason {
    /// Every reason, in the order in which the report names them.
    pub const ALL: [Self; 16] = [
        Self::BeforeAttach,
        Self::SharedWriteWithoutFault,
        Self::PageCacheWrite,
        Self::Stranger,
        Self::LargeFolio,
        Self::LostEvents,
        Self::Remote,
        Self::Pinned,
        Self::WriteAfterMadvFree,
        Self::WriteAfterSwapIn,
        Self::Cleaned,
        Self::SnapshotRace,
        Self::Migration,
        Self::NoPageMap,
        Self::PageMapMismatch,
        Self::Unknown,
    ];

    /// The name in the report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeAttach => "before-attach",
            Self::SharedWriteWithoutFault => "shared-write-without-fault",
            Self::PageCacheWrite => "page-cache-write",
            Self::Stranger => "stranger",
            Self::LargeFolio => "large-folio",
            Self::LostEvents => "lost-events",
            Self::Remote => "remote",
            Self::Pinned => "pinned",
            Self::WriteAfterMadvFree => "write-after-madv-free",
            Self::WriteAfterSwapIn => "write-after-swap-in",
            Self::Cleaned => "cleaned",
            Self::SnapshotRace => "snapshot-race",
            Self::Migration => "migration",
            Self::NoPageMap => "no-page-map",
            Self::PageMapMismatch => "page-map-mismatch",
            Self::Unknown => "unknown",
        }
    }
}

/// Bytes by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residuals {
    bytes: [(i64, i64); Reason::ALL.len()],
}

impl Residuals {
    /// Adds bytes of RSS.
    pub fn rss(&mut self, reason: Reason, bytes: i64) {
        self.bytes[reason as usize].0 += bytes;
    }

    /// Adds bytes of Dirty.
    pub fn dirty(&mut self, reason: Reason, bytes: i64) {
        self.bytes[reason as usize].1 += bytes;
    }

    /// Those that are not 0: reason, bytes of RSS, bytes of Dirty.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, i64, i64)> {
        Reason::ALL
            .into_iter()
            .zip(self.bytes)
            .map(|(reason, (rss, dirty))| (reason, rss, dirty))
            .filter(|(_, rss, dirty)| *rss != 0 || *dirty != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{}", reason.as_str());
        }
    }
}
