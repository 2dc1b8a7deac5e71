//! From an attributed segment to the report's.
//!
//! Comes in: a [`Segment`] of [`crate::attribution`] and a numbering of stacks. Goes out: a
//! [`report::Segment`]. This is the only place where a stack of the model gets its id in a segment.

use crate::attribution::{MappedBy, PathShare, Residual, Segment};
use crate::model::StackRef;
use crate::report::{self, BeforeAfter, StackId};

use super::breakdown::shown;

/// The report's segment. `id` numbers stacks in the order in which it meets them.
pub(super) fn report_segment(
    segment: &Segment,
    id: &mut impl FnMut(StackRef) -> StackId,
) -> report::Segment {
    let (now, before) = (&segment.shown, segment.before);
    let size = |before, after| BeforeAfter { before, after };
    report::Segment {
        rss_bytes: size(before.rss, now.rss),
        dirty_bytes: size(before.dirty, now.dirty),
        swap_bytes: size(before.swap, now.swap),
        pattern: segment.pattern.map(Into::into),
        mapped_by: segment.mapped_by.as_ref().map(|by| mapped_by(by, id)),
        paths: segment.paths.iter().map(|path| report_path(path, id)).collect(),
        unexplained: segment.residuals.iter().map(|rest| unexplained(rest, id)).collect(),
        rewritten: segment.rewritten.as_deref().map(super::rewrites::rewritten).map(Box::new),
        ..shown(now)
    }
}

fn mapped_by(by: &MappedBy, id: &mut impl FnMut(StackRef) -> StackId) -> report::MappedBy {
    report::MappedBy {
        call: by.call.into(),
        stack: by.stack.map(id),
        pid: by.pid,
        tid: by.tid,
        at_ns: by.at_ns,
    }
}

pub(super) fn report_path(
    path: &PathShare,
    id: &mut impl FnMut(StackRef) -> StackId,
) -> report::Path {
    report::Path {
        stack: path.stack.map(id),
        cause: path.cause.into(),
        rss_bytes: path.rss,
        dirty_bytes: path.dirty,
        touched_bytes: path.touched,
        faults: path.faults,
        first_ns: path.first_ns,
        last_ns: path.last_ns,
        tids: path.tids.clone(),
        retained_bytes: path.retained,
        growth: None,
        rewrites: path.rewrites,
        rewritten_bytes: path.rewritten,
    }
}

fn unexplained(rest: &Residual, id: &mut impl FnMut(StackRef) -> StackId) -> report::Unexplained {
    report::Unexplained {
        reason: rest.reason.into(),
        rss_bytes: rest.rss,
        dirty_bytes: rest.dirty,
        candidates: rest.candidates.iter().copied().map(id).collect(),
    }
}
