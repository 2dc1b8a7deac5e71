//! The command `doctor`: what this kernel, these privileges and this machine allow.
//!
//! Comes in: what [`preflight`] found, and how the probes fared. Goes
//! out: one line that says whether rmap can do its main job, and a table with the reasons.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::live::linger;
use crate::live::preflight::{self, Item, Preflight};
use crate::live::privileges::{KEPT, Kept};
use crate::live::probes::{Choice, PAGE_TABLE, Picking, Probes, Settings, purpose};
use crate::live::session;
use crate::report::{ALLOCATOR_PROBE, Probe};

/// How one probe of the plan fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeLine {
    /// For example `tp_btf:page_fault_user`.
    pub name: String,
    /// Whether it is attached.
    pub ok: bool,
    /// Why not, and what accuracy follows.
    pub why: Option<String>,
    /// What rmap knows by it.
    pub needed_for: String,
}

/// Prints the state of this machine, and says whether the main job can run (exit status 0) or not
/// (exit status 1).
///
/// `load_error` is what kept the probes from being loaded at all, as one line.
///
/// # Errors
/// `out` cannot be written.
pub fn doctor(
    preflight: &Preflight,
    probes: &[ProbeLine],
    load_error: Option<&str>,
    out: &mut impl Write,
) -> io::Result<bool> {
    let obstacle = preflight.first_obstacle().or_else(|| load_error.map(str::to_owned));
    match &obstacle {
        None => writeln!(out, "rmap can do its main job here.")?,
        Some(why) => writeln!(out, "rmap cannot do its main job here: {why}")?,
    }
    let mut rows = vec![["item".to_owned(), "state".to_owned(), "what follows".to_owned()]];
    rows.extend(preflight.items.iter().map(item_row));
    writeln!(out)?;
    out.write_all(table(&rows).as_bytes())?;
    if !probes.is_empty() {
        let mut rows =
            vec![["probe".to_owned(), "attached".to_owned(), "what it is for".to_owned()]];
        rows.extend(probes.iter().map(probe_row));
        writeln!(out)?;
        out.write_all(table(&rows).as_bytes())?;
        writeln!(out, "\n{}", plan(probes))?;
        writeln!(out, "\nOf its capabilities rmap keeps these when its probes are loaded:")?;
        let rows: Vec<_> = KEPT.iter().map(kept_row).collect();
        out.write_all(table(&rows).as_bytes())?;
    }
    out.flush()?;
    Ok(obstacle.is_none())
}

/// Looks at this machine, tries the probes, and prints what came of it.
///
/// # Errors
/// stdout cannot be written.
pub fn run() -> anyhow::Result<ExitCode> {
    let preflight = preflight::check();
    let settings = Settings {
        choice: Choice::Auto,
        follow: true,
        verbose: false,
        check_unwind: false,
        python: true,
        malloc: Picking::Functions(MEAN),
    };
    let (attached, load_error) = match session::load(settings) {
        Ok(mut probes) => {
            let malloc = malloc_row(&mut probes);
            let mut attached = probes.probes().to_vec();
            attached.retain(|probe| probe.name != ALLOCATOR_PROBE);
            attached.push(malloc);
            linger::drop_aside(probes);
            (attached, None)
        }
        Err(error) => (Vec::new(), Some(format!("{:#}", anyhow::Error::from(error)))),
    };
    let lines: Vec<ProbeLine> = attached
        .into_iter()
        .map(|probe| ProbeLine {
            needed_for: purpose(&probe.name).to_owned(),
            name: probe.name,
            ok: probe.attached,
            why: probe.why_not,
        })
        .collect();
    let able = doctor(&preflight, &lines, load_error.as_deref(), &mut io::stdout().lock());
    Ok(if able? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Any mean will do: nothing is attached to.
const MEAN: u64 = 512 << 10;

/// Whether probes can be at the functions of allocators, tried on a function of rmap's own.
fn malloc_row(probes: &mut Probes) -> Probe {
    let tried = probes.load_allocators().map_err(|error| error.to_string());
    let why_not = tried.and_then(|()| probes.allocator_cost()).err();
    let why_not = why_not.map(|why| format!("{why}; `attach --malloc` is not to be had"));
    Probe { name: ALLOCATOR_PROBE.to_owned(), attached: why_not.is_none(), why_not }
}

/// Which probes `--probes auto` chooses here, and why.
fn plan(probes: &[ProbeLine]) -> String {
    let tables = probes.iter().find(|probe| probe.name == PAGE_TABLE);
    let chosen = match tables {
        Some(ProbeLine { ok: true, .. }) => {
            "tracepoints and perf events tell each fault, and the page table is read at its end, \
             so that each page has its owner at once; `--probes plain` leaves the page table out"
        }
        Some(_) | None => {
            "tracepoints and perf events, as with `--probes plain`: page tables cannot be read here"
        }
    };
    format!(
        "`--probes auto`: {chosen}. kprobes and fentry are used on no kernel: a kernel that is \
         locked down refuses them."
    )
}

fn item_row(item: &Item) -> [String; 3] {
    [item.name.to_owned(), item.state.to_string(), item.follows.clone()]
}

fn kept_row(kept: &Kept) -> [String; 3] {
    [kept.name.to_owned(), String::new(), kept.purpose.to_owned()]
}

fn probe_row(probe: &ProbeLine) -> [String; 3] {
    let attached = if probe.ok { "yes" } else { "no" };
    let what = match &probe.why {
        Some(why) => format!("{}: {why}", probe.needed_for),
        None => probe.needed_for.clone(),
    };
    [probe.name.clone(), attached.to_owned(), what]
}

/// Columns as wide as their widest cell; the last one runs free.
fn table(rows: &[[String; 3]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (first, second) = (width(0).unwrap_or(0), width(1).unwrap_or(0));
    rows.iter().map(|[a, b, c]| format!("{a:<first$}  {b:<second$}  {c}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::preflight::{Facts, judge};

    fn facts() -> Facts {
        Facts {
            release: "6.2.0".into(),
            version: Some((6, 2)),
            tracefs: Ok("/sys/kernel/tracing".into()),
            pagemap_scan: Ok(false),
            write_protect: Err("UFFDIO_API refused it (Invalid argument)".into()),
            procmap_query: Ok(false),
            perf_event_paranoid: Some(3),
            ptrace_scope: Some(1),
            swap_bytes: Some(1 << 30),
            cgroup_version: None,
            possible_cpus: Some("0-7".into()),
            ..Facts::good()
        }
    }

    fn probe(name: &str, why: Option<&str>) -> ProbeLine {
        let (name, needed_for) = (name.to_owned(), "the end of a fault".to_owned());
        ProbeLine { name, ok: why.is_none(), why: why.map(str::to_owned), needed_for }
    }

    #[test]
    fn the_table_is_aligned() {
        let mut text = Vec::new();
        let probes =
            [probe("perf:minor-faults", None), probe("x", Some("refused, causes are coarse"))];
        assert!(doctor(&judge(&facts()), &probes, None, &mut text).unwrap());
        let expected = "\
rmap can do its main job here.

item                       state   what follows
privileges                 yes     root, with the capabilities that probes need
CAP_SYS_ADMIN              yes     page frames can be told apart
user namespace             yes     the machine's own
PID namespace              yes     the machine's own
ptrace                     yes     Yama's ptrace_scope is 1: enough for root
kernel                     yes     Linux 6.2.0 on x86_64
lockdown                   partly  integrity: kprobes and fentry are refused; rmap uses tracepoints
bpf(2)                     yes     maps can be made
BTF                        yes     the kernel's types, 5120 kB
tracefs                    yes     mounted at /sys/kernel/tracing
page_fault_user            yes     each fault tells read from write
perf_event_paranoid        -       3: for root only, as rmap runs
unprivileged_bpf_disabled  -       2: for root only, as rmap runs
smaps                      yes     sizes of segments, as the kernel counts them
PAGEMAP_SCAN               partly  needs Linux 6.7; pagemap is read instead, of sparse segments over 1 GiB only the ends
--rewrites                 no      not by userfaultfd: UFFDIO_API refused it (Invalid argument)
PROCMAP_QUERY              partly  needs Linux 6.11; maps is read instead
kpageflags                 yes     dirty and large folios of files are told apart
huge pages                 -       madvise: one fault may bring 2 MiB
swap                       -       1024 MiB: anonymous pages may leave and come back
cgroup                     -       not known
page size                  -       4096 bytes
possible CPUs              -       0-7

probe              attached  what it is for
perf:minor-faults  yes       the end of a fault
x                  no        the end of a fault: refused, causes are coarse

`--probes auto`: tracepoints and perf events, as with `--probes plain`: page tables cannot be read \
here. kprobes and fentry are used on no kernel: a kernel that is locked down refuses them.

Of its capabilities rmap keeps these when its probes are loaded:
CAP_CHOWN                 give outputs to the caller of sudo
CAP_DAC_OVERRIDE          write outputs in folders of other users
CAP_DAC_READ_SEARCH       read /proc and programs of other users
CAP_FOWNER                set the permissions of outputs that belong to others
CAP_KILL                  forward signals to a command of another user
CAP_SYS_PTRACE            stop processes of other users, read their memory maps
CAP_SYS_ADMIN             read page frame numbers (pagemap)
CAP_SYS_NICE              keep the probes' maps undisturbed (realtime priority)
CAP_BPF                   change the probes' maps
CAP_CHECKPOINT_RESTORE    open the files that processes have mapped
";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn an_obstacle_is_the_first_line() {
        let first_line = |facts: &Facts, load_error| {
            let mut text = Vec::new();
            assert!(!doctor(&judge(facts), &[], load_error, &mut text).unwrap());
            String::from_utf8(text).unwrap().lines().next().unwrap().to_owned()
        };
        let unprivileged = Facts { euid: 5, capabilities: Some(0), ..facts() };
        let line = first_line(&unprivileged, Some("not said"));
        assert!(line.starts_with("rmap cannot do its main job here: user 5 without"), "{line}");
        let line = first_line(&facts(), Some("the verifier refused fault_exit"));
        assert_eq!(line, "rmap cannot do its main job here: the verifier refused fault_exit");
    }
}
