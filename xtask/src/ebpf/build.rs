//! One build of the object: the same bytes on every machine with the same tools.
//!
//! Comes in: [`Tools`]. Goes out: the path of a stripped object that names no place of this
//! machine. It is below the target directory, so that nothing that is kept changes by building.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::toolchain::{self, Kind, TARGET, Tools};
use crate::source_hash::{FLAGS, OBJECT};
use crate::steps::{self, say};

/// Builds the object and gives its path.
pub fn object(tools: &Tools) -> Result<PathBuf> {
    let target_dir = steps::target_dir().join("ebpf");
    let mut registries = registries()?;
    loop {
        compile(tools, &target_dir, &registries)?;
        let now = self::registries()?;
        if now == registries {
            break;
        }
        // The names of the folders of downloaded crates are known only after the download.
        say("crates were downloaded: building again without the names of their folders");
        registries = now;
    }

    let linked = target_dir.join(TARGET).join("release/rmap-probes");
    let stripped = target_dir.join(OBJECT);
    let mut strip = Command::new(&tools.strip);
    // Drops DWARF and keeps .BTF and .BTF.ext, which are all that the kernel and aya read.
    strip.arg("--strip-debug").arg(&linked);
    if !tools.strip.ends_with("llvm-strip") {
        strip.arg(&stripped);
    } else {
        strip.arg("-o").arg(&stripped);
    }
    steps::run("strip the object", &mut strip)?;
    no_place_named(&stripped, tools)?;
    Ok(stripped)
}

fn compile(tools: &Tools, target_dir: &Path, registries: &BTreeSet<PathBuf>) -> Result<()> {
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(&steps::root(), ".");
    for registry in registries {
        remap(registry, "/crates");
    }
    if tools.kind == Kind::Nightly {
        remap(&toolchain::sysroot(&tools.rustc)?.join("lib/rustlib/src/rust"), "/rust");
    }

    let mut cargo = steps::clean(&tools.cargo);
    cargo.current_dir(steps::root());
    cargo.env("RUSTC", &tools.rustc);
    cargo.env("PATH", toolchain::prepend(&tools.linker_dir));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.args(["build", "--release", "--locked", "-p", "rmap-ebpf", "--bin", "rmap-probes"]);
    cargo.args(["--target", TARGET, "--target-dir"]).arg(target_dir);
    match tools.kind {
        // aya-ebpf and our own asm ask for one unstable feature; no other crate is let in.
        Kind::Debian => cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf,rmap_ebpf"),
        Kind::Nightly => cargo.args(["-Z", "build-std=core"]),
    };
    steps::run("build the eBPF object", &mut cargo)
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(folder));
    }
    let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set; set one")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

/// The folders below which Cargo unpacks crates, one for each registry.
fn registries() -> Result<BTreeSet<PathBuf>> {
    let Ok(entries) = fs::read_dir(cargo_home()?.join("registry/src")) else {
        return Ok(BTreeSet::new());
    };
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect())
}

/// Refuses an object that names a folder of this machine: it could not be made anew elsewhere.
fn no_place_named(object: &Path, tools: &Tools) -> Result<()> {
    let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let mut places = vec![steps::root(), cargo_home()?];
    if tools.kind == Kind::Nightly {
        places.push(toolchain::sysroot(&tools.rustc)?);
    }
    places.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join("")));
    for place in places.iter().map(|place| place.display().to_string()) {
        if place.len() > 1 && bytes.windows(place.len()).any(|window| window == place.as_bytes()) {
            bail!(
                "the built object names {place}: add it to the remapped paths in \
                 xtask/src/ebpf/build.rs"
            );
        }
    }
    Ok(())
}
