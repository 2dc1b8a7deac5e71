//! What the probes count: the indices of the per-CPU array `COUNTERS` (values are `u64`).

/// Records of faults, mappings and processes that found no room in the ring buffer, nor, those of
/// mappings and processes, in the second one.
pub const COUNT_LOST_EVENTS: u32 = 0;
/// Stacks that found no room in the ring buffer.
pub const COUNT_LOST_STACKS: u32 = 1;
/// Faults of traced processes that ended.
pub const COUNT_FAULTS: u32 = 2;
/// Faults of traced processes that changed nothing (zero page, lost races) and were not sent.
pub const COUNT_FAULTS_UNCHANGED: u32 = 3;
/// Faults whose entry was not seen.
pub const COUNT_FAULTS_NO_ENTRY: u32 = 4;
/// Faults that a probe itself caused by reading user memory, and that were left out.
pub const COUNT_FAULTS_NESTED: u32 = 5;
/// Ends of faults of threads for which the kernel had no memory to keep anything; no record of
/// them was sent.
pub const COUNT_BRACKETS_FULL: u32 = 6;
/// Lost records of which not even the address space could be kept.
pub const COUNT_LOST_ANYWHERE: u32 = 7;
/// Records of the allocator's shim that found no room in either ring.
pub const COUNT_LOST_MALLOC: u32 = 8;
/// Stacks of which the walk ended complete, then one counter for each other `STACK_` status in
/// its order.
pub const COUNT_STACK_STATUS: u32 = 16;
/// Walks of Python frames that ended complete, then one counter for each other `PYTHON_` status in
/// its order.
pub const COUNT_PYTHON_STATUS: u32 = 32;
/// How many counters there are.
pub const COUNTERS: u32 = 40;
