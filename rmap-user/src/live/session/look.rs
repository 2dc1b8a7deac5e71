//! Looks at processes once, with nothing traced.
//!
//! Comes in: process ids. Goes out: a report of what they hold now. No code path is known, so all of
//! it was there before: the reason of every byte is `before-attach`. Two such reports, of before and
//! after, can be compared as any two.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::facts;
use crate::live::procfs::{self, monotonic_ns};
use crate::live::worker::Worker;
use crate::model::Arch;
use crate::report::{Mode, Report};
use crate::session::{Closing, NoBinaries, Question, Session};
use crate::trace::{Input, Moment};

/// Reads the segments and pages of each process. They run on meanwhile, so figures of one process
/// may be some microseconds apart.
///
/// # Errors
/// A process that is not there, has no memory, or may not be read.
pub fn look(pids: &[u32]) -> Result<Report, procfs::Error> {
    let started_ns = monotonic_ns();
    let question = Question::default();
    let mut session =
        Session::new(Arch::native(), Mode::Attach, started_ns, question, Box::new(NoBinaries));
    let mut worker = Worker::default();
    for pid in pids {
        session.apply(&Input::Process(*pid, facts::read(&mut worker, *pid)));
        let first = procfs::take(*pid, *pid, Moment::StartRunning, true)?;
        let mut last = first.clone();
        last.moment = Moment::Live;
        session.apply(&Input::Snapshot(first));
        session.apply(&Input::Snapshot(last));
    }
    let closing = Closing {
        host: facts::host(),
        pids: pids.to_vec(),
        started_at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        ended_ns: monotonic_ns(),
        ..Closing::default()
    };
    Ok(session.report(closing).report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_what_smaps_says_and_all_of_it_was_there_before() {
        let report = look(&[std::process::id()]).unwrap();
        let [process] = &report.processes[..] else { panic!("{:?}", report.processes.len()) };
        assert!(process.rss_bytes.after > 0);
        let mut sums = (0, 0);
        for segment in &process.segments {
            assert!(segment.paths.is_empty(), "{segment:?}");
            for part in &segment.unexplained {
                sums.0 += part.rss_bytes;
                sums.1 += part.dirty_bytes;
            }
        }
        let sizes = (process.rss_bytes.after, process.dirty_bytes.after);
        assert_eq!(sums, (sizes.0.cast_signed(), sizes.1.cast_signed()));
        let before = process.segments.iter().flat_map(|segment| &segment.unexplained);
        let before = before.filter(|part| part.reason.as_str() == "before-attach");
        let before: i64 = before.map(|part| part.rss_bytes).sum();
        assert!(before * 10 > sums.0 * 9, "{before} of {}", sums.0);
    }
}
