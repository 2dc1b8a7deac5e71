//! What a workload says of itself: JSON lines on its standard output.
//!
//! Comes in: its output. Goes out: a [`Truth`]. Lines that are not JSON are left alone; JSON that
//! is no line of truth is a fault of the workload and panics.

use serde::Deserialize;

/// All that a run of a workload said.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Who owns how many pages of a region.
    pub pages: Vec<Pages>,
    /// Regions as the workload's own smaps showed them at the end.
    pub smaps: Vec<Smaps>,
    /// Other numbers.
    pub numbers: Vec<Number>,
    /// Which thread ran which function.
    pub tids: Vec<Tid>,
    /// Why the workload cannot show what it is for.
    pub skip: Option<String>,
}

/// A function's pages in a region.
#[derive(Clone, Debug, Deserialize)]
pub struct Pages {
    /// The process, as it sees itself.
    pub pid: u32,
    /// The region.
    pub region: String,
    /// The function.
    pub function: String,
    /// Pages of 4096 bytes.
    pub pages: u64,
}

/// A segment in bytes.
#[derive(Clone, Debug, Deserialize)]
pub struct Smaps {
    /// The process, as it sees itself.
    pub pid: u32,
    /// The region.
    pub region: String,
    /// First byte, hex.
    pub start: String,
    /// First byte behind it, hex.
    pub end: String,
    /// `Rss`.
    pub rss: u64,
    /// `Shared_Dirty` + `Private_Dirty`.
    pub dirty: u64,
    /// `Swap`.
    pub swap: u64,
    /// `AnonHugePages`.
    pub anon_huge: u64,
}

/// Any other number.
#[derive(Clone, Debug, Deserialize)]
pub struct Number {
    /// The process, as it sees itself.
    pub pid: u32,
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// Which thread ran a function.
#[derive(Clone, Debug, Deserialize)]
pub struct Tid {
    /// The process, as it sees itself.
    pub pid: u32,
    /// The function.
    pub function: String,
    /// The thread.
    pub tid: u32,
}

#[derive(Deserialize)]
#[serde(tag = "truth", rename_all = "lowercase")]
enum Line {
    Pages(Pages),
    Smaps(Smaps),
    Number(Number),
    Tid(Tid),
    Skip { reason: String },
}

impl Truth {
    /// Reads the output of a workload.
    ///
    /// # Panics
    /// A line is JSON but no line of truth.
    #[must_use]
    pub fn parse(output: &[u8]) -> Self {
        let mut truth = Self::default();
        for line in String::from_utf8_lossy(output).lines().filter(|line| line.starts_with('{')) {
            let line = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            match line {
                Line::Pages(pages) => truth.pages.push(pages),
                Line::Smaps(smaps) => truth.smaps.push(smaps),
                Line::Number(number) => truth.numbers.push(number),
                Line::Tid(tid) => truth.tids.push(tid),
                Line::Skip { reason } => truth.skip = Some(reason),
            }
        }
        truth
    }

    /// The number of that name.
    ///
    /// # Panics
    /// The workload did not say it.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        let found = self.numbers.iter().find(|number| number.name == name);
        found.unwrap_or_else(|| panic!("the workload did not say {name}: {self:?}")).value
    }

    /// The region of that name.
    ///
    /// # Panics
    /// The workload did not say it.
    #[must_use]
    pub fn region(&self, name: &str) -> &Smaps {
        let found = self.smaps.iter().find(|smaps| smaps.region == name);
        found.unwrap_or_else(|| panic!("the workload did not say {name}: {self:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_truth_are_read_and_others_are_left_alone() {
        let truth = Truth::parse(
            b"some output\n\
              {\"truth\":\"number\",\"pid\":3,\"name\":\"n\",\"value\":4}\n\
              {\"truth\":\"pages\",\"pid\":3,\"region\":\"r\",\"function\":\"f\",\"pages\":2}\n\
              {\"truth\":\"skip\",\"reason\":\"none here\"}\n",
        );
        assert_eq!(truth.number("n"), 4);
        assert_eq!((truth.pages.len(), truth.pages[0].pages), (1, 2));
        assert_eq!(truth.skip.as_deref(), Some("none here"));
    }
}
