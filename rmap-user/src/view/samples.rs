//! A report as weighed stacks: what flame graphs and profiles have in common.
//!
//! Comes in: a report. Goes out: [`Sample`]s, one for each path, each part that is not explained
//! and each path of which nothing is left. Σ resident is the RSS of all processes, Σ dirty their
//! Dirty, as smaps has them. [`Stacks`] are samples of one stack together, in the order and the
//! number that were asked for.

use std::collections::HashMap;

use crate::report::{Cause, Frame, Kind, Named, Process, Reason, Report, Segment, Stack, StackId};

use super::chain::base_name;
use super::order::{Keys, Listing, Sort};
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
    /// Bytes that are written again within a period.
    Rewritten,
}

/// How many kinds of bytes a sample has.
pub const KINDS: usize = 4;

/// The value of one stack.
#[derive(Debug)]
pub struct Sample<'a> {
    /// Whose it is.
    pub process: &'a Process,
    /// Where; `None` for what is gone.
    pub segment: Option<&'a Segment>,
    /// The frames, the innermost first.
    pub frames: &'a [Frame],
    /// The frames reach to the outermost one.
    pub complete: bool,
    /// The cause, or why it is not explained.
    pub why: Why<'a>,
    /// Resident, dirty, touched and rewritten bytes. Only what is not explained may be negative.
    pub bytes: [i64; KINDS],
}

/// Why the bytes of a sample are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// A call path brought them.
    Cause(&'a Named<Cause>),
    /// No call path explains them.
    Residual(&'a Named<Reason>),
}

impl<'a> Why<'a> {
    /// The name of the cause or of the reason. Not safe to print as is.
    #[must_use]
    pub fn name(self) -> &'a str {
        match self {
            Self::Cause(cause) => cause.as_str(),
            Self::Residual(reason) => reason.as_str(),
        }
    }
}

/// Every sample of a report.
pub fn samples(report: &Report) -> Vec<Sample<'_>> {
    let by_id: HashMap<StackId, &Stack> =
        report.stacks.iter().map(|stack| (stack.id, stack)).collect();
    let stack = |id: Option<StackId>| id.and_then(|id| by_id.get(&id).copied());
    let frames = |id| stack(id).map(|stack| &stack.frames[..]).unwrap_or_default();
    // Where there is no code of the process, nothing is missing.
    let complete = |id| stack(id).is_none_or(|stack| stack.complete);
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut samples = Vec::new();
    for process in &report.processes {
        for segment in &process.segments {
            samples.extend(segment.paths.iter().map(|path| {
                Sample {
                    process,
                    segment: Some(segment),
                    frames: frames(path.stack),
                    complete: complete(path.stack),
                    why: Why::Cause(&path.cause),
                    bytes: [
                        path.rss_bytes,
                        path.dirty_bytes,
                        path.touched_bytes,
                        path.rewritten_bytes,
                    ]
                    .map(signed),
                }
            }));
            samples.extend(segment.unexplained.iter().map(|rest| Sample {
                process,
                segment: Some(segment),
                frames: &[],
                complete: true,
                why: Why::Residual(&rest.reason),
                bytes: [rest.rss_bytes, rest.dirty_bytes, 0, 0],
            }));
        }
        samples.extend(process.gone.iter().map(|gone| Sample {
            process,
            segment: None,
            frames: frames(gone.stack),
            complete: complete(gone.stack),
            why: Why::Cause(&gone.cause),
            bytes: [0, 0, signed(gone.touched_bytes), 0],
        }));
    }
    samples
}

/// A process as the outermost name of its stacks.
#[must_use]
pub fn process_name(process: &Process) -> String {
    format!("{} ({})", base_name(&text::clean(&process.exe)), process.pid)
}

impl Sample<'_> {
    /// The value that is asked for.
    #[must_use]
    pub const fn value(&self, of: Of) -> i64 {
        self.bytes[of.index()]
    }

    /// Names from the outside in: process, segment, functions, and the cause at the end.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![process_name(self.process)];
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
        match self.why {
            Why::Cause(cause) => format!("[{}]", text::clean(cause.as_str())),
            Why::Residual(reason) => format!("[not explained: {}]", text::clean(reason.as_str())),
        }
    }
}

/// Samples of the same names: one stack to a reader.
#[derive(Debug)]
pub struct Row<'a> {
    /// From the outside in, see [`Sample::names`].
    pub names: Vec<String>,
    /// In the order of the report.
    pub samples: Vec<Sample<'a>>,
}

/// Stacks that are shown, and the others in one sum.
#[derive(Debug)]
pub struct Stacks<'a> {
    /// In the order that was asked for, or in that of the report.
    pub rows: Vec<Row<'a>>,
    /// Stacks that are left over, and their bytes of each kind together.
    pub rest: Option<(usize, [i128; KINDS])>,
}

impl Row<'_> {
    /// The bytes of all of it, of each kind.
    #[must_use]
    pub fn bytes(&self) -> [i128; KINDS] {
        self.samples.iter().fold([0; KINDS], |sums, sample| add(sums, sample.bytes.map(i128::from)))
    }

    /// What was there before rmap came has not grown.
    fn growth(&self) -> i128 {
        let before = |why: Why<'_>| matches!(why, Why::Residual(r) if *r == Reason::BeforeAttach);
        let grown = |sample: &&Sample<'_>| !before(sample.why);
        let bytes = self.samples.iter().filter(grown).map(|s| s.bytes.map(i128::from));
        bytes.map(|[rss, dirty, ..]| rss + dirty).sum()
    }

    /// The lowest address of its segments; what is gone has none and stands last.
    fn address(&self) -> u64 {
        let segments = self.samples.iter().filter_map(|sample| sample.segment);
        segments.map(|s| s.start.0).min().unwrap_or(u64::MAX)
    }
}

fn add(a: [i128; KINDS], b: [i128; KINDS]) -> [i128; KINDS] {
    std::array::from_fn(|kind| a[kind] + b[kind])
}

impl<'a> Stacks<'a> {
    /// The stacks of a report. Where no order is asked for, it is that of the report, and those
    /// are kept that hold most of what is weighed (`of`; `None`: RSS and Dirty together).
    #[must_use]
    pub fn of(report: &'a Report, listing: Listing, of: Option<Of>) -> Self {
        let mut rows: Vec<Row<'a>> = Vec::new();
        let mut at: HashMap<Vec<String>, usize> = HashMap::new();
        for sample in samples(report) {
            let names = sample.names();
            let next = rows.len();
            match at.get(&names).and_then(|&index| rows.get_mut(index)) {
                Some(row) => row.samples.push(sample),
                None => {
                    at.insert(names.clone(), next);
                    rows.push(Row { names, samples: vec![sample] });
                }
            }
        }
        let mut rows: Vec<(usize, Row<'a>)> = rows.into_iter().enumerate().collect();
        // What weighs nothing takes no place among the first.
        rows.retain(|(_, row)| of.is_none_or(|of| row.bytes()[of.index()] != 0));
        if let Some(sort) = listing.sort {
            put_in_order(&mut rows, sort, None);
        } else if listing.top.is_some() {
            put_in_order(&mut rows, Sort::Total, of);
        }
        let shown = listing.top.unwrap_or(usize::MAX).min(rows.len());
        let left = rows.split_off(shown);
        let rest = left.iter().fold([0; KINDS], |sums, (_, row)| add(sums, row.bytes()));
        if listing.sort.is_none() {
            rows.sort_by_key(|(index, _)| *index);
        }
        Self {
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            rest: (!left.is_empty()).then_some((left.len(), rest)),
        }
    }

    /// What the stacks that are left over are called together.
    #[must_use]
    pub fn rest_name(many: usize) -> String {
        format!("[{many} more]")
    }
}

/// Puts stacks in order; `of` stands for the total where it is given.
fn put_in_order(rows: &mut [(usize, Row<'_>)], sort: Sort, of: Option<Of>) {
    let keys = Keys {
        total: &|(_, row): &(usize, Row<'_>)| match (row.bytes(), of) {
            ([rss, dirty, ..], None) => rss + dirty,
            (bytes, Some(of)) => bytes[of.index()],
        },
        rss: &|(_, row)| row.bytes()[0],
        dirty: &|(_, row)| row.bytes()[1],
        growth: &|(_, row)| row.growth(),
        address: Some(&|(_, row)| row.address()),
        name: &|(_, row)| row.names.join(";"),
    };
    sort.order(rows, &keys);
}

impl Of {
    /// Its place in the bytes of a sample.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Resident => 0,
            Self::Dirty => 1,
            Self::Touched => 2,
            Self::Rewritten => 3,
        }
    }
}

/// What a segment is called, clean; `?` marks a name that follows from a likeness alone.
pub fn segment_name(segment: &Segment) -> String {
    match (&segment.label, segment.name.as_str()) {
        (Some(label), _) if segment.inferred => format!("{}?", text::clean(label)),
        (Some(label), _) => text::clean(label),
        (None, "") => "[anon]".to_owned(),
        (None, name) => text::clean(name),
    }
}

/// What a segment of two sessions is called in both: without numbers of arenas and threads. Where
/// it is known who mapped it, that says more.
pub fn lasting_name(segment: &Segment) -> String {
    match (segment.name.as_str(), segment.kind) {
        ("", _) if segment.mapped_by.is_some() => "[anon]".to_owned(),
        ("", Some(Kind::MallocArena | Kind::ThreadStack)) => {
            format!("[{}]", segment.kind.map_or("anon", Kind::as_str))
        }
        ("", _) => segment_name(segment).trim_end_matches('?').to_owned(),
        (name, _) => text::clean(name),
    }
}

/// A function's name, or its place in its module; clean.
pub fn frame_name(frame: &Frame) -> String {
    match &frame.function {
        Some(function) => text::clean(function),
        None if frame.module.starts_with('[') => text::clean(&frame.module),
        None => {
            format!("{}+{}", base_name(&text::clean(&frame.module)), frame.offset)
        }
    }
}
