//! The workloads by themselves, with no rmap and no privileges: what they say of their functions
//! adds up to what the kernel says of their regions.

use std::process::Command;

use rmap_tests::job::PAGE;
use rmap_tests::process::{Ended, run};
use rmap_tests::truth::Truth;
use rmap_tests::workload;

fn said(name: &str, args: &[&str]) -> (Truth, Ended) {
    let ended = run(Command::new(workload::build(name)).args(args));
    assert_eq!(ended.code(), 0, "{name}: {}", ended.err());
    (Truth::parse(&ended.stdout), ended)
}

/// Every region's RSS is the sum of its functions' pages and `more` pages of somebody else; its
/// Dirty is what the workload expects, where it says that.
fn adds_up(name: &str, args: &[&str], more: &[(&str, u64)]) {
    let (truth, _) = said(name, args);
    if truth.skip.is_some() {
        return;
    }
    assert!(!truth.smaps.is_empty(), "{name}");
    for region in &truth.smaps {
        let pages = truth.pages.iter().filter(|p| p.region == region.region);
        let others = more.iter().filter(|(other, _)| *other == region.region);
        let sum = pages.map(|p| p.pages).sum::<u64>() + others.map(|(_, n)| n).sum::<u64>();
        assert_eq!(sum * PAGE, region.rss, "{name}, {}: {truth:?}", region.region);
        let dirty = format!("{}_dirty_pages", region.region);
        if let Some(dirty) = truth.numbers.iter().find(|number| number.name == dirty) {
            assert_eq!(dirty.value * PAGE, region.dirty, "{name}, {}: {truth:?}", region.region);
        }
    }
}

#[test]
fn anonymous_memory_adds_up() {
    for name in ["interleaved", "threads", "rounds", "dontneed", "zero_page", "huge", "populate"] {
        adds_up(name, &[], &[]);
    }
    for name in ["brk_shrink", "lazy_free", "remap", "collapse", "user_fault", "hugetlb"] {
        adds_up(name, &[], &[]);
    }
    for name in ["no_effect", "huge_zero", "mthp", "lock_all"] {
        adds_up(name, &[], &[]);
    }
    // malloc itself wrote its header.
    adds_up("mremap_grow", &[], &[("block", 1)]);
}

#[test]
fn the_heap_of_the_article_is_memsets_and_two_pages_of_malloc() {
    adds_up("article", &["first"], &[("heap", 2)]);
    adds_up("article", &["second"], &[("heap", 2)]);
}

#[test]
fn memory_written_under_many_callers_adds_up() {
    for how in ["memset", "memcpy", "qsort", "alloca", "aligned", "aligned-alloca", "jump", "read"]
    {
        adds_up("stacks_calls", &[how], &[]);
    }
    adds_up("stacks_calls", &["recursion", "200"], &[]);
    for how in ["fault", "raise"] {
        adds_up("stacks_signals", &[how, "own"], &[]);
        adds_up("stacks_signals", &[how, "alternate"], &[]);
    }
    adds_up("stacks_threads", &[], &[]);
    adds_up("stacks_exceptions", &[], &[]);
    let library = workload::build_with("stacks_library", &workload::LIBRARY);
    adds_up("stacks_dlopen", &[library.to_str().unwrap()], &[]);
}

#[test]
fn files_and_shared_memory_add_up() {
    // Cargo's own scratch directory is on the build's file system.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("file");
    let file = file.to_str().unwrap();
    for name in ["read_into", "file_private", "file_shared", "named_file"] {
        adds_up(name, &[file], &[]);
    }
    for name in
        ["file_states", "file_writers", "pinned", "failed_fault", "truncated", "populate_file"]
    {
        adds_up(name, &[file], &[]);
    }
    for name in ["uring", "vectors"] {
        adds_up(name, &[file], &[]);
    }
    adds_up("shared_memory", &[], &[]);
}

#[test]
fn processes_add_up() {
    adds_up("fork_cow", &[], &[("child", 48)]);
    adds_up("reused", &[], &[("child", 48)]);
    adds_up("vfork_child", &[], &[]);
    adds_up("remote", &[], &[]);
    let (truth, _) = said("exec_middle", &[]);
    assert_eq!(truth.region("new").rss, 32 * PAGE);
}

#[test]
fn a_tracer_and_many_children_work_untraced() {
    let (_, ended) = said("tracer", &[]);
    assert_eq!(ended.out(), "traced both\n");
    assert_eq!(said("ending", &["forks"]).0.number("sum"), 1225);
}
