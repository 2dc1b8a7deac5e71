//! Walks a user stack in user space, by the very steps of the kernel side.
//!
//! Comes in: registers, the mappings and slabs of a process, and a function that reads its
//! memory, be it live or a copy. Goes out: the instruction addresses and how the walk ended.

use super::layout::Slabs;
use crate::trace::StackEnd;
use rmap_ebpf::abi::{
    MAX_FRAMES, Mapping, REG_BP, REG_BX, REG_SP, REGISTERS, Rule, SLAB_JIT, SLAB_PENDING,
    SLAB_WORDS, SPECIAL_JIT, SPECIAL_NO_MAPPING, STACK_TRUNCATED,
};
use rmap_ebpf::logic::unwind::{Env, Frame, STEP_NEXT, advance};
use rmap_ebpf::logic::unwind_row::{ROW_NONE, find_row, special_row};

/// The registers of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// rip.
    pub ip: u64,
    /// The others, by their numbers as of [`rmap_ebpf::abi::REG_BP`].
    pub general: [u64; REGISTERS as usize],
}

impl Registers {
    /// rsp.
    #[must_use]
    pub const fn sp(&self) -> u64 {
        self.general[REG_SP as usize]
    }
}

/// A walked stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Instruction addresses, innermost first: the first one is the instruction itself, the
    /// others are return addresses, or again exact below a signal handler's trampoline.
    pub ips: Vec<u64>,
    /// Each frame's stack pointer, in bytes above the innermost one's; [`u32::MAX`] where it is
    /// another stack.
    pub offsets: Vec<u32>,
    /// How the walk ended.
    pub end: StackEnd,
}

/// Where tables lie: this process's own memory, or what it shares with the kernel side.
pub trait Source {
    /// One slab.
    fn slab(&self, number: u32) -> Option<&[u32; SLAB_WORDS]>;
    /// The rules, by their number.
    fn rules(&self) -> &[Rule];
}

impl Source for Slabs {
    fn slab(&self, number: u32) -> Option<&[u32; SLAB_WORDS]> {
        Self::slab(self, number)
    }

    fn rules(&self) -> &[Rule] {
        self.layout().rules()
    }
}

/// The executable memory of a process.
pub struct Space<'a> {
    slabs: &'a dyn Source,
    mappings: Vec<Mapping>,
}

impl<'a> Space<'a> {
    /// Puts the mappings in order. They must not overlap.
    #[must_use]
    pub fn new(slabs: &'a dyn Source, mut mappings: Vec<Mapping>) -> Self {
        mappings.sort_unstable_by_key(|mapping| mapping.start);
        Self { slabs, mappings }
    }

    /// The row that holds at an address.
    #[must_use]
    pub fn row(&self, address: u64) -> u32 {
        let above = self.mappings.partition_point(|mapping| mapping.start <= address);
        let mapping = above.checked_sub(1).and_then(|n| self.mappings.get(n));
        match mapping.filter(|mapping| address < mapping.end) {
            None => special_row(SPECIAL_NO_MAPPING),
            Some(mapping) => match mapping.slab {
                SLAB_PENDING => special_row(SPECIAL_NO_MAPPING),
                SLAB_JIT => special_row(SPECIAL_JIT),
                slab => self.slabs.slab(slab).map_or(ROW_NONE, |s| find_row(s, mapping, address)),
            },
        }
    }
}

struct Host<'a, R> {
    space: &'a Space<'a>,
    registers: &'a Registers,
    read: R,
}

impl<R: FnMut(u64) -> Option<u64>> Env for Host<'_, R> {
    fn row(&mut self, address: u64) -> u32 {
        self.space.row(address)
    }

    fn rule(&mut self, index: u32) -> Option<Rule> {
        self.space.slabs.rules().get(index as usize).copied()
    }

    fn register(&mut self, number: u32) -> Option<u64> {
        self.registers.general.get(number as usize).copied()
    }

    fn read(&mut self, address: u64) -> Option<u64> {
        (self.read)(address)
    }
}

/// Walks from `registers` to the outermost frame, or to [`MAX_FRAMES`] frames. `read` gives eight
/// bytes of the thread's memory; it is asked for code too, where a return address is guessed.
pub fn walk(
    registers: &Registers,
    space: &Space<'_>,
    read: impl FnMut(u64) -> Option<u64>,
) -> Walk {
    let general = |number: u8| registers.general.get(usize::from(number)).copied().unwrap_or(0);
    let mut frame =
        Frame::innermost(registers.ip, general(REG_SP), general(REG_BP), general(REG_BX));
    let mut env = Host { space, registers, read };
    let mut ips = vec![frame.ip];
    let mut offsets = vec![0];
    let end = loop {
        match advance(&mut env, &mut frame) {
            STEP_NEXT if ips.len() >= MAX_FRAMES => break STACK_TRUNCATED,
            STEP_NEXT => {
                ips.push(frame.ip);
                let offset = frame.sp.wrapping_sub(registers.sp());
                offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
            }
            status => break status,
        }
    };
    Walk { ips, offsets, end: StackEnd::of_status(end) }
}
