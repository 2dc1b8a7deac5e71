//! The name of a user stack in events.

/// Names one user stack by the hash of its addresses: the same addresses have the same name in
/// every address space, and are sent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackHash(pub u64);
