//! Steps over small made-up stacks.

extern crate std;

use super::super::unwind_row::{ROW_NONE, plt_row, rule_row, simple_row};
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::vec::Vec;

#[derive(Default)]
struct World {
    memory: HashMap<u64, u64>,
    rows: HashMap<u64, u32>,
    rules: Vec<Rule>,
    registers: HashMap<u32, u64>,
}

impl World {
    fn with(memory: &[(u64, u64)]) -> Self {
        Self { memory: memory.iter().copied().collect(), ..Self::default() }
    }
}

impl Env for World {
    fn row(&mut self, address: u64) -> u32 {
        self.rows.get(&address).copied().unwrap_or(special_row(SPECIAL_NO_MAPPING))
    }
    fn rule(&mut self, index: u32) -> Option<Rule> {
        self.rules.get(index as usize).copied()
    }
    fn register(&mut self, number: u32) -> Option<u64> {
        self.registers.get(&number).copied()
    }
    fn read(&mut self, address: u64) -> Option<u64> {
        self.memory.get(&address).copied()
    }
}

/// Address, stack pointer and rbp of a frame.
fn registers(world: &mut World, frame: &Frame) -> (u64, u64, u64) {
    let bp = { *frame }.use_bp(world).unwrap();
    (frame.ip, frame.sp, bp)
}

/// Eight bytes that end with `call rel32`.
const CALL: u64 = 0x0000_0000_e800_0000;

#[test]
fn pushed_registers_are_restored_and_rbx_only_when_asked_for() {
    let mut world = World::with(&[(0x1018, 0x400), (0x1010, 0xb0), (0x1008, 0xb1)]);
    let mut frame = Frame::innermost(1, 0x1000, 7, 8);
    let row = simple_row(false, 32, Some(-16), Some(-24)).unwrap();
    assert_eq!(step(&mut world, &mut frame, row), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x400, 0x1020, 0xb0));
    assert_eq!((frame.bx, frame.bx_at, frame.flags), (8, 0x1008, 0));
    assert_eq!(register(&mut world, &mut frame, REG_BX), Ok(0xb1));
    assert_eq!(frame.lookup_address(), 0x3ff);
}

#[test]
fn a_saved_rbp_that_cannot_be_read_ends_only_a_walk_that_needs_it() {
    let mut world = World::with(&[(0x1018, 0x400), (0x1028, 0x500)]);
    let mut frame = Frame::innermost(1, 0x1000, 7, 8);
    let row = simple_row(false, 32, Some(-16), None).unwrap();
    assert_eq!(step(&mut world, &mut frame, row), STEP_NEXT);
    let mut needs = frame;
    let plain = simple_row(false, 16, None, None).unwrap();
    assert_eq!(step(&mut world, &mut frame, plain), STEP_NEXT);
    assert_eq!(frame.ip, 0x500);
    let by_rbp = simple_row(true, 16, Some(-16), None).unwrap();
    assert_eq!(step(&mut world, &mut needs, by_rbp), STACK_UNREADABLE);
}

#[test]
fn the_frame_pointer_leads_over_a_frame_of_unknown_size() {
    let mut world = World::with(&[(0x2008, 0x400), (0x2000, 0x3000)]);
    let mut frame = Frame::innermost(1, 0x1000, 0x2000, 0);
    let row = simple_row(true, 16, Some(-16), None).unwrap();
    assert_eq!(step(&mut world, &mut frame, row), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x400, 0x2010, 0x3000));
}

#[test]
fn a_stack_that_does_not_rise_ends_the_walk() {
    let mut world = World::default();
    let mut frame = Frame::innermost(1, 0x1000, 0xf00, 0);
    let row = simple_row(true, 16, Some(-16), None).unwrap();
    assert_eq!(step(&mut world, &mut frame, row), STACK_INCONSISTENT);
    assert_eq!(step(&mut world, &mut frame, 0), STACK_INCONSISTENT, "an empty word");
    frame.bp = LOST;
    assert_eq!(step(&mut world, &mut frame, row), STACK_INCONSISTENT);
    frame.bp = 0x2000;
    assert_eq!(step(&mut world, &mut frame, row), STACK_UNREADABLE);
}

#[test]
fn a_rule_may_read_the_cfa_and_find_rbp_beside_rbp() {
    // The over-aligned frame of GCC: CFA = *(rbp − 8), rbp at *rbp, rbx at *(rbp − 24).
    let mut world = World::with(&[(0x1ff8, 0x5000), (0x4ff8, 0x400), (0x2000, 0xb0)]);
    world.rules.push(Rule {
        cfa_reg: REG_BP,
        flags: RULE_DEREF,
        ra: 0xff,
        saved: SAVED_AT_BP | SAVED_AT_BP << 4,
        cfa_off: -8,
        bx_slot: -3,
        ..Rule::default()
    });
    let mut frame = Frame::innermost(1, 0x1000, 0x2000, 0);
    assert_eq!(step(&mut world, &mut frame, rule_row(0)), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x400, 0x5000, 0xb0));
    assert_eq!(frame.bx_at, 0x2000 - 24);
    assert_eq!(step(&mut world, &mut frame, rule_row(1)), STACK_UNSUPPORTED, "no such rule");
}

#[test]
fn other_registers_are_known_in_the_leaf_and_below_a_signal_only() {
    let r10 = Rule { cfa_reg: 2, ra: 0xff, ..Rule::default() };
    let mut world = World::with(&[(0x4ff8, 0x400), (0x9000 + 56, 0x6000), (0x5ff8, 0x500)]);
    world.rules.push(r10);
    world.registers.insert(2, 0x5000);
    let mut frame = Frame::innermost(1, 0x1000, 0, 0);
    assert_eq!(step(&mut world, &mut frame, rule_row(0)), STEP_NEXT);
    assert_eq!((frame.ip, frame.sp), (0x400, 0x5000));
    assert_eq!(step(&mut world, &mut frame, rule_row(0)), STACK_UNSUPPORTED);
    frame.context = 0x9000;
    frame.flags |= FRAME_LEAF;
    assert_eq!(step(&mut world, &mut frame, rule_row(0)), STEP_NEXT);
    assert_eq!((frame.ip, frame.sp, frame.context), (0x500, 0x6000, 0));
}

#[test]
fn a_return_address_may_be_in_a_register() {
    // vfork of glibc: the return address is popped into rdi.
    let mut world = World::default();
    let flags = RULE_RA_REGISTER;
    world.rules.push(Rule { cfa_reg: REG_SP, flags, ra: 8, ..Rule::default() });
    world.registers.insert(8, 0x400);
    let mut frame = Frame::innermost(1, 0x1000, 0, 0);
    assert_eq!(step(&mut world, &mut frame, rule_row(0)), STEP_NEXT);
    assert_eq!((frame.ip, frame.sp), (0x400, 0x1000));
}

#[test]
fn below_a_signal_stands_an_exact_address_and_a_stack_that_may_fall() {
    let mut world = World::with(&[
        (0x9000 + 120, 0xb0),
        (0x9000 + 128, 0xb1),
        (0x9000 + 160, 0x1000),
        (0x9000 + 168, 0x400),
    ]);
    let mut frame = Frame::innermost(1, 0x9000, 0, 0);
    frame.flags = 0;
    assert_eq!(step(&mut world, &mut frame, special_row(SPECIAL_SIGNAL)), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x400, 0x1000, 0xb0));
    assert_eq!(frame.lookup_address(), 0x400);
    assert_eq!(register(&mut world, &mut frame, REG_BX), Ok(0xb1));
    assert_eq!(
        step(&mut World::default(), &mut frame, special_row(SPECIAL_SIGNAL)),
        STACK_UNREADABLE
    );
}

#[test]
fn a_plt_slot_has_pushed_its_number_from_a_byte_on() {
    for (ip, cfa) in [(0x40a, 0x1008), (0x40b, 0x1010), (0x40f, 0x1010)] {
        let mut world = World::with(&[(cfa - 8, 0x500)]);
        let mut frame = Frame::innermost(ip, 0x1000, 0, 0);
        assert_eq!(step(&mut world, &mut frame, plt_row(11)), STEP_NEXT);
        assert_eq!((frame.ip, frame.sp), (0x500, cfa));
    }
}

#[test]
fn the_ends_of_a_stack() {
    let mut world = World::with(&[(0x1000, 0)]);
    let mut frame = Frame::innermost(1, 0x1000, 0, 0);
    let row = simple_row(false, 8, None, None).unwrap();
    assert_eq!(step(&mut world, &mut frame, special_row(SPECIAL_END)), STACK_COMPLETE);
    assert_eq!(step(&mut world, &mut frame, row), STACK_COMPLETE, "a return address of 0");
    frame.flags |= FRAME_APPROXIMATE;
    assert_eq!(step(&mut world, &mut frame, special_row(SPECIAL_END)), STACK_APPROXIMATE);
    assert_eq!(advance(&mut world, &mut frame), STACK_NO_MAPPING);
    assert_eq!(step(&mut world, &mut frame, special_row(99)), STACK_UNSUPPORTED);
    assert_eq!(step(&mut world, &mut frame, 7 << 8), STACK_UNSUPPORTED);
}

#[test]
fn without_rows_a_leaf_returns_to_the_word_at_its_stack_pointer() {
    let mut world = World::with(&[(0x1000, 0x408), (0x400, CALL)]);
    world.rows.insert(0x407, ROW_NONE);
    let mut frame = Frame::innermost(1, 0x1000, 0xb0, 0);
    assert_eq!(step(&mut world, &mut frame, ROW_NONE), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x408, 0x1008, 0xb0));
    assert_eq!((frame.flags, frame.bx), (FRAME_APPROXIMATE | FRAME_BP_OWN, LOST));
}

#[test]
fn without_rows_the_frame_pointer_is_followed_if_a_call_is_there() {
    let mut world =
        World::with(&[(0x1000, 5), (0x2000, 0xb0), (0x2008, 0x408), (0x400, 0), (0x500, 0)]);
    world.rows.insert(0x407, ROW_NONE);
    let start = Frame::innermost(1, 0x1000, 0x2000, 0);
    let mut frame = start;
    assert_eq!(step(&mut world, &mut frame, ROW_NONE), STACK_NO_ROW, "no call before it");
    world.memory.insert(0x400, CALL);
    frame = start;
    assert_eq!(step(&mut world, &mut frame, ROW_NONE), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x408, 0x2010, 0xb0));
    world.memory.insert(0x400, 0);
    world.rows.insert(0x407, special_row(SPECIAL_JIT));
    frame = start;
    assert_eq!(step(&mut world, &mut frame, ROW_NONE), STEP_NEXT, "JIT code needs none");
    for bad in [0x2001, 0xff8, 0x8000, LOST] {
        frame = Frame { bp: bad, ..start };
        assert_eq!(step(&mut world, &mut frame, ROW_NONE), STACK_NO_ROW);
    }
    frame = Frame { bp: 0, ..start };
    assert_eq!(step(&mut world, &mut frame, ROW_NONE), STACK_APPROXIMATE);
}

#[test]
fn code_that_takes_its_frame_down_at_once_has_its_caller_for_sure() {
    // add $0x18,%rsp; ret
    let code = 0xc3_18_c4_83_48;
    let mut world = World::with(&[(0x600, code), (0x1018, 0x408), (0x400, CALL)]);
    world.rows.insert(0x407, ROW_NONE);
    let start = Frame { ip: 0x600, sp: 0x1000, bp: 0xb0, bx: 0xb1, ..Frame::default() };
    let mut frame = start;
    assert_eq!(step(&mut world, &mut frame, special_row(SPECIAL_JIT)), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x408, 0x1020, 0xb0));
    assert_eq!(frame.bx, 0xb1);
    assert_eq!(frame.flags & FRAME_APPROXIMATE, 0);
    // Not where the thread is about to run something else, nor where no call leads to.
    frame = Frame { flags: FRAME_LEAF, ..start };
    assert_eq!(step(&mut world, &mut frame, ROW_NONE), STACK_NO_ROW);
    for (at, word) in [(0x600, code & !0xff), (0x600, 0xc3_1c_c4_83_48), (0x400, 0)] {
        let before = world.memory.insert(at, word).unwrap();
        frame = start;
        assert_eq!(step(&mut world, &mut frame, ROW_NONE), STACK_NO_ROW, "{at:#x} {word:#x}");
        world.memory.insert(at, before);
    }
}

#[test]
fn code_that_pops_its_frame_pointer_at_once_has_its_caller_for_sure() {
    // pop %rbp; ret
    let mut world =
        World::with(&[(0x600, 0x9090_c35d), (0x1000, 0xb2), (0x1008, 0x408), (0x400, CALL)]);
    world.rows.insert(0x407, ROW_NONE);
    let start = Frame { ip: 0x600, sp: 0x1000, bp: 0x1000, ..Frame::default() };
    let mut frame = start;
    assert_eq!(step(&mut world, &mut frame, special_row(SPECIAL_JIT)), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x408, 0x1010, 0xb2));
    assert_eq!(frame.flags & FRAME_APPROXIMATE, 0);
    world.memory.insert(0x400, 0);
    frame = start;
    assert_eq!(step(&mut world, &mut frame, ROW_NONE), STACK_NO_ROW);
}

/// A thread whose r14 leads to 0x5000, from there to 0x6000 and back, and to a task at 0x7000 with
/// its stack at 0x2000. Its frame pointer leads to another caller.
fn on_its_own_stack() -> (World, Rule) {
    let mut world = World::with(&[
        (0x5030, 0x6000),
        (0x6000, 0x5000),
        (0x60c0, 0x7000),
        (0x7038, 0x2000),
        (0x2000, 0x400),
        (0x3000, 0xb0),
        (0x3008, 0x500),
    ]);
    world.registers.insert(6, 0x5000);
    let rule = Rule {
        cfa_reg: 6,
        flags: RULE_OTHER_STACK | RULE_APPROXIMATE | RULE_THREADED,
        cfa_off: 0x30,
        bp_off: 0xc0,
        cfa_add: 0x38,
        bx_slot: 1,
        ..Rule::default()
    };
    world.rules.push(rule);
    (world, rule)
}

#[test]
fn a_threads_own_stack_leads_to_that_of_its_task() {
    let (mut world, rule) = on_its_own_stack();
    let start = Frame { ip: 0x900, sp: 0x8000, bp: 0x3000, ..Frame::default() };
    let mut frame = start;
    assert_eq!(step(&mut world, &mut frame, rule_row(0)), STEP_NEXT);
    assert_eq!(registers(&mut world, &frame), (0x400, 0x2008, 0x3000));
    assert_eq!(frame.flags, FRAME_REGISTERS_USED);
    // The register has been given to something else: only frame pointers are left.
    for lost in [Some(0x5008), None] {
        world.registers.clear();
        world.registers.extend(lost.map(|value| (6, value)));
        frame = start;
        assert_eq!(step(&mut world, &mut frame, rule_row(0)), STEP_NEXT);
        assert_eq!(registers(&mut world, &frame), (0x500, 0x3010, 0xb0));
        assert_ne!(frame.flags & FRAME_APPROXIMATE, 0);
    }
    frame = Frame { bp: 0, ..start };
    assert_eq!(step(&mut world, &mut frame, rule_row(0)), STACK_APPROXIMATE);
    // A frame pointer of its own misses nobody.
    world.rules[0] = Rule { flags: RULE_OTHER_STACK, ..rule };
    frame = start;
    assert_eq!(step(&mut world, &mut frame, rule_row(0)), STEP_NEXT);
    assert_eq!((frame.ip, frame.flags & FRAME_APPROXIMATE), (0x500, 0));
}

#[test]
fn every_register_has_its_place_in_pt_regs() {
    let slots: Vec<u32> = (0..15).map(pt_regs_slot).collect();
    assert_eq!(slots, [9, 8, 7, 6, 3, 2, 1, 0, 14, 13, 4, 5, 12, 10, 11]);
}

proptest! {
    #[test]
    fn any_table_and_any_stack_end(
        row in any::<u32>(),
        words in proptest::collection::vec((0u64..64, any::<u64>()), 0..64),
        rule in proptest::array::uniform16(any::<u8>()),
        (ip, sp, bp, context) in any::<(u64, u64, u64, u64)>(),
        flags in 0u32..64,
    ) {
        use zerocopy::FromBytes;
        let mut world = World::with(&[]);
        for (slot, word) in words {
            world.memory.insert(sp.wrapping_add(slot * 8), word);
        }
        world.rules = std::vec![Rule::read_from_bytes(&rule).unwrap(); 4];
        let mut frame =
            Frame { ip, sp, bp, bp_at: 0, bx: 0, bx_at: 1, context, flags, reserved: 0 };
        for _ in 0..8 {
            if step(&mut world, &mut frame, row) != STEP_NEXT {
                break;
            }
        }
    }
}
