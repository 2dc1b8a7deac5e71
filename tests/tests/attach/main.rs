//! `rmap attach`: what a process held before, what it does from then on, and how it is left.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

mod corners;
mod exact;
mod server;
mod storms;

use std::path::Path;

use rmap_tests::process::{Running, eventually};
use rmap_tests::rmap::{Traced, finish};
use rmap_tests::truth::Truth;

/// Waits until the workload has said a number of that name.
fn said(workload: &Running, name: &str) -> Truth {
    eventually(name, || {
        let truth = Truth::parse(&workload.out_so_far());
        truth.numbers.iter().any(|number| number.name == name).then_some(truth)
    })
}

/// Waits for an `rmap attach`, which has nothing to complain of.
fn ended_well(dir: &Path, rmap: Running) -> Traced {
    let traced = finish(dir, rmap);
    assert_eq!((traced.ended.code(), traced.ended.err().as_str()), (0, ""), "rmap attach");
    assert_eq!(traced.ended.out(), "");
    for wrong in ["contradicts", "a defect"] {
        assert!(!traced.table.contains(wrong), "{}", traced.table);
    }
    traced
}
