//! Files that hold a report, or a recording from which it is made, read with checks: the one
//! place where commands get one from.
//!
//! Comes in: a path, whose content may be anything. Goes out: a [`Report`], with what is to be said of
//! the file, of which the addresses
//! are addresses, the stacks are there and the identity holds; or an error that says what is wrong
//! with which file and where.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::insight::{Rules, growth, naming};
use crate::recording;
use crate::replay::{self, Loaded, Reading};
use crate::report::course::Course;
use crate::report::grouped::{self, Grouped, SCHEMA_2};
use crate::report::{self, Asked, Report};

/// No larger file is read. The report of a short Python program has some 80 MB.
const LARGEST: u64 = 1 << 30;

/// So many bytes tell what a file is.
const HEAD: u64 = 8;

/// Reads the report in a file.
///
/// # Errors
/// What was attempted on which file, and what is wrong with it.
pub fn load(path: &Path, reading: &Reading) -> Result<Loaded> {
    let read = || -> Result<Loaded> {
        let mut bytes = Vec::new();
        let mut file = File::open(path)?;
        (&mut file).take(HEAD).read_to_end(&mut bytes).map_err(name_directory)?;
        if recording::is_recording(&bytes) {
            let mut loaded = replay::load(path, reading)?;
            for report in [Some(&mut loaded.report), loaded.peak.as_mut()].into_iter().flatten() {
                report::merge_stacks(report);
                naming::name_segments(report);
                growth::judge(report, &Rules::built_in());
            }
            return Ok(loaded);
        }
        // What is no JSON either need not be read to its end, which may be far or nowhere.
        foreign(&bytes)?;
        let fits = |bytes: u64| {
            ensure!(bytes <= LARGEST, "it is larger than {} MiB", LARGEST >> 20);
            Ok(())
        };
        // A file says how large it is; a pipe does not.
        fits(file.metadata()?.len())?;
        file.take(LARGEST + 1 - HEAD).read_to_end(&mut bytes)?;
        fits(bytes.len() as u64)?;
        let mut report = parse(&bytes)?;
        report::merge_stacks(&mut report);
        naming::name_segments(&mut report);
        ensure!(
            reading.symbols.is_empty(),
            "it is a JSON report, which has the names that it has: --symbols needs the recording"
        );
        ensure!(
            reading.asked == Asked::default(),
            "it is a JSON report, which is of one moment: --at and --window need the recording"
        );
        Ok(Loaded { report, peak: None, cut_at: None, skipped: 0, notes: Vec::new() })
    };
    read().with_context(|| format!("cannot read a report from {}", path.display()))
}

/// Reads a recording with the course of its session, which a report does not tell.
///
/// # Errors
/// What was attempted on which file, and what is wrong with it.
pub fn load_course(path: &Path, reading: &Reading) -> Result<(Loaded, Course)> {
    let read = || -> Result<(Loaded, Course)> {
        let mut bytes = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut bytes).map_err(name_directory)?;
        ensure!(
            recording::is_recording(&bytes) || bytes.is_empty(),
            "it is no recording, and a report does not tell how things came about: make one with rmap run --record FILE"
        );
        let (mut loaded, mut course) = replay::load_course(path, reading)?;
        course.rename(&report::merge_stacks(&mut loaded.report));
        naming::name_segments(&mut loaded.report);
        growth::judge(&mut loaded.report, &Rules::built_in());
        Ok((loaded, course))
    };
    read().with_context(|| format!("cannot read a recording from {}", path.display()))
}

fn name_directory(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::IsADirectory {
        return anyhow::anyhow!("it is a directory");
    }
    error.into()
}

/// The report in the bytes of a file.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(bytes: &[u8]) -> Result<Report> {
    /// What tells whether the rest can be understood.
    #[derive(Deserialize)]
    struct Head {
        schema: Option<String>,
    }

    foreign(bytes)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        bail!("it is empty");
    }
    let head: Head = serde_json::from_slice(bytes).context("it is no whole JSON")?;
    match head.schema.as_deref() {
        Some(report::SCHEMA) => {}
        Some(SCHEMA_2) => return second(bytes),
        None => bail!("it is JSON without a schema, so no report of rmap"),
        Some(other) => {
            bail!("its schema is {other:?}, this rmap reads {} and {SCHEMA_2}", report::SCHEMA)
        }
    }
    let report: Report =
        serde_json::from_slice(bytes).with_context(|| format!("it is no {}", report::SCHEMA))?;
    check(&report)?;
    Ok(report)
}

/// The report in the bytes of a file that states like processes once.
fn second(bytes: &[u8]) -> Result<Report> {
    #[derive(Deserialize)]
    struct Second {
        #[serde(flatten)]
        grouped: Grouped,
    }

    let wrong = || format!("it is no {SCHEMA_2}");
    let second: Second = serde_json::from_slice(bytes).with_context(wrong)?;
    let mut report: Report = serde_json::from_slice(bytes).with_context(wrong)?;
    report.schema = report::SCHEMA.into();
    report.processes = grouped::unfold(second.grouped)?;
    check(&report)?;
    Ok(report)
}

/// Refuses what is neither a recording nor begins as JSON.
fn foreign(bytes: &[u8]) -> Result<()> {
    ensure!(
        bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_none_or(|byte| *byte == b'{'),
        "it is neither a recording nor a JSON report: make one with rmap run --record FILE or --json FILE"
    );
    Ok(())
}

/// What the types do not say.
fn check(report: &Report) -> Result<()> {
    let mut ids = std::collections::HashSet::new();
    for stack in &report.stacks {
        ensure!(ids.insert(stack.id), "stack {} is in it twice", stack.id);
    }
    for process in &report.processes {
        let paths = process.segments.iter().flat_map(|s| &s.paths).map(|path| path.stack);
        let mapped = process.segments.iter().filter_map(|s| s.mapped_by.as_ref()?.stack.into());
        let others = process.gone.iter().map(|g| g.stack);
        let released = process.released.iter().map(|r| r.stack);
        let grew = process.growth.iter().flat_map(|grew| &grew.stacks).map(|stack| Some(*stack));
        for id in paths.chain(mapped).chain(others).chain(released).chain(grew).flatten() {
            ensure!(ids.contains(&id), "process {} names stack {id}, which it lacks", process.pid);
        }
        for segment in &process.segments {
            ensure!(
                segment.end.0.checked_sub(segment.start.0) == Some(segment.size_bytes),
                "process {}: a segment from {} to {} cannot have {} bytes",
                process.pid,
                segment.start,
                segment.end,
                segment.size_bytes
            );
        }
    }
    report::check_identity(report).context("it contradicts itself")
}
