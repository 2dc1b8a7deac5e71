//! User stacks: walked by unwind tables, named by a hash of their addresses, sent once.
//!
//! [`capture`] gives the hash under which user space knows the stack, 0 where there is none. A
//! stack that the tables do not cover yet goes to user space as registers and memory, and gets a
//! name of its own.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP};
use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_user, bpf_ringbuf_output,
};
use rmap_ebpf::{
    abi::{self, RawStackRecord, StackRecord},
    logic::{
        bound, hash,
        repeat::{Set, Start, WAYS},
    },
};

use crate::{
    arch::UserRegisters,
    config, emit, kernel,
    runtime::python,
    state::{
        ALLOCATING, EVENTS, Place, RAW_STACKS, Return, SCRATCH, SEEN, SEEN_SETS, SeenSet, busy,
    },
    unwind::{self, Scratch},
};

/// Bytes of a stack record before its addresses.
const FIXED: u32 = (size_of::<StackRecord>() - 8 * abi::MAX_FRAMES) as u32;
/// Bytes of a record of stack pointers before them.
const POINTERS_FIXED: u32 = core::mem::offset_of!(abi::StackPointersRecord, offsets) as u32;
/// Bytes of a raw stack record before its memory.
const RAW_FIXED: u32 = (size_of::<RawStackRecord>() - abi::RAW_STACK_BYTES) as u32;
/// Bytes of a raw stack's memory.
const RAW_MEMORY: u64 = abi::RAW_STACK_BYTES as u64;
/// Bytes in the ring from which on no raw stacks are sent: half of it.
const RAW_ROOM: u64 = 8 << 20;
/// The same where walks are checked: user space makes the ring larger then.
const CHECK_ROOM: u64 = 192 << 20;
/// The memory of a raw stack is read in pieces of so many bytes: the last ones may be missing.
const PIECE: usize = abi::RAW_STACK_ALIGN;

/// Walks the current thread's user stack; user space gets it, if it does not have it yet. `slot`
/// is the process's value in `TARGETS`.
#[inline(always)]
pub fn capture(registers: UserRegisters, mm: u64, slot: u32, place: Place) -> u64 {
    let native = take(registers, mm, slot, None, place);
    python::join(registers, native, mm, slot, place)
}

/// The same at the end of a fault, to which a program comes again and again: a stack that was there
/// before is not walked once more.
#[inline(always)]
pub fn capture_again(registers: UserRegisters, mm: u64, slot: u32) -> u64 {
    // Not handed on as an option: the verifier would look at the whole walk for either case.
    let Some(start) = unwind::start(registers, slot) else {
        return send_raw(registers, mm, Place::Classic);
    };
    let native = take(registers, mm, slot, Some(start), Place::Classic);
    python::join(registers, native, mm, slot, Place::Classic)
}

/// Sends registers and memory of a stack instead of a walk; user space walks it.
#[inline(always)]
pub fn send_raw(registers: UserRegisters, mm: u64, place: Place) -> u64 {
    if !busy(place, kernel::tid(kernel::current())) {
        return 0;
    }
    let room = has_room();
    let hash = if room { raw(registers, mm, 0, abi::STACK_NO_MAPPING, place) } else { 0 };
    busy(place, 0);
    if hash == 0 {
        emit::count(abi::COUNT_LOST_STACKS, 1);
    }
    hash
}

#[inline(always)]
fn take(
    registers: UserRegisters,
    mm: u64,
    slot: u32,
    mut before: Option<(Start, &mut Set)>,
    place: Place,
) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(place as u32) else { return 0 };
    if !busy(place, kernel::tid(kernel::current())) {
        return 0;
    }
    unwind::forget(scratch);
    if let Some((start, set)) = &mut before {
        let mut way = 0;
        while way < WAYS {
            let likely = set.is_likely(way);
            let memory = &mut set.ways[way];
            if likely && unwind::repeats(registers, start, memory, scratch) {
                if config::CHECK_UNWIND.load() != 0 && has_room() {
                    raw(registers, mm, memory.hash, memory.status, place);
                }
                memory.found = 1;
                busy(place, 0);
                emit::count(abi::COUNT_STACK_STATUS + (u32::from(memory.status) & 15), 1);
                return memory.hash;
            }
            way += 1;
        }
    }
    unwind::walk(registers, slot, scratch, place, python::is_active(slot));
    // SAFETY: this CPU's own slot, and this place's; programs that use it do not nest, since what a
    // nested fault runs stops at the busy mark.
    let walked = unsafe { &mut *scratch };
    let mut unmapped = walked.status == u32::from(abi::STACK_NO_MAPPING);
    if unwind::learn_from(walked, slot) {
        unmapped = true;
    }
    let mut hash = 0;
    if (unmapped || config::CHECK_UNWIND.load() != 0) && has_room() {
        let status = walked.status as u16;
        let name = if unmapped { 0 } else { hash::finish(walked.sum, status) };
        let sent = raw(registers, mm, name, status, place);
        if unmapped {
            hash = sent;
        }
    }
    busy(place, 0);
    emit::count(abi::COUNT_STACK_STATUS + (walked.status & 15), 1);
    if hash != 0 {
        return hash;
    }
    let (hash, known) = finish(walked, mm, place);
    // Not the first time: most stacks come once.
    if known
        && !unmapped
        && let Some((start, set)) = before
        && let Some(way) = set.miss(hash)
    {
        unwind::remember(&start, hash, scratch, &mut set.ways[way]);
    }
    hash
}

/// Whether raw stacks, which are large, leave room in the ring for what must not be lost. Else the
/// frames that were found serve, and the stack says how it ended.
#[inline(always)]
fn has_room() -> bool {
    let most = if config::CHECK_UNWIND.load() != 0 { CHECK_ROOM } else { RAW_ROOM };
    EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) < most
}

/// Names a walked stack, and sends it if it is new. The second value is whether user space had it
/// before.
#[inline(always)]
fn finish(scratch: &mut Scratch, mm: u64, place: Place) -> (u64, bool) {
    let hash = hash::finish(scratch.sum, scratch.status as u16);
    let Some(seen) = seen(hash) else { return (hash, false) };
    if seen[0] == hash || seen[1] == hash || seen[2] == hash || seen[3] == hash {
        return (hash, true);
    }
    let record = &mut scratch.record;
    record.header = emit::header(abi::KIND_STACK, 0, mm);
    record.hash = hash;
    record.status = scratch.status as u16;
    record.count = scratch.count as u16;
    record.reserved = 0;
    if unwind::has_runtime(scratch) {
        send_pointers(scratch, hash, mm, place);
    }
    let record = &mut scratch.record;
    let length = FIXED + 8 * (scratch.count & abi::MAX_FRAMES as u32);
    let sent = send((&raw mut *record).cast(), length, place.wakes());
    if sent {
        seen[(hash >> 14) as usize & 3] = hash;
    } else {
        emit::count(abi::COUNT_LOST_STACKS, 1);
    }
    (hash, false)
}

/// The set of [`SEEN`] in which a hash is, if user space has its stack.
#[inline(always)]
pub fn seen(hash: u64) -> Option<&'static mut SeenSet> {
    let set = SEEN.get_ptr_mut(hash as u32 & (SEEN_SETS - 1))?;
    // SAFETY: the map keeps its values in place. Another CPU may write a set meanwhile: a word is
    // then the one or the other hash, and at worst a stack is sent twice.
    Some(unsafe { &mut *set })
}

/// Sends where the frames of a walked stack lie. Without it the frames of a runtime have no places
/// among them.
#[inline(always)]
fn send_pointers(scratch: &mut Scratch, hash: u64, mm: u64, place: Place) {
    let record = &mut scratch.pointers;
    record.header = emit::header(abi::KIND_STACK_POINTERS, 0, mm);
    record.hash = hash;
    record.count = scratch.count;
    record.reserved = 0;
    let length = POINTERS_FIXED + 4 * (scratch.count & abi::MAX_FRAMES as u32);
    if !send((&raw mut *record).cast(), length, place.wakes()) {
        emit::count(abi::COUNT_LOST_STACKS, 1);
    }
}

/// Sends registers and memory of a stack that has code without tables, or under `hash`, if that is
/// not 0, to check how it was walked. Returns its name, 0 if there is no room.
#[inline(always)]
fn raw(registers: UserRegisters, mm: u64, hash: u64, status: u16, place: Place) -> u64 {
    let Some(record) = RAW_STACKS.get_ptr_mut(place as u32) else { return 0 };
    // SAFETY: this CPU's own slot, as above.
    let record = unsafe { &mut *record };
    let check = hash != 0;
    let flags = if check { abi::RAW_CHECK } else { 0 };
    record.header = emit::header(abi::KIND_RAW_STACK, flags, mm);
    record.hash = hash;
    if !check {
        // One name each: time and thread, which no other stack has both of.
        record.hash = hash::finish(
            hash::add(hash::add(hash::START, record.header.time_ns), u64::from(record.header.tid)),
            abi::STACK_NO_MAPPING,
        );
    }
    record.status = status;
    record.reserved = 0;
    // SAFETY: both are as long as is said; the helper checks the source.
    let read = unsafe {
        bpf_probe_read_kernel(
            record.registers.as_mut_ptr().cast(),
            size_of_val(&record.registers) as u32,
            registers.address() as *const c_void,
        )
    };
    if read != 0 {
        return 0;
    }
    // Aligned, so that no piece reaches over the end of the stack, which ends with a page.
    let base = registers.sp() & !(PIECE as u64 - 1);
    // The length lies in the map: in a register, what follows would be verified for each.
    let length = &raw mut record.length;
    // SAFETY: a part of this CPU's own slot.
    unsafe { length.write_volatile(0) };
    let mut piece = 0;
    let most = if check { abi::RAW_STACK_BYTES } else { abi::RAW_STACK_USUAL };
    while piece < most / PIECE {
        // SAFETY: the piece lies inside the record; the helper checks the source.
        let read = unsafe {
            bpf_probe_read_user(
                record.memory.as_mut_ptr().add(piece * PIECE).cast(),
                PIECE as u32,
                (base + (piece * PIECE) as u64) as *const c_void,
            )
        };
        if read != 0 {
            break;
        }
        piece += 1;
        // SAFETY: as above.
        unsafe { length.write_volatile((piece * PIECE) as u32) };
    }
    if config::MALLOC_MEAN.load() != 0 {
        show_hidden(record, base);
    }
    // SAFETY: as above.
    let length = unsafe { length.read_volatile() };
    let total = RAW_FIXED + (length & (abi::RAW_STACK_BYTES.next_power_of_two() as u32 - 1));
    if total > size_of::<RawStackRecord>() as u32 {
        return 0;
    }
    let hash = record.hash;
    // User space leaves the ring alone for a while; here it is wanted at once, for tables.
    let wakes = match place.wakes() {
        0 if !check => u64::from(BPF_RB_FORCE_WAKEUP),
        wakes => wakes,
    };
    if send((&raw mut *record).cast(), total, wakes) { hash } else { 0 }
}

/// Puts return addresses that the kernel keeps where they should be in the memory of a raw stack, which
/// begins at `base`.
#[inline(always)]
fn show_hidden(record: &mut RawStackRecord, base: u64) {
    let Some(thread) = ALLOCATING.get(kernel::current()) else { return };
    // SAFETY: the thread's own value, which lives as long.
    let (outer, inner) = unsafe { (&(*thread.as_ptr()).outer, &(*thread.as_ptr()).inner) };
    show(record, base, outer);
    show(record, base, inner);
}

#[inline(always)]
fn show(record: &mut RawStackRecord, base: u64, hidden: &Return) {
    let distance = hidden.at.wrapping_sub(base);
    if hidden.at == 0 || distance & 7 != 0 || distance >= RAW_MEMORY {
        return;
    }
    let distance = bound::at_most::<{ RAW_MEMORY as u32 - 8 }>(distance) as usize;
    // SAFETY: eight bytes inside the record, of which the memory begins at a multiple of eight.
    unsafe { record.memory.as_mut_ptr().add(distance).cast::<u64>().write(hidden.to) };
}

/// Puts `length` bytes into the ring, if there is room. `flags`: of `bpf_ringbuf_output`.
#[inline(always)]
pub fn send(record: *mut c_void, length: u32, flags: u64) -> bool {
    // SAFETY: the verifier checks that `length` stays inside the record.
    let sent = unsafe {
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), record, u64::from(length), flags)
    };
    sent == 0
}
