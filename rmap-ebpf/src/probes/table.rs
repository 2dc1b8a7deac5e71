//! Reads one last table of page-table entries for user space, which runs this itself
//! (`BPF_PROG_TEST_RUN` of a raw tracepoint program) while the process stands still: which pages
//! are dirty by its own writes no file of `/proc` tells.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use rmap_ebpf::abi::{TABLE_ENTRIES, TABLE_HUGE, TABLE_NONE, TABLE_SMALL};

use crate::{
    arch::page_table::{self, Leaf},
    config, kernel,
};

/// The entries of the table that was read last; the first one alone where it is a huge page's.
#[map]
pub static TABLE: Array<[u64; TABLE_ENTRIES]> = Array::with_max_entries(1, 0);

/// One of the `TABLE_` constants: what [`TABLE`] holds.
#[map]
pub static TABLE_KIND: Array<u64> = Array::with_max_entries(1, 0);

/// Args: an address space, an address in the 2 MiB that one table maps.
#[raw_tracepoint]
pub fn read_table(ctx: RawTracePointContext) -> i32 {
    let (Some(table), Some(kind)) = (TABLE.get_ptr_mut(0), TABLE_KIND.get_ptr_mut(0)) else {
        return 0;
    };
    let mm: u64 = ctx.arg(0);
    let leaf = match (page_table::late(), kernel::read(mm, config::MM_PGD.load())) {
        (Some(late), Some(top)) => page_table::leaf(late, top, ctx.arg(1)),
        _ => None,
    };
    let found = match leaf {
        Some(Leaf::Huge(entry)) => {
            // SAFETY: the map's only slot, and only this program writes it.
            unsafe { (*table)[0] = entry };
            TABLE_HUGE
        }
        Some(Leaf::Table(from)) => {
            // SAFETY: the slot is as long as is said; the helper checks the source.
            let read = unsafe {
                bpf_probe_read_kernel(
                    table.cast(),
                    size_of::<[u64; TABLE_ENTRIES]>() as u32,
                    from as *const c_void,
                )
            };
            if read == 0 { TABLE_SMALL } else { TABLE_NONE }
        }
        None => TABLE_NONE,
    };
    // SAFETY: the map's only slot, and only this program writes it.
    unsafe { *kind = found };
    0
}
