//! Kinds and names of segments: malloc arenas, thread stacks, heaps of runtimes.
//!
//! Comes in: a report with its stacks named. Goes out: the `kind`, the `label` and the mark
//! `inferred` of each segment. Three sources, the surest first: what the kernel shows (`kernel`),
//! who made the mapping (`makers`), and the shape of the mapping among its neighbours (`shape`).
//! What follows from a shape alone is marked as inferred.

mod kernel;
mod makers;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;

use crate::report::{Frame, Kind, MapCallKind, Process, Report, Segment, StackId};

/// What is concluded of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    kind: Kind,
    /// The name to show in place of that of maps; `None`: that one is good.
    label: Option<String>,
    inferred: bool,
}

impl Finding {
    /// Of a kind, for sure.
    const fn sure(kind: Kind) -> Self {
        Self { kind, label: None, inferred: false }
    }

    fn named(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// The same, by a likeness alone.
    fn inferred(self) -> Self {
        Self { inferred: true, ..self }
    }
}

/// A process's segments, with what the rules need to know of them.
struct Place<'a> {
    process: &'a Process,
    ranges: Vec<Range<u64>>,
    stacks: &'a HashMap<StackId, &'a [Frame]>,
}

impl<'a> Place<'a> {
    fn segment(&self, at: usize) -> &'a Segment {
        &self.process.segments[at]
    }

    /// The segment that ends where this one begins.
    fn below(&self, at: usize) -> Option<usize> {
        let below = at.checked_sub(1)?;
        (self.ranges[below].end == self.ranges[at].start).then_some(below)
    }

    /// The segment that begins where this one ends.
    fn above(&self, at: usize) -> Option<usize> {
        let above = self.ranges.get(at + 1)?;
        (above.start == self.ranges[at].end).then_some(at + 1)
    }

    /// The frames of the call that made the mapping, the innermost first. Nothing if a fork copied
    /// it or an exec made it: the frames are those of who called fork or exec then.
    fn made_by(&self, at: usize) -> &'a [Frame] {
        let by = self.segment(at).mapped_by.as_ref();
        let by = by.filter(|by| by.call != MapCallKind::Fork && by.call != MapCallKind::Exec);
        let stack = by.and_then(|by| by.stack);
        stack.and_then(|stack| self.stacks.get(&stack)).copied().unwrap_or_default()
    }
}

/// Gives every segment of a report its kind and its name.
pub fn name_segments(report: &mut Report) {
    let stacks: HashMap<StackId, &[Frame]> =
        report.stacks.iter().map(|stack| (stack.id, &stack.frames[..])).collect();
    let mut known: HashMap<u32, Known> = HashMap::new();
    for process in &mut report.processes {
        let mut findings = findings(process, &stacks);
        if let Some(parents) = known.get(&process.parent_pid) {
            inherit(process, &mut findings, parents);
        }
        let mut own = Known::new();
        for (segment, finding) in process.segments.iter_mut().zip(findings) {
            segment.kind = Some(finding.kind);
            segment.label.clone_from(&finding.label);
            segment.inferred = finding.inferred;
            if segment.inode == 0 {
                own.insert(range(segment).start, finding);
            }
        }
        known.insert(process.pid, own);
    }
}

/// The findings of a process by the segments' starts.
type Known = HashMap<u64, Finding>;

/// What fork copied is what it was in the parent, of which more is known.
fn inherit(process: &Process, findings: &mut [Finding], parents: &Known) {
    for (segment, finding) in process.segments.iter().zip(findings) {
        let copied = segment.mapped_by.as_ref().is_some_and(|by| by.call == MapCallKind::Fork);
        let unsure = finding.inferred || finding.kind == Kind::Anonymous;
        if copied
            && unsure
            && let Some(parents) = parents.get(&range(segment).start)
        {
            *finding = parents.clone();
        }
    }
}

fn findings(process: &Process, stacks: &HashMap<StackId, &[Frame]>) -> Vec<Finding> {
    let ranges = process.segments.iter().map(range).collect();
    let place = Place { process, ranges, stacks };
    let mut findings: Vec<Finding> =
        (0..process.segments.len()).map(|at| finding(&place, at)).collect();
    // By address, so that a name stays the same while the process lives.
    let arenas = findings.iter_mut().filter(|f| f.kind == Kind::MallocArena && f.label.is_none());
    for (number, arena) in arenas.enumerate() {
        arena.label = Some(format!("[malloc arena {}]", number + 1));
    }
    findings
}

fn finding(place: &Place<'_>, at: usize) -> Finding {
    if let Some(sure) = kernel::of_name(place, at) {
        return sure;
    }
    let segment = place.segment(at);
    if segment.inode != 0 {
        return kernel::of_file(segment);
    }
    if !segment.perms.contains(['r', 'w', 'x']) {
        return Finding::sure(Kind::NoAccess);
    }
    if segment.perms.contains('x') {
        return makers::of_code(place, at);
    }
    match makers::of_data(place, at).or_else(|| shape::of_data(place, at)) {
        Some(found)
            if found.kind == Kind::ThreadStack && shape::is_the_first_threads(place, at) =>
        {
            makers::beside_stacks(place)
        }
        Some(found) => found,
        None => Finding::sure(Kind::Anonymous),
    }
}

/// The addresses of a segment.
const fn range(segment: &Segment) -> Range<u64> {
    segment.start.0..segment.end.0
}
