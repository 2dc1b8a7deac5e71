//! Counters of resident pages: raw tracepoint `kmem:rss_stat` (args: mm, member), any kernel that
//! has it raw (5.5 and later).
//!
//! Inside a fault it marks which counters moved. The amounts are not taken: they are sums over
//! the whole address space and race between threads. Kernels before 6.2 tell less here, see
//! [`crate::batch`]. Outside of any, somebody has access to memory with no fault: [`access`].

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use super::access;
use crate::{
    batch, kernel,
    state::{Bracket, THREADS},
};

/// `kmem:rss_stat`.
#[raw_tracepoint]
pub fn rss_stat(ctx: RawTracePointContext) -> i32 {
    let task = kernel::current();
    let mm: u64 = ctx.arg(0);
    let member: u32 = ctx.arg(1);
    if let Some(mut thread) = THREADS.get(task) {
        // SAFETY: only programs that run in this very thread use its value, and it lives as long.
        let bracket = unsafe { &mut thread.as_mut().bracket };
        if bracket.flags & Bracket::OPEN != 0 && bracket.mm == mm {
            if !batch::flushes() {
                bracket.members |= 1 << (member & 31);
            }
            return 0;
        }
    }
    access::moved(task, mm, member);
    0
}
