//! Makes system calls in a thread that stands, through the `syscall` instruction of its vDSO.
//!
//! Comes in: a thread in the stop that `PTRACE_INTERRUPT` asks for. Goes out: what the calls
//! returned. Afterwards the thread stands in the same kind of stop, with the registers, the signal
//! mask and the interrupted call that it had, so that whoever lets it go on need not know.
//!
//! Meanwhile all its signals are blocked: a handler would begin with foreign registers. If rmap is
//! killed in the some 100 µs between, the thread goes on with them, so calls are few and short.
//!
//! A call that the stop has interrupted is made again by the kernel on the way out of
//! `get_signal`, by `orig_rax`. So the own registers come back before that, and the thread is sent
//! into a stop once more.

use std::io;

use super::sys;
#[cfg(target_arch = "x86_64")]
use super::tracee;

/// Why no call was made.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Another moment may do: the thread is where it must not be moved from, or something else
    /// happened to it.
    NotNow,
    /// The machine, or the program, does not allow it.
    Never(String),
}

/// A thread that calls what it is asked to.
pub(super) struct Caller {
    tid: u32,
    /// Address of the instruction.
    at: u64,
    own: Registers,
    mask: u64,
    options: i32,
    /// A SIGSTOP has come meanwhile.
    stopped: bool,
}

#[cfg(target_arch = "x86_64")]
type Registers = libc::user_regs_struct;
/// The calls know no other machine yet.
#[cfg(not(target_arch = "x86_64"))]
type Registers = ();

impl Caller {
    /// Prepares a thread. `at`: the address of a `syscall` instruction; `options` are its own;
    /// `seccomp`: it has a filter, which must not see the calls.
    pub(super) fn begin(tid: u32, at: u64, options: i32, seccomp: bool) -> Result<Self, Refusal> {
        let refused = |what: &str| {
            let what = what.to_owned();
            move |source: io::Error| Refusal::Never(format!("cannot {what}: {source}"))
        };
        let own = registers(tid).map_err(|_| Refusal::NotNow)?;
        check(tid, at, &own)?;
        let suspend = if seccomp { sys::SUSPEND_SECCOMP } else { 0 };
        sys::set_options(tid, options | libc::PTRACE_O_TRACESYSGOOD | suspend)
            .map_err(refused("suspend its seccomp filter"))?;
        let caller = Self { tid, at, own, mask: 0, options, stopped: false };
        let mask = sys::signal_mask(tid)
            .and_then(|mask| sys::set_signal_mask(tid, u64::MAX).map(|()| mask));
        match mask {
            Ok(mask) => Ok(Self { mask, ..caller }),
            Err(source) => {
                let _ = sys::set_options(tid, options);
                Err(refused("block its signals")(source))
            }
        }
    }

    /// Makes one call. The result is the kernel's: a negative errno where it failed.
    pub(super) fn call(&mut self, number: i64, args: [u64; 3]) -> Result<i64, Refusal> {
        set_call(self.tid, &self.own, self.at, number, args).map_err(|_| Refusal::NotNow)?;
        for _ in ["its entry", "its end"] {
            while !sys::to_next_call_stop(self.tid) {
                // The only signal that cannot be blocked and does not kill: it comes again later.
                if !sys::take_sigstop(self.tid) {
                    return Err(Refusal::NotNow);
                }
                self.stopped = true;
            }
        }
        result(self.tid).map_err(|_| Refusal::NotNow)
    }

    /// Puts the thread back into its stop, as it was.
    pub(super) fn end(self) {
        // The order keeps it whole if rmap is killed between: with the stop asked for, the kernel
        // looks at the interrupted call in any case.
        sys::interrupt(self.tid);
        let _ = set_registers(self.tid, self.own);
        let _ = sys::set_signal_mask(self.tid, self.mask);
        let _ = sys::set_options(self.tid, self.options);
        sys::to_stop(self.tid);
        if self.stopped {
            sys::kill(self.tid, libc::SIGSTOP);
        }
    }
}

/// Whether a thread may be moved from where it is.
#[cfg(target_arch = "x86_64")]
fn check(tid: u32, at: u64, own: &Registers) -> Result<(), Refusal> {
    /// `__USER_CS` of 64-bit code.
    const CODE_64: u64 = 0x33;
    if own.cs != CODE_64 {
        return Err(Refusal::Never("it runs 32-bit code".to_owned()));
    }
    // A page that is not resident is as the kernel made it, and to look at it would bring it in.
    let is_call = |word: u64| word.to_le_bytes()[..2] == tracee::SYSCALL;
    if tracee::is_resident(tid, at) && !tracee::peek_word(tid, at).is_some_and(is_call) {
        return Err(Refusal::Never("its vDSO has been replaced".to_owned()));
    }
    // A restartable sequence would go on as if nothing had happened between: the kernel looks at
    // the registers as they are when the thread goes back (`rseq_ip_fixup`).
    if tracee::in_restartable_sequence(tid, own.rip) {
        return Err(Refusal::NotNow);
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn pid(tid: u32) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(tid.cast_signed())
}

#[cfg(target_arch = "x86_64")]
fn registers(tid: u32) -> io::Result<Registers> {
    Ok(nix::sys::ptrace::getregs(pid(tid))?)
}

#[cfg(target_arch = "x86_64")]
fn set_registers(tid: u32, registers: Registers) -> io::Result<()> {
    Ok(nix::sys::ptrace::setregs(pid(tid), registers)?)
}

#[cfg(target_arch = "x86_64")]
fn set_call(tid: u32, own: &Registers, at: u64, number: i64, args: [u64; 3]) -> io::Result<()> {
    let [rdi, rsi, rdx] = args;
    // −1: no call was interrupted that the kernel should make again.
    let (rax, orig_rax) = (number.cast_unsigned(), u64::MAX);
    set_registers(tid, Registers { rip: at, rax, orig_rax, rdi, rsi, rdx, ..*own })
}

#[cfg(target_arch = "x86_64")]
fn result(tid: u32) -> io::Result<i64> {
    registers(tid).map(|registers| registers.rax.cast_signed())
}

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    use super::{Refusal, Registers, io};

    fn unsupported() -> io::Error {
        io::Error::from(io::ErrorKind::Unsupported)
    }

    pub(super) fn check(_: u32, _: u64, (): &Registers) -> Result<(), Refusal> {
        Err(Refusal::Never("rmap makes calls in x86-64 programs only".to_owned()))
    }

    pub(super) fn registers(_: u32) -> io::Result<Registers> {
        Ok(())
    }

    pub(super) fn set_registers(_: u32, (): Registers) -> io::Result<()> {
        Err(unsupported())
    }

    pub(super) fn set_call(_: u32, (): &Registers, _: u64, _: i64, _: [u64; 3]) -> io::Result<()> {
        Err(unsupported())
    }

    pub(super) fn result(_: u32) -> io::Result<i64> {
        Err(unsupported())
    }
}
#[cfg(not(target_arch = "x86_64"))]
use elsewhere::{check, registers, result, set_call, set_registers};
