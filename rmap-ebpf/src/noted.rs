//! Mapping calls on kernels that put programs aside (see [`crate::parted`]): noted with the thread by
//! whichever program comes first, told by whichever comes next.
//!
//! At either end of a call the same few programs run: those that walk the stack, those that tell, and
//! one that wakes user space. Each of them may be left out for a thread that was put aside in it. So
//! the first that is not notes the call with its thread; if those that tell were all left out, the
//! thread's next program does it, whatever it is for: the next call's, a fault's end, a fork's, an
//! exec's, an exit's. The record has the time at which it was noted, and comes before what the thread did
//! afterwards. Only a call for which every program was left out is missing, and how often that may
//! have been the kernel counts.

use rmap_ebpf::{
    abi::{self, MapRecord},
    logic::hash,
};

use crate::{
    arch::{NOT_YET, UserRegisters},
    config, emit, kernel, loss, stack,
    state::{Call, Place, THREADS, Thread},
};

/// An end of a mapping call.
#[derive(Clone, Copy)]
pub struct End {
    /// `abi::MAP_ENTRY` or 0.
    pub flags: u16,
    /// 0 at the entry.
    pub result: i64,
}

impl End {
    /// At which end of a call a thread is that is at one. One that returned an error of
    /// that number looks as if it began; [`tell`] forgets it.
    #[inline(always)]
    fn of(registers: UserRegisters) -> Self {
        match registers.returned() {
            NOT_YET => Self { flags: abi::MAP_ENTRY, result: 0 },
            result => Self { flags: 0, result },
        }
    }
}

/// Which program of a call's end asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// The first of all.
    First,
    /// One in the middle.
    Middle,
    /// The last one that tells.
    Last,
}

/// Walks the stack of the call at whose end the current thread is. `describe` fills in the record.
#[inline(always)]
pub fn walk(rank: Rank, slot: u32, place: Place, describe: impl FnOnce(&mut MapRecord)) {
    let Some(registers) = UserRegisters::current() else { return };
    let Some(thread) = current() else { return };
    note(thread, rank, registers, End::of(registers), describe);
    let call = &mut thread.call;
    if call.done != 0 {
        return;
    }
    if emit::is_read() {
        thread.wake = 1;
    }
    call.record.stack = stack::capture(registers, call.record.header.mm, slot, place);
    call.done = Call::WALKED;
}

/// Tells of the call at whose end the current thread is, if nobody has. If nobody walked its stack, user
/// space does.
#[inline(always)]
pub fn tell(rank: Rank, end: End, place: Place, describe: impl FnOnce(&mut MapRecord)) {
    let Some(registers) = UserRegisters::current() else { return };
    let Some(thread) = current() else { return };
    if end.flags & abi::MAP_ENTRY == 0 && end.result == NOT_YET {
        thread.call.what = 0;
        return;
    }
    note(thread, rank, registers, end, describe);
    let call = &mut thread.call;
    if call.done & Call::TOLD == 0 {
        if emit::is_read() {
            thread.wake = 1;
        }
        if call.done & Call::WALKED == 0 {
            call.record.stack = stack::send_raw(registers, call.record.header.mm, place);
            call.done = Call::WALKED;
        }
        send(call);
    }
    if rank == Rank::Last {
        call.what = 0;
    }
}

/// The last program of a call's end: tells if nobody has, and wakes user space if it should be.
#[inline(always)]
pub fn wake() {
    let Some(thread) = current() else { return };
    catch_up(thread);
    thread.call.what = 0;
    if thread.wake != 0 {
        thread.wake = 0;
        emit::wake();
    }
}

/// Tells of what the thread did before, if nobody has.
#[inline(always)]
pub fn catch_up(thread: &mut Thread) {
    let call = &mut thread.call;
    if call.what == 0 || call.done & Call::TOLD != 0 {
        return;
    }
    if call.done & Call::WALKED == 0 {
        emit::count(abi::COUNT_LOST_STACKS, 1);
    }
    send(call);
}

/// The same for the current thread, if programs are preempted.
#[inline(always)]
pub fn catch_up_current() {
    if config::PREEMPTED.load() != 0
        && let Some(mut thread) = THREADS.get(kernel::current())
    {
        // SAFETY: only programs that run in this very thread use its value, and it lives as long.
        catch_up(unsafe { thread.as_mut() });
    }
}

#[inline(always)]
fn current() -> Option<&'static mut Thread> {
    let mut thread = THREADS.get_or_make(kernel::current())?;
    // SAFETY: as above.
    Some(unsafe { thread.as_mut() })
}

#[inline(always)]
fn note(
    thread: &mut Thread,
    rank: Rank,
    registers: UserRegisters,
    end: End,
    describe: impl FnOnce(&mut MapRecord),
) {
    let what = name(registers, end);
    if thread.call.what == what && rank != Rank::First {
        return;
    }
    catch_up(thread);
    // A fork before it that was walked and not told.
    if thread.kept.mark != 0 {
        thread.kept.mark = 0;
        loss::space(kernel::mm(kernel::current()), 1);
        emit::count(abi::COUNT_LOST_EVENTS, 1);
    }
    let call = &mut thread.call;
    let mm = kernel::mm_of(kernel::current() as u64);
    call.record.header = emit::header(abi::KIND_MAP, end.flags, mm);
    call.record.result = end.result;
    call.record.stack = 0;
    describe(&mut call.record);
    call.done = 0;
    call.what = what;
}

/// What tells an end of a call from the one before; not 0.
#[inline(always)]
fn name(registers: UserRegisters, end: End) -> u64 {
    let mut sum = hash::add(hash::START, registers.syscall() as u64 ^ u64::from(end.flags) << 32);
    sum = hash::add(sum, end.result as u64);
    for argument in registers.arguments() {
        sum = hash::add(sum, argument);
    }
    sum | 1
}

#[inline(always)]
fn send(call: &mut Call) {
    call.done |= Call::TOLD;
    emit::send_quietly(&call.record, call.record.header.mm);
}
