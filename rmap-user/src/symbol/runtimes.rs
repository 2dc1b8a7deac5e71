//! Frames of language runtimes among the others.
//!
//! Comes in: runs of frames of one stack with their places, and what is known of their code. Goes
//! out: named frames. A run stands for the frame of the evaluation loop that ran it. One without a
//! place is shown apart, outermost, behind a marker: where it belongs is not known.

use crate::report::Frame;
use crate::runtime::python::{Definitions, Named};
use crate::trace::Run;

/// [`Frame::language`] of CPython's frames.
pub const PYTHON: &str = "python";
/// The module of a frame of which the definition was lost.
const UNDEFINED: &str = "[python: definition lost]";
/// The marker of runs that have no place.
const APART: &str = "[python frames without a place in the stack]";
/// The marker of frames that were not read.
pub(super) const CUT: &str = "[incomplete: more python frames]";
/// How CPython's own names in perf map files begin (`Python/perf_trampoline.c`).
const TRAMPOLINE: &str = "py::";

/// Whether a user frame is an evaluation loop of CPython, by its name.
pub(super) fn is_loop(frame: &Frame) -> bool {
    frame.function.as_deref() == Some("_PyEval_EvalFrameDefault")
}

/// The runs of one stack.
pub(super) struct Runs<'a> {
    placed: std::iter::Peekable<std::vec::IntoIter<(usize, &'a Run)>>,
    apart: Vec<&'a Run>,
    any_placed: bool,
    definitions: &'a Definitions,
}

impl<'a> Runs<'a> {
    /// `whole`: neither user frames nor those of the runtime are missing. `loops`: the numbers of the
    /// user frames that are evaluation loops by their names.
    pub(super) fn new(
        runs: &'a [Run],
        definitions: &'a Definitions,
        whole: bool,
        loops: impl FnOnce() -> Vec<usize>,
    ) -> Self {
        let mut placed: Vec<_> =
            runs.iter().filter_map(|run| Some((usize::from(run.place?), run))).collect();
        let mut apart: Vec<_> = runs.iter().filter(|run| run.place.is_none()).collect();
        // 3.8 and 3.9 keep nothing that says where a loop is; each frame has one of its own.
        let is_old = |run: &&Run| {
            let code = run.frames.first().map(|(code, _)| *code);
            code.and_then(|code| definitions.minor(code)).is_some_and(|minor| minor < 10)
        };
        if whole && placed.is_empty() && apart.iter().all(is_old) && !apart.is_empty() {
            let loops = loops();
            if loops.len() == apart.len() {
                placed = loops.into_iter().zip(apart.drain(..)).collect();
            }
        }
        Self {
            any_placed: !placed.is_empty(),
            placed: placed.into_iter().peekable(),
            apart,
            definitions,
        }
    }

    /// Whether a run stands for the user frame of this number; then its frames are added.
    pub(super) fn stand_for(&mut self, number: usize, frames: &mut Vec<Frame>) -> bool {
        match self.placed.next_if(|(place, _)| *place == number) {
            Some((_, run)) => {
                self.add(run, frames);
                true
            }
            None => false,
        }
    }

    /// Whether a name that the program wrote is one of CPython's own, of functions that are among the
    /// runs.
    pub(super) fn name_again(&self, name: &str) -> bool {
        self.any_placed && name.starts_with(TRAMPOLINE)
    }

    /// Adds the runs that have no place.
    pub(super) fn rest(&self, frames: &mut Vec<Frame>) {
        for run in &self.apart {
            self.add(run, frames);
        }
        frames.extend((!self.apart.is_empty()).then(|| Frame::at(APART, 0)));
    }

    fn add(&self, run: &Run, frames: &mut Vec<Frame>) {
        frames.extend(run.frames.iter().map(|(code, at)| {
            let Named { function, file, line } = self.definitions.name(*code, *at);
            // One that was not begun yet is at its start.
            let offset = u64::try_from(*at).unwrap_or(0);
            let frame = Frame::at(file.as_deref().unwrap_or(UNDEFINED), offset);
            Frame { function, file, line, language: Some(PYTHON.to_owned()), ..frame }
        }));
    }
}
