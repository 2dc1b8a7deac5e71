//! Finds out where the kernel maps physical memory: run by user space itself
//! (`BPF_PROG_TEST_RUN` of a raw tracepoint program), attached to nothing.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};

use crate::{
    arch::page_table::{self, Leaf},
    kernel,
    state::Late,
};

/// The answer of the last run: the caller's top table's address, and the entry that was found.
#[map]
pub static ANSWER: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// Args: a candidate for `page_offset_base`, levels, an address of the caller's. The answer's
/// entry is 0 where the walk with this candidate ends in nothing.
#[raw_tracepoint]
pub fn calibrate(ctx: RawTracePointContext) -> i32 {
    let Some(answer) = ANSWER.get_ptr_mut(0) else { return 0 };
    let late = Late { page_offset: ctx.arg(0), levels: ctx.arg(1) };
    let address: u64 = ctx.arg(2);
    let top = kernel::top_table(kernel::current());
    let entry = match page_table::leaf(&late, top, address) {
        Some(Leaf::Table(table)) => page_table::entry(table, address).unwrap_or(0),
        _ => 0,
    };
    // SAFETY: the map's only slot, and only this program writes it.
    unsafe { *answer = [top, entry] };
    0
}
