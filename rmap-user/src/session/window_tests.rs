//! What came in a window, of sessions whose truth is known.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::modules::NoBinaries;
use super::sim::{A, ANON, Memory, P, Sim, WRITE, Who};
use super::{Closing, Findings, Question, Session, Survey};
use crate::model::Arch;
use crate::report::{Asked, At, Mode, Process, check_identity};
use crate::trace::{Input, Moment};

const MAP: u64 = 0x7000_0000_0000;
const PAGES: u64 = 64;

fn pages(from: u64, count: u64) -> std::ops::Range<u64> {
    from..from + count * P
}

/// What is asked of inputs whose session began at 0.
fn answer(inputs: &[Input], asked: &Asked) -> Findings {
    let play = |question| {
        let mut session = Session::new(Arch::X86_64, Mode::Run, 0, question, Box::new(NoBinaries));
        inputs.iter().for_each(|input| session.apply(input));
        session
    };
    let mut survey = Survey::of(asked, 0);
    inputs.iter().for_each(|input| survey.input(input));
    let peak = play(Question::default()).peak();
    let mut session = play(survey.question(asked, None, peak).unwrap());
    let findings = match session.take_state() {
        Some(state) => session.report_at(&state, Closing::default()),
        None => session.report(Closing::default()),
    };
    check_identity(&findings.report).expect("the identity holds in windows too");
    findings
}

/// By stack (its first address): pages of RSS.
fn held(findings: &Findings) -> BTreeMap<u64, i64> {
    let mut held = BTreeMap::new();
    let processes = &findings.report.processes;
    for path in processes.iter().flat_map(|p| &p.segments).flat_map(|s| &s.paths) {
        *held.entry(stack(findings, path.stack)).or_default() += (path.rss_bytes / P) as i64;
    }
    held.retain(|_, pages| *pages != 0);
    held
}

fn given_back(findings: &Findings) -> BTreeMap<u64, i64> {
    let mut back = BTreeMap::new();
    let windows = findings.report.processes.iter().filter_map(|p| p.window.as_ref());
    for gone in windows.flat_map(|window| &window.given_back) {
        *back.entry(stack(findings, gone.stack)).or_default() += (gone.rss_bytes / P) as i64;
    }
    back.retain(|_, pages| *pages != 0);
    back
}

fn stack(findings: &Findings, id: Option<crate::report::StackId>) -> u64 {
    id.map_or(0, |id| findings.stacks[id.0 as usize].ips[0])
}

fn adds_up(process: &Process) {
    let Some(window) = &process.window else { return };
    for (came, size, back) in [
        (
            process.rss_bytes.after,
            window.rss_bytes,
            window.given_back.iter().map(|back| back.rss_bytes).sum::<u64>(),
        ),
        (
            process.dirty_bytes.after,
            window.dirty_bytes,
            window.given_back.iter().map(|back| back.dirty_bytes).sum::<u64>(),
        ),
    ] {
        assert_eq!(size.before + came, size.after + back, "{window:?}");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u64),
    Dontneed(u64, u64),
    Unmap(u64, u64),
    Move,
    Look,
    Fork,
}

fn op() -> impl Strategy<Value = Op> {
    let range = || (0..PAGES, 1_u64..12);
    prop_oneof![
        10 => range().prop_map(|(at, n)| Op::Write(at, n)),
        2 => range().prop_map(|(at, n)| Op::Dontneed(at, n)),
        1 => range().prop_map(|(at, n)| Op::Unmap(at, n)),
        1 => Just(Op::Move),
        2 => Just(Op::Look),
        1 => Just(Op::Fork),
    ]
}

/// A program's inputs; after each operation the time, and who wrote each page when.
struct Played {
    inputs: Vec<Input>,
    times: Vec<u64>,
    /// Page: who wrote it, and after which operation.
    truth: BTreeMap<u64, (u64, usize)>,
}

fn play(ops: &[(Op, u64)]) -> Played {
    let mut sim = Sim::new();
    sim.exec(A, &Memory::default());
    let (mut base, mut memory) = (MAP, Memory::default());
    let mut truth: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    let (mut times, mut children) = (Vec::new(), 0);
    sim.mmap(A, pages(base, PAGES), 0x22, 1);
    for (number, (op, stack)) in ops.iter().enumerate() {
        let clip = |at: u64, n: u64| at..(at + n).min(PAGES);
        match op {
            Op::Write(at, n) => {
                for page in
                    clip(*at, *n).filter(|page| !truth.contains_key(page)).collect::<Vec<_>>()
                {
                    sim.fault(A, base + page * P, WRITE, [0, 1, 0, 0], *stack);
                    truth.insert(page, (*stack, number));
                }
            }
            Op::Dontneed(at, n) => {
                let range = clip(*at, *n);
                sim.madvise(A, pages(base + range.start * P, range.end - range.start), 4, *stack);
                truth.retain(|page, _| !range.contains(page));
            }
            Op::Unmap(at, n) => {
                let range = clip(*at, *n);
                let over = pages(base + range.start * P, range.end - range.start);
                sim.mmap(A, over, 0x32, *stack);
                truth.retain(|page, _| !range.contains(page));
            }
            Op::Move => {
                let to = if base == MAP { MAP + (1 << 31) + P } else { MAP };
                sim.mremap(A, pages(base, PAGES), PAGES * P, 1, to as i64, *stack);
                base = to;
            }
            Op::Look | Op::Fork => {
                memory = Memory::of(&[(pages(base, PAGES), "rw-p", "")]);
                truth.keys().for_each(|page| memory.set(pages(base + page * P, 1), ANON));
                if matches!(op, Op::Look) {
                    sim.snapshot(A, Moment::Periodic, &memory);
                } else {
                    children += 1;
                    let child = Who {
                        pid: 200 + children,
                        tid: 200 + children,
                        mm: 0xb0 + u64::from(children),
                    };
                    sim.fork(A, child, *stack, false);
                    sim.snapshot(child, Moment::Forked, &memory);
                    sim.exit(child, &memory);
                }
            }
        }
        times.push(sim.time);
    }
    let _ = memory;
    Played { inputs: sim.inputs, times, truth }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// A window has what was written after its beginning and is still there; windows one behind the
    /// other add up to the state.
    #[test]
    fn windows_have_what_came_in_them_and_add_up_to_the_state(
        ops in proptest::collection::vec((op(), 2_u64..6), 4..40),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let played = play(&ops);
        let last = *played.times.last().unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(ops.len() - 1)).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut sum: BTreeMap<u64, i64> = BTreeMap::new();
        let mut from = 0;
        for to in cuts.iter().map(|cut| played.times[*cut]).chain([last]) {
            if to == from {
                continue;
            }
            let window = answer(&played.inputs, &Asked::Window(At::Time(from), At::Time(to)));
            window.report.processes.iter().for_each(adds_up);
            for (stack, pages) in held_by(&window, 100) {
                *sum.entry(stack).or_default() += pages;
            }
            for (stack, pages) in back_by(&window, 100) {
                *sum.entry(stack).or_default() -= pages;
            }
            from = to;
        }
        let state = answer(&played.inputs, &Asked::State(At::Time(last)));
        // What `mremap` moved within a window is `before-window` at its new place.
        let moved = ops.iter().any(|(op, _)| matches!(op, Op::Move));
        if !moved {
            sum.retain(|_, pages| *pages != 0);
            prop_assert_eq!(sum, held_by(&state, 100));
        }
        let cut = cuts[0];
        let window = Asked::Window(At::Time(played.times[cut]), At::Time(last));
        if played.times[cut] < last {
            let mut expected: BTreeMap<u64, i64> = BTreeMap::new();
            for (stack, number) in played.truth.values() {
                *expected.entry(*stack).or_default() += i64::from(*number > cut);
            }
            expected.retain(|_, pages| *pages != 0);
            prop_assert_eq!(held_by(&answer(&played.inputs, &window), 100), expected);
        }
    }
}

fn held_by(findings: &Findings, pid: u32) -> BTreeMap<u64, i64> {
    held(&only(findings, pid))
}

fn back_by(findings: &Findings, pid: u32) -> BTreeMap<u64, i64> {
    given_back(&only(findings, pid))
}

fn only(findings: &Findings, pid: u32) -> Findings {
    let mut one = findings.clone();
    one.report.processes.retain(|process| process.pid == pid);
    one
}

#[test]
fn marks_begin_and_end_windows() {
    let mut sim = Sim::new();
    sim.exec(A, &Memory::default());
    let mut memory = Memory::of(&[(pages(MAP, 32), "rw-p", "")]);
    sim.mmap(A, pages(MAP, 32), 0x22, 1);
    sim.fill(A, pages(MAP, 8), 2, &mut memory);
    sim.mark("load");
    sim.fill(A, pages(MAP + 8 * P, 8), 2, &mut memory);
    sim.fill(A, pages(MAP + 16 * P, 4), 3, &mut memory);
    sim.madvise(A, pages(MAP, 4), 4, 5);
    memory.clear(pages(MAP, 4));
    sim.mark("served");
    sim.fill(A, pages(MAP + 24 * P, 4), 4, &mut memory);
    sim.exit(A, &memory);
    let mark = |name: &str| At::Mark(name.to_owned());
    let window = answer(&sim.inputs, &Asked::Window(mark("load"), mark("served")));
    assert_eq!(held(&window), BTreeMap::from([(2, 8), (3, 4)]));
    assert_eq!(given_back(&window), BTreeMap::from([(2, 4)]));
    let shown = window.report.processes[0].window.as_ref().unwrap();
    assert_eq!((shown.rss_bytes.before, shown.rss_bytes.after), (8 * P, 16 * P));
    let released = &window.report.processes[0].released;
    assert_eq!(released.iter().map(|released| released.rss_bytes).sum::<u64>(), 4 * P);
    let names: Vec<&str> = window.report.session.marks.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["load", "served"]);
    let to_end = answer(&sim.inputs, &Asked::Window(mark("served"), At::End));
    assert_eq!(held(&to_end), BTreeMap::from([(4, 4)]));
    let at = answer(&sim.inputs, &Asked::State(mark("load")));
    assert_eq!(held(&at), BTreeMap::from([(2, 8)]));
    for (asked, why) in [
        (Asked::State(mark("lod")), "there are load, served"),
        (Asked::Window(mark("served"), mark("load")), "ends before it begins"),
    ] {
        let mut survey = Survey::of(&asked, 0);
        sim.inputs.iter().for_each(|input| survey.input(input));
        let error = survey.question(&asked, None, Default::default()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
