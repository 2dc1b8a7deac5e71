//! Capabilities of a thread: which rmap keeps while it traces, and the kernel's calls
//! (capabilities(7)). glibc has no functions for them; the calls are safe between fork and exec.
//!
//! Comes in: nothing. Goes out: [`limit`] leaves the calling thread, and those that it makes later,
//! with [`KEPT`] alone. A command that runs as root has all of root's again when it executes, for the
//! bounding set stays as it was.

use std::io;

/// A capability that tracing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number (kernel `include/uapi/linux/capability.h`).
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// What for.
    pub purpose: &'static str,
}

const fn kept(number: u32, name: &'static str, purpose: &'static str) -> Kept {
    Kept { number, name, purpose }
}

/// What rmap keeps when its probes are loaded, if it had it. Loading them needed `CAP_PERFMON`,
/// starting a command as another user `CAP_SETUID`, `CAP_SETGID` and `CAP_SETPCAP`.
pub const KEPT: &[Kept] = &[
    kept(0, "CAP_CHOWN", "give outputs to the caller of sudo"),
    kept(1, "CAP_DAC_OVERRIDE", "write outputs in folders of other users"),
    kept(2, "CAP_DAC_READ_SEARCH", "read /proc and programs of other users"),
    kept(3, "CAP_FOWNER", "set the permissions of outputs that belong to others"),
    kept(5, "CAP_KILL", "forward signals to a command of another user"),
    kept(19, "CAP_SYS_PTRACE", "stop processes of other users, read their memory maps"),
    kept(21, "CAP_SYS_ADMIN", "read page frame numbers (pagemap)"),
    kept(23, "CAP_SYS_NICE", "keep the probes' maps undisturbed (realtime priority)"),
    kept(39, "CAP_BPF", "change the probes' maps"),
    kept(40, "CAP_CHECKPOINT_RESTORE", "open the files that processes have mapped"),
];

/// Drops what is not in [`KEPT`] from all sets of this thread.
///
/// # Errors
/// The kernel's.
pub fn limit() -> io::Result<()> {
    limit_to(KEPT)
}

/// The same where probes are attached later too: `CAP_PERFMON` stays.
///
/// # Errors
/// The kernel's.
pub fn limit_but_perfmon() -> io::Result<()> {
    let perfmon = kept(38, "CAP_PERFMON", "attach to allocators of processes that come later");
    limit_to(&[KEPT, &[perfmon]].concat())
}

fn limit_to(all: &[Kept]) -> io::Result<()> {
    let needed = all.iter().fold(0_u64, |set, kept| set | 1 << kept.number);
    let own = get()?;
    clear_ambient();
    set(Sets {
        effective: own.effective & needed,
        permitted: own.permitted & needed,
        inheritable: 0,
    })
}

/// `_LINUX_CAPABILITY_VERSION_3` (kernel `include/uapi/linux/capability.h`).
const VERSION: u32 = 0x2008_0522;

/// Sets of capabilities, bit N for number N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// In force.
    pub effective: u64,
    /// What may be put in force.
    pub permitted: u64,
    /// What a program with the same in its file may have.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// Half of each set; the lower one comes first.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Those of this thread.
///
/// # Errors
/// The kernel's.
pub fn get() -> io::Result<Sets> {
    let header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 writes two halves; both addresses live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let [low, high] = halves;
    let whole = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    Ok(Sets {
        effective: whole(low.effective, high.effective),
        permitted: whole(low.permitted, high.permitted),
        inheritable: whole(low.inheritable, high.inheritable),
    })
}

/// Sets those of this thread; other threads keep theirs.
///
/// # Errors
/// The kernel's: nobody can permit himself more.
pub fn set(sets: Sets) -> io::Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    let half = |shift: u32| {
        let part = |set: u64| (set >> shift & u64::from(u32::MAX)) as u32;
        Half {
            effective: part(sets.effective),
            permitted: part(sets.permitted),
            inheritable: part(sets.inheritable),
        }
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 reads two halves; both addresses live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Clears the ambient set of this thread. Kernels before 4.3 have none.
pub fn clear_ambient() {
    // SAFETY: prctl takes numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
}

/// Clears the bounding set of this thread, so that no program that it executes gets any. Needs
/// `CAP_SETPCAP`.
pub fn clear_bounding() {
    for capability in 0..64 {
        // SAFETY: prctl takes numbers only; a number that the kernel does not know is refused.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_thread_has_what_is_kept_and_others_have_all() {
        let before = get().unwrap();
        let (limited, made) = std::thread::spawn(|| {
            limit().unwrap();
            (get().unwrap(), std::thread::spawn(|| get().unwrap()).join().unwrap())
        })
        .join()
        .unwrap();
        let all = KEPT.iter().fold(0_u64, |set, kept| set | 1 << kept.number);
        assert_eq!(limited.permitted, before.permitted & all);
        assert_eq!(limited.effective & !all, 0);
        assert_eq!(limited.inheritable, 0);
        assert_eq!(made, limited, "threads inherit it");
        assert_eq!(get().unwrap(), before);
    }
}
