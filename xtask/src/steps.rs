//! Running other programs, and where things are in the workspace.
//!
//! Comes in: a prepared command. Goes out: its success, or one line that names it and what to do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Exit status where what a step is made of (packages, mostly) cannot be had here.
pub const CANNOT: u8 = 77;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target directory of the workspace.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Whether this process may install packages and load probes: its effective user is root.
pub fn is_root() -> bool {
    // The owner of this process's own /proc entry is its effective user.
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Where `program` is on the PATH.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A line of progress.
pub fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Runs `command` to its end, its output going where ours goes.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot {what}: {:?} does not start", command.get_program()))?;
    if !status.success() {
        bail!(
            "cannot {what}: {:?} ended with {status}, its own words are above",
            command.get_program()
        );
    }
    Ok(())
}

/// What `command` prints, without the last newline.
pub fn output(what: &str, command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot {what}: {:?} does not start", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "cannot {what}: {:?} ended with {}: {}",
            command.get_program(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The Cargo that started this program, without what it set for this package alone.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|own| name.starts_with(own)) {
            cargo.env_remove(&key);
        }
    }
    cargo
}

/// A command without what the outer Cargo set for its own build: another compiler must not see it.
pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let ours = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR", "CARGO_HTTP_CAINFO"];
        let kept = ours.contains(&&*name) || name.starts_with("CARGO_REGISTR");
        if !kept && (name.starts_with("CARGO") || name.starts_with("RUST")) {
            command.env_remove(&key);
        }
    }
    command
}
