//! How large recordings are: bytes for each fault in them.
//!
//! Comes in: the benchmark's loop. Goes out: a table. What the file holds besides the faults (the
//! snapshots, the names) is in the figures.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Pages of a round, and rounds.
const PAGES: u32 = 4096;
const ROUNDS: u32 = 64;

/// Records a loop that touches pages in each order.
pub fn table(rmap: &Path, program: &Path, place: &Path, quick: bool) -> Result<String> {
    let mut out = String::from(
        "\nRecordings, bytes of the whole file for each fault in it\n\n\
         | loop | faults | file, KiB | bytes a fault |\n|---|---|---|---|\n",
    );
    let rounds = if quick { ROUNDS / 8 } else { ROUNDS };
    for (name, mode) in [
        ("pages one after the other", "same"),
        ("pages in a random order", "random"),
        ("a new stack at each fault", "stacks"),
    ] {
        let (file, json) = (place.join("recording"), place.join("recording.json"));
        let mut command = Command::new(rmap);
        command.args(["run", "-o", "/dev/null", "--record"]).arg(&file).arg("--json").arg(&json);
        command.arg("--").arg(program).args([8, PAGES, rounds].map(|n| n.to_string())).arg(mode);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", rmap.display()))?;
        let mut input = child.stdin.take().context("a child without stdin")?;
        // It waits for a line before the work and for one after it.
        input.write_all(b"\n\n").context("cannot speak to the benchmark's loop")?;
        drop(input);
        let status = child.wait().context("cannot wait for rmap")?;
        ensure!(status.success(), "rmap run --record ended with {status}");
        let text = std::fs::read(&json).with_context(|| format!("no {}", json.display()))?;
        let report: Value = serde_json::from_slice(&text).context("the report is no JSON")?;
        let unwind = &report["coverage"]["unwind"];
        let count = |key: &str| unwind[key].as_u64().unwrap_or(0);
        let faults = count("complete") + count("incomplete");
        let size = std::fs::metadata(&file).context("there is no recording")?.len();
        let bytes = size as f64 / faults.max(1) as f64;
        let _ = writeln!(out, "| {name} | {faults} | {} | {bytes:.1} |", size / 1024);
        // A table is no place to leave files behind.
        let _ = (std::fs::remove_file(&file), std::fs::remove_file(&json));
    }
    Ok(out)
}
