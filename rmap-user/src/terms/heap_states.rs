//! Whether the sums of a heap can be believed: one row a state.

use serde::{Deserialize, Serialize};

/// Whether the sums of a heap can be believed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HeapState {
    /// The allocator's lists and the chunks themselves agree.
    #[default]
    Consistent,
    /// They differ by at most one chunk a thread: the process was stopped inside the allocator.
    InFlight,
    /// Only a part could be walked; the sums are of that part.
    PartlyWalked,
    /// They differ by more, at each of several stops.
    Changing,
    /// A chunk's header is impossible: there are no sums.
    Inconsistent,
}

impl HeapState {
    /// Every state, the best first. Its place is its number in a recording.
    pub const ALL: [Self; 5] =
        [Self::Consistent, Self::InFlight, Self::PartlyWalked, Self::Changing, Self::Inconsistent];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::InFlight => "in-flight",
            Self::PartlyWalked => "partly-walked",
            Self::Changing => "changing",
            Self::Inconsistent => "inconsistent",
        }
    }
}
