//! Processes in groups: those that ran the same program with the same role.
//!
//! Comes in: a report. Goes out: groups, the one with the largest process first, with the least,
//! the median, the most and the sum of their sizes. A group of one is a process.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::{Process, Report};

use super::names;
use super::part::Bytes;

/// Processes of one program and one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessGroup {
    /// The program's path.
    pub exe: String,
    /// What it runs as: a script, a title that it gave itself; empty if it has none.
    pub role: String,
    /// Its processes, by their places in the report.
    pub members: Vec<usize>,
    /// Resident bytes at each one's snapshot.
    pub rss: Spread,
    /// Dirty bytes at each one's snapshot.
    pub dirty: Spread,
    /// Highest resident bytes of each (`VmHWM`).
    pub peak: Spread,
}

/// How a size is spread over the processes of a group. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: u64,
    /// The lower one of the middle.
    pub median: u64,
    /// The most.
    pub max: u64,
    /// All together; what they share counts in each.
    pub sum: u64,
}

impl Spread {
    fn of(sizes: impl Iterator<Item = u64>) -> Self {
        let mut sizes: Vec<u64> = sizes.collect();
        sizes.sort_unstable();
        Self {
            min: sizes.first().copied().unwrap_or(0),
            median: sizes.get(sizes.len().saturating_sub(1) / 2).copied().unwrap_or(0),
            max: sizes.last().copied().unwrap_or(0),
            sum: sizes.iter().fold(0, |sum, size| sum.saturating_add(*size)),
        }
    }
}

impl ProcessGroup {
    /// What a reader calls it: the program's name and its role.
    #[must_use]
    pub fn name(&self) -> String {
        let program = names::base(&self.exe);
        match (program, self.role.as_str()) {
            (program, "") => program.to_owned(),
            ("", role) => role.to_owned(),
            (program, role) => format!("{program} {role}"),
        }
    }

    /// What its processes hold together.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        Bytes { rss: self.rss.sum.into(), dirty: self.dirty.sum.into() }
    }
}

/// The groups of a report's processes, the one with the largest process first.
#[must_use]
pub fn groups(report: &Report) -> Vec<ProcessGroup> {
    let mut found: BTreeMap<(&str, String), Vec<usize>> = BTreeMap::new();
    for (at, process) in report.processes.iter().enumerate() {
        found.entry((&process.exe, role(process))).or_default().push(at);
    }
    let mut groups: Vec<ProcessGroup> = found
        .into_iter()
        .map(|((exe, role), members)| {
            let sizes = |size: fn(&Process) -> u64| {
                Spread::of(members.iter().filter_map(|at| report.processes.get(*at)).map(size))
            };
            ProcessGroup {
                exe: exe.to_owned(),
                role,
                rss: sizes(|process| process.rss_bytes.after),
                dirty: sizes(|process| process.dirty_bytes.after),
                peak: sizes(|process| process.peak_rss_bytes),
                members,
            }
        })
        .collect();
    groups.sort_by_key(|group| {
        let first = group.members.first().copied();
        (std::cmp::Reverse((group.rss.max, group.dirty.max, group.rss.sum)), first)
    });
    groups
}

/// Shells run one script after the other: what they run is no role.
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "ksh", "ash", "busybox", "fish"];

/// Programs whose role is the script that they run.
const INTERPRETERS: &[&str] = &["python", "perl", "ruby", "node", "nodejs", "php", "java", "lua"];

/// The role of a process: the title that it gave itself, or the script of an interpreter, with
/// figures left open, so that `worker 1` and `worker 2` are one.
fn role(process: &Process) -> String {
    let program = names::base(&process.exe);
    if SHELLS.contains(&program) {
        return String::new();
    }
    let mut words = process.command.split(' ').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    // A title as of setproctitle: `postgres: checkpointer`, `nginx: worker process`.
    if let Some(title) = first.strip_suffix(':')
        && !title.contains('/')
    {
        return without_figures(&words.take(2).collect::<Vec<_>>().join(" "));
    }
    let stem = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !INTERPRETERS.contains(&stem) {
        let renamed = names::base(first);
        let same = renamed == program || renamed.is_empty() || program.is_empty();
        return if same { String::new() } else { without_figures(renamed) };
    }
    while let Some(word) = words.next() {
        match word {
            "-c" | "-e" | "--eval" => return word.to_owned(),
            "-m" | "-jar" => {
                return without_figures(&format!("{word} {}", words.next().unwrap_or_default()));
            }
            "-X" | "-W" | "-r" | "-cp" | "--require" | "-classpath" => {
                words.next();
            }
            _ if word.starts_with('-') => {}
            script => return without_figures(names::base(script)),
        }
    }
    String::new()
}

/// Each run of figures as `N`.
fn without_figures(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii_digit() && out.ends_with('N') => {}
            c if c.is_ascii_digit() => out.push('N'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_titles_and_scripts_and_never_arguments() {
        for (exe, command, expected) in [
            ("/usr/bin/dash", "/bin/sh /root/shims/python3 -c x", ""),
            ("/usr/bin/bash", "bash", ""),
            ("/usr/lib/gcc/cc1plus", "/usr/lib/gcc/cc1plus -quiet a17.cc", ""),
            ("/usr/lib/postgresql/bin/postgres", "postgres: checkpointer ", "checkpointer"),
            ("/usr/sbin/nginx", "nginx: worker process", "worker process"),
            ("/srv/app", "worker-12", "worker-N"),
            ("/usr/bin/python3.11", "python3 -X perf /srv/app/worker.py --id 3", "worker.py"),
            ("/usr/bin/python3.11", "python3 -c x = 1", "-c"),
            ("/usr/bin/python3", "python3 -m http.server 80", "-m http.server"),
            ("/usr/bin/java", "java -Xmx1g -jar /srv/a.jar", "-jar /srv/a.jar"),
            ("", "", ""),
        ] {
            let process = Process {
                exe: exe.to_owned(),
                command: command.to_owned(),
                ..crate::insight::samples::process(1, 0)
            };
            assert_eq!(role(&process), expected, "{command}");
        }
    }

    #[test]
    fn spreads_have_their_median_in_the_middle() {
        let spread = Spread::of([5, 1, 9, 7].into_iter());
        assert_eq!((spread.min, spread.median, spread.max, spread.sum), (1, 5, 9, 22));
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
    }
}
