//! Which inputs make up the state at a moment.
//!
//! Comes in: the moments that are asked for, and the inputs in their order. Goes out: for each moment how
//! many of the inputs come up to it. Events that a snapshot's reading has overtaken stand before it, and
//! it shows what they did.

use super::{FileNames, Question, Want, add_names};
use crate::model::{Peak, Place};
use crate::report::{Asked, At, Mark};
use crate::trace::Input;

/// So many marks are kept of a session.
pub const MARKS_MAX: usize = 10_000;

/// Goes through all inputs once, to find the places.
#[derive(Debug)]
pub struct Survey {
    /// On `CLOCK_MONOTONIC`.
    started_ns: u64,
    /// Inputs so far; each fault of a run counts.
    number: u64,
    /// Times, on `CLOCK_MONOTONIC`.
    times: Vec<Sought>,
    last_ns: u64,
    /// Names, with the place behind each; the first of a name counts.
    marks: Vec<(String, Place)>,
    files: FileNames,
}

/// A time that is looked for.
#[derive(Debug)]
struct Sought {
    at_ns: u64,
    /// How many inputs come before the first event that is later, behind the last snapshot that is not.
    later: Option<u64>,
}

impl Survey {
    /// Looks for the moments of a session that began at a time of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn of(asked: &Asked, started_ns: u64) -> Self {
        let time = |at: &At| match at {
            At::Time(after) => {
                Some(Sought { at_ns: started_ns.saturating_add(*after), later: None })
            }
            At::End | At::Peak | At::Mark(_) => None,
        };
        let times = asked.moments().filter_map(time).collect();
        let (number, last_ns, marks) = (0, 0, Vec::new());
        Self { started_ns, number, times, last_ns, marks, files: FileNames::default() }
    }

    /// Takes the next input.
    pub fn input(&mut self, input: &Input) {
        match input {
            Input::Event(event) => self.event(event.time_ns),
            Input::Faults(run) => run.times_ns.iter().for_each(|time_ns| self.event(*time_ns)),
            Input::Snapshot(snapshot) => {
                self.event(snapshot.time_ns);
                add_names(&mut self.files, snapshot);
                let (time_ns, begins) = (snapshot.time_ns, snapshot.moment.begins());
                for sought in &mut self.times {
                    // A process that ran before is there from the session's start.
                    if time_ns <= sought.at_ns || begins && sought.at_ns == self.started_ns {
                        sought.later = None;
                    }
                }
            }
            Input::Mark(time_ns, name) => {
                self.event(*time_ns);
                let place = Place { number: self.number, time_ns: *time_ns };
                if self.marks.len() < MARKS_MAX {
                    self.marks.push((name.clone(), place));
                }
            }
            Input::Rewrites(rewrites) => self.event(rewrites.time_ns),
            Input::Heap(_)
            | Input::Process(..)
            | Input::Lost(_)
            | Input::Code(..)
            | Input::Written(..) => {
                self.number += 1;
            }
        }
    }

    fn event(&mut self, time_ns: u64) {
        self.last_ns = self.last_ns.max(time_ns);
        for sought in &mut self.times {
            if time_ns > sought.at_ns && sought.later.is_none() {
                sought.later = Some(self.number);
            }
        }
        self.number += 1;
    }

    /// What a session is to be asked so that it answers. `ended_ns`: the session's end, as far as it is
    /// known; `peak`: its peak, where that is asked for.
    ///
    /// # Errors
    /// There is no such moment, or a window ends before it begins.
    pub fn question(
        self,
        asked: &Asked,
        ended_ns: Option<u64>,
        peak: Peak,
    ) -> Result<Question, String> {
        let place = |at: &At| self.place(at, ended_ns, peak);
        let (from, to) = match asked {
            Asked::State(at) => (None, at),
            Asked::Window(from, to) => (Some(place(from)?), to),
        };
        let end = place(to)?;
        if from.is_some_and(|from| from.number >= end.number) {
            return Err("the window ends before it begins: give the earlier moment first".into());
        }
        let states = match to {
            At::End => Vec::new(),
            At::Peak | At::Time(_) | At::Mark(_) => vec![(end.number, Want::Everything)],
        };
        // Nothing has changed up to the time that was asked for.
        let state_ns = (*to != At::End).then_some(end.time_ns);
        Ok(Question { states, state_ns, window: from, files: self.files, ..Question::default() })
    }

    fn place(&self, at: &At, ended_ns: Option<u64>, peak: Peak) -> Result<Place, String> {
        let end = ended_ns.unwrap_or(0).max(self.last_ns);
        match at {
            At::End => Ok(Place { number: u64::MAX, time_ns: end }),
            At::Peak if peak.counts.resident == 0 => Err("no resident memory is in it".to_owned()),
            At::Peak => Ok(peak.place),
            At::Time(after) => {
                let time_ns = self.started_ns.saturating_add(*after);
                let sought = self.times.iter().find(|sought| sought.at_ns == time_ns);
                if time_ns > end {
                    let whole = end.saturating_sub(self.started_ns) as f64 / 1e9;
                    return Err(format!(
                        "it ends {whole:.3} s after its start: give a time before"
                    ));
                }
                let number = sought.and_then(|sought| sought.later).unwrap_or(self.number);
                Ok(Place { number, time_ns })
            }
            At::Mark(name) => {
                let found = self.marks.iter().find(|(mark, _)| mark == name);
                found.map(|(_, place)| *place).ok_or_else(|| self.no_mark(name))
            }
        }
    }

    fn no_mark(&self, name: &str) -> String {
        let mut names: Vec<&str> = self.marks.iter().map(|(name, _)| name.as_str()).collect();
        names.truncate(10);
        if names.is_empty() {
            return format!(
                "it has no mark {name:?}, and none at all: set one with rmap mark NAME while it runs"
            );
        }
        format!("it has no mark {name:?}; there are {}", names.join(", "))
    }
}

/// The marks of a session, for its report.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<(u64, String)>);

impl Marks {
    pub(super) fn add(&mut self, time_ns: u64, name: &str) {
        if self.0.len() < MARKS_MAX {
            self.0.push((time_ns, name.to_owned()));
        }
    }

    pub(super) fn shown(&self, relative: impl Fn(u64) -> u64) -> Vec<Mark> {
        let mark = |(time_ns, name): &(u64, String)| Mark {
            name: name.clone(),
            at_ns: relative(*time_ns),
        };
        self.0.iter().map(mark).collect()
    }
}
