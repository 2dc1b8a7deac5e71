//! A system call that changes mappings, from numbers to what it asks for.
//!
//! Comes in: [`MapCall`]. Goes out: a [`MapOp`] with whole pages, or `None` where the call changes
//! nothing that the model keeps. Lengths are rounded as the kernel rounds them, so that one that
//! wraps around is empty here too.

use std::ops::Range;

use super::arch::{Arch, Syscall};
use super::lock::Lock;
use super::owners::{PAGE, page_down, page_up};
use crate::trace::{FileId, MapCall};

const MAP_TYPE: u64 = 0xf;
const MAP_PRIVATE: u64 = 2;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_GROWSDOWN: u64 = 0x100;
const MAP_LOCKED: u64 = 0x2000;
const MAP_POPULATE: u64 = 0x8000;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

const MREMAP_FIXED: u64 = 2;
const MREMAP_DONTUNMAP: u64 = 4;

const MLOCK_ONFAULT: u64 = 1;
const MCL_CURRENT: u64 = 1;
const MCL_FUTURE: u64 = 2;
const MCL_ONFAULT: u64 = 4;

/// `PROT_READ | PROT_WRITE | PROT_EXEC`.
const PROT_MASK: u64 = 7;

/// No address of user space is as high (x86-64 with five levels: 2⁵⁶; arm64: 2⁵²).
const USER_END: u64 = 1 << 57;

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// A new mapping is there.
    Mmap(NewMapping),
    /// `munmap` is about to act.
    Munmap(Range<u64>),
    /// `mremap` is about to act.
    MremapEntry(Mremap),
    /// `mremap` is done: the new address, or `None` if it failed.
    MremapExit(Mremap, Option<u64>),
    /// `brk` is about to act.
    BrkEntry(u64),
    /// `brk` is done: the break there is now.
    BrkExit(u64),
    /// Another protection, in the bits of `PROT_`.
    Mprotect(Range<u64>, u8),
    /// `madvise` is about to act.
    Madvise(Range<u64>, Advice),
    /// SysV memory was attached here; its size is not part of the call.
    Shmat(u64),
    /// SysV memory was detached from here.
    Shmdt(u64),
    /// The range is locked.
    Mlock(Range<u64>, Lock),
    /// Everything that is mapped now, or will be, is locked.
    Mlockall {
        /// What is mapped now.
        current: bool,
        /// What will be.
        future: bool,
        /// How.
        lock: Lock,
    },
    /// The range is locked no longer.
    Munlock(Range<u64>),
    /// Nothing is locked any longer, nor will be.
    Munlockall,
    /// A call failed, with an error number of the kernel.
    Failed(Failed, i32),
}

/// A call that failed and that may have done a part of what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// `munmap`: nothing was done.
    Munmap(Range<u64>),
    /// `shmdt`: nothing was done.
    Shmdt(u64),
    /// `madvise`.
    Madvise(Range<u64>, Advice),
    /// `mprotect`.
    Mprotect(Range<u64>, u8),
    /// `mlock`, `mlock2`.
    Mlock(Range<u64>, Lock),
    /// `mmap` of a range that it may have unmapped before.
    MmapOver(Range<u64>),
}

/// A mapping that `mmap` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMapping {
    /// Where.
    pub range: Range<u64>,
    /// Of a file (or memfd).
    pub file: bool,
    /// Writes go to the file or to other processes.
    pub shared: bool,
    /// The bits of `PROT_`.
    pub prot: u8,
    /// The offset in the file.
    pub offset: u64,
    /// It may lie over older mappings.
    pub fixed: bool,
    /// It grows down like a stack.
    pub grows_down: bool,
    /// `MAP_LOCKED`.
    pub locked: bool,
    /// Its pages were brought in at once.
    pub populate: bool,
    /// Which file, if that is known.
    pub id: Option<FileId>,
}

/// The arguments of `mremap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mremap {
    /// The old range; empty for a second mapping of shared memory.
    pub old: Range<u64>,
    /// The new size in bytes.
    pub new_size: u64,
    /// The old range stays mapped.
    pub keep_old: bool,
    /// The address to go to, whatever is mapped there.
    pub fixed: Option<u64>,
}

/// Advice that changes what is resident or dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// `MADV_DONTNEED`, `MADV_DONTNEED_LOCKED`.
    Dontneed,
    /// `MADV_FREE`.
    Free,
    /// `MADV_REMOVE`.
    Remove,
    /// `MADV_POPULATE_READ`.
    PopulateRead,
    /// `MADV_POPULATE_WRITE`.
    PopulateWrite,
    /// `MADV_COLLAPSE`.
    Collapse,
    /// `MADV_PAGEOUT`.
    Pageout,
    /// `MADV_MERGEABLE`, `MADV_UNMERGEABLE`.
    Merge(bool),
    /// `MADV_GUARD_INSTALL`.
    Guard,
}

impl MapOp {
    /// What a call asks for. Of a call that failed, only what it may have done all the same.
    #[must_use]
    pub fn of(call: &MapCall, arch: Arch) -> Option<Self> {
        let [a0, a1, a2, a3, a4, a5] = call.args;
        let syscall = arch.syscall(call.syscall)?;
        let failed = !call.entry && (-4095..0).contains(&call.result);
        if failed && syscall != Syscall::Mremap {
            return Some(Self::Failed(Failed::of(syscall, call.args)?, -call.result as i32));
        }
        let result = call.result as u64;
        let op = match syscall {
            Syscall::Mremap => {
                let mremap = Mremap {
                    old: range(a0, page_aligned(a1))?,
                    new_size: page_aligned(a2),
                    keep_old: a3 & MREMAP_DONTUNMAP != 0,
                    fixed: (a3 & MREMAP_FIXED != 0).then_some(page_down(a4)),
                };
                if call.entry {
                    Self::MremapEntry(mremap)
                } else {
                    Self::MremapExit(mremap, (!failed).then_some(page_down(result)))
                }
            }
            Syscall::Mmap if !call.entry => Self::Mmap(NewMapping {
                range: range(result, a1)?,
                file: a3 & MAP_ANONYMOUS == 0,
                shared: a3 & MAP_TYPE != MAP_PRIVATE,
                prot: (a2 & PROT_MASK) as u8,
                offset: page_down(a5),
                fixed: a3 & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0,
                grows_down: a3 & MAP_GROWSDOWN != 0,
                locked: a3 & MAP_LOCKED != 0,
                populate: a3 & (MAP_POPULATE | MAP_LOCKED) != 0,
                id: call.file,
            }),
            Syscall::Munmap if call.entry => Self::Munmap(aligned(a0, a1)?),
            Syscall::Brk if call.entry => Self::BrkEntry(a0),
            Syscall::Brk => Self::BrkExit(result),
            Syscall::Mprotect if !call.entry => {
                Self::Mprotect(aligned(a0, a1)?, (a2 & PROT_MASK) as u8)
            }
            Syscall::Madvise if call.entry => Self::Madvise(aligned(a0, a1)?, advice(a2)?),
            Syscall::Shmat if !call.entry => Self::Shmat(page_down(result)),
            Syscall::Shmdt if call.entry => Self::Shmdt(a0),
            Syscall::Mlock if !call.entry => Self::Mlock(holding(a0, a1)?, Lock::Resident),
            Syscall::Mlock2 if !call.entry => Self::Mlock(holding(a0, a1)?, lock(a2)),
            Syscall::Munlock if !call.entry => Self::Munlock(holding(a0, a1)?),
            Syscall::Munlockall if !call.entry => Self::Munlockall,
            Syscall::Mlockall if !call.entry => Self::Mlockall {
                current: a0 & MCL_CURRENT != 0,
                future: a0 & MCL_FUTURE != 0,
                lock: if a0 & MCL_ONFAULT == 0 { Lock::Resident } else { Lock::OnFault },
            },
            Syscall::Mmap
            | Syscall::Munmap
            | Syscall::Mprotect
            | Syscall::Madvise
            | Syscall::Shmat
            | Syscall::Shmdt
            | Syscall::Mlock
            | Syscall::Mlock2
            | Syscall::Mlockall
            | Syscall::Munlock
            | Syscall::Munlockall
            | Syscall::Exec
            | Syscall::WriteOther
            | Syscall::Ioctl
            | Syscall::Truncate => return None,
        };
        Some(op)
    }
}

impl Failed {
    /// What a failed call may have done in part; `None` if that is nothing that was not known
    /// before.
    fn of(syscall: Syscall, [a0, a1, a2, a3, _, _]: [u64; 6]) -> Option<Self> {
        Some(match syscall {
            Syscall::Munmap => Self::Munmap(aligned(a0, a1)?),
            Syscall::Shmdt => Self::Shmdt(a0),
            Syscall::Madvise => Self::Madvise(aligned(a0, a1)?, advice(a2)?),
            Syscall::Mprotect => Self::Mprotect(aligned(a0, a1)?, (a2 & PROT_MASK) as u8),
            Syscall::Mlock => Self::Mlock(holding(a0, a1)?, Lock::Resident),
            Syscall::Mlock2 => Self::Mlock(holding(a0, a1)?, lock(a2)),
            Syscall::Mmap if a3 & MAP_FIXED != 0 => Self::MmapOver(aligned(a0, a1)?),
            Syscall::Mmap
            | Syscall::Brk
            | Syscall::Mremap
            | Syscall::Shmat
            | Syscall::Mlockall
            | Syscall::Munlock
            | Syscall::Munlockall
            | Syscall::Exec
            | Syscall::WriteOther
            | Syscall::Ioctl
            | Syscall::Truncate => return None,
        })
    }
}

const fn lock(flags: u64) -> Lock {
    if flags & MLOCK_ONFAULT == 0 { Lock::Resident } else { Lock::OnFault }
}

const fn advice(number: u64) -> Option<Advice> {
    Some(match number {
        4 | 24 => Advice::Dontneed,
        8 => Advice::Free,
        9 => Advice::Remove,
        12 | 13 => Advice::Merge(number == 12),
        21 => Advice::Pageout,
        22 => Advice::PopulateRead,
        23 => Advice::PopulateWrite,
        25 => Advice::Collapse,
        102 => Advice::Guard,
        _ => return None,
    })
}

/// Whole pages from an address that the kernel takes only aligned; `None` if it would refuse.
fn aligned(start: u64, size: u64) -> Option<Range<u64>> {
    if page_down(start) == start { in_user(start, page_aligned(size)) } else { None }
}

/// Whole pages that hold a range which need not be aligned, by the arithmetic of `do_mlock`
/// (`mm/mlock.c`): `None` if that leaves nothing.
fn holding(start: u64, size: u64) -> Option<Range<u64>> {
    in_user(page_down(start), page_aligned(size.wrapping_add(start % PAGE)))
}

/// `PAGE_ALIGN`: wraps around.
const fn page_aligned(size: u64) -> u64 {
    page_down(size.wrapping_add(PAGE - 1))
}

/// A range that is not empty and does not leave user space.
fn in_user(start: u64, size: u64) -> Option<Range<u64>> {
    let end = start.checked_add(size).filter(|end| *end <= USER_END)?;
    (start < end).then_some(start..end)
}

/// Whole pages that hold a range which need not be aligned.
pub(super) fn around(start: u64, size: u64) -> Option<Range<u64>> {
    let end = start.checked_add(size)?;
    Some(page_down(start)..page_up(end)).filter(|r| !r.is_empty())
}

fn range(start: u64, size: u64) -> Option<Range<u64>> {
    let start = page_down(start);
    Some(start..start.checked_add(page_up(size))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arch: Arch, syscall: i64, entry: bool, result: i64, args: &[u64]) -> Option<MapOp> {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        MapOp::of(&MapCall { syscall, entry, result, args: all, stack: None, file: None }, arch)
    }

    #[test]
    fn sizes_become_whole_pages_and_flags_become_kinds() {
        let op = of(Arch::X86_64, 9, false, 0x7000, &[0, 5000, 3, 0x8022, u64::MAX, 0]);
        let Some(MapOp::Mmap(new)) = op else { panic!("{op:?}") };
        assert_eq!((new.range, new.prot), (0x7000..0x9000, 3));
        assert!(!new.file && !new.shared && !new.fixed && new.populate);
        let op = of(Arch::Aarch64, 222, false, 0x7000, &[0, 4096, 1, 0x11, 3, 0x2000]);
        let Some(MapOp::Mmap(new)) = op else { panic!("{op:?}") };
        assert!(new.file && new.shared && new.fixed && !new.populate);
        assert_eq!(new.offset, 0x2000);
    }

    #[test]
    fn calls_that_fail_or_that_the_kernel_would_refuse_are_nothing() {
        assert_eq!(of(Arch::X86_64, 9, false, -12, &[0, 4096, 3, 0x22]), None);
        assert_eq!(of(Arch::X86_64, 11, true, 0, &[0x1001, 4096]), None, "not aligned");
        assert_eq!(of(Arch::X86_64, 11, true, 0, &[0x1000, 0]), None, "empty");
        assert_eq!(of(Arch::X86_64, 11, true, 0, &[0x1000, u64::MAX - 0x100]), None, "too far");
        assert_eq!(of(Arch::X86_64, 28, true, 0, &[0x1000, 4096, 20]), None, "cold");
        assert_eq!(of(Arch::X86_64, 999, false, 0, &[]), None);
    }

    #[test]
    fn both_ends_of_mremap_are_told_and_a_failure_too() {
        let mremap = Mremap { old: 0x1000..0x2000, new_size: 0x3000, keep_old: false, fixed: None };
        let args = [0x1000, 4096, 0x2fff, 1];
        let entry = of(Arch::X86_64, 25, true, 0, &args);
        assert_eq!(entry, Some(MapOp::MremapEntry(mremap.clone())));
        let failed = of(Arch::X86_64, 25, false, -14, &args);
        assert_eq!(failed, Some(MapOp::MremapExit(mremap.clone(), None)));
        let done = of(Arch::X86_64, 25, false, 0x9000, &args);
        assert_eq!(done, Some(MapOp::MremapExit(mremap, Some(0x9000))));
    }

    #[test]
    fn mlock_takes_ranges_that_are_not_aligned() {
        let lock = of(Arch::X86_64, 149, false, 0, &[0x1fff, 2]);
        assert_eq!(lock, Some(MapOp::Mlock(0x1000..0x3000, Lock::Resident)));
        let on_fault = of(Arch::X86_64, 325, false, 0, &[0x1000, 2, 1]);
        assert_eq!(on_fault, Some(MapOp::Mlock(0x1000..0x2000, Lock::OnFault)));
    }
}
