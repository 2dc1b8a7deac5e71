//! What the probes remember between events.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST, BPF_RB_NO_WAKEUP, task_struct},
    btf_maps,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use rmap_ebpf::{
    abi,
    logic::{
        hash,
        repeat::{self, Set},
    },
};

use crate::{
    arch,
    arch::page_table::Block,
    kernel::{self, File},
    storage::TaskStorage,
    unwind::{KnownRows, Scratch},
};

/// The records, for user space.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Records of mappings and processes that found no room in [`EVENTS`]: they are few, and without
/// them much of what comes later means something else. User space puts both in order by time.
#[map]
pub static SPILL: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// The processes (tgid) that are traced, and each one's place in [`MAPPINGS`].
#[map]
pub static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Not 0: threads may be stopped for rmap's tracer, see [`crate::hold`].
#[map]
pub static HOLDS: Array<u32> = Array::with_max_entries(1, 0);

/// Raised by user space after every change of [`TARGETS`]; never 0.
#[map]
pub static EPOCH: Array<u64> = Array::with_max_entries(1, 0);

/// What is known of the threads of traced processes.
#[btf_map]
pub static THREADS: TaskStorage<Thread> = TaskStorage::new();

/// The threads that allocate where allocators have probes of their own.
#[btf_map]
pub static ALLOCATING: TaskStorage<Allocating> = TaskStorage::new();

/// The picked blocks that are live, there. User space adds those that a forked process has of its
/// parent, and makes room in the map where it is used.
#[map]
pub static LIVE: HashMap<LiveBlock, u64> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// The program that walks the stack of what was picked there; user space puts it here.
#[map]
pub static MALLOC_WALK: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The address spaces of the traced processes, each with the process that it was made for: whose
/// memory others change.
#[map]
pub static SPACES: HashMap<u64, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// The last access with no fault of a thread, traced or not, that was told.
#[map]
pub static ACCESSES: LruHashMap<u32, Access> = LruHashMap::with_max_entries(4096, 0);

/// The files that traced processes map, or have mapped; those of which nobody asked for longest go
/// first.
#[map]
pub static MAPPED: LruHashMap<File, u32> = LruHashMap::with_max_entries(65_536, 0);

/// The thread that each CPU found last not to be traced: others' faults are most of a machine's,
/// and come in runs.
#[map]
pub static STRANGERS: PerCpuArray<Stranger> = PerCpuArray::with_max_entries(1, 0);

/// Hashes of stacks that user space has, in sets of which a hash's lowest bits give the number. A
/// stack that another one drives out is sent again. A map that looks up and ages by itself costs
/// more than a third of a short walk.
#[map]
pub static SEEN: Array<SeenSet> = Array::with_max_entries(SEEN_SETS, 0);

/// A set of [`SEEN`]; 0 is no hash.
pub type SeenSet = [u64; 4];
/// How many sets there are: a power of two.
pub const SEEN_SETS: u32 = 1 << 14;

/// The `abi::COUNT_` counters.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(abi::COUNTERS, 0);

/// Where a stack is walked: each [`Place`] has its own.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(abi::PLACES_WALKED, 0);

/// Which programs never run at once on one CPU: those of perf events and of classic tracepoints,
/// of which the kernel runs one at a time, and each of the others with itself. Since Linux 7.0
/// one at a raw tracepoint may be preempted, and the next thread's events come in its middle; since
/// 7.2 one at a system call's tracepoint as well (kernel `trace_call_bpf_faultable`), so that there
/// each has a place of its own.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Place {
    /// The end of a fault, a mapping call before Linux 7.0.
    Classic,
    /// `rss_stat`.
    Rss,
    /// `sched_process_fork`.
    Fork,
    /// `writeback_dirty_folio`.
    Dirtied,
    /// `mm_filemap_delete_from_page_cache`.
    Removed,
    /// The allocator's shim (`--malloc`).
    Malloc,
    /// `sched_process_fork`, where the first was left out: see [`crate::parted`].
    ForkAgain,
    /// A mapping call, since Linux 7.0.
    Call,
    /// The same, where the first was left out.
    CallAgain,
    /// Who tells of a fork, and was given no stack.
    ToldFork,
    /// The second one.
    ToldForkAgain,
    /// Who tells of the beginning of a mapping call, and was given no stack.
    Enter,
    /// The second one.
    EnterAgain,
    /// The third one.
    EnterLast,
    /// Who tells of the end of a mapping call, and was given no stack.
    Exit,
    /// The second one.
    ExitAgain,
    /// The third one.
    ExitLast,
}

impl Place {
    /// What a record from here does about waking user space, as flags of `bpf_ringbuf_output`: of
    /// mapping calls that are told in parts (see [`crate::noted`]) it is woken afterwards.
    #[inline(always)]
    pub fn wakes(self) -> u64 {
        if self as u32 >= Self::Call as u32 && !matches!(self, Self::ToldFork | Self::ToldForkAgain)
        {
            u64::from(BPF_RB_NO_WAKEUP)
        } else {
            0
        }
    }
}

/// How many there are.
pub const PLACES: usize = abi::PLACES as usize;

const _: () = assert!(Place::ExitLast as usize == PLACES - 1);
const _: () = assert!(Place::CallAgain as u32 == abi::PLACES_WALKED - 1);
const _: () = assert!(Place::Removed as u32 == abi::PLACES_UNDISTURBED - 1);
const _: () = assert!(Place::Malloc as u32 == abi::PLACES_WITH_MALLOC - 1);

/// The rows that walks found before, by [`Place`] where programs are preempted; else all have the
/// first one.
#[map]
pub static KNOWN: PerCpuArray<KnownRows> = PerCpuArray::with_max_entries(abi::PLACES_WALKED, 0);

/// The walks at ends of faults that this CPU remembers.
#[map]
pub static MEMORIES: PerCpuArray<Set> = PerCpuArray::with_max_entries(repeat::SETS, 0);

/// Where entries of a page table are looked at.
#[map]
pub static BLOCKS: PerCpuArray<Block> = PerCpuArray::with_max_entries(1, 0);

/// Where a fault's record is put together.
#[map]
pub static FAULTS: PerCpuArray<abi::FaultRecord> = PerCpuArray::with_max_entries(1, 0);

/// The program of a fault's end, to which the one of major faults goes on; user space puts it here.
#[map]
pub static FAULT_END: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Where the record of an access with no fault is put together.
#[map]
pub static RSS: PerCpuArray<abi::RssRecord> = PerCpuArray::with_max_entries(1, 0);

/// Where a stack that cannot be walked here is put together.
#[map]
pub static RAW_STACKS: PerCpuArray<abi::RawStackRecord> =
    PerCpuArray::with_max_entries(PLACES as u32, 0);

/// The unwind tables: index words and rows, as `abi` describes them.
#[btf_map]
pub static SLABS: btf_maps::ArrayOfMaps<
    btf_maps::Array<[u32; abi::SLAB_WORDS], 1, { BPF_F_MMAPABLE as usize }>,
    { abi::SLABS as usize },
> = btf_maps::ArrayOfMaps::new();

/// Rules that fit no row.
#[map]
pub static RULES: Array<abi::Rule> = Array::with_max_entries(abi::RULES as u32, 0);

/// The executable mappings of the traced processes.
#[map]
pub static MAPPINGS: Array<abi::Mappings> =
    Array::with_max_entries(abi::MAPPING_SLOTS, BPF_F_MMAPABLE);

/// The threads for which probes of this CPU read user memory just now, by [`Place`]; 0: none.
/// Faults that they cause are not the program's.
#[map]
pub static BUSY: PerCpuArray<[u32; PLACES]> = PerCpuArray::with_max_entries(1, 0);

/// A probe begins to read user memory for a thread; with 0 it ends. False if it must not begin.
#[inline(always)]
pub fn busy(place: Place, tid: u32) -> bool {
    let Some(busy) = BUSY.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own slot, and of it the part that no other program writes now.
    unsafe { (&raw mut (*busy)[place as usize]).write_volatile(tid) };
    true
}

/// Whether a probe reads user memory for this thread.
#[inline(always)]
pub fn is_busy(tid: u32) -> bool {
    BUSY.get(0).is_some_and(|busy| busy.contains(&tid))
}

/// What user space finds out after the load.
#[map]
pub static LATE: Array<Late> = Array::with_max_entries(1, 0);

/// A thread of a traced process.
#[repr(C)]
pub struct Thread {
    /// The [`EPOCH`] at which its process was traced and had `slot`; 0: never.
    pub epoch: u64,
    /// The fault that it is in.
    pub bracket: Bracket,
    /// Its process's value in [`TARGETS`].
    pub slot: u32,
    /// Not 0: user space is to be woken, see [`crate::noted`].
    pub wake: u32,
    /// What a program has told of the thread that others may tell as well, see [`crate::parted`].
    pub told: u64,
    /// The stack of what it is doing.
    pub kept: Kept,
    /// The mapping call at whose beginning or end it is, or was last, see [`crate::noted`].
    pub call: Call,
}

/// A thread whose allocator has probes, see `probes::allocator`.
#[repr(C)]
pub struct Allocating {
    /// Bytes to its next point; 0: none was drawn.
    pub left: u64,
    /// The address space for which it was drawn.
    pub mm: u64,
    /// The outermost call that it is in, and the innermost one that this has made.
    pub outer: Return,
    pub inner: Return,
    /// How many calls the outermost one has made.
    pub nested: u64,
    /// What the outermost call is to allocate.
    pub asked: u64,
    /// Not 0: it was picked.
    pub picked: u64,
    /// Where it puts the address; 0: it returns it.
    pub out: u64,
    /// The picked block that it is about to free, if there is one.
    pub moving: u64,
    /// The stack of what was picked.
    pub stack: u64,
}

/// To where a function that has a return probe returns. While it runs, the kernel's own address
/// stands on the stack instead.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Return {
    /// Where the address is on the stack; 0: there is no such function.
    pub at: u64,
    /// The address.
    pub to: u64,
}

impl Return {
    pub const NONE: Self = Self { at: 0, to: 0 };
}

/// A block in an address space.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct LiveBlock {
    pub mm: u64,
    pub address: u64,
}

/// A beginning or an end of a mapping call, see [`crate::noted`].
#[repr(C)]
pub struct Call {
    /// What tells it from the one before; 0: there is none.
    pub what: u64,
    /// [`Call::WALKED`], [`Call::TOLD`].
    pub done: u64,
    /// What is to be told of it.
    pub record: abi::MapRecord,
}

impl Call {
    /// Its stack was walked, or sent for user space to walk.
    pub const WALKED: u64 = 1;
    /// User space was told.
    pub const TOLD: u64 = 2;
}

/// A thread that is not traced.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Stranger {
    /// Its process and its own id, see [`kernel::id`]. A forked process has another one, and the
    /// [`EPOCH`] changes long before ids come again.
    pub id: u64,
    /// The [`EPOCH`] at which its process was not traced.
    pub epoch: u64,
}

impl Stranger {
    /// Whether it is this thread, and nothing has changed since.
    #[inline(always)]
    fn is(&self, id: u64, epoch: u64) -> bool {
        self.id == id && self.epoch == epoch
    }
}

/// A stack that another program will tell of, see [`crate::parted`].
#[repr(C)]
pub struct Kept {
    /// Of what it is; 0: of nothing.
    pub mark: u64,
    /// Its name; 0: none.
    pub hash: u64,
}

/// One fault of one thread, from its entry on.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Bracket {
    /// The thread's address space.
    pub mm: u64,
    /// The address that faulted.
    pub address: u64,
    /// The processor's error code.
    pub error_code: u32,
    /// Bit `n`: the counter of member `n` moved.
    pub members: u32,
    /// [`Bracket::OPEN`] and [`Bracket::KERNEL`].
    pub flags: u32,
    /// Not used.
    pub reserved: u32,
    /// Of a write to a page that was there: the physical page, 0 if it was not read.
    pub frame: u64,
    /// Where the registers of a fault in kernel mode lie, and what they were; else 0.
    pub regs: u64,
    /// A hash of them.
    pub mark: u64,
}

impl Bracket {
    /// The fault is under way.
    pub const OPEN: u32 = 1;
    /// It was taken in kernel mode.
    pub const KERNEL: u32 = 2;
    /// It waited for I/O.
    pub const MAJOR: u32 = 4;

    /// Whether the thread is in this fault. One that failed (a signal, or an error of the system
    /// call that touched the memory) has no end that is told, so the bracket alone does not say:
    /// a fault in user mode is in no system call, and one in kernel mode has its registers where
    /// they were.
    /// `syscall`: the call that the thread is in, −1 outside of any.
    #[inline(always)]
    pub fn under_way(&self, syscall: i64) -> bool {
        if self.flags & Self::OPEN == 0 {
            return false;
        }
        if self.flags & Self::KERNEL != 0 {
            return Self::mark_of(self.regs) == self.mark;
        }
        syscall < 0
    }

    /// A hash of the registers of a fault in kernel mode; 0 if they cannot be read.
    #[inline(always)]
    pub fn mark_of(regs: u64) -> u64 {
        let Some(registers) = arch::exception(regs) else { return 0 };
        let mut sum = hash::START;
        let mut at = 0;
        while at < registers.len() {
            sum = hash::add(sum, registers[at]);
            at += 1;
        }
        sum
    }
}

/// An access with no fault.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Access {
    /// Of the address space, the call, the memory that it names, and the stack pointer.
    pub hash: u64,
    /// When it last moved a counter, on `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

/// What user space finds out after the load.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Late {
    /// Where the kernel maps physical memory (`page_offset_base`); 0: not known, page tables are
    /// not read.
    pub page_offset: u64,
    /// Levels of the page table: 4 or 5.
    pub levels: u64,
}

/// If a process is traced, its place in [`MAPPINGS`].
#[inline(always)]
pub fn target(pid: u32) -> Option<u32> {
    // SAFETY: the value is copied at once; at worst a process that ended a moment ago is seen.
    unsafe { TARGETS.get(&pid) }.copied()
}

/// Whether the current thread's process is traced.
pub enum Traced {
    /// It is not.
    No,
    /// It is; what is known of the thread.
    Yes(&'static mut Thread),
    /// It is, but there is no memory for what is known of the thread.
    Unkept,
}

/// Looks whether `task`, the current one, belongs to a traced process. The table of processes is
/// asked only if it has changed since the thread was here last.
#[inline(always)]
pub fn traced(task: *mut task_struct) -> Traced {
    // Read before the table is, so that a change in between is noticed the next time.
    let epoch = EPOCH.get(0).copied().unwrap_or(0);
    let id = kernel::id(task);
    // SAFETY: this CPU's own slot; only strangers write it, and no two of them at once: faults come
    // here with interrupts off.
    let stranger = STRANGERS.get_ptr_mut(0).map(|stranger| unsafe { &mut *stranger });
    if let Some(stranger) = &stranger
        && stranger.is(id, epoch)
    {
        return Traced::No;
    }
    // SAFETY: only programs that run in this very thread use its value, and it lives as long.
    let known = THREADS.get(task).map(|mut thread| unsafe { thread.as_mut() });
    match known {
        Some(thread) if thread.epoch == epoch => Traced::Yes(thread),
        known => {
            let Some(slot) = target((id >> 32) as u32) else {
                if let Some(stranger) = stranger {
                    *stranger = Stranger { id, epoch };
                }
                return Traced::No;
            };
            // SAFETY: as above.
            let new = || THREADS.get_or_make(task).map(|mut new| unsafe { new.as_mut() });
            let Some(thread) = known.or_else(new) else { return Traced::Unkept };
            // That of a process which ran before it was traced. A vfork child is in its parent's,
            // which was here before.
            let _ = SPACES.insert(&kernel::mm(task), &kernel::tgid(task), BPF_NOEXIST.into());
            thread.epoch = epoch;
            thread.slot = slot;
            Traced::Yes(thread)
        }
    }
}

/// Whether `task`, the current one, is the thread that this CPU found last not to be traced.
#[inline(always)]
pub fn is_stranger(task: *mut task_struct) -> bool {
    let epoch = EPOCH.get(0).copied().unwrap_or(0);
    STRANGERS.get(0).is_some_and(|stranger| stranger.is(kernel::id(task), epoch))
}
