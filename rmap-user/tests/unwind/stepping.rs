//! Walks at every instruction of a program, against a stack of calls that is kept beside it: the
//! first call through a lazy PLT, prologues, epilogues, and what the dynamic linker does.

use crate::files::{Built, FLAGS, build};
use crate::other::Verdict;
use crate::tracee::Tracee;
use nix::sys::signal::Signal;
use rmap::trace::StackEnd;
use rmap_ebpf::logic::unwind_row::ends_with_call;
use std::collections::BTreeMap;

/// Steps after which a test gives up.
const MOST_STEPS: usize = 400_000;
/// The trap that begins and ends the stretch of a program that is stepped through.
const INT3: u64 = 0xcc;

#[derive(Default)]
struct Tally {
    steps: usize,
    /// Steps at which a return address on the stack had been overwritten.
    rewritten: usize,
    /// Where a walk was not what the calls say: a description, and how often.
    wrong: BTreeMap<String, usize>,
    other: BTreeMap<Verdict, usize>,
    /// Where the other unwinder's walk was longer or of other frames.
    disagreements: BTreeMap<String, usize>,
}

/// A call that has not returned: where its return address lies, and the address.
struct Call {
    slot: u64,
    ip: u64,
}

fn step_through(built: &Built, args: &[&str]) -> Tally {
    let mut tracee = Tracee::start(&built.program, args, &[("LD_BIND_NOW", "")]);
    assert!(tracee.run_to(Signal::SIGTRAP), "{args:?} has no int3");
    tracee.refresh();
    let mut tally = Tally::default();
    let base = tracee.walk(&tracee.registers());
    assert_eq!(base.end, StackEnd::Complete);
    let mut calls: Vec<Call> = Vec::new();
    let mut before = tracee.registers();
    let mut signal = None;
    let mut jumped = true;
    while tracee.read(before.ip).map(|word| word & 0xff) != Some(INT3) {
        tally.steps += 1;
        assert!(tally.steps < MOST_STEPS);
        let handed = signal.is_some();
        match tracee.step(signal.take()) {
            Some(Signal::SIGTRAP) => {}
            // It stands before the delivery of a signal; the instruction was executed.
            Some(other) => signal = Some(other),
            None => panic!("{args:?} ended while being stepped through"),
        }
        let now = tracee.registers();
        let top = tracee.read(now.sp()).unwrap_or(0);
        calls.retain(|call| call.slot >= now.sp());
        if handed {
            // The handler's frame: the trampoline to return to, and the instruction below it.
            calls.push(Call { slot: now.sp() + 176, ip: before.ip });
            calls.push(Call { slot: now.sp(), ip: top });
        } else if now.sp() == before.sp() - 8
            && top.wrapping_sub(before.ip).wrapping_sub(1) < 15
            && now.ip != top
            && tracee.read(top - 8).is_some_and(ends_with_call)
        {
            calls.push(Call { slot: now.sp(), ip: top });
        }
        // The unwinder of exceptions returns to a landing pad by writing it over its own return
        // address. From there to the jump nobody can say what the stack is.
        let whole = calls.iter().all(|call| tracee.read(call.slot) == Some(call.ip));
        if whole && jumped {
            compare(&mut tracee, &now, &calls, &base.ips, &mut tally);
        } else {
            tally.rewritten += 1;
        }
        jumped = whole;
        before = now;
    }
    tally
}

fn compare(
    tracee: &mut Tracee,
    registers: &rmap::unwind::walk::Registers,
    calls: &[Call],
    base: &[u64],
    tally: &mut Tally,
) {
    let mut truth = vec![registers.ip];
    truth.extend(calls.iter().rev().map(|call| call.ip));
    truth.extend(&base[1..]);
    let mut walk = tracee.walk(registers);
    if walk.end == StackEnd::NoMapping {
        tracee.refresh();
        walk = tracee.walk(registers);
    }
    if walk.ips != truth || walk.end != StackEnd::Complete {
        let list = |ips: &[u64]| {
            let all: Vec<_> = ips.iter().take(6).map(|&ip| tracee.describe(ip)).collect();
            all.join(" < ")
        };
        let text = format!("{:?} {}\n    truth {}", walk.end, list(&walk.ips), list(&truth));
        *tally.wrong.entry(text).or_default() += 1;
    }
    let other = tracee.other.walk(registers, |address| tracee.read(address));
    let verdict = Verdict::of(&walk.ips, &other);
    *tally.other.entry(verdict).or_default() += 1;
    if verdict != Verdict::Same {
        let right = if walk.ips == truth { "ours is right" } else { "ours is wrong" };
        let name = tracee.describe(registers.ip);
        *tally.disagreements.entry(format!("{verdict:?}, {right}, at {name}")).or_default() += 1;
    }
}

fn lazy(args: &[&str]) -> Option<Tally> {
    let built = build("gcc", "cases.c", &[FLAGS, &["-Wl,-z,lazy"]].concat())?;
    Some(step_through(&built, args))
}

#[track_caller]
fn check(tally: Option<Tally>) {
    let Some(tally) = tally else { return };
    assert!(tally.steps > 500, "{} steps", tally.steps);
    let list = |all: &BTreeMap<String, usize>| {
        all.iter().take(40).map(|(text, n)| format!("{n} × {text}\n")).collect::<String>()
    };
    let wrong: usize = tally.wrong.values().sum();
    assert_eq!(wrong, 0, "of {} steps:\n{}", tally.steps, list(&tally.wrong));
    // Where framehop differs, it is wrong or ends early; it is right at least in plain code.
    assert!(tally.disagreements.keys().all(|text| text.contains("ours is right")));
    assert!(tally.other.get(&Verdict::Same).is_some_and(|&same| same > 100), "{:?}", tally.other);
    assert!(!tally.other.contains_key(&Verdict::Shorter), "{}", list(&tally.disagreements));
    assert!(tally.rewritten * 100 < tally.steps, "{} of {}", tally.rewritten, tally.steps);
}

#[test]
fn a_first_call_through_the_plt_is_right_at_every_instruction() {
    check(lazy(&["plain", "step"]));
}

#[test]
fn prologues_and_epilogues_are_right_at_every_instruction() {
    for case in ["drap", "alloca", "large", "busy", "shallow", "qsort", "printed"] {
        check(lazy(&[case, "step"]));
    }
}

#[test]
fn signal_handlers_are_right_at_every_instruction() {
    check(lazy(&["signal", "step"]));
}

#[test]
fn a_thrown_exception_is_right_at_every_instruction() {
    let Some(built) = build("g++", "thrown.cc", &[FLAGS, &["-Wl,-z,lazy"]].concat()) else {
        return;
    };
    check(Some(step_through(&built, &["step"])));
}
