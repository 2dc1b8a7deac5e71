//! `cargo xtask dist`: rmap as others install it.
//!
//! Comes in: the workspace. Goes out, in `target/dist`: `rmap-VERSION-x86_64.tar.gz`,
//! `rmap_VERSION_amd64.deb`, `rmap.debug` (the debug information of the program in both) and
//! `SHA256SUMS` of the three. docs/dist.md describes them.
//!
//! * [`build`], the statically linked program, and its debug information apart;
//! * [`contents`], which files are installed;
//! * [`notices`], the licences of all that is in the program;
//! * [`pack`], the formats;
//! * [`roots`], clean systems; [`trial`], what is tried in them.

mod build;
mod contents;
mod notices;
mod pack;
mod roots;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::steps::{self, say};
use build::{Built, Source};
pub use roots::PACKAGES;

/// What to do beyond the build.
#[derive(Args)]
pub struct Options {
    /// Build once more in another folder, and compare all bytes: twice the time.
    #[arg(long)]
    check: bool,
    /// Install and run it in clean systems, as root: Debian 12, Debian 13, one with musl alone.
    #[arg(long)]
    test: bool,
    /// With --test: Debian 13 and the one with musl alone.
    #[arg(long, requires = "test")]
    ci: bool,
    /// With --test: Alpine's root file system (alpine-minirootfs-….tar.gz), tried in as well.
    #[arg(long, requires = "test", value_name = "TARBALL")]
    alpine: Option<PathBuf>,
}

/// A file of the distribution.
pub struct Artefact {
    /// Its name in `target/dist`.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The folder of everything here.
fn folder() -> PathBuf {
    steps::target_dir().join("dist")
}

/// Runs `cargo xtask dist`.
pub fn run(options: &Options) -> Result<ExitCode> {
    let epoch = epoch(&steps::root())?;
    let source = Source { root: steps::root(), target: folder().join("build"), epoch };
    let artefacts = make(&source)?;
    for artefact in &artefacts {
        let path = folder().join(&artefact.name);
        fs::write(&path, &artefact.bytes)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} ({} bytes)", path.display(), artefact.bytes.len());
    }
    if options.check {
        compare(&artefacts, &make(&second(epoch)?)?)?;
    }
    if options.test {
        return trial::run(&artefacts, options.ci, options.alpine.as_deref());
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything, from one folder.
fn make(source: &Source) -> Result<Vec<Artefact>> {
    let built = Built::of(source)?;
    let files = contents::of(source, &built)?;
    let version = &built.version;
    let mut artefacts = vec![
        Artefact {
            name: format!("rmap-{version}-x86_64.tar.gz"),
            bytes: pack::tarball(&files, version, source.epoch)?,
        },
        Artefact {
            name: format!("rmap_{version}_amd64.deb"),
            bytes: pack::deb(&files, version, source.epoch)?,
        },
        Artefact { name: "rmap.debug".to_owned(), bytes: built.debug },
    ];
    let sums = artefacts.iter().map(|artefact| line_of_sum(&artefact.bytes, &artefact.name));
    artefacts
        .push(Artefact { name: "SHA256SUMS".to_owned(), bytes: sums.collect::<String>().into() });
    Ok(artefacts)
}

/// A line as `sha256sum -c` reads it.
fn line_of_sum(bytes: &[u8], name: &str) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}  {name}\n")
}

/// The time that all files have: that of the commit, or `SOURCE_DATE_EPOCH`.
fn epoch(root: &Path) -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--format=%ct"]).current_dir(root);
            steps::output(
                "ask git for the time of the commit (or set SOURCE_DATE_EPOCH)",
                &mut git,
            )?
        }
    };
    text.parse().with_context(|| format!("{text:?} is no time in seconds"))
}

/// A copy of the sources in another folder, with nothing built.
fn second(epoch: u64) -> Result<Source> {
    let folder = folder().join("second-folder");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let root = folder.join("sources");
    let mut git = Command::new("git");
    git.args(["ls-files", "-z"]).current_dir(steps::root());
    let names = steps::output("list the sources", &mut git)?;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let to = root.join(name);
        let parent = to.parent().unwrap_or(&root);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::copy(steps::root().join(name), &to)
            .with_context(|| format!("cannot copy {name} to {}", to.display()))?;
    }
    Ok(Source { root, target: folder.join("build"), epoch })
}

/// Holds two builds against each other, byte by byte.
fn compare(first: &[Artefact], second: &[Artefact]) -> Result<()> {
    let mut differ = Vec::new();
    for (one, other) in first.iter().zip(second) {
        if (&one.name, &one.bytes) == (&other.name, &other.bytes) {
            continue;
        }
        let path = folder().join("second-folder").join(&other.name);
        fs::write(&path, &other.bytes)
            .with_context(|| format!("cannot write {}", path.display()))?;
        differ.push(one.name.as_str());
    }
    if !differ.is_empty() {
        bail!("a build in another folder gives other bytes: {}", differ.join(", "));
    }
    say("a build in another folder gives the same bytes");
    Ok(())
}
