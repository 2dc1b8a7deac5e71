//! x86-64.

pub mod page_table;

use aya_ebpf::helpers::generated as helpers;
use rmap_ebpf::abi;

use crate::kernel::{current, read};

/// Numbers of system calls (kernel `arch/x86/entry/syscalls/syscall_64.tbl`).
pub mod call {
    pub const READ: i64 = 0;
    pub const WRITE: i64 = 1;
    pub const MMAP: i64 = 9;
    pub const IOCTL: i64 = 16;
    pub const PREAD: i64 = 17;
    pub const PWRITE: i64 = 18;
    pub const READV: i64 = 19;
    pub const WRITEV: i64 = 20;
    pub const RECVFROM: i64 = 45;
    pub const CLONE: i64 = 56;
    pub const EXECVE: i64 = 59;
    pub const PTRACE: i64 = 101;
    pub const PREADV: i64 = 295;
    pub const PWRITEV: i64 = 296;
    pub const PERF_EVENT_OPEN: i64 = 298;
    pub const PROCESS_VM_WRITEV: i64 = 311;
    pub const BPF: i64 = 321;
    pub const EXECVEAT: i64 = 322;
    pub const PREADV2: i64 = 327;
    pub const PWRITEV2: i64 = 328;
    pub const IO_URING_REGISTER: i64 = 427;

    /// `munmap`, `madvise` and `shmdt`: reported before they take effect, and again if they fail.
    #[inline(always)]
    pub fn is_reported_at_entry(syscall: i64) -> bool {
        matches!(syscall, 11 | 28 | 67)
    }
}

/// Whether calls of a process change its own memory in ways that other probes tell, or that are no
/// access: mapping calls, fork, exec, exit, and calls that cut files.
#[inline(always)]
pub fn told_otherwise(syscall: i64) -> bool {
    matches!(
        syscall,
        9..=12 | 25 | 28 | 30 | 67 | 149..=152 | 325 | 329 // mmap and its kin
            | 56..=60 | 231 | 322 | 435 // clone, fork, vfork, execve, exit and their kin
            | 2 | 76 | 77 | 87 | 257 | 263 | 285 | 437 // truncate, open, unlink, fallocate
    )
}

/// What the error code of a page fault says of the access, as `abi::ERROR_` bits: they are the
/// processor's own.
#[inline(always)]
pub fn access(error_code: u64) -> u32 {
    const {
        assert!(abi::ERROR_PRESENT == 1 && abi::ERROR_WRITE == 2);
        assert!(abi::ERROR_USER == 4 && abi::ERROR_INSTRUCTION == 16);
    }
    error_code as u32
}

/// Bytes of the return address, which is at the stack pointer when a function begins, and gone when it
/// has returned.
pub const RETURN_ADDRESS: u64 = 8;

/// What stands for the result of a system call while it runs: `-ENOSYS`, which one may return, too.
pub const NOT_YET: i64 = -38;

/// The registers with which a task entered the kernel from user mode.
#[derive(Clone, Copy)]
pub struct UserRegisters {
    regs: u64,
}

/// Offsets in x86-64's `struct pt_regs` (`arch/x86/include/uapi/asm/ptrace.h`), in bytes.
mod pt_regs {
    pub const AX: u64 = 80;
    pub const CX: u64 = 88;
    pub const BP: u64 = 32;
    pub const BX: u64 = 40;
    pub const R10: u64 = 56;
    pub const R9: u64 = 64;
    pub const R8: u64 = 72;
    pub const DX: u64 = 96;
    pub const SI: u64 = 104;
    pub const DI: u64 = 112;
    pub const ORIG_AX: u64 = 120;
    pub const IP: u64 = 128;
    pub const SP: u64 = 152;
}

/// The registers of an exception, from `cx` to `ss`: of one in kernel mode they lie among the
/// kernel's own stack frames, where they stand until it is over and what comes next overwrites
/// them.
pub type Exception = [u64; 10];

/// Those that begin at an address.
#[inline(always)]
pub fn exception(regs: u64) -> Option<Exception> {
    read(regs, pt_regs::CX)
}

impl UserRegisters {
    /// The current task's.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        // SAFETY: the task is the current one; the helper only computes an address.
        let regs = unsafe { helpers::bpf_task_pt_regs(current()) } as u64;
        (regs != 0).then_some(Self { regs })
    }

    #[inline(always)]
    fn word(self, offset: u64) -> u64 {
        // SAFETY: the verifier knows this pointer as the kernel's `pt_regs` and turns the load
        // into one that cannot fault.
        unsafe { *((self.regs + offset) as *const u64) }
    }

    /// The instruction pointer in user mode.
    #[inline(always)]
    pub fn ip(self) -> u64 {
        self.word(pt_regs::IP)
    }

    /// rsp.
    #[inline(always)]
    pub fn sp(self) -> u64 {
        self.word(pt_regs::SP)
    }

    /// rbp.
    #[inline(always)]
    pub fn bp(self) -> u64 {
        self.word(pt_regs::BP)
    }

    /// rbx.
    #[inline(always)]
    pub fn bx(self) -> u64 {
        self.word(pt_regs::BX)
    }

    /// Where the kernel keeps them.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.regs
    }

    /// The number of the system call, −1 outside of any.
    #[inline(always)]
    pub fn syscall(self) -> i64 {
        self.word(pt_regs::ORIG_AX) as i64
    }

    /// What the system call returned; [`NOT_YET`] until it has (kernel `entry_SYSCALL_64`).
    #[inline(always)]
    pub fn returned(self) -> i64 {
        self.word(pt_regs::AX) as i64
    }

    /// The system call's arguments; they stand until it returns.
    #[inline(always)]
    pub fn arguments(self) -> [u64; 6] {
        [
            self.word(pt_regs::DI),
            self.word(pt_regs::SI),
            self.word(pt_regs::DX),
            self.word(pt_regs::R10),
            self.word(pt_regs::R8),
            self.word(pt_regs::R9),
        ]
    }
}
