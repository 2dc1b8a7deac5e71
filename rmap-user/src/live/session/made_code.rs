//! When to read the mappings of a process again because it has made code.
//!
//! Comes in: processes that made memory executable which nobody knows as code yet, and what reading their
//! mappings took. Goes out: those whose turn it is. A compiler at run time adds code piece by piece: reading
//! takes at most a twentieth of the time.
//!
//! Without this a stack that leads through code without tables (V8's builtins) ends there: what lies
//! behind it is known code only if its mapping is.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// The rest behind a look at the mappings, in times of what it took.
const TIMES: u32 = 20;

/// The processes that have made code.
#[derive(Debug, Default)]
pub(super) struct MadeCode {
    waiting: BTreeSet<u32>,
    rests: HashMap<u32, Instant>,
}

impl MadeCode {
    /// A process has made code that is not known yet.
    pub(super) fn note(&mut self, pid: u32) {
        self.waiting.insert(pid);
    }

    /// Takes those whose mappings may be read now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<u32> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let rests = &self.rests;
        let is_due = |pid: &u32| rests.get(pid).is_none_or(|until| *until <= now);
        let due: Vec<u32> = self.waiting.iter().copied().filter(is_due).collect();
        self.waiting.retain(|pid| !due.contains(pid));
        due
    }

    /// The mappings of a process were read.
    pub(super) fn read(&mut self, pid: u32, now: Instant, took: Duration) {
        self.rests.insert(pid, now + took * TIMES);
    }

    /// A process has ended, or begins another program.
    pub(super) fn forget(&mut self, pid: u32) {
        self.waiting.remove(&pid);
        self.rests.remove(&pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_at_once_and_then_after_a_rest() {
        let begun = Instant::now();
        let mut made = MadeCode::default();
        assert!(made.take_due(begun).is_empty());
        made.note(1);
        assert_eq!(made.take_due(begun), [1]);
        made.read(1, begun, Duration::from_millis(1));
        made.note(1);
        made.note(2);
        assert_eq!(made.take_due(begun), [2], "the first one rests");
        assert_eq!(made.take_due(begun + Duration::from_millis(20)), [1]);
        assert!(made.take_due(begun + Duration::from_secs(1)).is_empty(), "once for each time");
        made.note(1);
        made.forget(1);
        assert!(made.take_due(begun + Duration::from_secs(1)).is_empty());
    }
}
