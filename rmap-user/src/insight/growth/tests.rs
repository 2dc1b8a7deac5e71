//! Owners that grow, of curves made by hand.

use super::*;
use crate::insight::samples::{process, report};
use crate::report::{Address, Frame, Pace, ProcessPoint, Stack};

const MIB: u64 = 1 << 20;

/// A stack of one function, called from another place each time.
fn stack(id: u32, function: &str, module: &str, offset: u64) -> Stack {
    let frame = Frame {
        function: (!function.is_empty()).then(|| function.to_owned()),
        module: module.to_owned(),
        offset: Address(offset),
        line: Some(id),
        ..Frame::default()
    };
    Stack { id: StackId(id), complete: true, frames: vec![frame].into() }
}

/// A process of which each of the stacks holds what `held` says at the tenth of a second `n` of ten
/// seconds; `busy` of a hundred of the time goes into touching it.
fn judged(stacks: Vec<Stack>, held: impl Fn(u32, u64) -> u64, busy: u64, ended: bool) -> Process {
    let ids: Vec<u32> = stacks.iter().map(|stack| stack.id.0).collect();
    let curve = |id: u32| (0..100).map(|n| held(id, n)).collect::<Vec<u64>>();
    let rss = |n: u64| ids.iter().map(|id| held(*id, n)).sum::<u64>();
    let points = (0..100).map(|n| ProcessPoint {
        at_ns: n * 90_000_000,
        rss_bytes: rss(n),
        pace: Pace { touching_ns: n * 90_000_000 / 100 * busy, came_bytes: rss(n) },
    });
    let paths = ids.iter().map(|id| PathCurve {
        stack: Some(StackId(*id)),
        cause: Cause::FirstWrite,
        bytes: curve(*id),
    });
    let curves =
        Curves { points: points.collect(), ended, paths: paths.collect(), segments: Vec::new() };
    let mut report = report();
    report.stacks = stacks;
    report.processes = vec![Process { curves, ..process(1, 0) }];
    judge(&mut report, &Rules::built_in());
    report.processes.remove(0)
}

/// What ten call paths hold of which each gets a page in turn.
fn in_turn(id: u32, n: u64) -> u64 {
    n.saturating_sub(u64::from(id) * 10).min(10) * MIB / 4
}

#[test]
fn a_leak_that_no_call_path_has_for_itself_is_its_owners() {
    let stacks: Vec<Stack> = (0..10).map(|id| stack(id, "keep", "/opt/app", 1)).collect();
    let found = judged(stacks, in_turn, 5, false);
    let [grown] = &found.growth[..] else { panic!("{:?}", found.growth) };
    assert_eq!((grown.owner.as_str(), grown.stacks.len()), ("keep", 10));
    assert!(grown.growth.still && grown.growth.since_ns < 500_000_000, "{grown:?}");
    assert!(grown.growth.bytes_per_s.abs_diff(MIB * 100 / 36) < MIB / 10, "{grown:?}");
    assert_eq!(grown.curve.len(), 100);
}

#[test]
fn code_without_names_is_one_owner_for_each_module() {
    let stacks: Vec<Stack> = (0..10).map(|id| stack(id, "", "[anon]", id.into())).collect();
    let found = judged(stacks, in_turn, 5, false);
    assert_eq!(found.growth.len(), 1);
    assert_eq!(found.growth[0].owner, "[anon] code without names");
}

#[test]
fn what_is_built_without_a_pause_does_not_grow() {
    let build = |_, n: u64| n * MIB;
    let of = |busy| judged(vec![stack(0, "build", "/opt/app", 1)], build, busy, false);
    assert_eq!(of(80).growth, []);
    assert_eq!(of(10).growth.len(), 1);
}

#[test]
fn what_is_given_back_to_exit_counts_as_held() {
    let leak = |_, n: u64| if n < 92 { n * MIB } else { (99 - n) * MIB };
    let of = |ended| judged(vec![stack(0, "keep", "/opt/app", 1)], leak, 5, ended);
    assert_eq!(of(false).growth, [], "it goes on, with less");
    let found = of(true);
    assert_eq!(found.growth.len(), 1);
    assert_eq!(found.growth[0].bytes, 91 * MIB);
}

#[test]
fn a_java_heap_that_fills_up_does_not_grow() {
    let mut report = report();
    report.stacks = vec![stack(0, "", "[anon]", 1)];
    let leaks = judged(vec![stack(0, "", "[anon]", 1)], |_, n| n * MIB, 5, false);
    assert_eq!(leaks.growth.len(), 1);
    report.processes = vec![Process { exe: "/usr/bin/java".to_owned(), ..leaks }];
    judge(&mut report, &Rules::built_in());
    assert_eq!(report.processes[0].growth, []);
}
