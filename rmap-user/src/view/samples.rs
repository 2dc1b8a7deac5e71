//! A report as weighed stacks: what flame graphs and profiles have in common.
//!
//! Comes in: a report. Goes out: [`Sample`]s, one for each path, each part that is not explained
//! and each path of which nothing is left. Σ resident is the RSS of all processes, Σ dirty their
//! Dirty, as smaps has them.

use crate::report::{Frame, Process, Report, Segment};

use super::chain::base_name;
use super::text;

/// What is weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Of {
    /// Bytes that are resident.
    Resident,
    /// Bytes that are dirty.
    #[default]
    Dirty,
    /// Bytes that were made resident or dirty in all, freed ones included.
    Touched,
}

/// The value of one stack.
#[derive(Debug)]
pub struct Sample<'a> {
    /// Whose it is.
    pub process: &'a Process,
    /// Where; `None` for what is gone.
    pub segment: Option<&'a Segment>,
    /// The frames, the innermost first.
    pub frames: &'a [Frame],
    /// The cause, or why it is not explained.
    pub why: &'a str,
    /// Whether it has a code path.
    pub explained: bool,
    /// Resident, dirty and touched bytes. Only what is not explained may be negative.
    pub bytes: [i64; 3],
}

/// Every sample of a report.
pub fn samples(report: &Report) -> Vec<Sample<'_>> {
    let by_id: std::collections::HashMap<u32, &[Frame]> =
        report.stacks.iter().map(|stack| (stack.id, &stack.frames[..])).collect();
    let frames = |id: Option<u32>| id.and_then(|id| by_id.get(&id).copied()).unwrap_or_default();
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut samples = Vec::new();
    for process in &report.processes {
        for segment in &process.segments {
            samples.extend(segment.paths.iter().map(|path| Sample {
                process,
                segment: Some(segment),
                frames: frames(path.stack),
                why: &path.cause,
                explained: true,
                bytes: [path.rss_bytes, path.dirty_bytes, path.touched_bytes].map(signed),
            }));
            samples.extend(segment.unexplained.iter().map(|rest| Sample {
                process,
                segment: Some(segment),
                frames: &[],
                why: &rest.reason,
                explained: false,
                bytes: [rest.rss_bytes, rest.dirty_bytes, 0],
            }));
        }
        samples.extend(process.gone.iter().map(|gone| Sample {
            process,
            segment: None,
            frames: frames(gone.stack),
            why: &gone.cause,
            explained: true,
            bytes: [0, 0, signed(gone.touched_bytes)],
        }));
    }
    samples
}

impl Sample<'_> {
    /// The value that is asked for.
    #[must_use]
    pub const fn value(&self, of: Of) -> i64 {
        match of {
            Of::Resident => self.bytes[0],
            Of::Dirty => self.bytes[1],
            Of::Touched => self.bytes[2],
        }
    }

    /// Names from the outside in: process, segment, functions, and the cause at the end.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let process = &self.process;
        let mut names =
            vec![format!("{} ({})", base_name(&text::clean(&process.exe)), process.pid)];
        names.push(match self.segment {
            Some(segment) => segment_name(segment),
            None => "[gone]".to_owned(),
        });
        names.extend(self.frames.iter().rev().map(frame_name));
        names.push(self.reason());
        names
    }

    /// `[first-write]`, or `[not explained: lost-events]`.
    #[must_use]
    pub fn reason(&self) -> String {
        let why = text::clean(self.why);
        if self.explained { format!("[{why}]") } else { format!("[not explained: {why}]") }
    }
}

/// What a segment is called, clean.
pub fn segment_name(segment: &Segment) -> String {
    match segment.name.as_str() {
        "" => "[anon]".to_owned(),
        name => text::clean(name),
    }
}

/// A function's name, or its place in its module; clean.
pub fn frame_name(frame: &Frame) -> String {
    match &frame.function {
        Some(function) => text::clean(function),
        None if frame.module.starts_with('[') => text::clean(&frame.module),
        None => {
            format!("{}+{}", base_name(&text::clean(&frame.module)), text::clean(&frame.offset))
        }
    }
}
