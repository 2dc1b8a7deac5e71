//! What the model asks of a cause: rules on the names of [`crate::terms`]. Matches have no `_`, so
//! that the compiler shows every rule that a new cause concerns.

pub use crate::terms::{Cause, ReleaseKind as How};

impl Cause {
    /// Whether a page that this cause made resident was a page of the page cache. If such a page
    /// is anonymous later, it was replaced by a private copy.
    #[must_use]
    pub const fn maps_page_cache(self) -> bool {
        match self {
            Self::FileRead | Self::SharedWrite | Self::SharedMemory | Self::PageCacheWrite => true,
            Self::FirstWrite
            | Self::ZeroPageWrite
            | Self::HugePage
            | Self::MultiSizeHugePage
            | Self::FileCow
            | Self::ForkCow
            | Self::ForkReuse
            | Self::KsmCow
            | Self::ProtectedWrite
            | Self::Rewrite
            | Self::Populate
            | Self::KernelWrite
            | Self::Pinned
            | Self::UserFault
            | Self::RemoteWrite
            | Self::SwapIn
            | Self::Collapse
            | Self::ForkCopy
            | Self::Exec
            | Self::StackGrowth
            | Self::GivenUp
            | Self::OtherFault => false,
        }
    }
}
