//! The calls of a userfaultfd that write-protect memory asynchronously.
//!
//! Comes in: a descriptor of some process's memory. Goes out: ranges registered, protected, let go.
//! Interface: `Documentation/admin-guide/mm/userfaultfd.rst`, `include/uapi/linux/userfaultfd.h`.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_range`.
#[repr(C)]
struct Span {
    start: u64,
    len: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    range: Span,
    mode: u64,
    ioctls: u64,
}

/// `struct uffdio_writeprotect`.
#[repr(C)]
struct Protect {
    range: Span,
    mode: u64,
}

/// Of `include/uapi/asm-generic/ioctl.h`: both ways, only written by the kernel.
const BOTH: u64 = 3 << 30;
const READ: u64 = 2 << 30;

const fn number(way: u64, call: u64, bytes: usize) -> u64 {
    const KIND: u64 = 0xaa << 8;
    way | (bytes as u64) << 16 | KIND | call
}

const API: u64 = number(BOTH, 0x3f, size_of::<Api>());
const REGISTER: u64 = number(BOTH, 0x00, size_of::<Register>());
const UNREGISTER: u64 = number(READ, 0x01, size_of::<Span>());
const WRITEPROTECT: u64 = number(BOTH, 0x06, size_of::<Protect>());

/// `UFFD_API`.
const VERSION: u64 = 0xaa;
/// `UFFD_FEATURE_WP_ASYNC`. `UFFD_FEATURE_EVENT_FORK` must never be asked for: forks then wait for
/// whoever reads the descriptor.
const WP_ASYNC: u64 = 1 << 15;
/// `UFFDIO_REGISTER_MODE_WP`, `UFFDIO_WRITEPROTECT_MODE_WP`.
const MODE_WP: u64 = 1 << 1;
const PROTECT_WP: u64 = 1 << 0;

/// A userfaultfd that is ready for asynchronous write-protection.
#[derive(Debug)]
pub(super) struct Userfault(OwnedFd);

impl Userfault {
    /// Sets a new descriptor up.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let userfault = Self(fd);
        let mut api = Api { api: VERSION, features: WP_ASYNC, ioctls: 0 };
        userfault.ask(API, &mut api)?;
        Ok(userfault)
    }

    /// Prepares memory for protection; what is prepared already stays so. Nothing is protected yet.
    pub(super) fn register(&self, range: &Range<u64>) -> io::Result<()> {
        let mut register = Register { range: span(range), mode: MODE_WP, ioctls: 0 };
        self.ask(REGISTER, &mut register)
    }

    /// Lets memory go, and takes its protection away.
    pub(super) fn unregister(&self, range: &Range<u64>) -> io::Result<()> {
        self.ask(UNREGISTER, &mut span(range))
    }

    /// Protects memory.
    pub(super) fn protect(&self, range: &Range<u64>) -> io::Result<()> {
        self.ask(WRITEPROTECT, &mut Protect { range: span(range), mode: PROTECT_WP })
    }

    fn ask<T>(&self, call: u64, argument: &mut T) -> io::Result<()> {
        loop {
            // SAFETY: each call number holds the size of its own argument, which is of that type;
            // the kernel reads and writes nothing else of this process.
            let result = unsafe {
                libc::ioctl(self.0.as_raw_fd(), call as libc::Ioctl, std::ptr::from_mut(argument))
            };
            if result >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            // EAGAIN: the memory's mappings are just being changed.
            if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) {
                return Err(error);
            }
        }
    }
}

fn span(range: &Range<u64>) -> Span {
    Span { start: range.start, len: range.end - range.start }
}

/// Whether this kernel has what is needed, asked on rmap's own memory.
pub(super) fn available() -> Result<(), String> {
    const USER_MODE_ONLY: libc::c_int = 1;
    let flags = USER_MODE_ONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: userfaultfd takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    let Some(fd) = i32::try_from(result).ok().filter(|number| *number >= 0) else {
        return Err(format!("userfaultfd failed ({})", io::Error::last_os_error()));
    };
    // SAFETY: the kernel has just made it, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Userfault::new(fd).map(drop).map_err(|error| format!("UFFDIO_API refused it ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_numbers_of_the_kernels_header() {
        assert_eq!(API, 0xc018_aa3f);
        assert_eq!(REGISTER, 0xc020_aa00);
        assert_eq!(UNREGISTER, 0x8010_aa01);
        assert_eq!(WRITEPROTECT, 0xc018_aa06);
    }
}
