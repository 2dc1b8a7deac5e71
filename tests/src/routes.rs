//! Every way in which memory becomes resident or dirty, moves, or goes, in one table: what shows it
//! here, or why nothing does.
//!
//! Comes in: nothing. Goes out: [`ROUTES`], which `cargo xtask matrix` runs and `docs/routes.md`
//! prints. A new route is a new row.

use std::fmt::Write as _;

/// One way.
pub struct Route {
    /// What it is, in words.
    pub row: &'static str,
    /// What shows it.
    pub shown: Shown,
}

/// What shows a route.
pub enum Shown {
    /// A workload of which the regions must be told exactly so. All rows of one region together are
    /// all that is in it.
    By(&'static Workload, &'static [Truth]),
    /// Another privileged test, by its file and name.
    Test(&'static str),
    /// Nothing here, and why.
    Never(&'static str),
}

/// A workload and how it is run.
#[derive(PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// Its arguments; `FILE` is the name of a file of its own.
    pub args: &'static [&'static str],
    /// Options of rmap.
    pub options: &'static [&'static str],
    /// Settings of the machine that it needs: file and value.
    pub settings: &'static [(&'static str, &'static str)],
    /// It needs swap.
    pub swap: bool,
    /// Linux before this version (major, minor) cannot tell what it does, and why.
    pub since: Option<((u32, u32), &'static str)>,
}

impl Workload {
    /// Why this kernel cannot tell what it does.
    #[must_use]
    pub fn untold(&self, version: (u32, u32)) -> Option<String> {
        let ((major, minor), why) = self.since.filter(|(since, _)| version < *since)?;
        Some(format!("before Linux {major}.{minor} {why}"))
    }
}

/// What is true of a region at the end.
pub struct Truth {
    /// The region.
    pub region: &'static str,
    /// The function that did it; empty for any.
    pub function: &'static str,
    /// The cause, or `not explained: ` and the reason.
    pub cause: &'static str,
    /// Which pages.
    pub of: Of,
}

/// Which pages.
#[derive(Clone, Copy)]
pub enum Of {
    /// Those that the workload says of the function are resident and dirty.
    Both,
    /// They are resident only.
    Resident,
    /// So many are resident and dirty as the workload says in this number.
    BothOf(&'static str),
    /// So many are resident only.
    ResidentOf(&'static str),
    /// So many are dirty, which somebody else made resident.
    DirtyOf(&'static str),
}

const fn of(region: &'static str, function: &'static str, cause: &'static str, of: Of) -> Truth {
    Truth { region, function, cause, of }
}

const fn both(region: &'static str, function: &'static str, cause: &'static str) -> Truth {
    of(region, function, cause, Of::Both)
}

const fn resident(region: &'static str, function: &'static str, cause: &'static str) -> Truth {
    of(region, function, cause, Of::Resident)
}

const fn plain(name: &'static str) -> Workload {
    Workload { name, args: &[], options: &[], settings: &[], swap: false, since: None }
}

const fn of_file(name: &'static str) -> Workload {
    Workload { args: &["FILE"], ..plain(name) }
}

/// What a process does to its own memory with no fault.
const fn no_fault(workload: Workload) -> Workload {
    let why = "the counters are gathered in the thread, and tell of pages that came with no fault \
               when the call is over";
    Workload { since: Some(((6, 2), why)), ..workload }
}

const fn route(row: &'static str, shown: Shown) -> Route {
    Route { row, shown }
}

const fn by(row: &'static str, workload: &'static Workload, truth: &'static [Truth]) -> Route {
    route(row, Shown::By(workload, truth))
}

const fn test(row: &'static str, name: &'static str) -> Route {
    route(row, Shown::Test(name))
}

const fn never(row: &'static str, why: &'static str) -> Route {
    route(row, Shown::Never(why))
}

const INTERLEAVED: Workload = plain("interleaved");
const ZERO_PAGE: Workload = plain("zero_page");
const COLLAPSE: Workload = plain("collapse");
const FILE_PRIVATE: Workload = of_file("file_private");
const FILE_SHARED: Workload = of_file("file_shared");
const FILE_STATES: Workload = of_file("file_states");
const FILE_WRITERS: Workload = of_file("file_writers");
const STRANGER: Workload = Workload { options: &["--no-follow"], ..of_file("file_writers") };
const SHARED_MEMORY: Workload = plain("shared_memory");
const POPULATE: Workload = plain("populate");
const POPULATE_FILE: Workload = of_file("populate_file");
const NO_EFFECT: Workload = plain("no_effect");
const LAZY_FREE: Workload = plain("lazy_free");
const REMAP: Workload = plain("remap");
const FORK_COW: Workload = plain("fork_cow");
const PINNED: Workload = no_fault(of_file("pinned"));
const VECTORS: Workload = no_fault(of_file("vectors"));
const URING: Workload = no_fault(of_file("uring"));
const FAILED_FAULT: Workload = no_fault(of_file("failed_fault"));
const CLONE_VM: Workload = Workload { args: &["vm"], ..plain("clones") };
const REMOTE: Workload = plain("remote");
const USER_FAULT: Workload = no_fault(plain("user_fault"));
const TRUNCATED: Workload = of_file("truncated");
const MTHP: Workload = Workload {
    settings: &[("/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled", "madvise")],
    ..plain("mthp")
};
const HUGETLB: Workload =
    Workload { settings: &[("/proc/sys/vm/nr_hugepages", "1")], ..plain("hugetlb") };
const KHUGEPAGED: Workload = Workload {
    settings: &[
        ("/sys/kernel/mm/transparent_hugepage/khugepaged/alloc_sleep_millisecs", "20"),
        ("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", "65536"),
        ("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "20"),
    ],
    ..plain("khugepaged")
};
/// KSM, as fast as it can be.
pub const MERGED: Workload = Workload {
    settings: &[
        ("/sys/kernel/mm/ksm/pages_to_scan", "100000"),
        ("/sys/kernel/mm/ksm/sleep_millisecs", "5"),
        ("/sys/kernel/mm/ksm/run", "1"),
    ],
    ..plain("merged")
};
const SWAPPED: Workload = Workload { swap: true, ..plain("swapped") };
const SILENT: Workload = plain("silent");
/// Nobody else can trace the child that is written to: it is looked at from time to time.
const POKED: Workload = Workload { options: &["--interval", "0.05"], ..of_file("poked") };

/// Dirty by the process's own page table, and no event told.
const SILENTLY: &str = "not explained: shared-write-without-fault";

/// The table.
pub const ROUTES: &[Route] = &[
    by(
        "first write to private anonymous memory",
        &INTERLEAVED,
        &[
            both("written", "write_first_of_three", "first-write"),
            both("written", "write_second_of_three", "first-write"),
        ],
    ),
    by(
        "first write to the heap (brk)",
        &plain("brk_shrink"),
        &[both("heap", "fill_heap", "first-write")],
    ),
    by(
        "the stack grows",
        &plain("stack_deep"),
        &[
            of("stack", "deepen", "stack-growth", Of::BothOf("grown")),
            of("stack", "deepen", "first-write", Of::BothOf("inside")),
        ],
    ),
    by(
        "untouched anonymous memory is read (the zero page, which is not resident)",
        &INTERLEAVED,
        &[both("untouched", "read_untouched", "first-write")],
    ),
    by(
        "write over the zero page",
        &ZERO_PAGE,
        &[both("memory", "write_over_zeros", "zero-page-write")],
    ),
    by("first write gives a huge page", &plain("huge"), &[both("huge", "touch_huge", "huge-page")]),
    by(
        "the huge zero page is read, then written",
        &plain("huge_zero"),
        &[
            of("huge", "write_over_huge_zeros", "huge-page", Of::BothOf("whole")),
            of("huge", "write_over_huge_zeros", "zero-page-write", Of::BothOf("split")),
        ],
    ),
    by(
        "first write gives a folio of 64 KiB (mTHP)",
        &MTHP,
        &[both("folios", "touch_blocks", "mthp")],
    ),
    by(
        "part of a huge page is dropped, some of it written again",
        &COLLAPSE,
        &[
            both("dropped", "touch_huge", "huge-page"),
            both("dropped", "refill_part", "first-write"),
        ],
    ),
    by(
        "a private file mapping is read, with neighbours",
        &FILE_PRIVATE,
        &[resident("read", "read_pages", "file-read")],
    ),
    by(
        "a private file mapping is written where it was read",
        &FILE_PRIVATE,
        &[both("read", "rewrite_pages", "file-cow")],
    ),
    by(
        "a private file mapping is written where it was not read",
        &FILE_PRIVATE,
        &[both("unread", "write_unread", "file-cow")],
    ),
    by(
        "a shared file mapping is read",
        &FILE_SHARED,
        &[resident("read", "read_pages", "file-read")],
    ),
    by(
        "a shared file mapping is written where it was read",
        &FILE_SHARED,
        &[of("read", "write_read", "shared-write", Of::DirtyOf("written_after_read"))],
    ),
    by(
        "a shared file mapping is written where it was not read",
        &FILE_SHARED,
        &[both("unread", "write_unread", "shared-write")],
    ),
    by(
        "writeback cleans a shared file mapping (msync, fsync)",
        &FILE_STATES,
        &[resident("clean", "write_synced", "shared-write")],
    ),
    by(
        "a shared file mapping is written again after writeback",
        &FILE_STATES,
        &[
            resident("again", "write_synced", "shared-write"),
            of("again", "write_again", "shared-write", Of::DirtyOf("again_dirty_pages")),
        ],
    ),
    by(
        "shared memory is touched: memfd, shared anonymous, System V",
        &SHARED_MEMORY,
        &[
            both("memfd", "write_memfd", "shared-memory"),
            both("anon", "write_shared_anon", "shared-memory"),
            both("sysv", "write_sysv", "shared-memory"),
        ],
    ),
    by(
        "shared memory is written where it was read (no event), by itself and by a child",
        &SILENT,
        &[
            both("own", "write_first", "shared-memory"),
            resident("own", "read_rest", "shared-memory"),
            of("own", "", SILENTLY, Of::DirtyOf("own_silent_pages")),
            resident("child", "read_all", "shared-memory"),
            of("child", "", SILENTLY, Of::DirtyOf("other_dirty_pages")),
            resident("other", "read_all", "shared-memory"),
            of("other", "", "not explained: page-cache-write", Of::DirtyOf("other_dirty_pages")),
        ],
    ),
    by(
        "hugetlb pages, which smaps counts apart",
        &HUGETLB,
        &[both("hugetlb", "touch_hugetlb", "first-write")],
    ),
    by("MAP_POPULATE", &POPULATE, &[both("map", "map_populated", "populate")]),
    by("mlock", &POPULATE, &[both("lock", "lock_pages", "populate")]),
    by(
        "MADV_POPULATE_WRITE of anonymous memory",
        &POPULATE,
        &[both("advise", "populate_write", "populate")],
    ),
    by(
        "mlockall",
        &plain("lock_all"),
        &[both("before", "lock_all", "populate"), both("after", "map_locked", "populate")],
    ),
    by(
        "MADV_POPULATE_READ of a file",
        &POPULATE_FILE,
        &[resident("read", "populate_read", "populate")],
    ),
    by(
        "MADV_POPULATE_WRITE of a file, private and shared",
        &POPULATE_FILE,
        &[
            both("copied", "populate_write", "populate"),
            both("written", "populate_write", "populate"),
        ],
    ),
    by(
        "MAP_POPULATE of a shared file mapping populates as a read",
        &FILE_STATES,
        &[
            of("populated", "", "populate", Of::ResidentOf("populated_pages")),
            of(
                "populated",
                "write_populated",
                "shared-write",
                Of::DirtyOf("populated_dirty_pages"),
            ),
        ],
    ),
    by(
        "MAP_POPULATE without PROT_WRITE, mlock2(MLOCK_ONFAULT), MADV_WILLNEED, MADV_DONTFORK: nothing",
        &NO_EFFECT,
        &[
            of("populated", "", "populate", Of::BothOf("nothing")),
            of("locked", "", "populate", Of::BothOf("nothing")),
            of("needed", "", "populate", Of::BothOf("nothing")),
            of("kept", "", "populate", Of::BothOf("nothing")),
        ],
    ),
    by(
        "write(2) from untouched memory: nothing",
        &NO_EFFECT,
        &[of("source", "", "kernel-write", Of::BothOf("nothing"))],
    ),
    by(
        "MADV_DONTNEED, and a refill",
        &plain("dontneed"),
        &[both("memory", "fill_first", "first-write"), both("memory", "refill", "first-write")],
    ),
    by(
        "MADV_FREE cleans, a write after it is silent",
        &LAZY_FREE,
        &[
            resident("freed", "fill", "first-write"),
            resident("freed", "free_lazily", "given-up"),
            of(
                "freed",
                "",
                "not explained: write-after-madv-free",
                Of::DirtyOf("freed_dirty_pages"),
            ),
        ],
    ),
    by(
        "MADV_FREE, and the kernel takes the pages back",
        &LAZY_FREE,
        &[of("taken", "", "first-write", Of::BothOf("taken_dirty_pages"))],
    ),
    by("MADV_COLD changes nothing", &LAZY_FREE, &[both("cold", "fill", "first-write")]),
    by(
        "mremap moves and grows a mapping",
        &plain("mremap_grow"),
        &[both("moved", "fill_small", "first-write"), both("moved", "fill_grown", "first-write")],
    ),
    by("mremap shrinks a mapping", &REMAP, &[both("shrunk", "fill", "first-write")]),
    by(
        "mremap with MREMAP_DONTUNMAP, and a refill of what is left",
        &REMAP,
        &[both("moved", "fill", "first-write"), both("left", "refill", "first-write")],
    ),
    by(
        "mremap of no bytes makes a second mapping of shared memory",
        &REMAP,
        &[
            both("shared", "fill", "shared-memory"),
            of("second", "read_second", "shared-memory", Of::Resident),
            of("second", "fill", "shared-memory", Of::DirtyOf("second_dirty_pages")),
        ],
    ),
    by(
        "mappings are split and joined by mprotect, renamed, and grow down: the same memory",
        &of_file("mapped"),
        &[
            both("split-low", "fill", "first-write"),
            both("split-middle", "fill", "first-write"),
            both("split-high", "fill", "first-write"),
            both("joined", "fill", "first-write"),
            both("named", "fill", "first-write"),
            both("named", "fill_again", "first-write"),
            both("down", "fill_down", "stack-growth"),
        ],
    ),
    by("mprotect there and back", &REMAP, &[both("protected", "fill", "first-write")]),
    by(
        "fork copies the page tables; child and parent write while both live",
        &FORK_COW,
        &[
            both("child", "child_rewrites", "fork-cow"),
            of("child", "", "fork-copy", Of::BothOf("copied_pages")),
            both("parent", "parent_fills", "first-write"),
            both("parent", "parent_rewrites", "fork-cow"),
        ],
    ),
    by(
        "after fork the last owner of a page reuses it",
        &plain("reused"),
        &[
            both("child", "child_copies", "fork-cow"),
            of("child", "", "fork-copy", Of::BothOf("child_inherited")),
            both("parent", "parent_fills", "first-write"),
            both("parent", "parent_copies", "fork-cow"),
        ],
    ),
    by(
        "a vfork child writes its parent's memory",
        &plain("vfork_child"),
        &[
            both("memory", "parent_writes", "first-write"),
            both("memory", "child_writes", "first-write"),
        ],
    ),
    by(
        "clone with CLONE_VM alone: two processes write one memory at once",
        &CLONE_VM,
        &[
            both("memory", "clone_writes", "first-write"),
            both("memory", "maker_writes", "first-write"),
        ],
    ),
    test(
        "clone with other flags, PID namespaces, process ids that are used again",
        "trees::children_of_odd_clones_are_told_each",
    ),
    by(
        "exec in the middle of a process",
        &plain("exec_middle"),
        &[both("new", "after_exec", "first-write")],
    ),
    test(
        "exit: the last snapshot is of the process as it stood",
        "processes::an_exec_in_the_middle_leaves_only_the_new_programs_memory",
    ),
    by(
        "khugepaged joins small pages, and fills the holes",
        &KHUGEPAGED,
        &[
            both("collapsed", "fill_half", "first-write"),
            of("collapsed", "", "collapse", Of::BothOf("holes")),
        ],
    ),
    by(
        "MADV_COLLAPSE",
        &COLLAPSE,
        &[both("collapsed", "fill_half", "first-write"), both("collapsed", "collapse", "collapse")],
    ),
    by("O_DIRECT reads into fresh memory", &PINNED, &[both("fresh", "read_direct", "pinned")]),
    by(
        "O_DIRECT reads into touched memory, or writes from untouched memory: nothing",
        &PINNED,
        &[both("touched", "touch_before", "first-write"), both("source", "write_direct", "pinned")],
    ),
    by(
        "readv with O_DIRECT, and vectors of many parts",
        &VECTORS,
        &[both("few", "read_few", "pinned"), both("many", "read_many", "pinned")],
    ),
    by(
        "a fault fails (by a signal, by an error of the call), then O_DIRECT reads into fresh memory",
        &FAILED_FAULT,
        &[
            both("signalled", "read_after_signal", "pinned"),
            both("failed", "read_after_error", "pinned"),
            both("same", "read_both", "pinned"),
        ],
    ),
    by(
        "io_uring registers buffers",
        &URING,
        &[both("one", "register_buffers", "pinned"), both("two", "register_buffers", "pinned")],
    ),
    by(
        "io_uring reads with O_DIRECT: the call names no address",
        &URING,
        &[both("read", "enter", "pinned")],
    ),
    by(
        "another process writes: process_vm_writev",
        &REMOTE,
        &[both("vm", "write_vm", "remote-write")],
    ),
    by(
        "another process writes: /proc/PID/mem, with the address in the call, and without",
        &REMOTE,
        &[both("mem", "write_mem", "remote-write"), both("at", "write_at", "remote-write")],
    ),
    by(
        "another process writes: PTRACE_POKEDATA, over a file's pages too",
        &POKED,
        &[both("fresh", "poke", "remote-write"), both("file", "poke", "remote-write")],
    ),
    by(
        "another process reads untouched memory: nothing",
        &REMOTE,
        &[both("readonly", "read_vm", "remote-write")],
    ),
    by(
        "the kernel fills the buffer of read(2): a file, a pipe, /dev/zero",
        &of_file("read_into"),
        &[
            both("memory", "read_file", "kernel-write"),
            both("memory", "read_pipe", "kernel-write"),
            both("memory", "read_zero", "kernel-write"),
        ],
    ),
    by(
        "userfaultfd: UFFDIO_COPY, and UFFDIO_ZEROPAGE, which is not resident",
        &USER_FAULT,
        &[both("memory", "copy_in", "userfaultfd")],
    ),
    by(
        "a mapped file is cut, a hole is punched in shared memory",
        &TRUNCATED,
        &[
            resident("cut", "read_pages", "file-read"),
            both("punched", "write_pages", "shared-memory"),
        ],
    ),
    by(
        "write(2) to a file that is mapped, shared and private",
        &FILE_STATES,
        &[
            resident("called", "read_pages", "file-read"),
            of("called", "write_call", "page-cache-write", Of::DirtyOf("called_dirty_pages")),
            resident("called_private", "read_pages", "file-read"),
            of(
                "called_private",
                "write_call",
                "page-cache-write",
                Of::DirtyOf("called_private_dirty_pages"),
            ),
        ],
    ),
    by(
        "sendfile to a mapped file; another traced process writes it by a call, or through its mapping",
        &FILE_WRITERS,
        &[
            resident("sent", "read_pages", "file-read"),
            of("sent", "send_pages", "page-cache-write", Of::DirtyOf("sent_dirty_pages")),
            resident("written", "store_first", "shared-write"),
            of("written", "child_writes", "page-cache-write", Of::DirtyOf("written_dirty_pages")),
            resident("stored", "read_pages", "file-read"),
            of("stored", "child_stores", "shared-write", Of::DirtyOf("stored_dirty_pages")),
        ],
    ),
    by(
        "a process that is not traced writes a mapped file by a call, or through its mapping",
        &STRANGER,
        &[
            resident("written", "store_first", "shared-write"),
            of("written", "", "not explained: stranger", Of::DirtyOf("written_dirty_pages")),
            resident("stored", "read_pages", "file-read"),
            of("stored", "", "not explained: stranger", Of::DirtyOf("stored_dirty_pages")),
        ],
    ),
    by(
        "another process cuts a mapped file",
        &FILE_WRITERS,
        &[resident("cut", "read_pages", "file-read")],
    ),
    test(
        "one byte is written into a large folio",
        "file_writers::a_traced_child_that_writes_the_parents_files_is_named_by_its_functions",
    ),
    by(
        "swap, by the process's wish; back by a read, by a write, and a write after a read",
        &SWAPPED,
        &[
            resident("swapped", "read_back", "swap-in"),
            both("swapped", "write_back", "swap-in"),
            of("swapped", "write_after_read", "protected-write", Of::DirtyOf("told_pages")),
            of("swapped", "", "not explained: write-after-swap-in", Of::DirtyOf("silent_pages")),
        ],
    ),
    by(
        "KSM merges pages, and a write copies one",
        &MERGED,
        &[
            both("written", "write_merged", "ksm-cow"),
            both("written", "fill_equal", "first-write"),
            both("merged", "fill_equal", "first-write"),
        ],
    ),
    test(
        "the kernel takes pages back in a group of processes with a limit",
        "kernel_moves::what_a_group_under_pressure_lost_is_debited_and_told_as_reclaim",
    ),
    test(
        "the vdso, and special mappings that are in no figure",
        "kernel_moves::the_vdso_and_its_data_are_accounted",
    ),
    never(
        "the kernel splits huge pages that hold only zeros (the shrinker of underused THP)",
        "it comes under memory pressure of the whole machine alone",
    ),
    never(
        "compaction and migration",
        "they move no counter and leave no trace in smaps; what a snapshot may meet in their middle \
         has the reason `migration`",
    ),
    never("a NUMA hint fault", "this needs a machine with two nodes; it changes no figure"),
    never("DAX", "this needs persistent memory; up to Linux 6.12 it is not part of RSS"),
];

/// The table as `docs/routes.md` has it.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| route | shown by |\n|---|---|\n");
    for Route { row, shown } in ROUTES {
        // Writing to a String cannot fail.
        let _ = match shown {
            Shown::By(workload, truth) => {
                let mut causes: Vec<&str> = truth.iter().map(|truth| truth.cause).collect();
                causes.dedup();
                writeln!(text, "| {row} | `{}`: {} |", workload.name, causes.join(", "))
            }
            Shown::Test(name) => writeln!(text, "| {row} | test `{name}` |"),
            Shown::Never(why) => writeln!(text, "| {row} | not run: {why} |"),
        };
    }
    text
}
