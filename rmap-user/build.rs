//! Finds the eBPF object that rmap embeds, and refuses a stale one.
//!
//! Comes in: `rmap-ebpf/prebuilt`, and the sources that it was made from. Goes out: the
//! environment variable `RMAP_PROBES` of the compilation, the absolute path of the object, for
//! `aya::include_bytes_aligned!(env!("RMAP_PROBES"))`. Without the feature `live` there is none. The
//! built page of `--html` is held to its sources likewise, in any build, and with `live` the allocator's
//! shim of `--malloc`, whose path is in `RMAP_MALLOC_SHIM`.
//!
//! `RMAP_PROBES_OBJECT=PATH` in the environment embeds that object instead, unchecked: the tests
//! use it to run with an object just built from source.

#[path = "../rmap-malloc/record.rs"]
mod malloc_record;
#[path = "page/record.rs"]
mod page_record;
#[path = "../rmap-ebpf/source_hash.rs"]
mod source_hash;

use std::env;
use std::path::{Path, PathBuf};

use source_hash::{COMMAND, OBJECT, PREBUILT, SOURCES};

fn main() {
    println!("cargo:rerun-if-env-changed=RMAP_PROBES_OBJECT");
    println!("cargo:rerun-if-changed=build.rs");
    if let Err(line) = page() {
        println!("cargo::error={line}");
        std::process::exit(1);
    }
    if env::var_os("CARGO_FEATURE_LIVE").is_none() {
        return;
    }
    for (name, path) in [("RMAP_PROBES", object()), ("RMAP_MALLOC_SHIM", shim())] {
        match path {
            Ok(path) => println!("cargo:rustc-env={name}={}", path.display()),
            Err(line) => {
                println!("cargo::error={line}");
                std::process::exit(1);
            }
        }
    }
}

/// The path of the allocator's shim to embed; a stale one is refused.
fn shim() -> Result<PathBuf, String> {
    let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("Cargo did not name the package")?;
    let root = Path::new(&package).parent().ok_or("the package is in no workspace")?;
    println!("cargo:rerun-if-changed={}", root.join(malloc_record::FOLDER).display());
    match malloc_record::stale(root)? {
        None => Ok(root.join(malloc_record::FOLDER).join(malloc_record::OBJECT)),
        Some(reason) => Err(format!(
            "the allocator's shim is stale: {reason}; run `{}`",
            malloc_record::COMMAND
        )),
    }
}

/// Refuses a built page that its sources no longer give.
fn page() -> Result<(), String> {
    for watched in
        ["src", "built", "record.rs", "package.json", "package-lock.json", "tsconfig.json"]
    {
        println!("cargo:rerun-if-changed=page/{watched}");
    }
    let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("Cargo did not name the package")?;
    let root = Path::new(&package).parent().ok_or("the package is in no workspace")?;
    match page_record::stale(root)? {
        None => Ok(()),
        Some(reason) => Err(format!(
            "the built page is stale: {}/{reason}; run `{}`",
            page_record::FOLDER,
            page_record::COMMAND
        )),
    }
}

/// The path of the object to embed.
fn object() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("RMAP_PROBES_OBJECT").map(PathBuf::from) {
        println!("cargo:rerun-if-changed={}", path.display());
        return path.canonicalize().map_err(|error| {
            format!("cannot read {}, named by RMAP_PROBES_OBJECT: {error}", path.display())
        });
    }
    let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("Cargo did not name the package")?;
    let root = Path::new(&package).parent().ok_or("the package is in no workspace")?;
    // Cargo looks at the times of the files below a folder, so a build with nothing changed does
    // not even start this program.
    for watched in ["Cargo.toml", "Cargo.lock", "rmap-ebpf"] {
        println!("cargo:rerun-if-changed={}", root.join(watched).display());
    }
    if let Some(reason) = source_hash::stale(root)? {
        return Err(format!("the eBPF object is stale: {reason}; run `{COMMAND}`"));
    }
    let kept = root.join(PREBUILT);
    let record = std::fs::read_to_string(kept.join(SOURCES)).map_err(|error| error.to_string())?;
    let made_for = source_hash::field(&record, "arch").unwrap_or("none");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").map_err(|error| error.to_string())?;
    if made_for != arch {
        return Err(format!(
            "the kept eBPF object is for {made_for}, this build for {arch}; \
             on a machine of that kind, run `{COMMAND}`"
        ));
    }
    Ok(kept.join(OBJECT))
}
