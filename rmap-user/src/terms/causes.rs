//! Why a page became resident or dirty: one row a cause.

super::terms! {
    /// Why a page became resident or dirty.
    pub enum Cause: "cause" {
        FirstWrite: "first-write", "first write to fresh memory: the kernel gave a page of zeros";
        ZeroPageWrite: "zero-page-write",
            "write to memory that had only been read: the zero page was replaced";
        HugePage: "huge-page",
            "a huge page (2 MiB) was given at once; untouched parts of it count too";
        MultiSizeHugePage: "mthp",
            "a large folio (mTHP) was given at once; untouched parts of it count too";
        FileRead: "file-read",
            "pages of a file were mapped; neighbours come along (fault-around)";
        FileCow: "file-cow", "write to a private mapping of a file: the page was copied";
        ForkCow: "fork-cow",
            "write after fork: the page shared with parent or child was copied";
        ForkReuse: "fork-reuse", "write after fork by the last owner: the page was not copied";
        KsmCow: "ksm-cow", "write to a page that KSM had merged with equal ones: it was copied";
        ProtectedWrite: "protected-write",
            "write to a page that was write-protected for no reason that was seen";
        SharedWrite: "shared-write",
            "write to a shared mapping of a file: the file's page became dirty";
        SharedMemory: "shared-memory", "shared memory was touched (shmem, memfd, System V)";
        PageCacheWrite: "page-cache-write",
            "write(2) or the like, by any process, to the mapped file";
        Populate: "populate", "filled on demand of MAP_POPULATE, mlock or MADV_POPULATE";
        KernelWrite: "kernel-write",
            "the kernel wrote into the buffer of a system call (read, recv)";
        Pinned: "pinned", "pinned for access without faults (O_DIRECT, io_uring)";
        UserFault: "userfaultfd", "filled by a handler of userfaultfd (UFFDIO_COPY)";
        RemoteWrite: "remote-write",
            "another process wrote (ptrace, process_vm_writev, /proc/PID/mem)";
        SwapIn: "swap-in", "came back from swap";
        Collapse: "collapse", "khugepaged joined small pages into a huge one";
        ForkCopy: "fork-copy", "copied by fork with the parent's page tables";
        Exec: "exec", "set up by the kernel when the program was loaded";
        StackGrowth: "stack-growth", "the stack grew";
        OtherFault: "other-fault", "a fault that no other rule fits";
    }
}
