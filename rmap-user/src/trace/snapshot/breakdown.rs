//! How the kernel divides a segment's memory: private, shared, clean, dirty, huge, locked.
//!
//! Comes in: the lines of smaps, each by its name. Goes out: a [`Breakdown`], in bytes, which keeps
//! "the kernel has no such line" apart from 0.

/// One line of smaps. `Documentation/filesystems/proc.rst` says what each counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Each resident page divided by the number of processes that map it.
    Pss,
    /// The part of it that is dirty (since Linux 6.0).
    PssDirty,
    /// Pages that others map too, not written since they were read.
    SharedClean,
    /// Pages that others map too, written.
    SharedDirty,
    /// Pages of this process alone, not written.
    PrivateClean,
    /// Pages of this process alone, written.
    PrivateDirty,
    /// Anonymous memory in huge pages (2 MiB).
    AnonHuge,
    /// Shared memory mapped by huge entries.
    ShmemHuge,
    /// Pages of files mapped by huge entries.
    FileHuge,
    /// What of Pss `mlock` keeps in memory.
    Locked,
    /// Pages that KSM has merged (since Linux 6.8).
    Ksm,
    /// Swapped pages, each divided by the number of processes that refer to it.
    SwapPss,
}

impl Measure {
    /// Every measure. Its place here is its number in a recording: new ones come at the end.
    pub const ALL: [Self; 12] = [
        Self::Pss,
        Self::PssDirty,
        Self::SharedClean,
        Self::SharedDirty,
        Self::PrivateClean,
        Self::PrivateDirty,
        Self::AnonHuge,
        Self::ShmemHuge,
        Self::FileHuge,
        Self::Locked,
        Self::Ksm,
        Self::SwapPss,
    ];

    /// The name of its line in smaps.
    #[must_use]
    pub const fn smaps_name(self) -> &'static str {
        match self {
            Self::Pss => "Pss",
            Self::PssDirty => "Pss_Dirty",
            Self::SharedClean => "Shared_Clean",
            Self::SharedDirty => "Shared_Dirty",
            Self::PrivateClean => "Private_Clean",
            Self::PrivateDirty => "Private_Dirty",
            Self::AnonHuge => "AnonHugePages",
            Self::ShmemHuge => "ShmemPmdMapped",
            Self::FileHuge => "FilePmdMapped",
            Self::Locked => "Locked",
            Self::Ksm => "KSM",
            Self::SwapPss => "SwapPss",
        }
    }

    /// The measure of a line of smaps.
    #[must_use]
    pub fn of_smaps(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.smaps_name().as_bytes() == name)
    }
}

/// The measures of one segment, in bytes, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakdown {
    known: u16,
    bytes: [u64; Measure::ALL.len()],
    thp_eligible: Option<bool>,
}

impl Breakdown {
    /// A measure; `None` where the kernel did not report it, or the recording is older than it.
    #[must_use]
    pub const fn get(&self, measure: Measure) -> Option<u64> {
        if self.known & (1 << measure as u16) == 0 {
            return None;
        }
        Some(self.bytes[measure as usize])
    }

    /// Sets a measure.
    pub const fn set(&mut self, measure: Measure, bytes: u64) {
        self.known |= 1 << measure as u16;
        self.bytes[measure as usize] = bytes;
    }

    /// Whether the kernel may use huge pages here (`THPeligible`, since Linux 5.0).
    #[must_use]
    pub const fn thp_eligible(&self) -> Option<bool> {
        self.thp_eligible
    }

    /// Sets whether the kernel may use huge pages here.
    pub const fn set_thp_eligible(&mut self, eligible: bool) {
        self.thp_eligible = Some(eligible);
    }

    /// The measures that are known.
    pub fn iter(&self) -> impl Iterator<Item = (Measure, u64)> {
        Measure::ALL.into_iter().filter_map(|measure| Some((measure, self.get(measure)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_stands_at_its_own_place_and_is_found_by_its_line() {
        for (at, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(measure as usize, at, "{measure:?}");
            assert_eq!(Measure::of_smaps(measure.smaps_name().as_bytes()), Some(measure));
        }
        assert_eq!(Measure::of_smaps(b"Rss"), None);
    }

    #[test]
    fn what_was_not_reported_is_not_zero() {
        let mut breakdown = Breakdown::default();
        assert_eq!(breakdown.get(Measure::Ksm), None);
        breakdown.set(Measure::Ksm, 0);
        breakdown.set(Measure::SwapPss, 4096);
        let known: Vec<_> = breakdown.iter().collect();
        assert_eq!(known, [(Measure::Ksm, 0), (Measure::SwapPss, 4096)]);
    }
}
