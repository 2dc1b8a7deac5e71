//! An instance of a kernel file system that is mounted nowhere.
//!
//! Comes in: a file system's name. Goes out: a descriptor of its root directory. Nobody else sees
//! the instance, and it is gone with its last descriptor; so rmap needs to mount nothing.
//!
//! Interface: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)` (since Linux 5.2), which take
//! `CAP_SYS_ADMIN`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const FSOPEN_CLOEXEC: libc::c_long = 1;
const FSCONFIG_CMD_CREATE: libc::c_long = 6;
const FSMOUNT_CLOEXEC: libc::c_long = 1;

/// Opens the root of a fresh instance of a file system.
///
/// # Errors
/// The kernel is too old, has no such file system, or refuses.
pub(super) fn open(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a terminated string that outlives the call.
    let context =
        descriptor(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) })?;
    let no_argument = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes no key, no value and no number.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            no_argument,
            no_argument,
            0,
        )
    };
    if created < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: numbers only.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

/// The descriptor that a system call returned, or the error that it left.
pub(super) fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the kernel just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
