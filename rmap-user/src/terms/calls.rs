//! By which call a mapping was made: one row a call.

super::terms! {
    /// By which call a mapping was made.
    pub enum MapCallKind: "mapping call" {
        Mmap: "mmap", "by mmap",
            "";
        Brk: "brk", "by brk",
            "";
        Mremap: "mremap", "by mremap, which moved it or made it a second mapping",
            "";
        Shmat: "shmat", "by shmat",
            "";
        Exec: "exec", "by the kernel, when it loaded the program",
            "";
        Stack: "stack", "by the kernel: the first thread's stack",
            "";
        Fork: "fork", "inherited from the parent",
            "";
        Unknown: "unknown", "it was there before, or the call was not seen",
            "";
    }
}
