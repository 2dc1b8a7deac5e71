//! Chains of callers: a workload without frame pointers, and what the stacks that own its region
//! have of its own functions.
//!
//! Comes in: a workload and how it is called. Goes out: jobs, and checks that panic with the stack
//! that is wrong.

use std::path::Path;

use ::rmap::report::Stack;

use crate::facts;
use crate::job::{Job, PAGE};
use crate::machine::Machine;
use crate::workload::{self, BARE};

/// The workload's runs: at once, when rmap may not yet know all of its code and walks stacks on
/// copies; and settled, when the kernel side has all tables.
///
/// # Panics
/// The workload does not compile, or a run does not end well.
#[must_use]
pub fn jobs(machine: &Machine, workload: &str, args: &[&str]) -> [Job; 2] {
    jobs_of(machine, &workload::build_with(workload, &BARE), args)
}

/// The same with a binary that was built already.
///
/// # Panics
/// A run does not end well.
#[must_use]
pub fn jobs_of(machine: &Machine, binary: &Path, args: &[&str]) -> [Job; 2] {
    [machine.job_of(binary, args), machine.job_of(binary, &[args, &["settled"]].concat())]
}

/// libc's own functions have names only where its debug symbols are installed.
#[must_use]
pub fn libc_has_names() -> bool {
    Path::new("/usr/lib/debug/.build-id").exists()
}

/// The stacks that own the region, which they must explain wholly, page by page.
///
/// # Panics
/// They do not.
#[must_use]
pub fn stacks<'a>(job: &'a Job, region: &str) -> Vec<&'a Stack> {
    job.expect_kernel_sizes();
    job.expect_whole(region);
    let segment = job.segment(region);
    let pages: u64 = job.truth.pages.iter().filter(|p| p.region == region).map(|p| p.pages).sum();
    assert_eq!(segment.rss_bytes.after, pages * PAGE, "{}", job.show(region));
    let owners = segment.paths.iter().filter(|path| path.rss_bytes > 0);
    let stacks: Vec<_> = owners.map(|path| facts::stack(job.report(), path.stack)).collect();
    assert!(!stacks.is_empty(), "{}", job.show(region));
    stacks
}

/// The functions of the workload itself on the stack, the innermost first. Those of libc and of
/// the loader differ from machine to machine.
#[must_use]
pub fn own(stack: &Stack) -> Vec<&str> {
    let own = stack.frames.iter().filter(|frame| {
        let file = frame.file.as_deref().unwrap_or_default();
        file.rsplit('/').next().is_some_and(|name| name.starts_with("stacks_"))
    });
    own.map(|frame| frame.function.as_deref().unwrap_or("?")).collect()
}

/// Checks that every stack that owns the region is complete and has exactly these functions of
/// the workload.
///
/// # Panics
/// One is not, or has not.
pub fn expect_chain(job: &Job, region: &str, functions: &[&str]) {
    for stack in stacks(job, region) {
        assert_eq!(own(stack), functions, "{region}: {stack:#?}");
        assert!(stack.complete, "{region}: {stack:#?}");
    }
}

/// Checks that every stack that owns the region has the first of these functions, and, unless it
/// is complete and has all, says how it ended.
///
/// # Panics
/// One has not, or does not say it.
pub fn expect_beginning(job: &Job, region: &str, functions: &[&str], at_least: usize) {
    for stack in stacks(job, region) {
        let own = own(stack);
        assert!(own.len() >= at_least && functions.starts_with(&own), "{region}: {stack:#?}");
        let marker =
            stack.frames.last().is_some_and(|frame| frame.module.starts_with("[incomplete"));
        assert_eq!((stack.complete, marker), (own == functions, own != functions), "{stack:#?}");
    }
}

/// Checks that every stack that owns the region has one of these functions as its innermost.
///
/// # Panics
/// One has another.
pub fn expect_leaf(job: &Job, region: &str, functions: &[&str]) {
    if libc_has_names() {
        let report = job.report();
        let mut paths = job.segment(region).paths.iter().filter(|path| path.rss_bytes > 0);
        let all = paths.all(|path| facts::leaf_is(report, path.stack, functions));
        assert!(all, "{}", job.show(region));
    }
}
