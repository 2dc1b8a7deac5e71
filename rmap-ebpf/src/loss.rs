//! Faults of which the record found no room: which pages they were on is kept all the same, so that
//! user space does not take an older claim for true. Runs only where the ring is full.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::{bpf_get_current_pid_tgid, generated as helpers},
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use rmap_ebpf::{
    abi::{self, FaultRecord, LOST_PAGES as PAGES, LOST_REGION, LostKey, LostPages, LostSpace},
    logic::fault::place_of_page,
};

use crate::emit;

/// Where faults were lost: 32 GiB of different memory, if all of it is touched meanwhile.
#[map]
static LOST_PAGES: HashMap<LostKey, LostPages> =
    HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Where no more than the address space could be kept.
#[map]
static LOST_SPACES: HashMap<u64, LostSpace> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// A number from 1 to 255 that user space raises each time that it looks at the two.
#[map]
static LOSS_GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// A region with no losses, too large for the stack. Nobody writes it.
#[map]
static NO_LOSSES: PerCpuArray<LostPages> = PerCpuArray::with_max_entries(1, 0);

/// Pages of a block, from its 64 KiB-aligned start on, that a fault-around may have mapped.
const AROUND: u32 = u32::MAX;

/// A fault's record was lost.
#[inline(always)]
pub fn fault(record: &FaultRecord) {
    let flags = record.header.flags;
    let around = 1 << abi::MEMBER_FILE | 1 << abi::MEMBER_SHMEM;
    let huge = flags & abi::FAULT_ENTRY != 0 && record.entry & abi::ENTRY_HUGE != 0;
    let window = if flags & abi::FAULT_WINDOW != 0 {
        record.window
    } else if record.members & around != 0 {
        AROUND
    } else {
        0
    };
    pages(record.header.mm, record.address, window, u32::from(huge));
}

/// Notes the page of an address and those of a window, or all of a huge page.
#[inline(never)]
fn pages(mm: u64, address: u64, window: u32, huge: u32) -> u32 {
    let key = LostKey { mm, region: address / LOST_REGION };
    let Some(lost) = region(&key) else {
        space(mm, 0);
        return 0;
    };
    let generation = generation();
    let page = (address >> 12) as usize & (PAGES - 1);
    // SAFETY: the place is inside of the map's value, and a byte is written at once.
    let mark = |at: usize| unsafe {
        (&raw mut (*lost).pages).cast::<u8>().add(place_of_page(at)).write_volatile(generation);
    };
    mark(page);
    let first = page & !15;
    let (count, all) = if huge != 0 { (PAGES, true) } else { (32, false) };
    let mut at = 0;
    while at < count {
        if all {
            mark(at);
        } else if window & (1 << (at & 31)) != 0 && first + at < PAGES {
            mark(first + at);
        }
        at += 1;
    }
    // SAFETY: as above; of two processors the one or the other is the last.
    unsafe {
        (&raw mut (*lost).pid).write_volatile((bpf_get_current_pid_tgid() >> 32) as u32);
        (&raw mut (*lost).last_ns).write_volatile(helpers::bpf_ktime_get_ns());
    }
    0
}

/// The region's entry, made if it is new; `None` if there is no room.
#[inline(always)]
fn region(key: &LostKey) -> Option<*mut LostPages> {
    if let Some(found) = LOST_PAGES.get_ptr_mut(key) {
        return Some(found);
    }
    let none = NO_LOSSES.get_ptr(0)?;
    // SAFETY: this CPU's own slot, which nobody writes. Where another CPU was faster, its entry is
    // found below.
    let _ = LOST_PAGES.insert(key, unsafe { &*none }, u64::from(BPF_NOEXIST));
    LOST_PAGES.get_ptr_mut(key)
}

/// Something was lost of an address space, and where in it is not known. `calls`: as
/// [`LostSpace::calls`].
#[inline(never)]
pub fn space(mm: u64, calls: u8) -> u32 {
    let now = LostSpace {
        // SAFETY: the helper takes nothing.
        last_ns: unsafe { helpers::bpf_ktime_get_ns() },
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        calls,
        generation: generation(),
        reserved: 0,
    };
    if let Some(lost) = LOST_SPACES.get_ptr_mut(&mm) {
        // SAFETY: the map's value; of two processors the one or the other is the last. That calls
        // were among the losses is never taken back.
        unsafe {
            if calls != 0 {
                (&raw mut (*lost).calls).write_volatile(1);
            }
            (&raw mut (*lost).pid).write_volatile(now.pid);
            (&raw mut (*lost).last_ns).write_volatile(now.last_ns);
            (&raw mut (*lost).generation).write_volatile(now.generation);
        }
    } else if LOST_SPACES.insert(&mm, &now, 0).is_err() {
        emit::count(abi::COUNT_LOST_ANYWHERE, 1);
    }
    0
}

#[inline(always)]
fn generation() -> u8 {
    match LOSS_GENERATION.get(0) {
        Some(number) if *number != 0 => *number as u8,
        _ => 1,
    }
}
