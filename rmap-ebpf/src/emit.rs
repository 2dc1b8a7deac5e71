//! Records go out here, and what finds no room is counted.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, generated as helpers},
    maps::RingBuf,
};
use rmap_ebpf::{
    abi::{self, Header},
    logic::count::add,
};
use zerocopy::{Immutable, IntoBytes};

use crate::{
    config, loss,
    state::{COUNTERS, EVENTS, SPILL},
};

/// The header of a record that is made now, in the context of the current thread.
#[inline(always)]
pub fn header(kind: u16, flags: u16, mm: u64) -> Header {
    let id = bpf_get_current_pid_tgid();
    Header {
        kind,
        flags,
        // SAFETY: the helper takes nothing.
        cpu: unsafe { bpf_get_smp_processor_id() },
        // SAFETY: the helper takes nothing.
        time_ns: unsafe { helpers::bpf_ktime_get_ns() },
        pid: (id >> 32) as u32,
        tid: id as u32,
        mm,
    }
}

/// Sends a record, if there is room.
#[inline(always)]
pub fn put<T: IntoBytes + Immutable>(record: &T) -> bool {
    ring().output::<[u8]>(record.as_bytes(), 0).is_ok()
}

/// Sends a record, if there is room in either ring.
#[inline(always)]
pub fn put_or_spill<T: IntoBytes + Immutable>(record: &T) -> bool {
    put(record) || SPILL.output::<[u8]>(record.as_bytes(), 0).is_ok()
}

/// Whether nothing waits in the ring: then a record wakes user space.
#[inline(always)]
pub fn is_read() -> bool {
    ring().query(u64::from(BPF_RB_AVAIL_DATA)) == 0
}

/// Wakes user space.
#[inline(always)]
pub fn wake() {
    if let Some(nothing) = ring().reserve::<u64>(0) {
        nothing.discard(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}

/// Sends a record that is rare and that much hangs on (`mm` is the address space that it is about):
/// where the ring is full of faults it has another one.
#[inline(always)]
pub fn send<T: IntoBytes + Immutable>(record: &T, mm: u64) {
    send_with(record, mm, 0);
}

/// The same, and wakes nobody.
#[inline(always)]
pub fn send_quietly<T: IntoBytes + Immutable>(record: &T, mm: u64) {
    send_with(record, mm, u64::from(BPF_RB_NO_WAKEUP));
}

#[inline(always)]
fn send_with<T: IntoBytes + Immutable>(record: &T, mm: u64, flags: u64) {
    let sent = ring().output::<[u8]>(record.as_bytes(), flags).is_ok();
    if !sent && SPILL.output::<[u8]>(record.as_bytes(), 0).is_err() {
        loss::space(mm, 1);
        count(abi::COUNT_LOST_EVENTS, 1);
    }
}

/// The ring buffer of the records.
#[inline(always)]
pub fn ring() -> &'static RingBuf {
    &EVENTS
}

/// Adds to a counter of this CPU.
#[inline(always)]
pub fn count(counter: u32, amount: u64) {
    let Some(value) = COUNTERS.get_ptr_mut(counter) else { return };
    if config::PREEMPTED.load() != 0 {
        // SAFETY: the map gave this CPU's own slot, which is aligned; whoever else counts on this CPU
        // meanwhile does it in the same way.
        unsafe { add(value, amount) };
    } else {
        // SAFETY: as above, and only a nested program on this CPU could write it in between, which
        // may cost one count and harms nothing.
        unsafe { *value += amount };
    }
}
