//! The books of a control group, beside the processes in it.
//!
//! Comes in: nothing; `live` reads them. Goes out: serde types, and the division of what the kernel
//! charged to the group: what the processes' pages are, and what else it is.
//!
//! Interface: `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`. A sum that the
//! kernel does not report is `None`. Counts of `memory.stat` may lag behind the charge by 64 pages for
//! each processor (`MEMCG_CHARGE_BATCH`), so residuals may be negative.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A control group that was attached to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cgroup {
    /// Its path below the root of its hierarchy, as in `/proc/PID/cgroup`.
    pub path: String,
    /// The version of cgroups that keeps the books: 1 or 2.
    pub version: u8,
    /// The books when the session began.
    pub before: Option<CgroupBooks>,
    /// The last books, read before the processes were let go.
    pub after: Option<CgroupBooks>,
    /// The pages that the traced processes mapped at `after`, each counted once; `None` if the kernel
    /// does not report to whom a page is charged.
    pub pages: Option<CgroupPages>,
    /// What else `after.current_bytes` is. With `pages.anon_bytes` and `pages.file_bytes` it adds up to
    /// it, to the byte.
    pub unexplained: Vec<CgroupRest>,
    /// What could not be read, and why, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What the kernel says of a group at one time, groups below it included. Bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CgroupBooks {
    /// When, since the start of the session.
    pub at_ns: u64,
    /// All that is charged to it (`memory.current`, `memory.usage_in_bytes`).
    pub current_bytes: u64,
    /// The highest charge (`memory.peak`, `memory.max_usage_in_bytes`).
    pub peak_bytes: Option<u64>,
    /// Anonymous memory (`anon`, `total_rss`).
    pub anon_bytes: Option<u64>,
    /// Page cache, shared memory included (`file`, `total_cache`).
    pub file_bytes: Option<u64>,
    /// Shared memory alone (`shmem`).
    pub shmem_bytes: Option<u64>,
    /// Page cache that some process maps (`file_mapped`, `total_mapped_file`).
    pub file_mapped_bytes: Option<u64>,
    /// Page cache that is dirty (`file_dirty`, `total_dirty`).
    pub file_dirty_bytes: Option<u64>,
    /// Page cache that is being written back (`file_writeback`).
    pub file_writeback_bytes: Option<u64>,
    /// Kernel memory (`kernel`, `memory.kmem.usage_in_bytes`), with its parts below.
    pub kernel_bytes: Option<u64>,
    /// Slab objects (`slab`); version 2 alone.
    pub slab_bytes: Option<u64>,
    /// Kernel stacks of threads (`kernel_stack`); version 2 alone.
    pub kernel_stack_bytes: Option<u64>,
    /// Page tables (`pagetables`); version 2 alone.
    pub page_table_bytes: Option<u64>,
    /// Buffers of sockets (`sock`); version 2 alone.
    pub socket_bytes: Option<u64>,
    /// Swap (`memory.swap.current`, `total_swap`).
    pub swap_bytes: Option<u64>,
    /// Limits by the name of their file; those that are not set are left out.
    pub limits: BTreeMap<String, u64>,
    /// Counts of events: `memory.events`; in version 1 `failcnt`, `under_oom` and `oom_kill`.
    pub events: BTreeMap<String, u64>,
    /// `memory.pressure`, line by line; version 2 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<CgroupPressure>,
}

/// How long the group's tasks waited for memory (PSI), microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CgroupPressure {
    /// Some task waited.
    pub some_us: u64,
    /// All of them did.
    pub full_us: u64,
}

/// Pages that the traced processes map, each counted once however many map it. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CgroupPages {
    /// Anonymous, charged to the group.
    pub anon_bytes: u64,
    /// Of files and shared memory, charged to the group.
    pub file_bytes: u64,
    /// Charged to another group: whoever reads a page first is charged for it.
    pub elsewhere_bytes: u64,
    /// Charged to nobody.
    pub uncharged_bytes: u64,
}

/// A part of the charge that no page of the processes is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CgroupRest {
    /// `anon-of-others`, `page-cache-of-others`, `page-cache-unmapped`, `kernel`, `sockets`, `books`.
    pub reason: String,
    /// Bytes.
    pub bytes: i64,
}

impl Cgroup {
    /// Divides the last charge: the pages of the processes, and all that is left by what the kernel
    /// says that it is.
    pub fn divide(&mut self) {
        self.unexplained.clear();
        let Some(books) = &self.after else { return };
        let pages = self.pages.unwrap_or_default();
        let mut left = signed(books.current_bytes)
            .saturating_sub(signed(pages.anon_bytes))
            .saturating_sub(signed(pages.file_bytes));
        let mapped = books.file_mapped_bytes.or(books.file_bytes);
        let less = |all: Option<u64>, part: u64| Some(signed(all?).saturating_sub(signed(part)));
        let parts = [
            ("anon-of-others", less(books.anon_bytes, pages.anon_bytes)),
            ("page-cache-of-others", less(mapped, pages.file_bytes)),
            ("page-cache-unmapped", less(books.file_bytes, mapped.unwrap_or(0))),
            ("kernel", books.kernel_bytes.map(signed)),
            ("sockets", books.socket_bytes.map(signed)),
        ];
        for (reason, bytes) in parts {
            let Some(bytes) = bytes.filter(|bytes| *bytes != 0) else { continue };
            left = left.saturating_sub(bytes);
            self.unexplained.push(CgroupRest { reason: reason.to_owned(), bytes });
        }
        if left != 0 {
            self.unexplained.push(CgroupRest { reason: "books".to_owned(), bytes: left });
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_residuals_add_up_to_the_charge() {
        let books = CgroupBooks {
            current_bytes: 1_000_000,
            anon_bytes: Some(400_000),
            file_bytes: Some(500_000),
            file_mapped_bytes: Some(90_000),
            kernel_bytes: Some(80_000),
            ..CgroupBooks::default()
        };
        let pages = CgroupPages { anon_bytes: 404_096, file_bytes: 60_000, ..Default::default() };
        let mut cgroup = Cgroup { after: Some(books), pages: Some(pages), ..Cgroup::default() };
        cgroup.divide();
        let rest: Vec<(&str, i64)> =
            cgroup.unexplained.iter().map(|rest| (rest.reason.as_str(), rest.bytes)).collect();
        assert_eq!(
            rest,
            [
                ("anon-of-others", -4096),
                ("page-cache-of-others", 30_000),
                ("page-cache-unmapped", 410_000),
                ("kernel", 80_000),
                ("books", 20_000),
            ]
        );
        let sum: i64 = rest.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum + 404_096 + 60_000, 1_000_000);
    }

    #[test]
    fn books_of_the_charge_alone_leave_one_residual() {
        let books = CgroupBooks { current_bytes: 4096, ..CgroupBooks::default() };
        let mut cgroup = Cgroup { after: Some(books), ..Cgroup::default() };
        cgroup.divide();
        assert_eq!(cgroup.unexplained, [CgroupRest { reason: "books".to_owned(), bytes: 4096 }]);
    }
}
