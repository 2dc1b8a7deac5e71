//! One function, followed from its first instruction along all its ways.
//!
//! Comes in: an address at which a function may begin. Goes out: the rows of its instructions and
//! what it calls; nothing, if one of its ways does not make sense: an instruction that is none, a
//! frame that cannot be followed, or a return with the stack not as it was.
//!
//! Whether a function that is called returns cannot be seen. Behind a call of one that does not,
//! other code follows, with another frame: what is found there that makes no sense was not part of
//! this function, and costs only what is behind the call.

use std::collections::HashSet;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, Register};
use rustc_hash::FxHashMap;

use super::effect::{Next, State};
use crate::unwind::elf::Elf;

/// Most instructions of one function, each counted once for every frame it is met with.
const MAX_NODES: usize = 1 << 16;

/// A file, and which of its code is looked at.
pub struct Known<'a> {
    /// The file.
    pub elf: &'a Elf<'a>,
    /// Addresses before relocation, in order.
    pub uncovered: &'a [Range<u64>],
    /// The functions that call frame information describes.
    pub described: &'a [Range<u64>],
}

impl Known<'_> {
    fn range(&self, address: u64) -> Option<&Range<u64>> {
        let behind = self.uncovered.partition_point(|range| range.start <= address);
        self.uncovered.get(behind.checked_sub(1)?).filter(|range| range.contains(&address))
    }

    /// Whether the code at an address is looked at.
    pub fn covers(&self, address: u64) -> bool {
        self.range(address).is_some()
    }

    fn decode(&self, address: u64) -> Option<Instruction> {
        let end = self.range(address)?.end;
        let bytes = self.elf.bytes_from(address)?;
        let most = usize::try_from(end - address).ok()?.min(bytes.len()).min(15);
        let options = DecoderOptions::NONE;
        let instruction = Decoder::with_ip(64, bytes.get(..most)?, address, options).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Followed {
    /// Instruction, first byte behind it, and its row; `None` where it is met with two frames.
    pub rows: Vec<(u64, u64, Option<u32>)>,
    /// Where other functions begin.
    pub found: Vec<u64>,
}

/// One instruction, met with one frame.
struct Node {
    at: u64,
    end: u64,
    row: Option<u32>,
    /// Makes no sense, or leads to what makes none.
    bad: bool,
    /// Leads back to the caller, or to another function that will.
    returns: bool,
    /// Does nothing.
    filling: bool,
    /// What comes next for sure, and what comes next if a call returns.
    hard: Vec<u32>,
    soft: Option<u32>,
    found: Option<u64>,
}

/// Follows the function at `root`. `sure` are addresses where functions begin.
pub fn follow(
    known: &Known<'_>,
    root: u64,
    sure: &HashSet<u64>,
    left: &mut usize,
) -> Option<Followed> {
    let mut graph = Graph { nodes: Vec::new(), numbers: FxHashMap::default(), queue: Vec::new() };
    graph.number(root, State::ENTRY);
    let mut info = InstructionInfoFactory::new();
    while let Some((number, at, state)) = graph.queue.pop() {
        *left = left.checked_sub(1)?;
        if graph.nodes.len() > MAX_NODES {
            return None;
        }
        graph.look(known, number, at, state, sure, &mut info);
    }
    graph.spread_bad();
    graph.spread_returns();
    graph.collect()
}

struct Graph {
    nodes: Vec<Node>,
    numbers: FxHashMap<(u64, State), u32>,
    queue: Vec<(u32, u64, State)>,
}

impl Graph {
    fn number(&mut self, at: u64, state: State) -> u32 {
        let next = self.nodes.len() as u32;
        let number = *self.numbers.entry((at, state)).or_insert(next);
        if number == next {
            let row = state.row();
            let (hard, soft) = (Vec::new(), None);
            self.nodes.push(Node {
                at,
                end: at,
                row,
                bad: false,
                returns: false,
                filling: false,
                hard,
                soft,
                found: None,
            });
            self.queue.push((number, at, state));
        }
        number
    }

    /// Finds out where an instruction leads.
    fn look(
        &mut self,
        known: &Known<'_>,
        number: u32,
        at: u64,
        state: State,
        sure: &HashSet<u64>,
        info: &mut InstructionInfoFactory,
    ) {
        // Another function begins here, and this one's frame is not down.
        let strange = sure.contains(&at) && !state.is_down();
        let stepped = known
            .decode(at)
            .filter(|_| !strange)
            .and_then(|i| Some((i, state.step(&i, info).ok()?)));
        let Some((instruction, (after, next))) = stepped else {
            self.nodes[number as usize].bad = true;
            return;
        };
        let end = instruction.next_ip();
        let (mut hard, mut soft, mut bad) = (Vec::new(), None, false);
        let mut returns = matches!(next, Next::Return | Next::Away) && after.is_down();
        let mut found = target(&instruction).filter(|&to| known.covers(to));
        match next {
            Next::Behind => hard.push(self.number(end, after)),
            Next::Call(to) => {
                found = to;
                soft = known.covers(end).then(|| self.number(end, after));
            }
            Next::Jump(to) | Next::Branch(to) => {
                if after.is_down() && sure.contains(&to) || !known.covers(to) {
                    // Another function takes this one's place.
                    bad = !after.is_down();
                    returns = !bad;
                } else {
                    hard.push(self.number(to, after));
                }
                if matches!(next, Next::Branch(_)) {
                    hard.push(self.number(end, after));
                }
            }
            Next::Return | Next::Away | Next::Stop => {}
        }
        let node = &mut self.nodes[number as usize];
        (node.end, node.hard, node.soft, node.found) = (end, hard, soft, found);
        (node.bad, node.returns) = (bad, returns);
        node.filling = instruction.mnemonic() == Mnemonic::Nop;
    }

    /// For each instruction, those that lead to it.
    fn backwards(&self, with_soft: bool) -> Vec<Vec<u32>> {
        let mut from: Vec<Vec<u32>> = vec![Vec::new(); self.nodes.len()];
        for (number, node) in self.nodes.iter().enumerate() {
            for &to in node.hard.iter().chain(node.soft.iter().filter(|_| with_soft)) {
                from[to as usize].push(number as u32);
            }
        }
        from
    }

    /// What leads to what makes no sense makes none.
    fn spread_bad(&mut self) {
        let from = self.backwards(false);
        let mut queue: Vec<u32> =
            (0..self.nodes.len() as u32).filter(|&n| self.nodes[n as usize].bad).collect();
        while let Some(bad) = queue.pop() {
            for &number in &from[bad as usize] {
                if !std::mem::replace(&mut self.nodes[number as usize].bad, true) {
                    queue.push(number);
                }
            }
        }
    }

    /// What leads to a return does.
    fn spread_returns(&mut self) {
        let from = self.backwards(true);
        let mut queue: Vec<u32> = (0..self.nodes.len() as u32)
            .filter(|&n| self.nodes[n as usize].returns && !self.nodes[n as usize].bad)
            .collect();
        while let Some(number) = queue.pop() {
            self.nodes[number as usize].returns = true;
            queue.extend(from[number as usize].iter().filter(|&&before| {
                let before = &self.nodes[before as usize];
                !before.bad && !before.returns
            }));
        }
    }

    /// What is reached from the first instruction, if that makes sense. In a function that returns,
    /// what never does behind a call may be another function. So it may in one that does not
    /// return, where filling is behind the call.
    fn collect(&self) -> Option<Followed> {
        if self.nodes.first()?.bad {
            return None;
        }
        let mut followed = Followed::default();
        let mut reached = vec![false; self.nodes.len()];
        let mut queue = vec![0u32];
        while let Some(number) = queue.pop() {
            let node = &self.nodes[number as usize];
            if node.bad || std::mem::replace(&mut reached[number as usize], true) {
                continue;
            }
            followed.rows.push((node.at, node.end, node.row));
            followed.found.extend(node.found);
            queue.extend(&node.hard);
            let own = |&to: &u32| {
                let behind = &self.nodes[to as usize];
                behind.returns || !self.nodes[0].returns && !behind.filling
            };
            queue.extend(node.soft.filter(own));
        }
        Some(followed)
    }
}

/// A function whose address the instruction takes.
fn target(instruction: &Instruction) -> Option<u64> {
    let takes =
        instruction.mnemonic() == Mnemonic::Lea && instruction.memory_base() == Register::RIP;
    takes.then(|| instruction.memory_displacement64())
}
