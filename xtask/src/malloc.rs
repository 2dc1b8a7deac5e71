//! `cargo xtask malloc`: the allocator's shim of `--malloc` from its source, kept in
//! `rmap-malloc/prebuilt`.
//!
//! Comes in: `rmap-malloc/shim.c`; gcc. Goes out: `librmap-malloc.so`, and `SOURCES`, the record of what
//! it was made from. With `--check` both are compared with what is kept; a compiler of another version
//! may give other bytes, which is said and no failure.

#[path = "../../rmap-malloc/record.rs"]
mod record;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;

use crate::steps::{self, say};

/// What to do with the shim.
#[derive(Args)]
pub struct Options {
    /// Build it and say whether the kept shim is the same; keep nothing.
    #[arg(long)]
    check: bool,
}

/// Runs `cargo xtask malloc`.
pub fn run(options: &Options) -> Result<ExitCode> {
    let folder = steps::root().join(record::FOLDER);
    let made_with = compiler()?;
    let kept = folder.join(record::OBJECT);
    if options.check {
        if let Some(reason) = record::stale(&steps::root()).map_err(|line| anyhow!(line))? {
            println!("the kept shim is stale: {reason}; run {}", record::COMMAND);
            return Ok(ExitCode::FAILURE);
        }
        return check(&folder, &made_with, &build(&folder)?);
    }
    let object = build(&folder)?;
    fs::create_dir_all(folder.join("prebuilt")).context("cannot make rmap-malloc/prebuilt")?;
    fs::write(&kept, &object).with_context(|| format!("cannot write {}", kept.display()))?;
    let mut sources = format!(
        "# What librmap-malloc.so was made from. `{}` writes this file and the build of\n\
         # rmap-user compares it with the source; rmap-malloc/record.rs explains the lines.\n",
        record::COMMAND
    );
    sources.push_str(&record::current(&steps::root()).map_err(|line| anyhow!(line))?);
    sources.push_str(&format!("made-with {made_with}\n"));
    let path = folder.join(record::SOURCES);
    fs::write(&path, sources).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("written: {} ({} bytes)", kept.display(), object.len()));
    Ok(ExitCode::SUCCESS)
}

/// Holds a fresh shim against the kept one.
fn check(folder: &Path, made_with: &str, fresh: &[u8]) -> Result<ExitCode> {
    let kept = fs::read(folder.join(record::OBJECT)).context("cannot read the kept shim")?;
    let sources = fs::read_to_string(folder.join(record::SOURCES))
        .context("cannot read the record of the kept shim")?;
    let known = sources.lines().find_map(|line| line.strip_prefix("made-with "));
    if kept == fresh {
        println!("{}/{} is what its source gives", record::FOLDER, record::OBJECT);
        return Ok(ExitCode::SUCCESS);
    }
    let known = known.unwrap_or("tools that are not named");
    if known == made_with {
        println!("{}/{} is not what its source gives", record::FOLDER, record::OBJECT);
        return Ok(ExitCode::FAILURE);
    }
    println!(
        "{}/{} was made with {known}; {made_with} gives other bytes",
        record::FOLDER,
        record::OBJECT
    );
    Ok(ExitCode::SUCCESS)
}

/// The compiler and the linker, by their versions.
fn compiler() -> Result<String> {
    ensure!(
        steps::which("gcc").is_some(),
        "the shim is built by gcc, which is not here; the kept shim needs none"
    );
    let first = |program: &str| {
        let mut command = steps::clean(program);
        let said = steps::output("ask for a version", command.arg("--version"))?;
        Ok::<_, anyhow::Error>(said.lines().next().unwrap_or_default().to_owned())
    };
    Ok(format!("{}, {}", first("gcc")?, first("ld")?))
}

/// The shim from its source.
fn build(folder: &Path) -> Result<Vec<u8>> {
    let out = steps::root().join("target/rmap-malloc");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let object = out.join("librmap-malloc.so");
    let mut gcc: Command = steps::clean("gcc");
    // By a relative path: no other is to be in the result.
    gcc.current_dir(folder).args(record::FLAGS).arg("-o").arg(&object).arg(record::SOURCE);
    steps::run("build the allocator's shim", &mut gcc)?;
    fs::read(&object).context("cannot read the built shim")
}
