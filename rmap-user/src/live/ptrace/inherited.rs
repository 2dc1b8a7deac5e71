//! The signal state that rmap itself was started with, kept for the command.
//!
//! Comes in: nothing. Goes out: which signals were ignored and which blocked, as bit sets (bit
//! N-1 for signal N). Rust's runtime ignores `SIGPIPE` before `main`, and tokio installs handlers
//! over signals that may have been ignored (nohup), so it is read by the loader's `.init_array`,
//! before both.

use std::sync::atomic::{AtomicU64, Ordering};

use super::sys;

static IGNORED: AtomicU64 = AtomicU64::new(0);
static BLOCKED: AtomicU64 = AtomicU64::new(0);

// SAFETY: .init_array holds pointers to functions, which the loader calls one after the other
// with arguments that a function without parameters does not look at.
#[used]
#[unsafe(link_section = ".init_array")]
static CAPTURE: extern "C" fn() = capture;

extern "C" fn capture() {
    let ignored = sys::ALL_SIGNALS.filter(|&signal| sys::is_ignored(signal));
    IGNORED.store(ignored.map(|signal| 1 << (signal - 1)).sum(), Ordering::Relaxed);
    BLOCKED.store(sys::blocked_signals(), Ordering::Relaxed);
}

/// Signals that were ignored when rmap started.
pub(super) fn ignored() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}

/// Signals that were blocked when rmap started.
pub(super) fn blocked() -> u64 {
    BLOCKED.load(Ordering::Relaxed)
}
