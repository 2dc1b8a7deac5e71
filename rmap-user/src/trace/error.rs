//! Why bytes of the ring did not become an event.

/// Why bytes did not become an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its kind demands.
    #[error("a record of kind {kind} has {got} bytes, fewer than its {need}")]
    Short {
        /// The kind, 0 if not even the header is whole.
        kind: u16,
        /// Bytes there are.
        got: usize,
        /// Bytes that it takes.
        need: usize,
    },
    /// A kind that this version does not know.
    #[error("a record of the unknown kind {0}")]
    Kind(u16),
}
