//! The program of the distribution.
//!
//! Comes in: a folder with the sources. Goes out: rmap, linked statically with glibc, without
//! symbols, and its debug information in a file apart, which it names by build id and debug link.
//! No byte of either depends on where the folders are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::steps::{self, say};

/// What it is built for. Named to Cargo, so that build scripts are built by other flags.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The file's name in the debug link.
const DEBUG: &str = "rmap.debug";

/// Where it is built.
pub struct Source {
    /// The workspace.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// The time that files have, in seconds since 1970.
    pub epoch: u64,
}

/// What was built.
pub struct Built {
    /// rmap's version.
    pub version: String,
    /// Where the program is.
    pub path: PathBuf,
    /// The program.
    pub program: Vec<u8>,
    /// Its debug information.
    pub debug: Vec<u8>,
    /// `cargo metadata` of the sources.
    pub metadata: Value,
}

impl Built {
    /// Builds it.
    pub fn of(source: &Source) -> Result<Self> {
        let metadata = metadata(&source.root)?;
        let version = packages(&metadata)
            .find(|package| package["name"] == "rmap-user")
            .and_then(|package| package["version"].as_str())
            .context("cargo metadata has no version of rmap")?
            .to_owned();
        say(&format!("building rmap {version}, statically linked, in {}", source.root.display()));
        compile(source, &metadata)?;
        let folder = source.target.join("split");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let whole = source.target.join(TARGET).join("release/rmap");
        let (path, debug) = (folder.join("rmap"), folder.join(DEBUG));
        let objcopy = |arguments: &[&str], from: &Path, to: &Path| {
            let mut objcopy = Command::new("objcopy");
            objcopy.args(arguments).arg(from).arg(to).current_dir(&folder);
            steps::run("take the debug information apart (binutils)", &mut objcopy)
        };
        objcopy(&["--only-keep-debug", "--compress-debug-sections=zlib"], &whole, &debug)?;
        objcopy(&["--strip-all", &format!("--add-gnu-debuglink={DEBUG}")], &whole, &path)?;
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let (program, debug) = (read(&path)?, read(&debug)?);
        judge(&program)?;
        Ok(Self { version, path, program, debug, metadata })
    }
}

/// Of the program and of the probes in it.
fn metadata(root: &Path) -> Result<Value> {
    let mut cargo = steps::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root);
    for platform in [TARGET, "bpfel-unknown-none"] {
        cargo.args(["--filter-platform", platform]);
    }
    let text = steps::output("list the dependencies", &mut cargo)?;
    serde_json::from_str(&text).context("cannot read the output of cargo metadata")
}

/// The packages that it lists.
pub fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// The folder of a package's sources.
pub fn folder_of(package: &Value) -> Option<&Path> {
    Path::new(package["manifest_path"].as_str()?).parent()
}

fn compile(source: &Source, metadata: &Value) -> Result<()> {
    // Where packages lie that are not the workspace's: one folder for each registry.
    let fetched = packages(metadata).filter(|package| !package["source"].is_null());
    let registries: BTreeSet<&Path> =
        fetched.filter_map(|package| folder_of(package)?.parent()).collect();
    // The last one that fits counts, and the target folder may be in the workspace.
    let mut names = vec![(source.root.as_path(), "/rmap")];
    names.extend(registries.into_iter().map(|folder| (folder, "/packages")));
    names.push((&source.target, "/target"));
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Clink-arg=-Wl,--build-id=sha1".to_owned(),
    ];
    let mut c_flags = Vec::new();
    for (folder, name) in names {
        let folder = folder.to_str().context("a folder's name is no text")?;
        if folder.contains(' ') {
            bail!(
                "a C compiler's flags have no place for the space in {folder:?}: build elsewhere"
            );
        }
        flags.push(format!("--remap-path-prefix={folder}={name}"));
        c_flags.push(format!("-ffile-prefix-map={folder}={name}"));
    }
    let mut cargo = steps::clean(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if let Some(toolchain) = std::env::var_os("RUSTUP_TOOLCHAIN") {
        cargo.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    cargo.current_dir(&source.root);
    cargo.args(["build", "--release", "--locked", "-p", "rmap-user", "--bin", "rmap"]);
    cargo.args(["--target", TARGET]).env("CARGO_TARGET_DIR", &source.target);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.env(format!("CFLAGS_{}", TARGET.replace('-', "_")), c_flags.join(" "));
    steps::run("build rmap", &mut cargo)
}

/// Refuses a program that needs anything of the machine it runs on.
fn judge(program: &[u8]) -> Result<()> {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(program).context("the linker's output is no ELF file")?;
    if file.section_by_name(".interp").is_some() {
        bail!("the program has an interpreter: it is not linked statically");
    }
    if file.build_id().ok().flatten().is_none() || file.gnu_debuglink().ok().flatten().is_none() {
        bail!("the program does not name its debug information");
    }
    if let Some(section) = file.sections().find(|one| one.name().is_ok_and(|n| n == ".debug_info"))
    {
        bail!("the program has {} bytes of debug information", section.size());
    }
    Ok(())
}
