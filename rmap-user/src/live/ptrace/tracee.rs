//! What is read of a tracee besides its stops: words and pieces of its memory, and its descriptors.
//!
//! Comes in: a thread or process that stands. Goes out: what was asked for, or why it could not be had.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// A word of a standing tracee's memory.
#[cfg(target_arch = "x86_64")]
pub(super) fn peek_word(tid: u32, address: u64) -> Option<u64> {
    let mut word = 0_u64;
    // SAFETY: the call of the kernel (not glibc's wrapper of it) writes one word to the address in
    // the last argument, and only reads the tracee's memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            libc::PTRACE_PEEKDATA,
            tid.cast_signed(),
            address,
            &raw mut word,
        )
    };
    (result != -1).then_some(word)
}

/// Whether a standing tracee is inside a restartable sequence (rseq(2)).
#[cfg(target_arch = "x86_64")]
pub(super) fn in_restartable_sequence(tid: u32, rip: u64) -> bool {
    /// Of `include/uapi/linux/ptrace.h`: address of `struct rseq`, its size, signature, flags.
    const GET_RSEQ_CONFIGURATION: u32 = 0x420f;
    /// Place of `rseq_cs` in `struct rseq`, of `start_ip` and `post_commit_offset` in `rseq_cs`.
    const SEQUENCE: u64 = 8;
    const START: u64 = 8;
    const LENGTH: u64 = 16;
    let mut configuration = [0_u64; 3];
    // SAFETY: the kernel writes as many bytes as the third argument says, at most these 24.
    let result = unsafe {
        libc::ptrace(
            GET_RSEQ_CONFIGURATION,
            tid.cast_signed(),
            size_of_val(&configuration),
            &raw mut configuration,
        )
    };
    let [area, ..] = configuration;
    if result == -1 || area == 0 {
        return false;
    }
    let word = |address: u64| peek_word(tid, address);
    let Some(sequence) = word(area.wrapping_add(SEQUENCE)).filter(|at| *at != 0) else {
        return false;
    };
    let (start, length) = (word(sequence.wrapping_add(START)), word(sequence.wrapping_add(LENGTH)));
    // What cannot be read is none that the kernel would honour.
    matches!((start, length), (Some(start), Some(length)) if rip.wrapping_sub(start) < length)
}

/// The bytes of the `syscall` instruction.
pub(super) const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// The memory of another process that a copy may be had of.
pub(super) fn memory(pid: u32, range: &Range<u64>) -> io::Result<Vec<u8>> {
    use nix::sys::uio::{RemoteIoVec, process_vm_readv};
    let place = |number: u64| usize::try_from(number).map_err(io::Error::other);
    let (base, len) = (place(range.start)?, place(range.end - range.start)?);
    let mut memory = vec![0; len];
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    let local = &mut [io::IoSliceMut::new(&mut memory)];
    let got = process_vm_readv(pid, local, &[RemoteIoVec { base, len }])?;
    memory.truncate(got);
    Ok(memory)
}

/// Whether a page of a thread's memory is resident: bit 63 of its entry in `pagemap` (kernel
/// `Documentation/admin-guide/mm/pagemap.rst`). True where nobody can say.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_resident(tid: u32, address: u64) -> bool {
    use std::os::unix::fs::FileExt as _;
    let mut entry = [0; 8];
    let at = address / 4096 * 8;
    let read = std::fs::File::open(format!("/proc/{tid}/pagemap"))
        .and_then(|pagemap| pagemap.read_exact_at(&mut entry, at));
    read.is_err() || u64::from_ne_bytes(entry) >> 63 == 1
}

/// A copy of a descriptor of another process.
pub(super) fn descriptor_of(pid: u32, number: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes numbers only.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let process = own(process)?;
    // SAFETY: pidfd_getfd takes numbers only.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

/// The descriptor that a call gave.
fn own(result: libc::c_long) -> io::Result<OwnedFd> {
    let Some(number) = i32::try_from(result).ok().filter(|number| *number >= 0) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
