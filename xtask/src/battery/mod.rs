//! `cargo xtask battery`: what other people's stress programs do, untraced and under rmap.
//!
//! Comes in: names of stress-ng's stressors, or none for all of its memory, vm, process, signal and
//! scheduler classes. Goes out: a table on stdout and in `target/battery.md`, and exit status 1 if a
//! program behaved otherwise under rmap, or a report was not whole.
//!
//! * [`stressors`], which there are, and how much work each of them is given;
//! * [`trial`], one run: as whom it is watched, how it ended, what it left;
//! * [`findings`], what a report says of itself;
//! * [`table`], what people read.

mod findings;
mod stressors;
mod table;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::steps::{self, say};
use crate::{apt, bench};
pub use findings::Findings;
use stressors::Stressor;
use trial::{Mode, Place, Trial};

/// What to run.
#[derive(Args)]
pub struct Options {
    /// Run these stressors alone.
    names: Vec<String>,
    /// Run a short selection, each once under `rmap run`.
    #[arg(long)]
    ci: bool,
    /// Seconds of work that each stressor is given: 0.3, with --ci 0.1.
    #[arg(long)]
    work: Option<f64>,
    /// Write `docs/battery.md`.
    #[arg(long)]
    write: bool,
}

/// A stressor with all that was tried of it.
pub struct Row {
    name: String,
    trials: Vec<Trial>,
}

/// Runs `cargo xtask battery`.
pub fn run(options: &Options) -> Result<ExitCode> {
    if !steps::is_root() {
        say("SKIP battery: rmap needs root");
        return Ok(ExitCode::SUCCESS);
    }
    if let Err(error) = apt::install(&["stress-ng"]) {
        say(&format!("SKIP battery: {error:#}"));
        return Ok(ExitCode::from(steps::CANNOT));
    }
    let rmap = bench::rmap()?;
    let folder = steps::target_dir().join("battery");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let place = Place { rmap, folder };
    let names = match (options.ci, options.names.as_slice()) {
        (true, []) => stressors::SHORT.iter().map(|name| (*name).to_owned()).collect(),
        (_, []) => stressors::all()?,
        (_, names) => names.to_vec(),
    };
    let modes: &[Mode] = if options.ci { &[Mode::Run] } else { &Mode::ALL };
    let mut rows = Vec::new();
    for name in names {
        let work = options.work.unwrap_or(if options.ci { 0.1 } else { 0.3 });
        match Stressor::measured(&place, &name, work)? {
            Some(stressor) => rows.push(one(&place, &stressor, modes, options.ci)?),
            None => say(&format!("battery: {name} does nothing here, untraced")),
        }
    }
    let text = table::of(&rows);
    println!("{text}");
    keep(&steps::target_dir().join("battery.md"), &text)?;
    if options.write {
        keep(&steps::root().join("docs/battery.md"), &text)?;
    }
    let failed = rows.iter().flat_map(|row| &row.trials).any(|trial| !trial.complaints.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn keep(path: &PathBuf, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// `again`: what complains is tried once more, and the second time counts. A thread that waits for rmap
/// is let go after a second, and on a machine that others use that may pass with nothing being wrong.
fn one(place: &Place, stressor: &Stressor, modes: &[Mode], again: bool) -> Result<Row> {
    let alone = trial::alone(place, stressor)?;
    let mut row = Row { name: stressor.name.clone(), trials: Vec::new() };
    for mode in modes {
        let mut trial = trial::watched(place, stressor, *mode, &alone)?;
        if again && !trial.complaints.is_empty() {
            let first = trial.complaints.join("; ");
            say(&format!("battery: {} under {}: {first}; once more", stressor.name, mode.name()));
            trial = trial::watched(place, stressor, *mode, &alone)?;
        }
        let said = if trial.complaints.is_empty() { "ok" } else { &trial.complaints.join("; ") };
        say(&format!("battery: {} under {}: {said}", stressor.name, mode.name()));
        row.trials.push(trial);
    }
    Ok(row)
}
