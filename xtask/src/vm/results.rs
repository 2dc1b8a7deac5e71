//! What a machine's run of the tests gave, test by test.
//!
//! Comes in: the machine's lines (`suite.sh` writes those that begin with `rmap-vm: `). Goes out:
//! [`Results`], kept as `target/vm/results/MACHINE.json`. A later run of some tests only takes the
//! place of these tests' results, so a slow machine can be done in pieces.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::ebpf::compare;
use crate::{source_hash, steps};

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
    pub tests: BTreeMap<String, Ran>,
}

/// One test's run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// What was tested.
    #[serde(flatten)]
    pub tree: Tree,
    /// How long it took.
    pub seconds: u64,
}

/// Which rmap a test ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tree {
    /// The commit, with a `+` where files were changed since.
    pub commit: String,
    /// The eBPF object's code by its hash ([`compare::identity`]).
    pub object: String,
}

impl Tree {
    /// That of the workspace.
    pub fn of_workspace() -> Result<Self> {
        let mut describe = Command::new("git");
        describe.args(["describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=8"]);
        describe.current_dir(steps::root());
        // Sources without their history have none.
        let commit = steps::output("ask git for the commit", &mut describe)
            .unwrap_or_else(|_| "unknown".to_owned());
        let object = steps::root().join(source_hash::PREBUILT).join(source_hash::OBJECT);
        let bytes = fs::read(&object).with_context(|| format!("cannot read {object:?}"))?;
        let object = compare::identity(&bytes)?;
        Ok(Self { commit, object })
    }
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
        let count =
            |is: fn(&Outcome) -> bool| self.tests.values().filter(|ran| is(&ran.outcome)).count();
        [
            count(|outcome| *outcome == Outcome::Passed),
            count(|outcome| matches!(outcome, Outcome::Failed(_)) && !outcome.is_cut_off()),
            count(Outcome::is_cut_off),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        ]
    }

    /// The tests that need not run again: they passed, or were skipped, with the eBPF object of
    /// this tree. What another object gave says nothing of this one.
    pub fn done(&self, tree: &Tree) -> Vec<&str> {
        let done = self.tests.iter().filter(|(_, ran)| {
            ran.tree.object == tree.object && !matches!(ran.outcome, Outcome::Failed(_))
        });
        done.map(|(name, _)| name.as_str()).collect()
    }

    /// Whose outcomes these are: each tree, and how many tests are of it.
    pub fn trees(&self) -> BTreeMap<&Tree, usize> {
        let mut trees = BTreeMap::new();
        for ran in self.tests.values() {
            *trees.entry(&ran.tree).or_insert(0) += 1;
        }
        trees
    }

    /// The file of a machine's results.
    pub fn file(machine: &str) -> PathBuf {
        super::folder().join("results").join(format!("{machine}.json"))
    }

    /// What earlier runs gave; nothing if there was none, or an older xtask wrote it.
    pub fn read(file: &Path) -> Self {
        let Ok(text) = fs::read_to_string(file) else { return Self::default() };
        serde_json::from_str(&text).unwrap_or_else(|error| {
            steps::say(&format!("{} is not counted: {error}", file.display()));
            Self::default()
        })
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
    pub fn add(&mut self, later: Self) {
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
    tree: Tree,
    found: Results,
    skipped: Option<String>,
    open: Option<String>,
}

impl Reader {
    /// The machine of this name and kind, and what it tests.
    pub fn of(name: &str, machine: &str, tree: &Tree) -> Self {
        let found = Results { machine: machine.to_owned(), ..Results::default() };
        Self { name: name.to_owned(), tree: tree.clone(), found, ..Self::default() }
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
            ["end", program, test, status, seconds] => {
                self.open = None;
                let status = status.parse().unwrap_or(1);
                let outcome = match (status, self.skipped.take()) {
                    (0, None) => Outcome::Passed,
                    (0, Some(reason)) => Outcome::Skipped(reason),
                    (status, _) => Outcome::Failed(status),
                };
                let name = format!("{program}::{test}");
                let seconds = seconds.parse().unwrap_or(0);
                let ran = Ran { outcome, tree: self.tree.clone(), seconds };
                self.found.tests.insert(name.clone(), ran);
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
                let outcome = Outcome::Failed(CUT_OFF);
                let ran = Ran { outcome, tree: self.tree.clone(), seconds: 0 };
                self.found.tests.insert(test, ran);
                self.keep()
            }
            None => Ok(()),
        }
    }

    /// Adds what came to what is kept of the machine.
    fn keep(&self) -> Result<()> {
        let file = Results::file(&self.name);
        let mut kept = Results::read(&file);
        kept.add(self.found.clone());
        kept.write(&file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_has_its_outcome() {
        let mut reader = Reader::of("", "emulated", &Tree::default());
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
        assert_eq!(found.tests["files::a"].outcome, Outcome::Passed);
        let skipped = Outcome::Skipped("no tmpfs: none".to_owned());
        assert_eq!(found.tests["files::b"].outcome, skipped);
        assert_eq!(found.tests["files::c"].seconds, 9);
        assert_eq!(found.counts(), [1, 1, 1, 1]);
    }

    #[test]
    fn what_another_object_gave_is_not_done() {
        let tree = |object: &str| Tree { commit: "c".to_owned(), object: object.to_owned() };
        let ran = |outcome, object| Ran { outcome, tree: tree(object), seconds: 1 };
        let tests = [
            ("a", ran(Outcome::Passed, "new")),
            ("b", ran(Outcome::Passed, "old")),
            ("c", ran(Outcome::Failed(1), "new")),
            ("d", ran(Outcome::Skipped(String::new()), "new")),
        ];
        let tests = tests.map(|(name, ran)| (name.to_owned(), ran)).into();
        let results = Results { tests, ..Results::default() };
        assert_eq!(results.done(&tree("new")), ["a", "d"]);
        assert_eq!(results.trees().into_values().collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn a_later_run_takes_the_place_of_its_tests_only() {
        let ran = |outcome| Ran { outcome, tree: Tree::default(), seconds: 1 };
        let of = |kernel: &str, tests: &[(&str, Outcome)]| Results {
            kernel: kernel.to_owned(),
            machine: "emulated".to_owned(),
            doctor: BTreeMap::new(),
            tests: tests.iter().map(|(name, o)| ((*name).to_owned(), ran(o.clone()))).collect(),
        };
        let mut kept = of("1", &[("a", Outcome::Failed(1)), ("b", Outcome::Passed)]);
        kept.add(of("1", &[("a", Outcome::Passed)]));
        assert_eq!(kept.counts(), [2, 0, 0, 0]);
        kept.add(of("2", &[("a", Outcome::Passed)]));
        assert_eq!(kept.counts(), [1, 0, 0, 0]);
    }
}
