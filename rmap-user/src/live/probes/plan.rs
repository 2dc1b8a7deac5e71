//! The probe plan: every probe, whether the main job needs it, and what follows without it.

use std::{collections::BTreeMap, fs, path::Path, thread};

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{
        PerfEvent, Program, ProgramError, RawTracePoint, TracePoint, UProbe,
        perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
        uprobe::UProbeScope,
    },
    util::online_cpus,
};

use super::{Error, Offsets, syscall_tracepoint::SyscallTracepoint};
use crate::live::tracefs;
use crate::live::unwind::PYTHON_FRAMES;
use crate::report::ALLOCATOR_PROBE;

/// How a probe is attached.
#[derive(Clone, Copy, Debug)]
enum At {
    /// A raw tracepoint by its name.
    Raw(&'static str),
    /// A perf software event, on every CPU, each occurrence.
    Software(SoftwareEvent),
    /// Tracepoints of single system calls, each with `sys_enter_` or `sys_exit_` before its name.
    Calls(&'static str, &'static [&'static str]),
}

/// One probe of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Its name in the report.
    pub name: &'static str,
    /// The program in the object.
    program: &'static str,
    /// On kernels that put programs aside: those that run before it, and walk the stack.
    before: &'static [&'static str],
    /// On those kernels: those that work where `program` and the ones before were left out.
    again: &'static [&'static str],
    /// On those kernels: those that run last.
    behind: &'static [&'static str],
    at: At,
    /// What rmap knows by it.
    pub gives: &'static str,
    /// The main job cannot do without it.
    pub needed: bool,
    /// What follows without it.
    pub without: &'static str,
}

impl Planned {
    /// Its programs, in the order in which they must be attached: a tracepoint runs what came first
    /// first (kernel `func_add`, `bpf_prog_array_copy`). `preempted`: the kernel puts programs aside.
    pub(super) fn programs(&self, preempted: bool) -> impl Iterator<Item = &'static str> {
        let of = |programs: &'static [&'static str]| if preempted { programs } else { &[] };
        let tellers = [&self.program].into_iter().chain(of(self.again));
        of(self.before).iter().chain(tellers).chain(of(self.behind)).copied()
    }

    /// Those of them that tell what happened.
    pub(super) fn tellers(&self) -> impl Iterator<Item = &'static str> {
        [&self.program].into_iter().chain(self.again).copied()
    }

    /// Whether the kernel counts how often it was left out: at tracepoints it does.
    pub(super) const fn counts_misses(&self) -> bool {
        matches!(self.at, At::Raw(_) | At::Calls(..))
    }

    /// Whether what others tell means the same without some of what it tells. Where a counter of
    /// resident pages was not seen to move, the page table is looked at.
    pub(super) fn spare(&self) -> bool {
        self.program == "rss_stat" || !self.needed && self.again.is_empty()
    }
}

/// Calls that are told before they take effect, because another thread may be given the same
/// addresses as soon as they have.
const AT_ENTRY: &[&str] = &["munmap", "madvise", "mremap", "brk", "shmdt"];
/// Calls that are reported when their result is known; `munmap`, `madvise` and `shmdt` only if they
/// failed.
const AT_EXIT: &[&str] = &[
    "mmap",
    "mremap",
    "brk",
    "mprotect",
    "pkey_mprotect",
    "shmat",
    "mlock",
    "mlock2",
    "mlockall",
    "munlock",
    "munlockall",
    "munmap",
    "madvise",
    "shmdt",
];
/// Calls that a kernel may have been built without (`CONFIG_ARCH_HAS_PKEYS`).
const NOT_EVERYWHERE: &[&str] = &["pkey_mprotect"];

/// Calls by which a thread becomes another's tracer or tracee.
const TRACING: &[&str] = &["ptrace", "clone"];

/// The plan, in the order in which the probes are attached.
pub const PLAN: &[Planned] = &[
    Planned {
        name: "raw_tp:page_fault_user",
        program: "page_fault_user",
        before: &[],
        again: &[],
        behind: &[],
        at: At::Raw("page_fault_user"),
        gives: "faults of the program: address and kind of access",
        needed: true,
        without: "",
    },
    Planned {
        name: "raw_tp:page_fault_kernel",
        program: "page_fault_kernel",
        before: &[],
        again: &[],
        behind: &[],
        at: At::Raw("page_fault_kernel"),
        gives: "faults that the kernel takes for the program (read(2) into a buffer)",
        needed: true,
        without: "",
    },
    Planned {
        name: "raw_tp:rss_stat",
        program: "rss_stat",
        before: &[],
        again: &[],
        behind: &[],
        at: At::Raw("rss_stat"),
        gives: "which counters of resident pages a fault moved, and memory that comes with no fault",
        needed: true,
        without: "",
    },
    Planned {
        name: "perf:minor-faults",
        program: "minor_fault",
        before: &[],
        again: &[],
        behind: &[],
        at: At::Software(SoftwareEvent::PageFaultsMin),
        gives: "the end of a fault",
        needed: true,
        without: "",
    },
    Planned {
        name: "perf:major-faults",
        program: "major_fault",
        before: &[],
        again: &[],
        behind: &[],
        at: At::Software(SoftwareEvent::PageFaultsMaj),
        gives: "the end of a fault that waited for I/O",
        needed: true,
        without: "",
    },
    Planned {
        name: "raw_tp:sched_process_fork",
        program: "process_fork",
        before: &["fork_stack", "fork_stack_again"],
        again: &["process_fork_again"],
        behind: &[],
        at: At::Raw("sched_process_fork"),
        gives: "children and what they inherit",
        needed: true,
        without: "",
    },
    Planned {
        name: "raw_tp:sched_process_exec",
        program: "process_exec",
        before: &[],
        again: &["process_exec_again"],
        behind: &[],
        at: At::Raw("sched_process_exec"),
        gives: "new programs",
        needed: true,
        without: "",
    },
    Planned {
        name: "raw_tp:sched_process_exit",
        program: "process_exit",
        before: &[],
        again: &["process_exit_again"],
        behind: &[],
        at: At::Raw("sched_process_exit"),
        gives: "ends of threads and processes",
        needed: true,
        without: "",
    },
    Planned {
        name: "raw_tp:writeback_dirty_folio",
        program: "folio_dirtied",
        before: &[],
        again: &[],
        behind: &[],
        at: At::Raw("writeback_dirty_folio"),
        gives: "who writes files that are mapped, by write(2) or elsewhere",
        needed: false,
        without: "pages of files that others make dirty have a reason and no code path",
    },
    Planned {
        name: "raw_tp:mm_filemap_delete_from_page_cache",
        program: "folio_removed",
        before: &[],
        again: &[],
        behind: &[],
        at: At::Raw("mm_filemap_delete_from_page_cache"),
        gives: "who takes the pages of mapped files away (truncation, reclaim)",
        needed: false,
        without: "who gave pages of files back is not known where another than munmap or madvise \
                  did",
    },
    Planned {
        name: "tp:syscalls:sys_enter of mapping calls",
        program: "map_enter",
        before: &["call_stack", "call_stack_again"],
        again: &["map_enter_again", "map_enter_last"],
        behind: &["call_wake"],
        at: At::Calls("sys_enter_", AT_ENTRY),
        gives: "who gives memory back",
        needed: false,
        without: "who mapped a segment and who gave memory back is not known, and memory that \
                  mremap moved has no owner",
    },
    Planned {
        name: "tp:syscalls:sys_exit of mapping calls",
        program: "map_exit",
        before: &["call_stack", "call_stack_again"],
        again: &["map_exit_again", "map_exit_last"],
        behind: &["call_wake"],
        at: At::Calls("sys_exit_", AT_EXIT),
        gives: "who maps memory",
        needed: false,
        without: "who mapped a segment and who gave memory back is not known, and memory that \
                  mremap moved has no owner",
    },
    Planned {
        name: "tp:syscalls:sys_enter of ptrace and clone",
        program: "tracing_enter",
        before: &[],
        again: &["tracing_enter_again"],
        behind: &[],
        at: At::Calls("sys_enter_", TRACING),
        gives: "programs that trace others, of which rmap's tracer lets go",
        needed: false,
        without: "programs that trace others by ptrace (debuggers, leak sanitizers) fail under rmap",
    },
];

/// What rmap knows by a probe of [`Probes::probes`](super::Probes::probes), by its name.
#[must_use]
pub fn purpose(name: &str) -> &'static str {
    if name == PYTHON_FRAMES {
        return "functions and lines of CPython 3.8 to 3.14";
    }
    if name == ALLOCATOR_PROBE {
        return "which call paths hold malloc's blocks in a process that runs already";
    }
    PLAN.iter()
        .find(|planned| planned.name == name)
        .map_or("exactly which pages a fault mapped, and their dirty bits", |planned| planned.gives)
}

/// Programs that could not be loaded, by their name, with what the kernel said.
pub(super) type Refused = BTreeMap<&'static str, String>;

/// Loads the programs of the plan, all at the same time: the kernel's verifier looks at one that
/// walks stacks for some ten milliseconds, on the processor of who asks.
pub(super) fn load(ebpf: &mut Ebpf, offsets: &Offsets, preempted: bool) -> Refused {
    thread::scope(|scope| {
        let loading: Vec<_> = ebpf
            .programs_mut()
            .filter_map(|(name, program)| {
                let (planned, program_name) = PLAN.iter().find_map(|planned| {
                    let mut names = planned.programs(preempted);
                    names.find(|planned| *planned == name).map(|found| (planned, found))
                })?;
                // One that would be given other things than it expects is not attached.
                let fits = match planned.at {
                    At::Raw(name) => offsets.other_shape(name).is_none(),
                    At::Software(_) | At::Calls(..) => true,
                };
                let load = move || load_one(program).map_err(text);
                fits.then(|| {
                    (program_name, thread::Builder::new().spawn_scoped(scope, load).map_err(text))
                })
            })
            .collect();
        let ended = loading.into_iter().map(|(name, thread)| {
            let ended = thread.and_then(|thread| {
                thread.join().unwrap_or_else(|_| Err("loading it ended early".to_owned()))
            });
            (name, ended)
        });
        ended.filter_map(|(name, ended)| Some((name, ended.err()?))).collect()
    })
}

/// The end of a major fault goes on as that of a minor one does: puts the one's program where the
/// other finds it. If it could not be loaded, there is no end of faults at all, which
/// [`attach`] says.
pub(super) fn join_fault_ends(ebpf: &mut Ebpf) -> Result<(), Error> {
    const NAME: &str = "FAULT_END";
    let refused = |why: String| Error::Map { name: NAME, why };
    let fd = match ebpf.program("minor_fault").map(|program| program.fd()) {
        Some(Ok(fd)) => fd.try_clone().map_err(|e| refused(e.to_string()))?,
        Some(Err(_)) | None => return Ok(()),
    };
    // Borrowed, not taken: the kernel empties the table when the last descriptor of it is closed.
    let map = ebpf.map_mut(NAME).ok_or_else(|| refused("it is not there".to_owned()))?;
    let mut ends = ProgramArray::try_from(map).map_err(|e| refused(e.to_string()))?;
    ends.set(0, &fd, 0).map_err(|e| refused(e.to_string()))
}

fn load_one(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::RawTracePoint(program) => program.load(),
        Program::PerfEvent(program) => program.load(),
        Program::TracePoint(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Attaches one program of a probe, which has been loaded; the error is what the kernel said.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    planned: &Planned,
    name: &'static str,
    offsets: &Offsets,
    refused: &Refused,
    tracepoints: &mut Vec<SyscallTracepoint>,
) -> Result<(), String> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
    let loaded = || refused.get(name).map_or(Ok(()), |why| Err(why.clone()));
    match planned.at {
        At::Raw(name) => {
            if let Some(other) = offsets.other_shape(name) {
                return Err(other.to_owned());
            }
            loaded()?;
            let program: &mut RawTracePoint = program.try_into().map_err(text)?;
            program.attach(name).map_err(text)?;
        }
        At::Software(event) => {
            loaded()?;
            let program: &mut PerfEvent = program.try_into().map_err(text)?;
            let cpus = online_cpus().map_err(|(what, e)| format!("{what}: {e}"))?;
            for cpu in cpus {
                program
                    .attach(
                        PerfEventConfig::Software(event),
                        PerfEventScope::AllProcessesOneCpu { cpu },
                        SamplePolicy::Period(1),
                        false,
                    )
                    .map_err(text)?;
            }
        }
        At::Calls(prefix, calls) => {
            loaded()?;
            let program: &mut TracePoint = calls_program(program)?;
            let fd = program.fd().map_err(text)?;
            let tracefs = tracefs::open().map_err(text)?;
            for call in calls {
                let name = format!("{prefix}{call}");
                match SyscallTracepoint::attach(&tracefs, &name, fd) {
                    Ok(tracepoint) => tracepoints.push(tracepoint),
                    Err(_) if NOT_EVERYWHERE.contains(call) => {}
                    Err(why) => return Err(why),
                }
            }
        }
    }
    Ok(())
}

/// Loads a program of a uprobe and attaches it to an offset in a file, for whoever maps that; the error
/// is what the kernel said.
pub(super) fn attach_uprobe(
    ebpf: &mut Ebpf,
    name: &'static str,
    file: &Path,
    offset: u64,
) -> Result<(), String> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
    let program: &mut UProbe = program.try_into().map_err(text)?;
    program.load().map_err(text)?;
    program.attach(offset, file, UProbeScope::AllProcesses).map_err(text)?;
    Ok(())
}

fn calls_program(program: &mut Program) -> Result<&mut TracePoint, String> {
    program.try_into().map_err(text)
}

/// An error and its causes in one line.
pub(super) fn text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    one_line(&text)
}

/// The first line of an error; of a verifier's log, which may be long, what it ended with.
fn one_line(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let Some((said, _)) = first.split_once(" Verifier output:") else { return first.to_owned() };
    // The statistics behind the reason.
    let figures = ["verification time", "stack depth", "processed "];
    let mut lines = text.lines().rev().map(str::trim);
    let reason = lines
        .find(|line| !line.is_empty() && !figures.iter().any(|figure| line.starts_with(figure)));
    match reason.filter(|reason| *reason != first.trim()) {
        Some(reason) => format!("{said} The verifier says: {reason}"),
        None => first.to_owned(),
    }
}

/// Which huge pages this machine may give to anonymous memory.
pub(super) struct HugePages {
    /// Of 2 MiB.
    pub transparent: bool,
    /// Of sizes between.
    pub multi_size: bool,
}

/// Reads `/sys/kernel/mm/transparent_hugepage`. What cannot be read is taken as on, which costs
/// a little and hides nothing.
pub(super) fn huge_pages() -> HugePages {
    const DIR: &str = "/sys/kernel/mm/transparent_hugepage";
    let on = |path: String| fs::read_to_string(path).is_ok_and(|text| !text.contains("[never]"));
    let Ok(entries) = fs::read_dir(DIR) else {
        return HugePages { transparent: false, multi_size: false };
    };
    let own_size = "hugepages-2048kB";
    let multi_size = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("hugepages-") && name != own_size)
        .any(|name| {
            fs::read_to_string(format!("{DIR}/{name}/enabled")).is_ok_and(|text| {
                !(text.contains("[never]")
                    || text.contains("[inherit]") && !on(format!("{DIR}/enabled")))
            })
        });
    let transparent = on(format!("{DIR}/enabled"))
        || fs::read_to_string(format!("{DIR}/{own_size}/enabled"))
            .is_ok_and(|text| text.contains("[always]") || text.contains("[madvise]"));
    HugePages { transparent, multi_size }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn of_a_verifiers_log_the_reason_is_kept() {
        let log = "refused (os error 22). Verifier output: func#0 @0\n0: R1=ctx() R10=fp0\n\
                   math between pointer and register is not allowed\nverification time 70369 usec\n\
                   stack depth 136+0\nprocessed 1058 insns (limit 1000000)\n\n";
        assert_eq!(
            one_line(log),
            "refused (os error 22). The verifier says: math between pointer and register is not \
             allowed"
        );
        assert_eq!(one_line("no such file\nmore"), "no such file");
        assert_eq!(one_line("refused. Verifier output: "), "refused. Verifier output: ");
    }
}
