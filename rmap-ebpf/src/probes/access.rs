//! Memory that comes with no fault: the kernel pins pages of a buffer (`O_DIRECT`, io_uring), fills
//! them for `userfaultfd`, or writes them for another process (`process_vm_writev`, ptrace,
//! `/proc/PID/mem`); khugepaged fills the holes of a huge page. A counter moves outside of any fault,
//! and no event has the address. What the call in which that happens names in its arguments is sent;
//! which of it became resident the page tables tell later.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::task_struct,
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user},
};
use rmap_ebpf::{
    abi::{self, RssRecord},
    logic::hash,
};

use crate::{
    arch::{UserRegisters, call, told_otherwise},
    batch, config, emit, kernel, stack,
    state::{ACCESSES, Access, Place, RSS, SPACES, busy, target},
};

/// A call that has paused for longer is told again, nanoseconds.
const PAUSE_NS: u64 = 100_000;

/// `PTRACE_POKETEXT`, `PTRACE_POKEDATA`.
const POKES: core::ops::RangeInclusive<u64> = 4..=5;
/// `UFFDIO_COPY` and `UFFDIO_MOVE`: destination, source, bytes.
const UFFD_COPY: [u32; 2] = [0xc028_aa03, 0xc028_aa05];
/// `UFFDIO_CONTINUE`: start, bytes.
const UFFD_CONTINUE: u32 = 0xc020_aa07;
/// `IORING_REGISTER_BUFFERS`.
const RING_BUFFERS: u32 = 0;
/// `IORING_REGISTER_BUFFERS2`, of which the argument is a `struct io_uring_rsrc_register`.
const RING_BUFFERS2: u32 = 15;

/// Whether a call may write another process's memory.
#[inline(always)]
fn writes_others(syscall: i64) -> bool {
    matches!(
        syscall,
        call::WRITE
            | call::IOCTL
            | call::PWRITE
            | call::WRITEV
            | call::PTRACE
            | call::PWRITEV
            | call::PERF_EVENT_OPEN
            | call::PROCESS_VM_WRITEV
            | call::BPF
            | call::PWRITEV2
    )
}

/// A counter of `mm` has moved outside of a fault of the current thread.
#[inline(always)]
pub fn moved(task: *mut task_struct, registers: UserRegisters, mm: u64, member: u32) {
    if member as usize == abi::MEMBER_SWAP {
        return;
    }
    let own = kernel::mm(task);
    let tid = kernel::tid(task);
    if own == 0 {
        if member as usize == abi::MEMBER_ANON
            && let Some(owner) = target_of(mm)
        {
            by_kernel(mm, owner, member, tid);
        }
        return;
    }
    let syscall = registers.syscall();
    // Most changes are those of faults in programs that nobody traces.
    if syscall < 0 {
        return;
    }
    let slot = target(kernel::tgid(task));
    let mut owner = 0;
    if own == mm {
        // Kernels that gather counts tell of them later, in the middle of something else.
        if slot.is_none() || told_otherwise(syscall) || batch::gathers() {
            return;
        }
    } else {
        if member as usize == abi::MEMBER_FILE || !writes_others(syscall) {
            return;
        }
        let Some(pid) = target_of(mm) else { return };
        owner = pid;
    }
    let Some(record) = RSS.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own slot, and this program does not nest.
    let record = unsafe { &mut *record };
    let arguments = registers.arguments();
    record.ranges = [[0; 2]; abi::RSS_RANGES];
    record.count = 0;
    record.request = arguments[1];
    let more = ranges(record, own != mm, syscall, &arguments);
    if record.count != 0 && goes_on(name(record, mm, syscall, registers.sp()), tid) {
        return;
    }
    record.header = emit::header(abi::KIND_RSS, if more { abi::RSS_MORE } else { 0 }, mm);
    record.syscall = syscall;
    record.actor_mm = own;
    record.member = member;
    record.owner = owner;
    record.reserved = 0;
    record.stack = match slot {
        // A worker of io_uring has no code of the program to name.
        Some(slot) if registers.ip() != 0 => stack::capture(registers, own, slot, Place::Rss),
        _ => 0,
    };
    emit::send(record, mm);
}

/// A thread of the kernel did it, khugepaged for one.
#[inline(always)]
fn by_kernel(mm: u64, owner: u32, member: u32, tid: u32) {
    if goes_on(hash::add(hash::START, mm), tid) {
        return;
    }
    let Some(record) = RSS.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let record = unsafe { &mut *record };
    *record = RssRecord {
        header: emit::header(abi::KIND_RSS, 0, mm),
        syscall: -1,
        actor_mm: 0,
        stack: 0,
        request: 0,
        member,
        owner,
        count: 0,
        reserved: 0,
        ranges: [[0; 2]; abi::RSS_RANGES],
    };
    emit::send(record, mm);
}

/// The traced process that an address space is of. The kernel uses their places again.
#[inline(always)]
fn target_of(mm: u64) -> Option<u32> {
    // SAFETY: the value is copied at once.
    let pid = unsafe { SPACES.get(&mm) }.copied()?;
    if config::MM_OWNER.load() == 0 {
        return Some(pid);
    }
    let owner: u64 = kernel::read(mm, config::MM_OWNER.load()).unwrap_or(0);
    // Between two owners there is none for a moment.
    let same = owner == 0 || kernel::read::<u32>(owner, config::TASK_TGID.load()) == Some(pid);
    same.then_some(pid)
}

/// What tells a call from the next one: what it is about, and where it comes from.
#[inline(always)]
fn name(record: &RssRecord, mm: u64, syscall: i64, sp: u64) -> u64 {
    let mut name = hash::add(hash::add(hash::add(hash::START, mm), syscall as u64), sp);
    let mut at = 0;
    while at < abi::RSS_RANGES {
        name = hash::add(hash::add(name, record.ranges[at][0]), record.ranges[at][1]);
        at += 1;
    }
    name
}

/// Whether this is the same call that was told a moment ago.
#[inline(always)]
fn goes_on(hash: u64, tid: u32) -> bool {
    // SAFETY: the helper takes nothing.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    if let Some(last) = ACCESSES.get_ptr_mut(&tid) {
        // SAFETY: only programs that run in this very thread write its entry.
        let last = unsafe { &mut *last };
        if last.hash == hash && time_ns - last.time_ns < PAUSE_NS {
            last.time_ns = time_ns;
            return true;
        }
    }
    let _ = ACCESSES.insert(&tid, &Access { hash, time_ns }, 0);
    false
}

/// A mapping call of this thread: what it has access to next is told anew.
#[inline(always)]
pub fn forget(tid: u32) {
    if let Some(last) = ACCESSES.get_ptr_mut(&tid) {
        // SAFETY: only programs that run in this very thread write its entry.
        unsafe { (*last).hash = 0 };
    }
}

/// Finds the memory that a call names in its arguments. True if there is more than is found.
#[inline(always)]
fn ranges(record: &mut RssRecord, others: bool, syscall: i64, arguments: &[u64; 6]) -> bool {
    match syscall {
        call::READ | call::PREAD | call::RECVFROM if !others => {
            one(record, arguments[1], arguments[2]);
        }
        call::WRITE | call::PWRITE if !others => one(record, arguments[1], arguments[2]),
        // To /proc/PID/mem, where the offset is the address.
        call::PWRITE => one(record, arguments[3], arguments[2]),
        call::PTRACE if others && POKES.contains(&arguments[0]) => one(record, arguments[2], 8),
        call::READV | call::PREADV | call::PREADV2 if !others => {
            return vectors(record, arguments[1], arguments[2]);
        }
        call::PROCESS_VM_WRITEV if others => {
            return vectors(record, arguments[3], arguments[4]);
        }
        call::IO_URING_REGISTER if arguments[1] as u32 == RING_BUFFERS => {
            return vectors(record, arguments[2], arguments[3] & u64::from(u32::MAX));
        }
        call::IO_URING_REGISTER if arguments[1] as u32 == RING_BUFFERS2 => {
            let mut said = [0u64; 3];
            if user(&mut said, arguments[2], 24) {
                return vectors(record, said[2], said[0] & u64::from(u32::MAX));
            }
        }
        call::IOCTL => {
            let request = arguments[1] as u32;
            let mut said = [0u64; 3];
            let copies = UFFD_COPY[0] == request || UFFD_COPY[1] == request;
            if (copies || request == UFFD_CONTINUE) && user(&mut said, arguments[2], 24) {
                one(record, said[0], if copies { said[2] } else { said[1] });
            }
        }
        _ => {}
    }
    false
}

#[inline(always)]
fn one(record: &mut RssRecord, start: u64, bytes: u64) {
    record.ranges[0] = [start, bytes];
    record.count = 1;
}

/// Reads a `struct iovec[]`. True if it is longer than what is read.
#[inline(always)]
fn vectors(record: &mut RssRecord, address: u64, count: u64) -> bool {
    let mut at = 0;
    // One by one: the verifier of Linux 6.1 loses sight of a length that is reckoned.
    while at < abi::RSS_RANGES {
        if at as u64 >= count || !user(&mut record.ranges[at], address + at as u64 * 16, 16) {
            break;
        }
        at += 1;
    }
    record.count = at as u32;
    count > at as u64 || at == 0
}

/// Reads `bytes`, at most those of the value, of the current thread's memory.
#[inline(always)]
fn user<T>(value: &mut T, address: u64, bytes: usize) -> bool {
    if !busy(Place::Rss, kernel::tid(kernel::current())) {
        return false;
    }
    let bytes = if bytes < size_of::<T>() { bytes } else { size_of::<T>() };
    // SAFETY: no more is read than the value holds; the helper checks the source.
    let read = unsafe {
        bpf_probe_read_user((&raw mut *value).cast(), bytes as u32, address as *const c_void)
    };
    busy(Place::Rss, 0);
    read == 0
}
