//! `cargo xtask licences`: every dependency's licence is one that rmap may ship with, and every
//! dependency comes from crates.io.
//!
//! Comes in: `cargo metadata`. Goes out: the dependencies that break a rule, one a line. The
//! rules are those of `deny.toml`, for machines where cargo-deny is not installed; a test holds
//! the two against each other.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::steps;

/// The licences that a dependency may have, by SPDX identifier.
const ALLOWED: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that may have another licence: the kernel's helpers ask the probes for theirs, and the
/// one of inferno, which draws flame graphs, binds its own files only.
const EXCEPTIONS: &[(&str, &str)] = &[("rmap-ebpf", "GPL-2.0-only"), ("inferno", "CDDL-1.0")];

/// Packages that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "rmap does not use the network"),
    ("libbpf-sys", "the loader is aya; a C library would need a C toolchain"),
];

/// Runs `cargo xtask licences`.
pub fn run() -> Result<ExitCode> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = steps::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked"]);
    for platform in [target.as_str(), "bpfel-unknown-none"] {
        cargo.args(["--filter-platform", platform]);
    }
    let metadata = steps::output("list the dependencies", &mut cargo)?;
    let metadata: Value =
        serde_json::from_str(&metadata).context("cannot read the output of cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let broken: Vec<String> = packages.iter().filter_map(complaint).collect();
    broken.iter().for_each(|line| println!("{line}"));
    println!("licences: {} packages, {} break a rule", packages.len(), broken.len());
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with a package, in one line.
fn complaint(package: &Value) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("a package without a name");
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        return Some(format!("{name} must not be used: {why}"));
    }
    match package["source"].as_str() {
        Some(source) if !source.starts_with("registry+https://github.com/rust-lang/crates.io") => {
            return Some(format!("{name} comes from {source}, not from crates.io"));
        }
        _ => {}
    }
    let licence = package["license"].as_str().unwrap_or("none told");
    let may = |id: &str| ALLOWED.contains(&id) || EXCEPTIONS.contains(&(name, id));
    (!satisfied(licence, &may)).then(|| format!("{name} has the licence {licence}"))
}

/// Whether one of the choices that an SPDX expression leaves consists of licences that `may`
/// accepts.
fn satisfied(expression: &str, may: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = any_of(&words, &mut at, may);
    result == Some(true) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, may: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut result = all_of(words, at, may)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all_of(words, at, may)?;
    }
    Some(result)
}

fn all_of(words: &[&str], at: &mut usize, may: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut result = one(words, at, may)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at, may)?;
    }
    Some(result)
}

fn one(words: &[&str], at: &mut usize, may: &dyn Fn(&str) -> bool) -> Option<bool> {
    let word = *words.get(*at)?;
    *at += 1;
    if word == "(" {
        let result = any_of(words, at, may)?;
        (words.get(*at) == Some(&")")).then_some(())?;
        *at += 1;
        return Some(result);
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1)?;
        *at += 2;
        return Some(may(&format!("{word} WITH {exception}")));
    }
    Some(may(word))
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, BANNED, satisfied};

    #[test]
    fn expressions() {
        let may = |id: &str| ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].contains(&id);
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "GPL-3.0/MIT",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "(MIT OR GPL-3.0) AND Zlib",
        ] {
            assert!(satisfied(good, &may), "{good}");
        }
        for bad in
            ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT)", "none told", "Apache-2.0 WITH"]
        {
            assert!(!satisfied(bad, &may), "{bad}");
        }
    }

    #[test]
    fn deny_toml_has_the_same_rules() {
        let deny = std::fs::read_to_string(crate::steps::root().join("deny.toml")).unwrap();
        let list = deny.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
        let allowed: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        assert_eq!(allowed, ALLOWED);
        for (name, _) in BANNED {
            assert!(deny.contains(&format!("crate = \"{name}\"")), "{name}");
        }
    }
}
