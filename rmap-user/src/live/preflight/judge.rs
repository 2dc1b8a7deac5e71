//! What follows from the facts: pure.
//!
//! Comes in: [`Facts`]. Goes out: a [`Preflight`].

use super::{Facts, Item, Preflight, State};

/// The youngest helper that the probes cannot do without is `bpf_loop`, which walks stacks (5.17);
/// `bpf_task_pt_regs` came with 5.15, `bpf_get_current_task_btf` with 5.11.
const OLDEST_KERNEL: (u32, u32) = (5, 17);

/// The machine that the probes know (`rmap-ebpf/src/arch`), as `uname -m`.
const ARCH: &str = "x86_64";

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

pub(super) fn judge(facts: &Facts) -> Preflight {
    let mut verdict = Verdict(Preflight { items: Vec::new(), obstacles: Vec::new() });
    let v = &mut verdict;
    privileges(v, facts);
    kernel(v, facts);
    hooks(v, facts);
    snapshots(v, facts);
    machine(v, facts);
    verdict.0
}

struct Verdict(Preflight);

impl Verdict {
    fn item(&mut self, name: &'static str, state: State, follows: impl Into<String>) {
        self.0.items.push(Item { name, state, follows: follows.into() });
    }

    /// An item without which the main job cannot run.
    fn obstacle(&mut self, name: &'static str, follows: impl Into<String>) {
        let follows = follows.into();
        self.0.obstacles.push(follows.clone());
        self.item(name, State::No, follows);
    }
}

fn privileges(v: &mut Verdict, facts: &Facts) {
    let has = |bit: u32| facts.capabilities.is_none_or(|all| all >> bit & 1 != 0);
    // CAP_SYS_ADMIN stands for the two that were split off it.
    let needed = [
        ("CAP_BPF", has(CAP_BPF) || has(CAP_SYS_ADMIN)),
        ("CAP_PERFMON", has(CAP_PERFMON) || has(CAP_SYS_ADMIN)),
        ("CAP_SYS_PTRACE", has(CAP_SYS_PTRACE)),
    ];
    let missing: Vec<&str> = needed.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
    let user = if facts.euid == 0 { "root".to_owned() } else { format!("user {}", facts.euid) };
    if missing.is_empty() {
        v.item("privileges", State::Yes, format!("{user}, with the capabilities that probes need"));
    } else {
        let missing = missing.join(", ");
        let what = format!("{user} without {missing}: probes cannot be loaded; run rmap as root");
        v.obstacle("privileges", what);
    }
    if has(CAP_SYS_ADMIN) {
        v.item("CAP_SYS_ADMIN", State::Yes, "page frames can be told apart");
    } else {
        v.item("CAP_SYS_ADMIN", State::No, "dirty folios of files are not told apart; run as root");
    }
    match facts.initial_user_namespace {
        Some(true) => v.item("user namespace", State::Yes, "the machine's own"),
        Some(false) => v.obstacle(
            "user namespace",
            "inside a user namespace, where root may not use BPF: run rmap as root of the machine",
        ),
        None => v.item("user namespace", State::Unknown, "/proc/self/uid_map cannot be read"),
    }
    match facts.initial_pid_namespace {
        Some(true) => v.item("PID namespace", State::Yes, "the machine's own"),
        Some(false) => v.obstacle(
            "PID namespace",
            "inside a PID namespace (a container), where process ids are not the kernel's: run \
             rmap outside of it, which sees the processes inside too, or in a container with the \
             machine's own (docker run --pid=host)",
        ),
        None => v.item("PID namespace", State::Unknown, "/proc/self/ns/pid cannot be read"),
    }
    match facts.ptrace_scope {
        None => v.item("ptrace", State::Yes, "no Yama: processes can be stopped at their exit"),
        Some(scope @ ..=2) => {
            let what = format!("Yama's ptrace_scope is {scope}: enough for root");
            v.item("ptrace", State::Yes, what);
        }
        Some(_) => v.item(
            "ptrace",
            State::No,
            "Yama's ptrace_scope is 3: no snapshot at exit, only periodic ones (--interval)",
        ),
    }
}

fn kernel(v: &mut Verdict, facts: &Facts) {
    let release = &facts.release;
    match facts.version {
        Some(version) if version < OLDEST_KERNEL => {
            let (major, minor) = OLDEST_KERNEL;
            let what = format!(
                "Linux {release} is too old: its BPF cannot walk a stack; the probes need {major}.{minor} or later"
            );
            v.obstacle("kernel", what);
        }
        Some(_) if facts.arch != ARCH => {
            let what = format!(
                "this machine is {}: the probes know the registers, page tables and unwind \
                 rules of {ARCH} alone; 'rmap pmap' and what reads recordings work here",
                facts.arch
            );
            v.obstacle("machine", what);
        }
        Some(_) => v.item("kernel", State::Yes, format!("Linux {release} on {}", facts.arch)),
        None => {
            v.item("kernel", State::Unknown, format!("the release {release:?} is not understood"))
        }
    }
    match facts.lockdown.as_deref() {
        Some("none") => v.item("lockdown", State::Yes, "none: every kind of probe is allowed"),
        Some(mode @ "integrity") => v.item(
            "lockdown",
            State::Partly,
            format!("{mode}: kprobes and fentry are refused; rmap uses tracepoints"),
        ),
        Some(mode @ "confidentiality") => v.obstacle(
            "lockdown",
            format!("lockdown={mode} keeps BPF from reading memory: boot with lockdown=integrity or none"),
        ),
        _ => v.item("lockdown", State::Unknown, "cannot be told from here; rmap uses tracepoints anyway"),
    }
}

fn hooks(v: &mut Verdict, facts: &Facts) {
    match &facts.bpf {
        Ok(()) => v.item("bpf(2)", State::Yes, "maps can be made"),
        Err(why) => v.obstacle(
            "bpf(2)",
            format!(
                "the bpf system call fails ({why}): run as root, outside of a container's filter"
            ),
        ),
    }
    match &facts.btf {
        Ok(bytes) => v.item("BTF", State::Yes, format!("the kernel's types, {} kB", bytes >> 10)),
        Err(why) => v.obstacle(
            "BTF",
            format!(
                "no /sys/kernel/btf/vmlinux ({why}): needs a kernel with CONFIG_DEBUG_INFO_BTF=y"
            ),
        ),
    }
    match &facts.tracefs {
        Ok(place) if place.is_empty() => {
            v.item("tracefs", State::Yes, "not mounted; rmap opens an instance of its own");
        }
        Ok(place) => v.item("tracefs", State::Yes, format!("mounted at {place}")),
        Err(why) => v.obstacle("tracefs", why.clone()),
    }
    match facts.fault_tracepoint {
        Some(true) => v.item("page_fault_user", State::Yes, "each fault tells read from write"),
        Some(false) => v.obstacle(
            "page_fault_user",
            format!("this kernel ({}) has no tracepoint exceptions:page_fault_user", facts.arch),
        ),
        None => v.item("page_fault_user", State::Unknown, "tracefs cannot be read"),
    }
    for (name, value, unprivileged) in [
        ("perf_event_paranoid", facts.perf_event_paranoid, 1),
        ("unprivileged_bpf_disabled", facts.unprivileged_bpf_disabled, 0),
    ] {
        let what = match value {
            Some(value) if value > unprivileged => format!("{value}: for root only, as rmap runs"),
            Some(value) => format!("{value}"),
            None => "this kernel has no such setting".to_owned(),
        };
        v.item(name, State::Note, what);
    }
}

fn snapshots(v: &mut Verdict, facts: &Facts) {
    match &facts.smaps {
        Ok(()) => v.item("smaps", State::Yes, "sizes of segments, as the kernel counts them"),
        Err(why) => v.obstacle("smaps", why.clone()),
    }
    match &facts.pagemap_scan {
        Ok(true) => v.item("PAGEMAP_SCAN", State::Yes, "which pages are there, holes cost nothing"),
        Ok(false) => v.item(
            "PAGEMAP_SCAN",
            State::Partly,
            "needs Linux 6.7; pagemap is read instead, of sparse segments over 1 GiB only the ends",
        ),
        Err(why) => v.item("PAGEMAP_SCAN", State::No, format!("/proc/self/pagemap: {why}")),
    }
    match &facts.write_protect {
        Ok(()) => v.item(
            "--rewrites",
            State::Yes,
            "by userfaultfd: pages are protected, the first write to each is counted; huge pages \
             are left alone, unless --split-huge splits them",
        ),
        Err(why) => v.item("--rewrites", State::No, format!("not by userfaultfd: {why}")),
    }
    match &facts.procmap_query {
        Ok(true) => v.item("PROCMAP_QUERY", State::Yes, "one mapping is found without reading all"),
        Ok(false) => {
            v.item("PROCMAP_QUERY", State::Partly, "needs Linux 6.11; maps is read instead")
        }
        Err(why) => v.item("PROCMAP_QUERY", State::No, format!("/proc/self/maps: {why}")),
    }
    match &facts.kpageflags {
        Ok(()) => {
            v.item("kpageflags", State::Yes, "dirty and large folios of files are told apart")
        }
        Err(why) => v.item(
            "kpageflags",
            State::No,
            format!("{why}: pages dirtied by others cannot be told from the process's own"),
        ),
    }
}

fn machine(v: &mut Verdict, facts: &Facts) {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    let huge = match facts.huge_pages.as_deref() {
        Some("never") => "never".to_owned(),
        Some(mode) => format!("{mode}: one fault may bring 2 MiB"),
        None => "this kernel has none".to_owned(),
    };
    v.item("huge pages", State::Note, huge);
    let swap = match facts.swap_bytes {
        Some(0) => "none: anonymous pages stay".to_owned(),
        Some(bytes) => format!("{} MiB: anonymous pages may leave and come back", bytes >> 20),
        None => "not known".to_owned(),
    };
    v.item("swap", State::Note, swap);
    let cgroup = facts.cgroup_version.map(|version| format!("version {version}"));
    v.item("cgroup", State::Note, known(&cgroup));
    v.item("page size", State::Note, format!("{} bytes", facts.page_bytes));
    v.item("possible CPUs", State::Note, known(&facts.possible_cpus));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(change: impl FnOnce(&mut Facts)) -> Option<String> {
        let mut facts = Facts::good();
        change(&mut facts);
        judge(&facts).first_obstacle()
    }

    #[test]
    fn a_good_machine_has_no_obstacle() {
        assert_eq!(first(|_| {}), None);
        assert_eq!(first(|f| f.capabilities = None), None, "what is not known is tried");
        assert_eq!(first(|f| f.lockdown = None), None);
        assert_eq!(first(|f| f.pagemap_scan = Ok(false)), None);
        assert!(first(|f| f.version = Some((5, 16))).unwrap().contains("5.17"));
        assert_eq!(first(|f| f.version = Some((5, 17))), None);
        let fine_grained = 1 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_SYS_PTRACE;
        assert_eq!(first(|f| (f.euid, f.capabilities) = (7, Some(fine_grained))), None);
    }

    #[test]
    fn each_obstacle_is_one_line_with_what_to_do() {
        let line = first(|f| (f.euid, f.capabilities) = (1000, Some(0))).unwrap();
        assert_eq!(
            line,
            "user 1000 without CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE: probes cannot be loaded; \
             run rmap as root"
        );
        assert!(first(|f| f.version = Some((5, 10))).unwrap().contains("5.17"));
        assert!(first(|f| f.btf = Err("x".into())).unwrap().contains("CONFIG_DEBUG_INFO_BTF"));
        let other = first(|f| f.arch = "aarch64".into()).unwrap();
        assert!(other.starts_with("this machine is aarch64: the probes know"), "{other}");
        assert!(first(|f| f.bpf = Err("x".into())).unwrap().contains("bpf"));
        assert!(first(|f| f.tracefs = Err("no tracefs".into())).unwrap().contains("tracefs"));
        assert!(first(|f| f.fault_tracepoint = Some(false)).unwrap().contains("page_fault_user"));
        assert!(first(|f| f.lockdown = Some("confidentiality".into())).unwrap().contains("boot"));
        assert!(first(|f| f.initial_user_namespace = Some(false)).is_some());
        let container = first(|f| f.initial_pid_namespace = Some(false)).unwrap();
        assert!(container.contains("PID namespace") && container.contains("--pid=host"));
        assert!(first(|f| f.smaps = Err("no smaps".into())).is_some());
    }
}
