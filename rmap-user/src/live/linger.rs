//! Lets descriptors go without waiting for it: the kernel waits for all readers of a tracepoint
//! when the last descriptor of one is closed (`tracepoint_synchronize_unregister`), tens of
//! milliseconds each, one after the other.
//!
//! Comes in: what owns the descriptors. A child that does nothing but end holds copies of them, so
//! that closing them here is not the last close. It keeps neither the terminal nor pipes open, and
//! is gone as soon as the kernel is done.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::unistd::{ForkResult, fork, pipe};

/// Drops `owner` while a child holds its descriptors.
pub fn drop_aside<T>(owner: T) {
    let Ok((wait, done)) = pipe() else { return };
    let others = others(&wait);
    // SAFETY: the child calls only what is async-signal-safe (close, setsid, read, _exit) on what
    // was prepared before.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => hold(&wait, &others),
        // The parent closes its copies; the end of `done` tells the child that it has.
        Ok(ForkResult::Parent { .. }) | Err(_) => {
            drop(owner);
            drop((done, wait));
        }
    }
}

/// Ends this process at once, in the middle of whatever its threads do, while a child holds its
/// descriptors.
pub fn exit(status: i32) -> ! {
    // The copy of `done` in this process ends with it.
    if let Ok((wait, done)) = pipe() {
        let others = others(&wait);
        // SAFETY: as above.
        if let Ok(ForkResult::Child) = unsafe { fork() } {
            hold(&wait, &others);
        }
        std::mem::forget(done);
    }
    // SAFETY: _exit runs nothing of this process.
    unsafe { libc::_exit(status) }
}

/// The descriptors that the child must not keep: the standard ones, and every file, pipe or socket
/// by which somebody may wait for rmap's end. Those of the kernel's tracing are anonymous inodes.
fn others(wait: &OwnedFd) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let listed = entries.filter_map(|entry| {
        let fd: i32 = entry.file_name().to_str()?.parse().ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        let anonymous = target.to_str().is_some_and(|name| name.starts_with("anon_inode:"));
        (!anonymous && fd != wait.as_raw_fd()).then_some(fd)
    });
    listed.chain(0..=2).collect()
}

/// The child: waits until the parent has closed its copies, and ends.
fn hold(wait: &OwnedFd, others: &[i32]) -> ! {
    for fd in others {
        // SAFETY: closing a descriptor that may be closed already harms nothing here; nobody in
        // this process uses it any more.
        unsafe { libc::close(*fd) };
    }
    // SAFETY: the calls take numbers and one byte of this frame, which outlives them.
    unsafe {
        libc::setsid();
        let mut byte = 0u8;
        libc::read(wait.as_raw_fd(), (&raw mut byte).cast(), 1);
        libc::_exit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_dropped_and_nobody_waits_for_the_child() {
        let (read, write) = pipe().unwrap();
        drop_aside(write);
        // The child has closed its copy of the pipe, so this ends.
        let mut byte = [0];
        assert_eq!(nix::unistd::read(&read, &mut byte).unwrap(), 0);
    }
}
