//! `rmap run` on pages that become dirty with no event of the kernel: what is known of them is read
//! from the process's own page table when a snapshot is taken.

use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::job::{Job, PAGE};

/// What is not explained: reason, pages of RSS and of Dirty.
fn rest(job: &Job, region: &str) -> Vec<(String, i64, i64)> {
    let page = i64::try_from(PAGE).unwrap_or(1);
    let parts = job.segment(region).unexplained.iter();
    parts
        .map(|u| (u.reason.as_str().to_owned(), u.rss_bytes / page, u.dirty_bytes / page))
        .collect()
}

/// Whether the probes of this machine read page tables.
fn reads_page_tables(job: &Job) -> bool {
    let probes = job.report().coverage.probes.iter();
    probes.into_iter().any(|probe| probe.name == "page-table" && probe.attached)
}

#[test]
fn the_page_table_tells_which_pages_were_written_without_a_fault() {
    let machine = begin!();
    let job = machine.job("silent", &[]);
    if !reads_page_tables(&job) {
        return machine.skip("page tables cannot be read here");
    }
    job.expect_kernel_sizes();
    job.expect("own", "write_first", "shared-memory");
    job.expect_pages("own", "read_rest", "shared-memory", 18, 0);
    assert_eq!(rest(&job, "own"), [("shared-write-without-fault".to_owned(), 0, 5)]);
    // Who brought these pages, and who wrote others of the mapping.
    let candidates = &job.segment("own").unexplained[0].candidates;
    for function in ["write_first", "read_rest"] {
        let named =
            candidates.iter().any(|id| facts::leaf_is(job.report(), Some(*id), &[function]));
        assert!(named, "{function} is no candidate: {candidates:?}; {}", job.show("own"));
    }
    assert_eq!(candidates.len(), 2, "{}", job.show("own"));
    // The child's own entries say that it was the child; in the parent only the folio is dirty.
    assert_eq!(rest(&job, "child"), [("shared-write-without-fault".to_owned(), 0, 4)]);
    job.expect_pages("child", "read_all", "shared-memory", 24, 0);
    assert_eq!(rest(&job, "other"), [("page-cache-write".to_owned(), 0, 4)]);
    job.expect_pages("other", "read_all", "shared-memory", 24, 0);
    // Given up: 16 pages, written again: 7 of them.
    job.expect_pages("freed", "fill", "first-write", 24, 8);
    assert_eq!(rest(&job, "freed"), [("write-after-madv-free".to_owned(), 0, 7)]);
}
