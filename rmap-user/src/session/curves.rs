//! What call paths and segments of a process held through a session.
//!
//! Comes in: the samples of a process, and the addresses of its segments. Goes out: [`Curves`] with a value
//! at each sample. Whether one grows is judged where functions have names: see `insight`.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::samples::ProcessSample;
use crate::model::{Path, StackRef};
use crate::report::{Curves, PathCurve, ProcessPoint, StackId};

/// The curves of a process. What never changed has none.
pub(super) fn curves(
    samples: &[(u64, &ProcessSample)],
    segments: &[Range<u64>],
    number: &mut dyn FnMut(StackRef) -> StackId,
) -> Curves {
    let points = samples.iter().map(|(at_ns, sample)| ProcessPoint {
        at_ns: *at_ns,
        rss_bytes: sample.kinds.resident(),
        pace: sample.pace,
    });
    let mut all: FxHashMap<Path, Vec<u64>> = FxHashMap::default();
    for (at, (_, sample)) in samples.iter().enumerate() {
        for (path, bytes) in &sample.paths {
            // It held nothing where it is not.
            let curve = all.entry(*path).or_insert_with(|| vec![0; samples.len()]);
            if let Some(value) = curve.get_mut(at) {
                *value = *bytes;
            }
        }
    }
    let mut paths: Vec<(Path, Vec<u64>)> =
        all.into_iter().filter(|(_, curve)| changes(curve)).collect();
    paths.sort_by_key(|(path, _)| *path);
    let paths = paths.into_iter().map(|(path, bytes)| PathCurve {
        stack: path.stack.map(&mut *number),
        cause: path.cause,
        bytes,
    });
    Curves {
        points: points.collect(),
        ended: false,
        paths: paths.collect(),
        segments: of_segments(samples, segments),
    }
}

/// What lay at the addresses of each segment. Mappings are split and joined, so each counts where its
/// first byte is, or at the first segment that overlaps it. Both are sorted by address.
fn of_segments(samples: &[(u64, &ProcessSample)], segments: &[Range<u64>]) -> Vec<Vec<u64>> {
    let mut all = vec![vec![0; samples.len()]; segments.len()];
    for (at, (_, sample)) in samples.iter().enumerate() {
        for (range, bytes) in &sample.mappings {
            let place = segments.partition_point(|segment| segment.end <= range.start);
            let overlaps = segments.get(place).is_some_and(|segment| segment.start < range.end);
            let curve = all.get_mut(place).filter(|_| overlaps);
            if let Some(value) = curve.and_then(|curve| curve.get_mut(at)) {
                *value += bytes;
            }
        }
    }
    all.iter_mut().filter(|curve| !changes(curve)).for_each(Vec::clear);
    all
}

fn changes(curve: &[u64]) -> bool {
    curve.windows(2).any(|pair| pair[0] != pair[1])
}
