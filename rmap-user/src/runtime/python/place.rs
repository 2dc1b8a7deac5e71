//! Where runs of Python frames belong in a user stack.
//!
//! Comes in: Python frames, innermost first, of which the outermost of each run says where an object
//! in its evaluation loop's C frame lies; and by how much each user frame's stack pointer is above
//! the innermost one's. Goes out: runs, each with the user frame in whose place it stands.
//!
//! Frame `i` covers what lies from its own stack pointer to that of its caller. A run of which the
//! object lies in no such range, or out of order, stays without a place: it is never guessed. The
//! outermost user frame takes none, since nobody knows where it ends.

use crate::trace::{PythonFrame, Run};

/// Runs of Python frames, innermost first, with their places among user frames. `offsets`: bytes from
/// the innermost user frame's stack pointer, [`u32::MAX`] for one on another stack; none: they are
/// not known.
#[must_use]
pub fn place(frames: &[PythonFrame], offsets: &[u32]) -> Vec<Run> {
    let mut next = 0;
    frames
        .chunk_by(|one, _| one.end.is_none())
        .map(|run| {
            let object = run.last().and_then(|frame| frame.end).flatten();
            let place = object.and_then(|object| covering(offsets, object, next));
            if let Some(place) = place {
                next = place + 1;
            }
            let frames = run.iter().map(|frame| (frame.code, frame.at)).collect();
            Run { place: place.and_then(|place| u8::try_from(place).ok()), frames }
        })
        .collect()
}

/// The user frame, from `first` on, that covers an object.
fn covering(offsets: &[u32], object: u64, first: usize) -> Option<usize> {
    let covers = |index: usize| {
        let (own, caller) = (offsets.get(index)?, offsets.get(index + 1)?);
        let known = *own != u32::MAX && *caller != u32::MAX;
        (known && (u64::from(*own)..u64::from(*caller)).contains(&object)).then_some(index)
    };
    (first..offsets.len().saturating_sub(1)).find_map(covers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::CodeId;
    use proptest::prelude::*;

    fn frame(code: u64, end: Option<Option<u64>>) -> PythonFrame {
        PythonFrame { code: CodeId(code), at: 0, end }
    }

    fn places(frames: &[PythonFrame], offsets: &[u32]) -> Vec<(Option<u8>, usize)> {
        place(frames, offsets).iter().map(|run| (run.place, run.frames.len())).collect()
    }

    #[test]
    fn runs_stand_in_place_of_the_frames_that_hold_their_loops() {
        let frames = [frame(1, None), frame(2, Some(Some(72))), frame(3, Some(Some(500)))];
        assert_eq!(places(&frames, &[0, 64, 128, 480, 600]), [(Some(1), 2), (Some(3), 1)]);
        assert_eq!(
            places(&frames, &[0, 64, 128, 480]),
            [(Some(1), 2), (None, 1)],
            "the last frame"
        );
        assert_eq!(places(&frames, &[]), [(None, 2), (None, 1)]);
    }

    #[test]
    fn a_run_without_an_end_or_out_of_order_has_no_place() {
        let cut = [frame(1, Some(Some(72))), frame(2, None)];
        assert_eq!(places(&cut, &[0, 64, 128, 480]), [(Some(1), 1), (None, 1)]);
        let twice = [frame(1, Some(Some(72))), frame(2, Some(Some(80)))];
        assert_eq!(places(&twice, &[0, 64, 128, 480]), [(Some(1), 1), (None, 1)]);
        let unknown = [frame(1, Some(None)), frame(2, Some(Some(200)))];
        assert_eq!(places(&unknown, &[0, 64, 128, 480]), [(None, 1), (Some(2), 1)]);
        let other = [frame(1, Some(Some(100)))];
        assert_eq!(places(&other, &[0, 64, u32::MAX, 480]), [(None, 1)], "another stack");
    }

    proptest! {
        #[test]
        fn places_rise_and_cover_their_objects(
            frames in prop::collection::vec((any::<bool>(), 0u64..4000), 0..40),
            offsets in prop::collection::vec(0u32..4000, 0..40),
        ) {
            let frames: Vec<PythonFrame> =
                frames.iter().map(|(ends, at)| frame(0, ends.then_some(Some(*at)))).collect();
            let runs = place(&frames, &offsets);
            prop_assert_eq!(runs.iter().map(|run| run.frames.len()).sum::<usize>(), frames.len());
            let placed: Vec<u8> = runs.iter().filter_map(|run| run.place).collect();
            prop_assert!(placed.is_sorted_by(|a, b| a < b));
            prop_assert!(placed.iter().all(|place| usize::from(*place) + 1 < offsets.len()));
        }
    }
}
