//! Stops the current thread for rmap's tracer, by a SIGSTOP of the kernel's (`SI_KERNEL`) that is
//! never delivered: the tracer takes it, and finds in the registers what it is for
//! (`rmap-user/src/live/ptrace/yielding.rs`).

use aya_ebpf::helpers::generated as helpers;

use crate::{config, kernel, state::HOLDS};

/// `SIGSTOP`, the one that no thread blocks.
const STOP: u32 = 19;

/// Stops the current thread when it returns to user mode, if rmap's tracer has it: nobody else knows
/// what the signal means. Rmap switches it off before it lets go.
#[inline(always)]
pub fn stop() {
    if HOLDS.get(0).is_some_and(|holds| *holds != 0) && is_rmaps(kernel::current() as u64) {
        // SAFETY: the helper takes a number. A signal that is pending already is none more.
        unsafe { helpers::bpf_send_signal_thread(STOP) };
    }
}

#[inline(always)]
fn is_rmaps(task: u64) -> bool {
    let traced: u32 = kernel::read(task, config::TASK_PTRACE.load()).unwrap_or(0);
    let parent: u64 = kernel::read(task, config::TASK_PARENT.load()).unwrap_or(0);
    let tracer: u32 = kernel::read(parent, config::TASK_TGID.load()).unwrap_or(0);
    traced != 0 && u64::from(tracer) == config::TRACER.load()
}
