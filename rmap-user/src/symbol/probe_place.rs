//! Where in a function a uprobe costs least.
//!
//! Comes in: the first bytes of a function. Goes out: how far behind its beginning the arguments and the
//! stack are still as they were, and the kernel need not execute the instruction in the process: it
//! does pushes and near jumps by itself (kernel `arch/x86/kernel/uprobes.c`). Others it copies and steps
//! through, which is a second exception: some times as long, and on virtual machines that intercept it
//! more than ten times.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess,
    Register,
};

/// Bytes that are looked at.
pub(super) const LOOKED_AT: usize = 64;
/// Instructions that are passed over at most.
const PASSED: usize = 12;
/// What must be as it was: the stack pointer, and the registers of the first three arguments.
const KEPT: [Register; 4] = [Register::RSP, Register::RDI, Register::RSI, Register::RDX];

/// How many bytes behind the beginning; 0 where no better place is known.
pub(super) fn behind(code: &[u8]) -> u64 {
    if !cfg!(target_arch = "x86_64") {
        return 0;
    }
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut factory = InstructionInfoFactory::new();
    for _ in 0..PASSED {
        if !decoder.can_decode() {
            return 0;
        }
        let instruction = decoder.decode();
        let length = instruction.len();
        let at = instruction.ip();
        let bytes = usize::try_from(at).ok().and_then(|at| code.get(at..at + length));
        if bytes.is_some_and(is_done_by_the_kernel) {
            return at;
        }
        if !passes(&instruction, &mut factory) {
            return 0;
        }
    }
    0
}

/// A push of a register, or a near jump, without a prefix that changes it.
fn is_done_by_the_kernel(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x50..=0x57]
            | [0x41, 0x50..=0x57]
            | [0x90]
            | [0x70..=0x7f | 0xeb, _]
            | [0xe9, _, _, _, _]
            | [0x0f, 0x80..=0x8f, _, _, _, _]
    )
}

/// Whether all is as it was behind an instruction, and it is the next one's turn.
fn passes(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> bool {
    if instruction.code() == Code::INVALID || instruction.flow_control() != FlowControl::Next {
        return false;
    }
    let info = factory.info(instruction);
    info.used_registers().iter().all(|used| {
        let reads = matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
        reads || !KEPT.contains(&used.register().full_register())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_push_or_jump_with_all_as_it_was_is_found() {
        for (code, expected) in [
            // push r12.
            (&[0x41, 0x54, 0x55][..], 0),
            // endbr64; push rbp.
            (&[0xf3, 0x0f, 0x1e, 0xfa, 0x55], 4),
            // test rdi, rdi; je.
            (&[0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0], 3),
            // mov rax, fs:[0]; cmp rdi, rax; ja.
            (&[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x39, 0xc7, 0x77, 0x10], 12),
            // mov eax, 1; jmp.
            (&[0xb8, 1, 0, 0, 0, 0xe9, 1, 2, 3, 4], 5),
        ] {
            assert_eq!(behind(code), expected, "{code:x?}");
        }
    }

    #[test]
    fn what_changes_an_argument_or_the_stack_is_not_passed_over() {
        for code in [
            // sub rsp, 8; push rbp.
            &[0x48, 0x83, 0xec, 0x08, 0x55][..],
            // xor edi, edi; push rbp.
            &[0x31, 0xff, 0x55],
            // mov sil, 1; push rbp.
            &[0x40, 0xb6, 0x01, 0x55],
            // ret; push rbp.
            &[0xc3, 0x55],
            // call; push rbp.
            &[0xe8, 0, 0, 0, 0, 0x55],
            // A jump with an operand-size prefix, of which kernels refuse a probe; nothing at all.
            &[0x66, 0x75, 0x00, 0x55],
            &[],
            &[0x0f],
        ] {
            assert_eq!(behind(code), 0, "{code:x?}");
        }
    }
}
