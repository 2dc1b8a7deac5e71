//! Threads that are about to trace others, or to be traced by others: `syscalls:sys_enter_ptrace`
//! and `sys_enter_clone`.
//!
//! A thread has one tracer at most. Where rmap's tracer has it, the call would fail. So the thread
//! is stopped for rmap's tracer ([`hold`]) when the call returns; that lets go of whoever is asked
//! for, and has the call repeated (`rmap-user/src/live/ptrace/yielding.rs`).

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::tracepoint, programs::TracePointContext,
};

use crate::{
    arch::{UserRegisters, call},
    hold,
    state::target,
};

/// Requests that make a tracer (kernel `include/uapi/linux/ptrace.h`).
const TRACEME: u64 = 0;
const ATTACH: u64 = 16;
const SEIZE: u64 = 0x4206;

/// `CLONE_UNTRACED`: leak sanitizers and crash reporters make the process so that is to trace them.
const UNTRACED: u64 = 0x80_0000;

/// `syscalls:sys_enter_ptrace`, `sys_enter_clone`.
#[tracepoint]
pub fn tracing_enter(_ctx: TracePointContext) -> u32 {
    ask()
}

/// The same, if the first was left out.
#[tracepoint]
pub fn tracing_enter_again(_ctx: TracePointContext) -> u32 {
    ask()
}

#[inline(always)]
fn ask() -> u32 {
    let Some(registers) = UserRegisters::current() else { return 0 };
    let [first, ..] = registers.arguments();
    let wanted = match registers.syscall() {
        call::PTRACE => matches!(first, TRACEME | ATTACH | SEIZE),
        call::CLONE => first & UNTRACED != 0,
        _ => false,
    };
    if wanted && target((bpf_get_current_pid_tgid() >> 32) as u32).is_some() {
        hold::stop();
    }
    0
}
