//! `cargo xtask test`: sets up what the tests need and runs all of them.
//!
//! Comes in: this machine as it is. Goes out: the tests' own output, then what failed, what was
//! skipped and why, and one last line `N passed, N failed, N skipped` over everything.
//!
//! The steps: Debian packages; the eBPF object from source, compared with the kept one; host
//! tests; the library without the feature `live`; the end-to-end tests with root and BPF, on the
//! object from source; the walks of some programs' stacks against another unwinder. A step that fails does not stop the ones after it.

pub mod packages;
pub mod tally;
pub mod watch;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::ebpf::{self, Verdict};
use crate::steps::{self, say};
use crate::unwind_check;
use tally::Tally;
use watch::SILENCE;

/// The name under which the comparison of the objects is counted as a test.
const OBJECT_TEST: &str = "the kept eBPF object is what its sources give";

/// Which tests to run.
#[derive(Args)]
pub struct Options {
    /// Only what needs neither root nor BPF; install nothing.
    #[arg(long)]
    host: bool,
    /// Only tests with this in their name.
    filter: Option<String>,
}

/// Runs `cargo xtask test`.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let mut object = None;
    if !options.host {
        step("Debian packages", packages::set_up);
        if options.filter.is_none() {
            object = step("the eBPF object from source", || compare_object(&mut tally));
        }
    }

    let (object, filter) = (object.as_deref(), options.filter.as_deref());
    step("host tests", || {
        let mut cargo = cargo(object);
        cargo.args(["test", "--workspace", "--exclude", "rmap-tests", "--no-fail-fast"]);
        // A test of the host that cannot run prints its SKIP line too: show what passing tests say.
        cargo.args(["--", "--show-output"]).args(filter);
        tests("host tests", &mut cargo, &mut tally)
    })?;
    step("tests without the feature live", || {
        let mut cargo = cargo(None);
        cargo.args(["test", "-p", "rmap-user", "--no-default-features", "--no-fail-fast"]);
        // Not `unwind`, which takes longest and meets no line of code that is another one here.
        cargo.args(["--lib", "--bins", "--test", "rooms", "--test", "view"]);
        cargo.args(["--", "--show-output"]).args(filter);
        tests("tests without the feature live", &mut cargo, &mut tally)
    })?;
    if options.host {
        say("the end-to-end tests were left out, as --host says");
    } else {
        step("end-to-end tests", || end_to_end(object, filter, &mut tally))?;
        step("stacks against another unwinder", || {
            let mut cargo = cargo(object);
            cargo.arg("test");
            let quick = unwind_check::QUICK.into_iter();
            let names: Vec<&str> = quick.filter(|name| filter.is_none_or(|f| f == *name)).collect();
            if names.is_empty() {
                return Ok(());
            }
            unwind_check::choose(&mut cargo, names);
            tests("stacks against another unwinder", &mut cargo, &mut tally)
        })?;
    }

    print!("{}", tally.summary());
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does one step and says what it is and how long it took.
fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    say(&format!("== {name}"));
    let start = Instant::now();
    let done = work();
    say(&format!("== {name}: {:.0} s", start.elapsed().as_secs_f64()));
    done
}

/// Cargo for the tests, which embeds `object` instead of the kept one if it is given.
fn cargo(object: Option<&Path>) -> Command {
    let mut cargo = steps::cargo();
    match object {
        Some(path) => cargo.env("RMAP_PROBES_OBJECT", path),
        None => cargo.env_remove("RMAP_PROBES_OBJECT"),
    };
    cargo
}

/// Builds the object from source and compares it with the kept one. Gives the object to test
/// where that is another one: the same bytes need no second build of rmap.
fn compare_object(tally: &mut Tally) -> Option<PathBuf> {
    let tools = match ebpf::toolchain::find(None) {
        Ok(tools) => tools,
        Err(error) => {
            tally.skip(OBJECT_TEST, &format!("no compiler for BPF: {error:#}"));
            return None;
        }
    };
    let compared =
        ebpf::build_with(&tools).and_then(|built| Ok((ebpf::verdict(&built)?, built.path)));
    match compared {
        Ok((Verdict::Identical, _)) => {
            say("the object from source is byte by byte the kept one");
            tally.pass();
            None
        }
        Ok((Verdict::Differs(how), path)) => {
            println!("{how}");
            tally.fail(OBJECT_TEST);
            Some(path)
        }
        Ok((Verdict::OtherTools(how), path)) => {
            println!("{how}");
            tally.skip(OBJECT_TEST, "it was made with other tools; the fresh one is tested");
            Some(path)
        }
        Err(error) => {
            println!("{error:#}");
            tally.fail(OBJECT_TEST);
            None
        }
    }
}

/// Builds rmap as a user gets it and runs the privileged tests on that binary, one at a time.
fn end_to_end(object: Option<&Path>, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let name = "end-to-end tests";
    let mut build = cargo(object);
    build.args(["build", "--release", "-p", "rmap-user", "--bin", "rmap"]);
    // The test of costs measures the building of unwind tables as a release build does it.
    build.args(["--example", "unwind_tables"]);
    if let Err(error) = steps::run("build rmap", &mut build) {
        println!("{error:#}");
        tally.fail("end-to-end tests (rmap does not build)");
        return Ok(());
    }
    let skips = steps::target_dir().join("xtask-skips.txt");
    std::fs::write(&skips, "").with_context(|| format!("cannot write {}", skips.display()))?;
    let mut cargo = cargo(object);
    cargo.env("RMAP_BIN", steps::target_dir().join("release/rmap"));
    cargo.env("RMAP_SKIPS", &skips);
    cargo.args(["test", "-p", "rmap-tests", "--no-fail-fast"]);
    cargo.args(["--", "--test-threads=1", "--nocapture"]).args(filter);
    let done = tests(name, &mut cargo, tally);
    let said = std::fs::read_to_string(&skips)
        .with_context(|| format!("cannot read {}", skips.display()))?;
    said.lines().for_each(|line| tally.skip_line(line));
    done
}

/// Runs `cargo test`, passing its output on as it comes, and counts.
fn tests(name: &str, cargo: &mut Command, tally: &mut Tally) -> Result<()> {
    cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = cargo.spawn().with_context(|| format!("cannot start cargo for the {name}"))?;
    let before = tally.failed();
    let ended = watch::lines(&mut child, SILENCE, |line| {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(line).and_then(|()| stdout.flush()).context("cannot write to stdout")?;
        tally.line(&String::from_utf8_lossy(line));
        Ok(())
    })?;
    tally.end_of_output();
    let status = child.wait().with_context(|| format!("cannot wait for the {name}"))?;
    if !ended {
        tally.fail(&format!(
            "{name} (nothing came for {} s, so they were killed)",
            SILENCE.as_secs()
        ));
    } else if !status.success() && tally.failed() == before {
        tally.fail(&format!("{name} (cargo test ended with {status}; see above)"));
    }
    Ok(())
}
