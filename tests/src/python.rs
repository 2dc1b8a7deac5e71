//! Python programs whose truth is known, and the interpreters of this machine.
//!
//! Comes in: a script of `workloads/python`, an interpreter. Goes out: what the script says it did,
//! and what a report says of Python's lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::rmap::report::{Frame, Process, Report, Stack};
use serde::Deserialize;

use crate::facts;
use crate::process::Running;
use crate::rmap::{Traced, finish, rmap_run};

/// Bytes of a page.
const PAGE: u64 = 4096;

/// An interpreter.
#[derive(Clone, Debug)]
pub struct Python {
    /// The program.
    pub path: PathBuf,
    /// 11 for 3.11.
    pub minor: u8,
}

/// What a script says of one of its lines.
#[derive(Clone, Debug, Deserialize)]
pub struct Said {
    /// The function.
    pub function: String,
    /// The line.
    pub line: u32,
    /// Pages that it touched.
    pub pages: u64,
}

/// A script of `workloads/python`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/python").join(format!("{name}.py"))
}

/// The interpreters of this machine that rmap reads, each version once: the system's, those of
/// pyenv, and those that `RMAP_PYTHONS` names with colons between them.
#[must_use]
pub fn interpreters() -> Vec<Python> {
    let named = std::env::var_os("RMAP_PYTHONS").unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::env::split_paths(&named).collect();
    paths.push("/usr/bin/python3".into());
    let pyenv = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv/versions"));
    let versions = pyenv.and_then(|versions| std::fs::read_dir(versions).ok());
    paths.extend(versions.into_iter().flatten().flatten().map(|at| at.path().join("bin/python3")));
    let mut found: BTreeMap<(u8, bool), Python> = BTreeMap::new();
    for path in paths.into_iter().filter(|path| !path.as_os_str().is_empty()) {
        let asked = Command::new(&path)
            .args(["-c", "import sys; print(sys.version_info[0], sys.version_info[1])"])
            .output();
        let Ok(answer) = asked else { continue };
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        let Some(minor) = answer.trim().strip_prefix("3 ").and_then(|minor| minor.parse().ok())
        else {
            continue;
        };
        // The system's is linked in one piece, others have a library.
        let own = path.starts_with("/usr");
        if (8..=14).contains(&minor) {
            found.entry((minor, own)).or_insert(Python { path, minor });
        }
    }
    found.into_values().collect()
}

/// Runs a script under rmap.
///
/// # Panics
/// It does not end with status 0, or the report is not sound.
#[must_use]
pub fn trace(dir: &Path, python: &Python, name: &str, args: &[&str]) -> Traced {
    let mut rmap = rmap_run(dir);
    rmap.arg(&python.path).arg(script(name)).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    let traced = finish(dir, Running::start(&mut rmap, None));
    assert_eq!(traced.ended.code(), 0, "{}{}", traced.ended.out(), traced.ended.err());
    facts::assert_sound(&traced.report);
    facts::assert_nothing_lost(&traced.report);
    traced
}

/// What a script said.
///
/// # Panics
/// It said something else.
#[must_use]
pub fn said<T: for<'de> Deserialize<'de>>(traced: &Traced) -> Vec<T> {
    serde_json::from_str(&traced.ended.out()).unwrap()
}

/// Python's frames of a stack, innermost first.
pub fn frames(stack: &Stack) -> impl Iterator<Item = &Frame> {
    stack.frames.iter().filter(|frame| frame.language.as_deref() == Some("python"))
}

/// Each stack of a process with the pages that it touched of shared memory, those that are gone too:
/// what the scripts touch, and the interpreter itself does not.
pub fn touched<'a>(
    report: &'a Report,
    process: &'a Process,
) -> impl Iterator<Item = (&'a Stack, u64)> {
    let there = process.segments.iter().flat_map(|segment| &segment.paths);
    let there = there.map(|path| (path.stack, path.cause.as_str(), path.touched_bytes));
    let gone = process.gone.iter();
    let gone = gone.map(|gone| (gone.stack, gone.cause.as_str(), gone.touched_bytes));
    there
        .chain(gone)
        .filter(|(stack, cause, _)| stack.is_some() && *cause == "shared-memory")
        .map(|(stack, _, bytes)| (facts::stack(report, stack), bytes / PAGE))
}

/// Pages by innermost Python function and line, of the functions in `file`.
#[must_use]
pub fn by_line(report: &Report, process: &Process, file: &str) -> BTreeMap<(String, u32), u64> {
    let mut pages = BTreeMap::new();
    for (stack, count) in touched(report, process) {
        let Some(frame) = frames(stack).next() else { continue };
        if frame.file.as_deref() == Some(file) {
            let name = frame.function.clone().unwrap_or_default();
            *pages.entry((name, frame.line.unwrap_or(0))).or_default() += count;
        }
    }
    pages
}
