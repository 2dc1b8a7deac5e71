//! A stack that is said to be the same is the same: walks over random tables and stacks, beside
//! what is remembered of them.

extern crate std;

use super::super::unwind::{Env, STEP_NEXT, advance};
use super::super::unwind_row::{plt_row, rule_row, simple_row, special_row};
use super::*;
use crate::abi::{
    REG_BP, REG_BX, Rule, SPECIAL_END, SPECIAL_NONE, SPECIAL_SIGNAL, STACK_COMPLETE,
    STACK_INCONSISTENT, STACK_NO_MAPPING, STACK_TRUNCATED, STACK_UNREADABLE,
};
use proptest::prelude::*;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

const CODE: u64 = 0x40_0000;
const SP: u64 = 0x7fff_0000_1000;
const FUNCTIONS: u64 = 8;

/// A thread and its code: eight functions of 16 bytes, each with one row.
#[derive(Clone, Debug)]
struct Thread {
    rows: Vec<u32>,
    rules: Vec<Rule>,
    stack: Vec<u64>,
    registers: [u64; 16],
    ip: u64,
    sp: u64,
}

/// The thread while it is walked.
struct Walked<'a> {
    thread: &'a Thread,
    trace: Box<Trace>,
}

impl Thread {
    fn word(&self, address: u64) -> Option<u64> {
        let distance = address.checked_sub(SP)?;
        if distance % 8 != 0 {
            return None;
        }
        self.stack.get(usize::try_from(distance / 8).ok()?).copied()
    }

    fn bp(&self) -> u64 {
        self.registers[usize::from(REG_BP)]
    }

    fn bx(&self) -> u64 {
        self.registers[usize::from(REG_BX)]
    }

    fn start(&self) -> Start {
        Start { generation: 1, ip: self.ip, sp: self.sp, bp: self.bp(), bx: self.bx() }
    }

    /// Addresses, status, last frame and what was read.
    fn walk(&self) -> (Vec<u64>, u16, Frame, Box<Trace>) {
        let trace =
            Box::new(Trace { base: 0, count: 0, odd: 0, values: [0; WORDS], places: [0; WORDS] });
        let mut env = Walked { thread: self, trace };
        env.trace.begin(self.sp);
        let mut frame = Frame::innermost(self.ip, self.sp, self.bp(), self.bx());
        let mut ips = vec![];
        while ips.len() < 20 {
            ips.push(frame.ip);
            let status = advance(&mut env, &mut frame);
            if status != STEP_NEXT {
                return (ips, status, frame, env.trace);
            }
        }
        (ips, STACK_TRUNCATED, frame, env.trace)
    }

    /// What would be remembered of its walk, as the kernel side does it.
    fn memory(&self) -> Option<Box<Memory>> {
        let (_, status, frame, trace) = self.walk();
        if status == STACK_NO_MAPPING || !trace.fits(&frame) {
            return None;
        }
        let mut memory = Box::new(Memory {
            start: self.start(),
            hash: 1,
            flags: frame.flags,
            status,
            count: Memory::turns(&trace) as u16 * AT_ONCE as u16,
            ..no_memory()
        });
        for turn in 0..Memory::turns(&trace) {
            memory.take(&trace, turn);
        }
        Some(memory)
    }

    /// Whether the thread has the remembered stack, as the kernel side finds out.
    fn repeats(&self, memory: &Memory) -> bool {
        if !memory.begins(&self.start()) {
            return false;
        }
        let copy = |words: usize| {
            let mut stack = Box::new([0x0bad; SPAN]);
            for (index, slot) in stack.iter_mut().take(words).enumerate() {
                *slot = self.word((self.sp & !7) + 8 * index as u64)?;
            }
            Some(stack)
        };
        let same = |words: usize, mut turns: std::ops::Range<u32>| {
            copy(words).is_some_and(|stack| turns.all(|turn| memory.same(&stack, turn.into())))
        };
        let span = memory.span as usize;
        let (near, far) = (memory.near, memory.far());
        same(span.min(NEAR), 0..near) && (far == 0 || same(span, near..near + far))
    }
}

impl Env for Walked<'_> {
    fn row(&mut self, address: u64) -> u32 {
        let function = address.wrapping_sub(CODE) / 16;
        let rows = &self.thread.rows;
        rows.get(function as usize).copied().unwrap_or(special_row(6))
    }
    fn rule(&mut self, index: u32) -> Option<Rule> {
        self.thread.rules.get(index as usize).copied()
    }
    fn register(&mut self, number: u32) -> Option<u64> {
        self.thread.registers.get(number as usize).copied()
    }
    fn read(&mut self, address: u64) -> Option<u64> {
        let word = self.thread.word(address);
        match word {
            Some(value) => self.trace.read(address, value),
            None => self.trace.failed(),
        }
        word
    }
}

/// Numbers as they lie on stacks and in registers: mostly code and places on the stack.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0..FUNCTIONS, 1u64..16).prop_map(|(function, byte)| CODE + 16 * function + byte),
        4 => (0u64..64).prop_map(|slot| SP + 8 * slot),
        1 => Just(0),
        1 => any::<u64>(),
    ]
}

fn row() -> impl Strategy<Value = u32> {
    let saved = || proptest::option::of((2i64..6).prop_map(|n| -8 * n));
    prop_oneof![
        8 => (any::<bool>(), 1i64..8, saved(), saved())
            .prop_map(|(bp, cfa, b, x)| simple_row(bp, 8 * cfa, b, x).unwrap_or(0)),
        3 => (0u32..4).prop_map(rule_row),
        1 => (0u32..16).prop_map(plt_row),
        1 => Just(special_row(SPECIAL_END)),
        1 => Just(special_row(SPECIAL_NONE)),
        1 => Just(special_row(SPECIAL_SIGNAL)),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    (8u8..16, 0u8..4, any::<bool>(), 0u8..4, 0u8..4, 0i32..6, -6i32..0, -4i16..1).prop_map(
        |(cfa_reg, flags, near, bp, bx, cfa, bp_off, bx_slot)| Rule {
            cfa_reg,
            flags,
            ra: if near { 0xff } else { 10 },
            saved: bp | bx << 4,
            cfa_off: 8 * cfa,
            bp_off: 8 * bp_off,
            cfa_add: 0,
            bx_slot,
        },
    )
}

fn thread() -> impl Strategy<Value = Thread> {
    (
        proptest::collection::vec(row(), FUNCTIONS as usize),
        proptest::collection::vec(rule(), 4),
        proptest::collection::vec(value(), 96),
        proptest::collection::vec(value(), 16),
        0..FUNCTIONS,
    )
        .prop_map(|(rows, rules, stack, values, function)| {
            let mut registers = [0; 16];
            registers.copy_from_slice(&values);
            Thread { rows, rules, stack, registers, ip: CODE + 16 * function + 3, sp: SP + 16 }
        })
}

/// What else may be different when the thread comes again.
#[derive(Clone, Debug)]
enum Change {
    Word(usize, u64),
    Register(usize, u64),
    Ip(u64),
    Sp(u64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0usize..48, value()).prop_map(|(at, value)| Change::Word(at, value)),
        2 => (8usize..13, value()).prop_map(|(at, value)| Change::Register(at, value)),
        1 => value().prop_map(Change::Ip),
        1 => (0u64..8).prop_map(|slot| Change::Sp(SP + 8 * slot)),
    ]
}

fn changed(thread: &Thread, changes: &[Change]) -> Thread {
    let mut thread = thread.clone();
    for change in changes {
        match *change {
            Change::Word(at, value) => thread.stack[at] = value,
            Change::Register(at, value) => thread.registers[at] = value,
            Change::Ip(ip) => thread.ip = ip,
            Change::Sp(sp) => thread.sp = sp,
        }
    }
    thread
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_stack_that_is_said_to_be_the_same_is_the_same(
        before in thread(),
        changes in proptest::collection::vec(change(), 0..3),
    ) {
        let Some(memory) = before.memory() else { return Ok(()) };
        prop_assert!(before.repeats(&memory), "nothing has changed");
        let after = changed(&before, &changes);
        if after.repeats(&memory) {
            let (was, is) = (before.walk(), after.walk());
            prop_assert_eq!((was.0, was.1), (is.0, is.1));
        }
    }
}

/// A function that pushes rbp, called by one that uses it and pushes it too, called by the outermost.
fn chain() -> Thread {
    let mut stack = vec![0; 96];
    stack[3] = SP + 64; // The caller's rbp.
    stack[4] = CODE + 16 + 5;
    stack[9] = CODE + 32 + 5; // At that rbp + 8.
    Thread {
        rows: vec![
            simple_row(false, 24, Some(-16), None).unwrap(),
            simple_row(true, 16, Some(-16), None).unwrap(),
            special_row(SPECIAL_END),
        ],
        rules: vec![],
        stack,
        registers: [7; 16],
        ip: CODE + 3,
        sp: SP + 16,
    }
}

#[test]
fn what_the_walk_did_not_look_at_may_change() {
    let thread = chain();
    assert_eq!(thread.walk().0, [CODE + 3, CODE + 21, CODE + 37]);
    assert_eq!(thread.walk().1, STACK_COMPLETE);
    let memory = thread.memory().unwrap();
    assert_eq!((memory.count, memory.span), (4, 8), "three words and one again, up to the eighth");
    let free = [
        Change::Register(usize::from(REG_BP), 0),
        Change::Register(usize::from(REG_BX), 0),
        Change::Word(2, 9),
        Change::Word(5, 9),
        // What the second one saved of rbp, which the outermost has no use for.
        Change::Word(8, 9),
    ];
    assert!(changed(&thread, &free).repeats(&memory));
    for counts in [
        Change::Word(3, SP + 80),
        Change::Word(4, CODE + 1),
        Change::Word(9, CODE + 1),
        Change::Ip(CODE + 4),
        Change::Sp(SP + 8),
    ] {
        assert!(!changed(&thread, std::slice::from_ref(&counts)).repeats(&memory), "{counts:?}");
    }
}

#[test]
fn registers_count_where_the_walk_used_them() {
    let mut thread = chain();
    thread.ip = CODE + 16;
    thread.registers[usize::from(REG_BP)] = SP + 64;
    let memory = thread.memory().unwrap();
    assert!(!changed(&thread, &[Change::Register(usize::from(REG_BP), SP + 72)]).repeats(&memory));
    assert!(!memory.begins(&Start { generation: 2, ..thread.start() }), "other tables");

    let base = Rule { cfa_reg: REG_BX, ra: 0xff, cfa_off: 8, ..Rule::default() };
    thread.rules = vec![base, Rule { cfa_reg: 12, ..base }];
    thread.rows[1] = rule_row(0);
    thread.registers[usize::from(REG_BX)] = SP + 72;
    let memory = thread.memory().unwrap();
    assert!(!changed(&thread, &[Change::Register(usize::from(REG_BX), SP + 64)]).repeats(&memory));
    thread.rows[1] = rule_row(1);
    thread.registers[12] = SP + 72;
    assert_eq!(thread.walk().1, STACK_COMPLETE);
    assert!(thread.memory().is_none(), "no other register is remembered");
}

#[test]
fn what_lies_elsewhere_or_cannot_be_read_is_not_remembered() {
    let mut thread = chain();
    thread.stack[3] = 0x1000;
    assert_eq!(thread.walk().1, STACK_INCONSISTENT);
    thread.stack[3] = SP + 8 * 200;
    assert_eq!(thread.walk().1, STACK_UNREADABLE);
    assert!(thread.memory().is_none());
    thread.stack.resize(SPAN + 10, 0);
    let far = SPAN as u64 + 2;
    thread.stack[3] = SP + 8 * far;
    thread.stack[far as usize + 1] = CODE + 37;
    assert_eq!(thread.walk().1, STACK_COMPLETE);
    assert!(thread.memory().is_none(), "too far from the stack pointer");
}

#[test]
fn what_lies_far_from_the_stack_pointer_counts_too() {
    let mut thread = chain();
    thread.stack.resize(SPAN, 0);
    let far = 3 * NEAR as u64;
    thread.stack[3] = SP + 8 * far;
    thread.stack[far as usize + 1] = CODE + 37;
    let memory = thread.memory().unwrap();
    assert_eq!((memory.near, memory.far()), (0, 1));
    assert!(thread.repeats(&memory));
    assert!(!changed(&thread, &[Change::Word(far as usize + 1, CODE + 38)]).repeats(&memory));
    // Eight frames more near by: two turns.
    thread.rows[0] = simple_row(false, 8, None, None).unwrap();
    thread.rows.truncate(1);
    thread.rows.resize(8, simple_row(false, 8 * (far as i64 - 12), None, None).unwrap());
    thread.rows[7] = special_row(SPECIAL_END);
    thread.stack = vec![CODE + 5; SPAN];
    thread.stack[10] = CODE + 16 + 5;
    thread.stack[far as usize - 2] = CODE + 7 * 16 + 5;
    let memory = thread.memory().unwrap();
    assert_eq!((memory.near, memory.far(), memory.count), (2, 1, 12));
    assert!(thread.repeats(&memory));
    for at in [4, 9, 10, far as usize - 2] {
        assert!(!changed(&thread, &[Change::Word(at, 1)]).repeats(&memory), "{at}");
    }
}

fn no_memory() -> Memory {
    Memory {
        start: Start::default(),
        hash: 0,
        flags: 0,
        status: 0,
        count: 0,
        near: 0,
        found: 0,
        span: 0,
        reserved: 0,
        values: [0; WORDS],
        places: [0; WORDS],
    }
}

/// How many of these stacks, all of one set, are found again, and how many are copied.
fn found_and_copied(stacks: impl IntoIterator<Item = u64>) -> (usize, usize) {
    let (found, copied, _) = remembered(stacks);
    (found, copied)
}

/// The same, and how many comparisons were in vain.
fn remembered(stacks: impl IntoIterator<Item = u64>) -> (usize, usize, usize) {
    let ways = [no_memory(); WAYS];
    let mut set = Box::new(Set { last: 0, missed: 0, taken: 0, seldom: 0, reserved: 0, ways });
    let (mut found, mut copied, mut in_vain) = (0, 0, 0);
    for stack in stacks {
        let likely: Vec<usize> = (0..WAYS).filter(|way| set.is_likely(*way)).collect();
        if let Some(way) = likely.iter().find(|way| set.ways[**way].hash == stack) {
            set.ways[*way].found = 1;
            found += 1;
            continue;
        }
        in_vain += likely.len();
        if let Some(way) = set.miss(stack) {
            set.ways[way] = Memory { hash: stack, count: 4, ..no_memory() };
            copied += 1;
        }
    }
    (found, copied, in_vain)
}

#[test]
fn stacks_that_take_turns_are_remembered_and_many_of_them_cost_little() {
    assert_eq!(found_and_copied([1; 100]), (98, 1), "the same one again");
    let (found, copied) = found_and_copied((0..1000).map(|n| 1 + n % 2));
    assert!(found > 980 && copied == 2, "two in turns: {found}, {copied}");
    let (found, copied) = found_and_copied((0..1000).map(|n| 1 + n / 100));
    assert!(found > 950 && copied <= 20, "one after the other: {found}, {copied}");
    let (_, copied) = found_and_copied((0..1000).map(|n| 1 + n % 7));
    assert!(copied <= 250, "more than there is room for: {copied}");
    let (found, copied) = found_and_copied(1..1000);
    assert!(found == 0 && copied <= 12, "each of them new: {copied}");
    let (_, _, in_vain) = remembered(1..1000);
    assert!(in_vain < 400, "each of them new: {in_vain} comparisons");
    let then_two = (1..1000).chain((0..4000).map(|n| 1001 + n % 2));
    let (found, _) = found_and_copied(then_two);
    assert!(found > 3000, "after many new ones two in turns: {found}");
}
