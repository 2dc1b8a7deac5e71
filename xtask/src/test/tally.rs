//! Counting what `cargo test` says, line by line.
//!
//! Comes in: lines of output, among them libtest's own and `SKIP <test>: <reason>` of tests that
//! cannot run here. Goes out: how many passed, failed and were skipped, the names of what failed
//! and the reasons of what was skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The sum over all runs.
#[derive(Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    failures: BTreeSet<String>,
    /// Tests that said themselves that they cannot run. libtest counts them as passed.
    skipped: BTreeMap<String, String>,
    /// Tests that are marked `#[ignore]`, and checks that are no tests of Cargo's.
    left_out: BTreeMap<String, String>,
    /// The names below the last heading `failures:` of the run that is being read.
    listed: Vec<String>,
    in_failures: bool,
}

impl Tally {
    /// Counts a check that is no test of Cargo's and passed.
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// Counts a check that is no test of Cargo's and failed.
    pub fn fail(&mut self, name: &str) {
        self.failed += 1;
        self.failures.insert(name.to_owned());
    }

    /// Counts a check that is no test of Cargo's and could not be made.
    pub fn skip(&mut self, name: &str, reason: &str) {
        self.left_out.insert(name.to_owned(), reason.to_owned());
    }

    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Reads one line of output.
    pub fn line(&mut self, line: &str) {
        let plain = without_colour(line);
        let line = plain.trim_end();
        if let Some(result) = line.find("test result: ").map(|at| &line[at..]) {
            self.result(result);
        } else if line == "failures:" {
            // The first heading of two is followed by the failed tests' output, the last by names.
            self.listed.clear();
            self.in_failures = true;
        } else if line == "successes:" {
            self.in_failures = false;
        } else if let Some(name) = line.strip_prefix("    ")
            && self.in_failures
            && !name.starts_with(' ')
        {
            self.listed.push(name.to_owned());
        } else if let Some((name, reason)) = ignored(line) {
            self.left_out.insert(name.to_owned(), reason.to_owned());
        } else {
            self.skip_line(line);
        }
    }

    /// Reads a line that may be `SKIP <test>: <reason>`, perhaps behind libtest's `test x ... `.
    pub fn skip_line(&mut self, line: &str) {
        let said = line.strip_prefix("SKIP ").or_else(|| {
            let (test, said) = line.split_once(" ... SKIP ")?;
            test.starts_with("test ").then_some(said)
        });
        if let Some((name, reason)) = said.and_then(|said| said.split_once(": ")) {
            self.skipped.insert(name.to_owned(), reason.trim_end().to_owned());
        }
    }

    /// Forgets what belongs to one run only, which may have ended in the middle of a line.
    pub fn end_of_output(&mut self) {
        self.listed.clear();
        self.in_failures = false;
    }

    fn result(&mut self, result: &str) {
        let count = |word: &str| {
            let before = result.split(word).next().filter(|before| before.len() < result.len())?;
            before.trim_end().rsplit([' ', '.']).next()?.parse::<u64>().ok()
        };
        // Tests that print something like a result do not count: libtest names all three.
        let (Some(passed), Some(failed), Some(_)) =
            (count(" passed;"), count(" failed;"), count(" ignored;"))
        else {
            return;
        };
        self.passed += passed;
        self.failed += failed;
        let listed = std::mem::take(&mut self.listed);
        if failed > 0 {
            self.failures.extend(listed);
        }
        self.in_failures = false;
    }

    /// How many passed: those that skipped themselves are none.
    pub fn passed(&self) -> u64 {
        self.passed.saturating_sub(self.skipped.len() as u64)
    }

    /// How many could not run.
    pub fn skipped(&self) -> u64 {
        (self.skipped.len() + self.left_out.len()) as u64
    }

    /// What was skipped and why, and what failed, a line each.
    pub fn details(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for (name, reason) in self.skipped.iter().chain(&self.left_out) {
            let _ = writeln!(text, "skipped: {name}: {reason}");
        }
        for name in &self.failures {
            let _ = writeln!(text, "failed: {name}");
        }
        text
    }

    /// The same, and the line of the three sums.
    pub fn summary(&self) -> String {
        let (passed, failed, skipped) = (self.passed(), self.failed, self.skipped());
        format!("{}{passed} passed, {failed} failed, {skipped} skipped\n", self.details())
    }
}

/// The name and the reason of a line `test x ... ignored, reason`.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = rest.strip_prefix(", ").unwrap_or("marked #[ignore] without a reason");
    (rest.is_empty() || rest.starts_with(", ")).then_some((name, reason))
}

/// The text without terminal colours, which Cargo is told to use on some machines.
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn read(output: &str) -> String {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally.summary()
    }

    #[test]
    fn sums_over_several_binaries() {
        let one = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
                   finished in 0.01s\n";
        assert_eq!(read(&one.repeat(2)), "6 passed, 0 failed, 0 skipped\n");
    }

    #[test]
    fn names_what_failed_and_not_what_it_printed() {
        let output = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n    not_a_test\n\n\
                      failures:\n    a::b\n\ntest result: FAILED. 2 passed; 1 failed; 0 ignored; \
                      0 measured; 0 filtered out; finished in 0.1s\n";
        assert_eq!(read(output), "failed: a::b\n2 passed, 1 failed, 0 skipped\n");
    }

    #[test]
    fn a_skip_is_no_pass_and_counts_once() {
        let output = "test x ... SKIP x: not root\nok\nSKIP x: not root\ntest y ... ok\n\
                      test z ... ignored, takes an hour\n\
                      test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(
            read(output),
            "skipped: x: not root\nskipped: z: takes an hour\n1 passed, 0 failed, 2 skipped\n"
        );
    }

    #[test]
    fn reads_through_colours_and_output_without_newline() {
        let output = "traced output\u{1b}[0mtest result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 4 passed; \
                      0 failed; 0 ignored; 0 measured";
        assert_eq!(read(output), "4 passed, 0 failed, 0 skipped\n");
        assert_eq!(read("test result: what a test prints"), "0 passed, 0 failed, 0 skipped\n");
    }
}
