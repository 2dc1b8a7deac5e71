//! The numbers of the system calls that the model must know, for each machine. Sources: the
//! kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`.

/// A machine with its own numbers of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

/// A system call that the model knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syscall {
    /// `mmap`.
    Mmap,
    /// `mprotect`, `pkey_mprotect`: their first three arguments are alike.
    Mprotect,
    /// `munmap`.
    Munmap,
    /// `brk`.
    Brk,
    /// `mremap`.
    Mremap,
    /// `madvise`.
    Madvise,
    /// `shmat`.
    Shmat,
    /// `shmdt`.
    Shmdt,
    /// `mlock`.
    Mlock,
    /// `mlock2`.
    Mlock2,
    /// `mlockall`.
    Mlockall,
    /// `munlock`.
    Munlock,
    /// `munlockall`.
    Munlockall,
    /// `execve`, `execveat`.
    Exec,
    /// `write`, `pwrite64`, `writev`, `pwritev`, `pwritev2`: memory is written to a file, which may
    /// be another process's memory.
    WriteOther,
    /// `ioctl`.
    Ioctl,
    /// `ftruncate`, `truncate`, `fallocate`, `unlink` and the like, `open` with `O_TRUNC`: files
    /// become shorter.
    Truncate,
}

impl Arch {
    /// The machine that rmap was built for.
    #[must_use]
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// The call of a number, if the model knows it.
    #[must_use]
    pub const fn syscall(self, number: i64) -> Option<Syscall> {
        match self {
            Self::X86_64 => x86_64(number),
            Self::Aarch64 => aarch64(number),
        }
    }
}

const fn x86_64(number: i64) -> Option<Syscall> {
    Some(match number {
        1 | 18 | 20 | 296 | 328 => Syscall::WriteOther,
        16 => Syscall::Ioctl,
        9 => Syscall::Mmap,
        10 | 329 => Syscall::Mprotect,
        11 => Syscall::Munmap,
        12 => Syscall::Brk,
        25 => Syscall::Mremap,
        28 => Syscall::Madvise,
        30 => Syscall::Shmat,
        67 => Syscall::Shmdt,
        149 => Syscall::Mlock,
        325 => Syscall::Mlock2,
        151 => Syscall::Mlockall,
        150 => Syscall::Munlock,
        152 => Syscall::Munlockall,
        59 | 322 => Syscall::Exec,
        2 | 76 | 77 | 85 | 87 | 257 | 263 | 285 | 437 => Syscall::Truncate,
        _ => return None,
    })
}

const fn aarch64(number: i64) -> Option<Syscall> {
    Some(match number {
        64 | 66 | 68 | 70 | 287 => Syscall::WriteOther,
        29 => Syscall::Ioctl,
        222 => Syscall::Mmap,
        226 | 288 => Syscall::Mprotect,
        215 => Syscall::Munmap,
        214 => Syscall::Brk,
        216 => Syscall::Mremap,
        233 => Syscall::Madvise,
        196 => Syscall::Shmat,
        197 => Syscall::Shmdt,
        228 => Syscall::Mlock,
        284 => Syscall::Mlock2,
        230 => Syscall::Mlockall,
        229 => Syscall::Munlock,
        231 => Syscall::Munlockall,
        221 | 281 => Syscall::Exec,
        35 | 45 | 46 | 47 | 56 | 437 => Syscall::Truncate,
        _ => return None,
    })
}
