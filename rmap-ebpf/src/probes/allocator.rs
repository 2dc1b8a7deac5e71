//! Probes at an allocator's own functions, in processes that ran before rmap came (`rmap attach
//! --malloc`).
//!
//! Comes in: beginnings and returns of functions that allocate, and beginnings of those that free. Goes
//! out: the records that the allocator's shim would send (see [`super::malloc`]). The kernel runs
//! these programs only in processes that user space attached them to.
//!
//! A thread counts its own bytes down to its next point. What reaches it is picked: its stack is walked
//! at the function's beginning, while the stack is as the program has it, and its address is known when
//! the function returns. A function that another one of the same thread has called (`reallocarray` calls
//! `realloc`, a preloaded library's `malloc` calls the next one) is not counted again; which one is the
//! outermost is seen by the stack pointer, so a call that never returns (`longjmp`) is forgotten.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_probe_read_user,
        generated::bpf_ktime_get_ns,
    },
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use rmap_ebpf::{
    abi::{self, MallocRecord},
    logic::points,
};

use super::malloc::walk;
use crate::{
    arch::{RETURN_ADDRESS, UserRegisters},
    config, emit, kernel,
    state::{ALLOCATING, Allocating, LIVE, LiveBlock, MALLOC_WALK, Return, target},
};

/// How far below the outermost call's frame a call may be that it has made.
const NEAR: u64 = 1 << 20;
/// How many calls one may make. More have been made by others, since it never returned.
const NESTED_MAX: u64 = 64;

/// A call of a function that allocates.
struct Asked {
    /// So many bytes.
    size: u64,
    /// Where the address will be; 0: it is returned.
    out: u64,
    /// The block that it may free; 0: none.
    old: u64,
}

impl Asked {
    const fn bytes(size: u64) -> Self {
        Self { size, out: 0, old: 0 }
    }
}

/// `f(size, …)`.
#[uprobe]
pub fn malloc_first(ctx: ProbeContext) -> u32 {
    enter(&ctx, Asked::bytes(argument(&ctx, 0)))
}

/// `f(_, size)`.
#[uprobe]
pub fn malloc_second(ctx: ProbeContext) -> u32 {
    enter(&ctx, Asked::bytes(argument(&ctx, 1)))
}

/// `f(members, size)`.
#[uprobe]
pub fn malloc_product(ctx: ProbeContext) -> u32 {
    let size = points::product(argument(&ctx, 0), argument(&ctx, 1));
    enter(&ctx, Asked::bytes(size))
}

/// `f(out, _, size)`.
#[uprobe]
pub fn malloc_out(ctx: ProbeContext) -> u32 {
    enter(&ctx, Asked { size: argument(&ctx, 2), out: argument(&ctx, 0), old: 0 })
}

/// `f(old, size, …)`.
#[uprobe]
pub fn malloc_again(ctx: ProbeContext) -> u32 {
    enter(&ctx, Asked { size: argument(&ctx, 1), out: 0, old: argument(&ctx, 0) })
}

/// `f(old, members, size)`.
#[uprobe]
pub fn malloc_again_product(ctx: ProbeContext) -> u32 {
    let size = points::product(argument(&ctx, 1), argument(&ctx, 2));
    enter(&ctx, Asked { size, out: 0, old: argument(&ctx, 0) })
}

/// `f(block, …)`, which frees it.
#[uprobe]
pub fn malloc_free(ctx: ProbeContext) -> u32 {
    let address = argument(&ctx, 0);
    let mm = kernel::mm(kernel::current());
    if address != 0 && take_out(mm, address) {
        report(abi::MALLOC_FREED, mm, address, 0, 0);
    }
    0
}

/// The return of one that allocates.
#[uretprobe]
pub fn malloc_return(ctx: RetProbeContext) -> u32 {
    let task = kernel::current();
    let Some(mut thread) = ALLOCATING.get(task) else { return 0 };
    // SAFETY: only programs that run in this very thread use its value, and it lives as long.
    let thread = unsafe { thread.as_mut() };
    let Some(registers) = UserRegisters::current() else { return 0 };
    let at = registers.sp().wrapping_sub(RETURN_ADDRESS);
    if at == thread.inner.at {
        thread.inner = Return::NONE;
        return 0;
    }
    if at != thread.outer.at {
        return 0;
    }
    thread.outer = Return::NONE;
    thread.inner = Return::NONE;
    if thread.picked == 0 && thread.moving == 0 {
        return 0;
    }
    let returned = ctx.ret::<u64>();
    let address = match thread.out {
        0 => returned,
        // `posix_memalign` returns an error, or 0.
        _ if returned != 0 => 0,
        // SAFETY: the helper checks the source.
        out => unsafe { bpf_probe_read_user(out as *const u64) }.unwrap_or(0),
    };
    let mm = thread.mm;
    if thread.moving != 0 && address == 0 && thread.asked != 0 {
        let step = if keep(mm, thread.moving) { abi::MALLOC_STAYED } else { abi::MALLOC_UNKEPT };
        report(step, mm, thread.moving, 0, 0);
    }
    thread.moving = 0;
    if thread.picked != 0 && address != 0 {
        let step = if keep(mm, address) { abi::MALLOC_PICKED } else { abi::MALLOC_UNKEPT };
        report(step, mm, address, thread.asked, thread.stack);
    }
    thread.picked = 0;
    0
}

/// Walks the stack of what was picked, at the beginning of the function that allocates it.
#[uprobe]
pub fn malloc_walk(_ctx: ProbeContext) -> u32 {
    let task = kernel::current();
    let Some(mut thread) = ALLOCATING.get(task) else { return 0 };
    let id = bpf_get_current_pid_tgid();
    let Some(slot) = target((id >> 32) as u32) else { return 0 };
    let hash = walk(id, kernel::mm(task), slot);
    // SAFETY: as above.
    unsafe { thread.as_mut() }.stack = hash;
    0
}

/// An argument; 0 where there is none.
#[inline(always)]
fn argument(ctx: &ProbeContext, number: usize) -> u64 {
    ctx.arg::<u64>(number).unwrap_or(0)
}

/// A function that allocates begins.
#[inline(always)]
fn enter(ctx: &ProbeContext, asked: Asked) -> u32 {
    let task = kernel::current();
    let Some(mut thread) = ALLOCATING.get_or_make(task) else { return 0 };
    // SAFETY: only programs that run in this very thread use its value, and it lives as long.
    let thread = unsafe { thread.as_mut() };
    let Some(registers) = UserRegisters::current() else { return 0 };
    let mm = kernel::mm(task);
    let at = registers.sp();
    // SAFETY: the helper checks the source.
    let to = unsafe { bpf_probe_read_user(at as *const u64) }.unwrap_or(0);
    let here = Return { at, to };
    if thread.mm == mm && is_within(thread, here) {
        thread.nested += 1;
        if at != thread.outer.at {
            thread.inner = here;
        }
        return 0;
    }
    thread.outer = here;
    thread.inner = Return::NONE;
    thread.nested = 0;
    thread.picked = 0;
    thread.moving = 0;
    thread.out = asked.out;
    thread.asked = asked.size;
    let mean = config::MALLOC_MEAN.load();
    if thread.mm != mm {
        // The thread's first one, or its program is another one now.
        thread.mm = mm;
        thread.left = points::next(random(), mean);
        if target(kernel::tgid(task)).is_some() {
            report(abi::MALLOC_BEGUN, mm, 0, 0, 0);
        }
    }
    if asked.old != 0 && take_out(mm, asked.old) {
        thread.moving = asked.old;
        report(abi::MALLOC_MOVING, mm, asked.old, 0, 0);
    }
    if asked.size < thread.left {
        thread.left -= asked.size;
        return 0;
    }
    thread.left = points::next(random(), mean);
    thread.picked = 1;
    thread.stack = 0;
    // SAFETY: the program there is one of the same kind; if there is none, this one goes on.
    unsafe { MALLOC_WALK.tail_call(ctx, 0) };
    emit::count(abi::COUNT_LOST_STACKS, 1);
    0
}

/// Whether a call was made by the outermost one of the thread, which has not returned. One that was made
/// in its place (by a jump: `reallocarray` may end so) finds the kernel's own address where it returns
/// to.
#[inline(always)]
fn is_within(thread: &Allocating, call: Return) -> bool {
    let Return { at, to } = thread.outer;
    let below = at.wrapping_sub(call.at);
    at != 0 && below < NEAR && (below != 0 || call.to != to) && thread.nested < NESTED_MAX
}

/// 64 random bits.
#[inline(always)]
fn random() -> u64 {
    // SAFETY: the helpers take nothing. The time is more than the generator's 32 bits.
    let (low, high, time) =
        unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32(), bpf_ktime_get_ns()) };
    (u64::from(high) << 32 | u64::from(low)) ^ time
}

/// Remembers a picked block; whether there is room.
#[inline(always)]
fn keep(mm: u64, address: u64) -> bool {
    LIVE.insert(&LiveBlock { mm, address }, &1, 0).is_ok()
}

/// Whether a block was picked and is live; it is no longer.
#[inline(always)]
fn take_out(mm: u64, address: u64) -> bool {
    let block = LiveBlock { mm, address };
    // Most were not, and looking takes no lock.
    // SAFETY: the value is not used.
    unsafe { LIVE.get(&block) }.is_some() && LIVE.remove(&block).is_ok()
}

#[inline(always)]
fn report(what: u64, mm: u64, address: u64, size: u64, stack: u64) {
    let record = MallocRecord {
        header: emit::header(abi::KIND_MALLOC, 0, mm),
        what,
        address,
        size,
        mean: config::MALLOC_MEAN.load(),
        stack,
    };
    if !emit::put_or_spill(&record) {
        emit::count(abi::COUNT_LOST_MALLOC, 1);
    }
}
