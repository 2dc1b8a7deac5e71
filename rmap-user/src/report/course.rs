//! The course of a session: how the sizes of its processes moved, and its faults one by one.
//!
//! Comes in: nothing; `recording` fills it from a recording, since a report tells the end alone.
//! Goes out: plain data in the units of [`super::Report`], beside which it stands: processes are in
//! the same order, and stacks have the same ids.

use rustc_hash::FxHashMap;

use super::StackId;

/// The course of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// One for each process of the report.
    pub processes: Vec<ProcessCourse>,
}

impl Course {
    /// Gives stacks the ids that they have in the report now.
    pub fn rename(&mut self, renamed: &FxHashMap<StackId, StackId>) {
        let faults = self.processes.iter_mut().flat_map(|process| &mut process.faults);
        for stack in faults.filter_map(|fault| fault.stack.as_mut()) {
            *stack = renamed.get(stack).copied().unwrap_or(*stack);
        }
    }
}

/// The course of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessCourse {
    /// Its sizes whenever they moved, in the order of time. At a snapshot they are those of smaps;
    /// in between they are reckoned from what its faults brought and the kernel's counters tell.
    pub sizes: Vec<SizesAt>,
    /// Its faults, in the order of time.
    pub faults: Vec<FaultAt>,
}

/// Sizes at a moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizesAt {
    /// Since the start of the session.
    pub at_ns: u64,
    /// Resident anonymous memory (`MM_ANONPAGES`).
    pub anon: u64,
    /// Resident pages of files (`MM_FILEPAGES`).
    pub file: u64,
    /// Resident shared memory (`MM_SHMEMPAGES`).
    pub shmem: u64,
    /// In swap (`MM_SWAPENTS`).
    pub swap: u64,
    /// Dirty; told by snapshots alone.
    pub dirty: Option<u64>,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAt {
    /// When it was done, since the start of the session.
    pub at_ns: u64,
    /// The thread.
    pub tid: u32,
    /// The address.
    pub address: u64,
    /// Its part of what its code path touched in the segment: that, shared out over its faults.
    pub bytes: u64,
    /// The code path, if the report names it.
    pub stack: Option<StackId>,
}
