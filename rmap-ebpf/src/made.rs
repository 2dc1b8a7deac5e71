//! Code that a process has just made, before user space knows of it.
//!
//! Comes in: an address at which a walk ended, since no mapping of [`crate::state::MAPPINGS`] has it.
//! Goes out: where the kernel's own mapping at that address is executable and of no file, its place, for
//! the walks that follow. User space reads it too, some milliseconds later, and gives the process other
//! [`abi::Mappings`] with no such pieces.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_find_vma, macros::map, maps::Array};
use rmap_ebpf::{abi, logic::made};

use crate::{config, kernel};

/// Beside each of the `MAPPINGS` of processes, what was made since they were set.
#[map]
pub static MADE: Array<abi::Made> = Array::with_max_entries(abi::MAPPING_SLOTS, 0);

/// `VM_EXEC` (kernel `include/linux/mm.h`).
const EXEC: u64 = 4;

/// Looks whether `address` lies in code that no file holds; `slot` is the process's value in `TARGETS`.
/// The kernel refuses where somebody changes the process's mappings just now. Whether it does.
#[inline(always)]
pub fn learn(slot: u32, address: u64) -> bool {
    if config::VMA_FLAGS.load() == 0 {
        return false;
    }
    let Some(made) = MADE.get_ptr_mut(slot) else { return false };
    let mut found = Found { made, is_made: 0 };
    let look: unsafe extern "C" fn(u64, u64, *mut Found) -> i64 = look;
    let to = (&raw mut found).cast();
    // SAFETY: the callback has the helper's signature, and what it is given lives through the call.
    unsafe { bpf_find_vma(kernel::current(), address, look as *mut c_void, to, 0) };
    // SAFETY: a plain field, which the callback writes.
    unsafe { (&raw const found.is_made).read_volatile() != 0 }
}

/// What the look at a mapping goes by, and what comes of it.
#[repr(C)]
struct Found {
    made: *mut abi::Made,
    is_made: u64,
}

/// Keeps a mapping, if it holds made code. Returns 0, as the kernel wants it.
unsafe extern "C" fn look(_task: u64, mapping: u64, found: *mut Found) -> i64 {
    // SAFETY: the helper hands on what `learn` gave it.
    let found = unsafe { &mut *found };
    let (Some(start), Some(end), Some(flags), Some(file)) = (
        kernel::read::<u64>(mapping, config::VMA_START.load()),
        kernel::read::<u64>(mapping, config::VMA_END.load()),
        kernel::read::<u64>(mapping, config::VMA_FLAGS.load()),
        kernel::read::<u64>(mapping, config::VMA_FILE.load()),
    ) else {
        return 0;
    };
    if flags & EXEC != 0 && file == 0 {
        // SAFETY: a value of the map, which stays in place, and the place lies inside. Another CPU may write the same word, and leaves one or the
        // other.
        unsafe {
            let place = &raw mut (*found.made)[made::place(start)];
            place.write_volatile(made::piece(start, end));
        }
        found.is_made = 1;
    }
    0
}
