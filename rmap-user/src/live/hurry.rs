//! Whether the user wants rmap to end now: said once, by the second signal, and asked by whatever may
//! take long (names, the recording's disk).

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on nothing that takes long is begun or waited for.
pub fn ask() {
    ASKED.store(true, Ordering::SeqCst);
}

/// Whether that was asked for.
#[must_use]
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
