//! The walk up a user stack by unwind tables: one turn of `bpf_loop` a frame. What a frame is and
//! how it leads to its caller stands in `logic::unwind`; here are the maps and the memory.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use rmap_ebpf::{
    abi::{self, Mappings, Rule, StackRecord},
    logic::{
        hash,
        repeat::{AT_ONCE, Memory, SPAN, Trace},
        unwind::{Env, Frame, STEP_NEXT, advance, pt_regs_slot},
        unwind_row::{covers, find_row, last_from, special_row},
    },
};

use crate::{
    kernel::{self, UserRegisters},
    state::{MAPPINGS, RULES, SLABS},
};

/// Where a walk takes place: memory of this CPU. What lies here is any number to the verifier;
/// on the program's stack each constant would make another state of the walk to look at.
#[repr(C)]
pub struct Scratch {
    frame: Frame,
    registers: u64,
    /// The number of the mapping where the last address was found: most callers lie in it too.
    near: u64,
    /// What [`fetch`] has read.
    word: u64,
    /// Where `window` was read from; 0: nowhere yet.
    window_at: u64,
    /// A piece of the thread's memory.
    window: [u64; WINDOW],
    /// What it has read.
    trace: Trace,
    /// The words from the stack pointer on, to compare with what was read before.
    stack: [u64; SPAN],
    /// Hash sum of the addresses.
    pub sum: u64,
    /// One of the `STACK_` constants.
    pub status: u32,
    /// How many addresses `record` has.
    pub count: u32,
    /// The addresses; the rest of it is for the sender.
    pub record: StackRecord,
}

/// Words that are read at once: stack frames lie side by side, and a read has a price of its own.
const WINDOW: usize = 128;
/// The same in bytes. A window is aligned to its size, so it never reaches into another page than
/// that of the wanted word.
const WINDOW_BYTES: u64 = 8 * WINDOW as u64;

/// What the loop hands on from turn to turn.
#[repr(C)]
struct State {
    mappings: *const Mappings,
    scratch: *mut Scratch,
}

/// Walks from `registers`, into `scratch`.
#[inline(always)]
pub fn walk(registers: UserRegisters, slot: u32, scratch: *mut Scratch) {
    // SAFETY: this CPU's own slot; programs that use it do not nest, since what a nested fault
    // runs stops at the busy mark.
    let start = unsafe { &mut *scratch };
    start.frame = Frame::innermost(registers.ip(), registers.sp(), registers.bp(), registers.bx());
    start.registers = registers.address();
    start.trace.begin(registers.sp());
    start.window_at = 0;
    start.sum = hash::START;
    start.status = u32::from(abi::STACK_NO_MAPPING);
    start.count = 0;
    if let Some(mappings) = MAPPINGS.get_ptr(slot) {
        let mut state = State { mappings, scratch };
        // SAFETY: the callback has the helper's signature, and its state lives through the call.
        unsafe {
            bpf_loop(abi::MAX_FRAMES as u32 + 1, turn as *mut c_void, (&raw mut state).cast(), 0)
        };
    }
}

/// One frame. Returns 1 to end the loop.
unsafe extern "C" fn turn(index: u64, state: *mut c_void) -> i64 {
    // SAFETY: the helper hands on what `walk` gave it.
    let state = unsafe { &mut *state.cast::<State>() };
    // SAFETY: the scratch memory outlives the loop.
    let scratch = unsafe { &mut *state.scratch };
    if index >= abi::MAX_FRAMES as u64 {
        scratch.status = u32::from(abi::STACK_TRUNCATED);
        return 1;
    }
    let ip = scratch.frame.ip;
    scratch.record.ips[(index as usize & 127).min(abi::MAX_FRAMES - 1)] = ip;
    scratch.sum = hash::add(scratch.sum, ip);
    scratch.count = index as u32 + 1;
    let mut frame = scratch.frame;
    let mut env = Kernel { mappings: state.mappings, scratch: state.scratch };
    let status = advance(&mut env, &mut frame);
    scratch.frame = frame;
    scratch.status = u32::from(status);
    i64::from(status != STEP_NEXT)
}

/// Whether the thread still has the stack that `memory` tells of.
#[inline(always)]
pub fn repeats(registers: UserRegisters, memory: &Memory, scratch: *mut Scratch) -> bool {
    if !memory.begins(registers.ip(), registers.sp(), registers.bp(), registers.bx()) {
        return false;
    }
    // SAFETY: a plain field; read once, so that what is checked is what is used.
    let span = unsafe { (&raw const memory.span).read_volatile() };
    if span > SPAN as u64 {
        return false;
    }
    // SAFETY: this CPU's own slot, as above; the helper checks the source.
    let read = unsafe {
        bpf_probe_read_user(
            (*scratch).stack.as_mut_ptr().cast(),
            8 * span as u32,
            (registers.sp() & !7) as *const c_void,
        )
    };
    if read != 0 {
        return false;
    }
    let mut state = Comparison { memory, scratch, same: 1 };
    let turns = u32::from(memory.count) / AT_ONCE as u32;
    // SAFETY: the callback has the helper's signature, and its state lives through the call.
    unsafe { bpf_loop(turns, compare as *mut c_void, (&raw mut state).cast(), 0) };
    state.same != 0
}

/// What the comparison hands on from turn to turn.
#[repr(C)]
struct Comparison {
    memory: *const Memory,
    scratch: *const Scratch,
    same: u64,
}

unsafe extern "C" fn compare(turn: u64, state: *mut c_void) -> i64 {
    // SAFETY: the helper hands on what `repeats` gave it.
    let state = unsafe { &mut *state.cast::<Comparison>() };
    // SAFETY: both outlive the loop.
    let same = unsafe { (*state.memory).same(&(*state.scratch).stack, turn) };
    if !same {
        state.same = 0;
    }
    i64::from(!same)
}

/// Remembers the walk that has just ended, if it can be remembered, under its hash.
#[inline(always)]
pub fn remember(registers: UserRegisters, hash: u64, scratch: *mut Scratch, memory: &mut Memory) {
    // SAFETY: this CPU's own slot, as above.
    let ended = unsafe { &*scratch };
    memory.count = 0;
    if !ended.trace.fits(&ended.frame) {
        return;
    }
    memory.span = 0;
    let turns = Memory::turns(&ended.trace);
    let mut state = Copying { memory, scratch };
    // SAFETY: the callback has the helper's signature, and its state lives through the call.
    unsafe { bpf_loop(turns as u32, copy as *mut c_void, (&raw mut state).cast(), 0) };
    memory.ip = registers.ip();
    memory.sp = registers.sp();
    memory.bp = registers.bp();
    memory.bx = registers.bx();
    memory.hash = hash;
    memory.flags = ended.frame.flags;
    memory.status = ended.status as u16;
    memory.count = turns as u16;
}

/// What the copying hands on from turn to turn.
#[repr(C)]
struct Copying {
    memory: *mut Memory,
    scratch: *const Scratch,
}

unsafe extern "C" fn copy(turn: u64, state: *mut c_void) -> i64 {
    // SAFETY: the helper hands on what `remember` gave it.
    let state = unsafe { &mut *state.cast::<Copying>() };
    // SAFETY: both outlive the loop.
    unsafe { (*state.memory).take(&(*state.scratch).trace, turn) };
    0
}

/// The row that holds at an address. A function of its own in the program: it is called from
/// several places, and the verifier looks at each copy.
#[inline(never)]
fn row(mappings: *const Mappings, scratch: *mut Scratch, address: u64) -> u32 {
    // SAFETY: `walk` starts the loop only with a value of the map, which stays in place.
    let mappings = unsafe { &*mappings };
    // SAFETY: this CPU's own slot, and the caller has given its reference back.
    let number = unsafe { &mut (*scratch).near };
    let mut mapping = &mappings.list[*number as usize & (abi::MAPPINGS - 1)];
    if !covers(mapping, address) {
        *number = last_from(mappings, address) as u64;
        mapping = &mappings.list[*number as usize & (abi::MAPPINGS - 1)];
        if !covers(mapping, address) {
            return special_row(abi::SPECIAL_NO_MAPPING);
        }
    }
    match mapping.slab {
        abi::SLAB_PENDING => special_row(abi::SPECIAL_NO_MAPPING),
        abi::SLAB_UNCOVERED => special_row(abi::SPECIAL_NONE),
        abi::SLAB_JIT => special_row(abi::SPECIAL_JIT),
        number => match SLABS.get_value(number, &0) {
            Some(slab) => find_row(slab, mapping, address),
            None => special_row(abi::SPECIAL_NO_MAPPING),
        },
    }
}

/// Maps and memory as the walk sees them.
struct Kernel {
    mappings: *const Mappings,
    scratch: *mut Scratch,
}

/// Reads eight bytes of the thread's memory into `word`; whether it could. A function of its own,
/// since it is called from many places.
#[inline(never)]
fn fetch(scratch: *mut Scratch, address: u64) -> bool {
    // SAFETY: this CPU's own slot, and the caller has given its reference back.
    let scratch = unsafe { &mut *scratch };
    if address & 7 != 0 {
        // SAFETY: the word is as long as is said; the helper checks the source.
        let read = unsafe {
            bpf_probe_read_user((&raw mut scratch.word).cast(), 8, address as *const c_void)
        };
        return read == 0;
    }
    let base = address & !(WINDOW_BYTES - 1);
    if base != scratch.window_at {
        // SAFETY: the window is as long as is said; the helper checks the source.
        let read = unsafe {
            bpf_probe_read_user(
                scratch.window.as_mut_ptr().cast(),
                WINDOW_BYTES as u32,
                base as *const c_void,
            )
        };
        if read != 0 {
            scratch.window_at = 0;
            return false;
        }
        scratch.window_at = base;
    }
    scratch.word = scratch.window[(address >> 3) as usize & (WINDOW - 1)];
    true
}

impl Env for Kernel {
    #[inline(always)]
    fn row(&mut self, address: u64) -> u32 {
        row(self.mappings, self.scratch, address)
    }

    #[inline(always)]
    fn rule(&mut self, index: u32) -> Option<Rule> {
        RULES.get(index & abi::RULES_MASK).copied()
    }

    #[inline(always)]
    fn register(&mut self, number: u32) -> Option<u64> {
        // SAFETY: this CPU's own slot.
        let registers = unsafe { (*self.scratch).registers };
        kernel::read(registers, u64::from(pt_regs_slot(number)) * 8)
    }

    #[inline(always)]
    fn read(&mut self, address: u64) -> Option<u64> {
        let read = fetch(self.scratch, address);
        // SAFETY: this CPU's own slot, and the callee has given its reference back.
        let scratch = unsafe { &mut *self.scratch };
        if !read {
            scratch.trace.failed();
            return None;
        }
        scratch.trace.read(address, scratch.word);
        Some(scratch.word)
    }
}
