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
    emit,
    kernel::{self, File},
    stack,
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
    tell(abi::MAP_ENTRY, 0)
}

/// `syscalls:sys_exit_*`.
#[tracepoint]
pub fn map_exit(ctx: TracePointContext) -> u32 {
    // SAFETY: the verifier checks the offset against what the tracepoint's record may hold.
    let result = unsafe { *ctx.as_ptr().cast::<u8>().add(RESULT).cast::<i64>() };
    tell(0, result)
}

#[inline(always)]
fn tell(flags: u16, result: i64) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let Some(slot) = target((id >> 32) as u32) else { return 0 };
    access::forget(id as u32);
    let Some(registers) = UserRegisters::current() else { return 0 };
    let mm = kernel::mm_of(kernel::current() as u64);
    let hash = stack::capture(registers, mm, slot, Place::Classic);
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
    emit::send(&record, mm);
    0
}
