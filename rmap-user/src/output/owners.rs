//! Whose files rmap may replace, and whose a new file is.
//!
//! Comes in: the effective user id and what sudo says. Goes out: [`Owners`].

use std::env;
use std::fs::File;
use std::os::unix::fs::fchown;

/// The user for whom rmap works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owners {
    /// The effective user id.
    pub(super) effective: u32,
    /// User and group of who called sudo.
    pub(super) caller: Option<(u32, u32)>,
}

impl Owners {
    /// Those of this process.
    pub(super) fn current() -> Self {
        let effective = nix::unistd::geteuid().as_raw();
        let number = |name| env::var(name).ok()?.parse().ok();
        // Anybody can set the variables; only root could do something with them.
        let caller = (effective == 0).then(|| number("SUDO_UID").zip(number("SUDO_GID")));
        Self { effective, caller: caller.flatten() }
    }

    /// Whether files and links of this user lead where the caller or root wants to go.
    pub(super) fn trust(&self, owner: u32) -> bool {
        owner == 0 || owner == self.effective || self.caller.is_some_and(|(user, _)| user == owner)
    }

    /// Gives a new file to the caller of sudo. Permissions are to be set after that, for it takes
    /// set-id bits away.
    pub(super) fn give(&self, file: &File) -> std::io::Result<()> {
        match self.caller {
            Some((user, group)) => fchown(file, Some(user), Some(group)),
            None => Ok(()),
        }
    }
}
