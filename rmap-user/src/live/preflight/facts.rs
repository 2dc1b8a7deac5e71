//! What can be found out about this machine, as plain data.
//!
//! Comes in: `/proc`, `/sys`, and a few system calls that change nothing. Goes out: [`Facts`].

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::live::procfs::Status;
use crate::live::release::version;
use crate::live::{btf, detached, procfs as snapshots, tracefs};

/// What was found out. Where a fact may be missing, the reason is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Effective user id.
    pub euid: u32,
    /// `CapEff`, one bit for each capability.
    pub capabilities: Option<u64>,
    /// Whether user ids are the machine's own, not those of a user namespace.
    pub initial_user_namespace: Option<bool>,
    /// Whether process ids are the machine's own, not those of a container.
    pub initial_pid_namespace: Option<bool>,
    /// As `uname -r`.
    pub release: String,
    /// As `uname -m`.
    pub arch: String,
    /// Major and minor of the release.
    pub version: Option<(u32, u32)>,
    /// `bpf(2)` may be used.
    pub bpf: Result<(), String>,
    /// `BTF` can be read: its bytes.
    pub btf: Result<u64, String>,
    /// The chosen word of `lockdown`: `none`, `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
    /// Where tracefs is mounted; empty: an instance of our own.
    pub tracefs: Result<String, String>,
    /// The tracepoint of page faults is there (x86 and few others have it).
    pub fault_tracepoint: Option<bool>,
    /// smaps can be read.
    pub smaps: Result<(), String>,
    /// `PAGEMAP_SCAN` works.
    pub pagemap_scan: Result<bool, String>,
    /// Whether memory can be write-protected asynchronously; else why not.
    pub write_protect: Result<(), String>,
    /// `PROCMAP_QUERY` works.
    pub procmap_query: Result<bool, String>,
    /// `/proc/kpageflags` can be opened.
    pub kpageflags: Result<(), String>,
    /// `/proc/sys/kernel/perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// `/proc/sys/kernel/unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i32>,
    /// `/proc/sys/kernel/yama/ptrace_scope`; `None`: no Yama.
    pub ptrace_scope: Option<i32>,
    /// The chosen word of `transparent_hugepage/enabled`.
    pub huge_pages: Option<String>,
    /// Bytes of swap space.
    pub swap_bytes: Option<u64>,
    /// Version of the cgroup hierarchy at `/sys/fs/cgroup`.
    pub cgroup_version: Option<u32>,
    /// Bytes in a page.
    pub page_bytes: u64,
    /// As in `/sys/devices/system/cpu/possible`.
    pub possible_cpus: Option<String>,
}

/// `PROC_PID_INIT_INO` (kernel `include/linux/proc_ns.h`): the initial namespace has this number on
/// every machine.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

impl Facts {
    /// Looks at this machine.
    #[must_use]
    pub fn gather() -> Self {
        let (release, arch) = nix::sys::utsname::uname().map_or_else(
            |_| (String::new(), String::new()),
            |name| {
                let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
                (text(name.release()), text(name.machine()))
            },
        );
        let lockdown = lockdown();
        // There the kernel refuses every file of tracefs, and 6.12 crashes when an instance that
        // was refused its files is let go (kernel `tracefs_destroy_inode`).
        let closed = lockdown.as_deref() == Some("confidentiality");
        let tracefs = if closed { None } else { Some(tracefs::open()) };
        let pid = std::process::id();
        Self {
            euid: nix::unistd::geteuid().as_raw(),
            capabilities: capabilities(),
            initial_user_namespace: fs::read_to_string("/proc/self/uid_map")
                .ok()
                .map(|map| is_initial(&map)),
            initial_pid_namespace: fs::read_link("/proc/self/ns/pid")
                .ok()
                .map(|link| link.as_os_str() == INITIAL_PID_NAMESPACE),
            version: version(&release),
            release,
            arch,
            bpf: bpf().map_err(|e| e.to_string()),
            btf: fs::metadata(btf::VMLINUX).map(|meta| meta.len()).map_err(|e| e.to_string()),
            lockdown,
            fault_tracepoint: tracefs.as_ref().and_then(|t| t.as_ref().ok()).map(|tracefs| {
                !matches!(
                    tracefs.tracepoint_id("exceptions", "page_fault_user"),
                    Err(tracefs::Error::NoTracepoint(_))
                )
            }),
            tracefs: match tracefs {
                None => Err("not looked at under lockdown=confidentiality".to_owned()),
                Some(tracefs) => tracefs
                    .map(|t| t.mounted_at().map_or_else(String::new, |p| p.display().to_string()))
                    .map_err(|e| e.to_string()),
            },
            smaps: snapshots::read_segments(pid, pid).map(drop).map_err(|e| e.to_string()),
            write_protect: crate::live::rewrite::available(),
            pagemap_scan: snapshots::pagemap_scan_is_supported().map_err(|e| e.to_string()),
            procmap_query: procmap_query().map_err(|e| e.to_string()),
            kpageflags: File::open("/proc/kpageflags").map(drop).map_err(|e| e.to_string()),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
            huge_pages: fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
                .ok()
                .and_then(|text| chosen(&text)),
            swap_bytes: fs::read_to_string("/proc/meminfo").ok().and_then(|text| swap_total(&text)),
            cgroup_version: cgroup_version(),
            page_bytes: procfs::page_size(),
            possible_cpus: word("/sys/devices/system/cpu/possible"),
        }
    }
}

fn word(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<i32> {
    word(path)?.parse().ok()
}

fn capabilities() -> Option<u64> {
    Status::own().ok()?.bits("CapEff")
}

/// In the initial user namespace every id stands for itself.
fn is_initial(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Of `always [madvise] never` the word in brackets.
fn chosen(text: &str) -> Option<String> {
    text.split_once('[')?.1.split_once(']').map(|(word, _)| word.to_owned())
}

fn swap_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("SwapTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// securityfs is often not mounted where rmap runs (containers, small systems).
fn lockdown() -> Option<String> {
    if let Ok(text) = fs::read_to_string("/sys/kernel/security/lockdown") {
        return chosen(&text);
    }
    let root = detached::open(c"securityfs").ok()?;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let fd = openat(&root, "lockdown", flags, Mode::empty()).ok()?;
    chosen(&io::read_to_string(File::from(fd)).ok()?)
}

fn cgroup_version() -> Option<u32> {
    let kind = nix::sys::statfs::statfs("/sys/fs/cgroup").ok()?.filesystem_type();
    match kind {
        nix::sys::statfs::CGROUP2_SUPER_MAGIC => Some(2),
        nix::sys::statfs::TMPFS_MAGIC | nix::sys::statfs::CGROUP_SUPER_MAGIC => Some(1),
        _ => None,
    }
}

/// Makes the smallest map there is, and closes it: a container's seccomp filter, a sysctl or a
/// missing capability shows here.
fn bpf() -> io::Result<()> {
    /// The start of `union bpf_attr` for `BPF_MAP_CREATE`.
    #[repr(C)]
    struct MapCreate {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let map =
        MapCreate { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 8, max_entries: 1 };
    // SAFETY: the kernel reads as many bytes of `map` as it is told.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const map, size_of::<MapCreate>())
    };
    detached::descriptor(result).map(drop)
}

/// Whether this kernel has `PROCMAP_QUERY` (since Linux 6.11), asked on our own memory.
fn procmap_query() -> io::Result<bool> {
    /// `struct procmap_query` up to `build_id_addr`; all of it but three numbers is output.
    #[repr(C)]
    struct Query {
        size: u64,
        flags: u64,
        address: u64,
        rest: [u64; 10],
    }
    const _: () = assert!(size_of::<Query>() == 104);
    /// `_IOWR('f', 17, struct procmap_query)`.
    const PROCMAP_QUERY: u64 = 3 << 30 | 104 << 16 | (b'f' as u64) << 8 | 17;
    const COVERING_OR_NEXT_VMA: u64 = 0x10;
    let file = File::open("/proc/self/maps")?;
    let size = size_of::<Query>() as u64;
    let mut query = Query { size, flags: COVERING_OR_NEXT_VMA, address: 0, rest: [0; 10] };
    // SAFETY: `query` has the layout of `struct procmap_query` and says its size; the lengths of
    // the name and of the build id are 0, so the kernel writes to no other place.
    let result =
        unsafe { libc::ioctl(file.as_raw_fd(), PROCMAP_QUERY as libc::Ioctl, &raw mut query) };
    Ok(result == 0)
}

#[cfg(test)]
impl Facts {
    /// A machine on which all is well, for tests.
    pub(crate) fn good() -> Self {
        Self {
            euid: 0,
            capabilities: Some(u64::MAX),
            initial_user_namespace: Some(true),
            initial_pid_namespace: Some(true),
            release: "6.18.1".into(),
            arch: "x86_64".into(),
            version: Some((6, 18)),
            bpf: Ok(()),
            btf: Ok(5 << 20),
            lockdown: Some("integrity".into()),
            tracefs: Ok(String::new()),
            fault_tracepoint: Some(true),
            smaps: Ok(()),
            pagemap_scan: Ok(true),
            write_protect: Ok(()),
            procmap_query: Ok(true),
            kpageflags: Ok(()),
            perf_event_paranoid: Some(2),
            unprivileged_bpf_disabled: Some(2),
            ptrace_scope: None,
            huge_pages: Some("madvise".into()),
            swap_bytes: Some(0),
            cgroup_version: Some(2),
            page_bytes: 4096,
            possible_cpus: Some("0-1".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.10.0"), Some((5, 10)));
        assert_eq!(version("x"), None);
        assert_eq!(chosen("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(chosen("none"), None);
        assert_eq!(swap_total("MemTotal: 1 kB\nSwapTotal:       8 kB\n"), Some(8192));
        assert_eq!(swap_total("SwapTotal: 18446744073709551615 kB"), None);
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n"));
    }

    #[test]
    fn this_machine_tells_something() {
        let facts = Facts::gather();
        assert!(facts.version.is_some() && facts.page_bytes >= 4096);
        assert_eq!(facts.smaps, Ok(()));
        if facts.version >= Some((6, 11)) {
            assert_eq!((facts.pagemap_scan, facts.procmap_query), (Ok(true), Ok(true)));
        }
    }
}
