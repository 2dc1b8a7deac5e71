//! `cargo xtask vm`: the privileged tests on the kernels that people run, in virtual machines.
//!
//! Comes in: which kernels or machines, and perhaps names of tests. Goes out: the machines' own
//! lines as they come, then for each machine what failed and what was skipped, and one last line
//! over all. A machine that never says that it has finished is a failure.
//!
//! Needs Debian (the disks are made of its packages) and root, as the tests themselves do.

mod build;
mod guest;
mod initramfs;
mod matrix;
mod packages;
mod qemu;
mod results;
mod routes;
mod table;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::apt;
use crate::steps::{self, say};
use crate::test::packages as test_packages;
use crate::test::tally::Tally;
use crate::test::watch;
use guest::{Binary, Disks};
use matrix::{CASES, Case, EMULATED, KERNELS, Tests};
use qemu::{Accelerator, End, Machine};
use results::{Reader, Results, Tree};

/// What runs the tests, in a machine and here.
const SUITE: &str = include_str!("suite.sh");
/// No test of the suite takes longer, on a machine that is not slow: seconds.
const TEST_SECONDS: u32 = 300;

/// What makes and runs the machines, beside what the tests themselves need.
pub const PACKAGES: &[&str] =
    &["qemu-system-x86", "busybox-static", "e2fsprogs", "xz-utils", "gcc", "libc6-dev", "g++"];

/// Where all of it is kept.
fn folder() -> PathBuf {
    steps::target_dir().join("vm")
}

/// Which machines, and which tests.
#[derive(Args)]
pub struct Options {
    /// Only machines with this kernel: 5.10, 6.1, 6.12, 7.2 or all.
    #[arg(long, default_value = "all")]
    kernel: String,
    /// Only this machine of the matrix; may be given several times.
    #[arg(long)]
    case: Vec<String>,
    /// Only what CI runs, in its time.
    #[arg(long)]
    ci: bool,
    /// Every test, even where processors are emulated.
    #[arg(long)]
    whole: bool,
    /// On this machine's own kernel instead, with no virtual machine.
    #[arg(long)]
    native: bool,
    /// Run nothing: take over what the machines gave last into docs/kernels.json, and write the
    /// tables of docs/kernels.md.
    #[arg(long)]
    table: bool,
    /// Only what has not passed there yet, as far as results are kept: a run that was cut off goes
    /// on.
    #[arg(long)]
    resume: bool,
    /// How many machines run at the same time; without it one, or one for each processor where
    /// processors are emulated, which takes a single one for each machine.
    #[arg(long)]
    jobs: Option<usize>,
    /// List the machines and run none.
    #[arg(long)]
    list: bool,
    /// Only tests with one of these in their names; everything a machine has, if none is given.
    #[arg(last = true)]
    filters: Vec<String>,
}

/// Runs `cargo xtask vm`.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.table {
        table::write()?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.native {
        return native(options);
    }
    let cases = chosen(options)?;
    if options.list {
        for case in CASES {
            println!("{}: Linux {}, {}", case.name, case.kernel, what_runs(case, options).words());
        }
        return Ok(ExitCode::SUCCESS);
    }
    test_packages::set_up();
    if let Err(error) = prepare(&cases) {
        println!("skipped: other kernels: {error:#}");
        return Ok(ExitCode::from(steps::CANNOT));
    }
    let start = Instant::now();
    let binaries = build::binaries()?;
    let more = [
        steps::target_dir().join("release/rmap"),
        steps::target_dir().join("debug/workloads"),
        steps::root().join("tests/workloads"),
        steps::root().join("tests/recordings"),
        steps::root().join("docs/routes.md"),
        steps::root().join("rmap-ebpf/prebuilt"),
    ];
    let disks = Disks { system: guest::system()?, tests: guest::tests(&binaries, &more)? };
    say(&format!("the machines' disks are ready after {}", qemu::since(start)));
    let tree = Tree::of_workspace()?;
    let accelerator = accelerator(cases[0], &disks)?;
    let jobs = options.jobs.unwrap_or_else(|| match accelerator {
        Accelerator::Kvm => 1,
        Accelerator::Tcg => std::thread::available_parallelism().map_or(1, usize::from),
    });
    let one = |case: &Case| machine(case, options, accelerator, &binaries, &disks, &tree);
    let tallies = at_the_same_time(&cases, jobs.max(1), one)?;
    let mut lines = Vec::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (case, tally) in cases.iter().zip(tallies) {
        print!("{}", tally.details());
        let line = format!(
            "vm {}: {} passed, {} failed, {} skipped",
            case.name,
            tally.passed(),
            tally.failed(),
            tally.skipped()
        );
        say(&line);
        lines.push(line);
        passed += tally.passed();
        failed += tally.failed();
        skipped += tally.skipped();
    }
    for line in lines {
        println!("{line}");
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Installs QEMU and fetches the kernels.
fn prepare(cases: &[&Case]) -> Result<()> {
    apt::install(PACKAGES)?;
    for case in cases {
        packages::kernel(row(case)?)?;
    }
    Ok(())
}

/// Fetches every kernel of the matrix.
pub fn fetch_kernels() -> Result<()> {
    KERNELS.iter().try_for_each(|kernel| packages::kernel(kernel).map(drop))
}

/// The row of a machine's kernel.
fn row(case: &Case) -> Result<&'static matrix::Kernel> {
    let row = KERNELS.iter().find(|kernel| kernel.name == case.kernel);
    row.with_context(|| format!("{} has no kernel in the matrix", case.name))
}

fn chosen(options: &Options) -> Result<Vec<&'static Case>> {
    if options.kernel != "all" && !KERNELS.iter().any(|kernel| kernel.name == options.kernel) {
        let names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        bail!("there is no kernel {} in the matrix: take {}", options.kernel, names.join(", "));
    }
    let wanted = |case: &&Case| {
        (options.kernel == "all" || case.kernel == options.kernel)
            && (options.case.is_empty() || options.case.iter().any(|name| case.name == name))
            && (!options.ci || case.ci.is_some())
    };
    let cases: Vec<_> = CASES.iter().filter(wanted).collect();
    if cases.is_empty() {
        bail!("no machine of the matrix is so: `cargo xtask vm --list` names them");
    }
    Ok(cases)
}

/// What runs in a machine.
struct Chosen {
    /// Names of test programs; empty: all.
    programs: &'static [&'static str],
    /// Parts of tests' names; empty: all.
    filters: Vec<String>,
}

impl Chosen {
    fn words(&self) -> String {
        let programs = match self.programs {
            [] => "all privileged tests".to_owned(),
            programs => format!("the tests of {}", programs.join(", ")),
        };
        match &self.filters[..] {
            [] => programs,
            filters => format!("{programs} with {} in their names", filters.join(" or ")),
        }
    }
}

/// What a machine runs if nothing slows it.
fn what_runs(case: &Case, options: &Options) -> Chosen {
    let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let filters = match case.tests {
        Tests::Refused(_) => own(&["a_machine_that_cannot_serve"]),
        _ if !options.filters.is_empty() => options.filters.clone(),
        Tests::All | Tests::Named(_) if options.ci && case.ci.is_some() => {
            own(case.ci.unwrap_or_default())
        }
        Tests::All => Vec::new(),
        Tests::Named(names) => own(names),
    };
    let programs = if matches!(case.tests, Tests::Refused(_)) { &["refusals"][..] } else { &[] };
    Chosen { programs, filters }
}

/// Does `work` for each machine, so many at once. Gives what came in the machines' order.
fn at_the_same_time<T: Send>(
    cases: &[&Case],
    jobs: usize,
    work: impl Fn(&Case) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<T>>>> = cases.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(cases.len()) {
            scope.spawn(|| {
                while let Some(number) =
                    Some(next.fetch_add(1, Relaxed)).filter(|n| *n < cases.len())
                {
                    let result = work(cases[number]);
                    if let Ok(mut place) = done[number].lock() {
                        *place = Some(result);
                    }
                }
            });
        }
    });
    let done = done.into_iter().map(|place| place.into_inner().ok().flatten());
    done.map(|result| result.unwrap_or_else(|| bail!("a machine's thread panicked"))).collect()
}

/// What serves a machine's processors here.
fn accelerator(case: &Case, disks: &Disks) -> Result<Accelerator> {
    let kernel = packages::kernel(row(case)?)?;
    let initramfs = folder().join("initramfs-start");
    initramfs::make(&kernel, &text(&PLAIN_CASE, &[], &[], 1, &[]), &initramfs)?;
    Ok(qemu::accelerator(&Machine {
        image: &kernel.image,
        initramfs: &initramfs,
        disks,
        command_line: "",
        options: &[],
    }))
}

/// Runs one machine of the matrix.
fn machine(
    case: &Case,
    options: &Options,
    accelerator: Accelerator,
    binaries: &[Binary],
    disks: &Disks,
    tree: &Tree,
) -> Result<Tally> {
    let kernel = packages::kernel(row(case)?)?;
    let mut chosen = what_runs(case, options);
    // Each machine's own: several may run at the same time.
    let initramfs = folder().join(format!("initramfs-{}", case.name));
    let emulated = accelerator == Accelerator::Tcg;
    if emulated && !options.whole && chosen.programs.is_empty() && chosen.filters.is_empty() {
        chosen.programs = EMULATED;
    }
    let is_chosen =
        |binary: &&Binary| chosen.programs.is_empty() || chosen.programs.contains(&&*binary.name);
    let mut binaries: Vec<&Binary> = binaries.iter().filter(is_chosen).collect();
    // What depends on the kernel most comes first.
    let place = |name: &str| EMULATED.iter().position(|other| *other == name);
    binaries.sort_by_key(|binary| place(&binary.name).unwrap_or(EMULATED.len()));
    let words = chosen.words();
    say(&format!("== {}: Linux {} under {accelerator:?}, {words}", case.name, case.kernel));
    let kept = kept(case.name, options);
    let done = already_done(&kept, tree);
    let slow = if emulated { 20 } else { 1 };
    initramfs::make(&kernel, &text(case, &chosen.filters, &binaries, slow, &done), &initramfs)?;
    let mut tally = Tally::default();
    let kind = if emulated { "emulated" } else { "virtual" };
    let mut reader = Reader::of(case.name, kind, tree);
    let begun = Instant::now();
    let start = Machine {
        image: &kernel.image,
        initramfs: &initramfs,
        disks,
        command_line: case.command_line,
        options: case.machine,
    };
    let end = qemu::machine(&start, accelerator, |line| {
        println!("{}| {line}", case.name);
        tally.line(line);
        if let Some(late) = reader.line(line)? {
            tally.fail(&format!("{late} (took too long)"));
        }
        Ok(())
    })?;
    tally.end_of_output();
    reader.end()?;
    say(&format!("== {}: {}", case.name, qemu::since(begun)));
    match end {
        End::Said(0) if tally.passed() == 0 && done.is_empty() => {
            tally.fail(&format!("{} (no test ran)", case.name));
        }
        End::Said(0) => {}
        End::Said(_) if tally.failed() > 0 => {}
        End::Said(status) => {
            tally.fail(&format!("{} (the machine's tests ended with {status})", case.name));
        }
        End::Silent => {
            tally.fail(&format!("{} (the machine was silent, so it was ended)", case.name))
        }
        End::Mute => tally.fail(&format!("{} (the machine ended without a word)", case.name)),
    }
    Ok(tally)
}

/// What earlier runs of the machine gave, if they count.
fn kept(name: &str, options: &Options) -> Results {
    if options.resume { Results::read(&Results::file(name)) } else { Results::default() }
}

/// What need not run again, which is said.
fn already_done<'a>(kept: &'a Results, tree: &Tree) -> Vec<&'a str> {
    let done = kept.done(tree);
    if !kept.tests.is_empty() {
        say(&format!(
            "{} of {} tests are done with this eBPF object ({}); those of another one, and those \
             that failed, run again",
            done.len(),
            kept.tests.len(),
            tree.object
        ));
    }
    done
}

/// Runs the tests on this machine's own kernel, and keeps what came as the machines' results are.
fn native(options: &Options) -> Result<ExitCode> {
    test_packages::set_up();
    let binaries = build::binaries()?;
    let script = folder().join("native.sh");
    std::fs::create_dir_all(folder()).context("cannot make target/vm")?;
    let skips = folder().join("native.skips");
    let tree = Tree::of_workspace()?;
    let kept = kept(table::NATIVE, options);
    let done = already_done(&kept, &tree);
    let binaries: Vec<&Binary> = binaries.iter().collect();
    let case = text(&PLAIN_CASE, &options.filters, &binaries, 1, &done);
    let exports = "export RMAP_SKIPS RMAP_BIN RMAP_SLOW RMAP_REFUSED RUST_BACKTRACE=0";
    let skips = skips.display();
    let whole = format!("{case}\nRMAP_SKIPS='{skips}'\n{exports}\n{SUITE}\nsuite 2>&1\n");
    std::fs::write(&script, whole).context("cannot write target/vm/native.sh")?;
    let mut tally = Tally::default();
    let mut reader = Reader::of(table::NATIVE, "native", &tree);
    let mut shell = std::process::Command::new("sh");
    shell.arg(&script).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = shell.spawn().context("cannot start sh")?;
    watch::lines(&mut child, watch::SILENCE, |line| {
        let text = String::from_utf8_lossy(line);
        print!("{text}");
        let text = text.trim_end();
        tally.line(text);
        if let Some(late) = reader.line(text)? {
            tally.fail(&format!("{late} (took too long)"));
        }
        Ok(())
    })?;
    child.wait().context("cannot wait for the tests")?;
    reader.end()?;
    print!("{}", tally.summary());
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A machine that only says that it started.
const PLAIN_CASE: Case = Case {
    name: "start",
    kernel: "",
    what: "",
    command_line: "",
    machine: &[],
    set_up: "",
    tests: Tests::All,
    ci: None,
};

/// `/case`: what the guest's scripts read.
fn text(case: &Case, filters: &[String], binaries: &[&Binary], slow: u32, done: &[&str]) -> String {
    let root = steps::root();
    let inside = |binary: &&Binary| {
        let path = binary.path.strip_prefix(&root).unwrap_or(&binary.path);
        path.display().to_string()
    };
    let tests: Vec<String> = binaries.iter().map(inside).collect();
    let refused = if let Tests::Refused(words) = case.tests { words } else { "" };
    let set_up = if case.set_up.is_empty() { ":" } else { case.set_up };
    format!(
        "WORKSPACE='{}'\nTESTS='{}'\nFILTERS='{}'\nRMAP_BIN='{}'\nRMAP_SLOW={slow}\n\
         TEST_SECONDS={}\nDONE='{}'\nRMAP_REFUSED='{refused}'\nset_up() {{\n{set_up}\n}}\n",
        root.display(),
        tests.join(" "),
        filters.join(" "),
        steps::target_dir().join("release/rmap").display(),
        TEST_SECONDS * slow.min(4),
        done.join(" "),
    )
}
