//! In which order stops are answered: all that are ready, the oldest thread first.
//!
//! Comes in: what waiting shows. Goes out: each stop's answer, within a bound.
//!
//! waitid(2) shows the tracee that was seized last. If each stop were answered as it is shown, a
//! chain of new processes would keep the older ones standing for ever. So a round takes every event
//! that is ready, which hides it, and answers none before waiting shows no more. The delivery of a
//! signal cannot be taken (see the module above) and needs no one else, so it is answered at once.

use std::collections::HashSet;

use super::Error;
use super::engine::Engine;
use super::sys::{self, Wait};
use super::taken::Taken;

/// How many signals in a row are answered without looking for others.
const SIGNALS_IN_A_ROW: u32 = 16;

impl Engine<'_> {
    /// Waits for something, and answers all that is ready by then. False if nobody is left.
    pub(super) fn round(&mut self, signals: &mut u32) -> Result<bool, Error> {
        let failed = |source| Error::Wait { source };
        self.yield_all();
        self.take_descriptors();
        let mut wait = sys::peek().map_err(failed)?;
        match wait {
            Wait::Nothing => return Ok(false),
            Wait::Stopped(tid, stop) if stop.event == 0 && *signals < SIGNALS_IN_A_ROW => {
                *signals += 1;
                self.stopped(tid, stop);
                return Ok(true);
            }
            _ => *signals = 0,
        }
        let (mut seen, mut taken) = (HashSet::new(), Vec::new());
        let mut crowded = false;
        loop {
            match wait {
                Wait::Nothing | Wait::Interrupted => break,
                Wait::Stopped(tid, _) if !seen.insert(tid) => {
                    // It is faster than the round, and may hide others.
                    crowded = true;
                    break;
                }
                Wait::Stopped(tid, stop) if stop.event == 0 => self.stopped(tid, stop),
                Wait::Stopped(tid, _) => taken.extend(Taken::take(tid)),
                Wait::Dead(tid, status) => self.dead(tid, status)?,
            }
            wait = sys::peek_now().map_err(failed)?;
        }
        taken.sort_by_key(|taken| self.table.age(taken.tid));
        for taken in taken {
            self.answer(taken);
        }
        if crowded {
            self.sweep()?;
        }
        Ok(true)
    }

    /// Looks at every thread by itself, the oldest first.
    fn sweep(&mut self) -> Result<(), Error> {
        for tid in self.table.by_age() {
            match sys::peek_at(tid).map_err(|source| Error::Wait { source })? {
                Wait::Stopped(tid, stop) => self.stopped(tid, stop),
                Wait::Dead(tid, status) => self.dead(tid, status)?,
                Wait::Interrupted | Wait::Nothing => {}
            }
        }
        Ok(())
    }
}
