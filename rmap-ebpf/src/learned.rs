//! Code that a process has mapped or made a moment ago, before user space has read its mappings.
//!
//! Comes in: an address at which a walk ended, since no mapping of [`crate::state::MAPPINGS`] has it.
//! Goes out: a mapping for the walks of that process, where the kernel's own mapping at that address is
//! executable and either of no file or of one whose table is known, by its file system, inode and time
//! of change. User space reads it too, some milliseconds later, and gives the process other
//! [`abi::Mappings`] with nothing learned.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::generated::bpf_find_vma,
    macros::map,
    maps::{Array, HashMap},
};
use rmap_ebpf::{
    abi::{self, FileTable, Learned, Mapping},
    logic::learned,
};

use crate::{
    config,
    kernel::{self, File},
};

/// Beside each of the `MAPPINGS`, what was learned of the processes that share it since it was set.
#[map]
pub static LEARNED: Array<[Learned; abi::LEARNED]> = Array::with_max_entries(abi::MAPPING_SLOTS, 0);

/// Where the tables of files lie. Who reads one while it is replaced has the old one.
#[map]
static FILE_TABLES: HashMap<File, FileTable> =
    HashMap::with_max_entries(abi::FILE_TABLES, BPF_F_NO_PREALLOC);

/// `VM_EXEC` (kernel `include/linux/mm.h`).
const EXEC: u64 = 4;
/// Which bits of a time's nanoseconds are that: the kernel keeps a flag above them
/// (`I_CTIME_QUERIED`).
const NANOSECONDS: u64 = (1 << 30) - 1;
/// log2 of a page.
const PAGE_SHIFT: u32 = 12;

/// Looks which code lies at `address`; `slot` is the process's value in `TARGETS`. Whether walks find it
/// from now on. The kernel refuses where somebody changes the process's mappings just now. A function of
/// its own, and `found` lies in a map: the stack of all callers together is limited.
#[inline(never)]
pub fn learn(slot: u32, address: u64, found: *mut Found) -> bool {
    if config::VMA_FLAGS.load() == 0 {
        return false;
    }
    // SAFETY: this CPU's own slot, and this place's.
    unsafe { (&raw mut (*found).executable).write_volatile(0) };
    let look: unsafe extern "C" fn(u64, u64, *mut *mut Found) -> i64 = look;
    let mut to = found;
    let to = (&raw mut to).cast();
    // SAFETY: the callback has the helper's signature, and what it is given lives through the call.
    unsafe { bpf_find_vma(kernel::current(), address, look as *mut c_void, to, 0) };
    // SAFETY: as above; the callback has written it.
    let found = unsafe { &*found };
    if found.executable == 0 {
        return false;
    }
    let mapping = if found.file == 0 {
        // The kernel's own: the vDSO, which has a table, and the page of uprobes.
        if found.is_special != 0 {
            return false;
        }
        learned::made(found.start, found.end)
    } else {
        let Some(table) = table_of(found.file) else { return false };
        learned::of_file(table, found.start, found.end, found.offset)
    };
    if address < mapping.start || address >= mapping.end {
        return false;
    }
    keep(slot, mapping)
}

/// Keeps a mapping for the walks that follow.
#[inline(always)]
fn keep(slot: u32, mapping: Mapping) -> bool {
    let Some(all) = LEARNED.get_ptr_mut(slot) else { return false };
    // A number: with a pointer that the verifier knows nothing may be computed.
    let mm = kernel::mm_of(kernel::current() as u64);
    // SAFETY: the map keeps its values in place, and the place lies inside. Another CPU may write the
    // same place: the check sum shows it.
    unsafe {
        let place = learned::place(&*all, mm, mapping.start);
        let place = (*all).as_mut_ptr().add(place);
        place.write_volatile(Learned { mapping, check: learned::check(&mapping, mm) });
    }
    true
}

/// The table of an open file, if it is as it was when the table was made.
#[inline(always)]
fn table_of(file: u64) -> Option<&'static FileTable> {
    let inode: u64 = kernel::read(file, config::FILE_INODE.load())?;
    let of = File::of_inode(inode)?;
    // SAFETY: a value stays as it is until programs that have it have ended.
    let table = unsafe { FILE_TABLES.get(&of) }?;
    let seconds: u64 = kernel::read(inode, config::INODE_CHANGED.load())?;
    let nanoseconds: u32 = kernel::read(inode, config::INODE_CHANGED_NS.load())?;
    let changed = (seconds, u64::from(nanoseconds) & NANOSECONDS);
    (changed == (table.changed_s, table.changed_ns)).then_some(table)
}

/// A mapping as the kernel has it.
#[repr(C)]
pub struct Found {
    start: u64,
    end: u64,
    /// In the file, bytes.
    offset: u64,
    /// 0: none.
    file: u64,
    executable: u64,
    /// Not 0: it has operations, so without a file it is the kernel's own.
    is_special: u64,
}

/// Reads a mapping. Returns 0, as the kernel wants it.
unsafe extern "C" fn look(_task: u64, mapping: u64, found: *mut *mut Found) -> i64 {
    // SAFETY: the helper hands on what `learn` gave it, which lies in a map.
    let found = unsafe { &mut **found };
    let read = |offset: u64| kernel::read::<u64>(mapping, offset);
    let (Some(start), Some(end), Some(flags), Some(file), Some(page), Some(operations)) = (
        read(config::VMA_START.load()),
        read(config::VMA_END.load()),
        read(config::VMA_FLAGS.load()),
        read(config::VMA_FILE.load()),
        read(config::VMA_OFFSET.load()),
        read(config::VMA_OPS.load()),
    ) else {
        return 0;
    };
    found.start = start;
    found.end = end;
    found.offset = page << PAGE_SHIFT;
    found.file = file;
    found.executable = flags & EXEC;
    found.is_special = operations;
    0
}
