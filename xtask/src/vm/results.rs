//! What a machine's run of the tests gave, test by test.
//!
//! Comes in: the machine's lines (`suite.sh` writes those that begin with `rmap-vm: `). Goes out:
//! [`Results`], kept as `target/vm/results/MACHINE.json`. A later run of some tests only takes the
//! place of these tests' results, so a slow machine can be done in pieces.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What one machine gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// How the machine ran: `emulated`, `virtual` or `native`.
    pub machine: String,
    /// What `rmap doctor` said: item or probe, and its state.
    pub doctor: BTreeMap<String, String>,
    /// Each test, as `program::test`.
    pub tests: BTreeMap<String, Outcome>,
}

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed, with this status.
    Failed(i32),
    /// It said that it cannot run, and why.
    Skipped(String),
}

/// The status with which `timeout` ends what took too long.
pub const TOO_LONG: [i32; 2] = [124, 137];
/// In the place of a status: the machine ended before the test.
const CUT_OFF: i32 = -1;

impl Outcome {
    /// Whether it was ended from outside, so that nothing is known.
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::Failed(status) if *status == CUT_OFF || TOO_LONG.contains(status))
    }
}

impl Results {
    /// How many passed, failed, were cut off and were skipped.
    pub fn counts(&self) -> [usize; 4] {
        let count = |is: fn(&Outcome) -> bool| self.tests.values().filter(|o| is(o)).count();
        [
            count(|outcome| *outcome == Outcome::Passed),
            count(|outcome| matches!(outcome, Outcome::Failed(_)) && !outcome.is_cut_off()),
            count(Outcome::is_cut_off),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        ]
    }

    /// The tests that need not run again.
    pub fn done(&self) -> String {
        let done = self.tests.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Failed(_)));
        done.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The file of a machine's results.
    pub fn file(machine: &str) -> PathBuf {
        super::folder().join("results").join(format!("{machine}.json"))
    }

    /// What earlier runs gave; nothing if there was none.
    pub fn read(file: &Path) -> Result<Self> {
        let Ok(text) = fs::read_to_string(file) else { return Ok(Self::default()) };
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Keeps them.
    pub fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {folder:?}"))?;
        }
        let text = serde_json::to_string_pretty(self).context("cannot write results as JSON")?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }

    /// Adds a later run's. Another kernel's results are forgotten.
    fn add(&mut self, later: Self) {
        if self.kernel != later.kernel {
            self.tests.clear();
        }
        self.tests.extend(later.tests);
        let doctor = if later.doctor.is_empty() { self.doctor.clone() } else { later.doctor };
        *self = Self { doctor, tests: std::mem::take(&mut self.tests), ..later };
    }
}

/// Reads a machine's lines.
#[derive(Default)]
pub struct Reader {
    /// The machine's name, under which what comes is kept.
    name: String,
    found: Results,
    skipped: Option<String>,
    open: Option<String>,
}

impl Reader {
    /// The machine of this name and kind.
    pub fn of(name: &str, machine: &str) -> Self {
        let found = Results { machine: machine.to_owned(), ..Results::default() };
        Self { name: name.to_owned(), found, ..Self::default() }
    }

    /// Reads a line, and keeps what came with each test's end: a run of hours may be cut off. Gives
    /// a test that was ended because it took too long.
    pub fn line(&mut self, line: &str) -> Result<Option<String>> {
        let late = self.read(line);
        if line.starts_with("rmap-vm: end ") {
            self.keep()?;
        }
        Ok(late)
    }

    fn read(&mut self, line: &str) -> Option<String> {
        let Some(said) = line.strip_prefix("rmap-vm: ") else {
            if let Some((_, reason)) =
                line.split_once("SKIP ").and_then(|(_, s)| s.split_once(": "))
            {
                self.skipped = Some(reason.trim_end().to_owned());
            }
            return None;
        };
        let words: Vec<&str> = said.split(' ').collect();
        match words[..] {
            ["kernel", release] => release.clone_into(&mut self.found.kernel),
            ["doctor", ..] => {
                let mut columns = said["doctor".len()..].trim().split("  ");
                if let (Some(item), Some(state)) =
                    (columns.next(), columns.map(str::trim).find(|word| !word.is_empty()))
                {
                    self.found.doctor.insert(item.to_owned(), state.to_owned());
                }
            }
            ["begin", program, test] => {
                self.open = Some(format!("{program}::{test}"));
                self.skipped = None;
            }
            ["end", program, test, status, _] => {
                self.open = None;
                let status = status.parse().unwrap_or(1);
                let outcome = match (status, self.skipped.take()) {
                    (0, None) => Outcome::Passed,
                    (0, Some(reason)) => Outcome::Skipped(reason),
                    (status, _) => Outcome::Failed(status),
                };
                let name = format!("{program}::{test}");
                self.found.tests.insert(name.clone(), outcome);
                if TOO_LONG.contains(&status) {
                    return Some(name);
                }
            }
            _ => {}
        }
        None
    }

    /// The machine has ended, perhaps in the middle of a test.
    pub fn end(mut self) -> Result<()> {
        match self.open.take() {
            Some(test) => {
                self.found.tests.insert(test, Outcome::Failed(CUT_OFF));
                self.keep()
            }
            None => Ok(()),
        }
    }

    /// Adds what came to what is kept of the machine.
    fn keep(&self) -> Result<()> {
        let file = Results::file(&self.name);
        let mut kept = Results::read(&file)?;
        kept.add(self.found.clone());
        kept.write(&file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_has_its_outcome() {
        let mut reader = Reader::of("", "emulated");
        let mut late = Vec::new();
        for line in [
            "rmap-vm: kernel 6.1.0-50",
            "rmap-vm: doctor PAGEMAP_SCAN   partly  needs Linux 6.7",
            "rmap-vm: begin files a",
            "test a ... ok",
            "rmap-vm: end files a 0 3",
            "rmap-vm: begin files b",
            "test b ... SKIP files::b: no tmpfs: none",
            "rmap-vm: end files b 0 1",
            "rmap-vm: begin files c",
            "rmap-vm: end files c 101 9",
            "rmap-vm: begin files d",
            "rmap-vm: end files d 124 900",
        ] {
            late.extend(reader.read(line));
        }
        let found = reader.found;
        assert_eq!(late, ["files::d"]);
        assert_eq!(found.kernel, "6.1.0-50");
        assert_eq!(found.doctor["PAGEMAP_SCAN"], "partly");
        assert_eq!(found.tests["files::a"], Outcome::Passed);
        assert_eq!(found.tests["files::b"], Outcome::Skipped("no tmpfs: none".to_owned()));
        assert_eq!(found.counts(), [1, 1, 1, 1]);
    }

    #[test]
    fn a_later_run_takes_the_place_of_its_tests_only() {
        let of = |kernel: &str, tests: &[(&str, Outcome)]| Results {
            kernel: kernel.to_owned(),
            machine: "emulated".to_owned(),
            doctor: BTreeMap::new(),
            tests: tests.iter().map(|(name, o)| ((*name).to_owned(), o.clone())).collect(),
        };
        let mut kept = of("1", &[("a", Outcome::Failed(1)), ("b", Outcome::Passed)]);
        kept.add(of("1", &[("a", Outcome::Passed)]));
        assert_eq!(kept.counts(), [2, 0, 0, 0]);
        kept.add(of("2", &[("a", Outcome::Passed)]));
        assert_eq!(kept.counts(), [1, 0, 0, 0]);
    }
}
