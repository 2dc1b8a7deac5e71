//! Equal stacks of several processes, stated once.
//!
//! Comes in: a report. Goes out: the same one in which stacks of different processes that have the same
//! frames have one id. Each process loads its files at other addresses, so a program that ran five
//! hundred times has each of its stacks five hundred times until then. Stacks of one process stay apart,
//! as they are: within a process each id is a path of its own.

use rustc_hash::FxHashMap;

use super::{Process, Report, Stack, StackId};

/// What a stack is, beside its id.
type Key<'a> = (bool, &'a [super::Frame]);

/// States equal stacks once, and gives back the new id of each where there are fewer now.
pub fn merge_stacks(report: &mut Report) -> FxHashMap<StackId, StackId> {
    let mut by_frames: FxHashMap<Key<'_>, usize> = FxHashMap::default();
    // Most that are the same lie at one place already.
    let mut by_address: FxHashMap<(bool, usize), usize> = FxHashMap::default();
    let mut kinds: FxHashMap<StackId, usize> = FxHashMap::default();
    for stack in &report.stacks {
        let kind =
            *by_address.entry((stack.complete, stack.frames.address())).or_insert_with(|| {
                let next = by_frames.len();
                *by_frames.entry((stack.complete, &stack.frames)).or_insert(next)
            });
        kinds.insert(stack.id, kind);
    }
    if by_frames.len() == report.stacks.len() {
        return FxHashMap::default();
    }
    // The stacks of each kind that are kept: the n-th of a process is the n-th of them.
    let mut kept: Vec<Vec<StackId>> = vec![Vec::new(); by_frames.len()];
    let mut renamed: FxHashMap<StackId, StackId> = FxHashMap::default();
    for process in &mut report.processes {
        let mut used: FxHashMap<usize, usize> = FxHashMap::default();
        let mut own: FxHashMap<StackId, StackId> = FxHashMap::default();
        each_id(process, &mut |id| {
            *id = *own.entry(*id).or_insert_with(|| {
                let Some(kind) = kinds.get(id) else { return *id };
                let nth = used.entry(*kind).or_default();
                let of_kind = &mut kept[*kind];
                if of_kind.len() == *nth {
                    of_kind.push(*id);
                }
                let new = of_kind[*nth];
                *nth += 1;
                renamed.insert(*id, new);
                new
            });
        });
    }
    let mut left: Vec<StackId> = kept.into_iter().flatten().collect();
    left.sort_unstable();
    left.dedup();
    // Ids are numbers in a row.
    let places: FxHashMap<StackId, StackId> = left
        .iter()
        .enumerate()
        .map(|(place, id)| (*id, StackId(u32::try_from(place).unwrap_or(u32::MAX))))
        .collect();
    for process in &mut report.processes {
        each_id(process, &mut |id| *id = places.get(id).copied().unwrap_or(*id));
    }
    let stacks = std::mem::take(&mut report.stacks).into_iter();
    report.stacks =
        stacks.filter_map(|stack| Some(Stack { id: *places.get(&stack.id)?, ..stack })).collect();
    renamed.values_mut().for_each(|id| *id = places.get(id).copied().unwrap_or(*id));
    renamed
}

/// Hands every id that a process names to `change`, in one order.
fn each_id(process: &mut Process, change: &mut dyn FnMut(&mut StackId)) {
    for segment in &mut process.segments {
        let mapped = segment.mapped_by.iter_mut().filter_map(|by| by.stack.as_mut());
        let paths = segment.paths.iter_mut().filter_map(|path| path.stack.as_mut());
        let candidates = segment.unexplained.iter_mut().flat_map(|rest| &mut rest.candidates);
        mapped.chain(paths).chain(candidates).for_each(&mut *change);
    }
    let peak = process.peak.iter_mut().flat_map(|peak| &mut peak.paths);
    let peak = peak.filter_map(|path| path.stack.as_mut());
    let gone = process.gone.iter_mut().filter_map(|gone| gone.stack.as_mut());
    let released = process.released.iter_mut().filter_map(|released| released.stack.as_mut());
    let went = process.window.iter_mut().flat_map(|window| &mut window.given_back);
    let went = went.filter_map(|went| went.stack.as_mut());
    let grew = process.growth.iter_mut().flat_map(|grew| &mut grew.stacks);
    let curves = process.curves.paths.iter_mut().filter_map(|curve| curve.stack.as_mut());
    let gone = gone.chain(grew).chain(curves);
    let live = process.malloc.iter_mut().flat_map(|malloc| &mut malloc.paths);
    let live = live.filter_map(|path| path.stack.as_mut());
    peak.chain(gone).chain(released).chain(went).chain(live).for_each(change);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cause, Frame, Gone, Named};

    fn report(stacks: &[(u32, &str)], processes: &[&[u32]]) -> Report {
        let mut report: Report =
            serde_json::from_str(include_str!("../../tests/view/golden/empty.json")).unwrap();
        let stack = |(id, name): &(u32, &str)| Stack {
            id: StackId(*id),
            complete: true,
            frames: vec![Frame::at(name, 16)].into(),
        };
        let gone = |id: &u32| Gone {
            stack: Some(StackId(*id)),
            cause: Named::from(Cause::FirstWrite),
            touched_bytes: 4096,
            segments: 1,
        };
        report.stacks = stacks.iter().map(stack).collect();
        report.processes = processes
            .iter()
            .map(|ids| Process { gone: ids.iter().map(gone).collect(), ..process() })
            .collect();
        report
    }

    fn process() -> Process {
        serde_json::from_value(serde_json::json!({
            "pid": 1, "parent_pid": 0, "command": "", "exe": "", "started_ns": 0, "ended_ns": null,
            "snapshot": "none", "rss_bytes": {"before": 0, "after": 0},
            "dirty_bytes": {"before": 0, "after": 0}, "swap_bytes": {"before": 0, "after": 0},
            "peak_rss_bytes": 0, "segments": [], "gone": [], "released": []
        }))
        .unwrap()
    }

    fn ids(report: &Report) -> Vec<Vec<u32>> {
        let of = |process: &Process| process.gone.iter().filter_map(|g| Some(g.stack?.0)).collect();
        report.processes.iter().map(of).collect()
    }

    #[test]
    fn equal_stacks_of_several_processes_are_one() {
        let all = [(0, "a"), (1, "b"), (2, "a"), (3, "c"), (4, "b")];
        let mut merged = report(&all, &[&[0, 1], &[2, 3, 4]]);
        let renamed = merge_stacks(&mut merged);
        assert_eq!(ids(&merged), [vec![0, 1], vec![0, 2, 1]]);
        let names: Vec<_> =
            merged.stacks.iter().map(|s| (s.id.0, s.frames[0].module.as_str())).collect();
        assert_eq!(names, [(0, "a"), (1, "b"), (2, "c")]);
        assert_eq!(renamed[&StackId(4)], StackId(1));
    }

    #[test]
    fn equal_stacks_of_one_process_stay_apart() {
        let mut merged = report(&[(0, "a"), (1, "a"), (2, "a")], &[&[0, 1], &[2]]);
        merge_stacks(&mut merged);
        assert_eq!(ids(&merged), [vec![0, 1], vec![0]]);
        assert_eq!(merged.stacks.len(), 2);
    }

    #[test]
    fn what_has_no_equals_stays_as_it_is() {
        let before = report(&[(0, "a"), (1, "b")], &[&[1], &[0]]);
        let mut merged = before.clone();
        assert!(merge_stacks(&mut merged).is_empty());
        assert_eq!(merged, before);
    }
}
