//! System calls that change mappings: `syscalls:sys_enter_*` and `sys_exit_*` of each of them,
//! which cost the others far less than the raw tracepoints of all system calls. One program for
//! either end; the call's number and arguments are in the saved registers.

use aya_ebpf::{
    EbpfContext, helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext,
};
use rmap_ebpf::abi::{self, MapRecord};

use super::access;
use crate::{
    arch::{UserRegisters, call},
    config, emit,
    kernel::{self, File},
    noted::{self, End, Rank},
    stack,
    state::{MAPPED, Place, target},
};

/// `MAP_ANONYMOUS`.
const ANONYMOUS: u64 = 0x20;

/// Offset of the result in the record of a `sys_exit_*` tracepoint (`struct
/// syscall_trace_exit`, kernel `kernel/trace/trace.h`), bytes.
const RESULT: usize = 16;

/// The beginning of a call.
const AT_ENTRY: End = End { flags: abi::MAP_ENTRY, result: 0 };

/// `syscalls:sys_enter_*`.
#[tracepoint]
pub fn map_enter(_ctx: TracePointContext) -> u32 {
    tell(AT_ENTRY, Rank::Middle, Place::Enter)
}

/// The same, if the first was left out.
#[tracepoint]
pub fn map_enter_again(_ctx: TracePointContext) -> u32 {
    tell(AT_ENTRY, Rank::Middle, Place::EnterAgain)
}

/// The same, if both were left out.
#[tracepoint]
pub fn map_enter_last(_ctx: TracePointContext) -> u32 {
    tell(AT_ENTRY, Rank::Last, Place::EnterLast)
}

/// `syscalls:sys_exit_*`.
#[tracepoint]
pub fn map_exit(ctx: TracePointContext) -> u32 {
    tell(at_exit(&ctx), Rank::Middle, Place::Exit)
}

/// The same, if the first was left out.
#[tracepoint]
pub fn map_exit_again(ctx: TracePointContext) -> u32 {
    tell(at_exit(&ctx), Rank::Middle, Place::ExitAgain)
}

/// The same, if both were left out.
#[tracepoint]
pub fn map_exit_last(ctx: TracePointContext) -> u32 {
    tell(at_exit(&ctx), Rank::Last, Place::ExitLast)
}

/// The stack of either, before them.
#[tracepoint]
pub fn call_stack(_ctx: TracePointContext) -> u32 {
    walk(Rank::First, Place::Call)
}

/// The same, if the first was left out.
#[tracepoint]
pub fn call_stack_again(_ctx: TracePointContext) -> u32 {
    walk(Rank::Middle, Place::CallAgain)
}

/// Behind them: wakes user space.
#[tracepoint]
pub fn call_wake(_ctx: TracePointContext) -> u32 {
    if target((bpf_get_current_pid_tgid() >> 32) as u32).is_some() {
        noted::wake();
    }
    0
}

#[inline(always)]
fn walk(rank: Rank, place: Place) -> u32 {
    if let Some(slot) = target((bpf_get_current_pid_tgid() >> 32) as u32)
        && UserRegisters::current().is_some_and(|registers| !went_well(registers))
    {
        noted::walk(rank, slot, place, describe);
    }
    0
}

/// Whether the current thread is at the end of a call that is reported at its beginning, and that
/// has done what was asked: only failures are reported then.
#[inline(always)]
fn went_well(registers: UserRegisters) -> bool {
    call::is_reported_at_entry(registers.syscall()) && registers.returned() >= 0
}

#[inline(always)]
fn at_exit(ctx: &TracePointContext) -> End {
    // SAFETY: the verifier checks the offset against what the tracepoint's record may hold.
    End { flags: 0, result: unsafe { *ctx.as_ptr().cast::<u8>().add(RESULT).cast::<i64>() } }
}

#[inline(always)]
fn tell(end: End, rank: Rank, place: Place) -> u32 {
    let Some(slot) = target((bpf_get_current_pid_tgid() >> 32) as u32) else { return 0 };
    let Some(registers) = UserRegisters::current() else { return 0 };
    if end.flags & abi::MAP_ENTRY == 0 && went_well(registers) {
        return 0;
    }
    if config::PREEMPTED.load() != 0 {
        noted::tell(rank, end, place, describe);
        return 0;
    }
    let mm = kernel::mm_of(kernel::current() as u64);
    let mut record = MapRecord {
        stack: stack::capture(registers, mm, slot, Place::Classic),
        header: emit::header(abi::KIND_MAP, end.flags, mm),
        result: end.result,
        ..MapRecord::default()
    };
    describe(&mut record);
    emit::send(&record, mm);
    0
}

/// Fills in what the call says of itself, and takes note of a file that it maps.
#[inline(always)]
fn describe(record: &mut MapRecord) {
    access::forget(bpf_get_current_pid_tgid() as u32);
    let Some(registers) = UserRegisters::current() else { return };
    record.syscall = registers.syscall();
    record.args = registers.arguments();
    record.inode = 0;
    record.device = 0;
    record.reserved = 0;
    if record.syscall == call::MMAP
        && record.args[3] & ANONYMOUS == 0
        && let Some(file) = File::of_descriptor(record.args[4] as u32)
    {
        let _ = MAPPED.insert(&file, &1, 0);
        record.inode = file.inode;
        record.device = file.device as u32;
    }
}
