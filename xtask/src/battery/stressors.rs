//! Which stressors there are, and how much work each of them is given.
//!
//! Comes in: what stress-ng says of its classes. Goes out: names; and for one of them, how many of
//! its operations take the wanted time untraced, so that the same work can be given again.

use std::time::Duration;

use anyhow::Result;

use super::trial::{self, Place};
use crate::steps;

/// The classes whose stressors change memory, processes or signals.
const CLASSES: [&str; 4] = ["memory", "vm", "interrupt", "scheduler"];

/// Those of the class of file systems that map files.
const FILES: [&str; 5] = ["copy-file", "fallocate", "fpunch", "iomix", "sync-file"];

/// Those that are not run, because they take the machine itself, or all of its memory.
const UNFIT: [&str; 14] = [
    "bigheap",
    "cyclic",
    "forkheavy",
    "hrtimers",
    "oom-pipe",
    "physpage",
    "resources",
    "shm-sysv",
    "softlockup",
    "swap",
    "vm-addr",
    "vm-segv",
    "watchdog",
    "zombie",
];

/// One of each kind, for a quick look: CI runs them.
pub const SHORT: [&str; 12] = [
    "mremap", "madvise", "brk", "stack", "memfd", "mmapfork", "fork", "exec", "pthread", "sigsegv",
    "alarm", "mprotect",
];

/// How long one is left to run while its work is measured.
const MEASURED: Duration = Duration::from_secs(1);

/// A stressor with its work.
pub struct Stressor {
    pub name: String,
    /// Its operations.
    pub operations: u64,
}

/// All that are run, in the order of their names.
pub fn all() -> Result<Vec<String>> {
    let mut names: Vec<String> = FILES.map(str::to_owned).into();
    for class in CLASSES {
        let mut ask = std::process::Command::new("stress-ng");
        ask.args(["--class", &format!("{class}?")]);
        let text = steps::output("ask stress-ng for its classes", &mut ask)?;
        let list = text.split_once("stressors:").map_or("", |(_, list)| list);
        names.extend(list.split_whitespace().map(str::to_owned));
    }
    names.retain(|name| !UNFIT.contains(&name.as_str()));
    names.sort();
    names.dedup();
    Ok(names)
}

impl Stressor {
    /// Measures how many operations take `seconds`; `None` if it does none here.
    pub fn measured(place: &Place, name: &str, seconds: f64) -> Result<Option<Self>> {
        let arguments = [
            &format!("--{name}"),
            "1",
            "-t",
            &format!("{}", MEASURED.as_secs()),
            "--metrics-brief",
        ];
        let ended = trial::stress(place, &arguments)?;
        let Some((done, took)) = metrics(&ended.said, name) else { return Ok(None) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of operations, far below both limits"
        )]
        let operations = (done * (seconds / took.max(0.01)).min(1.0)).ceil() as u64;
        Ok((operations > 0).then(|| Self { name: name.to_owned(), operations }))
    }

    /// The arguments that give it its work.
    pub fn arguments(&self) -> Vec<String> {
        let ops = (format!("--{}-ops", self.name), self.operations.to_string());
        let limit = "60".to_owned();
        vec![format!("--{}", self.name), "1".to_owned(), ops.0, ops.1, "-t".to_owned(), limit]
    }
}

/// Operations and seconds in the lines of `--metrics-brief`.
fn metrics(said: &str, name: &str) -> Option<(f64, f64)> {
    let mut rows = said.lines().filter_map(|line| {
        let (_, row) = line.split_once(']')?;
        let mut words = row.split_whitespace();
        (words.next()? == name).then_some(words)
    });
    let mut words = rows.find(|words| words.clone().count() > 3)?;
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn operations_and_seconds_are_read_of_the_metrics() {
        let said = "stress-ng: metrc: [7] stressor       bogo ops real time  usr time\n\
                    stress-ng: metrc: [7]                           (secs)    (secs)\n\
                    stress-ng: metrc: [7] mmap               1234      1.50      0.20   0.1 8.0 9.0\n";
        assert_eq!(super::metrics(said, "mmap"), Some((1234.0, 1.5)));
        assert_eq!(super::metrics(said, "brk"), None);
    }
}
