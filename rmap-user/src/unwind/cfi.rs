//! The call frame program of one function: from DWARF's instructions to rules of our own.
//!
//! Comes in: entries that gimli parsed. Goes out: the [`State`] at each address where it changes,
//! and its encoding as a row. Of the registers only the CFA, rbp, rbx and the return address are
//! followed: no walk needs more.

use gimli::{CallFrameInstruction, EndianSlice, Expression, LittleEndian, Operation, Register};
use gimli::{CallFrameInstructionIter, Encoding, Format, UnwindExpression, UnwindSection};
use rmap_ebpf::abi::{
    REG_BP, REG_SP, RULE_DEREF, RULE_RA_REGISTER, Rule, SAVED_AT_BP, SAVED_AT_CFA, SAVED_LOST,
    SAVED_SAME, SPECIAL_END, SPECIAL_UNSUPPORTED,
};
use rmap_ebpf::logic::unwind_row::{plt_row, simple_row, special_row};

/// What gimli reads from.
pub type Bytes<'data> = EndianSlice<'data, LittleEndian>;

/// Deepest nesting of `DW_CFA_remember_state` that is followed.
const MAX_REMEMBERED: usize = 32;
/// Most operations of one expression that are looked at.
const MAX_OPERATIONS: usize = 12;

const DWARF_BX: Register = Register(3);
const DWARF_BP: Register = Register(6);
const DWARF_RA: Register = Register(16);

/// How the CFA is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cfa {
    /// Register + offset.
    At { register: u8, offset: i64 },
    /// The word at register + offset, plus another offset.
    Deref { register: u8, offset: i64, add: i64 },
    /// The expression of the linker's PLT: rsp + 8, and 8 more from byte `threshold` of a slot on.
    Plt { threshold: u32 },
    /// Nothing that a row can hold.
    Unsupported,
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    Same,
    AtCfa(i64),
    AtRegister(u8, i64),
    InRegister(u8),
    Undefined,
    Lost,
}

/// All that is known at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    cfa: Cfa,
    bp: Saved,
    bx: Saved,
    ra: Saved,
}

/// Where a row's bits come from: they are whole, or name a rule that has no index yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// The row, without its byte offset.
    Row(u32),
    /// A rule that needs an index.
    Rule(Rule),
}

impl State {
    /// Before the first instruction of a CIE.
    pub const INITIAL: Self =
        Self { cfa: Cfa::Unsupported, bp: Saved::Same, bx: Saved::Same, ra: Saved::Lost };

    /// How the state is written in a table.
    pub fn encode(&self) -> Encoded {
        if self.ra == Saved::Undefined {
            return Encoded::Row(special_row(SPECIAL_END));
        }
        self.encode_simple()
            .map(Encoded::Row)
            .or_else(|| self.encode_rule().map(Encoded::Rule))
            .unwrap_or(Encoded::Row(special_row(SPECIAL_UNSUPPORTED)))
    }

    fn encode_simple(&self) -> Option<u32> {
        let offset_of = |saved| match saved {
            Saved::Same => Some(None),
            Saved::AtCfa(offset) => Some(Some(offset)),
            _ => None,
        };
        if self.ra != Saved::AtCfa(-8) {
            return None;
        }
        let (bp, bx) = (offset_of(self.bp)?, offset_of(self.bx)?);
        match self.cfa {
            Cfa::At { register: REG_SP, offset } => simple_row(false, offset, bp, bx),
            Cfa::At { register: REG_BP, offset } => simple_row(true, offset, bp, bx),
            Cfa::Plt { threshold } if bp.is_none() && bx.is_none() => Some(plt_row(threshold)),
            _ => None,
        }
    }

    fn encode_rule(&self) -> Option<Rule> {
        let mut rule = Rule::default();
        match self.cfa {
            Cfa::At { register, offset } => {
                rule.cfa_reg = register;
                rule.cfa_off = i32::try_from(offset).ok()?;
            }
            Cfa::Deref { register, offset, add } => {
                rule.cfa_reg = register;
                rule.flags |= RULE_DEREF;
                rule.cfa_off = i32::try_from(offset).ok()?;
                rule.cfa_add = i16::try_from(add).ok()?;
            }
            Cfa::Plt { .. } | Cfa::Unsupported => return None,
        }
        match self.ra {
            Saved::AtCfa(offset) if offset % 8 == 0 => {
                rule.ra = i8::try_from(offset / 8).ok()?.cast_unsigned();
            }
            Saved::InRegister(register) => {
                rule.ra = register;
                rule.flags |= RULE_RA_REGISTER;
            }
            _ => return None,
        }
        // A register whose place cannot be told is lost; a walk that needs it ends.
        let (bp_kind, bp_off) = self
            .place_of(self.bp)
            .and_then(|(kind, offset)| Some((kind, i32::try_from(offset).ok()?)))
            .unwrap_or((SAVED_LOST, 0));
        let (bx_kind, bx_slot) = self
            .place_of(self.bx)
            .filter(|(_, offset)| offset % 8 == 0)
            .and_then(|(kind, offset)| Some((kind, i16::try_from(offset / 8).ok()?)))
            .unwrap_or((SAVED_LOST, 0));
        rule.saved = bp_kind | bx_kind << 4;
        (rule.bp_off, rule.bx_slot) = (bp_off, bx_slot);
        Some(rule)
    }

    fn place_of(&self, saved: Saved) -> Option<(u8, i64)> {
        match (saved, self.cfa) {
            (Saved::Same, _) => Some((SAVED_SAME, 0)),
            (Saved::AtCfa(offset), _) => Some((SAVED_AT_CFA, offset)),
            (Saved::AtRegister(REG_BP, offset), _) => Some((SAVED_AT_BP, offset)),
            (Saved::AtRegister(at, offset), Cfa::At { register, offset: cfa })
                if at == register =>
            {
                Some((SAVED_AT_CFA, offset.checked_sub(cfa)?))
            }
            _ => None,
        }
    }

    fn saved_mut(&mut self, register: Register) -> Option<&mut Saved> {
        match register {
            DWARF_BX => Some(&mut self.bx),
            DWARF_BP => Some(&mut self.bp),
            DWARF_RA => Some(&mut self.ra),
            _ => None,
        }
    }

    fn set(&mut self, register: Register, saved: Saved) {
        if let Some(place) = self.saved_mut(register) {
            *place = saved;
        }
    }
}

/// The number (as of `rmap_ebpf::abi::REG_BP`) of a register by its DWARF number (System V ABI,
/// figure 3.36).
fn number(register: Register) -> Option<u8> {
    const NUMBERS: [u8; 16] = [13, 12, 14, 11, 9, 8, 10, 15, 0, 1, 2, 3, 4, 5, 6, 7];
    NUMBERS.get(usize::from(register.0)).copied()
}

/// A program that cannot be followed: malformed, or with an instruction that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadProgram;

impl From<gimli::Error> for BadProgram {
    fn from(_: gimli::Error) -> Self {
        Self
    }
}

/// The addresses of a function.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
}

/// A program and what it needs to run.
pub struct Program<'a, S> {
    /// The section that holds it and its expressions.
    pub section: &'a S,
    /// `DW_CFA_offset` and others count in this unit.
    pub data_align: i64,
    /// `DW_CFA_advance_loc` counts in this unit.
    pub code_align: u64,
    /// To which state `DW_CFA_restore` goes back.
    pub initial: State,
}

impl<'data, S: UnwindSection<Bytes<'data>>> Program<'_, S> {
    /// Runs the instructions over `extent` from the initial state, calls `emit` with the state at
    /// the first address and at each address at which a later one begins, and returns the last.
    ///
    /// # Errors
    /// The program is malformed. What was emitted before holds.
    pub fn run(
        &self,
        mut instructions: CallFrameInstructionIter<'_, Bytes<'data>>,
        extent: Extent,
        mut emit: impl FnMut(u64, &State),
    ) -> Result<State, BadProgram> {
        use CallFrameInstruction as I;
        let mut state = self.initial;
        let mut remembered: Vec<State> = Vec::new();
        let mut at = extent.start;
        while let Some(instruction) = instructions.next()? {
            match instruction {
                I::AdvanceLoc { delta } => {
                    emit(at, &state);
                    let delta = u64::from(delta).checked_mul(self.code_align).ok_or(BadProgram)?;
                    at = at.checked_add(delta).ok_or(BadProgram)?;
                    if at >= extent.end {
                        return Ok(state);
                    }
                }
                I::SetLoc { address } => {
                    emit(at, &state);
                    if address < at {
                        return Err(BadProgram);
                    }
                    at = address;
                    if at >= extent.end {
                        return Ok(state);
                    }
                }
                I::DefCfa { register, offset } => {
                    state.cfa = cfa_at(register, i64::try_from(offset).ok());
                }
                I::DefCfaSf { register, factored_offset } => {
                    state.cfa = cfa_at(register, factored_offset.checked_mul(self.data_align));
                }
                I::DefCfaRegister { register } => {
                    let Cfa::At { offset, .. } = state.cfa else { return Err(BadProgram) };
                    state.cfa = cfa_at(register, Some(offset));
                }
                I::DefCfaOffset { offset } => {
                    self.set_cfa_offset(&mut state, i64::try_from(offset).ok())?;
                }
                I::DefCfaOffsetSf { factored_offset } => {
                    self.set_cfa_offset(&mut state, factored_offset.checked_mul(self.data_align))?;
                }
                I::DefCfaExpression { expression } => {
                    state.cfa = self.cfa_of(&expression);
                }
                I::Undefined { register } => state.set(register, Saved::Undefined),
                I::SameValue { register } => state.set(register, Saved::Same),
                I::Offset { register, factored_offset } => {
                    let factored = i64::try_from(factored_offset).map_err(|_| BadProgram)?;
                    state.set(register, self.at_cfa(factored));
                }
                I::OffsetExtendedSf { register, factored_offset } => {
                    state.set(register, self.at_cfa(factored_offset));
                }
                I::Register { dest_register, src_register } => {
                    let saved = number(src_register).map_or(Saved::Lost, Saved::InRegister);
                    state.set(dest_register, saved);
                }
                I::Expression { register, expression } => {
                    // Only for a register that is followed: expressions are costly to read.
                    if state.saved_mut(register).is_some() {
                        state.set(register, self.saved_of(&expression));
                    }
                }
                I::ValOffset { register, .. }
                | I::ValOffsetSf { register, .. }
                | I::ValExpression { register, .. } => state.set(register, Saved::Lost),
                I::Restore { register } => {
                    let mut initial = self.initial;
                    if let Some(&mut saved) = initial.saved_mut(register) {
                        state.set(register, saved);
                    }
                }
                I::RememberState => {
                    if remembered.len() >= MAX_REMEMBERED {
                        return Err(BadProgram);
                    }
                    remembered.push(state);
                }
                I::RestoreState => state = remembered.pop().ok_or(BadProgram)?,
                // What the callee popped changes nothing for who looks up return addresses.
                I::ArgsSize { .. } | I::Nop => {}
                _ => return Err(BadProgram),
            }
        }
        emit(at, &state);
        Ok(state)
    }

    fn at_cfa(&self, factored: i64) -> Saved {
        factored.checked_mul(self.data_align).map_or(Saved::Lost, Saved::AtCfa)
    }

    fn set_cfa_offset(&self, state: &mut State, new: Option<i64>) -> Result<(), BadProgram> {
        let Cfa::At { register, .. } = state.cfa else { return Err(BadProgram) };
        state.cfa = new.map_or(Cfa::Unsupported, |offset| Cfa::At { register, offset });
        Ok(())
    }

    fn cfa_of(&self, expression: &UnwindExpression<usize>) -> Cfa {
        match self.operations(expression).as_deref() {
            Some([Op::Register(register, offset)]) => {
                Cfa::At { register: *register, offset: *offset }
            }
            Some([Op::Register(register, offset), Op::Deref]) => {
                Cfa::Deref { register: *register, offset: *offset, add: 0 }
            }
            Some([Op::Register(register, offset), Op::Deref, Op::Add(add)]) => {
                Cfa::Deref { register: *register, offset: *offset, add: *add }
            }
            // rsp + 8 + ((rip & 15) >= threshold) << 3, as GNU ld and gold write it.
            Some(
                [
                    Op::Register(REG_SP, 8),
                    Op::Ip,
                    Op::Literal(15),
                    Op::And,
                    Op::Literal(threshold @ 0..=15),
                    Op::GreaterEqual,
                    Op::Literal(3),
                    Op::ShiftLeft,
                    Op::Plus,
                ],
            ) => Cfa::Plt { threshold: u32::try_from(*threshold).unwrap_or(0) },
            _ => Cfa::Unsupported,
        }
    }

    /// The place of a register; the expression starts with the CFA on its stack.
    fn saved_of(&self, expression: &UnwindExpression<usize>) -> Saved {
        match self.operations(expression).as_deref() {
            Some([Op::Register(register, offset)]) => Saved::AtRegister(*register, *offset),
            Some([Op::Add(offset)]) => Saved::AtCfa(*offset),
            Some([]) => Saved::AtCfa(0),
            _ => Saved::Lost,
        }
    }

    fn operations(&self, expression: &UnwindExpression<usize>) -> Option<Vec<Op>> {
        let Expression(bytes) = expression.get(self.section).ok()?;
        let encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };
        let mut operations = Expression(bytes).operations(encoding);
        let mut all = Vec::new();
        while let Some(operation) = operations.next().ok()? {
            if all.len() >= MAX_OPERATIONS {
                return None;
            }
            all.push(match operation {
                Operation::RegisterOffset { register: DWARF_RA, offset: 0, .. } => Op::Ip,
                Operation::RegisterOffset { register, offset, .. } => {
                    Op::Register(number(register)?, offset)
                }
                Operation::Deref { size: 8, space: false, .. } => Op::Deref,
                Operation::PlusConstant { value } => Op::Add(i64::try_from(value).ok()?),
                Operation::UnsignedConstant { value } => Op::Literal(i64::try_from(value).ok()?),
                Operation::SignedConstant { value } => Op::Literal(value),
                Operation::And => Op::And,
                Operation::Ge => Op::GreaterEqual,
                Operation::Shl => Op::ShiftLeft,
                Operation::Plus => Op::Plus,
                Operation::Nop => continue,
                _ => return None,
            });
        }
        Some(all)
    }
}

/// The operations of which the known expressions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Register(u8, i64),
    Ip,
    Literal(i64),
    Deref,
    Add(i64),
    And,
    GreaterEqual,
    ShiftLeft,
    Plus,
}

fn cfa_at(register: Register, offset: Option<i64>) -> Cfa {
    match (number(register), offset) {
        (Some(register), Some(offset)) => Cfa::At { register, offset },
        _ => Cfa::Unsupported,
    }
}
