//! What this kernel, these privileges and this machine allow, before anything is loaded.
//!
//! Comes in: nothing but the machine. Goes out: a [`Preflight`]: items with a state each and what
//! follows from it, and the obstacles that keep the main job from running.

mod facts;
mod judge;

use std::fmt;

pub use facts::Facts;

/// What this machine allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// Everything that was looked at, in the order of a table.
    pub items: Vec<Item>,
    obstacles: Vec<String>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What.
    pub name: &'static str,
    /// Whether it helps.
    pub state: State,
    /// What was found, and what follows from it.
    pub follows: String,
}

/// Whether something helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Yes,
    /// It is there in part, or rmap does it in another way.
    Partly,
    /// It is missing.
    No,
    /// It cannot be told from here.
    Unknown,
    /// Neither good nor bad: good to know.
    Note,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Note => "-",
        })
    }
}

impl Preflight {
    /// The first reason why the main job cannot run here, as one line with what to do; `None`: it
    /// can be tried.
    #[must_use]
    pub fn first_obstacle(&self) -> Option<String> {
        self.obstacles.first().cloned()
    }
}

/// Looks at this machine. Takes some milliseconds and changes nothing.
#[must_use]
pub fn check() -> Preflight {
    judge::judge(&Facts::gather())
}

/// What facts, wherever they come from, allow.
#[must_use]
pub fn judge(facts: &Facts) -> Preflight {
    judge::judge(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_looked_at() {
        let preflight = check();
        assert!(preflight.items.len() > 10);
        assert!(preflight.items.iter().all(|item| !item.follows.contains('\n')));
        if !nix::unistd::geteuid().is_root() {
            assert!(preflight.first_obstacle().unwrap().contains("root"));
        }
    }
}
