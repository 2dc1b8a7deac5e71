//! `rmap run` on files that are written by others than who maps them, cleaned by writeback and
//! written again, and cut.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use rmap_tests::facts;
use rmap_tests::job::{Job, PAGE};
use rmap_tests::process::Running;
use rmap_tests::rmap::reports;
use rmap_tests::{begin, machine::Machine, workload};

/// On tmpfs a file is shared memory: other causes, other rules of Dirty.
fn on_tmpfs(machine: &Machine) -> bool {
    let tmpfs = statfs(machine.scratch()).unwrap().filesystem_type() == TMPFS_MAGIC;
    if tmpfs {
        machine.skip("the build's directory is on tmpfs");
    }
    tmpfs
}

/// Checks who is dirty by whom: the rest of the region is read by one function, and clean.
fn expect_writer(job: &Job, region: &str, reader: &str, writer: &str, cause: &str) {
    let pages = job.truth.number(&format!("{region}_dirty_pages"));
    let read = job.pages(region, reader);
    let owned = job.owned(region, reader);
    assert_eq!((owned.rss, owned.dirty), (read * PAGE, 0), "{reader}: {}", job.show(region));
    job.expect_pages(region, writer, cause, 0, pages);
    job.expect_whole(region);
}

#[test]
fn what_writeback_cleaned_is_dirty_by_who_wrote_it_again() {
    let machine = begin!();
    if on_tmpfs(&machine) {
        return;
    }
    let file = machine.scratch().join("states");
    let job = machine.job("file_states", &[file.to_str().unwrap()]);
    job.expect_kernel_sizes();
    job.expect_pages("clean", "write_synced", "shared-write", 16, 0);
    job.expect_whole("clean");
    expect_writer(&job, "again", "write_synced", "write_again", "shared-write");
    // write(2): no page of the process was touched, in neither of the two mappings.
    expect_writer(&job, "called", "read_pages", "write_call", "page-cache-write");
    expect_writer(&job, "called_private", "read_pages", "write_call", "page-cache-write");
    let written = job.truth.number("populated_dirty_pages");
    job.expect_pages("populated", "write_populated", "shared-write", 0, written);
    job.expect_whole("populated");
}

#[test]
fn a_traced_child_that_writes_the_parents_files_is_named_by_its_functions() {
    let machine = begin!();
    if on_tmpfs(&machine) {
        return;
    }
    let file = machine.scratch().join("writers");
    let job = machine.job("file_writers", &[file.to_str().unwrap()]);
    job.expect_kernel_sizes();
    expect_writer(&job, "sent", "read_pages", "send_pages", "page-cache-write");
    expect_writer(&job, "written", "store_first", "child_writes", "page-cache-write");
    expect_writer(&job, "stored", "read_pages", "child_stores", "shared-write");
    // One byte makes the whole folio dirty, however large the file system has made it.
    let large = job.truth.region("large").dirty / PAGE;
    job.expect_pages("large", "child_pokes", "page-cache-write", 0, large);
    job.expect_whole("large");
    assert_eq!(job.released("cut", "child_cuts", "truncate"), 24 * PAGE, "{}", job.show("cut"));
    job.expect_pages("cut", "read_pages", "file-read", 8, 0);
    job.expect_whole("cut");
}

#[test]
fn a_stranger_who_writes_the_files_is_a_reason_of_its_own() {
    let machine = begin!();
    if on_tmpfs(&machine) {
        return;
    }
    let file = machine.scratch().join("writers");
    let mut rmap = reports(machine.scratch(), "run");
    // The child is nobody that rmap traces.
    rmap.args(["--no-follow", "--"]).arg(workload::build("file_writers")).arg(&file);
    let job = Job::end(machine.scratch(), Running::start(&mut rmap, None));
    job.expect_kernel_sizes();
    expect_writer(&job, "sent", "read_pages", "send_pages", "page-cache-write");
    for (region, reader) in
        [("written", "store_first"), ("stored", "read_pages"), ("large", "read_large")]
    {
        let pages = job.truth.region(region).dirty / PAGE;
        let stranger = i64::try_from(pages * PAGE).unwrap();
        let owned = job.owned(region, reader);
        let read = job.pages(region, reader);
        assert_eq!((owned.rss, owned.dirty), (read * PAGE, 0), "{}", job.show(region));
        let rest: Vec<_> = job.segment(region).unexplained.iter().collect();
        assert_eq!(rest.len(), 1, "{}", job.show(region));
        let rest = (rest[0].reason.as_str(), rest[0].rss_bytes, rest[0].dirty_bytes);
        assert_eq!(rest, ("stranger", 0, stranger), "{}", job.show(region));
    }
    let process = job.process("cut");
    let cut = process.released.iter().filter(|r| r.how.as_str() == "truncate");
    let cut: Vec<_> = cut.map(|r| (r.stack, r.rss_bytes)).collect();
    assert_eq!(cut, [(None, 24 * PAGE)], "{}", facts::show(job.report(), job.segment("cut")));
}

#[test]
fn what_a_process_cuts_itself_is_given_back_by_its_own_function() {
    let machine = begin!();
    if on_tmpfs(&machine) {
        return;
    }
    let file = machine.scratch().join("truncated");
    let job = machine.job("truncated", &[file.to_str().unwrap()]);
    job.expect_kernel_sizes();
    job.expect_pages("cut", "read_pages", "file-read", 8, 0);
    job.expect_pages("punched", "write_pages", "shared-memory", 16, 16);
    assert_eq!(job.released("cut", "cut", "truncate"), 24 * PAGE);
    assert_eq!(job.released("punched", "punch", "truncate"), 16 * PAGE);
    for region in ["cut", "punched"] {
        job.expect_whole(region);
    }
}
