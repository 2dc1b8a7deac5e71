//! System calls that change mappings: `syscalls:sys_enter_*` and `sys_exit_*` of each of them,
//! which cost the others far less than the raw tracepoints of all system calls. One program for
//! either end; the call's number and arguments are in the saved registers.

use aya_ebpf::{
    EbpfContext, helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext,
};
use rmap_ebpf::{
    abi::{self, MapRecord},
    logic::hash,
};

use super::access;
use crate::{
    arch::{UserRegisters, call},
    emit,
    kernel::{self, File},
    parted::{self, Turn},
    state::{MAPPED, Place, target},
};

/// `MAP_ANONYMOUS`.
const ANONYMOUS: u64 = 0x20;

/// Offset of the result in the record of a `sys_exit_*` tracepoint (`struct
/// syscall_trace_exit`, kernel `kernel/trace/trace.h`), bytes.
const RESULT: usize = 16;

/// `syscalls:sys_enter_*`.
#[tracepoint]
pub fn map_enter(_ctx: TracePointContext) -> u32 {
    tell(abi::MAP_ENTRY, 0, Turn::First, Place::Enter)
}

/// The same, if the first was left out.
#[tracepoint]
pub fn map_enter_again(_ctx: TracePointContext) -> u32 {
    tell(abi::MAP_ENTRY, 0, Turn::Again, Place::EnterAgain)
}

/// The same, if both were left out.
#[tracepoint]
pub fn map_enter_last(_ctx: TracePointContext) -> u32 {
    tell(abi::MAP_ENTRY, 0, Turn::Last, Place::EnterLast)
}

/// `syscalls:sys_exit_*`.
#[tracepoint]
pub fn map_exit(ctx: TracePointContext) -> u32 {
    tell(0, result(&ctx), Turn::First, Place::Exit)
}

/// The same, if the first was left out.
#[tracepoint]
pub fn map_exit_again(ctx: TracePointContext) -> u32 {
    tell(0, result(&ctx), Turn::Again, Place::ExitAgain)
}

/// The same, if both were left out.
#[tracepoint]
pub fn map_exit_last(ctx: TracePointContext) -> u32 {
    tell(0, result(&ctx), Turn::Last, Place::ExitLast)
}

/// The stack of either, before them.
#[tracepoint]
pub fn call_stack(_ctx: TracePointContext) -> u32 {
    keep_stack(Turn::First, Place::Call)
}

/// The same, if the first was left out.
#[tracepoint]
pub fn call_stack_again(_ctx: TracePointContext) -> u32 {
    keep_stack(Turn::Last, Place::CallAgain)
}

/// Behind them: wakes user space.
#[tracepoint]
pub fn call_wake(_ctx: TracePointContext) -> u32 {
    if target((bpf_get_current_pid_tgid() >> 32) as u32).is_some() {
        parted::wake();
    }
    0
}

#[inline(always)]
fn keep_stack(turn: Turn, place: Place) -> u32 {
    if let Some(slot) = target((bpf_get_current_pid_tgid() >> 32) as u32) {
        parted::keep_stack(turn, slot, place);
    }
    0
}

#[inline(always)]
fn result(ctx: &TracePointContext) -> i64 {
    // SAFETY: the verifier checks the offset against what the tracepoint's record may hold.
    unsafe { *ctx.as_ptr().cast::<u8>().add(RESULT).cast::<i64>() }
}

#[inline(always)]
fn tell(flags: u16, result: i64, turn: Turn, place: Place) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let Some(slot) = target((id >> 32) as u32) else { return 0 };
    let Some(registers) = UserRegisters::current() else { return 0 };
    if parted::is_told(turn, kernel::current(), || name(registers, flags, result)) {
        return 0;
    }
    access::forget(id as u32);
    let mm = kernel::mm_of(kernel::current() as u64);
    let hash = parted::stack(registers, mm, slot, Place::Classic, place);
    let (syscall, args) = (registers.syscall(), registers.arguments());
    let mut file = File { device: 0, inode: 0 };
    if syscall == call::MMAP
        && args[3] & ANONYMOUS == 0
        && let Some(mapped) = File::of_descriptor(args[4] as u32)
    {
        let _ = MAPPED.insert(&mapped, &1, 0);
        file = mapped;
    }
    let record = MapRecord {
        header: emit::header(abi::KIND_MAP, flags, mm),
        syscall,
        result,
        args,
        stack: hash,
        inode: file.inode,
        device: file.device as u32,
        reserved: 0,
    };
    parted::send(&record, mm);
    0
}

/// What tells a call, or its end, from the one before; not 0.
#[inline(always)]
fn name(registers: UserRegisters, flags: u16, result: i64) -> u64 {
    let mut sum = hash::add(hash::START, registers.syscall() as u64 ^ u64::from(flags) << 32);
    sum = hash::add(sum, result as u64);
    for argument in registers.arguments() {
        sum = hash::add(sum, argument);
    }
    sum | 1
}
