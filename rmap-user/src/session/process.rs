//! What a session keeps of each process besides its address space.
//!
//! Comes in: facts, snapshots, and what they were attributed to. Goes out: sizes before and through the
//! snapshots, and the process at its latest snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::attribution::{self, Attributed, History, RewriteTotals, Sizes};
use crate::model::{AddressSpace, Blocks, How, Ledger, PAGE, Path};
use crate::report::SnapshotKind;
use crate::trace::{Heap, MmKey, Moment, ProcessFacts, Segment, Snapshot, Thread};

/// One process.
#[derive(Default)]
pub(super) struct Case {
    pub facts: ProcessFacts,
    /// The segments when tracing of the process began; empty if it began with the process, or when its
    /// memory has ended.
    pub before: Vec<Segment>,
    /// Their sizes together.
    pub began_with: Sizes,
    /// The highest `VmHWM` of its snapshots, bytes.
    pub peak_rss: u64,
    /// Threads that snapshots have shown, by their ids.
    pub threads: BTreeMap<u32, Thread>,
    /// `None`: no snapshot yet, and it goes on.
    pub result: Option<AtSnapshot>,
    /// The segments of the latest snapshot, of which kind it ever was; empty when it has ended.
    pub last: Vec<Segment>,
    /// [`PageOwners::change_count`](crate::model::PageOwners::change_count) at `result`.
    pub seen_changes: u64,
    history: FxHashMap<u64, History>,
    /// What watching its memory for writes came to.
    pub rewrites: Option<RewriteTotals>,
}

/// A process at its latest snapshot.
#[derive(Clone, Debug)]
pub(super) struct AtSnapshot {
    pub kind: SnapshotKind,
    /// On `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The address space that was looked at.
    pub key: Option<MmKey>,
    pub segments: Arc<[attribution::Segment]>,
    pub ledger: Ledger,
    /// What the allocator held, if its structures were read.
    pub heap: Option<Arc<Heap>>,
    /// The picked blocks of its allocator.
    pub blocks: Blocks,
}

impl AtSnapshot {
    /// A process that no snapshot has shown.
    pub(super) fn none(time_ns: u64, ledger: Ledger) -> Self {
        let (kind, key, segments) = (SnapshotKind::None, None, Arc::default());
        Self { kind, time_ns, key, segments, ledger, heap: None, blocks: Blocks::default() }
    }
}

/// Names of so many threads are kept of a process: one may make and end them without end.
const MOST_THREADS: usize = 1 << 16;

impl Case {
    /// Keeps the names of threads that have ended, and where the stacks are of those that live.
    pub(super) fn meet_threads(&mut self, snapshot: &Snapshot) {
        if snapshot.moment == Moment::Executed {
            self.threads.clear();
        }
        if snapshot.threads.is_empty() {
            return;
        }
        self.threads.values_mut().for_each(|thread| thread.stack_pointer = None);
        for thread in &snapshot.threads {
            if self.threads.len() < MOST_THREADS || self.threads.contains_key(&thread.tid) {
                self.threads.insert(thread.tid, thread.clone());
            }
        }
    }

    /// How a segment went through the snapshots.
    pub(super) fn history(&self, segment: &Segment) -> History {
        self.history.get(&history_key(segment)).copied().unwrap_or_default()
    }

    /// Adds the sizes of a snapshot to the history of its segments.
    pub(super) fn count(&mut self, snapshot: &Snapshot) {
        // A snapshot that was taken because memory rose would make all of it look as if it grew.
        let apart = [Moment::Forked, Moment::Executed, Moment::Risen].contains(&snapshot.moment);
        for segment in snapshot.segments.iter().filter(|_| !apart) {
            let history = self.history.entry(history_key(segment)).or_default();
            history.rss.add(segment.rss);
            history.dirty.add(segment.dirty);
        }
        if snapshot.moment.begins() {
            self.before.clone_from(&snapshot.segments);
            self.began_with = Sizes::default();
            self.before.iter().for_each(|segment| self.began_with.add(segment));
        }
    }

    /// Keeps what a snapshot shows, so that the state after it is known by name.
    pub(super) fn keep(&mut self, snapshot: &Snapshot) {
        if snapshot.moment == Moment::AtExit {
            // With the memory that it took: most processes of a session may have ended.
            self.last = Vec::new();
        } else {
            self.last.clone_from(&snapshot.segments);
        }
    }

    /// Takes what a snapshot shows as the process's latest state. `others`: what went of the memory is
    /// reported with another process. `ends`: the memory ends with this one.
    pub(super) fn see(
        &mut self,
        snapshot: &Snapshot,
        space: &AddressSpace,
        seen: &Attributed,
        others: bool,
        ends: bool,
    ) {
        let mut ledger = Ledger::default();
        if !others {
            fill(&mut ledger, space, seen);
        }
        self.seen_changes = space.owners().change_count();
        let rss: u64 = seen.segments.iter().map(|segment| segment.shown.rss).sum();
        if ends && rss > 0 {
            ledger.released.insert((None, How::Exit), rss);
        }
        self.result = Some(AtSnapshot {
            kind: kind(snapshot.moment),
            time_ns: snapshot.time_ns,
            key: (!others).then(|| space.key()),
            segments: seen.segments.as_slice().into(),
            ledger,
            heap: None,
            blocks: if others { Blocks::default() } else { space.blocks().clone() },
        });
        if ends {
            // Nothing comes behind it.
            self.history = FxHashMap::default();
            self.before = Vec::new();
        }
    }

    /// The process has ended with no snapshot at its exit; `ledger` is what is left of its space.
    pub(super) fn end(&mut self, ledger: Ledger, blocks: Blocks, time_ns: u64) {
        match &mut self.result {
            Some(last) => {
                last.ledger.released = ledger.released;
                last.blocks = blocks;
            }
            None => {
                self.result = Some(AtSnapshot { blocks, ..AtSnapshot::none(time_ns, ledger) });
            }
        }
    }
}

/// Adds to a ledger what call paths did in mappings that are gone, and what they freed.
pub(super) fn fill(ledger: &mut Ledger, space: &AddressSpace, seen: &Attributed) {
    for (path, pages, instances) in space.mappings().gone() {
        add_gone(ledger, space.paths().get(path), pages, instances);
    }
    for (path, pages) in &seen.elsewhere {
        add_gone(ledger, space.paths().get(*path), *pages, 1);
    }
    for (stack, how, bytes) in space.released() {
        *ledger.released.entry((stack, how)).or_default() += bytes;
    }
}

/// What the report says of a snapshot of that moment.
const fn kind(moment: Moment) -> SnapshotKind {
    match moment {
        Moment::AtExit => SnapshotKind::AtExit,
        Moment::Live | Moment::Left => SnapshotKind::Live,
        Moment::Start
        | Moment::StartRunning
        | Moment::Periodic
        | Moment::Risen
        | Moment::Forked
        | Moment::Executed => SnapshotKind::LastPeriodic,
    }
}

/// A segment through the snapshots: by its start, a stack by its end.
fn history_key(segment: &Segment) -> u64 {
    if segment.name == "[stack]" { segment.end } else { segment.start }
}

fn add_gone(ledger: &mut Ledger, path: Option<Path>, pages: u64, instances: u64) {
    if let Some(path) = path.filter(|_| pages > 0) {
        let gone = ledger.gone.entry(path).or_default();
        gone.0 += pages * PAGE;
        gone.1 += instances;
    }
}
