//! The allocator's shim (`rmap-malloc/shim.c`): a uprobe at the function that it calls for what it
//! picked.
//!
//! Comes in: the function's four arguments. Goes out: a record of them, with the caller's stack where an
//! allocation was picked. A program of a uprobe may be preempted, and another thread's may run in its
//! middle on the same CPU: then the later one sends its record without a stack, which is counted as
//! lost.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{map, uprobe},
    maps::PerCpuArray,
    programs::ProbeContext,
};
use rmap_ebpf::abi::{self, MallocRecord};

use crate::{
    arch::UserRegisters,
    emit, kernel, stack,
    state::{Place, target},
};

/// The process and thread whose stack this CPU walks for its shim; 0: none.
#[map]
static MALLOC_WALKER: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `rmap_malloc_report(what, address, size, mean)`.
#[uprobe]
pub fn malloc_report(ctx: ProbeContext) -> u32 {
    let id = bpf_get_current_pid_tgid();
    let Some(slot) = target((id >> 32) as u32) else { return 0 };
    let (Some(what), Some(address), Some(size), Some(mean)) =
        (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2), ctx.arg::<u64>(3))
    else {
        return 0;
    };
    let mm = kernel::mm(kernel::current());
    let stack = if what == abi::MALLOC_PICKED { walk(id, mm, slot) } else { 0 };
    let record = MallocRecord {
        header: emit::header(abi::KIND_MALLOC, 0, mm),
        what,
        address,
        size,
        mean,
        stack,
    };
    if !emit::put_or_spill(&record) {
        emit::count(abi::COUNT_LOST_MALLOC, 1);
    }
    0
}

/// The hash of the thread's stack; 0, and counted, where it cannot be walked now.
#[inline(always)]
pub(super) fn walk(id: u64, mm: u64, slot: u32) -> u64 {
    if let (Some(walker), Some(registers)) = (MALLOC_WALKER.get_ptr_mut(0), UserRegisters::current())
        // SAFETY: this CPU's own slot.
        && unsafe { walker.read_volatile() } == 0
    {
        // SAFETY: as above. Whoever comes in the middle finds it taken.
        unsafe { walker.write_volatile(id) };
        let hash = stack::capture(registers, mm, slot, Place::Malloc);
        // SAFETY: as above.
        unsafe { walker.write_volatile(0) };
        return hash;
    }
    emit::count(abi::COUNT_LOST_STACKS, 1);
    0
}
