//! Definitions of code objects: names, file and line table, copied while the frame keeps them alive.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use rmap_ebpf::{
    abi::{self, PYTHON_FILE, PYTHON_NAME, PYTHON_PIECE, PythonConfig},
    logic::bound,
};

use super::{
    maps::{HEAD_WORDS, Room, SEEN_CODE, SEEN_CODE_SETS},
    walk::{head_word, read, read_some},
};
use crate::{emit, stack, state::Place};

/// Bytes of a definition before its line table.
const FIXED: u32 = (size_of::<abi::PythonCodeRecord>() - PYTHON_PIECE) as u32;
/// Bytes of a further piece before the table.
const PIECE_FIXED: u32 = (size_of::<abi::PythonTableRecord>() - PYTHON_PIECE) as u32;
/// Most turns: one for each frame, and for the pieces of some long tables.
const TURNS: u32 = abi::PYTHON_FRAMES as u32 + 2 * (abi::PYTHON_TABLE / PYTHON_PIECE as u32);
/// Where the bytes of a `bytes` object begin.
const BYTES_DATA: u64 = 32;

#[repr(C)]
struct State {
    config: *const PythonConfig,
    room: *mut Room,
    wakes: u64,
}

/// Sends what the walked frames name and user space does not have. False if one found no room.
#[inline(always)]
pub fn define(mm: u64, config: *const PythonConfig, room: *mut Room, place: Place) -> bool {
    // SAFETY: this CPU's own slot; programs that use it do not nest.
    let start = unsafe { &mut *room };
    start.next = 0;
    start.piece = 0;
    start.failed = 0;
    start.code.header = emit::header(abi::KIND_PYTHON_CODE, 0, mm);
    start.table.header = emit::header(abi::KIND_PYTHON_TABLE, 0, mm);
    let mut state = State { config, room, wakes: place.wakes() };
    // SAFETY: the callback has the helper's signature, and its state lives through the call.
    unsafe { bpf_loop(TURNS, turn as *mut c_void, (&raw mut state).cast(), 0) };
    // SAFETY: as above.
    unsafe { (&raw const (*room).failed).read_volatile() == 0 }
}

/// One definition, or one further piece of its table. Returns 1 to end the loop.
unsafe extern "C" fn turn(_: u64, state: *mut c_void) -> i64 {
    // SAFETY: the helper hands on what `define` gave it.
    let state = unsafe { &mut *state.cast::<State>() };
    // SAFETY: both outlive the loop.
    let (config, room) = unsafe { (&*state.config, &mut *state.room) };
    let index = room.next;
    if index >= room.count {
        return 1;
    }
    let name = room.record.frames[bound::unknown(index).min(abi::PYTHON_FRAMES - 1)].code;
    let Some(set) = SEEN_CODE.get_ptr_mut(name as u32 & (SEEN_CODE_SETS - 1)) else { return 1 };
    // SAFETY: the map keeps its values in place; as `SEEN` of stacks.
    let set = unsafe { &mut *set };
    if room.piece == 0 {
        if set[0] == name || set[1] == name || set[2] == name || set[3] == name {
            room.next = index + 1;
            return 0;
        }
        let code = room.codes[bound::unknown(index) & abi::PYTHON_FRAMES];
        if !read(room.head.as_mut_ptr(), 8 * HEAD_WORDS as u32, code) {
            room.failed = 1;
            return 1;
        }
        room.code.code = name;
        let line = head_word(room, config.code_line) >> ((config.code_line & 7) * 8);
        room.code.line = line as i32;
        room.code.minor = config.minor as u16;
        let (bytes, width) = text::<{ PYTHON_NAME as u32 }>(config, room, config.code_name, true);
        room.code.name_bytes = bytes;
        room.code.name_width = width;
        let (bytes, width) = text::<{ PYTHON_FILE as u32 }>(config, room, config.code_file, false);
        room.code.file_bytes = bytes;
        room.code.file_width = width;
        let table = head_word(room, config.code_table);
        let mut total = 0;
        if read(room.object.as_mut_ptr(), 8, table + 16) {
            total = room.object[0];
        }
        if total > u64::from(abi::PYTHON_TABLE) {
            total = 0;
        }
        let mut bytes = total as u32;
        if bytes > PYTHON_PIECE as u32 {
            bytes = PYTHON_PIECE as u32;
        }
        let to = room.code.table.as_mut_ptr();
        if bytes != 0 && !read_piece(to, bytes, table + BYTES_DATA) {
            total = 0;
            bytes = 0;
        }
        room.code.table_bytes = total as u32;
        if !stack::send((&raw mut room.code).cast(), FIXED + piece(bytes), state.wakes) {
            room.failed = 1;
            return 1;
        }
        if total > PYTHON_PIECE as u64 {
            room.piece = 1;
            return 0;
        }
    } else {
        let at = room.piece * PYTHON_PIECE as u32;
        let table = head_word(room, config.code_table);
        let mut bytes = room.code.table_bytes.saturating_sub(at);
        if bytes > PYTHON_PIECE as u32 {
            bytes = PYTHON_PIECE as u32;
        }
        if bytes != 0 {
            let to = room.table.table.as_mut_ptr();
            if !read_piece(to, bytes, table + BYTES_DATA + u64::from(at)) {
                room.failed = 1;
                return 1;
            }
            room.table.code = name;
            room.table.at = at;
            room.table.bytes = bytes;
            if !stack::send((&raw mut room.table).cast(), PIECE_FIXED + piece(bytes), state.wakes) {
                room.failed = 1;
                return 1;
            }
            room.piece += 1;
            return 0;
        }
    }
    set[(name >> 14) as usize & 3] = name;
    room.piece = 0;
    room.next = index + 1;
    0
}

/// Bytes of a line table, as the verifier knows them for those of one piece.
#[inline(always)]
fn piece(bytes: u32) -> u32 {
    bound::at_most::<{ PYTHON_PIECE as u32 }>(u64::from(bytes)) as u32
}

/// Reads a piece of a line table; whether it could.
#[inline(always)]
fn read_piece(to: *mut u8, bytes: u32, from: u64) -> bool {
    read_some::<_, { PYTHON_PIECE as u32 }>(to, u64::from(bytes), from)
}

/// Copies a `str` that a code object names: bytes, and bytes of a character.
#[inline(always)]
fn text<const MOST: u32>(
    config: &PythonConfig,
    room: &mut Room,
    member: u32,
    is_name: bool,
) -> (u16, u8) {
    let object = head_word(room, member);
    // Length, hash, state.
    if !read(room.object.as_mut_ptr(), 24, object + 16) {
        return (0, 0);
    }
    let state = room.object[2] as u32;
    let (width, compact, ascii) = (state >> 2 & 7, state >> 5 & 1, state >> 6 & 1);
    if compact == 0 || width == 0 || width > 4 {
        return (0, 0);
    }
    let wanted = room.object[0].wrapping_mul(u64::from(width));
    let mut bytes = wanted as u32;
    if wanted > u64::from(MOST) {
        bytes = MOST;
    }
    let data = if ascii != 0 { config.text_ascii } else { config.text_other };
    let to = if is_name { room.code.name.as_mut_ptr() } else { room.code.file.as_mut_ptr() };
    if !read_some::<_, MOST>(to, u64::from(bytes), object + u64::from(data)) {
        return (0, 0);
    }
    (bytes as u16, width as u8)
}
