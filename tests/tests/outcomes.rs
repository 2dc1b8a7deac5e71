//! `rmap run` on mapping calls that fail or that do a part of what they were asked: what the kernel
//! did counts, not what was asked.

use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::job::{Job, PAGE};

/// How a function of the workload gives memory back, and how many pages that were.
const RELEASED: [(&str, &str); 6] = [
    ("drop_over_gap", "dontneed"),
    ("drop_up_to_locked", "dontneed"),
    ("drop_up_to_sealed", "dontneed"),
    ("install_guards", "guard"),
    ("move_over_and_fail", "mremap"),
    ("detach", "shmdt"),
];

/// Functions of which no call did anything.
const NOTHING: [&str; 7] = [
    "unmap_all_there_is",
    "unmap_odd",
    "unmap_sealed",
    "drop_wrapped",
    "remove_private",
    "map_over_and_fail",
    "grow_and_fail",
];

fn given_back(job: &Job, function: &str) -> Vec<(String, u64)> {
    let report = job.report();
    let released = report.processes.iter().flat_map(|process| &process.released);
    released
        .filter(|released| facts::leaf_is(report, released.stack, &[function]))
        .map(|released| (released.how.as_str().to_owned(), released.rss_bytes / PAGE))
        .collect()
}

#[test]
fn calls_that_fail_are_credited_with_what_they_did() {
    let machine = begin!();
    let job = machine.job("outcomes", &[]);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    job.expect_kernel_sizes();
    for region in job.truth.smaps.iter().map(|smaps| &smaps.region) {
        job.expect_whole(region);
    }
    for pages in &job.truth.pages {
        let owned = job.owned(&pages.region, &pages.function);
        assert_eq!(owned.rss, pages.pages * PAGE, "{pages:?}; {}", job.show(&pages.region));
        if pages.function != "fill" {
            assert!(owned.causes.iter().eq(["populate"]), "{pages:?}: {:?}", owned.causes);
        }
    }
    for (function, how) in RELEASED {
        let name = format!("released_by_{function}");
        let said = job.truth.numbers.iter().find(|number| number.name == name);
        let expected = said.map(|said| (how.to_owned(), said.value));
        assert_eq!(given_back(&job, function), expected.into_iter().collect::<Vec<_>>(), "{name}");
    }
    for function in NOTHING {
        assert_eq!(given_back(&job, function), [], "{function}");
    }
}
