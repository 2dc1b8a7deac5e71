//! What the kept shim was made from, as text that two programs compare.
//!
//! Comes in: the root of the workspace. Goes out: the lines of `prebuilt/SOURCES`: `file SHA256 PATH` for
//! the source, `flags …` for the compiler's, `object SHA256 librmap-malloc.so` for the shim itself. This
//! file is compiled into `cargo xtask malloc`, which writes them, and into the build script of rmap-user,
//! which refuses a shim whose lines are no longer true. Neither needs a C compiler.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Where the shim is, relative to the workspace.
pub const FOLDER: &str = "rmap-malloc";
/// The source, inside of [`FOLDER`].
pub const SOURCE: &str = "shim.c";
/// The kept shim, inside of [`FOLDER`].
pub const OBJECT: &str = "prebuilt/librmap-malloc.so";
/// The record, inside of [`FOLDER`].
pub const SOURCES: &str = "prebuilt/SOURCES";
/// The one command that makes both anew.
pub const COMMAND: &str = "cargo xtask malloc";

/// What the compiler is called with. No library is linked, no path is in the result.
pub const FLAGS: &[&str] = &[
    "-std=gnu11",
    "-O2",
    "-fPIC",
    "-shared",
    "-nostdlib",
    "-ffreestanding",
    "-fvisibility=hidden",
    "-fcf-protection=none",
    "-fno-stack-protector",
    "-fasynchronous-unwind-tables",
    "-fno-reorder-blocks-and-partition",
    "-fno-ipa-icf",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,-soname,librmap-malloc.so",
    "-Wl,-z,now",
    "-Wl,-z,noexecstack",
    "-Wl,-z,relro",
    "-Wl,--hash-style=gnu",
    "-Wl,--build-id=sha1",
    "-Wl,--as-needed",
];

/// The lower-case hex SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The record as it would be written now, without what the shim was made with.
///
/// # Errors
/// One line that names the file that could not be read.
pub fn current(root: &Path) -> Result<String, String> {
    let folder = root.join(FOLDER);
    Ok(format!(
        "{}flags {}\n{}",
        line("file", &folder, SOURCE)?,
        FLAGS.join(" "),
        line("object", &folder, OBJECT)?
    ))
}

/// Why the kept shim is not what its source gives; `None` if it is.
///
/// # Errors
/// One line that names the file that could not be read.
pub fn stale(root: &Path) -> Result<Option<String>, String> {
    let kept = fs::read_to_string(root.join(FOLDER).join(SOURCES))
        .map_err(|error| cannot(SOURCES, &error))?;
    let current = current(root)?;
    let changed = current.lines().find(|line| !kept.lines().any(|other| other == *line));
    Ok(changed.map(|line| {
        let what = if line.starts_with("flags ") {
            "record.rs"
        } else {
            line.rsplit(' ').next().unwrap_or_default()
        };
        format!("{FOLDER}/{what} has changed")
    }))
}

fn line(what: &str, folder: &Path, file: &str) -> Result<String, String> {
    let bytes = fs::read(folder.join(file)).map_err(|error| cannot(file, &error))?;
    Ok(format!("{what} {} {file}\n", sha256(&bytes)))
}

fn cannot(file: &str, error: &std::io::Error) -> String {
    format!("cannot read {FOLDER}/{file}: {error}")
}
