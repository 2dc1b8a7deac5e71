//! From the thread state along the frames: one turn of `bpf_loop` a frame.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use rmap_ebpf::{
    abi::{self, PythonConfig, PythonFrame},
    logic::{bound, hash, python},
};

use super::maps::{HEAD_WORDS, PAGE_WORDS, Room};
use crate::kernel;

/// Offsets in glibc's `struct pthread` on x86-64, from the thread pointer (`specific_1stblock`,
/// `specific`; 2.34 to 2.43): 32 pairs of a sequence number and a value, then pointers to more.
const FIRST_BLOCK: u64 = 0x310;
const BLOCKS: u64 = 0x510;
const BLOCK: u64 = 32;

/// Frames nearer than this to the end of the data stack lie in its newest part.
const NEAR_TOP: u64 = 32 << 10;
const PAGE: u64 = 8 * PAGE_WORDS as u64;

/// What the loop hands on from turn to turn.
#[repr(C)]
struct State {
    config: *const PythonConfig,
    room: *mut Room,
}

/// Reads user memory into a part of the room; whether it could.
#[inline(always)]
pub fn read<T>(to: *mut T, bytes: u32, from: u64) -> bool {
    // SAFETY: the verifier checks that the target has so many bytes; the helper checks the source.
    unsafe { bpf_probe_read_user(to.cast(), bytes, from as *const c_void) == 0 }
}

/// As [`read`], where the verifier does not know the length: nothing is read of more than `MOST` bytes.
#[inline(always)]
pub fn read_some<T, const MOST: u32>(to: *mut T, bytes: u64, from: u64) -> bool {
    let bytes = bound::at_most::<MOST>(bytes);
    // SAFETY: as above.
    bytes != 0
        && unsafe { bpf_probe_read_user(to.cast(), bytes as u32, from as *const c_void) == 0 }
}

/// Walks the current thread's frames.
#[inline(always)]
pub fn walk(sp: u64, mm: u64, native: u64, config: *mut PythonConfig, room: *mut Room) {
    // SAFETY: this CPU's own slot; programs that use it do not nest.
    let start = unsafe { &mut *room };
    start.sp = sp;
    start.mm = mm;
    start.count = 0;
    start.window_at = 0;
    start.window_bytes = 0;
    start.fresh = 1;
    start.boundary = 0;
    start.c_at = 0;
    start.sum = hash::add(hash::START, native);
    // SAFETY: the map keeps its values in place.
    start.minor = unsafe { (*config).minor };
    start.status = match begin(config, start) {
        Ok(frame) => {
            start.frame = frame;
            u32::from(abi::PYTHON_COMPLETE)
        }
        Err(status) => {
            start.status = u32::from(status);
            return;
        }
    };
    let mut state = State { config, room };
    // SAFETY: the callback has the helper's signature, and its state lives through the call.
    unsafe {
        bpf_loop(2 * abi::PYTHON_FRAMES as u32, turn as *mut c_void, (&raw mut state).cast(), 0)
    };
}

/// The innermost frame, or why there is none.
#[inline(always)]
fn begin(config: *mut PythonConfig, room: &mut Room) -> Result<u64, u16> {
    // SAFETY: the map keeps its values in place.
    let config = unsafe { &mut *config };
    let fs = kernel::thread_pointer();
    if fs == 0 {
        return Err(abi::PYTHON_NO_STATE);
    }
    let mut key = config.key;
    if key == 0 {
        if !read(&raw mut room.object[0], 8, config.key_at) {
            return Err(abi::PYTHON_UNREADABLE);
        }
        if room.object[0] as u32 == 0 {
            return Err(abi::PYTHON_NO_STATE);
        }
        key = (room.object[0] >> 32) as u32 + 1;
        config.key = key;
    }
    let number = u64::from(key - 1);
    let mut at = fs + FIRST_BLOCK + 16 * number + 8;
    if number >= BLOCK {
        if !read(&raw mut room.object[0], 8, fs + BLOCKS + 8 * (number / BLOCK)) {
            return Err(abi::PYTHON_UNREADABLE);
        }
        at = room.object[0] + 16 * (number % BLOCK) + 8;
    }
    if !read(&raw mut room.object[0], 8, at) {
        return Err(abi::PYTHON_UNREADABLE);
    }
    let state = room.object[0];
    if state == 0 {
        return Err(abi::PYTHON_NO_STATE);
    }
    let bytes = u64::from(config.state_bytes);
    if !read_some::<_, { abi::PYTHON_STATE_BYTES }>(room.state.as_mut_ptr(), bytes, state) {
        return Err(abi::PYTHON_UNREADABLE);
    }
    if state_word(room, config.state_thread) != fs {
        return Err(abi::PYTHON_NO_STATE);
    }
    room.top = if config.state_top == 0 { 0 } else { state_word(room, config.state_top) };
    let mut frame = state_word(room, config.state_frame);
    if config.state_loop != 0 {
        let at = state_word(room, config.state_loop);
        if at == 0 || !read(room.c_frame.as_mut_ptr(), 24, at) {
            return Err(abi::PYTHON_NO_FRAME);
        }
        room.c_at = at;
        if config.loop_frame != u32::MAX {
            frame = c_word(room, config.loop_frame);
        }
    }
    if frame == 0 { Err(abi::PYTHON_NO_FRAME) } else { Ok(frame) }
}

#[inline(always)]
fn state_word(room: &Room, offset: u32) -> u64 {
    room.state[(offset as usize >> 3).min(room.state.len() - 1)]
}

#[inline(always)]
fn c_word(room: &Room, offset: u32) -> u64 {
    room.c_frame[(offset as usize >> 3) & 3]
}

#[inline(always)]
pub fn head_word(room: &Room, offset: u32) -> u64 {
    room.head[(offset as usize >> 3).min(HEAD_WORDS - 1)]
}

/// One frame. Returns 1 to end the loop.
unsafe extern "C" fn turn(_: u64, state: *mut c_void) -> i64 {
    // SAFETY: the helper hands on what `walk` gave it.
    let state = unsafe { &mut *state.cast::<State>() };
    // SAFETY: both outlive the loop.
    let (config, room) = unsafe { (&*state.config, &mut *state.room) };
    let status = step(config, room);
    room.status = u32::from(status & 0xff);
    i64::from(status != NEXT)
}

/// The walk goes on. Its low byte is [`abi::PYTHON_TRUNCATED`]: what holds if the turns are used up.
const NEXT: u16 = 0x100 | abi::PYTHON_TRUNCATED;

#[inline(always)]
fn step(config: &PythonConfig, room: &mut Room) -> u16 {
    let frame = room.frame;
    if frame == 0 {
        return abi::PYTHON_COMPLETE;
    }
    if frame & 7 != 0 {
        return abi::PYTHON_OUT_OF_RANGE;
    }
    let Some(base) = locate(config, room, frame) else { return abi::PYTHON_UNREADABLE };
    let previous = window_word(room, base, config.frame_previous);
    let owner = window_word(room, base, config.frame_owner) >> ((config.frame_owner & 7) * 8);
    if config.style == abi::PYTHON_BOUNDARY {
        if owner & 0xff == python::OWNER_INTERPRETER {
            end_run(room, frame);
            room.frame = previous;
            return NEXT;
        }
        if owner & 0xff > python::OWNER_INTERPRETER {
            return abi::PYTHON_OUT_OF_RANGE;
        }
    }
    let index = room.count;
    if index >= abi::PYTHON_FRAMES as u32 {
        return abi::PYTHON_TRUNCATED;
    }
    let code = window_word(room, base, config.frame_code) & !u64::from(config.tag);
    if !read(room.head.as_mut_ptr(), 8 * HEAD_WORDS as u32, code) {
        return abi::PYTHON_NOT_CODE;
    }
    if room.head[1] != config.code_type {
        return abi::PYTHON_NOT_CODE;
    }
    let raw = window_word(room, base, config.frame_at) >> ((config.frame_at & 7) * 8);
    let at = match config.at_kind {
        abi::PYTHON_AT_POINTER => {
            let start = code + u64::from(config.code_start);
            python::at_pointer(raw, start, room.head[2])
        }
        abi::PYTHON_AT_UNITS => python::at_index(raw as i32, 2),
        _ => python::at_index(raw as i32, 1),
    };
    if at == python::NOT_WITHIN {
        return abi::PYTHON_OUT_OF_RANGE;
    }
    let Some(name) = name(config, room, code) else { return abi::PYTHON_UNREADABLE };
    if config.style == abi::PYTHON_ENTRY && room.fresh != 0 {
        room.fresh = 0;
        enter(config, room, frame);
    }
    room.codes[bound::unknown(index) & abi::PYTHON_FRAMES] = code;
    room.record.frames[bound::unknown(index).min(abi::PYTHON_FRAMES - 1)] =
        PythonFrame { code: name, at, end: 0 };
    room.count = index + 1;
    room.sum = hash::add(hash::add(room.sum, name), at as u32 as u64);
    if config.style == abi::PYTHON_OBJECTS {
        let at = room.c_at;
        if at != 0 {
            next_c_frame(config, room);
        }
        end_run(room, at);
    } else if config.style == abi::PYTHON_ENTRY {
        let mark = config.frame_owner.wrapping_sub(1);
        if window_word(room, base, mark) >> ((mark & 7) * 8) & 0xff != 0 {
            let at = room.boundary;
            end_run(room, at);
            room.fresh = 1;
        }
    }
    room.frame = previous;
    NEXT
}

/// The name of a code object of which the head was read.
#[inline(always)]
fn name(config: &PythonConfig, room: &mut Room, code: u64) -> Option<u64> {
    let mut sum = hash::add(hash::add(config.salt, room.mm), code);
    let (name, table) = (head_word(room, config.code_name), head_word(room, config.code_table));
    let line = head_word(room, config.code_line) >> ((config.code_line & 7) * 8);
    sum = hash::add(sum, room.head[2]);
    sum = hash::add(sum, line & 0xffff_ffff);
    sum = hash::add(sum, head_word(room, config.code_file));
    sum = hash::add(sum, name);
    sum = hash::add(sum, table);
    if config.code_version != 0 {
        let version = head_word(room, config.code_version) >> ((config.code_version & 7) * 8);
        return Some(hash::finish(sum, 0) ^ hash::add(hash::START, version & 0xffff_ffff));
    }
    // Code that was made in the place of other code may have the same pointers to other content.
    if !read(room.object.as_mut_ptr(), 16, name + 16) {
        return None;
    }
    sum = hash::add(hash::add(sum, room.object[0]), room.object[1]);
    if !read(room.object.as_mut_ptr(), 32, table + 16) {
        return None;
    }
    sum = hash::add(hash::add(sum, room.object[0]), room.object[2]);
    sum = hash::add(sum, room.object[3]);
    Some(hash::finish(sum, 0))
}

/// The loop whose innermost frame this is has its C frame where the thread's list of them says so.
/// Greenlets leave others in between.
#[inline(always)]
fn enter(config: &PythonConfig, room: &mut Room, frame: u64) {
    room.boundary = 0;
    let mut tries = 0;
    while tries < 2 {
        if room.c_at == 0 {
            return;
        }
        let (at, is) = (room.c_at, c_word(room, config.loop_frame) == frame);
        next_c_frame(config, room);
        if is {
            room.boundary = at;
            return;
        }
        tries += 1;
    }
}

#[inline(always)]
fn next_c_frame(config: &PythonConfig, room: &mut Room) {
    let previous = c_word(room, config.loop_previous);
    room.c_at = 0;
    if previous != 0 && read(room.c_frame.as_mut_ptr(), 24, previous) {
        room.c_at = previous;
    }
}

/// The last frame is the outermost one of its loop, in whose C frame `object` lies; 0: not known.
#[inline(always)]
fn end_run(room: &mut Room, object: u64) {
    let Some(last) = room.count.checked_sub(1) else { return };
    let end = python::end(object, room.sp);
    let frame = &mut room.record.frames[bound::unknown(last).min(abi::PYTHON_FRAMES - 1)];
    if frame.end == 0 {
        frame.end = end;
        room.sum = hash::add(room.sum, u64::from(end));
    }
}

/// The word of the window where a copy of the frame begins.
#[inline(always)]
fn locate(config: &PythonConfig, room: &mut Room, frame: u64) -> Option<usize> {
    let bytes = config.frame_bytes;
    if bytes > abi::PYTHON_FRAME_BYTES {
        return None;
    }
    let (page, inside) = (frame & !(PAGE - 1), frame & (PAGE - 1));
    let end = inside + u64::from(bytes);
    if page == room.window_at && end <= room.window_bytes {
        return Some((inside >> 3) as usize);
    }
    if end <= PAGE && room.top.wrapping_sub(frame) < NEAR_TOP {
        // The frames that come next lie before this one.
        if read_some::<_, { PAGE as u32 }>(room.window.as_mut_ptr(), end, page) {
            room.window_at = page;
            room.window_bytes = end;
            return Some((inside >> 3) as usize);
        }
        return None;
    }
    // SAFETY: the pointer stays inside the window.
    let single = unsafe { room.window.as_mut_ptr().add(PAGE_WORDS) };
    let bytes = u64::from(bytes);
    read_some::<_, { abi::PYTHON_FRAME_BYTES }>(single, bytes, frame).then_some(PAGE_WORDS)
}

#[inline(always)]
fn window_word(room: &Room, base: usize, offset: u32) -> u64 {
    room.window[(base + (offset as usize >> 3)) & (2 * PAGE_WORDS - 1)]
}
