//! What a report of `--malloc` says, by function.
//!
//! Comes in: a report. Goes out: live blocks of a process, and of the call paths through a function.

use rmap::report::{Malloc, Process, Report, Stack, StackId};

/// The live blocks of a process.
///
/// # Panics
/// It has none: nothing was sampled.
#[must_use]
pub fn malloc(process: &Process) -> &Malloc {
    process.malloc.as_deref().unwrap()
}

/// Estimated live bytes of the call paths through a function.
#[must_use]
pub fn held_by(report: &Report, process: &Process, function: &str) -> u64 {
    let through = |id: StackId| {
        let names = stack(report, id).frames.iter().filter_map(|frame| frame.function.as_deref());
        names.into_iter().any(|name| name == function)
    };
    let paths = malloc(process).paths.iter();
    paths.filter(|path| path.stack.is_some_and(through)).map(|path| path.live_bytes).sum()
}

/// A stack of the report.
///
/// # Panics
/// It has none of that name.
#[must_use]
pub fn stack(report: &Report, id: StackId) -> &Stack {
    report.stacks.iter().find(|stack| stack.id == id).unwrap()
}

/// The names of a stack's functions, the innermost first.
#[must_use]
pub fn functions(stack: &Stack) -> Vec<&str> {
    stack.frames.iter().filter_map(|frame| frame.function.as_deref()).collect()
}

/// Checks an estimate.
///
/// # Panics
/// It is not within 5 % of the truth.
#[track_caller]
pub fn assert_near(found: u64, truth: u64) {
    assert!(found.abs_diff(truth) * 20 <= truth, "{found} is not within 5 % of {truth}");
}
