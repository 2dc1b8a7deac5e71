//! `cargo xtask arm64`: whether rmap compiles for 64-bit ARM.
//!
//! Comes in: Debian's compiler and, from its archive, the standard library for ARM of the same
//! version. Goes out: what the compiler says. Nothing is run: the probes know the registers of
//! x86-64 alone, and on other machines rmap says so and ends.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::archive::Archive;
use crate::ebpf::toolchain;
use crate::steps::{self, say};
use crate::{apt, source_hash};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// What builds the C code of dependencies for ARM.
pub const PACKAGES: &[&str] = &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];

/// Runs `cargo xtask arm64`.
pub fn run() -> Result<ExitCode> {
    let there = toolchain::debian_compiler().and_then(|()| apt::install(PACKAGES));
    let library = match there.and_then(|()| library()) {
        Ok(library) => library,
        Err(error) => {
            println!("skipped: 64-bit ARM: {error:#}");
            return Ok(ExitCode::from(steps::CANNOT));
        }
    };
    say("checking rmap for 64-bit ARM");
    let mut check = steps::clean(toolchain::DEBIAN_CARGO);
    check.args(["check", "--locked", "-p", "rmap-user", "--target", TARGET]);
    check.current_dir(steps::root());
    check.env("RUSTC", toolchain::DEBIAN_RUSTC);
    check.env("CARGO_TARGET_DIR", steps::target_dir().join("arm64"));
    // Not for the build scripts, which run here.
    let flags = format!("--sysroot {}", library.display());
    check.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
    // The kept object is for x86-64; a check embeds it and runs nothing.
    let object = steps::root().join(source_hash::PREBUILT).join(source_hash::OBJECT);
    check.env("RMAP_PROBES_OBJECT", object);
    steps::run("check rmap for 64-bit ARM", &mut check)?;
    say("rmap compiles for 64-bit ARM");
    Ok(ExitCode::SUCCESS)
}

/// The folder of the standard library for ARM, of the compiler's own version.
fn library() -> Result<PathBuf> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f=${Version}", "rustc-web"]);
    let version = steps::output("ask dpkg for the compiler's version", &mut query)?;
    let folder = steps::target_dir().join("arm64-std");
    let done = folder.join(&version);
    let found = done.join("usr");
    if !found.join("lib/rustlib").join(TARGET).is_dir() {
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let (archive, suite) = source(&version)?;
        let archive = Archive::open(&folder.join("apt"), &archive, &suite, "arm64")?;
        archive.unpack(&[format!("libstd-rust-web-dev={version}")], &done)?;
    }
    if !Path::new(&found).join("lib/rustlib").join(TARGET).is_dir() {
        bail!("libstd-rust-web-dev {version} has no library for {TARGET}");
    }
    Ok(found)
}

/// The archive and the suite from which the compiler's package comes, as apt tells them.
fn source(version: &str) -> Result<(String, String)> {
    let mut policy = Command::new("apt-cache");
    policy.args(["madison", "rustc-web"]);
    let text = steps::output("ask apt where the compiler comes from", &mut policy)?;
    // `rustc-web | VERSION | http://HOST/ARCHIVE SUITE/main amd64 Packages`
    let found = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, of, place] = fields[..] else { return None };
        let mut words = place.split(' ');
        let archive = words.next()?.rsplit('/').next()?;
        let suite = words.next()?.split('/').next()?;
        (of == version).then(|| (archive.to_owned(), suite.to_owned()))
    });
    found.with_context(|| format!("no source of apt's has rustc-web {version}"))
}
