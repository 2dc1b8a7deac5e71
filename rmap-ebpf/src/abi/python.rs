//! What the kernel side needs to walk the frames of CPython, and what it sends of them.
//!
//! User space fills one [`PythonConfig`] for each place of [`super::MAPPING_SLOTS`]; `active` is 0
//! where the processes of that place run no Python. Offsets are bytes from the start of CPython's
//! structures, by version (`rmap-user/src/runtime/python/layout.rs`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, MAX_FRAMES};

/// [`Header::kind`] of a [`PythonStackRecord`].
pub const KIND_PYTHON_STACK: u16 = 16;
/// [`Header::kind`] of a [`PythonCodeRecord`].
pub const KIND_PYTHON_CODE: u16 = 17;
/// [`Header::kind`] of a [`PythonTableRecord`].
pub const KIND_PYTHON_TABLE: u16 = 18;
/// [`Header::kind`] of a [`StackPointersRecord`].
pub const KIND_STACK_POINTERS: u16 = 19;

/// Frames are `PyFrameObject`s, each with an evaluation loop of its own: 3.8 to 3.10.
pub const PYTHON_OBJECTS: u32 = 0;
/// The outermost frame of an evaluation loop has a mark: 3.11.
pub const PYTHON_ENTRY: u32 = 1;
/// A frame that is no function's ends each evaluation loop, on the C stack: 3.12 and later.
pub const PYTHON_BOUNDARY: u32 = 2;

/// The instruction is an index into the bytecode, in bytes.
pub const PYTHON_AT_BYTES: u32 = 0;
/// The instruction is an index into the bytecode, in units of two bytes.
pub const PYTHON_AT_UNITS: u32 = 1;
/// The instruction is a pointer into the code object.
pub const PYTHON_AT_POINTER: u32 = 2;

/// Where a process's CPython keeps what a walk reads.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PythonConfig {
    /// Tells code objects of this program from those of others.
    pub salt: u64,
    /// Address of `_PyRuntime.autoTSSkey`: an `int` that is not 0 once the key exists, and the key.
    pub key_at: u64,
    /// Address of `PyCode_Type`.
    pub code_type: u64,
    /// 0: these processes run no Python.
    pub active: u32,
    /// One of `PYTHON_OBJECTS`, `PYTHON_ENTRY`, `PYTHON_BOUNDARY`.
    pub style: u32,
    /// The key plus 1, once the kernel side has read it; else 0.
    pub key: u32,
    /// Bits of a frame's pointer to its code that are no address.
    pub tag: u32,
    /// Bytes of the thread state that are read at once, at most [`PYTHON_STATE_BYTES`].
    pub state_bytes: u32,
    /// Of the thread state: `thread_id`.
    pub state_thread: u32,
    /// Of the thread state: the frame, where `state_loop` is 0.
    pub state_frame: u32,
    /// Of the thread state: the C frame, which leads to the frame; 0: there is none.
    pub state_loop: u32,
    /// Of the thread state: `datastack_top`; 0: frames are objects.
    pub state_top: u32,
    /// Of the C frame: the frame; [`u32::MAX`]: it does not lead to one.
    pub loop_frame: u32,
    /// Of the C frame: the one before.
    pub loop_previous: u32,
    /// Bytes of a frame that are read, at most [`PYTHON_FRAME_BYTES`].
    pub frame_bytes: u32,
    /// Of a frame: its code.
    pub frame_code: u32,
    /// Of a frame: the caller's.
    pub frame_previous: u32,
    /// Of a frame: the instruction.
    pub frame_at: u32,
    /// Of a frame: the byte that says who owns it, and the one with the mark before it.
    pub frame_owner: u32,
    /// One of `PYTHON_AT_BYTES`, `PYTHON_AT_UNITS`, `PYTHON_AT_POINTER`.
    pub at_kind: u32,
    /// Of a code object: the first instruction; its size, where instructions are within it.
    pub code_start: u32,
    /// Of a code object: `co_firstlineno`.
    pub code_line: u32,
    /// Of a code object: `co_filename`.
    pub code_file: u32,
    /// Of a code object: `co_qualname`, or `co_name` where there is none.
    pub code_name: u32,
    /// Of a code object: the line table.
    pub code_table: u32,
    /// Of a code object: `co_version`, which no two code objects share; 0: there is none.
    pub code_version: u32,
    /// Of a `str`: the characters of one that is ASCII.
    pub text_ascii: u32,
    /// Of a `str`: the characters of another one.
    pub text_other: u32,
    /// CPython's minor version: 8 for 3.8.
    pub minor: u32,
}

/// Most bytes of the thread state that are read.
pub const PYTHON_STATE_BYTES: u32 = 320;
/// Most bytes of a frame that are read.
pub const PYTHON_FRAME_BYTES: u32 = 128;
/// Most frames of one stack.
pub const PYTHON_FRAMES: usize = MAX_FRAMES;
/// Most bytes of a name that are sent.
pub const PYTHON_NAME: usize = 256;
/// Most bytes of a file name that are sent.
pub const PYTHON_FILE: usize = 512;
/// Bytes of a line table in one record.
pub const PYTHON_PIECE: usize = 2048;
/// Most bytes of a line table that are sent.
pub const PYTHON_TABLE: u32 = 256 << 10;

/// The walk reached the outermost frame.
pub const PYTHON_COMPLETE: u16 = 0;
/// There are more than [`PYTHON_FRAMES`].
pub const PYTHON_TRUNCATED: u16 = 1;
/// Memory could not be read.
pub const PYTHON_UNREADABLE: u16 = 2;
/// What a frame has in the place of its code is no code object.
pub const PYTHON_NOT_CODE: u16 = 3;
/// A frame is not aligned, or its instruction is not within its code.
pub const PYTHON_OUT_OF_RANGE: u16 = 4;
/// The thread has no thread state, or one of another thread.
pub const PYTHON_NO_STATE: u16 = 5;
/// The thread runs no Python function now.
pub const PYTHON_NO_FRAME: u16 = 6;
/// How many statuses there are.
pub const PYTHON_STATUSES: u32 = 7;

/// One frame of a Python stack.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PythonFrame {
    /// The [`PythonCodeRecord::code`] of what it runs.
    pub code: u64,
    /// The instruction: bytes from the start of the bytecode. Below 0: not begun yet.
    pub at: i32,
    /// 0, or bit 0: the outermost frame of its evaluation loop. Then the rest, times 4, is by how
    /// many bytes an object in the C frame of that loop is above the stack pointer; 0: not known.
    pub end: u32,
}

/// The Python frames of a thread together with its user stack, sent once for each hash.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PythonStackRecord {
    /// `KIND_PYTHON_STACK`.
    pub header: Header,
    /// The hash by which other records name the two together.
    pub hash: u64,
    /// The [`super::StackRecord::hash`] of the user stack, which was sent before.
    pub native: u64,
    /// How the walk ended, one of the `PYTHON_` statuses.
    pub status: u16,
    /// How many of `frames` are set.
    pub count: u16,
    /// CPython's minor version.
    pub minor: u32,
    /// Innermost first.
    pub frames: [PythonFrame; PYTHON_FRAMES],
}

/// A code object, sent when it is first seen.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PythonCodeRecord {
    /// `KIND_PYTHON_CODE`.
    pub header: Header,
    /// Its name: a hash of its address, its address space and its content.
    pub code: u64,
    /// `co_firstlineno`.
    pub line: i32,
    /// CPython's minor version, which says what the table is like.
    pub minor: u16,
    /// Bytes of `name` that are set.
    pub name_bytes: u16,
    /// Bytes of `file` that are set.
    pub file_bytes: u16,
    /// Bytes of a character of `name`: 1, 2 or 4.
    pub name_width: u8,
    /// Bytes of a character of `file`.
    pub file_width: u8,
    /// Bytes of the whole line table.
    pub table_bytes: u32,
    /// The qualified name, or its beginning.
    pub name: [u8; PYTHON_NAME],
    /// The file's name, or its beginning.
    pub file: [u8; PYTHON_FILE],
    /// The line table up to [`PYTHON_PIECE`] bytes; what is more follows.
    pub table: [u8; PYTHON_PIECE],
}

/// A further piece of a line table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PythonTableRecord {
    /// `KIND_PYTHON_TABLE`.
    pub header: Header,
    /// As [`PythonCodeRecord::code`], whose record was sent before.
    pub code: u64,
    /// The first byte's place in the table.
    pub at: u32,
    /// How many bytes are set.
    pub bytes: u32,
    /// The piece.
    pub table: [u8; PYTHON_PIECE],
}

/// Where the frames of a user stack lie, sent before the stack in processes that run Python; there
/// the stack's hash depends on it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackPointersRecord {
    /// `KIND_STACK_POINTERS`.
    pub header: Header,
    /// As [`super::StackRecord::hash`].
    pub hash: u64,
    /// How many of `offsets` are set.
    pub count: u32,
    /// Not used.
    pub reserved: u32,
    /// Each frame's stack pointer: bytes above the innermost one's, [`u32::MAX`] where it is
    /// another stack.
    pub offsets: [u32; MAX_FRAMES],
    /// Not used.
    pub padding: u32,
}

const _: () = assert!(size_of::<PythonConfig>() == 128);
const _: () = assert!(size_of::<PythonFrame>() == 16);
const _: () = assert!(size_of::<PythonStackRecord>() == 56 + 16 * PYTHON_FRAMES);
const _: () =
    assert!(size_of::<PythonCodeRecord>() == 56 + PYTHON_NAME + PYTHON_FILE + PYTHON_PIECE);
const _: () = assert!(size_of::<PythonTableRecord>() == 48 + PYTHON_PIECE);
const _: () = assert!(size_of::<StackPointersRecord>() == 52 + 4 * MAX_FRAMES);
