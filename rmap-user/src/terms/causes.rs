//! Why a page became resident or dirty: one row a cause.

super::terms! {
    /// Why a page became resident or dirty.
    pub enum Cause: "cause" {
        FirstWrite: "first-write", "first write to fresh memory: the kernel gave a page of zeros",
            "private memory: it stays until it is unmapped or given up by madvise";
        ZeroPageWrite: "zero-page-write",
            "write to memory that had only been read: the zero page was replaced",
            "as first-write; the read before it took a fault but no memory";
        HugePage: "huge-page",
            "a huge page (2 MiB) was given at once; untouched parts of it count too",
            "MADV_NOHUGEPAGE or prctl(PR_SET_THP_DISABLE) gives single pages";
        MultiSizeHugePage: "mthp",
            "a large folio (mTHP) was given at once; untouched parts of it count too",
            "/sys/kernel/mm/transparent_hugepage/hugepages-*/enabled chooses the sizes";
        FileRead: "file-read",
            "pages of a file were mapped; neighbours come along (fault-around)",
            "clean: the kernel drops it under pressure, and other processes share it";
        FileCow: "file-cow", "write to a private mapping of a file: the page was copied",
            "private and dirty until it is unmapped; relocations of libraries are the usual kind";
        ForkCow: "fork-cow",
            "write after fork: the page shared with parent or child was copied",
            "what was shared is there twice from then on";
        ForkReuse: "fork-reuse", "write after fork by the last owner: the page was not copied",
            "the page stays with the call path that had it; only `touched_bytes` counts it here";
        KsmCow: "ksm-cow", "write to a page that KSM had merged with equal ones: it was copied",
            "what KSM had saved is used again";
        ProtectedWrite: "protected-write",
            "write to a page that was write-protected for no reason that was seen",
            "userfaultfd, soft-dirty tracking or a fork that was not seen may have protected it";
        Rewrite: "rewrite",
            "write to a page that was dirty already, seen because rmap had write-protected it",
            "the page stays with the call path that had it; `rewrites` and `rewritten_bytes` count it";
        SharedWrite: "shared-write",
            "write to a shared mapping of a file: the file's page became dirty",
            "dirty until the kernel has written it back to the file";
        SharedMemory: "shared-memory", "shared memory was touched (shmem, memfd, System V)",
            "it stays as long as a mapping, or the file or the segment that holds it";
        PageCacheWrite: "page-cache-write",
            "write(2) or the like, by any process, to the mapped file",
            "dirty until the kernel has written it back; the call path is the writer's";
        Populate: "populate", "filled on demand of MAP_POPULATE, mlock or MADV_POPULATE",
            "resident at once, whether it is used or not";
        KernelWrite: "kernel-write",
            "the kernel wrote into the buffer of a system call (read, recv)",
            "private memory, as with first-write";
        Pinned: "pinned", "pinned for access without faults (O_DIRECT, io_uring)",
            "the time of the write is not known";
        UserFault: "userfaultfd", "filled by a handler of userfaultfd (UFFDIO_COPY)",
            "memory of the process that another thread or process filled";
        RemoteWrite: "remote-write",
            "another process wrote (ptrace, process_vm_writev, /proc/PID/mem)",
            "no code of the process itself wrote it";
        SwapIn: "swap-in", "came back from swap",
            "clean after a read; dirty after a write";
        Collapse: "collapse", "khugepaged joined small pages into a huge one",
            "RSS grows by the holes; khugepaged/max_ptes_none limits how many it fills";
        ForkCopy: "fork-copy", "copied by fork with the parent's page tables",
            "shared with the parent until one of them writes";
        Exec: "exec", "set up by the kernel when the program was loaded",
            "the program's stack, and pages that its loader in the kernel wrote";
        StackGrowth: "stack-growth", "the stack grew",
            "it stays when the stack becomes shorter";
        GivenUp: "given-up", "given up by MADV_FREE, and still resident",
            "no memory is needed for it: the kernel takes it when it needs some, without writing it";
        OtherFault: "other-fault", "a fault that no other rule fits",
            "please report it";
    }
}
