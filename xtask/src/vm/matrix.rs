//! The matrix: which kernels rmap is tested on in virtual machines, and how.
//!
//! This is the only place that lists them: `cargo xtask vm`, CI (`cargo xtask vm --ci`) and the
//! README's table of kernels read it.

/// A kernel as a distribution's packages have it.
pub struct Kernel {
    /// The start of its release, and its name on the command line.
    pub name: &'static str,
    /// The archive and the suite of Debian that have its packages.
    pub archive: &'static str,
    /// The suite.
    pub suite: &'static str,
}

/// The kernels, the oldest first. Older suites lose their packages some day: what was fetched
/// before stays in `target/vm`.
pub const KERNELS: &[Kernel] = &[
    Kernel { name: "5.10", archive: "debian-security", suite: "bullseye-security" },
    Kernel { name: "6.1", archive: "debian-security", suite: "bookworm-security" },
    Kernel { name: "6.12", archive: "debian-security", suite: "bookworm-security" },
    Kernel { name: "7.2", archive: "debian", suite: "sid" },
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
    command_line: "",
    machine: &[],
    set_up: MADVISE,
    tests: Tests::All,
    ci: None,
};

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

/// The machines. Those of one kernel stand together.
pub const CASES: &[Case] = &[
    Case {
        name: "5.10",
        kernel: "5.10",
        tests: Tests::Refused("Linux 5.10"),
        ci: Some(&[]),
        ..PLAIN
    },
    Case { name: "6.1", kernel: "6.1", ci: Some(SHORT), ..PLAIN },
    Case { name: "6.12", kernel: "6.12", ci: Some(SHORT), ..PLAIN },
    Case {
        name: "6.12-integrity",
        kernel: "6.12",
        command_line: "lockdown=integrity",
        tests: Tests::Named(WITNESS),
        ..PLAIN
    },
    Case {
        name: "6.12-confidentiality",
        kernel: "6.12",
        command_line: "lockdown=confidentiality",
        tests: Tests::Refused("confidentiality"),
        ci: Some(&[]),
        ..PLAIN
    },
    // As Debian's kernels come: every large enough piece of memory gets huge pages.
    Case {
        name: "6.12-huge",
        kernel: "6.12",
        set_up: "echo always > /sys/kernel/mm/transparent_hugepage/enabled",
        tests: Tests::Named(WITNESS),
        ..PLAIN
    },
    Case { name: "7.2", kernel: "7.2", ci: Some(SHORT), ..PLAIN },
    // Large machines: page tables of five levels, and many processors that may be plugged in.
    Case {
        name: "7.2-large",
        kernel: "7.2",
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
