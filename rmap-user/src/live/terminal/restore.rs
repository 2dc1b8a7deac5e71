//! The settings that the caller's terminal had, to be set again however rmap ends.

use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::termios::{SetArg, tcsetattr};

/// What else is to be done for the terminal.
static ALSO: Mutex<Option<fn()>> = Mutex::new(None);
static BEFORE: Mutex<Option<libc::termios>> = Mutex::new(None);

/// Remembers the settings before they are changed.
pub(super) fn remember(settings: libc::termios) {
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
}

/// Does this too when the terminal is set as it was.
pub fn at_restore(also: fn()) {
    *ALSO.lock().unwrap_or_else(PoisonError::into_inner) = Some(also);
}

/// Sets the terminal on stdin as it was, if it was changed.
pub fn restore() {
    // Whoever sets a terminal from the background is stopped else.
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTTOU);
    let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&stop), None);
    let also = ALSO.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(also) = also {
        also();
    }
    if let Some(settings) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that has gone needs no settings.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &settings.into());
    }
}
