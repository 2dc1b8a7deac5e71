//! The system calls of ptrace, wait and signals, by the numbers that the kernel uses.
//!
//! nix and libc know no signal above 31 here, or hide signals 32 and 33, which glibc uses in every
//! threaded program; the kernel's own interface has them all. All calls here are safe in the
//! child between fork and exec.

use std::io;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use super::Status;

/// Every signal that the kernel has.
pub(super) const ALL_SIGNALS: RangeInclusive<i32> = 1..=64;

/// The bytes of the kernel's signal set.
const SET_BYTES: usize = 8;

/// Wakes the tracer thread. Ignored by default, so that one too many does no harm.
const WAKE: i32 = libc::SIGURG;

/// `PTRACE_EVENT_STOP`: first stop of a new tracee, group stop, or end of a group stop.
pub(super) const EVENT_STOP: i32 = 128;

/// Options of a tracee of which new threads are followed, but not new processes.
pub(super) const THREADS_ONLY: i32 =
    libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACEEXIT;

/// Options of a tracee of which new processes are followed as well.
pub(super) const DESCENDANTS: i32 =
    THREADS_ONLY | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK;

/// `PTRACE_O_SUSPEND_SECCOMP`: the tracee's filters do not see its calls. Needs `CAP_SYS_ADMIN`.
pub(super) const SUSPEND_SECCOMP: i32 = 1 << 21;

/// What waiting gave.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// A tracee stands.
    Stopped(u32, Stop),
    /// A thread or process is a zombie; it still is to be reaped.
    Dead(u32, Status),
    /// A signal came to this thread.
    Interrupted,
    /// This thread has no such children or tracees; without blocking: nor have they anything.
    Nothing,
}

/// Why a tracee stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// The signal under delivery, or the one that stopped the process, or `SIGTRAP`.
    pub(super) signal: i32,
    /// 0 at the delivery of a signal.
    pub(super) event: i32,
}

impl Stop {
    /// Whether the event says more by its message: a new tid, or a former one.
    pub(super) const fn has_message(self) -> bool {
        matches!(
            self.event,
            libc::PTRACE_EVENT_FORK
                | libc::PTRACE_EVENT_VFORK
                | libc::PTRACE_EVENT_CLONE
                | libc::PTRACE_EVENT_EXEC
        )
    }
}

/// Waits for this thread's children and tracees, and takes nothing away: a stop is shown until
/// the tracee goes on, a zombie until [`reap`].
pub(super) fn peek() -> io::Result<Wait> {
    wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT)
}

/// [`peek`] without blocking. The kernel shows the tracee that was seized last
/// (`ptrace_link` puts it first in the list that `do_wait` walks).
pub(super) fn peek_now() -> io::Result<Wait> {
    wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT | libc::WNOHANG)
}

/// What one tracee has to show, without blocking; nothing is taken.
pub(super) fn peek_at(tid: u32) -> io::Result<Wait> {
    wait(libc::P_PID, tid, libc::WEXITED | libc::WNOWAIT | libc::WNOHANG)
}

/// The stop that a tracee is in, if it was not taken.
pub(super) fn peek_stop(tid: u32) -> Option<Stop> {
    stop(wait(libc::P_PID, tid, libc::WSTOPPED | libc::WNOWAIT | libc::WNOHANG))
}

/// Takes the stop that a tracee is in, so that it is not shown again though the tracee stands.
pub(super) fn take_stop(tid: u32) -> Option<Stop> {
    stop(wait(libc::P_PID, tid, libc::WSTOPPED | libc::WNOHANG))
}

/// Takes a zombie that [`peek`] showed.
pub(super) fn reap(tid: u32) {
    let _ = wait(libc::P_PID, tid, libc::WEXITED | libc::WNOHANG);
}

/// Waits for the end of a child that is not traced, and takes it.
pub(super) fn reap_untraced(pid: u32) {
    while let Ok(Wait::Interrupted) = wait(libc::P_PID, pid, libc::WEXITED) {}
}

fn stop(wait: io::Result<Wait>) -> Option<Stop> {
    if let Ok(Wait::Stopped(_, stop)) = wait { Some(stop) } else { None }
}

/// waitid(2), for this thread's own children and tracees only.
fn wait(kind: libc::idtype_t, tid: u32, options: i32) -> io::Result<Wait> {
    // SAFETY: siginfo_t is plain data; zero is a value of it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = options | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: info is writable for the time of the call.
    if unsafe { libc::waitid(kind, tid, &raw mut info, options) } != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EINTR) => Ok(Wait::Interrupted),
            Some(libc::ECHILD) => Ok(Wait::Nothing),
            _ => Err(error),
        };
    }
    // SAFETY: waitid succeeded, so info has the fields of SIGCHLD, or zeros.
    let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
    let tid = pid.unsigned_abs();
    Ok(match info.si_code {
        _ if tid == 0 => Wait::Nothing,
        libc::CLD_EXITED => Wait::Dead(tid, Status::Code(value)),
        libc::CLD_KILLED | libc::CLD_DUMPED => Wait::Dead(tid, Status::Signal(value)),
        _ => Wait::Stopped(tid, Stop { signal: value & 0xff, event: value >> 8 }),
    })
}

/// One ptrace request that reads and writes no memory of this process.
fn request(request: u32, tid: u32, data: usize) -> io::Result<()> {
    // SAFETY: no request made through here takes a pointer into this process.
    let result = unsafe { libc::ptrace(request, tid.cast_signed(), 0_usize, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes a running process as tracee; it does not stop by that.
pub(super) fn seize(tid: u32, options: i32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, tid, options as usize)
}

/// Asks a running tracee to stop; it shows [`EVENT_STOP`] as soon as it leaves the kernel. One in a
/// group stop that it listens in shows that again.
pub(super) fn interrupt(tid: u32) {
    // A tracee that is gone stands in nobody's way.
    let _ = request(libc::PTRACE_INTERRUPT, tid, 0);
}

/// Lets a tracee of which the stop was taken go on, without a signal.
///
/// `SIGKILL`, and the end or the exec of its process, wake it from any stop but its exit. Then it
/// stands at its exit by now, or is gone: that stop is not to be ended unseen. (The kernel cannot
/// do both in one step, so between these two calls it still can happen, if rarely.)
pub(super) fn resume(tid: u32) {
    if peek_stop(tid).is_none() {
        let _ = request(libc::PTRACE_CONT, tid, 0);
    }
}

/// Lets a tracee that stands at the delivery of a signal go on with it. See [`resume`].
pub(super) fn deliver(tid: u32, signal: i32) {
    if matches!(peek_stop(tid), None | Some(Stop { event: 0, .. })) {
        let _ = request(libc::PTRACE_CONT, tid, signal as usize);
    }
}

/// Leaves a tracee in its group stop, so that `SIGCONT` wakes it.
pub(super) fn listen(tid: u32) {
    let _ = request(libc::PTRACE_LISTEN, tid, 0);
}

/// Lets a standing tracee go for good, with a signal, or with none (0).
pub(super) fn detach(tid: u32, signal: i32) {
    let _ = request(libc::PTRACE_DETACH, tid, signal as usize);
}

/// What a thread asks for that the probes stopped in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "nothing is asked there yet"))]
pub(super) enum Asked {
    /// Nothing any more.
    Nothing,
    /// To make a process that is not traced.
    Untraced,
    /// To be traced by its parent.
    Tracer,
    /// To trace another thread.
    Tracee(u32),
}

/// What a thread asks for that stands at the delivery of a SIGSTOP; `None` if it is not the probes'.
#[cfg(target_arch = "x86_64")]
pub(super) fn asked(tid: u32) -> Option<Asked> {
    // From include/uapi/asm-generic/siginfo.h: the kernel itself. Of all signals it sends this one
    // never by itself to tracees that were seized.
    const SI_KERNEL: i32 = 0x80;
    let pid = nix::unistd::Pid::from_raw(tid.cast_signed());
    if nix::sys::ptrace::getsiginfo(pid).ok()?.si_code != SI_KERNEL {
        return None;
    }
    let Ok(registers) = nix::sys::ptrace::getregs(pid) else { return Some(Asked::Nothing) };
    let refused = i64::from(-libc::EPERM).cast_unsigned();
    Some(match (registers.orig_rax.cast_signed(), registers.rax == refused) {
        (libc::SYS_clone, _) => Asked::Untraced,
        (libc::SYS_ptrace, true) if registers.rdi == u64::from(libc::PTRACE_TRACEME) => {
            Asked::Tracer
        }
        (libc::SYS_ptrace, true) => {
            u32::try_from(registers.rsi).map_or(Asked::Nothing, Asked::Tracee)
        }
        _ => Asked::Nothing,
    })
}

/// The probes know no other machine yet.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn asked(_: u32) -> Option<Asked> {
    None
}

/// Puts a standing thread back before the system call that has just failed. False if it is gone.
#[cfg(target_arch = "x86_64")]
pub(super) fn repeat_call(tid: u32) -> bool {
    /// Bytes of `syscall`, as the kernel goes back itself (`arch_do_signal_or_restart`).
    const CALL: u64 = 2;
    let pid = nix::unistd::Pid::from_raw(tid.cast_signed());
    let Ok(mut registers) = nix::sys::ptrace::getregs(pid) else { return false };
    registers.rax = registers.orig_rax;
    registers.rip = registers.rip.wrapping_sub(CALL);
    nix::sys::ptrace::setregs(pid, registers).is_ok()
}

/// See [`asked`].
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn repeat_call(_: u32) -> bool {
    false
}

/// What the event is about: a new tid, a former tid, or an exit status.
pub(super) fn event_message(tid: u32) -> Option<u64> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one unsigned long to the address in the last argument.
    let result = unsafe {
        libc::ptrace(libc::PTRACE_GETEVENTMSG, tid.cast_signed(), 0_usize, &raw mut message)
    };
    (result != -1).then_some(message)
}

/// Whether a thread that stands at its exit called exit_group(2).
pub(super) fn in_exit_group(tid: u32) -> bool {
    let pid = nix::unistd::Pid::from_raw(tid.cast_signed());
    #[cfg(target_arch = "x86_64")]
    return nix::sys::ptrace::getregs(pid)
        .is_ok_and(|registers| registers.orig_rax == libc::SYS_exit_group as u64);
    #[cfg(target_arch = "aarch64")]
    return nix::sys::ptrace::getregset::<nix::sys::ptrace::regset::NT_PRSTATUS>(pid)
        .is_ok_and(|registers| registers.regs[8] == libc::SYS_exit_group as u64);
}

/// Whether `tid` is a thread of the process `pid`, be it a zombie.
pub(super) fn is_thread_of(pid: u32, tid: u32) -> bool {
    // SAFETY: signal 0 is never delivered.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) == 0 }
}

/// Whether two processes have the same memory; `None` if the kernel does not tell.
pub(in crate::live) fn same_memory(a: u32, b: u32) -> Option<bool> {
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: kcmp takes numbers only.
    match unsafe { libc::syscall(libc::SYS_kcmp, a, b, KCMP_VM, 0, 0) } {
        -1 => None,
        order => Some(order == 0),
    }
}

/// This thread's tid.
pub(super) fn own_tid() -> i32 {
    nix::unistd::gettid().as_raw()
}

/// Sends a signal to a process; one that is gone is no error.
pub(super) fn kill(pid: u32, signal: i32) {
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// Sends a signal to a process group; one that is gone is no error.
pub(super) fn kill_group(pid: u32, signal: i32) {
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(-pid.cast_signed(), signal) };
}

/// Interrupts a thread of this process that waits in [`peek`].
pub(super) fn wake(tid: i32) {
    // SAFETY: tgkill takes numbers only; the signal has a handler, see install_wake_handler.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), tid, WAKE) };
}

/// Whether a thread of this process is still there, be it on its way out.
pub(super) fn is_own_thread(tid: i32) -> bool {
    is_thread_of(std::process::id(), tid.unsigned_abs())
}

/// Makes the wake-up signal interrupt system calls. Once per process, and for good.
pub(super) fn install_wake_handler() -> io::Result<()> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    extern "C" fn nothing(_: i32) {}
    let install = || {
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        let action =
            SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, so it is safe at every point.
        unsafe { sigaction(Signal::SIGURG, &action) }.map(drop).map_err(|errno| errno as i32)
    };
    DONE.get_or_init(install).map_err(io::Error::from_raw_os_error)
}

/// The kernel's `struct sigaction`; the handler comes first on all machines.
type KernelAction = [usize; 4];

/// Whether this process ignores a signal.
pub(super) fn is_ignored(signal: i32) -> bool {
    let mut action: KernelAction = [0; 4];
    // SAFETY: the kernel writes its struct sigaction, at most 32 bytes, to the given address.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            std::ptr::null::<KernelAction>(),
            &raw mut action,
            SET_BYTES,
        )
    };
    result == 0 && action[0] == libc::SIG_IGN
}

/// Sets a signal to be ignored, or to its default.
pub(super) fn set_ignored(signal: i32, ignored: bool) {
    let handler = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    let action: KernelAction = [handler, 0, 0, 0];
    // SAFETY: the kernel reads its struct sigaction, at most 32 bytes; no handler, no flags. It
    // refuses SIGKILL and SIGSTOP, which need no change.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            &raw const action,
            std::ptr::null_mut::<KernelAction>(),
            SET_BYTES,
        )
    };
}

/// One call of rt_sigprocmask; gives the mask that was before.
fn mask(how: i32, new: Option<u64>) -> u64 {
    let mut old = 0_u64;
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both addresses are null or of 8 bytes that live through the call.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, new, &raw mut old, SET_BYTES) };
    old
}

/// The signals that this thread blocks.
pub(super) fn blocked_signals() -> u64 {
    mask(libc::SIG_BLOCK, None)
}

/// Sets the signals that this thread blocks.
pub(super) fn set_blocked_signals(blocked: u64) {
    mask(libc::SIG_SETMASK, Some(blocked));
}

/// Lets the wake-up signal come to this thread.
pub(super) fn unblock_wake() {
    mask(libc::SIG_UNBLOCK, Some(1 << (WAKE - 1)));
}

/// Sets the ptrace options of a standing tracee.
pub(super) fn set_options(tid: u32, options: i32) -> io::Result<()> {
    request(libc::PTRACE_SETOPTIONS, tid, options as usize)
}

/// The signals that a standing tracee blocks.
pub(super) fn signal_mask(tid: u32) -> io::Result<u64> {
    /// Of `include/uapi/linux/ptrace.h`.
    const GETSIGMASK: u32 = 0x420a;
    let mut mask = 0_u64;
    // SAFETY: the kernel writes as many bytes as the third argument says, the size of `mask`.
    let result = unsafe { libc::ptrace(GETSIGMASK, tid.cast_signed(), SET_BYTES, &raw mut mask) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(mask) }
}

/// Sets the signals that a standing tracee blocks.
pub(super) fn set_signal_mask(tid: u32, mask: u64) -> io::Result<()> {
    /// Of `include/uapi/linux/ptrace.h`.
    const SETSIGMASK: u32 = 0x420b;
    // SAFETY: the kernel reads as many bytes as the third argument says, the size of `mask`.
    let result = unsafe { libc::ptrace(SETSIGMASK, tid.cast_signed(), SET_BYTES, &raw const mask) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a standing tracee go on to the next entry or end of a system call (its option
/// `PTRACE_O_TRACESYSGOOD` is set). False if it stopped for another reason, which is not taken.
pub(super) fn to_next_call_stop(tid: u32) -> bool {
    const CALL: Stop = Stop { signal: libc::SIGTRAP | 0x80, event: 0 };
    request(libc::PTRACE_SYSCALL, tid, 0).is_ok()
        && next_stop(tid) == Some(CALL)
        && take_stop(tid).is_some()
}

/// Takes the delivery of a SIGSTOP. False if a tracee does not stand at that.
pub(super) fn take_sigstop(tid: u32) -> bool {
    const SIGSTOP: Stop = Stop { signal: libc::SIGSTOP, event: 0 };
    peek_stop(tid) == Some(SIGSTOP) && take_stop(tid).is_some()
}

/// Lets a standing tracee go on to its next stop, which is not taken. One that stands at a stop
/// that was not taken stays there.
pub(super) fn to_stop(tid: u32) {
    if peek_stop(tid).is_none() && request(libc::PTRACE_CONT, tid, 0).is_ok() {
        next_stop(tid);
    }
}

/// Waits for the next stop of a tracee, and takes nothing. `None`: it is dead.
fn next_stop(tid: u32) -> Option<Stop> {
    loop {
        match wait(libc::P_PID, tid, libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT) {
            Ok(Wait::Stopped(_, stop)) => return Some(stop),
            Ok(Wait::Interrupted) => {}
            Ok(Wait::Dead(..) | Wait::Nothing) | Err(_) => return None,
        }
    }
}
