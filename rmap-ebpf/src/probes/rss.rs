//! Counters of resident pages: raw tracepoint `kmem:rss_stat` (args: mm, member), any kernel that
//! has it raw (5.5 and later).
//!
//! Inside a fault it marks which counters moved, but not those that the thread moved because it had
//! to take memory back first: that may be its own, and is no work of the fault. The amounts are not
//! taken: they are sums over the whole address space and race between threads. Kernels before 6.2
//! tell less here, see [`crate::batch`]. Outside of any, somebody has access to memory with no
//! fault: [`access`].

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use super::access;
use crate::{
    arch::UserRegisters,
    batch, kernel,
    state::{THREADS, is_stranger},
};

/// `kmem:rss_stat`.
#[raw_tracepoint]
pub fn rss_stat(ctx: RawTracePointContext) -> i32 {
    let task = kernel::current();
    let mm: u64 = ctx.arg(0);
    let member: u32 = ctx.arg(1);
    // Asked once, so that the verifier sees them set on every way.
    let Some(registers) = UserRegisters::current() else { return 0 };
    if !is_stranger(task)
        && let Some(mut thread) = THREADS.get(task)
    {
        // SAFETY: only programs that run in this very thread use its value, and it lives as long.
        let bracket = unsafe { &mut thread.as_mut().bracket };
        if bracket.mm == mm && bracket.under_way(registers.syscall()) {
            if !kernel::reclaims(task) && !batch::flushes() {
                bracket.members |= 1 << (member & 31);
            }
            return 0;
        }
    }
    if !kernel::reclaims(task) {
        access::moved(task, registers, mm, member);
    }
    0
}
