//! The maps of this runtime.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray},
};
use rmap_ebpf::abi::{
    self, PYTHON_FRAMES, PYTHON_STATE_BYTES, PythonCodeRecord, PythonConfig, PythonStackRecord,
    PythonTableRecord,
};

use crate::state::SeenSet;

/// What is known of the CPython of the processes of each place.
#[map]
pub static PYTHON: Array<PythonConfig> =
    Array::with_max_entries(abi::MAPPING_SLOTS, BPF_F_MMAPABLE);

/// Names of code objects that user space has, as `SEEN` of stacks.
#[map]
pub static SEEN_CODE: Array<SeenSet> = Array::with_max_entries(SEEN_CODE_SETS, 0);

/// How many sets there are: a power of two.
pub const SEEN_CODE_SETS: u32 = 1 << 12;

/// Where Python frames are walked, by [`crate::state::Place`].
#[map]
pub static ROOMS: PerCpuArray<Room> = PerCpuArray::with_max_entries(abi::PLACES_WALKED, 0);

/// Words of a page.
pub const PAGE_WORDS: usize = 512;
/// Words of a code object that are read: up to the line table.
pub const HEAD_WORDS: usize = 18;

/// Memory of this CPU in which one walk takes place.
#[repr(C)]
pub struct Room {
    /// The frame that is looked at next.
    pub frame: u64,
    /// The thread's stack pointer.
    pub sp: u64,
    /// The address space.
    pub mm: u64,
    /// Where the thread's frames end.
    pub top: u64,
    /// The C frame that `c_frame` is a copy of; 0: none.
    pub c_at: u64,
    /// The C frame of the loop whose frames are walked; 0: not known.
    pub boundary: u64,
    /// Not 0: the next frame is the innermost one of its loop.
    pub fresh: u64,
    /// The page of which `window` has the beginning.
    pub window_at: u64,
    /// How much of it.
    pub window_bytes: u64,
    /// Hash sum of the frames.
    pub sum: u64,
    /// One of the `PYTHON_` statuses.
    pub status: u32,
    /// How many frames `record` has.
    pub count: u32,
    /// Which frame's code is defined next.
    pub next: u32,
    /// Which piece of its line table; 0: none yet.
    pub piece: u32,
    /// CPython's minor version.
    pub minor: u32,
    /// Not used.
    pub reserved: u32,
    /// Not 0: a definition found no room.
    pub failed: u64,
    /// The thread state.
    pub state: [u64; (PYTHON_STATE_BYTES / 8) as usize],
    /// A C frame of the evaluation loop.
    pub c_frame: [u64; 4],
    /// A code object.
    pub head: [u64; HEAD_WORDS],
    /// The head of another object.
    pub object: [u64; 4],
    /// A page of frames, then a single frame.
    pub window: [u64; 2 * PAGE_WORDS],
    /// The addresses of the frames' code objects.
    pub codes: [u64; PYTHON_FRAMES + 1],
    /// The frames.
    pub record: PythonStackRecord,
    /// A definition.
    pub code: PythonCodeRecord,
    /// A piece of a line table.
    pub table: PythonTableRecord,
}
