//! One step of the walk up a user stack: from a frame's registers and its row to its caller's.
//!
//! Comes in: a [`Frame`] and an [`Env`] that finds rows, rules, registers and memory. Goes out:
//! the caller's [`Frame`] in its place and [`STEP_NEXT`], or how the walk ended. The kernel side
//! and user space run the same code; they differ in their `Env` alone.
//!
//! Nothing here can panic or loop. All arithmetic wraps: a table or a stack that lies leads to a
//! read that fails or to an end, never to a fault.

use super::unwind_row::{
    ends_with_call, payload_bp, payload_bx, payload_cfa, payload_plt, payload_special, row_payload,
    row_type, special_row,
};
use crate::abi::{
    REG_BP, REG_BX, REG_SP, ROW_BP, ROW_RULE, ROW_SPECIAL, RULE_APPROXIMATE, RULE_DEREF,
    RULE_OTHER_STACK, RULE_RA_REGISTER, RULE_THREADED, Rule, SAVED_AT_BP, SAVED_AT_CFA, SAVED_LOST,
    SPECIAL_END, SPECIAL_JIT, SPECIAL_NO_MAPPING, SPECIAL_NONE, SPECIAL_PLT, SPECIAL_SIGNAL,
    STACK_APPROXIMATE, STACK_COMPLETE, STACK_INCONSISTENT, STACK_NO_MAPPING, STACK_NO_ROW,
    STACK_UNREADABLE, STACK_UNSUPPORTED,
};

/// What [`step`] returns when there is a caller; every other value is a `STACK_` constant.
pub const STEP_NEXT: u16 = 0xff;

/// [`Frame::flags`]: `ip` is the very instruction that the thread was at, not a return address,
/// and all its registers are known: the innermost frame, or one that a signal interrupted.
pub const FRAME_LEAF: u32 = 1 << 0;
/// [`Frame::flags`]: a step was guessed by frame pointers, so callers may be missing.
pub const FRAME_APPROXIMATE: u32 = 1 << 1;
/// [`Frame::flags`]: `bp` is what the thread itself has in rbp.
const FRAME_BP_OWN: u32 = 1 << 2;
/// [`Frame::flags`]: the walk so far depends on what the thread itself has in rbp.
pub const FRAME_BP_USED: u32 = FRAME_BP_OWN << 1;
/// [`Frame::flags`]: the walk so far depends on what the thread itself has in rbx.
pub const FRAME_BX_USED: u32 = 1 << 4;
/// [`Frame::flags`]: the walk so far depends on other registers of the thread.
pub const FRAME_REGISTERS_USED: u32 = 1 << 5;

/// The value of a register that cannot be known; no memory is there, and no stack.
pub const LOST: u64 = u64::MAX;

/// Where the general registers begin, from the stack pointer in a signal's return trampoline: it
/// stands at the `ucontext` of the `rt_sigframe` (`arch/x86/include/asm/sigframe.h`).
const GREGS: u64 = 40;
const GREGS_BP: u64 = GREGS + 8 * REG_BP as u64;
const GREGS_BX: u64 = GREGS + 8 * REG_BX as u64;
const GREGS_SP: u64 = GREGS + 8 * REG_SP as u64;
const GREGS_IP: u64 = GREGS + 8 * 16;

/// The registers of one frame, as far as the walk needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Frame {
    /// The instruction, or the return address.
    pub ip: u64,
    /// rsp.
    pub sp: u64,
    /// rbp, or [`LOST`]; holds as long as `bp_at` is 0.
    pub bp: u64,
    /// Where rbp was saved by a frame within. It is read only if it is asked for: most code has its
    /// own use for the register, and what it saves of that says nothing of the stack.
    pub bp_at: u64,
    /// rbx as it was in the innermost frame, or [`LOST`]; holds as long as `bx_at` is 0.
    pub bx: u64,
    /// Where rbx was saved by a frame within. It is read only if a rule asks for it, which only
    /// the dynamic linker's do.
    pub bx_at: u64,
    /// The `ucontext` that holds this frame's registers, 0 if no signal interrupted it.
    pub context: u64,
    /// The `FRAME_` bits.
    pub flags: u32,
    /// Not used; keeps the size a multiple of 8.
    pub reserved: u32,
}

impl Frame {
    /// The innermost frame.
    #[inline(always)]
    #[must_use]
    pub const fn innermost(ip: u64, sp: u64, bp: u64, bx: u64) -> Self {
        let flags = FRAME_LEAF | FRAME_BP_OWN;
        Self { ip, sp, bp, bp_at: 0, bx, bx_at: 0, context: 0, flags, reserved: 0 }
    }

    /// The address whose row holds: a return address may already be in the next function, if the
    /// call is the last instruction of one that does not return.
    #[inline(always)]
    #[must_use]
    pub const fn lookup_address(&self) -> u64 {
        self.ip.wrapping_sub((self.flags & FRAME_LEAF == 0) as u64)
    }

    /// rbp, on which the walk depends from now on; `None` if what was saved cannot be read.
    #[inline(always)]
    fn use_bp<E: Env>(&mut self, env: &mut E) -> Option<u64> {
        if self.bp_at != 0 {
            return env.read(self.bp_at);
        }
        self.flags |= (self.flags & FRAME_BP_OWN) << 1;
        Some(self.bp)
    }

    /// rbp is what was saved there.
    #[inline(always)]
    const fn save_bp(&mut self, at: u64) {
        self.flags &= !FRAME_BP_OWN;
        // No register is saved at 0, and then nothing is known of it.
        self.bp = LOST;
        self.bp_at = at;
    }

    /// How a walk that found the outermost frame ended.
    #[inline(always)]
    const fn end(&self) -> u16 {
        if self.flags & FRAME_APPROXIMATE == 0 { STACK_COMPLETE } else { STACK_APPROXIMATE }
    }
}

/// What a walk stands on.
pub trait Env {
    /// The row that holds at an address; the rows of [`SPECIAL_NO_MAPPING`] and [`SPECIAL_JIT`]
    /// and [`SPECIAL_NONE`] where no table answers.
    fn row(&mut self, address: u64) -> u32;
    /// The same for an address that is only guessed to be one of code.
    #[inline(always)]
    fn guessed_row(&mut self, address: u64) -> u32 {
        self.row(address)
    }
    /// A rule by its index.
    fn rule(&mut self, index: u32) -> Option<Rule>;
    /// A register of the innermost frame, by its number as of [`crate::abi::REG_BP`].
    fn register(&mut self, number: u32) -> Option<u64>;
    /// Eight bytes of the thread's memory.
    fn read(&mut self, address: u64) -> Option<u64>;
}

/// The place in the kernel's `struct pt_regs` (in units of 8 bytes) of a register by its number
/// as of [`crate::abi::REG_BP`]. Right for all but rsp, which no rule asks for in this way.
#[inline(always)]
#[must_use]
pub const fn pt_regs_slot(number: u32) -> u32 {
    // One digit a register: r8 … r15 are 9 8 7 6 3 2 1 0; rdi rsi rbp rbx rdx rax rcx are
    // 14 13 4 5 12 10 11.
    ((0x0bac_54de_0123_6789_u64 >> ((number & 15) * 4)) & 15) as u32
}

/// Goes from `frame` to its caller.
#[inline(always)]
pub fn advance<E: Env>(env: &mut E, frame: &mut Frame) -> u16 {
    let row = env.row(frame.lookup_address());
    step(env, frame, row)
}

/// Goes from `frame`, at which `row` holds, to its caller.
#[inline(always)]
pub fn step<E: Env>(env: &mut E, frame: &mut Frame, row: u32) -> u16 {
    let payload = row_payload(row);
    match row_type(row) {
        ROW_SPECIAL => special(env, frame, payload),
        ROW_RULE => match env.rule(payload) {
            Some(rule) => by_rule(env, frame, &rule),
            None => STACK_UNSUPPORTED,
        },
        kind if kind <= ROW_BP => {
            let base = if kind == ROW_BP {
                let Some(bp) = frame.use_bp(env) else { return STACK_UNREADABLE };
                bp
            } else {
                frame.sp
            };
            let cfa = base.wrapping_add(payload_cfa(payload));
            if cfa <= frame.sp {
                return STACK_INCONSISTENT;
            }
            // A distance of 8 is the return address's own place: the register is not saved.
            let (up_bp, up_bx) = (payload_bp(payload), payload_bx(payload));
            let Some(ra) = env.read(cfa.wrapping_sub(8)) else { return STACK_UNREADABLE };
            if up_bp != 8 {
                frame.save_bp(cfa.wrapping_sub(up_bp));
            }
            if up_bx != 8 {
                frame.bx_at = cfa.wrapping_sub(up_bx);
            }
            leave(frame, ra, cfa)
        }
        _ => STACK_UNSUPPORTED,
    }
}

/// Makes the caller of the frame.
#[inline(always)]
fn leave(frame: &mut Frame, ra: u64, cfa: u64) -> u16 {
    // A thread's first frame has nowhere to return to.
    if ra == 0 {
        return frame.end();
    }
    frame.ip = ra;
    frame.sp = cfa;
    frame.context = 0;
    frame.flags &= !FRAME_LEAF;
    STEP_NEXT
}

#[inline(always)]
fn by_rule<E: Env>(env: &mut E, frame: &mut Frame, rule: &Rule) -> u16 {
    if rule.flags & RULE_OTHER_STACK != 0 {
        return to_other_stack(env, frame, rule);
    }
    let base = match register(env, frame, rule.cfa_reg) {
        Ok(value) => value,
        Err(status) => return status,
    };
    let mut cfa = base.wrapping_add(rule.cfa_off as i64 as u64);
    if rule.flags & RULE_DEREF != 0 {
        let Some(word) = env.read(cfa) else { return STACK_UNREADABLE };
        cfa = word.wrapping_add(rule.cfa_add as i64 as u64);
    }
    let ra = if rule.flags & RULE_RA_REGISTER != 0 {
        // Nothing of the frame is on the stack any more, so the stack need not rise.
        if cfa < frame.sp {
            return STACK_INCONSISTENT;
        }
        match register(env, frame, rule.ra) {
            Ok(value) => value,
            Err(status) => return status,
        }
    } else {
        if cfa <= frame.sp {
            return STACK_INCONSISTENT;
        }
        let at = cfa.wrapping_add((rule.ra as i8 as i64 as u64).wrapping_mul(8));
        let Some(ra) = env.read(at) else { return STACK_UNREADABLE };
        ra
    };
    let bp_kind = rule.saved & 15;
    let bx_kind = rule.saved >> 4;
    let old_bp = if bp_kind == SAVED_AT_BP || bx_kind == SAVED_AT_BP {
        let Some(bp) = frame.use_bp(env) else { return STACK_UNREADABLE };
        bp
    } else {
        0
    };
    if bp_kind == SAVED_LOST {
        frame.save_bp(0);
    } else if bp_kind == SAVED_AT_CFA {
        frame.save_bp(cfa.wrapping_add(rule.bp_off as i64 as u64));
    } else if bp_kind == SAVED_AT_BP {
        // GCC says so of over-aligned frames even behind the `pop %rbp` at their end: then rbp
        // is the caller's and may point anywhere. Only a walk that needs it ends.
        frame.save_bp(old_bp.wrapping_add(rule.bp_off as i64 as u64));
    }
    if bx_kind == SAVED_LOST {
        frame.bx = LOST;
        frame.bx_at = 0;
    } else if bx_kind == SAVED_AT_CFA || bx_kind == SAVED_AT_BP {
        let off = (rule.bx_slot as i64 as u64).wrapping_mul(8);
        let from = if bx_kind == SAVED_AT_BP { old_bp } else { cfa };
        frame.bx_at = from.wrapping_add(off);
    }
    leave(frame, ra, cfa)
}

/// To a caller on another stack.
#[inline(always)]
fn to_other_stack<E: Env>(env: &mut E, frame: &mut Frame, rule: &Rule) -> u16 {
    frame.bx = LOST;
    frame.bx_at = 0;
    if rule.flags & RULE_THREADED != 0
        && let Some(stack) = stack_of_task(env, frame, rule)
    {
        let cfa = stack.wrapping_add((rule.bx_slot as i64 as u64).wrapping_mul(8));
        let Some(ra) = env.read(cfa.wrapping_sub(8)) else { return STACK_UNREADABLE };
        return leave(frame, ra, cfa);
    }
    if rule.flags & RULE_APPROXIMATE != 0 {
        frame.flags |= FRAME_APPROXIMATE;
    }
    let Some(bp) = frame.use_bp(env) else { return STACK_UNREADABLE };
    if bp == 0 {
        return frame.end();
    }
    let Some(ra) = env.read(bp.wrapping_add(8)) else { return STACK_NO_ROW };
    frame.save_bp(bp);
    leave(frame, ra, bp.wrapping_add(16))
}

/// See [`RULE_THREADED`].
#[inline(always)]
fn stack_of_task<E: Env>(env: &mut E, frame: &mut Frame, rule: &Rule) -> Option<u64> {
    frame.flags |= FRAME_REGISTERS_USED;
    let own = env.register(rule.cfa_reg as u32)?;
    let thread = env.read(own.wrapping_add(rule.cfa_off as i64 as u64))?;
    if env.read(thread)? != own {
        return None;
    }
    let task = env.read(thread.wrapping_add(rule.bp_off as i64 as u64))?;
    let stack = env.read(task.wrapping_add(rule.cfa_add as i64 as u64))?;
    (stack != 0).then_some(stack)
}

/// A register of the frame, or the status with which the walk ends for want of it.
#[inline(always)]
fn register<E: Env>(env: &mut E, frame: &mut Frame, number: u8) -> Result<u64, u16> {
    let value = if number == REG_SP {
        return Ok(frame.sp);
    } else if number == REG_BP {
        let Some(bp) = frame.use_bp(env) else { return Err(STACK_UNREADABLE) };
        Some(bp)
    } else if number == REG_BX && frame.bx_at == 0 {
        frame.flags |= FRAME_BX_USED;
        Some(frame.bx)
    } else if number == REG_BX {
        return env.read(frame.bx_at).ok_or(STACK_UNREADABLE);
    } else if frame.context != 0 {
        let at = frame.context.wrapping_add(GREGS + 8 * (number & 15) as u64);
        return env.read(at).ok_or(STACK_UNREADABLE);
    } else if frame.flags & FRAME_LEAF != 0 {
        frame.flags |= FRAME_REGISTERS_USED;
        env.register(number as u32)
    } else {
        None
    };
    match value {
        Some(LOST) | None => Err(STACK_UNSUPPORTED),
        Some(value) => Ok(value),
    }
}

#[inline(always)]
fn special<E: Env>(env: &mut E, frame: &mut Frame, payload: u32) -> u16 {
    match payload_special(payload) {
        SPECIAL_END => frame.end(),
        SPECIAL_SIGNAL => signal(env, frame),
        SPECIAL_PLT => {
            let pushed = (frame.ip & 15 >= payload_plt(payload)) as u64;
            let cfa = frame.sp.wrapping_add(8).wrapping_add(pushed << 3);
            let Some(ra) = env.read(cfa.wrapping_sub(8)) else { return STACK_UNREADABLE };
            leave(frame, ra, cfa)
        }
        SPECIAL_NONE | SPECIAL_JIT => {
            if taken_down(env, frame) {
                return STEP_NEXT;
            }
            guess(env, frame)
        }
        SPECIAL_NO_MAPPING => STACK_NO_MAPPING,
        _ => STACK_UNSUPPORTED,
    }
}

/// From the return trampoline of a signal handler to what the signal interrupted. The stack may
/// fall here: the handler may have run on a stack of its own (`sigaltstack`).
#[inline(always)]
fn signal<E: Env>(env: &mut E, frame: &mut Frame) -> u16 {
    let context = frame.sp;
    let (Some(sp), Some(ip)) =
        (env.read(context.wrapping_add(GREGS_SP)), env.read(context.wrapping_add(GREGS_IP)))
    else {
        return STACK_UNREADABLE;
    };
    frame.ip = ip;
    frame.sp = sp;
    frame.save_bp(context.wrapping_add(GREGS_BP));
    frame.bx_at = context.wrapping_add(GREGS_BX);
    frame.context = context;
    frame.flags |= FRAME_LEAF;
    STEP_NEXT
}

/// `add $N,%rsp; ret`, without its N: the low bytes of the code.
const TAKES_DOWN: u64 = 0xc3_00_c4_83_48;
/// Which bits of the code are looked at: N is below 128 and a multiple of 8.
const TAKES_DOWN_MASK: u64 = 0xff_87_ff_ff_ff;
/// `pop %rbp; ret`: the same of a frame with a frame pointer.
const POPS: u64 = 0xc3_5d;
/// Which bits of the code are looked at.
const POPS_MASK: u64 = 0xff_ff;

/// From a frame without unwind information whose code, where it goes on, takes it down at once, as
/// that of CPython's trampolines for perf does (up to 3.14 by the one, later by the other): what is
/// left to run tells where the caller is. Whether it is so.
#[inline(always)]
fn taken_down<E: Env>(env: &mut E, frame: &mut Frame) -> bool {
    if frame.flags & FRAME_LEAF != 0 {
        return false;
    }
    let Some(code) = env.read(frame.ip) else { return false };
    let pops = code & POPS_MASK == POPS;
    if !pops && code & TAKES_DOWN_MASK != TAKES_DOWN {
        return false;
    }
    let size = if pops { 8 } else { (code >> 24) & 0x78 };
    let at = frame.sp.wrapping_add(size);
    let Some(ra) = env.read(at) else { return false };
    if ra == 0 || !is_return_address(env, ra) {
        return false;
    }
    if pops {
        frame.save_bp(frame.sp);
    }
    leave(frame, ra, at.wrapping_add(8)) == STEP_NEXT
}

/// From code without unwind information: by the word at the stack pointer if the innermost frame
/// has just been entered, else by the frame pointer. Only an address of known code counts, and
/// outside JIT code only one behind a call. Marks the frame as approximate.
#[inline(always)]
fn guess<E: Env>(env: &mut E, frame: &mut Frame) -> u16 {
    let (mut ra, mut sp) = (0, frame.sp.wrapping_add(8));
    let mut found = false;
    if frame.flags & FRAME_LEAF != 0
        && let Some(word) = env.read(frame.sp)
    {
        ra = word;
        found = is_return_address(env, ra);
    }
    if !found {
        frame.flags |= FRAME_APPROXIMATE;
        let Some(bp) = frame.use_bp(env) else { return STACK_UNREADABLE };
        // By convention the outermost frame has a frame pointer of 0 (System V ABI, 3.4.1).
        if bp == 0 {
            return frame.end();
        }
        if bp < frame.sp || bp & 7 != 0 {
            return STACK_NO_ROW;
        }
        let Some(word) = env.read(bp.wrapping_add(8)) else { return STACK_NO_ROW };
        (ra, sp) = (word, bp.wrapping_add(16));
        if ra == 0 {
            return frame.end();
        }
        if !is_return_address(env, ra) {
            return STACK_NO_ROW;
        }
        frame.save_bp(bp);
    }
    frame.flags |= FRAME_APPROXIMATE;
    // Nobody knows whether the code saved rbx.
    frame.bx = LOST;
    frame.bx_at = 0;
    leave(frame, ra, sp)
}

/// Whether a guessed return address can be one. Looks at the mapping first, so that memory is
/// read only where there is code.
#[inline(always)]
fn is_return_address<E: Env>(env: &mut E, ra: u64) -> bool {
    let row = env.guessed_row(ra.wrapping_sub(1));
    if row == special_row(SPECIAL_NO_MAPPING) {
        return false;
    }
    row == special_row(SPECIAL_JIT) || env.read(ra.wrapping_sub(8)).is_some_and(ends_with_call)
}

#[cfg(test)]
#[path = "unwind_tests.rs"]
mod tests;
