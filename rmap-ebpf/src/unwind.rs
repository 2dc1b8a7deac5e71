//! The walk up a user stack by unwind tables: one turn of `bpf_loop` a frame. What a frame is and
//! how it leads to its caller stands in `logic::unwind`; here are the maps and the memory.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use rmap_ebpf::{
    abi::{self, Learned, Mapping, Mappings, Rule, StackPointersRecord, StackRecord},
    logic::{
        bound, hash, learned,
        repeat::{AT_ONCE, Memory, NEAR, SPAN, Set, Start, Trace},
        unwind::{Env, Frame, STEP_NEXT, advance, pt_regs_slot},
        unwind_row::{covers, find_row, last_from, special_row},
    },
};

use crate::{
    arch::UserRegisters,
    config, kernel,
    learned::{Found, LEARNED, learn},
    state::{ALLOCATING, KNOWN, MAPPINGS, MEMORIES, Place, RULES, Return, SLABS},
};

/// Where a walk takes place: memory of this CPU. What lies here is any number to the verifier;
/// on the program's stack each constant would make another state of the walk to look at.
#[repr(C)]
pub struct Scratch {
    frame: Frame,
    registers: u64,
    /// The number of the mapping where the last address was found: most callers lie in it too.
    near: u64,
    /// The last guessed return address that lies in no known mapping; 0: none.
    missed: u64,
    /// Not 0: the walk has used what was learned of this process alone, so others that have its list of
    /// mappings, and with it its generation, must not have what was found.
    has_learned: u64,
    /// The mapping that was asked for last.
    found: Found,
    /// What [`fetch`] has read.
    word: u64,
    /// Not 0 as long as all words that were compared are the same. Here, and not beside the
    /// comparison: a constant on the program's stack would make the verifier take the way behind
    /// the loop as one that leads to no walk, and look at the walk twice.
    same: u64,
    /// Where `window` was read from; 0: nowhere yet.
    window_at: u64,
    /// A piece of the thread's memory.
    window: [u64; WINDOW],
    /// What it has read.
    trace: Trace,
    /// Where `stack` was read from: the stack pointer, rounded down to a word.
    stack_at: u64,
    /// How many bytes of it are there; 0: none yet.
    stack_bytes: u64,
    /// The words from the stack pointer on: they are compared with what was read before, and a
    /// walk looks here first.
    stack: [u64; SPAN],
    /// Hash sum of the addresses.
    pub sum: u64,
    /// One of the `STACK_` constants.
    pub status: u32,
    /// How many addresses `record` has.
    pub count: u32,
    /// All bits where the hash depends on the frames' places; else 0.
    mask: u64,
    /// The stack pointer of the innermost frame.
    sp: u64,
    /// Where return addresses of functions with return probes should be, and what they are.
    hidden: [Return; 2],
    /// The addresses; the rest of it is for the sender.
    pub record: StackRecord,
    /// The frames' places; the rest of it is for the sender.
    pub pointers: StackPointersRecord,
}

/// Bytes of the stack that are read for a walk before it begins: most stacks are no larger.
const FIRST_BYTES: u64 = 8 * NEAR as u64;
/// Words that are read at once where that was not enough: stack frames lie side by side, and a read
/// has a price of its own.
const WINDOW: usize = 128;
/// The same in bytes. A window is aligned to its size, so it never reaches into another page than
/// that of the wanted word.
const WINDOW_BYTES: u64 = 8 * WINDOW as u64;

/// A row that was found before: the same address has it again, as long as the process's mappings
/// are the same.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct KnownRow {
    address: u64,
    row: u32,
    /// [`Mappings::generation`], which no two lists of mappings share.
    generation: u32,
}

/// Rows that this CPU has found, by their address.
pub type KnownRows = [KnownRow; KNOWN_ROWS];

/// How many there are: a power of two. Per-CPU memory comes in pieces of 32 KiB at most.
const KNOWN_ROWS: usize = 1024;

/// What the loop hands on from turn to turn.
#[repr(C)]
struct State {
    mappings: *const Mappings,
    learned: *const [Learned; abi::LEARNED],
    known: *mut KnownRows,
    scratch: *mut Scratch,
}

/// Walks from `registers`, into `scratch`. `runtime`: frames of a language runtime are to be placed
/// among these, so two stacks are the same only if their frames lie alike.
#[inline(always)]
pub fn walk(
    registers: UserRegisters,
    slot: u32,
    scratch: *mut Scratch,
    place: Place,
    runtime: bool,
) {
    // SAFETY: this CPU's own slot; programs that use it do not nest, since what a nested fault
    // runs stops at the busy mark.
    let start = unsafe { &mut *scratch };
    start.frame = Frame::innermost(registers.ip(), registers.sp(), registers.bp(), registers.bx());
    start.registers = registers.address();
    start.trace.begin(registers.sp());
    start.window_at = 0;
    start.missed = 0;
    start.has_learned = 0;
    if start.stack_bytes == 0 {
        // Without it each word is read for itself, or with its neighbours.
        copy_stack(registers, FIRST_BYTES, scratch);
    }
    start.sum = hash::START;
    let mask = if runtime { u64::MAX } else { 0 };
    // It lies in the map: in a register, the verifier would look at the whole walk for either case.
    // SAFETY: a part of this CPU's own slot.
    unsafe { (&raw mut start.mask).write_volatile(mask) };
    start.sp = registers.sp();
    start.status = u32::from(abi::STACK_NO_MAPPING);
    start.count = 0;
    let known = if config::PREEMPTED.load() == 0 { 0 } else { place as u32 };
    if let Some(mappings) = MAPPINGS.get_ptr(slot)
        && let Some(learned) = LEARNED.get_ptr(slot)
        && let Some(known) = KNOWN.get_ptr_mut(known)
    {
        let mut state = State { mappings, learned, known, scratch };
        // SAFETY: the callback has the helper's signature, and its state lives through the call.
        unsafe {
            bpf_loop(abi::MAX_FRAMES as u32 + 1, turn as *mut c_void, (&raw mut state).cast(), 0)
        };
    }
}

/// Whether the walked stack may have frames of a runtime, which need the places of all frames.
#[inline(always)]
pub fn has_runtime(scratch: &Scratch) -> bool {
    // SAFETY: a plain field; as where it is written.
    unsafe { (&raw const scratch.mask).read_volatile() != 0 }
}

/// Where a walk ended because no known mapping has an address: looks which code lies there, for the walks
/// that follow. Whether they find it.
#[inline(always)]
pub fn learn_from(scratch: &mut Scratch, slot: u32) -> bool {
    let address = match scratch.status as u16 {
        // SAFETY: a plain field; as where it is written.
        abi::STACK_NO_MAPPING => unsafe { (&raw const scratch.frame.ip).read_volatile() },
        // SAFETY: as above.
        abi::STACK_NO_ROW => unsafe { (&raw const scratch.missed).read_volatile() },
        _ => 0,
    };
    address != 0 && learn(slot, address, &raw mut scratch.found)
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
    scratch.record.ips[(index as usize & abi::MAX_FRAMES).min(abi::MAX_FRAMES - 1)] = ip;
    let offset = scratch.frame.sp.wrapping_sub(scratch.sp);
    let offset = if offset > u64::from(u32::MAX) { u64::from(u32::MAX) } else { offset };
    scratch.pointers.offsets[(index as usize & abi::MAX_FRAMES).min(abi::MAX_FRAMES - 1)] =
        offset as u32;
    // User addresses leave the upper bits free.
    scratch.sum = hash::add(scratch.sum, ip ^ (offset & scratch.mask).rotate_left(40));
    scratch.count = index as u32 + 1;
    let mut frame = scratch.frame;
    let State { mappings, learned, known, scratch: place } = *state;
    let mut env = Kernel { mappings, learned, known, scratch: place };
    let status = advance(&mut env, &mut frame);
    scratch.frame = frame;
    scratch.status = u32::from(status);
    i64::from(status != STEP_NEXT)
}

/// Forgets the copy of a stack: the next walk is another's. Learns which of the current thread's return
/// addresses are not where they should be.
#[inline(always)]
pub fn forget(scratch: *mut Scratch) {
    // SAFETY: this CPU's own slot, as above.
    unsafe { (*scratch).stack_bytes = 0 };
    if config::MALLOC_MEAN.load() != 0 {
        learn_hidden(scratch);
    }
}

/// The return addresses that the kernel keeps while allocators' functions of the current thread run. Word
/// by word: a copy on the program's stack would make it too large.
#[inline(always)]
fn learn_hidden(scratch: *mut Scratch) {
    let thread = ALLOCATING.get(kernel::current());
    // SAFETY: this CPU's own slot, as above, and the thread's own value. Volatile, so that the verifier
    // sees no constants in it.
    unsafe {
        let hidden = (&raw mut (*scratch).hidden).cast::<u64>();
        match thread {
            Some(thread) => {
                let thread = thread.as_ptr();
                hidden.write_volatile((*thread).outer.at);
                hidden.add(1).write_volatile((*thread).outer.to);
                hidden.add(2).write_volatile((*thread).inner.at);
                hidden.add(3).write_volatile((*thread).inner.to);
            }
            None => {
                hidden.write_volatile(0);
                hidden.add(2).write_volatile(0);
            }
        }
    }
}

/// Puts return addresses that the kernel keeps where they should be in the copy of a stack.
#[inline(always)]
fn show_hidden(scratch: *mut Scratch) {
    let mut number = 0;
    while number < 2 {
        // SAFETY: this CPU's own slot, as above.
        let copied = unsafe { &mut *scratch };
        let Return { at, to } = copied.hidden[number];
        let distance = at.wrapping_sub(copied.stack_at);
        if at != 0 && distance < copied.stack_bytes && distance & 7 == 0 {
            let place = bound::at_most::<{ SPAN as u32 - 1 }>(distance >> 3) as usize;
            // SAFETY: a place of the array.
            unsafe { copied.stack.as_mut_ptr().add(place).write(to) };
        }
        number += 1;
    }
}

/// Reads so many bytes of the stack, at most all of [`Scratch::stack`]; whether it could.
#[inline(always)]
fn copy_stack(registers: UserRegisters, bytes: u64, scratch: *mut Scratch) -> bool {
    let from = registers.sp() & !7;
    // SAFETY: this CPU's own slot, as above; the helper checks the source.
    let read = unsafe {
        bpf_probe_read_user(
            (*scratch).stack.as_mut_ptr().cast(),
            bytes as u32,
            from as *const c_void,
        )
    };
    // SAFETY: as above.
    let copied = unsafe { &mut *scratch };
    copied.stack_at = from;
    copied.stack_bytes = if read == 0 { bytes } else { 0 };
    if config::MALLOC_MEAN.load() != 0 {
        show_hidden(scratch);
    }
    read == 0
}

/// What a walk of a process starts from, `slot` being its value in `TARGETS`, and what this CPU
/// remembers of walks that start alike; `None` if the process has no tables.
#[inline(always)]
pub fn start(registers: UserRegisters, slot: u32) -> Option<(Start, &'static mut Set)> {
    let mappings = MAPPINGS.get(slot)?;
    let start = Start {
        generation: u64::from(mappings.generation),
        ip: registers.ip(),
        sp: registers.sp(),
        bp: registers.bp(),
        bx: registers.bx(),
    };
    let set = MEMORIES.get_ptr_mut(start.set())?;
    // SAFETY: this CPU's own slot, which only ends of faults use, of which no two run at once here.
    Some((start, unsafe { &mut *set }))
}

/// Whether this is the stack that `memory` tells of.
#[inline(always)]
pub fn repeats(
    registers: UserRegisters,
    start: &Start,
    memory: &Memory,
    scratch: *mut Scratch,
) -> bool {
    if !memory.begins(start) {
        return false;
    }
    // SAFETY: a plain field; read once, so that what is checked is what is used.
    let span = u64::from(unsafe { (&raw const memory.span).read_volatile() });
    if span > SPAN as u64 {
        return false;
    }
    let bytes = 8 * span;
    let near = if bytes < FIRST_BYTES { bytes } else { FIRST_BYTES };
    if !has_copied(scratch, near) && !copy_stack(registers, near, scratch) {
        return false;
    }
    if !same(memory, 0, memory.near, scratch) {
        return false;
    }
    let far = memory.far();
    if far == 0 {
        return true;
    }
    (has_copied(scratch, bytes) || copy_stack(registers, bytes, scratch))
        && same(memory, memory.near, far, scratch)
}

/// Whether so many bytes of the stack have been copied.
#[inline(always)]
fn has_copied(scratch: *const Scratch, bytes: u64) -> bool {
    // SAFETY: this CPU's own slot, as above.
    unsafe { (*scratch).stack_bytes >= bytes }
}

/// Whether the words of so many turns are the same, from turn `first` on.
#[inline(always)]
fn same(memory: &Memory, first: u32, turns: u32, scratch: *mut Scratch) -> bool {
    // SAFETY: this CPU's own slot, as above.
    unsafe { (&raw mut (*scratch).same).write_volatile(1) };
    let mut state = Comparison { memory, scratch, first: u64::from(first) };
    // SAFETY: the callback has the helper's signature, and its state lives through the call.
    unsafe { bpf_loop(turns, compare as *mut c_void, (&raw mut state).cast(), 0) };
    // SAFETY: as above.
    unsafe { (&raw const (*scratch).same).read_volatile() != 0 }
}

/// What the comparison hands on from turn to turn.
#[repr(C)]
struct Comparison {
    memory: *const Memory,
    scratch: *mut Scratch,
    first: u64,
}

unsafe extern "C" fn compare(turn: u64, state: *mut c_void) -> i64 {
    // SAFETY: the helper hands on what `repeats` gave it.
    let state = unsafe { &mut *state.cast::<Comparison>() };
    // SAFETY: both outlive the loop.
    let same = unsafe { (*state.memory).same(&(*state.scratch).stack, state.first + turn) };
    if !same {
        // SAFETY: as above.
        unsafe { (*state.scratch).same = 0 };
    }
    i64::from(!same)
}

/// Remembers the walk that has just ended, if it can be remembered, under its hash.
#[inline(always)]
pub fn remember(start: &Start, hash: u64, scratch: *mut Scratch, memory: &mut Memory) {
    // SAFETY: this CPU's own slot, as above.
    let ended = unsafe { &*scratch };
    memory.count = 0;
    if !ended.trace.fits(&ended.frame) || ended.has_learned != 0 {
        return;
    }
    memory.found = 0;
    memory.near = 0;
    memory.span = 0;
    let turns = Memory::turns(&ended.trace);
    let mut state = Copying { memory, scratch };
    // SAFETY: the callback has the helper's signature, and its state lives through the call.
    unsafe { bpf_loop(turns as u32, copy as *mut c_void, (&raw mut state).cast(), 0) };
    memory.start = *start;
    memory.hash = hash;
    memory.flags = ended.frame.flags;
    memory.status = ended.status as u16;
    memory.count = (turns * AT_ONCE as u64) as u16;
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
fn row(
    mappings: *const Mappings,
    learned: *const [Learned; abi::LEARNED],
    scratch: *mut Scratch,
    address: u64,
) -> u32 {
    // SAFETY: `walk` starts the loop only with a value of the map, which stays in place.
    let mappings = unsafe { &*mappings };
    // SAFETY: this CPU's own slot, and the caller has given its reference back.
    let number = unsafe { &mut (*scratch).near };
    let mut mapping = &mappings.list[*number as usize & (abi::MAPPINGS - 1)];
    if !covers(mapping, address) {
        *number = last_from(mappings, address) as u64;
        mapping = &mappings.list[*number as usize & (abi::MAPPINGS - 1)];
        if !covers(mapping, address) {
            // What the kernel side has found out by itself.
            // SAFETY: as of the mappings.
            let learned = unsafe { &*learned };
            // A number: with a pointer that the verifier knows nothing may be computed.
            let mm = kernel::mm_of(kernel::current() as u64);
            let (number, found) = learned::find(learned, mm, address);
            // SAFETY: a place of the array.
            mapping = unsafe { &(*learned.as_ptr().add(number)).mapping };
            if found == 0 || !covers(mapping, address) {
                return special_row(abi::SPECIAL_NO_MAPPING);
            }
            // SAFETY: as above.
            unsafe { (&raw mut (*scratch).has_learned).write_volatile(1) };
        }
    }
    row_of(mapping, address)
}

#[inline(always)]
fn row_of(mapping: &Mapping, address: u64) -> u32 {
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
    learned: *const [Learned; abi::LEARNED],
    known: *mut KnownRows,
    scratch: *mut Scratch,
}

/// Reads eight bytes of the thread's memory into `word`; whether it could. A function of its own,
/// since it is called from many places.
#[inline(never)]
fn fetch(scratch: *mut Scratch, address: u64) -> bool {
    // SAFETY: this CPU's own slot, and the caller has given its reference back.
    let scratch = unsafe { &mut *scratch };
    let distance = address.wrapping_sub(scratch.stack_at);
    if distance < scratch.stack_bytes && distance & 7 == 0 {
        scratch.word = scratch.stack[(distance >> 3) as usize & (SPAN - 1)];
        return true;
    }
    if config::MALLOC_MEAN.load() != 0 {
        let [outer, inner] = scratch.hidden;
        if address == outer.at || address == inner.at {
            scratch.word = if address == outer.at { outer.to } else { inner.to };
            return true;
        }
    }
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
        // SAFETY: `walk` starts the loop only with a value of the map, which stays in place.
        let generation = unsafe { (*self.mappings).generation };
        // SAFETY: this CPU's own slot; walks at one place do not nest.
        let known =
            unsafe { &mut (*self.known)[(address ^ address >> 10) as usize & (KNOWN_ROWS - 1)] };
        if known.address == address && known.generation == generation {
            return known.row;
        }
        let row = row(self.mappings, self.learned, self.scratch, address);
        // What is not known yet may be in a moment: a table that is being written.
        // SAFETY: a plain field of this CPU's own slot, and the callee has given its reference back.
        let has_learned = unsafe { (&raw const (*self.scratch).has_learned).read_volatile() };
        if row != special_row(abi::SPECIAL_NO_MAPPING) && has_learned == 0 {
            *known = KnownRow { address, row, generation };
        }
        row
    }

    #[inline(always)]
    fn guessed_row(&mut self, address: u64) -> u32 {
        let row = row(self.mappings, self.learned, self.scratch, address);
        let missed = if row == special_row(abi::SPECIAL_NO_MAPPING) { address } else { 0 };
        // SAFETY: this CPU's own slot, and the callee has given its reference back.
        unsafe { (&raw mut (*self.scratch).missed).write_volatile(missed) };
        row
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
