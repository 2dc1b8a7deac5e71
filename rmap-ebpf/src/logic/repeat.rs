//! Whether a thread's stack is still the one that was walked before, without another walk.
//!
//! A walk depends on the registers that it starts from, on the tables, and on the words that it
//! reads; nothing else. So a walk that is to be repeated leaves a [`Trace`] of what it read, and
//! a [`Memory`] of it is made. As long as the registers that counted and every one of those words
//! are the same, another walk would end with the same addresses: its hash is known.
//!
//! Comes in: traces, registers, a copy of the stack. Goes out: yes or no. The tables are the
//! caller's to watch. All indices are masked, as the kernel's verifier demands, and no loop is
//! here: the callers turn.

use super::unwind::{FRAME_BP_USED, FRAME_BX_USED, FRAME_REGISTERS_USED, Frame};

/// Most words that a remembered walk has read.
pub const WORDS: usize = 256;
/// Words of the stack in which all of them must lie, from the stack pointer on (8 KiB).
pub const SPAN: usize = 1024;
/// How many words one turn compares.
pub const AT_ONCE: usize = 4;

/// What a walk has read so far.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Trace {
    /// Where the span begins: the stack pointer, rounded down to a word.
    pub base: u64,
    /// Words read, the ones that did not fit among them.
    pub count: u64,
    /// Not 0 if a word lay outside of the span, or could not be read.
    pub odd: u64,
    /// The words: values, and distances from `base` in words.
    pub values: [u64; WORDS],
    /// See `values`.
    pub places: [u16; WORDS],
}

/// Bits of a distance in bytes from [`Trace::base`] that no aligned word of the span has.
const OUTSIDE: u64 = !(8 * (SPAN as u64 - 1));

impl Trace {
    /// Begins with a walk from `sp`.
    #[inline(always)]
    pub const fn begin(&mut self, sp: u64) {
        self.base = sp & !7;
        self.count = 0;
        self.odd = 0;
    }

    /// A word was read.
    #[inline(always)]
    pub const fn read(&mut self, address: u64, value: u64) {
        let distance = address.wrapping_sub(self.base);
        let slot = self.count as usize & (WORDS - 1);
        self.values[slot] = value;
        self.places[slot] = (distance >> 3) as u16;
        self.odd |= distance & OUTSIDE;
        self.count += 1;
    }

    /// A word could not be read.
    #[inline(always)]
    pub const fn failed(&mut self) {
        self.odd = 1;
    }

    /// Whether the walk that ended with this frame can be remembered.
    #[inline(always)]
    #[must_use]
    pub const fn fits(&self, end: &Frame) -> bool {
        self.odd == 0
            && self.count != 0
            && self.count <= WORDS as u64
            && end.flags & FRAME_REGISTERS_USED == 0
    }
}

/// A walk that is remembered.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Memory {
    /// The registers that it started from.
    pub ip: u64,
    /// See `ip`.
    pub sp: u64,
    /// See `ip`; counts only if `flags` say so.
    pub bp: u64,
    /// See `ip`; counts only if `flags` say so.
    pub bx: u64,
    /// The stack's name.
    pub hash: u64,
    /// Of the last frame: which registers counted.
    pub flags: u32,
    /// How the walk ended.
    pub status: u16,
    /// Words to compare, a multiple of [`AT_ONCE`]; 0: nothing is remembered.
    pub count: u16,
    /// Words of the stack, from the stack pointer on, among which they are.
    pub span: u64,
    /// The words: values, and distances from the stack pointer in words.
    pub values: [u64; WORDS],
    /// See `values`.
    pub places: [u16; WORDS],
}

impl Memory {
    /// Whether the registers are the same, as far as they count.
    #[inline(always)]
    #[must_use]
    pub const fn begins(&self, ip: u64, sp: u64, bp: u64, bx: u64) -> bool {
        self.count != 0
            && self.ip == ip
            && self.sp == sp
            && (self.flags & FRAME_BP_USED == 0 || self.bp == bp)
            && (self.flags & FRAME_BX_USED == 0 || self.bx == bx)
    }

    /// Whether the words of turn `turn` are the same in `stack`, which was read from
    /// `sp & !7` on.
    #[inline(always)]
    #[must_use]
    pub fn same(&self, stack: &[u64; SPAN], turn: u64) -> bool {
        let first = (turn as usize * AT_ONCE) & (WORDS - 1);
        let mut differ = 0;
        let mut n = 0;
        while n < AT_ONCE {
            let word = stack[self.places[first + n] as usize & (SPAN - 1)];
            differ |= word ^ self.values[first + n];
            n += 1;
        }
        differ == 0
    }

    /// Takes word `turn` of a trace that fits; turns behind its end take the last word again.
    #[inline(always)]
    pub const fn take(&mut self, trace: &Trace, turn: u64) {
        let last = trace.count.wrapping_sub(1);
        let from = (if turn < last { turn } else { last }) as usize & (WORDS - 1);
        let to = turn as usize & (WORDS - 1);
        let place = trace.places[from];
        self.values[to] = trace.values[from];
        self.places[to] = place;
        let span = (place as u64 & (SPAN as u64 - 1)) + 1;
        if self.span < span {
            self.span = span;
        }
    }

    /// How many turns of [`Memory::take`] a trace needs.
    #[inline(always)]
    #[must_use]
    pub const fn turns(trace: &Trace) -> u64 {
        (trace.count + AT_ONCE as u64 - 1) & !(AT_ONCE as u64 - 1)
    }
}

#[cfg(test)]
#[path = "repeat_tests.rs"]
mod tests;
