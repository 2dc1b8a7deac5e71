//! Tracepoints of single system calls, attached by their number: aya finds numbers only in a
//! tracefs that is mounted, and rmap mounts nothing behind the user's back.
//!
//! Comes in: a tracepoint's name of the category `syscalls` and a loaded program. Goes out: a
//! descriptor whose end detaches the program.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use aya::programs::ProgramFd;

use crate::live::tracefs::Tracefs;

/// One attached tracepoint.
pub(super) struct SyscallTracepoint {
    _event: OwnedFd,
}

/// `struct perf_event_attr` in its first published size (kernel
/// `include/uapi/linux/perf_event.h`, `PERF_ATTR_SIZE_VER0`), which every kernel takes.
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

const _: () = assert!(size_of::<PerfEventAttr>() == 64);

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: u64 = 1 << 3;
/// `_IOW('$', 8, __u32)`.
const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;
/// `_IO('$', 0)`.
const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;

impl SyscallTracepoint {
    /// Attaches `program` to `syscalls:NAME`. A BPF program on a tracepoint runs on all CPUs and
    /// for all processes, whatever CPU the event is opened on.
    pub(super) fn attach(
        tracefs: &Tracefs,
        name: &str,
        program: &ProgramFd,
    ) -> Result<Self, String> {
        let number = tracefs.tracepoint_id("syscalls", name).map_err(|e| e.to_string())?;
        let attr = PerfEventAttr {
            kind: PERF_TYPE_TRACEPOINT,
            size: size_of::<PerfEventAttr>() as u32,
            config: u64::from(number),
            sample_period: 1,
            ..Default::default()
        };
        let said =
            |what: &str| format!("{what} for syscalls:{name}: {}", io::Error::last_os_error());
        // SAFETY: the attribute lives through the call and says its own size.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                -1i32,
                0i32,
                -1i32,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        let fd =
            i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(|| said("perf_event_open"))?;
        // SAFETY: the kernel just gave this descriptor, and nobody else has it.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: both descriptors are open; the request takes the program's number.
        let set = unsafe {
            libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF, program.as_fd().as_raw_fd())
        };
        if set < 0 {
            return Err(said("PERF_EVENT_IOC_SET_BPF"));
        }
        // SAFETY: the descriptor is open; the request takes no argument.
        if unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0) } < 0 {
            return Err(said("PERF_EVENT_IOC_ENABLE"));
        }
        Ok(Self { _event: event })
    }
}
