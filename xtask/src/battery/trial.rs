//! One run of a stressor: alone, or watched by rmap.
//!
//! Comes in: a stressor and a [`Mode`]. Goes out: a [`Trial`]: how long it took, what rmap needed and
//! found, and what was not as it should be.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::findings::Findings;
use super::stressors::Stressor;

/// How long a run may take, and how long its processes may take to go.
const PATIENCE: Duration = Duration::from_secs(120);
const GOING: Duration = Duration::from_secs(3);

/// Where the programs are, and where files go.
pub struct Place {
    pub rmap: PathBuf,
    pub folder: PathBuf,
}

/// As whom rmap watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Run,
    Interval,
    Plain,
    Attach,
}

impl Mode {
    /// All, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Run, Self::Interval, Self::Plain, Self::Attach];

    /// The command's words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Interval => "run --interval 0.2",
            Self::Plain => "run --probes plain",
            Self::Attach => "attach",
        }
    }
}

/// How a command ended, what it said, and what it took.
#[derive(Debug)]
pub struct Ended {
    pub status: String,
    pub said: String,
    pub seconds: f64,
    /// The most memory of its own, in KiB.
    pub peak_kib: u64,
}

/// A stressor that was watched.
pub struct Trial {
    pub mode: Mode,
    /// Seconds, over those of the stressor alone; `None` where it ran on its own time.
    pub slower: Option<f64>,
    pub peak_kib: u64,
    pub findings: Findings,
    /// What was not as it should be.
    pub complaints: Vec<String>,
}

/// Runs stress-ng alone.
pub fn stress(place: &Place, arguments: &[impl AsRef<str>]) -> Result<Ended> {
    finish(start(place, &mut stress_command(place, arguments))?)
}

/// The stressor alone, with its work.
pub fn alone(place: &Place, stressor: &Stressor) -> Result<Ended> {
    stress(place, &stressor.arguments())
}

/// The stressor under rmap.
pub fn watched(place: &Place, stressor: &Stressor, mode: Mode, alone: &Ended) -> Result<Trial> {
    for name in ["live.json", "again.json", "recording"] {
        let _ = std::fs::remove_file(place.folder.join(name));
    }
    let mut complaints = Vec::new();
    let (ended, slower) = if mode == Mode::Attach {
        (attached(place, stressor, alone, &mut complaints)?, None)
    } else {
        let mut command = rmap(place, "run");
        match mode {
            Mode::Interval => drop(command.args(["--interval", "0.2"])),
            Mode::Plain => drop(command.args(["--probes", "plain"])),
            Mode::Run | Mode::Attach => {}
        }
        let stress = stress_command(place, &stressor.arguments());
        command.arg("--").arg(stress.get_program()).args(stress.get_args());
        let ended = finish(start(place, &mut command)?)?;
        same(alone, &ended, &mut complaints);
        let slower = ended.seconds / alone.seconds.max(0.001);
        (ended, Some(slower))
    };
    complaints.extend(left_behind());
    let report = read(&place.folder.join("live.json"));
    let findings = report.as_ref().map(Findings::of).unwrap_or_default();
    match &report {
        Some(_) => complaints.extend(findings.complaints()),
        None => complaints.push(format!("no report: {}", ended.said.trim())),
    }
    if report.is_some() {
        complaints.extend(recorded(place)?);
    }
    Ok(Trial { mode, slower, peak_kib: ended.peak_kib, findings, complaints })
}

/// A call of rmap that keeps all that is compared.
fn rmap(place: &Place, name: &str) -> Command {
    let mut command = Command::new(&place.rmap);
    command.arg(name).args(["-o", "/dev/null", "--json"]).arg(place.folder.join("live.json"));
    command.arg("--record").arg(place.folder.join("recording"));
    command
}

fn stress_command(place: &Place, arguments: &[impl AsRef<str>]) -> Command {
    let mut command = Command::new("stress-ng");
    command.args(arguments.iter().map(AsRef::as_ref));
    command.arg("--temp-path").arg(&place.folder);
    command
}

/// Whether it ended as it does alone.
fn same(alone: &Ended, ended: &Ended, complaints: &mut Vec<String>) {
    if ended.status != alone.status {
        complaints.push(format!("{}, alone {}", ended.status, alone.status));
    }
    let (now, before) = (said(&ended.said), said(&alone.said));
    if let Some(new) = now.iter().find(|line| !before.contains(*line)) {
        complaints.push(format!("says '{new}'"));
    }
}

/// Lines of trouble, without their numbers.
fn said(text: &str) -> Vec<String> {
    let trouble = |line: &&str| ["fail", "error", "warn"].iter().any(|word| line.contains(word));
    let plain = |line: &str| line.chars().filter(|c| !c.is_ascii_digit()).collect();
    text.lines().filter(trouble).map(plain).collect()
}

/// Attaches to a stressor that runs, and lets it go.
fn attached(
    place: &Place,
    stressor: &Stressor,
    alone: &Ended,
    complaints: &mut Vec<String>,
) -> Result<Ended> {
    let arguments =
        [&format!("--{}", stressor.name), "1", "-t", "3", "--temp-path", "."].map(str::to_owned);
    let target =
        start(place, Command::new("stress-ng").args(&arguments).current_dir(&place.folder))?;
    std::thread::sleep(Duration::from_millis(100));
    let pid = target.child.id();
    let mut command = rmap(place, "attach");
    command.args(["-p", &pid.to_string(), "-d", "1"]);
    let ended = finish(start(place, &mut command)?)?;
    if ended.status != "exit status: 0" {
        complaints.push(format!("attach: {}", ended.status));
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let stands = field("State:").is_some_and(|state| state.starts_with(['t', 'T']));
    if stands || field("TracerPid:").is_some_and(|tracer| tracer != "0") {
        complaints.push("the target was not let go".to_owned());
    }
    same(alone, &finish(target)?, complaints);
    Ok(ended)
}

/// Compares the report of the recording with the live one.
fn recorded(place: &Place) -> Result<Option<String>> {
    let again = place.folder.join("again.json");
    let mut command = Command::new(&place.rmap);
    command.arg("report").args(["-o", "/dev/null", "--json"]).arg(&again);
    command.arg(place.folder.join("recording"));
    let ended = finish(start(place, &mut command)?)?;
    if ended.status != "exit status: 0" {
        return Ok(Some(format!("the recording is not read: {}", ended.said.trim())));
    }
    let [live, again] = [place.folder.join("live.json"), again].map(std::fs::read);
    let equal = matches!((live, again), (Ok(live), Ok(again)) if live == again);
    Ok((!equal).then(|| "the recording says otherwise".to_owned()))
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Stressors that go on though their run has ended.
fn left_behind() -> Option<String> {
    let begin = Instant::now();
    loop {
        let left = processes("stress-ng");
        if left.is_empty() {
            return None;
        }
        if begin.elapsed() > GOING {
            return Some(format!("left behind: {left:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Living processes whose short name begins so.
fn processes(name: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let named = stat.split_once('(').is_some_and(|(_, rest)| rest.starts_with(name));
        let dead = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
        named && !dead
    })
    .collect()
}

/// A command that runs.
struct Running {
    child: Child,
    begin: Instant,
    output: PathBuf,
}

fn start(place: &Place, command: &mut Command) -> Result<Running> {
    let name = command.get_program().to_string_lossy().replace('/', "-");
    let output = place.folder.join(format!("output{name}"));
    let file =
        File::create(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let both = file.try_clone().context("cannot copy a descriptor")?;
    let program = command.get_program().to_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(both)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(Running { child, begin: Instant::now(), output })
}

fn finish(mut running: Running) -> Result<Ended> {
    let status_file = format!("/proc/{}/status", running.child.id());
    let (mut peak_kib, mut rest) = (0, Duration::from_millis(1));
    let status = loop {
        let text = std::fs::read_to_string(&status_file).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak_kib = peak_kib.max(peak.unwrap_or(0));
        if let Some(status) = running.child.try_wait().context("cannot wait")? {
            break status.to_string();
        }
        if running.begin.elapsed() > PATIENCE {
            running.child.kill().context("cannot end a run that takes too long")?;
            running.child.wait().context("cannot wait")?;
            break format!("no end within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(rest);
        rest = (rest * 2).min(Duration::from_millis(20));
    };
    let seconds = running.begin.elapsed().as_secs_f64();
    let said = std::fs::read(&running.output).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok(Ended { status, said, seconds, peak_kib })
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_of_trouble_are_compared_without_their_numbers() {
        let said = super::said("info: [7] fine\nstress-ng: fail:  [71] mmap failed, errno=12\n");
        assert_eq!(said, ["stress-ng: fail:  [] mmap failed, errno="]);
    }
}
