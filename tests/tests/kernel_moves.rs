//! `rmap run` on pages that the kernel moves by itself, or gives in other sizes: swap, KSM,
//! MADV_COLLAPSE, hugetlb, the vdso, and a group of processes under pressure.
//!
//! Some of these tests change settings of the whole machine and put them back.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::Path;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use rmap_tests::facts;
use rmap_tests::job::{Job, PAGE};
use rmap_tests::pressure::{Group, Swap};
use rmap_tests::process::Running;
use rmap_tests::rmap::rmap_run;
use rmap_tests::routes::MERGED;
use rmap_tests::setting::Setting;
use rmap_tests::{begin, workload};

/// What is not explained: reason, pages of RSS and of Dirty.
fn rest(job: &Job, region: &str) -> Vec<(String, i64, i64)> {
    let page = i64::try_from(PAGE).unwrap();
    let parts = job.segment(region).unexplained.iter();
    parts
        .map(|u| (u.reason.as_str().to_owned(), u.rss_bytes / page, u.dirty_bytes / page))
        .collect()
}

#[test]
fn pages_that_went_to_swap_belong_to_who_brought_them_back() {
    let machine = begin!();
    let _swap = match Swap::on(&machine) {
        Ok(swap) => swap,
        Err(reason) => return machine.skip(&reason),
    };
    let job = machine.job("swapped", &[]);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    job.expect_kernel_sizes();
    job.expect_pages("swapped", "read_back", "swap-in", 16, 0);
    job.expect("swapped", "write_back", "swap-in");
    job.expect_nothing("swapped", "fill");
    let silent = i64::try_from(job.truth.number("silent_pages")).unwrap();
    if silent == 0 {
        job.expect_pages("swapped", "write_after_read", "protected-write", 0, 8);
        job.expect_whole("swapped");
    } else {
        assert_eq!(rest(&job, "swapped"), [("write-after-swap-in".to_owned(), 0, silent)]);
    }
    let swapped = job.truth.number("in_swap") * PAGE;
    assert_eq!(job.segment("swapped").swap_bytes.after, swapped);
    // All of it went, at the wish of one function.
    assert_eq!(job.released("swapped", "page_out", "pageout"), 64 * PAGE);
}

#[test]
fn a_page_that_ksm_merged_is_copied_by_who_writes_it() {
    let machine = begin!();
    let set = |(name, value): &(&str, &str)| Setting::set(Path::new(name), value);
    let settings: Result<Vec<_>, _> = MERGED.settings.iter().map(set).collect();
    let settings = match settings {
        Ok(settings) => settings,
        Err(reason) => return machine.skip(&reason),
    };
    let job = machine.job("merged", &[]);
    drop(settings);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    job.expect_kernel_sizes();
    job.expect("written", "write_merged", "ksm-cow");
    job.expect("written", "fill_equal", "first-write");
    job.expect("merged", "fill_equal", "first-write");
    job.expect_whole("written");
    job.expect_whole("merged");
}

#[test]
fn holes_that_a_call_of_collapse_filled_are_its_callers() {
    let machine = begin!();
    let job = machine.job("collapse", &[]);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    job.expect_kernel_sizes();
    job.expect_pages("collapsed", "fill_half", "first-write", 256, 256);
    job.expect_pages("collapsed", "collapse", "collapse", 256, 256);
    job.expect("dropped", "touch_huge", "huge-page");
    assert_eq!(job.released("dropped", "drop_part", "dontneed"), 128 * PAGE);
    job.expect_whole("collapsed");
    job.expect_whole("dropped");
}

#[test]
fn pages_of_hugetlb_have_figures_of_their_own() {
    let machine = begin!();
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    let _reserved = match Setting::set(Path::new(path), "4") {
        Ok(reserved) => reserved,
        Err(reason) => return machine.skip(&reason),
    };
    let job = machine.job("hugetlb", &[]);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    job.expect_kernel_sizes();
    let segment = job.segment("hugetlb");
    assert_eq!((segment.rss_bytes.after, segment.dirty_bytes.after), (0, 0));
    assert_eq!(segment.hugetlb_bytes, 2 << 20, "{}", job.show("hugetlb"));
    job.expect_whole("hugetlb");
}

#[test]
fn the_vdso_and_its_data_are_accounted() {
    let machine = begin!();
    let job = machine.job("special", &[]);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    job.expect_kernel_sizes();
    job.expect_whole("vdso");
    let vdso = job.segment("vdso");
    // The loader looks at it first, and what it touches is there for all.
    let read = facts::owned_through(vdso, "file-read");
    assert!(read.rss > 0 && read.rss == vdso.rss_bytes.after, "{}", job.show("vdso"));
    let others = |name: &str| name.starts_with("[vvar") || name == "[vsyscall]";
    let process = job.process("vdso");
    for segment in process.segments.iter().filter(|segment| others(&segment.name)) {
        // In no figure, but since Linux 7 the data of the vdso are pages as any other.
        let sizes = (segment.rss_bytes.after, segment.dirty_bytes.after);
        let read = facts::owned_through(segment, "file-read").rss;
        assert_eq!(sizes, (read, 0), "{}", facts::show(job.report(), segment));
        assert!(segment.unexplained.is_empty(), "{}", facts::show(job.report(), segment));
    }
}

#[test]
fn what_a_group_under_pressure_lost_is_debited_and_told_as_reclaim() {
    let machine = begin!();
    if statfs(machine.scratch()).unwrap().filesystem_type() == TMPFS_MAGIC {
        return machine.skip("the build's directory is on tmpfs");
    }
    let (_swap, group) = match Swap::on(&machine).and_then(|swap| Ok((swap, Group::new(8 << 20)?)))
    {
        Ok(made) => made,
        Err(reason) => return machine.skip(&reason),
    };
    let file = machine.scratch().join("pressed");
    let mut rmap = rmap_run(machine.scratch());
    rmap.args(["sh", "-c", "echo $$ > \"$1\" && exec \"$2\" \"$3\" \"$4\"", "sh"]);
    rmap.arg(group.members()).arg(workload::build("pressed")).arg(&file).arg(group.limit());
    let job = Job::end(machine.scratch(), Running::start(&mut rmap, None));
    job.expect_kernel_sizes();
    // Whatever is there still belongs to who brought it; the rest is debited.
    let (pages, read) = (job.truth.number("memory_pages"), job.truth.number("file_pages"));
    let (there, cached) = (job.truth.region("memory"), job.truth.region("file").rss);
    let filled = job.owned("memory", "fill");
    assert_eq!(filled.rss, there.rss, "{}", job.show("memory"));
    assert_eq!(there.rss + there.swap, pages * PAGE, "{there:?}");
    assert!(there.rss < pages * PAGE || cached < read * PAGE, "nothing was taken: {there:?}");
    let left = job.owned("file", "read_file");
    assert_eq!((left.rss, left.dirty), (cached, 0), "{}", job.show("file"));
    job.expect_whole("memory");
    job.expect_whole("file");
    // Of the two regions at least what is not there went; more where it came and went again.
    let lost = there.swap + read * PAGE - cached;
    let told = facts::released_by_kernel(job.process("memory"), "reclaim");
    assert!(told >= lost, "{told} bytes of {lost} are told as reclaimed");
}
