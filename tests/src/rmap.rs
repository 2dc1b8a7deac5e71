//! Runs commands under rmap.
//!
//! Comes in: a command. Goes out: a [`Traced`]: how rmap ended, and the report as JSON and as the
//! table. Both go to files, so that the command's own output stays as it is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::rmap::report::Report;

use crate::process::{Ended, Running};

/// The binary under test: `RMAP_BIN`, or the one that Cargo puts beside the tests.
#[must_use]
pub fn binary() -> PathBuf {
    std::env::var_os("RMAP_BIN")
        .map_or_else(|| crate::machine::profile_dir().join("rmap"), PathBuf::from)
}

/// A call of rmap with these arguments.
#[must_use]
pub fn rmap<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.args(args);
    command
}

/// `rmap run` that writes both reports and a recording into `dir`, with every row, ready for its
/// command. Older ones are removed.
#[must_use]
pub fn rmap_run(dir: &Path) -> Command {
    let mut command = reports(dir, "run");
    command.arg("--");
    command
}

/// A command of rmap's that writes both reports and a recording into `dir`. Older ones are removed.
#[must_use]
pub fn reports(dir: &Path, name: &str) -> Command {
    for name in ["report.json", "table.txt", "recording"] {
        let _ = std::fs::remove_file(dir.join(name));
    }
    let mut command = rmap([name, "--full", "--top", "10000", "--json-schema", "1", "--json"]);
    command.arg(dir.join("report.json")).arg("-o").arg(dir.join("table.txt"));
    command.arg("--record").arg(dir.join("recording"));
    command
}

/// A command that was run under rmap.
#[derive(Debug)]
pub struct Traced {
    /// How rmap ended, and what the command wrote.
    pub ended: Ended,
    /// The JSON report as it was written.
    pub json: String,
    /// The same, read.
    pub report: Report,
    /// The report for people.
    pub table: String,
}

/// Runs the command under rmap, with `dir` for the reports.
///
/// # Panics
/// rmap takes too long, or writes no report that can be read.
#[must_use]
pub fn trace<S: AsRef<OsStr>>(dir: &Path, command: impl IntoIterator<Item = S>) -> Traced {
    let mut rmap = rmap_run(dir);
    rmap.args(command);
    finish(dir, Running::start(&mut rmap, None))
}

/// Checks that the recording gives the same bytes as the session itself.
fn assert_recorded(dir: &Path, json: &str, table: &str) {
    let again = [dir.join("again.json"), dir.join("again.txt")];
    let mut report = rmap(["report", "--full", "--top", "10000", "--json-schema", "1", "--json"]);
    report.arg(&again[0]).arg("-o").arg(&again[1]).arg(dir.join("recording"));
    let ended = crate::process::run(&mut report);
    assert_eq!((ended.code(), ended.err().as_str()), (0, ""), "rmap report");
    for (path, live) in again.iter().zip([json, table]) {
        let recorded = std::fs::read_to_string(path).unwrap();
        let differs = live.lines().zip(recorded.lines()).find(|(live, recorded)| live != recorded);
        assert!(recorded == live, "the recording's report is not the live one: {differs:?}");
    }
}

/// Waits for an rmap that [`rmap_run`] described.
///
/// # Panics
/// rmap takes too long, or writes no report that can be read.
#[must_use]
pub fn finish(dir: &Path, running: Running) -> Traced {
    let ended = running.wait();
    let read = |name: &str| {
        std::fs::read_to_string(dir.join(name)).unwrap_or_else(|e| {
            panic!("{name}: {e}; rmap ended {:?}: {}", ended.status, ended.err())
        })
    };
    let json = read("report.json");
    let report = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e} in {json}"));
    let table = read("table.txt");
    assert_recorded(dir, &json, &table);
    Traced { table, json, report, ended }
}
