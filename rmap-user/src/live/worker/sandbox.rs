//! What the reader's process gives up before it reads its first foreign byte.
//!
//! Comes in: this process, with one thread. Goes out: the same process without capabilities, as
//! nobody where it was root, without new privileges, without files to open (landlock), without the
//! network and without other system calls than those of reading and computing (seccomp), and with
//! limits on memory and processor time.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, rlim_t, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The user that belongs to nobody, and its group (Linux's overflow ids).
const NOBODY: u32 = 65534;
/// Stack for parsers that recurse, in bytes.
pub const STACK: u64 = 64 << 20;
/// The most memory that a task may be given, in bytes.
const MEMORY_MAX: u64 = 16 << 30;
/// What parsing takes beside the debug information, for which there is a limit of its own.
const MORE_TIME: Duration = Duration::from_secs(10);

/// This process is the reader: limits hold for it, and not for one that reads for itself.
static CONFINED: AtomicBool = AtomicBool::new(false);

/// Gives up all that reading does not need.
///
/// # Errors
/// The kernel refused, and what was attempted; then nothing foreign must be read.
pub fn enter() -> io::Result<()> {
    let failed = |what: &'static str| {
        move |error: &dyn std::fmt::Display| io::Error::other(format!("cannot {what}: {error}"))
    };
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, 64),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_STACK, STACK),
        (Resource::RLIMIT_AS, MEMORY_MAX),
    ] {
        let lowered = getrlimit(resource)
            .and_then(|(_, hard)| setrlimit(resource, most.min(hard), most.min(hard)));
        lowered.map_err(|e| failed("limit the reader")(&e))?;
    }
    // SAFETY: the call takes numbers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(failed("forgo new privileges")(&io::Error::last_os_error()));
    }
    landlocked().map_err(|e| failed("forgo files")(&e))?;
    unprivileged()?;
    let filter = filter().map_err(|e| failed("make the filter of system calls")(&e))?;
    seccompiler::apply_filter(&filter).map_err(|e| failed("forgo system calls")(&e))?;
    CONFINED.store(true, Relaxed);
    Ok(())
}

/// Limits the next task: to so many bytes of memory, all mappings counted, and to processor time
/// beside that of its debug information. Elsewhere than in the reader it does nothing.
pub fn limit(memory: u64, debug: Duration) {
    if !CONFINED.load(Relaxed) {
        return;
    }
    // The limits that are the most stay as they are, so a later task may have more.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_AS) {
        let _ = setrlimit(Resource::RLIMIT_AS, memory.min(hard), hard);
    }
    let used = getrusage(UsageWho::RUSAGE_SELF)
        .map_or(0, |usage| usage.user_time().tv_sec() + usage.system_time().tv_sec());
    let seconds = rlim_t::try_from(used).unwrap_or(0) + (debug + MORE_TIME).as_secs();
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CPU) {
        let _ = setrlimit(Resource::RLIMIT_CPU, seconds.min(hard), hard);
    }
}

/// Without a rule no file can be opened, but memfds, which are in no file system. Kernels without
/// landlock have the filter of system calls and the missing rights alone.
fn landlocked() -> Result<(), landlock::RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V3))?
        .create()?
        .restrict_self()?;
    Ok(())
}

/// No capabilities, and nobody's rights where there were root's.
fn unprivileged() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3` (Linux `uapi/linux/capability.h`).
    const VERSION_3: u32 = 0x2008_0522;
    // SAFETY: the calls take numbers and, of capset(2), a header and two sets of three words that
    // outlive it.
    let done = unsafe {
        let nobody = libc::geteuid() != 0
            || libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(NOBODY, NOBODY, NOBODY) == 0
                && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0;
        let none = [0_u32; 6];
        let header = Header { version: VERSION_3, pid: 0 };
        nobody && libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) == 0
    };
    if done {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(io::Error::other(format!("cannot give up the reader's rights: {error}")))
}

/// The system calls of reading, computing and answering; all others fail with `EPERM`.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let calls = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_ftruncate,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_getrusage,
        libc::SYS_gettid,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_memfd_create,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_newfstatat,
        libc::SYS_openat,
        libc::SYS_ppoll,
        libc::SYS_pread64,
        libc::SYS_prlimit64,
        libc::SYS_pwrite64,
        libc::SYS_read,
        libc::SYS_readlinkat,
        libc::SYS_recvmsg,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_sendmsg,
        libc::SYS_sendto,
        libc::SYS_setrlimit,
        libc::SYS_sigaltstack,
        libc::SYS_statx,
        libc::SYS_tgkill,
        libc::SYS_write,
    ];
    #[cfg(target_arch = "x86_64")]
    let older = [libc::SYS_poll, libc::SYS_readlink, libc::SYS_stat, libc::SYS_lstat];
    #[cfg(not(target_arch = "x86_64"))]
    let older = [];
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        calls.into_iter().chain(older).map(|call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()
}
