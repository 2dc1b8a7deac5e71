//! What `pmap -x` of procps says.
//!
//! Comes in: a process id. Goes out: its lines, read without a word of rmap's code.

use std::process::Command;

/// A row of `pmap -x`, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// First byte.
    pub start: u64,
    /// Size.
    pub size: u64,
    /// `RSS`.
    pub rss: u64,
    /// `Dirty`.
    pub dirty: u64,
}

/// The output of `pmap -x PID`; `None` if there is no pmap here.
///
/// # Panics
/// pmap fails.
#[must_use]
pub fn output(pid: u32) -> Option<String> {
    if !crate::process::has_program("pmap") {
        return None;
    }
    let output = Command::new("pmap").arg("-x").arg(pid.to_string()).output().unwrap();
    assert!(output.status.success(), "pmap -x {pid}: {output:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The rows of an output.
#[must_use]
pub fn rows(output: &str) -> Vec<Row> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let start = u64::from_str_radix(words.next()?, 16).ok()?;
        let mut kib = || words.next()?.parse::<u64>().ok().map(|kib| kib * 1024);
        Some(Row { start, size: kib()?, rss: kib()?, dirty: kib()? })
    };
    output.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_other_lines_are_not() {
        let text = "4243:   sleep 9\n\
                    Address           Kbytes     RSS   Dirty Mode  Mapping\n\
                    000055d6c3d68000     132      24      20 rw---   [ anon ]\n\
                    ---------------- ------- ------- ------- \n\
                    total kB            5008    3892     960\n";
        let row = Row { start: 0x55d6_c3d6_8000, size: 132 << 10, rss: 24 << 10, dirty: 20 << 10 };
        assert_eq!(rows(text), [row]);
    }
}
