//! The records themselves, one struct a kind.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Header::kind`] of a [`FaultRecord`].
pub const KIND_FAULT: u16 = 1;
/// [`Header::kind`] of a [`MapRecord`].
pub const KIND_MAP: u16 = 2;
/// [`Header::kind`] of a [`ForkRecord`].
pub const KIND_FORK: u16 = 3;
/// [`Header::kind`] of an [`ExecRecord`].
pub const KIND_EXEC: u16 = 4;
/// [`Header::kind`] of an [`ExitRecord`].
pub const KIND_EXIT: u16 = 5;
/// [`Header::kind`] of a [`StackRecord`].
pub const KIND_STACK: u16 = 6;
/// [`Header::kind`] of an [`RssRecord`].
pub const KIND_RSS: u16 = 7;

/// [`Header::kind`] of a [`RawStackRecord`].
pub const KIND_RAW_STACK: u16 = 8;
/// [`Header::kind`] of a [`FileRecord`].
pub const KIND_FILE: u16 = 9;

/// What every record starts with.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of the `KIND_` constants.
    pub kind: u16,
    /// Flags of this kind of record.
    pub flags: u16,
    /// The CPU on which the record was made.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds (`bpf_ktime_get_ns`).
    pub time_ns: u64,
    /// The process (tgid) in the initial PID namespace.
    pub pid: u32,
    /// The thread in the initial PID namespace.
    pub tid: u32,
    /// The address space that changed: the kernel's `mm_struct` pointer, used as a name only.
    /// It is used again by later processes.
    pub mm: u64,
}

/// [`Header::flags`] of a [`FaultRecord`]: the fault was taken in kernel mode for the thread
/// (`page_fault_kernel`), for example by `read(2)` into an untouched buffer.
pub const FAULT_KERNEL: u16 = 1 << 0;
/// [`Header::flags`] of a [`FaultRecord`]: the fault waited for I/O (`PERF_COUNT_SW_PAGE_FAULTS_MAJ`).
pub const FAULT_MAJOR: u16 = 1 << 1;
/// [`Header::flags`] of a [`FaultRecord`]: the entry of the fault was not seen, so `error_code`
/// and `delta` say nothing.
pub const FAULT_NO_ENTRY: u16 = 1 << 2;
/// [`Header::flags`] of a [`FaultRecord`]: the amounts in `delta` are the least that is sure (a
/// fault-around may have mapped more); which members moved, and in which direction, is right all
/// the same. With none: no counter was seen to move, but a page is there that was not at the entry
/// (the counters' program was left out, or another thread was faster).
pub const FAULT_DELTA_INEXACT: u16 = 1 << 3;
/// [`Header::flags`] of a [`FaultRecord`]: `entry` was read from the page table.
pub const FAULT_ENTRY: u16 = 1 << 4;
/// [`Header::flags`] of a [`FaultRecord`]: `window` was read from the page table.
pub const FAULT_WINDOW: u16 = 1 << 5;
/// [`Header::flags`] of a [`FaultRecord`]: a write to a page that was there, and the page table was
/// read before and after: [`FAULT_SAME_PAGE`] says something.
pub const FAULT_COMPARED: u16 = 1 << 6;
/// [`Header::flags`] of a [`FaultRecord`]: the same physical page is there as before: it was not
/// copied.
pub const FAULT_SAME_PAGE: u16 = 1 << 7;
/// [`Header::flags`] of a [`FaultRecord`]: a write to a page that userfaultfd had write-protected
/// asynchronously (rmap's own, to see who writes again). It says nothing of whose the page is.
pub const FAULT_REWRITE: u16 = 1 << 8;
/// [`Header::flags`] of a [`FaultRecord`], with [`FAULT_REWRITE`]: the page-table entry was dirty
/// when the fault began, so the write made nothing dirty.
pub const FAULT_WAS_DIRTY: u16 = 1 << 9;
/// [`FaultRecord::entry`]: the entry maps a huge page (2 MiB).
pub const ENTRY_HUGE: u16 = 1 << 7;
/// [`FaultRecord::entry`]: the page is dirty.
pub const ENTRY_DIRTY: u16 = 1 << 6;
/// Pages that [`FaultRecord::window`] tells of: a fault-around maps up to 16, and where a mapping
/// begins inside a 64 KiB-aligned block they reach into the next one (kernel `do_fault_around`).
pub const WINDOW_PAGES: u64 = 32;

/// x86 page-fault error code: the page was present (a protection fault).
pub const ERROR_PRESENT: u32 = 1 << 0;
/// x86 page-fault error code: the access was a write.
pub const ERROR_WRITE: u32 = 1 << 1;
/// x86 page-fault error code: the access came from user mode.
pub const ERROR_USER: u32 = 1 << 2;
/// x86 page-fault error code: the access was an instruction fetch.
pub const ERROR_INSTRUCTION: u32 = 1 << 4;

/// Index of `MM_FILEPAGES` (kernel `include/linux/mm_types_task.h`) in [`FaultRecord::delta`].
pub const MEMBER_FILE: usize = 0;
/// Index of `MM_ANONPAGES`.
pub const MEMBER_ANON: usize = 1;
/// Index of `MM_SWAPENTS`.
pub const MEMBER_SWAP: usize = 2;
/// Index of `MM_SHMEMPAGES`.
pub const MEMBER_SHMEM: usize = 3;
/// How many members `rss_stat` has.
pub const MEMBERS: usize = 4;

/// A page fault that is done and changed what is resident or dirty, or may have.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FaultRecord {
    /// `KIND_FAULT`; `flags` are the `FAULT_` constants.
    pub header: Header,
    /// The address that faulted, not rounded.
    pub address: u64,
    /// The user instruction at which the thread stands: the faulting one, or the system call's.
    pub ip: u64,
    /// The [`StackRecord::hash`] of the thread's user stack; 0 where there is none.
    pub stack: u64,
    /// The `ERROR_` bits.
    pub error_code: u32,
    /// Bit `n` is set if the counter of member `n` was moved (possibly by 0 in the end).
    pub members: u32,
    /// By how many pages each counter moved, as far as the access and the page table tell:
    /// see [`FAULT_DELTA_INEXACT`].
    pub delta: [i32; MEMBERS],
    /// The system call in which the thread is (`orig_ax`), −1 outside of any.
    pub syscall: i64,
    /// With [`FAULT_WINDOW`]: bit `n` is set if page `n` from the 64 KiB-aligned address below
    /// `address` on is mapped now and has a page of its own (the zero page has none). For
    /// anonymous memory only pages that follow each other in physical memory with the faulting
    /// one.
    pub window: u32,
    /// With [`FAULT_ENTRY`]: the low 16 bits of the entry that maps `address` now (x86: bit 0
    /// present, 1 writable, 5 accessed, 6 dirty, 7 huge page, 9 special).
    pub entry: u16,
    /// Not used.
    pub reserved: u16,
}

/// [`Header::flags`] of a [`MapRecord`]: made at the entry of the call (`result` is 0 and says
/// nothing). `munmap` and `madvise` are reported at entry, `mremap` and `brk` at both ends, the
/// rest at exit.
pub const MAP_ENTRY: u16 = 1 << 0;

/// A system call that changes mappings.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MapRecord {
    /// `KIND_MAP`; `flags` are the `MAP_` constants.
    pub header: Header,
    /// The system call's number on this machine.
    pub syscall: i64,
    /// What it returned: an address, 0, or a negative errno.
    pub result: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// The [`StackRecord::hash`] of the caller's user stack; 0 where there is none.
    pub stack: u64,
    /// Of the file that `mmap` has mapped: `inode.i_ino`, 0 if there is none or it is not known.
    pub inode: u64,
    /// `super_block.s_dev` of its file system: major << 20 | minor.
    pub device: u32,
    /// Not used.
    pub reserved: u32,
}

/// [`Header::flags`] of a [`ForkRecord`]: the child is a thread of the same process.
pub const FORK_THREAD: u16 = 1 << 0;
/// [`Header::flags`] of a [`ForkRecord`]: the child runs in its parent's address space
/// (`CLONE_VM`: a thread or a vfork child).
pub const FORK_SAME_MM: u16 = 1 << 1;

/// A new thread or process; the header is the parent's.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForkRecord {
    /// `KIND_FORK`; `flags` are the `FORK_` constants.
    pub header: Header,
    /// The child's process (tgid).
    pub child_pid: u32,
    /// The child's thread id.
    pub child_tid: u32,
    /// The child's address space.
    pub child_mm: u64,
    /// The [`StackRecord::hash`] of the caller's user stack; 0 where there is none.
    pub stack: u64,
}

/// A program was executed; the header holds the new address space. Faults that the kernel took
/// in it while loading come before this record.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExecRecord {
    /// `KIND_EXEC`.
    pub header: Header,
    /// The thread id before, which differs from `header.tid` if another thread than the leader
    /// called `execve`.
    pub old_tid: u32,
    /// Not used.
    pub reserved: u32,
}

/// [`Header::flags`] of an [`ExitRecord`]: it was the last thread of its process.
pub const EXIT_GROUP_DEAD: u16 = 1 << 0;

/// A thread ends.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExitRecord {
    /// `KIND_EXIT`; `flags` are the `EXIT_` constants.
    pub header: Header,
    /// The kernel's `exit_code` (as of `wait(2)`), 0 where it could not be read.
    pub code: i32,
    /// Not used.
    pub reserved: u32,
}

/// Most frames that a stack has: a mask, which the kernel's verifier demands, and one place less.
pub const MAX_FRAMES: usize = 255;

/// The stack was walked to its outermost frame.
pub const STACK_COMPLETE: u16 = 0;
/// Walked by frame pointers: callers may be missing where code keeps none.
pub const STACK_APPROXIMATE: u16 = 1;
/// There are more than [`MAX_FRAMES`] frames.
pub const STACK_TRUNCATED: u16 = 2;
/// A page of the stack could not be read.
pub const STACK_UNREADABLE: u16 = 3;
/// A frame lies in no known mapping.
pub const STACK_NO_MAPPING: u16 = 4;
/// A frame has no unwind row.
pub const STACK_NO_ROW: u16 = 5;
/// A frame's unwind rule is not supported.
pub const STACK_UNSUPPORTED: u16 = 6;
/// The stack pointer did not rise from one frame to the next.
pub const STACK_INCONSISTENT: u16 = 7;
/// No user registers could be had, for example in a kernel thread.
pub const STACK_NONE: u16 = 8;

/// A user stack, sent once for each hash.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackRecord {
    /// `KIND_STACK`; `flags` are not used.
    pub header: Header,
    /// The hash by which other records name this stack; never 0. It depends on the addresses and
    /// the status alone, so that two address spaces may share it.
    pub hash: u64,
    /// How the walk ended: one of the `STACK_` constants.
    pub status: u16,
    /// How many of `ips` are set.
    pub count: u16,
    /// Not used.
    pub reserved: u32,
    /// Instruction addresses, innermost first: the first one is the instruction itself, the
    /// others are return addresses.
    pub ips: [u64; MAX_FRAMES],
}

/// Most bytes of stack memory that a [`RawStackRecord`] holds: a value of a per-CPU map can have
/// 32 KiB (kernel `PCPU_MIN_UNIT_SIZE`), the rest of the record included.
pub const RAW_STACK_BYTES: usize = 31 * RAW_STACK_ALIGN;

/// Bytes of stack memory that are sent where nothing else is asked for.
pub const RAW_STACK_USUAL: usize = 16 * RAW_STACK_ALIGN;

/// [`Header::flags`] of a [`RawStackRecord`]: the stack was walked in the kernel as well, under
/// this very name, and this is sent beside it to check that walk.
pub const RAW_CHECK: u16 = 1 << 0;

/// Alignment of the first byte of [`RawStackRecord::memory`].
pub const RAW_STACK_ALIGN: usize = 1024;

/// What user space needs to walk a stack that the kernel side could not: the code was mapped a
/// moment ago and its tables are not loaded yet, or the process has no tables at all.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawStackRecord {
    /// `KIND_RAW_STACK`; `flags` is [`RAW_CHECK`] or 0.
    pub header: Header,
    /// The name of this one stack, as [`StackRecord::hash`].
    pub hash: u64,
    /// The user registers in the order of the kernel's `struct pt_regs`: on x86-64 r15, r14, r13,
    /// r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp,
    /// ss.
    pub registers: [u64; 21],
    /// How the walk in the kernel ended, one of the `STACK_` constants.
    pub status: u16,
    /// Not used.
    pub reserved: u16,
    /// How many bytes of `memory` are set.
    pub length: u32,
    /// The stack from the stack pointer upwards, beginning at the multiple of
    /// [`RAW_STACK_ALIGN`] below it.
    pub memory: [u8; RAW_STACK_BYTES],
}

/// [`Header::flags`] of an [`RssRecord`]: there are more ranges than it holds.
pub const RSS_MORE: u16 = 1 << 0;
/// Most ranges that an [`RssRecord`] holds.
pub const RSS_RANGES: usize = 8;

/// A counter of an address space moved while no fault was under way, and the access that moved it
/// is told once: the same call of the same thread, going on without a pause, is not told again
/// where `ranges` say what it is about.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RssRecord {
    /// `KIND_RSS`; `flags` are the `RSS_` constants. `pid` and `tid` are those of the thread in
    /// whose context it happened, `mm` is the address space that changed.
    pub header: Header,
    /// The system call in which that thread was, −1 for a thread of the kernel.
    pub syscall: i64,
    /// The thread's own address space, 0 for a thread of the kernel.
    pub actor_mm: u64,
    /// The [`StackRecord::hash`] of the thread's user stack, in its own address space; 0 where
    /// there is none.
    pub stack: u64,
    /// The call's second argument: what `ioctl` was asked for.
    pub request: u64,
    /// Which counter (`MEMBER_`).
    pub member: u32,
    /// The process whose memory it is, 0 if it is the thread's own.
    pub owner: u32,
    /// How many of `ranges` are set.
    pub count: u32,
    /// Not used.
    pub reserved: u32,
    /// The memory that the call names in its arguments: first address, bytes.
    pub ranges: [[u64; 2]; RSS_RANGES],
}

/// Entries of the last page table of x86-64.
pub const TABLE_ENTRIES: usize = 512;
/// `TABLE_KIND`: nothing maps the address, or it could not be read.
pub const TABLE_NONE: u64 = 0;
/// `TABLE_KIND`: entries of 4 KiB each.
pub const TABLE_SMALL: u64 = 1;
/// `TABLE_KIND`: the entry of a huge page.
pub const TABLE_HUGE: u64 = 2;

/// [`Header::flags`] of a [`FileRecord`]: the process is not traced.
pub const FILE_STRANGER: u16 = 1 << 0;
/// [`Header::flags`] of a [`FileRecord`]: in a page fault of the thread, which has a record of its
/// own.
pub const FILE_FAULT: u16 = 1 << 1;
/// [`Header::flags`] of a [`FileRecord`]: the pages were taken out of the page cache; without it,
/// they became dirty.
pub const FILE_GONE: u16 = 1 << 2;

/// Pages of a mapped file became dirty (`writeback_dirty_folio`: only the first write since the
/// last writeback is told) or left the page cache (`mm_filemap_delete_from_page_cache`).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileRecord {
    /// `KIND_FILE`; `flags` are the `FILE_` constants. The process, the thread and the address
    /// space are those that did it, 0 for the address space of a kernel thread.
    pub header: Header,
    /// `inode.i_ino`.
    pub inode: u64,
    /// The first page's number in the file.
    pub index: u64,
    /// The [`StackRecord::hash`] of the thread's user stack; 0 where there is none.
    pub stack: u64,
    /// The system call in which the thread is (`orig_ax`), −1 outside of any.
    pub syscall: i64,
    /// `super_block.s_dev` of its file system: major << 20 | minor.
    pub device: u32,
    /// How many pages: those of the folio.
    pub pages: u32,
}

const _: () = assert!(size_of::<Header>() == 32);
const _: () = assert!(size_of::<FaultRecord>() == 96);
const _: () = assert!(size_of::<MapRecord>() == 120);
const _: () = assert!(size_of::<ForkRecord>() == 56);
const _: () = assert!(size_of::<ExecRecord>() == 40);
const _: () = assert!(size_of::<ExitRecord>() == 40);
const _: () = assert!(size_of::<StackRecord>() == 48 + 8 * MAX_FRAMES);
const _: () = assert!((MAX_FRAMES + 1).is_power_of_two());
const _: () = assert!(size_of::<RssRecord>() == 208);
const _: () = assert!(size_of::<FileRecord>() == 72);
const _: () = assert!(size_of::<RawStackRecord>() == 216 + RAW_STACK_BYTES);
