//! Which inputs make up the state at a time.
//!
//! Comes in: a time, and the inputs in their order. Goes out: how many of them come up to it. Events that
//! a snapshot's reading has overtaken stand before it, and it shows what they did.

use crate::recording::read::Visitor;
use crate::recording::varint::Bad;
use crate::session::{FileNames, add_names};
use crate::trace::Input;

/// Goes through all inputs once, to find the place.
#[derive(Debug)]
pub(super) struct Survey {
    /// The time, on `CLOCK_MONOTONIC`.
    at_ns: u64,
    /// Inputs so far; each fault of a run counts.
    number: u64,
    /// How many come before the first event that is later, behind the last snapshot that is not.
    later: Option<u64>,
    last_ns: u64,
    /// Names of files, from all snapshots.
    pub(super) files: FileNames,
}

impl Survey {
    /// Looks for a time on `CLOCK_MONOTONIC`.
    pub(super) fn of(at_ns: u64) -> Self {
        Self { at_ns, number: 0, later: None, last_ns: 0, files: FileNames::default() }
    }

    /// How many inputs come up to the time. `started_ns` and `ended_ns` are those of the session, as far
    /// as they are known.
    ///
    /// # Errors
    /// The session had ended by then.
    pub(super) fn number(&self, started_ns: u64, ended_ns: Option<u64>) -> Result<u64, String> {
        let end = ended_ns.unwrap_or(0).max(self.last_ns);
        if self.at_ns > end {
            let whole = end.saturating_sub(started_ns) as f64 / 1e9;
            return Err(format!("it ends {whole:.3} s after its start: give a time before"));
        }
        Ok(self.later.unwrap_or(self.number))
    }

    fn event(&mut self, time_ns: u64) {
        self.last_ns = self.last_ns.max(time_ns);
        if time_ns > self.at_ns && self.later.is_none() {
            self.later = Some(self.number);
        }
        self.number += 1;
    }
}

impl Visitor for Survey {
    fn input(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.event(event.time_ns),
            Input::Faults(run) => run.times_ns.iter().for_each(|time_ns| self.event(*time_ns)),
            Input::Snapshot(snapshot) => {
                self.event(snapshot.time_ns);
                add_names(&mut self.files, &snapshot);
                if snapshot.time_ns <= self.at_ns {
                    self.later = None;
                }
            }
            Input::Process(..) | Input::Lost(_) | Input::Code(..) | Input::Written(..) => {
                self.number += 1;
            }
        }
    }

    fn names(&mut self, _: &[u8]) -> Result<(), Bad> {
        Ok(())
    }
}
