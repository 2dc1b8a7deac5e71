//! A file becomes inputs.
//!
//! Comes in: a recording, from anybody. Goes out: every input of it, checked, in its order, and what
//! stands around them.

use std::io::Read;

use super::codec::Unbatch;
use super::frame::{self, Frames};
use super::limits::Limits;
use super::varint::Bad;
use super::{Ending, Error, Opening};
use crate::model::Arch;
use crate::trace::Input;

/// What stands around the inputs of a recording.
#[derive(Debug)]
pub(crate) struct Around {
    /// How the session began.
    pub opening: Opening,
    /// How it ended; `None` if the file ends before.
    pub ending: Option<Ending>,
    /// The file ends here, in bytes.
    pub end: u64,
    /// It ends inside of a frame.
    pub cut: bool,
    /// Frames of kinds that this version does not know.
    pub skipped: u64,
}

/// Who goes through a recording.
pub(crate) trait Visitor {
    /// The next input.
    fn input(&mut self, input: Input);

    /// The names of a frame.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn names(&mut self, payload: &[u8]) -> Result<(), Bad>;
}

/// Goes through a recording. `begin` makes the visitor from how the session began. `place` is where
/// the reading stands, in bytes, for errors.
///
/// # Errors
/// What is wrong with the file, and where.
pub(crate) fn walk<V: Visitor>(
    from: impl Read,
    place: &mut u64,
    begin: impl FnOnce(&Opening) -> V,
) -> Result<(V, Around), Error> {
    let mut frames = Frames::open(from)?;
    let mut cut = false;
    let opening = loop {
        match frames.next(&mut cut)? {
            Some(frame) if frame.kind == frame::OPENING => {
                break serde_json::from_slice::<Opening>(&frame.payload)
                    .map_err(|error| damaged(frame.at, &format!("its description: {error}")))?;
            }
            Some(frame) if frame.kind > frame::ENDING => {}
            Some(frame) => return Err(damaged(frame.at, "a session begins without description")),
            None => return Err(Error::NoOpening(frames.at)),
        }
    };
    let mut visitor = begin(&opening);
    let mut limits = Limits::new(arch(&opening));
    let (mut skipped, mut ending) = (0, None);
    while let Some(frame) = frames.next(&mut cut)? {
        *place = frame.at;
        let bad = |Bad(what): Bad| damaged(frame.at, what);
        match frame.kind {
            frame::BATCH => {
                let mut inputs = Unbatch::new(&frame.payload, frames.version);
                while let Some(input) = inputs.next().map_err(bad)? {
                    limits.check(&input, frames.at).map_err(bad)?;
                    visitor.input(input);
                }
            }
            frame::NAMES => visitor.names(&frame.payload).map_err(bad)?,
            frame::ENDING => {
                let read = serde_json::from_slice::<Ending>(&frame.payload);
                ending =
                    Some(read.map_err(|error| damaged(frame.at, &format!("its end: {error}")))?);
            }
            frame::OPENING => return Err(damaged(frame.at, "a second session begins")),
            _ => skipped += 1,
        }
    }
    Ok((visitor, Around { opening, ending, end: frames.at, cut, skipped }))
}

/// The machine of a session.
#[must_use]
pub(crate) fn arch(opening: &Opening) -> Arch {
    if opening.host.arch == "aarch64" { Arch::Aarch64 } else { Arch::X86_64 }
}

pub(crate) fn damaged(at: u64, what: &str) -> Error {
    Error::Damaged { at, what: what.to_owned() }
}
