//! What runs in the machines: rmap as users get it, the tests, and the workloads that they trace.
//!
//! Comes in: the workspace. Goes out: the test binaries' names and places.

use anyhow::{Context as _, Result};

use super::guest::Binary;
use crate::steps;

/// Builds rmap, the tests and the workloads. Gives the test binaries.
pub fn binaries() -> Result<Vec<Binary>> {
    let mut rmap = steps::cargo();
    rmap.args(["build", "--release", "-p", "rmap-user", "--bin", "rmap", "--locked"]);
    // The test of costs measures the building of unwind tables as a release build does it.
    rmap.args(["--example", "unwind_tables"]);
    steps::run("build rmap", &mut rmap)?;
    let mut workloads = steps::cargo();
    workloads.args(["run", "-q", "-p", "rmap-tests", "--bin", "build-workloads", "--locked"]);
    steps::run("build the workloads", &mut workloads)?;
    let mut tests = steps::cargo();
    tests.args(["test", "--no-run", "--locked", "--message-format=json-render-diagnostics"]);
    tests.args(["-p", "rmap-tests", "--test", "*"]);
    tests.stderr(std::process::Stdio::inherit());
    let text = steps::output("build the tests", &mut tests)?;
    let mut binaries = Vec::new();
    for line in text.lines() {
        let message: serde_json::Value =
            serde_json::from_str(line).context("cannot read what Cargo says")?;
        let (Some(path), Some(name)) =
            (message["executable"].as_str(), message["target"]["name"].as_str())
        else {
            continue;
        };
        if message["profile"]["test"] == true {
            binaries.push(Binary { name: name.to_owned(), path: path.into() });
        }
    }
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(binaries)
}
