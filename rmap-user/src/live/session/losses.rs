//! What a session could not see: lost events and stacks, failed snapshots, and what else keeps a part of
//! the picture away.
//!
//! Comes in: the probes' counters, and failures as they happen. Goes out: [`Losses`] before each
//! snapshot, and at the end rows for the report's probes.

use rmap_ebpf::abi;

use crate::{
    live::probes::{self, LeftOut, Probes},
    report::Probe,
    trace::Losses,
};

/// Counts of one session.
#[derive(Default)]
pub(super) struct LossCounter {
    /// Snapshots that failed. The session itself counts processes that end without one.
    pub(super) failed_snapshots: u64,
    /// Times that the unwind tables could not be given what a process has mapped.
    pub(super) failed_tables: u64,
    /// Times that the counters could not be read.
    unreadable: u64,
    /// The counters when they were last read: events, stacks.
    last: (u64, u64),
    troubles: Vec<(&'static str, String)>,
}

impl LossCounter {
    /// Reads the probes' counters. `undecoded`: records that could not be read.
    pub(super) fn count(&mut self, probes: &Probes, undecoded: u64) -> Losses {
        let count = |counter| probes.counter(counter).ok();
        match [abi::COUNT_LOST_EVENTS, abi::COUNT_BRACKETS_FULL, abi::COUNT_LOST_STACKS].map(count)
        {
            [Some(events), Some(brackets), Some(stacks)] => self.last = (events + brackets, stacks),
            // What cannot be read may be more than nothing.
            _ => self.unreadable += 1,
        }
        let (events, stacks) = self.last;
        let events = events + undecoded + self.unreadable;
        Losses { events, stacks, snapshots: self.failed_snapshots }
    }

    /// Something that the report shows with the probes.
    pub(super) fn note(&mut self, name: &'static str, why: String) {
        self.troubles.push((name, why));
    }

    /// What kept a part of the picture from being seen so far, in one line.
    pub(super) fn troubles(&self) -> String {
        let troubles: Vec<&str> = self.troubles.iter().map(|(_, why)| why.as_str()).collect();
        troubles.join("; ")
    }

    /// What was noted so far, as rows beside the probes.
    pub(super) fn noted(&self) -> Vec<Probe> {
        self.troubles.iter().map(|(name, why)| row((name, why.clone()))).collect()
    }

    /// Everything that was noted, as rows beside the probes.
    pub(super) fn rows(mut self, probes: &Probes) -> Vec<Probe> {
        if self.failed_tables > 0 {
            let why = format!("{} times a process's code could not be shown", self.failed_tables);
            self.note("unwind-tables", format!("{why}; its stacks may end early"));
        }
        if let Some(why) = left_out(probes.left_out()) {
            self.note("preemption", why);
        }
        match probes.counter(abi::COUNT_LOST_MALLOC) {
            Ok(0) => {}
            Ok(lost) => self.note("malloc", format!(
                "{lost} reports of picked blocks found no room in the ring; what is live may be \
                 more or less"
            )),
            Err(error) => self.note("malloc", error.to_string()),
        }
        self.troubles.into_iter().map(row).collect()
    }
}

fn row((name, why): (&str, String)) -> Probe {
    Probe { name: name.to_owned(), attached: false, why_not: Some(why) }
}

/// What to say of programs that the kernel left out, if it left any out.
fn left_out(times: Result<LeftOut, probes::Error>) -> Option<String> {
    let LeftOut { needed, spare } = match times {
        Ok(LeftOut { needed: 0, spare: 0 }) => return None,
        Ok(times) => times,
        Err(error) => return Some(error.to_string()),
    };
    let mut text = "the kernel leaves a probe out while the same one is put aside on that \
                    processor:"
        .to_owned();
    if needed > 0 {
        text += &format!(
            " up to {needed} forks, programs, ends and mapping calls may be missing (those that are \
             known to be are among the lost events);"
        );
    }
    if spare > 0 {
        text += &format!(
            " {spare} changes of counters and of files, so causes may be told less exactly, and \
             pages that came with no fault may have none;"
        );
    }
    text.pop();
    Some(text)
}
