//! CPython's frames, read from the thread that faults or calls.
//!
//! Comes in: the thread, the hash of its user stack, its process's [`PythonConfig`]. Goes out: a
//! [`PythonStackRecord`] that is new, a definition of each code object in it that is new, and the
//! hash of both stacks together.
//!
//! The thread itself changes its frames, by stores of single words, and it stands here now. What is
//! read is checked all the same: the thread state must be this thread's, the code must have the type
//! of code objects, the instruction must be within it. A walk that fails keeps the frames before.
//! Code objects die and their addresses are used again, so a frame names its code by what is in it.

mod define;
mod maps;
mod walk;

use rmap_ebpf::{
    abi::{self, PythonConfig},
    logic::hash,
};

use crate::{
    arch::UserRegisters,
    emit, kernel,
    stack::seen,
    state::{Place, busy},
};

pub use maps::PYTHON;
use maps::{ROOMS, Room};

/// Bytes of a stack record before its frames.
const FIXED: u32 = (size_of::<abi::PythonStackRecord>()
    - size_of::<abi::PythonFrame>() * abi::PYTHON_FRAMES) as u32;

/// Whether the processes of a place run Python.
#[inline(always)]
pub fn is_active(slot: u32) -> bool {
    PYTHON.get(slot).is_some_and(|config| config.active != 0)
}

/// Adds the thread's Python frames to its user stack, `native` being that one's hash.
#[inline(always)]
pub fn join(registers: UserRegisters, native: u64, mm: u64, slot: u32, place: Place) -> u64 {
    let Some(config) = PYTHON.get_ptr_mut(slot) else { return native };
    // SAFETY: the map keeps its values in place; a plain field.
    if native == 0 || unsafe { (*config).active } == 0 {
        return native;
    }
    if !busy(place, kernel::tid(kernel::current())) {
        return native;
    }
    let hash = walked(registers, native, mm, config, place);
    busy(place, 0);
    hash
}

#[inline(always)]
fn walked(
    registers: UserRegisters,
    native: u64,
    mm: u64,
    config: *mut PythonConfig,
    place: Place,
) -> u64 {
    let Some(room) = ROOMS.get_ptr_mut(place as u32) else { return native };
    walk::walk(registers.sp(), mm, native, config, room);
    // SAFETY: this CPU's own slot, and this place's; programs that use it do not nest.
    let ended = unsafe { &mut *room };
    emit::count(abi::COUNT_PYTHON_STATUS + (ended.status & 7), 1);
    if ended.count == 0 {
        return native;
    }
    let hash = hash::finish(ended.sum, ended.status as u16);
    let Some(set) = seen(hash) else { return hash };
    if set.contains(&hash) {
        return hash;
    }
    // What a frame names comes before it.
    if define::define(mm, config, room, place) && send(ended, native, hash, mm, place) {
        set[(hash >> 14) as usize & 3] = hash;
    } else {
        emit::count(abi::COUNT_LOST_STACKS, 1);
    }
    hash
}

#[inline(always)]
fn send(room: &mut Room, native: u64, hash: u64, mm: u64, place: Place) -> bool {
    let record = &mut room.record;
    record.header = emit::header(abi::KIND_PYTHON_STACK, 0, mm);
    record.hash = hash;
    record.native = native;
    record.status = room.status as u16;
    record.count = room.count as u16;
    record.minor = room.minor;
    let length = FIXED + 16 * (room.count & abi::PYTHON_FRAMES as u32);
    crate::stack::send((&raw mut *record).cast(), length, place.wakes())
}
