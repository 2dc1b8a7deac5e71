//! What one fault costs: by the kernel's account of each BPF program, and by the loop's own clock.
//!
//! Comes in: a shape of the loop and who watches it. Goes out: a [`Sample`] a run.
//! Only programs that the watching process holds are counted, so another tracer on the machine
//! does not add to the figures; it still adds to the time of the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::bpf::{self, Runs};

/// Who watches the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watcher {
    /// Nobody.
    Nobody,
    /// `rmap run`, on the build without frame pointers.
    Rmap,
    /// `bpf_get_stack` at each fault, on the build with frame pointers.
    GetStack,
    /// A BPF program that does nothing.
    Nothing,
    /// `rmap run` traces another process.
    RmapElsewhere,
    /// bpftrace counts user stacks at each fault, on the build with frame pointers.
    Bpftrace,
    /// `perf record -g` of each fault, on the build with frame pointers.
    Perf,
}

/// How the loop touches memory.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Frames at the fault.
    pub frames: u32,
    /// `same`, `random` or `stacks`.
    pub mode: &'static str,
    /// Pages of a round.
    pub pages: u32,
    /// Rounds.
    pub rounds: u32,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Time of the loop by its own clock, in ns a fault.
    pub wall: f64,
    /// Faults by its own account.
    pub faults: u64,
    /// Run time of each program, in ns a fault of the loop.
    pub programs: BTreeMap<String, f64>,
    /// Runs of all programs, a fault of the loop.
    pub runs: f64,
}

impl Sample {
    /// Run time of all programs, in ns a fault.
    #[must_use]
    pub fn bpf(&self) -> f64 {
        self.programs.values().sum()
    }
}

/// The two builds of the loop.
#[derive(Clone, Debug)]
pub struct Loops {
    /// Without frame pointers, as distributions compile.
    pub plain: PathBuf,
    /// With them, for who walks by them.
    pub pointers: PathBuf,
}

impl Loops {
    /// The build without frame pointers.
    pub fn plain(&self) -> &Path {
        &self.plain
    }
}

/// A process that is spoken to line by line, and that ends with its input.
struct Talk {
    child: Child,
    /// Closed to end it.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Talk {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().context("a child without stdout")?);
        Ok(Self { child, to, from })
    }

    /// The numbers of the next line, which must begin with `word`.
    fn hear(&mut self, word: &str) -> Result<Vec<u64>> {
        let mut line = String::new();
        self.from.read_line(&mut line).context("cannot hear the benchmark's loop")?;
        let Some(rest) = line.strip_prefix(word) else {
            bail!("the benchmark's loop said {line:?} instead of {word:?}; is rmap able to run?");
        };
        Ok(rest.split_whitespace().filter_map(|number| number.parse().ok()).collect())
    }

    fn say(&mut self, line: &[u8]) -> Result<()> {
        let to = self.to.as_mut().context("the child's stdin is closed")?;
        to.write_all(line).and_then(|()| to.flush()).context("cannot speak to the child")
    }
}

/// A watcher of its own process, which is told to end (SIGINT) when it is let go.
#[derive(Debug)]
pub struct Beside(Child);

impl Beside {
    /// Starts it, and waits until its programs are attached: it is a process that holds perf
    /// events or BPF links from then on.
    ///
    /// # Errors
    /// It cannot be started, ends at once, or attaches nothing.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut beside = Self(child);
        let events = format!("/proc/{}/fd", beside.0.id());
        for _ in 0..400 {
            std::thread::sleep(Duration::from_millis(25));
            if beside.0.try_wait()?.is_some() {
                bail!("{:?} ended at once; does it run here?", command.get_program());
            }
            let links = std::fs::read_dir(&events).into_iter().flatten().flatten();
            let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
            if targets.into_iter().any(|to| to.as_os_str() == "anon_inode:[perf_event]") {
                std::thread::sleep(Duration::from_millis(300));
                return Ok(beside);
            }
        }
        bail!("{:?} attaches nothing", command.get_program())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // SAFETY: the child was not waited for, so its id is its own.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        let _ = self.0.wait();
    }
}

/// The watchers that are processes of their own.
fn beside(watcher: Watcher, pid: u32) -> Result<Option<Beside>> {
    let mut command = match watcher {
        Watcher::Bpftrace => {
            let mut bpftrace = Command::new("bpftrace");
            let probe = "software:page-faults:1";
            bpftrace.arg("-e").arg(format!("{probe} /pid == {pid}/ {{ @[ustack] = count(); }}"));
            bpftrace
        }
        Watcher::Perf => {
            let mut perf = Command::new("perf");
            perf.args(["record", "-q", "-e", "page-faults", "-c", "1", "-g", "-o", "/dev/null"]);
            perf.arg("-p").arg(pid.to_string());
            perf
        }
        Watcher::Nobody
        | Watcher::Rmap
        | Watcher::GetStack
        | Watcher::Nothing
        | Watcher::RmapElsewhere => {
            return Ok(None);
        }
    };
    Beside::start(&mut command).map(Some)
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// Ids of the BPF programs that a process has descriptors or links of (`/proc/PID/fdinfo`).
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        })
        .collect()
}

/// Gives a process the processor before all others, as long as it runs: else a busy machine's other
/// faults, at which the programs run as well, come in between. Who may not do so measures those too.
fn undisturbed(pid: u32) {
    let least = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads the structure that it is given.
    unsafe { libc::sched_setscheduler(pid as libc::pid_t, libc::SCHED_FIFO, &raw const least) };
}

/// Runs the loop once. If the statistics are not on ([`bpf::enable_stats`]), programs count as 0.
///
/// # Errors
/// A program cannot be started, does not say what is expected, or the kernel refuses the peer.
pub fn run(rmap: &Path, loops: &Loops, shape: Shape, watcher: Watcher) -> Result<Sample> {
    let program = match watcher {
        Watcher::GetStack | Watcher::Bpftrace | Watcher::Perf => &loops.pointers,
        Watcher::Nobody | Watcher::Rmap | Watcher::Nothing | Watcher::RmapElsewhere => &loops.plain,
    };
    let traced = |program: &Path| {
        let mut command = Command::new(rmap);
        command.args(["run", "-o", "/dev/null", "--"]).arg(program);
        command
    };
    let shaped = |command: &mut Command| {
        command.args([shape.frames, shape.pages, shape.rounds].map(|n| n.to_string()));
        command.arg(shape.mode);
        Talk::start(command)
    };
    let mut elsewhere = None;
    if watcher == Watcher::RmapElsewhere {
        // `cat` says when it runs, and ends with its input.
        let mut other = Talk::start(&mut traced(Path::new("cat")))?;
        other.say(b"ready\n")?;
        other.hear("ready")?;
        elsewhere = Some(other);
    }
    let mut talk = match watcher {
        Watcher::Rmap => shaped(&mut traced(program))?,
        _ => shaped(&mut Command::new(program))?,
    };
    let pid = talk.hear("ready ")?.first().copied().unwrap_or(0) as u32;
    undisturbed(pid);
    let peer = match watcher {
        Watcher::GetStack => Some(bpf::Peer::attach(pid)?),
        Watcher::Nothing => Some(bpf::Peer::nothing()?),
        _ => None,
    };
    let beside = beside(watcher, pid)?;
    let mut ids = match watcher {
        Watcher::Nobody | Watcher::Bpftrace | Watcher::Perf => BTreeSet::new(),
        Watcher::Rmap => programs_of(talk.child.id()),
        Watcher::RmapElsewhere => {
            elsewhere.as_ref().map(|other| programs_of(other.child.id())).unwrap_or_default()
        }
        Watcher::GetStack | Watcher::Nothing => programs_of(std::process::id()),
    };
    let before = bpf::runs()?;
    talk.say(b"\n")?;
    let done = talk.hear("done ")?;
    let after = bpf::runs()?;
    drop((peer, beside));
    let &[ns, faults] = done.as_slice() else { bail!("the loop told no times") };
    let of_fault = |number: u64| number as f64 / faults.max(1) as f64;
    let mut sample = Sample { wall: of_fault(ns), faults, ..Sample::default() };
    ids.retain(|id| after.contains_key(id));
    let counted = !matches!(watcher, Watcher::Nobody | Watcher::Bpftrace | Watcher::Perf);
    if counted && ids.is_empty() {
        bail!("the watching process holds no BPF programs");
    }
    for id in ids {
        let Some((name, end)) = after.get(&id) else { continue };
        let start = before.get(&id).map_or(Runs::default(), |(_, runs)| *runs);
        let count = end.count - start.count;
        if count > 0 {
            *sample.programs.entry(name.clone()).or_default() += of_fault(end.ns - start.ns);
            sample.runs += of_fault(count);
        }
    }
    Ok(sample)
}
