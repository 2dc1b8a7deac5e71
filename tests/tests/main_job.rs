//! `rmap run` on programs that write anonymous memory in every way, each with known truth.

use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::job::{Job, PAGE, command};
use rmap_tests::process::{Running, eventually};
use rmap_tests::truth::Truth;
use rmap_tests::{pmap, workload};

/// Checks the article's program: the whole heap explained by complete stacks, memset's pages to the
/// byte under the function that called it.
fn check_article(job: &Job, leaf_has_name: bool) {
    job.expect_kernel_sizes();
    job.expect_whole("heap");
    let heap = job.segment("heap");
    assert_eq!(heap.name, "[heap]");
    let first_write = facts::owned_through(heap, "first-write");
    assert_eq!(
        (first_write.rss, first_write.dirty),
        (heap.rss_bytes.after, heap.dirty_bytes.after),
        "first-write explains all; {}",
        job.show("heap")
    );
    let pages = job.pages("heap", "fill_block") * PAGE;
    let report = job.report();
    let filled = facts::owned_under(report, heap, "fill_block");
    assert_eq!((filled.rss, filled.dirty), (pages, pages), "fill_block; {}", job.show("heap"));
    for path in &heap.paths {
        assert!(facts::stack(report, path.stack).complete, "{}", job.show("heap"));
        let under = |function| facts::caller_is(report, path.stack, &[function]);
        assert!(under("main") || !under("fill_block"), "{}", job.show("heap"));
    }
    if leaf_has_name {
        let owned = facts::owned_by(report, heap, &["memset", "fill_block"]);
        assert_eq!((owned.rss, owned.dirty), (pages, pages), "memset; {}", job.show("heap"));
    }
}

#[test]
fn the_articles_program_is_explained_by_memset_and_its_callers() {
    let machine = begin!();
    // libc's memset has a name only where its debug symbols are installed.
    let symbols = std::path::Path::new("/usr/lib/debug/.build-id").exists();
    // Frame pointers, and none as in what people build for themselves.
    for kind in [&[][..], &workload::BARE] {
        let mut variants = vec![(vec![], symbols), (vec!["-static"], true)];
        if cfg!(target_arch = "x86_64") {
            // The compiler writes memset's loop into the function itself.
            variants.push((vec!["-minline-all-stringops"], true));
        }
        for (flags, leaf_has_name) in variants {
            let binary = workload::build_with("article", &[kind, &flags].concat());
            for form in ["first", "second"] {
                check_article(&machine.job_of(&binary, &[form]), leaf_has_name);
            }
        }
    }
}

#[test]
fn the_articles_heap_is_as_pmap_says() {
    let machine = begin!();
    for form in ["first", "second"] {
        let binary = workload::build("article");
        let mut rmap = command(machine.scratch(), &binary, &[form, "wait"]);
        let (running, stdin) = Running::start_piped(&mut rmap);
        let heap =
            eventually("the heap's line", || Truth::parse(&running.out_so_far()).smaps.pop());
        let Some(output) = pmap::output(heap.pid) else {
            return machine.skip("no pmap here");
        };
        drop(stdin);
        let job = Job::end(machine.scratch(), running);
        let start = facts::address(&heap.start);
        let row = pmap::rows(&output).into_iter().find(|row| row.start == start);
        let row = row.unwrap_or_else(|| panic!("no heap in {output}"));
        let segment = job.segment("heap");
        assert_eq!(
            (segment.size_bytes, segment.rss_bytes.after, segment.dirty_bytes.after),
            (row.size, row.rss, row.dirty),
            "{output}{}",
            job.show("heap")
        );
        check_article(&job, false);
    }
}

#[test]
fn two_writers_own_their_pages_and_readers_own_nothing() {
    let machine = begin!();
    let job = machine.job("interleaved", &[]);
    job.expect_kernel_sizes();
    job.expect("written", "write_first_of_three", "first-write");
    job.expect("written", "write_second_of_three", "first-write");
    job.expect_nothing("written", "read_all");
    job.expect_whole("written");
    job.expect_nothing("untouched", "read_untouched");
    let untouched = job.segment("untouched");
    assert!(
        untouched.paths.iter().all(|path| path.rss_bytes == 0 && path.dirty_bytes == 0),
        "{}",
        job.show("untouched")
    );
    assert!(untouched.unexplained.is_empty(), "{}", job.show("untouched"));
}

#[test]
fn eight_threads_own_exactly_their_pages() {
    let machine = begin!();
    let job = machine.job("threads", &[]);
    job.expect_kernel_sizes();
    assert_eq!(job.truth.tids.len(), 8);
    for thread in &job.truth.tids {
        job.expect("memory", &thread.function, "first-write");
        let owned = job.owned("memory", &thread.function);
        assert!(owned.tids.iter().eq([&thread.tid]), "{thread:?}: {:?}", owned.tids);
        assert_eq!(owned.faults * PAGE, owned.rss, "{}", job.show("memory"));
    }
    job.expect_whole("memory");
}

#[test]
fn of_fifty_rounds_only_the_survivor_is_resident() {
    let machine = begin!();
    let job = machine.job("rounds", &[]);
    job.expect_kernel_sizes();
    job.expect("survivor", "fill_survivor", "first-write");
    job.expect_whole("survivor");
    for segment in &job.process("survivor").segments {
        let owned = facts::owned_by(job.report(), segment, &["fill_round"]);
        assert_eq!((owned.rss, owned.dirty), (0, 0), "{}", facts::show(job.report(), segment));
    }
    let gross = job.truth.number("touched_pages") * PAGE;
    assert_eq!(job.touched("survivor", "fill_round"), gross, "touched in all");
    assert_eq!(job.released("survivor", "unmap_round", "munmap"), gross, "given back");
}

#[test]
fn dropped_pages_belong_to_who_fills_them_again() {
    let machine = begin!();
    let job = machine.job("dontneed", &[]);
    job.expect_kernel_sizes();
    job.expect("memory", "fill_first", "first-write");
    job.expect("memory", "refill", "first-write");
    job.expect_whole("memory");
    assert_eq!(job.owned("memory", "fill_first").touched, 64 * PAGE, "{}", job.show("memory"));
    let dropped = job.truth.number("dropped_pages") * PAGE;
    assert_eq!(job.released("memory", "drop", "dontneed"), dropped);
}

#[test]
fn a_write_over_the_zero_page_is_told_from_a_first_write() {
    let machine = begin!();
    let job = machine.job("zero_page", &[]);
    job.expect_kernel_sizes();
    job.expect("memory", "write_over_zeros", "zero-page-write");
    job.expect_nothing("memory", "read_zeros");
    job.expect_whole("memory");
}

#[test]
fn huge_pages_are_counted_as_pages_not_as_faults() {
    let machine = begin!();
    let job = machine.job("huge", &[]);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    let region = job.truth.region("huge");
    if region.anon_huge != region.rss {
        return machine.skip("the kernel gave no huge pages");
    }
    job.expect_kernel_sizes();
    job.expect("huge", "touch_huge", "huge-page");
    job.expect_whole("huge");
    let faults = job.owned("huge", "touch_huge").faults;
    assert_eq!(faults, job.truth.number("faults"), "{}", job.show("huge"));
}

#[test]
fn a_moved_and_grown_mapping_keeps_its_owners() {
    let machine = begin!();
    for args in [&[][..], &["huge"]] {
        let job = machine.job("mremap_grow", args);
        if let Some(reason) = &job.truth.skip {
            return machine.skip(reason);
        }
        job.expect_kernel_sizes();
        job.expect("moved", "fill_small", "first-write");
        job.expect("moved", "fill_grown", "first-write");
        job.expect_whole("moved");
        // The machine's default may be huge pages too. Where the kernel makes one of what is half
        // filled (khugepaged), the rest of it is there before the program comes to write it.
        let paths = &job.segment("block").paths;
        let collapsed = paths.iter().filter(|path| path.cause.as_str() == "collapse");
        let mut left: u64 = collapsed.map(|path| path.rss_bytes).sum();
        for function in ["fill_block", "fill_block_grown"] {
            let (owned, pages) =
                (job.owned("block", function), job.pages("block", function) * PAGE);
            assert_eq!(owned.rss, owned.dirty, "{}", job.show("block"));
            assert!(owned.rss <= pages && pages - owned.rss <= left, "{}", job.show("block"));
            left -= pages - owned.rss;
            let causes = ["first-write", "huge-page"];
            let known = owned.causes.iter().all(|cause| causes.contains(&cause.as_str()));
            assert!(known, "{}", job.show("block"));
        }
        assert_eq!(left, 0, "{}", job.show("block"));
        job.expect_whole("block");
        let huge = facts::owned_through(job.segment("block"), "huge-page").rss;
        assert!(args.is_empty() || huge > 0 || job.truth.region("block").anon_huge == 0, "{huge}");
    }
}

#[test]
fn a_deep_frame_owns_the_stack_that_it_wrote() {
    let machine = begin!();
    let job = machine.job("stack_deep", &[]);
    job.expect_kernel_sizes();
    assert_eq!(job.segment("stack").name, "[stack]");
    let owned = job.owned("stack", "deepen");
    let pages = job.pages("stack", "deepen") * PAGE;
    assert_eq!((owned.rss, owned.dirty), (pages, pages), "{}", job.show("stack"));
    let causes = ["stack-growth", "first-write"];
    assert!(owned.causes.iter().all(|c| causes.contains(&c.as_str())), "{}", job.show("stack"));
}

#[test]
fn populated_memory_belongs_to_who_asked_for_it() {
    let machine = begin!();
    let job = machine.job("populate", &[]);
    job.expect_kernel_sizes();
    for pages in &job.truth.pages {
        job.expect(&pages.region, &pages.function, "populate");
        job.expect_whole(&pages.region);
    }
    assert!(job.truth.pages.len() >= 2, "{:?}", job.truth);
}

#[test]
fn a_shrunk_heap_keeps_what_is_left() {
    let machine = begin!();
    let job = machine.job("brk_shrink", &[]);
    job.expect_kernel_sizes();
    job.expect("heap", "fill_heap", "first-write");
    job.expect_whole("heap");
    let released = job.truth.number("released_pages") * PAGE;
    assert_eq!(job.released("heap", "shrink", "brk"), released);
    let by = job.segment("heap").mapped_by.as_ref();
    assert_eq!(by.map(|by| by.call.as_str()), Some("brk"), "{by:?}");
}
