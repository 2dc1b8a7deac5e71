//! What is tried in a clean system: install, run, read, remove.
//!
//! Comes in: the distribution. Goes out: a line for each system, and exit status 1 if anything was
//! not as it must be; 77 if no system could be made here.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::roots::{System, call};
use super::{Artefact, folder};
use crate::battery::Findings;
use crate::steps::{self, say};

/// What the traced program writes at least, in bytes: 8 MiB, less what malloc itself wrote first.
const WRITTEN: i64 = 8_000_000;
const SYSTEMS: [System<'static>; 3] =
    [System::Debian("trixie", 13), System::Musl, System::Debian("bookworm", 12)];

/// Tries the distribution.
pub fn run(artefacts: &[Artefact], short: bool, alpine: Option<&Path>) -> Result<ExitCode> {
    if !steps::is_root() {
        println!("skipped: clean systems: not root");
        return Ok(ExitCode::from(steps::CANNOT));
    }
    let some = if short { &SYSTEMS[..2] } else { &SYSTEMS[..] };
    let mut tried = 0;
    for system in some.iter().copied().chain(alpine.map(System::Alpine)) {
        let name = system.name();
        let root = match system.root() {
            Ok(root) => root,
            Err(error) => {
                println!("skipped: {name}: {error:#}");
                continue;
            }
        };
        let done = match system {
            System::Debian(..) => debian(&root, artefacts),
            System::Musl | System::Alpine(_) => plain(&root, artefacts),
        };
        done.with_context(|| format!("in {name}"))?;
        println!("{name}: installed, run, removed");
        tried += 1;
    }
    if alpine.is_none() {
        println!("skipped: Alpine: no root file system of it was named by --alpine");
    }
    Ok(if tried == 0 { ExitCode::from(steps::CANNOT) } else { ExitCode::SUCCESS })
}

/// Copies the artefact whose name ends so to a system's `/tmp/rmap`.
fn bring(root: &Path, artefacts: &[Artefact], end: &str) -> Result<()> {
    let of = |artefact: &&Artefact| artefact.name.ends_with(end);
    let artefact = artefacts.iter().find(of).context("an artefact is missing")?;
    let path = root.join("tmp/rmap");
    fs::write(&path, &artefact.bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn debian(root: &Path, artefacts: &[Artefact]) -> Result<()> {
    bring(root, artefacts, ".deb")?;
    // What an interrupted run left.
    call(root, "if dpkg -s rmap >/dev/null 2>&1; then dpkg --purge rmap; fi")?;
    call(
        root,
        "dpkg --install /tmp/rmap; cd /; sha256sum -c --quiet /usr/share/doc/rmap/SHA256SUMS",
    )?;
    let page = call(root, "man rmap-run; man -l /usr/share/man/man1/rmap.1.gz")?;
    ensure!(page.contains("--probes") && page.contains("rmap-doctor"), "the manual is\n{page}");
    let page = call(
        root,
        "bash -n /usr/share/bash-completion/completions/rmap; man --warnings -l \
                           /usr/share/man/man1/rmap-run.1.gz 2>&1 >/dev/null",
    )?;
    ensure!(page.is_empty(), "man warns of its page: {page}");
    session(root, "perl -e '$x = \"x\" x (8 << 20)'")?;
    let advice = call(root, "rmap report /tmp/now.rmap")?;
    ensure!(
        advice.contains("package libc6-dbg"),
        "what names are missing of is not said:\n{advice}"
    );
    call(root, "dpkg --purge rmap; ! command -v rmap; ! test -e /usr/share/doc/rmap").map(drop)
}

fn plain(root: &Path, artefacts: &[Artefact]) -> Result<()> {
    bring(root, artefacts, ".tar.gz")?;
    let source = folder().join("grow.c");
    fs::write(&source, include_str!("grow.c")).context("cannot write grow.c")?;
    let mut compiler = Command::new("musl-gcc");
    compiler
        .args(["-O1", "-fno-optimize-sibling-calls", "-o"])
        .arg(root.join("tmp/grow"))
        .arg(source);
    steps::run("compile a program (musl-tools)", &mut compiler)?;
    call(
        root,
        "cd /tmp; mkdir unpacked; tar xzf rmap -C unpacked; cd unpacked/*; sha256sum -c SHA256SUMS; \
         mkdir -p /usr/local; cp -R bin share /usr/local; cd /; rm -r /tmp/unpacked",
    )?;
    session(root, "/tmp/grow")
}

/// What must work wherever rmap is installed.
fn session(root: &Path, command: &str) -> Result<()> {
    let version = call(root, "rmap --version")?;
    ensure!(version == format!("rmap {}\n", env!("CARGO_PKG_VERSION")), "it is {version:?}");
    let doctor = call(root, "rmap doctor")?;
    ensure!(doctor.contains("rmap can do its main job here."), "the doctor says:\n{doctor}");
    let user = call(root, "cd /tmp; rmap run --user nobody -o /tmp/nobody.txt -- id -u")?;
    ensure!(user.trim() == "65534", "a command of nobody's has the user {user:?}");
    call(
        root,
        &format!(
            "cd /tmp; rm -f now.json now.rmap now.txt; \
             rmap run --json now.json --record now.rmap -o now.txt -- {command}"
        ),
    )?;
    let text = fs::read(root.join("tmp/now.json")).context("there is no report")?;
    judge(&serde_json::from_slice(&text).context("the report is no JSON")?)?;
    let again = call(root, "rmap report --full /tmp/now.rmap")?;
    let now = fs::read_to_string(root.join("tmp/now.txt")).context("there is no table")?;
    for (name, text) in [("run", now), ("report", again)] {
        ensure!(text.contains("first-write"), "{name} shows\n{text}");
    }
    Ok(())
}

/// The report adds up, lost nothing, and has the bytes that the program wrote.
fn judge(report: &Value) -> Result<()> {
    let findings = Findings::of(report);
    let sound = findings.segments > 5
        && findings.broken == 0
        && findings.unknown == 0
        && findings.lost == 0
        && findings.unseen == 0;
    ensure!(sound, "the report is not whole: {findings:?}");
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let segments = list(report, "processes").into_iter().flat_map(|one| list(&one, "segments"));
    let paths = segments.flat_map(|one| list(&one, "paths"));
    let most = paths.filter_map(|path| path["dirty_bytes"].as_i64()).max().unwrap_or(0);
    ensure!(most >= WRITTEN, "the most that one call path wrote is {most} bytes");
    say(&format!("{} segments; one call path wrote {most} bytes", findings.segments));
    Ok(())
}
