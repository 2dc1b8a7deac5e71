//! Who owns a page: the path that last made it resident, and the one that last made it dirty.

use super::path::PathId;

/// Who owns a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Who last made it resident.
    pub resident: PathId,
    /// Who last made it dirty.
    pub dirty: PathId,
}

impl Owner {
    pub(super) const NOBODY: Self = Self { resident: PathId::NONE, dirty: PathId::NONE };

    /// Whether neither is set.
    #[must_use]
    pub fn is_nobody(self) -> bool {
        self == Self::NOBODY
    }
}
