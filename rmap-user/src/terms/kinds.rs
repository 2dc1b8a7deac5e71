//! What kind of memory a segment is.

super::terms! {
    /// What kind of memory a segment is.
    pub enum Kind: "kind" {
        Stack: "stack", "The stack of the first thread", "";
        ThreadStack: "thread stack", "The stack of another thread", "`[thread stack 4711 \"worker\"]`";
        Heap: "heap", "The memory below the program break, from which malloc serves first", "";
        MallocArena: "malloc arena", "Memory that an allocator keeps for its small blocks", "`[malloc arena 3]`, in the order of their addresses; `[jemalloc]`, `[tcmalloc]`, `[mimalloc]`";
        MallocBlock: "malloc block", "A large block that malloc mapped by itself", "`[malloc block]`";
        Pymalloc: "pymalloc", "Arenas of Python's allocator of small objects", "`[pymalloc]`";
        JavaHeap: "java heap", "The heap of a Java virtual machine", "`[java heap]`";
        GoArena: "go arena", "The heap of a Go program", "`[go arena]`";
        V8Space: "v8 space", "The heap of V8 (Node.js, Chromium)", "`[v8 space]`";
        JitCode: "jit code", "Executable memory of no file: code made at run time", "named by who made it";
        Anonymous: "anonymous", "Private memory of no file", "with the name that the program gave it, if it did";
        NoAccess: "no access", "Addresses that are reserved, and may not be touched", "";
        Bss: "bss", "Static variables that begin as zero", "`[bss of libc.so.6]`";
        FileCode: "file code", "Executable pages of a program or a library", "";
        FileReadOnly: "file read-only", "Pages of a file that may only be read", "";
        Relro: "relro", "Relocated constants of a program or a library: written by the loader, then read-only", "";
        FileData: "file data", "Pages of a file that may be written, as private copies", "";
        FileShared: "file shared", "Pages of a file; what is written goes to the file", "";
        SharedMemory: "shared memory", "Shared memory: shared anonymous, System V, /dev/shm", "named by who mapped it";
        Memfd: "memfd", "Shared memory of memfd_create", "`[memfd pool, by make_pool]`";
        Huge: "huge", "Huge pages of hugetlbfs", "";
        Vdso: "vdso", "Code and data of the kernel for user space", "";
        Device: "device", "Memory of a device or of the kernel, such as a ring of io_uring", "";
    }
}
