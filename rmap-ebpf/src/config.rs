//! What user space tells the probes before they are loaded: offsets from the running kernel's
//! BTF, and choices. All of it is read-only data, which the verifier takes as constants, so that
//! a choice that is off costs nothing. No global is a `u32`: see `TRACER`.

use aya_ebpf::Global;

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub static $name: Global<$type> = Global::new($default);
    )*};
}

globals! {
    /// Offset of `task_struct.mm`.
    TASK_MM: u64 = 0;
    /// Offset of `task_struct.pid`.
    TASK_PID: u64 = 0;
    /// Offset of `task_struct.tgid`.
    TASK_TGID: u64 = 0;
    /// Offset of `task_struct.exit_code`.
    TASK_EXIT_CODE: u64 = 0;
    /// Offset of `task_struct.flags`.
    TASK_FLAGS: u64 = 0;
    /// Offset of `mm_struct.owner`; 0: the kernel keeps none (no `CONFIG_MEMCG`).
    MM_OWNER: u64 = 0;
    /// Offset of `task_struct.signal`.
    TASK_SIGNAL: u64 = 0;
    /// Offset of `signal_struct.live` (an `atomic_t`).
    SIGNAL_LIVE: u64 = 0;
    /// Offset of `task_struct.rss_stat` where the kernel gathers counts there (before 6.2); else 0.
    TASK_RSS_STAT: u64 = 0;
    /// Offset of `task_struct.thread.fsbase`, where the thread pointer is kept; 0: not known.
    TASK_FSBASE: u64 = 0;
    /// Offset of `mm_struct.pgd`.
    MM_PGD: u64 = 0;
    /// Offset of `folio.index`.
    FOLIO_INDEX: u64 = 0;
    /// Offset of `folio.mapping`.
    FOLIO_MAPPING: u64 = 0;
    /// Offset of the pages of a large folio (`folio._nr_pages`); 0: not kept there.
    FOLIO_PAGES: u64 = 0;
    /// `PG_head`, the bit of `folio.flags` that a large folio has.
    FOLIO_HEAD: u64 = 0;
    /// Offset of `address_space.host`.
    MAPPING_HOST: u64 = 0;
    /// Offset of `address_space.i_mmap`, of which the first member is the root of the tree.
    MAPPING_MMAP: u64 = 0;
    /// Offset of `inode.i_ino`.
    INODE_NUMBER: u64 = 0;
    /// Offset of `inode.i_sb`.
    INODE_SUPER: u64 = 0;
    /// Offset of `super_block.s_dev`.
    SUPER_DEVICE: u64 = 0;
    /// Offset of `task_struct.files`.
    TASK_FILES: u64 = 0;
    /// Offset of `files_struct.fdt`.
    FILES_TABLE: u64 = 0;
    /// Offset of `fdtable.max_fds`.
    TABLE_MAX: u64 = 0;
    /// Offset of `fdtable.fd`.
    TABLE_FILES: u64 = 0;
    /// Offset of `file.f_inode`; 0: files are not known by their inodes.
    FILE_INODE: u64 = 0;
    /// Offset of `task_struct.ptrace`.
    TASK_PTRACE: u64 = 0;
    /// Offset of `task_struct.parent`, which is the tracer of a traced task.
    TASK_PARENT: u64 = 0;
    /// Offset of `vm_area_struct.vm_start`.
    VMA_START: u64 = 0;
    /// Offset of `vm_area_struct.vm_end`.
    VMA_END: u64 = 0;
    /// Offset of `vm_area_struct.vm_flags`; 0: the kernel's mappings are not looked at.
    VMA_FLAGS: u64 = 0;
    /// Offset of `vm_area_struct.vm_file`.
    VMA_FILE: u64 = 0;
    /// Offset of `vm_area_struct.vm_ops`.
    VMA_OPS: u64 = 0;
    /// Offset of `vm_area_struct.vm_pgoff`.
    VMA_OFFSET: u64 = 0;
    /// Offset of the seconds of an inode's time of change.
    INODE_CHANGED: u64 = 0;
    /// Offset of its nanoseconds.
    INODE_CHANGED_NS: u64 = 0;
    /// The process of rmap's tracer. Eight bytes: the compiler merges equal constants, and a global
    /// of four bytes that is 0 would be the key 0 of every array too, with what user space sets.
    TRACER: u64 = 0;
    /// 1: children of traced processes are traced as well.
    FOLLOW: u8 = 1;
    /// 1: huge pages may appear, so the page table is looked at after every anonymous fault.
    HUGE_PAGES: u8 = 1;
    /// 1: multi-size huge pages may appear, so the neighbours are looked at as well.
    MULTI_SIZE_PAGES: u8 = 0;
    /// 1: a program at a raw tracepoint may be preempted (since Linux 7.0, kernel commit
    /// f7d327654b88), and is left out for everybody who meets it on that CPU meanwhile.
    PREEMPTED: u8 = 0;
    /// 1: registers and memory of every walked stack are sent as well, for another unwinder.
    CHECK_UNWIND: u8 = 0;
    /// Bytes from one picked byte to the next on average, where allocators have probes of their own
    /// (`rmap attach --malloc`); 0: they have none.
    MALLOC_MEAN: u64 = 0;
}
