//! Whether a stack is one that was walked before, without another walk.
//!
//! A walk depends on the registers that it starts from, on the tables, and on the words that it
//! reads; nothing else. So a walk that is to be repeated leaves a [`Trace`] of what it read, and
//! a [`Memory`] of it is made. Where the tables, the registers that counted and every one of those
//! words are the same, another walk would end with the same addresses: its hash is known, whichever
//! thread it is.
//!
//! A program comes to its stacks in turns, so many are remembered: a [`Set`] for each of the places
//! that the innermost frame and its stack pointer give.
//!
//! Comes in: traces, registers, a copy of the stack. Goes out: yes or no. All indices are masked, as
//! the kernel's verifier demands, and no loop is here that it would have to follow: the callers turn.

use super::hash;
use super::unwind::{FRAME_BP_USED, FRAME_BX_USED, FRAME_REGISTERS_USED, Frame};

/// Most words that a remembered walk has read.
pub const WORDS: usize = 256;
/// Words of the stack in which all of them must lie, from the stack pointer on (8 KiB).
pub const SPAN: usize = 1024;
/// Words of the stack that are looked at first, from the stack pointer on (1 KiB): most stacks that
/// are not the same differ there, and most have no more.
pub const NEAR: usize = 128;
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

/// What a walk starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Start {
    /// The tables: [`crate::abi::Mappings::generation`], which no two lists of mappings share.
    pub generation: u64,
    /// The registers of the innermost frame.
    pub ip: u64,
    /// See `ip`.
    pub sp: u64,
    /// See `ip`; counts only for a walk that used it.
    pub bp: u64,
    /// See `ip`; counts only for a walk that used it.
    pub bx: u64,
}

/// How many [`Set`]s a CPU has: a power of two.
pub const SETS: u32 = 64;
/// How many walks of one [`Set`] are remembered.
pub const WAYS: usize = 2;

impl Start {
    /// Which set its walks are in.
    #[inline(always)]
    #[must_use]
    pub const fn set(&self) -> u32 {
        hash::add(self.ip, self.sp) as u32 & (SETS - 1)
    }
}

/// Walks that start alike.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Set {
    /// The name of the last stack that was not found here.
    pub last: u64,
    /// How many were not found.
    pub missed: u32,
    /// How many were remembered.
    pub taken: u32,
    /// Which bits of `missed` must be 0 for one of them to be remembered, beside the lowest two.
    pub seldom: u32,
    /// Not used; keeps the size a multiple of 8.
    pub reserved: u32,
    /// What is remembered.
    pub ways: [Memory; WAYS],
}

/// [`Set::seldom`] at best and at worst.
const SELDOM: (u32, u32) = (3, 255);
/// From here on a walk that was never found is looked for in one of eight cases only.
const DOUBTFUL: u32 = 15;

impl Set {
    /// Whether it is worth to compare what is in a way: not where stacks drive each other out, as
    /// long as it was never found. A comparison in vain costs a quarter of a short walk.
    #[inline(always)]
    #[must_use]
    pub const fn is_likely(&self, way: usize) -> bool {
        // Not every eighth: of stacks that take turns those would always be the same ones.
        let eighth = self.missed.wrapping_mul(0x9e37_79b9) >> 29 == 0;
        self.ways[way & (WAYS - 1)].found != 0 || self.seldom < DOUBTFUL || eighth
    }

    /// A stack that user space knows was not found here and had to be walked: whether it is to be
    /// remembered, and then in which way. One that comes twice in a row is, and of those that take
    /// turns one now and then. Where there are more of them than ways, copying them costs more than
    /// it saves: what is driven out and was never found makes the next one rarer.
    #[inline(always)]
    pub const fn miss(&mut self, hash: u64) -> Option<usize> {
        let again = self.last == hash;
        self.last = hash;
        self.missed = self.missed.wrapping_add(1);
        if !again && self.missed & (self.seldom | SELDOM.0) != 0 {
            return None;
        }
        self.taken = self.taken.wrapping_add(1);
        let way = self.taken as usize & (WAYS - 1);
        let driven_out = &self.ways[way];
        self.seldom = if driven_out.count != 0 && driven_out.found == 0 {
            (self.seldom << 1 | 1) & SELDOM.1
        } else {
            0
        };
        Some(way)
    }
}

/// A walk that is remembered.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Memory {
    /// What it started from.
    pub start: Start,
    /// The stack's name.
    pub hash: u64,
    /// Of the last frame: which registers counted.
    pub flags: u32,
    /// How the walk ended.
    pub status: u16,
    /// Words to compare, a multiple of [`AT_ONCE`]; 0: nothing is remembered.
    pub count: u16,
    /// How many turns, from the first one on, have only words among the first [`NEAR`].
    pub near: u32,
    /// Words of the stack, from the stack pointer on, among which they are.
    pub span: u32,
    /// Not 0: it was found since it was taken.
    pub found: u32,
    /// Not used; keeps the size a multiple of 8.
    pub reserved: u32,
    /// The words: values, and distances from the stack pointer in words.
    pub values: [u64; WORDS],
    /// See `values`.
    pub places: [u16; WORDS],
}

impl Memory {
    /// Whether a walk starts in the same way, as far as it counts.
    #[inline(always)]
    #[must_use]
    pub const fn begins(&self, start: &Start) -> bool {
        self.count != 0
            && self.start.ip == start.ip
            && self.start.sp == start.sp
            && self.start.generation == start.generation
            && (self.flags & FRAME_BP_USED == 0 || self.start.bp == start.bp)
            && (self.flags & FRAME_BX_USED == 0 || self.start.bx == start.bx)
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

    /// Takes the words of turn `turn` of a trace that fits; behind its end the last word again.
    #[inline(always)]
    pub const fn take(&mut self, trace: &Trace, turn: u64) {
        let last = trace.count.wrapping_sub(1);
        let mut places = 0;
        let mut n = 0;
        while n < AT_ONCE {
            let word = turn * AT_ONCE as u64 + n as u64;
            let from = (if word < last { word } else { last }) as usize & (WORDS - 1);
            let to = word as usize & (WORDS - 1);
            let place = trace.places[from];
            self.values[to] = trace.values[from];
            self.places[to] = place;
            places |= place as usize;
            let span = (place as u32 & (SPAN as u32 - 1)) + 1;
            if self.span < span {
                self.span = span;
            }
            n += 1;
        }
        if self.near as u64 == turn && places & !(NEAR - 1) == 0 {
            self.near += 1;
        }
    }

    /// How many turns of [`Memory::take`] a trace needs.
    #[inline(always)]
    #[must_use]
    pub const fn turns(trace: &Trace) -> u64 {
        trace.count.div_ceil(AT_ONCE as u64)
    }

    /// How many turns of [`Memory::same`] compare words that may lie anywhere in the span: those
    /// behind the first `near` ones.
    #[inline(always)]
    #[must_use]
    pub const fn far(&self) -> u32 {
        (self.count as u32 / AT_ONCE as u32).saturating_sub(self.near)
    }
}

#[cfg(test)]
#[path = "repeat_tests.rs"]
mod tests;
