//! Counters of resident pages: raw tracepoint `kmem:rss_stat` (args: mm, member), any kernel that
//! has it raw (5.5 and later).
//!
//! Inside a fault it marks which counters moved. The amounts are not taken: they are sums over
//! the whole address space and race between threads. Kernels before 6.2 tell less here, see
//! [`crate::batch`].

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext,
};

use crate::{
    batch,
    state::{Bracket, THREADS},
};

/// `kmem:rss_stat`.
#[raw_tracepoint]
pub fn rss_stat(ctx: RawTracePointContext) -> i32 {
    let tid = bpf_get_current_pid_tgid() as u32;
    let Some(bracket) = THREADS.get_ptr_mut(&tid) else { return 0 };
    // SAFETY: only programs that run in this very thread write its entry, and the entry is
    // removed only at the thread's own exit.
    let bracket = unsafe { &mut *bracket };
    let mm: u64 = ctx.arg(0);
    if bracket.flags & Bracket::OPEN != 0 && bracket.mm == mm && !batch::flushes() {
        let member: u32 = ctx.arg(1);
        bracket.members |= 1 << (member & 31);
    }
    0
}
