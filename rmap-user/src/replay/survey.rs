//! Where in a recording the moments are.
//!
//! Comes in: a recording, and what is asked of it. Goes out: the question that its session is to answer.

use std::io::Read;

use crate::model::Peak;
use crate::recording::Error;
use crate::recording::read::{Visitor, walk};
use crate::recording::varint::Bad;
use crate::report::Asked;
use crate::session::{Question, Survey};
use crate::trace::Input;

struct Visit(Survey);

impl Visitor for Visit {
    fn input(&mut self, input: Input) {
        self.0.input(&input);
    }

    fn names(&mut self, _: &[u8]) -> Result<(), Bad> {
        Ok(())
    }
}

/// Goes through a recording once. `peak`: the session's, where it is asked for.
///
/// # Errors
/// What is wrong with the file, and where; or it has no such moment.
pub(super) fn question(
    from: impl Read,
    asked: &Asked,
    peak: Peak,
    place: &mut u64,
) -> Result<Question, Error> {
    let begin = |opening: &super::Opening| Visit(Survey::of(asked, opening.started_ns));
    let (visit, around) = walk(from, place, begin)?;
    let ended_ns = around.ending.map(|ending| ending.ended_ns);
    visit.0.question(asked, ended_ns, peak).map_err(Error::NotThere)
}
