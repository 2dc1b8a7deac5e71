//! What must not be missed, on kernels that put programs aside (since Linux 7.0): it is told in parts.
//!
//! While a program that was put aside is not done, the kernel leaves the same program out for
//! everybody on that CPU (`__bpf_trace_run`, `bpf_prog_run_array_sleepable`): a whole time slice of
//! another thread, or several. A walk takes long enough for that to happen. So one program walks the
//! stack and keeps its name with the thread, and a short one behind it tells what happened; of each
//! there are two or three, and the next one works where those before it were left out. If none walked,
//! the stack goes to user space as registers and memory; if none told, the next walk of the thread
//! finds the stack that nobody took, and the event is counted as lost. On other kernels there is the
//! one program that tells, and it walks. Forks, execs and ends of threads are told here; mapping calls,
//! which are more, and which are known at both ends, have more than that: [`crate::noted`].
//!
//! Whoever wakes user space is likely to be put aside for it at once. So the programs of mapping calls
//! wake nobody, and the last one, of which nobody misses anything, does it for all of them.
//!
//! A tracepoint runs what was attached first first (kernel `func_add`, `bpf_prog_array_copy`).

use aya_ebpf::bindings::task_struct;
use rmap_ebpf::{abi, logic::hash};

use crate::{
    arch::UserRegisters,
    config, emit, kernel, loss, stack,
    state::{Place, THREADS},
};

/// Which of several equal programs runs. All but the first one are attached only where programs are
/// preempted.
#[derive(Clone, Copy)]
pub enum Turn {
    /// The one that runs first.
    First,
    /// The one that runs last.
    Last,
}

/// Whether one before has told what `task`, the current one, is doing. `what` tells it from what the
/// thread did before, where the last one may have been left out; not 0.
#[inline(always)]
pub fn is_told(turn: Turn, task: *mut task_struct, what: impl FnOnce() -> u64) -> bool {
    if config::PREEMPTED.load() == 0 {
        return false;
    }
    let Some(mut thread) = THREADS.get_or_make(task) else { return false };
    // SAFETY: only programs that run in this very thread use its value, and it lives as long.
    let told = unsafe { &mut thread.as_mut().told };
    let what = what();
    let was = *told == what && !matches!(turn, Turn::First);
    *told = if matches!(turn, Turn::Last) { 0 } else { what };
    was
}

/// Walks the stack and keeps its name for whoever tells of it.
#[inline(always)]
pub fn keep_stack(turn: Turn, slot: u32, place: Place) {
    let task = kernel::current();
    let Some(registers) = UserRegisters::current() else { return };
    let Some(mut thread) = THREADS.get_or_make(task) else { return };
    // SAFETY: as above.
    let thread = unsafe { thread.as_mut() };
    let kept = &mut thread.kept;
    let mark = mark(registers);
    let mm = kernel::mm(task);
    match turn {
        Turn::Last if kept.mark == mark => return,
        _ if kept.mark != 0 => {
            loss::space(mm, 1);
            emit::count(abi::COUNT_LOST_EVENTS, 1);
        }
        _ => {}
    }
    kept.hash = stack::capture(registers, mm, slot, place);
    kept.mark = mark;
}

/// Nobody tells of what the stack was kept for.
#[inline(always)]
pub fn forget_stack() {
    if config::PREEMPTED.load() != 0
        && let Some(mut thread) = THREADS.get(kernel::current())
    {
        // SAFETY: as above.
        unsafe { thread.as_mut().kept.mark = 0 };
    }
}

/// The name of the stack: walked now in `walked` if programs are not preempted, else kept, or sent now
/// in `place`.
#[inline(always)]
pub fn stack(registers: UserRegisters, mm: u64, slot: u32, walked: Place, place: Place) -> u64 {
    if config::PREEMPTED.load() == 0 {
        return stack::capture(registers, mm, slot, walked);
    }
    if let Some(mut thread) = THREADS.get(kernel::current()) {
        // SAFETY: as above.
        let kept = unsafe { &mut thread.as_mut().kept };
        if kept.mark == mark(registers) {
            kept.mark = 0;
            return kept.hash;
        }
    }
    stack::send_raw(registers, mm, place)
}

/// Where a thread is in a system call; never 0.
#[inline(always)]
fn mark(registers: UserRegisters) -> u64 {
    let place = hash::add(hash::add(hash::START, registers.ip()), registers.sp());
    hash::add(place, registers.syscall() as u64) | 1
}
