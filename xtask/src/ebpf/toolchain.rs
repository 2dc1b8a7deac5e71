//! The compiler, the linker and the strip tool that make BPF objects: found, or set up.
//!
//! Comes in: what is on this machine. Goes out: [`Tools`], or one line that says what is missing
//! and the command that gets it.
//!
//! Stable Rust has no `core` for BPF. Two toolchains have one: Debian's own `rustc-web`, with a
//! ready-built `core`, and rustup's nightly, which builds `core` from the `rust-src` component.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::apt;
use crate::steps::{self, say};

/// The BPF target of little-endian machines, the only ones that rmap runs on.
pub const TARGET: &str = "bpfel-unknown-none";

const LINKER_VERSION: &str = "0.13.0";
/// The Cargo of Debian's packages.
pub const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// Their compiler.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// What this workspace needs at least.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");
/// Debian's compiler and Cargo, in /usr/bin, beside those of rustup.
const DEBIAN_COMPILER: &[&str] = &["rustc-web", "cargo-web"];

/// Debian's packages, each with what it is for.
pub const DEBIAN_PACKAGES: &[&str] = &[
    // The compiler and Cargo, in /usr/bin, beside those of rustup.
    "rustc-web",
    "cargo-web",
    // `core` for BPF.
    "libstd-rust-web-dev-bpf",
    // What bpf-linker is built against, and llvm-strip. The same LLVM as the compiler's.
    "llvm-22-dev",
    // bpf-linker links with the C++ library and, as every Rust program, through cc.
    "g++",
];

/// The toolchains that rmap knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// Debian's rustc-web with its ready-built `core`.
    Debian,
    /// rustup's nightly with rust-src.
    Nightly,
}

/// Everything that one build of the object calls.
pub struct Tools {
    /// Which kind it is.
    pub kind: Kind,
    /// The Cargo to call.
    pub cargo: PathBuf,
    /// The compiler that Cargo calls.
    pub rustc: PathBuf,
    /// The folder of bpf-linker.
    pub linker_dir: PathBuf,
    /// A strip or objcopy that knows BPF and `--strip-debug`.
    pub strip: PathBuf,
    /// The versions of all of them, in one line.
    pub version: String,
}

/// Finds the tools, or sets them up.
pub fn find(kind: Option<Kind>) -> Result<Tools> {
    let nightly = nightly_rustc();
    let kind = match kind {
        Some(kind) => kind,
        None if debian_is_there() => Kind::Debian,
        None if nightly.is_ok() => Kind::Nightly,
        None if apt::why_not().is_none() => Kind::Debian,
        None => bail!(
            "no compiler for BPF here and none can be installed ({}); either run this as root on \
             Debian 12, or `rustup toolchain install nightly --component rust-src`",
            apt::why_not().unwrap_or("no reason")
        ),
    };
    match kind {
        Kind::Debian => debian(),
        Kind::Nightly => from_nightly(nightly?),
    }
}

fn debian_is_there() -> bool {
    Path::new(DEBIAN_CORE).is_dir()
        && Path::new(DEBIAN_CARGO).exists()
        && Path::new(DEBIAN_LLVM).join("bin/llvm-strip").exists()
        && new_enough()
}

/// Installs Debian's compiler and Cargo, of a version that this workspace can be built with.
pub fn debian_compiler() -> Result<()> {
    apt::install(DEBIAN_COMPILER)?;
    // An old one was there before.
    if !new_enough() {
        apt::newest(DEBIAN_COMPILER)?;
    }
    if !new_enough() {
        bail!(
            "Debian's {} is older than {RUST_VERSION}; is this Debian 12 with its security updates?",
            rustc_version(Path::new(DEBIAN_RUSTC))?
        );
    }
    Ok(())
}

/// Whether Debian's compiler is there and not too old.
fn new_enough() -> bool {
    let number = |part: &str| part.parse::<u32>().ok();
    let minor = |version: &str| {
        let mut parts = version.split('.').map(number);
        Some((parts.next()??, parts.next()??))
    };
    // `rustc 1.96.0 (…)`
    let there = rustc_version(Path::new(DEBIAN_RUSTC)).unwrap_or_default();
    let there = there.split(' ').nth(1).and_then(minor);
    there.is_some() && there >= minor(RUST_VERSION)
}

fn debian() -> Result<Tools> {
    if !debian_is_there() {
        debian_compiler()?;
        apt::install(DEBIAN_PACKAGES)?;
        if !debian_is_there() {
            bail!(
                "the Debian packages are installed, but {DEBIAN_CORE} or {DEBIAN_LLVM} is not there; is this Debian 12 with its security updates?"
            );
        }
    }
    let (cargo, rustc) = (PathBuf::from(DEBIAN_CARGO), PathBuf::from(DEBIAN_RUSTC));
    let mut install = steps::clean(&cargo);
    install.env("RUSTC", &rustc).env("LLVM_PREFIX", DEBIAN_LLVM);
    install.env("PATH", prepend(&Path::new(DEBIAN_LLVM).join("bin")));
    let linker_dir = match ours() {
        Some(folder) => folder,
        None => {
            if !debian_can_link() {
                apt::install(DEBIAN_PACKAGES)?;
            }
            install_linker(&mut install, &["--no-default-features", "--features", "llvm-22"])?
        }
    };
    let llvm = steps::output(
        "ask llvm-config for its version",
        Command::new(Path::new(DEBIAN_LLVM).join("bin/llvm-config")).arg("--version"),
    )?;
    Ok(Tools {
        kind: Kind::Debian,
        version: format!(
            "Debian's {}, bpf-linker {LINKER_VERSION}, LLVM {llvm}",
            rustc_version(&rustc)?
        ),
        strip: Path::new(DEBIAN_LLVM).join("bin/llvm-strip"),
        cargo,
        rustc,
        linker_dir,
    })
}

/// Whether the packages that only the build of bpf-linker needs are there as well.
fn debian_can_link() -> bool {
    DEBIAN_PACKAGES.iter().all(|package| apt::installed(package))
}

/// rustup's nightly compiler, if it has the sources of `core`.
fn nightly_rustc() -> Result<PathBuf> {
    let advice = "`rustup toolchain install nightly --component rust-src`";
    let mut which = Command::new("rustup");
    // Without this rustup downloads a whole toolchain for a question.
    which.env("RUSTUP_AUTO_INSTALL", "0").args(["which", "--toolchain", "nightly", "rustc"]);
    let rustc = steps::output("find rustup's nightly", &mut which)
        .with_context(|| format!("no nightly Rust; try {advice}"))?;
    let rustc = PathBuf::from(rustc);
    if !sysroot(&rustc)?.join("lib/rustlib/src/rust/library/core").is_dir() {
        bail!("rustup's nightly has no rust-src; try {advice}");
    }
    Ok(rustc)
}

fn from_nightly(rustc: PathBuf) -> Result<Tools> {
    let cargo = rustc.with_file_name("cargo");
    let on_path = steps::which("bpf-linker").and_then(|file| Some(file.parent()?.to_owned()));
    let linker_dir = match on_path.or_else(ours) {
        Some(folder) => folder,
        None => install_linker(steps::clean(&cargo).env("RUSTC", &rustc), &[])?,
    };
    let linker = steps::output(
        "ask bpf-linker for its version",
        Command::new(linker_dir.join("bpf-linker")).arg("--version"),
    )?;
    let host_tools = sysroot(&rustc)?
        .join(format!("lib/rustlib/{}-unknown-linux-gnu/bin", std::env::consts::ARCH));
    let strip = ["llvm-strip", "llvm-objcopy", "rust-objcopy"]
        .iter()
        .flat_map(|name| [Some(host_tools.join(name)), steps::which(name)])
        .flatten()
        .find(|file| file.is_file())
        .context("no llvm-strip that knows BPF; try `rustup component add llvm-tools --toolchain nightly`")?;
    Ok(Tools {
        kind: Kind::Nightly,
        version: format!("{}, {linker}", rustc_version(&rustc)?),
        cargo,
        rustc,
        linker_dir,
        strip,
    })
}

/// The sysroot of `rustc`.
pub fn sysroot(rustc: &Path) -> Result<PathBuf> {
    let mut ask = steps::clean(rustc);
    ask.args(["--print", "sysroot"]);
    Ok(PathBuf::from(steps::output("ask rustc for its sysroot", &mut ask)?))
}

/// A PATH with `folder` in front.
pub fn prepend(folder: &Path) -> std::ffi::OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&old));
    std::env::join_paths(folders).unwrap_or(old)
}

fn rustc_version(rustc: &Path) -> Result<String> {
    steps::output("ask rustc for its version", steps::clean(rustc).arg("--version"))
}

fn tools_dir() -> PathBuf {
    steps::target_dir().join("tools")
}

/// The folder of the bpf-linker that an earlier run installed, if it is of the right version.
fn ours() -> Option<PathBuf> {
    let folder = tools_dir().join("bin");
    let mut ask = Command::new(folder.join("bpf-linker"));
    let version = steps::output("ask bpf-linker", ask.arg("--version")).ok()?;
    version.ends_with(LINKER_VERSION).then_some(folder)
}

fn install_linker(cargo: &mut Command, features: &[&str]) -> Result<PathBuf> {
    let tools = tools_dir();
    say(&format!(
        "building bpf-linker {LINKER_VERSION} into {} (once, about a minute)",
        tools.display()
    ));
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--quiet"]);
    cargo.args(features).arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build"));
    steps::run("build bpf-linker", cargo)?;
    Ok(tools.join("bin"))
}
