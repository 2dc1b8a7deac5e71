//! The state at a moment: which inputs of a recording make it up.
//!
//! Comes in: what was asked for, and the inputs in their order. Goes out: a [`Cut`], up to which
//! the inputs are played. Sizes are known where a snapshot was taken, and nowhere else: so the
//! state at a moment is that of the last snapshot of each process up to it, and the moment of the
//! highest RSS is that of a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use crate::recording::read::Visitor;
use crate::recording::varint::Bad;
use crate::report::At;
use crate::trace::{Body, Input};

/// Where a replay ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The moment, on `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// How many inputs come before the last snapshot that counts.
    pub last: u64,
}

impl Cut {
    /// Whether an input belongs to the state. `number`: how many come before it. Events that a
    /// snapshot's reading has overtaken stand before it, and it shows what they did.
    pub(super) fn takes(&self, number: u64, input: &Input) -> bool {
        match input {
            Input::Snapshot(snapshot) => snapshot.time_ns <= self.at_ns,
            Input::Event(event) => {
                let ends = matches!(event.body, Body::Exit { .. } | Body::Exec { .. });
                event.time_ns <= self.at_ns || (number < self.last && !ends)
            }
            // Each fault of it counts for itself.
            Input::Faults(_) => true,
            Input::Process(..) | Input::Lost(_) | Input::Code(..) | Input::Written(..) => {
                number <= self.last
            }
        }
    }
}

/// Goes through all inputs once, to find the moment.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Of each snapshot: its time, and how many inputs come before it.
    snapshots: Vec<(u64, u64)>,
    /// The last RSS of each process that lives.
    rss: BTreeMap<u32, u64>,
    /// Processes that live in their parents' memory (vfork), which counts there.
    borrowing: BTreeSet<u32>,
    /// The highest sum, and when.
    peak: Option<(u64, u64)>,
    last_ns: u64,
}

impl Survey {
    fn add(&mut self, number: u64, input: &Input) {
        match input {
            Input::Snapshot(snapshot) => {
                self.last_ns = self.last_ns.max(snapshot.time_ns);
                self.snapshots.push((snapshot.time_ns, number));
                if self.borrowing.contains(&snapshot.pid) {
                    return;
                }
                let add = |sum: u64, rss: u64| sum.saturating_add(rss);
                let rss = snapshot.segments.iter().map(|segment| segment.rss).fold(0, add);
                self.rss.insert(snapshot.pid, rss);
                let sum = self.rss.values().copied().fold(0, add);
                if self.peak.is_none_or(|(peak, _)| sum > peak) {
                    self.peak = Some((sum, snapshot.time_ns));
                }
            }
            Input::Event(event) => {
                self.last_ns = self.last_ns.max(event.time_ns);
                match &event.body {
                    Body::Fork(fork) if fork.same_mm && !fork.thread => {
                        self.borrowing.insert(fork.child_pid);
                    }
                    Body::Exec { .. } => {
                        self.borrowing.remove(&event.pid);
                    }
                    Body::Exit { group_dead: true, .. } => {
                        self.rss.remove(&event.pid);
                        self.borrowing.remove(&event.pid);
                    }
                    _ => {}
                }
            }
            Input::Faults(run) => {
                self.last_ns = run.times_ns.iter().copied().fold(self.last_ns, u64::max);
            }
            Input::Process(..) | Input::Lost(_) | Input::Code(..) | Input::Written(..) => {}
        }
    }

    /// Where the replay ends; `None`: at the end of the recording. `started_ns` and `ended_ns` are
    /// those of the session, as far as they are known.
    ///
    /// # Errors
    /// Why there is no such state.
    pub(super) fn cut(
        &self,
        at: At,
        started_ns: u64,
        ended_ns: Option<u64>,
    ) -> Result<Option<Cut>, String> {
        let at_ns = match at {
            At::End => return Ok(None),
            At::Peak => match self.peak {
                Some((_, at_ns)) => at_ns,
                None => return Err("it holds no snapshot, so no moment of the highest RSS".into()),
            },
            At::Time(after) => {
                let end = ended_ns.unwrap_or(0).max(self.last_ns);
                let at_ns = started_ns.saturating_add(after);
                if at_ns > end {
                    let whole = end.saturating_sub(started_ns) as f64 / 1e9;
                    return Err(format!(
                        "it ends {whole:.3} s after its start: give a time before"
                    ));
                }
                at_ns
            }
        };
        let last = self.snapshots.iter().filter(|(time, _)| *time <= at_ns).map(|(_, n)| *n).max();
        Ok(Some(Cut { at_ns, last: last.unwrap_or(0) }))
    }
}

impl Visitor for Survey {
    fn input(&mut self, number: u64, input: Input) {
        self.add(number, &input);
    }

    fn names(&mut self, _: &[u8]) -> Result<(), Bad> {
        Ok(())
    }
}
