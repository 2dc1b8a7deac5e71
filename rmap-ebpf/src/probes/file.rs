//! Pages of files that traced processes map: raw tracepoints `writeback:writeback_dirty_folio`
//! (args: folio, mapping), where a clean folio becomes dirty, and
//! `filemap:mm_filemap_delete_from_page_cache` (folio), where one leaves the page cache (truncation,
//! reclaim). Whoever does it is told: a traced thread with its stack, or a stranger.
//!
//! Dirtying is told once for each folio and each writeback, so a write to a page that is dirty
//! already has no event.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext,
};
use rmap_ebpf::abi::{self, FileRecord};

use crate::{
    arch::UserRegisters,
    config, emit,
    kernel::{self, File},
    stack,
    state::{MAPPED, Place, THREADS, target},
};

/// Offset of `rb_right`, behind which `rb_left` lies (kernel `include/linux/rbtree_types.h`).
const CHILDREN: u64 = 8;

/// `writeback:writeback_dirty_folio`.
#[raw_tracepoint]
pub fn folio_dirtied(ctx: RawTracePointContext) -> i32 {
    tell(ctx.arg(0), ctx.arg(1), 0, Place::Dirtied)
}

/// `filemap:mm_filemap_delete_from_page_cache`.
#[raw_tracepoint]
pub fn folio_removed(ctx: RawTracePointContext) -> i32 {
    let folio: u64 = ctx.arg(0);
    let mapping: u64 = kernel::read(folio, config::FOLIO_MAPPING.load()).unwrap_or(0);
    tell(folio, mapping, abi::FILE_GONE, Place::Removed)
}

#[inline(always)]
fn tell(folio: u64, mapping: u64, mut flags: u16, place: Place) -> i32 {
    // Most files are mapped by nobody.
    let root: u64 = kernel::read(mapping, config::MAPPING_MMAP.load()).unwrap_or(0);
    if root == 0 {
        return 0;
    }
    let inode: u64 = kernel::read(mapping, config::MAPPING_HOST.load()).unwrap_or(0);
    let Some(file) = File::of_inode(inode) else { return 0 };
    // SAFETY: only whether it is there matters.
    if unsafe { MAPPED.get(&file) }.is_none() {
        return 0;
    }
    let slot = target((bpf_get_current_pid_tgid() >> 32) as u32);
    let mm = kernel::mm_of(kernel::current() as u64);
    let Some(registers) = UserRegisters::current() else { return 0 };
    // A thread of the kernel has none of its own. Kept apart from them, so that the verifier sees
    // them set on every way.
    let syscall = if mm == 0 { -1 } else { registers.syscall() };
    let mut hash = 0;
    if let Some(slot) = slot {
        if flags == 0 && writes_by_fault(mm, syscall) {
            // The fault's own record tells it; others who map the file must know of it.
            let children: [u64; 2] = kernel::read(root, CHILDREN).unwrap_or([1, 1]);
            if children[0] | children[1] == 0 {
                return 0;
            }
            flags |= abi::FILE_FAULT;
        } else if mm != 0 {
            hash = stack::capture(registers, mm, slot, place);
        }
    } else {
        flags |= abi::FILE_STRANGER;
    }
    let record = FileRecord {
        header: emit::header(abi::KIND_FILE, flags, mm),
        inode: file.inode,
        index: kernel::read(folio, config::FOLIO_INDEX.load()).unwrap_or(0),
        stack: hash,
        syscall,
        device: file.device as u32,
        pages: pages(folio),
    };
    emit::send(&record, mm);
    0
}

/// Whether the thread is in a fault that writes.
#[inline(always)]
fn writes_by_fault(mm: u64, syscall: i64) -> bool {
    let Some(thread) = THREADS.get(kernel::current()) else { return false };
    // SAFETY: only programs that run in this very thread use its value, and it lives as long.
    let bracket = unsafe { &thread.as_ref().bracket };
    bracket.mm == mm && bracket.error_code & abi::ERROR_WRITE != 0 && bracket.under_way(syscall)
}

/// How many pages a folio has.
#[inline(always)]
fn pages(folio: u64) -> u32 {
    let flags: u64 = kernel::read(folio, 0).unwrap_or(0);
    if config::FOLIO_PAGES.load() == 0 || flags & (1 << config::FOLIO_HEAD.load()) == 0 {
        return 1;
    }
    kernel::read(folio, config::FOLIO_PAGES.load()).unwrap_or(1)
}
