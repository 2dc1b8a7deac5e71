//! What one instruction does to the frame of its function.
//!
//! Comes in: the [`State`] before it. Goes out: the state behind it and where the thread goes on.
//! Everything that is not understood for sure is an error, so that a function is known wholly or
//! not at all.

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};
use rmap_ebpf::abi::SPECIAL_END;
use rmap_ebpf::logic::unwind_row::{simple_row, special_row};

/// The largest frame that is followed, in bytes.
const MAX_FRAME: i64 = 1 << 17;

/// Where the frame's parts are, in front of an instruction. Offsets are in bytes, and the CFA is
/// the stack pointer before the call that led here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// From the stack pointer up to the CFA, if that is known.
    sp: Option<i64>,
    /// From the frame pointer up to the CFA, if rbp is one.
    fp: Option<i64>,
    /// How far below the CFA the caller's rbp is saved; `None` while it is in its register.
    bp: Option<i64>,
    /// The same of rbx.
    bx: Option<i64>,
    /// Nobody called: rbp was set to 0, by which the outermost frame is marked (System V ABI,
    /// 3.4.1).
    outermost: bool,
}

/// Where the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// With the next instruction.
    Behind,
    /// With the next one, if the function that is called here returns; its address if it is known.
    Call(Option<u64>),
    /// At an address.
    Jump(u64),
    /// At an address or behind.
    Branch(u64),
    /// Back at the caller, from a frame that is taken down.
    Return,
    /// At another function in place of this one, or at a place that only the data tell.
    Away,
    /// Nowhere.
    Stop,
}

/// The frame cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl State {
    /// Behind the call that led to a function.
    pub const ENTRY: Self = Self { sp: Some(8), fp: None, bp: None, bx: None, outermost: false };

    /// The row that holds in front of the instruction, if one can.
    pub fn row(&self) -> Option<u32> {
        if self.outermost {
            return Some(special_row(SPECIAL_END));
        }
        let (bp, bx) = (self.bp.map(|at| -at), self.bx.map(|at| -at));
        match (self.sp, self.fp) {
            (Some(offset), _) => simple_row(false, offset, bp, bx),
            (None, Some(offset)) => simple_row(true, offset, bp, bx),
            (None, None) => None,
        }
    }

    /// Whether the frame is as it was when the function was entered.
    pub fn is_down(&self) -> bool {
        self.outermost || self.sp == Some(8) && self.bp.is_none() && self.bx.is_none()
    }

    fn push(&mut self, register: Register) -> Result<(), Lost> {
        self.move_sp(8)?;
        if let Some(sp) = self.sp {
            self.save(register, sp);
        }
        Ok(())
    }

    /// The register's value goes to memory, so far below the CFA. Only the first time it is the
    /// caller's.
    fn save(&mut self, register: Register, at: i64) {
        match register {
            Register::RBP if self.bp.is_none() && self.fp.is_none() => self.bp = Some(at),
            Register::RBX if self.bx.is_none() => self.bx = Some(at),
            _ => {}
        }
    }

    /// The register's value comes from memory, so far below the CFA if that is known.
    fn load(&mut self, register: Register, from: Option<i64>) -> Result<(), Lost> {
        match register {
            Register::RBP if self.bp.is_some() => {
                self.fp = None;
                self.bp = self.bp.filter(|&at| Some(at) != from);
            }
            Register::RBX if self.bx.is_some() => {
                self.bx = self.bx.filter(|&at| Some(at) != from);
            }
            Register::RBP | Register::RBX | Register::RSP => return Err(Lost),
            _ => {}
        }
        Ok(())
    }

    /// The stack grows by so many bytes.
    fn move_sp(&mut self, by: i64) -> Result<(), Lost> {
        let Some(sp) = self.sp else { return self.check() };
        self.sp = Some(sp.checked_add(by).ok_or(Lost)?);
        self.check()
    }

    fn check(&self) -> Result<(), Lost> {
        if self.outermost {
            return Ok(());
        }
        let Some(sp) = self.sp else { return self.fp.map(|_| ()).ok_or(Lost) };
        // What lies below the stack pointer is anybody's.
        let saved = self.bp.max(self.bx).unwrap_or(0);
        if (8..=MAX_FRAME).contains(&sp) && saved <= sp { Ok(()) } else { Err(Lost) }
    }

    /// Where an address made of a register lies, below the CFA.
    fn below_cfa(&self, register: Register, offset: u64) -> Option<i64> {
        let from = match register {
            Register::RSP => self.sp?,
            Register::RBP => self.fp?,
            _ => return None,
        };
        from.checked_sub(offset.cast_signed())
    }

    /// The same of an instruction's memory operand.
    fn operand(&self, instruction: &Instruction) -> Option<i64> {
        (instruction.memory_index() == Register::None).then(|| {
            self.below_cfa(instruction.memory_base(), instruction.memory_displacement64())
        })?
    }

    /// The state behind the instruction, and where it leads.
    pub fn step(
        mut self,
        instruction: &Instruction,
        info: &mut InstructionInfoFactory,
    ) -> Result<(Self, Next), Lost> {
        if instruction.is_invalid() {
            return Err(Lost);
        }
        let next = match instruction.flow_control() {
            FlowControl::Next => {
                self.change(instruction, info)?;
                Next::Behind
            }
            // To the decoder `syscall` is a call as well.
            FlowControl::Call if instruction.mnemonic() == Mnemonic::Syscall => Next::Behind,
            FlowControl::Call => Next::Call(Some(instruction.near_branch_target())),
            FlowControl::IndirectCall => Next::Call(None),
            FlowControl::UnconditionalBranch => Next::Jump(instruction.near_branch_target()),
            FlowControl::ConditionalBranch => Next::Branch(instruction.near_branch_target()),
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret && self.is_down() => {
                Next::Return
            }
            FlowControl::IndirectBranch => Next::Away,
            FlowControl::Interrupt | FlowControl::Exception => Next::Stop,
            _ => return Err(Lost),
        };
        let next = if instruction.mnemonic() == Mnemonic::Hlt { Next::Stop } else { next };
        Ok((self, next))
    }

    fn change(
        &mut self,
        instruction: &Instruction,
        info: &mut InstructionInfoFactory,
    ) -> Result<(), Lost> {
        let first = instruction.op0_register();
        let second = instruction.op1_register();
        let kinds = (instruction.op0_kind(), instruction.op1_kind());
        match (instruction.mnemonic(), kinds) {
            (Mnemonic::Push, _) => {
                let wide = instruction.stack_pointer_increment() == -8;
                return if wide { self.push(first) } else { Err(Lost) };
            }
            (Mnemonic::Pop, (OpKind::Register, _))
                if instruction.stack_pointer_increment() == 8 =>
            {
                self.load(first, self.sp)?;
                return self.move_sp(-8);
            }
            (Mnemonic::Leave, _) => {
                self.sp = Some(self.fp.ok_or(Lost)?);
                self.load(Register::RBP, self.sp)?;
                return self.move_sp(-8);
            }
            (Mnemonic::Mov, (OpKind::Register, OpKind::Register)) => match (first, second) {
                (Register::RBP, Register::RSP) if self.bp.is_some() => {
                    self.fp = Some(self.sp.ok_or(Lost)?);
                    return Ok(());
                }
                (Register::RSP, Register::RBP) => {
                    self.sp = Some(self.fp.ok_or(Lost)?);
                    return self.check();
                }
                _ => {}
            },
            (Mnemonic::Mov, (OpKind::Memory, OpKind::Register)) => {
                if let Some(at) = self.operand(instruction) {
                    self.save(second, at);
                }
                return Ok(());
            }
            (Mnemonic::Mov, (OpKind::Register, OpKind::Memory)) if first.is_gpr64() => {
                return self.load(first, self.operand(instruction));
            }
            (Mnemonic::Enter, _) => return Err(Lost),
            (Mnemonic::Lea, _) if matches!(first, Register::RSP | Register::RBP) => {
                let at = self.operand(instruction);
                if first == Register::RSP {
                    self.sp = Some(at.ok_or(Lost)?);
                    return self.check();
                }
                if self.bp.is_some() {
                    self.fp = at;
                    return self.check();
                }
                return Err(Lost);
            }
            (Mnemonic::Add | Mnemonic::Sub, (OpKind::Register, kind))
                if first == Register::RSP && kind != OpKind::Register && kind != OpKind::Memory =>
            {
                let by = instruction.immediate(1).cast_signed();
                let by = if instruction.mnemonic() == Mnemonic::Add { -by } else { by };
                return self.move_sp(by);
            }
            // Aligned, or of a size that only the data tell: the frame pointer must serve.
            (Mnemonic::And | Mnemonic::Sub, (OpKind::Register, _)) if first == Register::RSP => {
                self.sp = None;
                return self.check();
            }
            (Mnemonic::Xor, (OpKind::Register, OpKind::Register))
                if first.full_register() == Register::RBP
                    && first == second
                    && self.bp.is_none() =>
            {
                self.outermost = true;
                return Ok(());
            }
            _ => {}
        }
        self.other(instruction, info)
    }

    /// An instruction that does nothing of the above: it must leave the registers alone, but for
    /// those that were saved.
    fn other(
        &mut self,
        instruction: &Instruction,
        info: &mut InstructionInfoFactory,
    ) -> Result<(), Lost> {
        let written = |access| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        };
        for used in info.info(instruction).used_registers() {
            if !written(used.access()) {
                continue;
            }
            match used.register().full_register() {
                Register::RSP if self.outermost => self.sp = None,
                Register::RSP if instruction.stack_pointer_increment() == 0 => return Err(Lost),
                Register::RSP => self.move_sp(-i64::from(instruction.stack_pointer_increment()))?,
                register @ (Register::RBP | Register::RBX) if !self.outermost => {
                    self.load(register, None)?;
                }
                _ => {}
            }
        }
        self.check()
    }
}
