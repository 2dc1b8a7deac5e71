//! The matrix: which kernels rmap is tested on in virtual machines, and how.
//!
//! This is the only place that lists them: `cargo xtask vm`, CI (`cargo xtask vm --ci`) and the
//! table of kernels read it.

/// A kernel as a distribution's packages have it.
pub struct Kernel {
    /// The start of its release, and its name on the command line.
    pub name: &'static str,
    /// The archive and the suite of Debian that have its packages.
    pub archive: &'static str,
    /// The suite.
    pub suite: &'static str,
    /// What rmap does there, for docs/kernels.md.
    pub note: &'static str,
}

/// The kernels, the oldest first. Older suites lose their packages some day: what was fetched
/// before stays in `target/vm`.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        archive: "debian-security",
        suite: "bullseye-security",
        note: "refuses every kernel before 5.17 with one line: their BPF cannot walk a stack",
    },
    Kernel {
        name: "6.1",
        archive: "debian-security",
        suite: "bookworm-security",
        note: "everything; before 6.7 it reads `pagemap` instead of `PAGEMAP_SCAN`, of sparse segments \
               over 1 GiB only the ends; before 6.2 a fault's own pages are told by the thread's own \
               counters",
    },
    Kernel {
        name: "6.12",
        archive: "debian-security",
        suite: "bookworm-security",
        note: "everything",
    },
    Kernel { name: "7.2", archive: "debian", suite: "sid", note: "everything" },
];

/// The test programs that [`Tests::All`] means where processors are emulated: what depends on the
/// kernel most. The others repeat the same probes with other programs, and take an hour so.
pub const EMULATED: &[&str] = &["main_job", "files", "processes", "workloads", "refusals"];

/// Which tests a machine runs.
#[derive(Clone, Copy)]
pub enum Tests {
    /// All privileged ones; of [`EMULATED`] where processors are emulated.
    All,
    /// Those with one of these in their names.
    Named(&'static [&'static str]),
    /// The machine must refuse rmap, with these words in the one line that says it.
    Refused(&'static str),
}

/// A virtual machine: a kernel, how it is started, and what runs there.
pub struct Case {
    /// Its name: the kernel's, and what is special.
    pub name: &'static str,
    /// The kernel's name.
    pub kernel: &'static str,
    /// What is special, for docs/kernels.md.
    pub what: &'static str,
    /// Added to the kernel's command line.
    pub command_line: &'static str,
    /// Instead of two processors that walk four levels of page tables.
    pub machine: &'static [&'static str],
    /// Shell commands that set the machine up before the tests.
    pub set_up: &'static str,
    /// What runs.
    pub tests: Tests,
    /// What of it CI runs, where emulation is slow; `None`: nothing of this machine.
    pub ci: Option<&'static [&'static str]>,
}

/// Debian's kernels give huge pages to all memory; the tests' workloads ask for them where they
/// are meant.
const MADVISE: &str = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";

const PLAIN: Case = Case {
    name: "",
    kernel: "",
    what: "",
    command_line: "",
    machine: &[],
    set_up: MADVISE,
    tests: Tests::All,
    ci: None,
};

/// tracefs at the place where it was before Linux 4.1, and where many tools still mount it.
const OLD_TRACEFS: &str = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
mount -t debugfs debugfs /sys/kernel/debug && [ -d /sys/kernel/debug/tracing/events ]";

/// tracefs at its own place.
const TRACEFS: &str = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
mount -t tracefs tracefs /sys/kernel/tracing";

/// All that an administrator may tighten, no huge pages, and swap.
const STRICT: &str = "echo never > /sys/kernel/mm/transparent_hugepage/enabled
echo 4 > /proc/sys/kernel/perf_event_paranoid
echo 1 > /proc/sys/kernel/unprivileged_bpf_disabled
mount -o remount,hidepid=2 /proc
dd if=/dev/zero of=/swap bs=1M count=64 2> /dev/null && chmod 600 /swap
mkswap -q /swap && swapon /swap";

/// Control groups as before systemd took version 2.
const CGROUP_1: &str = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
umount /sys/fs/cgroup
mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory
mount -t cgroup -o memory none /sys/fs/cgroup/memory";

/// What shows most in a short time: every kind of fault's figures once.
const SHORT: &[&str] = &[
    "two_writers_own_their_pages",
    "a_write_over_the_zero_page",
    "a_private_file_mapping_is_read",
    "shared_memory_belongs_to",
];

/// What a special machine shows: the same, and what the doctor says.
const WITNESS: &[&str] = &[
    "the_doctor_names",
    "two_writers_own_their_pages",
    "huge_pages_are_counted",
    "a_write_over_the_zero_page",
    "a_private_file_mapping_is_read",
    "shared_memory_belongs_to",
];

/// What an unusual host shows: the same but for huge pages, and a limit of memory.
const HOST: &[&str] = &[
    "the_doctor_names",
    "two_writers_own_their_pages",
    "a_private_file_mapping_is_read",
    "shared_memory_belongs_to",
    "what_a_limit_of_memory_left",
    "inside_a_container",
    "nothing_is_mounted",
    "in_a_pid_namespace_of_its_own",
];

/// The machines. Those of one kernel stand together.
pub const CASES: &[Case] = &[
    Case {
        name: "5.10",
        kernel: "5.10",
        tests: Tests::Refused("Linux 5.10"),
        ci: Some(&[]),
        ..PLAIN
    },
    Case { name: "6.1", kernel: "6.1", set_up: OLD_TRACEFS, ci: Some(SHORT), ..PLAIN },
    Case {
        name: "6.1-cgroup1",
        kernel: "6.1",
        what: "control groups of version 1",
        set_up: CGROUP_1,
        tests: Tests::Named(HOST),
        ..PLAIN
    },
    Case { name: "6.12", kernel: "6.12", ci: Some(SHORT), ..PLAIN },
    Case {
        name: "6.12-integrity",
        kernel: "6.12",
        what: "`lockdown=integrity`",
        command_line: "lockdown=integrity",
        tests: Tests::Named(WITNESS),
        ..PLAIN
    },
    Case {
        name: "6.12-confidentiality",
        kernel: "6.12",
        what: "`lockdown=confidentiality`",
        command_line: "lockdown=confidentiality",
        tests: Tests::Refused("confidentiality"),
        ci: Some(&[]),
        ..PLAIN
    },
    Case {
        name: "6.12-strict",
        kernel: "6.12",
        what: "`perf_event_paranoid` 4, `unprivileged_bpf_disabled` 1, `/proc` with `hidepid=2`, no \
               huge pages (THP `never`), swap",
        set_up: STRICT,
        tests: Tests::Named(HOST),
        ..PLAIN
    },
    // As Debian's kernels come: every large enough piece of memory gets huge pages.
    Case {
        name: "6.12-huge",
        kernel: "6.12",
        what: "huge pages for all memory (THP `always`)",
        set_up: "echo always > /sys/kernel/mm/transparent_hugepage/enabled",
        tests: Tests::Named(WITNESS),
        ..PLAIN
    },
    Case { name: "7.2", kernel: "7.2", set_up: TRACEFS, ci: Some(SHORT), ..PLAIN },
    // Large machines: page tables of five levels, and many processors that may be plugged in.
    Case {
        name: "7.2-large",
        kernel: "7.2",
        what: "page tables of five levels, 128 possible CPUs",
        machine: &["-cpu", "max,la57=on", "-smp", "2,maxcpus=128"],
        tests: Tests::Named(WITNESS),
        ..PLAIN
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kernels_are_listed() {
        for (number, case) in CASES.iter().enumerate() {
            assert!(KERNELS.iter().any(|kernel| kernel.name == case.kernel), "{}", case.name);
            assert!(case.name.starts_with(case.kernel), "{}", case.name);
            assert!(CASES[..number].iter().all(|other| other.name != case.name), "{}", case.name);
        }
    }
}
