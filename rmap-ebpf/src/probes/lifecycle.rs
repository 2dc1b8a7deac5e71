//! Processes: raw tracepoints `sched:sched_process_fork` (args: parent, child), `_exec` (task,
//! old pid, bprm) and `_exit` (task).

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use rmap_ebpf::abi::{self, ExecRecord, ExitRecord, ForkRecord};

use crate::{
    arch::UserRegisters,
    batch, config, emit, kernel, noted,
    parted::{self, Turn},
    state::{Place, SPACES, TARGETS, THREADS, target},
};

/// `sched:sched_process_fork`: in the parent, before the child runs.
#[raw_tracepoint]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    forked(&ctx, Turn::First, Place::ToldFork)
}

/// The same, if the first was left out.
#[raw_tracepoint]
pub fn process_fork_again(ctx: RawTracePointContext) -> i32 {
    forked(&ctx, Turn::Last, Place::ToldForkAgain)
}

/// The stack of it, before them.
#[raw_tracepoint]
pub fn fork_stack(_ctx: RawTracePointContext) -> i32 {
    keep_stack(Turn::First, Place::Fork)
}

/// The same, if the first was left out.
#[raw_tracepoint]
pub fn fork_stack_again(_ctx: RawTracePointContext) -> i32 {
    keep_stack(Turn::Last, Place::ForkAgain)
}

#[inline(always)]
fn keep_stack(turn: Turn, place: Place) -> i32 {
    if let Some(slot) = target((bpf_get_current_pid_tgid() >> 32) as u32) {
        parted::keep_stack(turn, slot, place);
    }
    0
}

#[inline(always)]
fn forked(ctx: &RawTracePointContext, turn: Turn, place: Place) -> i32 {
    let parent_pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(slot) = target(parent_pid) else { return 0 };
    let parent: u64 = ctx.arg(0);
    let child: u64 = ctx.arg(1);
    let (Some(child_pid), Some(child_tid)) = (
        kernel::read::<u32>(child, config::TASK_TGID.load()),
        kernel::read::<u32>(child, config::TASK_PID.load()),
    ) else {
        parted::forget_stack();
        return 0;
    };
    let thread = child_pid == parent_pid;
    if !thread && config::FOLLOW.load() == 0 {
        parted::forget_stack();
        return 0;
    }
    if parted::is_told(turn, kernel::current(), || u64::from(child_tid) << 1 | 1) {
        return 0;
    }
    noted::catch_up_current();
    let mm = kernel::mm_of(parent);
    let child_mm = kernel::mm_of(child);
    let mut flags = 0;
    if thread {
        flags |= abi::FORK_THREAD;
    } else if TARGETS.insert(&child_pid, &slot, 0).is_err() {
        emit::count(abi::COUNT_LOST_EVENTS, 1);
    }
    if child_mm == mm {
        flags |= abi::FORK_SAME_MM;
    } else {
        let _ = SPACES.insert(&child_mm, &child_pid, 0);
    }
    // No closure: a function of its own between this one and the walk needs too large a stack.
    let hash = match UserRegisters::current() {
        Some(registers) => parted::stack(registers, mm, slot, Place::Fork, place),
        None => 0,
    };
    let record = ForkRecord {
        header: emit::header(abi::KIND_FORK, flags, mm),
        child_pid,
        child_tid,
        child_mm,
        stack: hash,
    };
    emit::send(&record, mm);
    debug!(ctx, "fork: {} made {} (thread {})", parent_pid, child_pid, child_tid);
    0
}

/// `sched:sched_process_exec`: in the task, with its new address space.
#[raw_tracepoint]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    executed(&ctx, Turn::First)
}

/// The same, if the first was left out.
#[raw_tracepoint]
pub fn process_exec_again(ctx: RawTracePointContext) -> i32 {
    executed(&ctx, Turn::Last)
}

#[inline(always)]
fn executed(ctx: &RawTracePointContext, turn: Turn) -> i32 {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let task: u64 = ctx.arg(0);
    let mm = kernel::mm_of(task);
    if target(pid).is_none() || parted::is_told(turn, kernel::current(), || mm) {
        return 0;
    }
    noted::catch_up_current();
    let _ = SPACES.insert(&mm, &pid, 0);
    let record = ExecRecord {
        header: emit::header(abi::KIND_EXEC, 0, mm),
        old_tid: ctx.arg(1),
        reserved: 0,
    };
    emit::send(&record, mm);
    debug!(ctx, "exec: {}", pid);
    0
}

/// `sched:sched_process_exit`: in the task, before it gives up its address space.
#[raw_tracepoint]
pub fn process_exit(ctx: RawTracePointContext) -> i32 {
    exited(&ctx, Turn::First)
}

/// The same, if the first was left out.
#[raw_tracepoint]
pub fn process_exit_again(ctx: RawTracePointContext) -> i32 {
    exited(&ctx, Turn::Last)
}

#[inline(always)]
fn exited(ctx: &RawTracePointContext, turn: Turn) -> i32 {
    let id = bpf_get_current_pid_tgid();
    let (pid, tid) = ((id >> 32) as u32, id as u32);
    // Of the last thread the first one has taken the process out of the table.
    if target(pid).is_none() || parted::is_told(turn, kernel::current(), || 1) {
        return 0;
    }
    noted::catch_up_current();
    let task: u64 = ctx.arg(0);
    // The last thread has taken itself off `signal->live` by now (kernel `do_exit`). The second
    // argument says the same, but only since 6.16.
    let signal: u64 = kernel::read(task, config::TASK_SIGNAL.load()).unwrap_or(0);
    let live: i32 = kernel::read(signal, config::SIGNAL_LIVE.load()).unwrap_or(1);
    let flags = if live == 0 { abi::EXIT_GROUP_DEAD } else { 0 };
    let mm = kernel::mm_of(task);
    let record = ExitRecord {
        header: emit::header(abi::KIND_EXIT, flags, mm),
        code: kernel::read(task, config::TASK_EXIT_CODE.load()).unwrap_or(0),
        reserved: 0,
    };
    emit::send(&record, mm);
    if let Some(mut thread) = THREADS.get(kernel::current()) {
        // SAFETY: only programs that run in this very thread use its value, and it lives as long.
        unsafe { thread.as_mut().epoch = 0 };
    }
    batch::forget(tid);
    if live == 0 {
        let _ = TARGETS.remove(&pid);
        // A vfork child ends in its parent's.
        // SAFETY: the value is copied at once.
        if unsafe { SPACES.get(&mm) }.copied() == Some(pid) {
            let _ = SPACES.remove(&mm);
        }
    }
    debug!(ctx, "exit: {} (thread {})", pid, tid);
    0
}
