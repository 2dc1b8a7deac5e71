//! CPython's frames as numbers: where in its code a frame is, and where on the C stack a run of
//! frames ends.

/// `owner` of a frame that is no function's and ends an evaluation loop (CPython
/// `Include/internal/pycore_frame.h`, `FRAME_OWNED_BY_CSTACK`, later `FRAME_OWNED_BY_INTERPRETER`).
pub const OWNER_INTERPRETER: u64 = 3;

/// The instruction is not within the code.
pub const NOT_WITHIN: i32 = i32::MIN;

/// Bytes of code beyond which nothing is believed.
const CODE_MAX: u64 = 1 << 28;

/// Bytes from the first instruction at `start` to the one at `pointer`, of `units` units of two
/// bytes. −2: not begun yet.
#[inline(always)]
#[must_use]
pub const fn at_pointer(pointer: u64, start: u64, units: u64) -> i32 {
    let from_before = pointer.wrapping_sub(start).wrapping_add(2);
    let within = units <= CODE_MAX && from_before < 2 * units + 2 && from_before & 1 == 0;
    if within { from_before as i32 - 2 } else { NOT_WITHIN }
}

/// Bytes from the first instruction to the one with an index, in units of `unit` bytes; −1: not
/// begun yet.
#[inline(always)]
#[must_use]
pub const fn at_index(index: i32, unit: i32) -> i32 {
    if index >= -1 && index < CODE_MAX as i32 { index.wrapping_mul(unit) } else { NOT_WITHIN }
}

/// [`crate::abi::PythonFrame::end`] of a run in whose C frame an object lies; 0 for one that is not
/// known.
#[inline(always)]
#[must_use]
pub const fn end(object: u64, sp: u64) -> u32 {
    let distance = object.wrapping_sub(sp);
    let known = object != 0 && distance < 1 << 33 && distance & 7 == 0;
    if known { (distance >> 2) as u32 | 1 } else { 1 }
}

/// By how many bytes above the stack pointer the object lies that an `end` names; `None` where that
/// is not known.
#[must_use]
pub const fn distance(end: u32) -> Option<u64> {
    let distance = ((end & !1) as u64) << 2;
    if end & 1 == 0 || distance == 0 { None } else { Some(distance) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_lies_within_its_code_or_just_before_it() {
        assert_eq!(at_pointer(1000, 1000, 4), 0);
        assert_eq!(at_pointer(998, 1000, 4), -2, "not begun yet");
        assert_eq!(at_pointer(1006, 1000, 4), 6);
        for outside in [996, 1008, 1001, 0, u64::MAX] {
            assert_eq!(at_pointer(outside, 1000, 4), NOT_WITHIN, "{outside}");
        }
        assert_eq!(at_pointer(1000, 1000, u64::MAX / 2), NOT_WITHIN);
        assert_eq!((at_index(-1, 2), at_index(7, 2), at_index(-5, 1)), (-2, 14, NOT_WITHIN));
    }

    #[test]
    fn an_object_above_the_stack_pointer_is_found_again() {
        for object in [0x7000_0008_u64, 0x7000_1000, 0x7000_0000 + (1 << 33) - 8] {
            assert_eq!(distance(end(object, 0x7000_0000)), Some(object - 0x7000_0000));
        }
        for object in [0, 0x6fff_fff8, 0x7000_0004, 0x7000_0000, u64::MAX] {
            assert_eq!(distance(end(object, 0x7000_0000)), None, "{object:#x}");
        }
        assert_eq!(distance(0), None, "the run goes on");
    }
}
