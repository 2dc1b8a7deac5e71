//! `rmap run` on programs that map files and shared memory, or have the kernel fill their memory.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::Path;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::job::PAGE;

/// On tmpfs a file is shared memory: other causes, other rules of Dirty.
fn on_tmpfs(dir: &Path) -> bool {
    statfs(dir).unwrap().filesystem_type() == TMPFS_MAGIC
}

#[test]
fn what_the_kernel_reads_into_fresh_memory_belongs_to_the_reader() {
    let machine = begin!();
    let file = machine.scratch().join("read");
    let job = machine.job("read_into", &[file.to_str().unwrap()]);
    job.expect_kernel_sizes();
    for function in ["read_file", "read_pipe", "read_zero"] {
        job.expect("memory", function, "kernel-write");
    }
    job.expect_whole("memory");
}

#[test]
fn a_private_file_mapping_is_read_then_partly_copied() {
    let machine = begin!();
    if on_tmpfs(machine.scratch()) {
        return machine.skip("the build's directory is on tmpfs");
    }
    let file = machine.scratch().join("private");
    let job = machine.job("file_private", &[file.to_str().unwrap()]);
    job.expect_kernel_sizes();
    let read = job.pages("read", "read_pages");
    job.expect_pages("read", "read_pages", "file-read", read, 0);
    job.expect("read", "rewrite_pages", "file-cow");
    job.expect("unread", "write_unread", "file-cow");
    job.expect_whole("read");
    job.expect_whole("unread");
    // The kernel maps neighbours too: fewer faults than pages.
    let owned = job.owned("read", "read_pages");
    assert!(owned.faults * PAGE < owned.rss, "{}", job.show("read"));
}

#[test]
fn pages_of_large_folios_belong_to_the_fault_that_mapped_them() {
    let machine = begin!();
    if on_tmpfs(machine.scratch()) {
        return machine.skip("the build's directory is on tmpfs");
    }
    let file = machine.scratch().join("folios");
    let job = machine.job("folios", &[file.to_str().unwrap()]);
    job.expect_kernel_sizes();
    for region in ["small", "large"] {
        for function in ["read_middle", "read_below_middle", "read_low", "read_rest"] {
            let came = job.pages(region, function);
            let owned = job.owned(region, function);
            assert_eq!((owned.rss, owned.dirty), (came * PAGE, 0), "{}", job.show(region));
        }
        job.expect_whole(region);
    }
    if job.truth.number("beyond") == 0 {
        machine.skip("no fault mapped a large folio as a whole: an older kernel or file system");
    }
}

#[test]
fn a_shared_file_mapping_is_dirty_by_who_wrote_it() {
    let machine = begin!();
    if on_tmpfs(machine.scratch()) {
        return machine.skip("the build's directory is on tmpfs");
    }
    let file = machine.scratch().join("shared");
    let job = machine.job("file_shared", &[file.to_str().unwrap()]);
    job.expect_kernel_sizes();
    job.expect("unread", "write_unread", "shared-write");
    job.expect_whole("unread");
    // Resident by one, dirty by the other.
    job.expect_pages("read", "read_pages", "file-read", job.pages("read", "read_pages"), 0);
    let dirty = job.truth.number("written_after_read");
    job.expect_pages("read", "write_read", "shared-write", 0, dirty);
    job.expect_whole("read");
}

#[test]
fn shared_memory_belongs_to_who_touched_it_first() {
    let machine = begin!();
    let job = machine.job("shared_memory", &[]);
    job.expect_kernel_sizes();
    job.expect("memfd", "write_memfd", "shared-memory");
    job.expect("anon", "write_shared_anon", "shared-memory");
    job.expect("sysv", "write_sysv", "shared-memory");
    for region in ["memfd", "anon", "sysv"] {
        job.expect_whole(region);
    }
    let by = job.segment("sysv").mapped_by.as_ref();
    assert_eq!(by.map(|by| by.call.as_str()), Some("shmat"), "{by:?}");
}

#[test]
fn a_silent_write_to_shared_memory_is_a_residual_with_its_reason() {
    let machine = begin!();
    let job = machine.job("shared_memory", &[]);
    job.expect_pages("silent", "read_fresh", "shared-memory", 16, 0);
    let unexplained: Vec<_> = job.segment("silent").unexplained.iter().collect();
    let silent = i64::try_from(job.truth.number("silent_dirty_pages") * PAGE).unwrap();
    assert_eq!(unexplained.len(), 1, "{}", job.show("silent"));
    assert_eq!(
        unexplained[0].reason.as_str(),
        "shared-write-without-fault",
        "{}",
        job.show("silent")
    );
    assert_eq!((unexplained[0].rss_bytes, unexplained[0].dirty_bytes), (0, silent));
}

#[test]
fn a_file_name_cannot_break_the_table() {
    let machine = begin!();
    let file = machine.scratch().join("two\nlines\x1b[31m red\ttab");
    let job = machine.job("named_file", &[file.to_str().unwrap()]);
    job.expect_kernel_sizes();
    if !on_tmpfs(machine.scratch()) {
        job.expect_pages("file", "read_named", "file-read", 4, 0);
    }
    let table = &job.traced.table;
    let raw: Vec<char> = table.chars().filter(|c| c.is_control() && *c != '\n').collect();
    assert_eq!(raw, [], "control characters in the table:\n{table:?}");
    assert!(!table.contains("two\nlines"), "a name breaks its row:\n{table}");
    let start = job.truth.region("file").start.trim_start_matches("0x");
    let row = table.lines().find(|line| line.contains(start));
    assert!(row.is_some_and(|row| row.contains("tab")), "{row:?} of\n{table}");
    assert!(!job.traced.json.contains('\x1b'), "{}", job.traced.json);
    assert!(facts::segment(job.process("file"), &job.truth.region("file").start).inode != 0);
}
