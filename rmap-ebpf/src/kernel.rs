//! What is read of the kernel's own structures, on any machine.

use aya_ebpf::{
    bindings::task_struct,
    helpers::{bpf_probe_read_kernel, generated as helpers},
};

use crate::config;

/// The current task.
#[inline(always)]
pub fn current() -> *mut task_struct {
    // SAFETY: the helper takes nothing and always gives the running task.
    unsafe { helpers::bpf_get_current_task_btf() }
}

/// Reads a value of type `T` at `base + offset` in kernel memory; `None` if it cannot be read.
#[inline(always)]
pub fn read<T>(base: u64, offset: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel((base + offset) as *const T) }.ok()
}

/// The address space of a task, 0 for a kernel thread.
#[inline(always)]
pub fn mm_of(task: u64) -> u64 {
    read(task, config::TASK_MM.load()).unwrap_or(0)
}

/// The process of the current task.
#[inline(always)]
pub fn tgid(task: *mut task_struct) -> u32 {
    // SAFETY: the verifier knows the pointer's type and turns the load into one that cannot fault.
    unsafe { *((task as u64 + config::TASK_TGID.load()) as *const u32) }
}

/// The process (upper half) and the thread id of the current task.
#[inline(always)]
pub fn id(task: *mut task_struct) -> u64 {
    u64::from(tgid(task)) << 32 | u64::from(tid(task))
}

/// The thread id of the current task.
#[inline(always)]
pub fn tid(task: *mut task_struct) -> u32 {
    // SAFETY: as above.
    unsafe { *((task as u64 + config::TASK_PID.load()) as *const u32) }
}

/// `PF_MEMALLOC` (kernel `include/linux/sched.h`).
const MEMALLOC: u32 = 0x800;

/// Whether the current task takes memory back, from whomever, because it needs some itself.
#[inline(always)]
pub fn reclaims(task: *mut task_struct) -> bool {
    // SAFETY: as above.
    unsafe { *((task as u64 + config::TASK_FLAGS.load()) as *const u32) & MEMALLOC != 0 }
}

/// The address space of the current task, 0 for a kernel thread.
#[inline(always)]
pub fn mm(task: *mut task_struct) -> u64 {
    // SAFETY: as above.
    unsafe { *((task as u64 + config::TASK_MM.load()) as *const u64) }
}

/// The current task's thread pointer, to which its thread-local storage is relative; 0: not known.
/// What a thread sets by `wrfsbase` alone is seen when it was next taken off its processor.
#[inline(always)]
pub fn thread_pointer() -> u64 {
    let offset = config::TASK_FSBASE.load();
    if offset == 0 {
        return 0;
    }
    // SAFETY: as above.
    unsafe { *((current() as u64 + offset) as *const u64) }
}

/// The top page table of the current task's address space: the kernel's address of it. The task
/// must have one.
#[inline(always)]
pub fn top_table(task: *mut task_struct) -> u64 {
    // SAFETY: as above; the verifier knows what `task_struct.mm` points to.
    unsafe { *((mm(task) + config::MM_PGD.load()) as *const u64) }
}

/// A file by its file system and inode, as maps shows it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct File {
    /// `super_block.s_dev`, in 64 bits so that nothing is between the members.
    pub device: u64,
    /// `inode.i_ino`.
    pub inode: u64,
}

impl File {
    /// The file of an inode.
    #[inline(always)]
    pub fn of_inode(inode: u64) -> Option<Self> {
        let superblock: u64 = read(inode, config::INODE_SUPER.load())?;
        let device: u32 = read(superblock, config::SUPER_DEVICE.load())?;
        let number: u64 = read(inode, config::INODE_NUMBER.load())?;
        Some(Self { device: device.into(), inode: number })
    }

    /// The file of a descriptor of the current task.
    #[inline(always)]
    pub fn of_descriptor(descriptor: u32) -> Option<Self> {
        if config::FILE_INODE.load() == 0 {
            return None;
        }
        let files: u64 = read(current() as u64, config::TASK_FILES.load())?;
        let table: u64 = read(files, config::FILES_TABLE.load())?;
        let max: u32 = read(table, config::TABLE_MAX.load())?;
        if descriptor >= max {
            return None;
        }
        let entries: u64 = read(table, config::TABLE_FILES.load())?;
        let file: u64 = read(entries, 8 * u64::from(descriptor))?;
        Self::of_inode(read(file, config::FILE_INODE.load())?)
    }
}
