//! `cargo xtask ebpf`: the BPF object from source, kept in `rmap-ebpf/prebuilt` or compared with
//! what is kept there.
//!
//! Comes in: the sources of rmap-ebpf and a toolchain for BPF. Goes out: `rmap-probes.o` and
//! `SOURCES`, or the differences.

mod build;
pub mod compare;
pub mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::source_hash::{self, OBJECT, PREBUILT, SOURCES};
use crate::steps::{self, say};

/// How to build.
#[derive(Args, Default)]
pub struct Options {
    /// Build from source and tell whether the kept object corresponds; keep nothing.
    #[arg(long)]
    check: bool,
    /// The compiler to use (default: Debian's where it is or can be installed, else nightly).
    #[arg(long, value_enum)]
    toolchain: Option<toolchain::Kind>,
}

/// Whether the kept object is the one that the sources give.
pub enum Verdict {
    /// Byte by byte the same.
    Identical,
    /// Not the same, by the same tools: the kept object is not what the sources say.
    Differs(String),
    /// Not the same, by other tools, which alone may explain it.
    OtherTools(String),
}

/// Runs `cargo xtask ebpf`.
pub fn run(options: &Options) -> Result<ExitCode> {
    let built = build_with(&toolchain::find(options.toolchain)?)?;
    if !options.check {
        keep(&built)?;
        return Ok(ExitCode::SUCCESS);
    }
    match verdict(&built)? {
        Verdict::Identical => {
            println!("{PREBUILT}/{OBJECT} is byte by byte what the sources give");
            Ok(ExitCode::SUCCESS)
        }
        Verdict::Differs(how) | Verdict::OtherTools(how) => {
            println!("{how}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// An object just built from source.
pub struct Built {
    /// Where it is, below the target directory.
    pub path: PathBuf,
    /// What built it.
    pub made_with: String,
}

/// Builds the object from source.
pub fn build_with(tools: &toolchain::Tools) -> Result<Built> {
    say(&format!("building {OBJECT} with {}", tools.version));
    let path = build::object(tools)?;
    Ok(Built { path, made_with: tools.version.clone() })
}

/// Compares the kept object with one built from source.
pub fn verdict(built: &Built) -> Result<Verdict> {
    let kept = steps::root().join(PREBUILT);
    let record = fs::read_to_string(kept.join(SOURCES)).unwrap_or_default();
    if let Some(reason) = source_hash::stale(&steps::root()).map_err(|line| anyhow!(line))? {
        return Ok(Verdict::Differs(format!(
            "the kept object is stale: {reason}\nrun `{}`",
            source_hash::COMMAND
        )));
    }
    let differences = compare::objects(&read(&kept.join(OBJECT))?, &read(&built.path)?)?;
    if differences.is_empty() {
        return Ok(Verdict::Identical);
    }
    let made_with = source_hash::field(&record, "made-with").unwrap_or("tools that are not told");
    let lines = differences.join("\n");
    Ok(if made_with == built.made_with {
        Verdict::Differs(format!("{PREBUILT}/{OBJECT} is not what the sources give:\n{lines}"))
    } else {
        Verdict::OtherTools(format!(
            "{PREBUILT}/{OBJECT} was made with {made_with}, this one with {}:\n{lines}",
            built.made_with
        ))
    })
}

/// Puts `built` and the record of its sources where the build of rmap takes them.
fn keep(built: &Built) -> Result<()> {
    let kept = steps::root().join(PREBUILT);
    fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
    let object = read(&built.path)?;
    let mut record = format!(
        "# What {OBJECT} was made from. `{}` writes this file and the build of\n\
         # rmap-user compares it with the sources; rmap-ebpf/source_hash.rs explains the lines.\n",
        source_hash::COMMAND
    );
    for fact in source_hash::current(&steps::root()).map_err(|line| anyhow!(line))? {
        record.push_str(&fact);
        record.push('\n');
    }
    record.push_str(&format!(
        "arch {}\nobject {} {OBJECT}\nmade-with {}\n",
        std::env::consts::ARCH,
        source_hash::sha256(&object),
        built.made_with
    ));
    for (name, bytes) in [(OBJECT, object.as_slice()), (SOURCES, record.as_bytes())] {
        let path = kept.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{PREBUILT}/{OBJECT} ({} bytes) and {PREBUILT}/{SOURCES} written", object.len());
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
