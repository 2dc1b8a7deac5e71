//! What happened, as owned and typed events: plain data.
//!
//! Comes in: nothing; [`super::decode`] makes events of the probes' records, a recording holds them.
//! Goes out: the types. Numbers without a meaning here stay numbers.

use super::malloc::MallocCall;
use super::python::Runtime;
pub use super::stack_hash::StackHash;

/// Names one address space. The kernel uses the same value again after the space is gone, so it
/// means something only between the fork or exec that made it and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MmId(pub u64);

impl MmId {
    /// Of a process that was there before, and of which no event has named it yet.
    pub const UNKNOWN: Self = Self(0);
}

/// Names one file by its file system and inode, as maps shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device of the file system, major and minor.
    pub device: (u32, u32),
    /// The inode.
    pub inode: u64,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// The process (tgid) in whose context it happened.
    pub pid: u32,
    /// The thread in whose context it happened.
    pub tid: u32,
    /// The address space that it is about.
    pub mm: MmId,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A page fault that is done.
    Fault(Fault),
    /// A system call that changes mappings.
    Map(MapCall),
    /// A new thread or process.
    Fork(Fork),
    /// A program was executed; [`Event::mm`] is the new address space.
    Exec {
        /// The thread id before the call.
        old_tid: u32,
    },
    /// A thread ended.
    Exit {
        /// It was the last thread of its process.
        group_dead: bool,
        /// As of `wait(2)`.
        code: i32,
    },
    /// A user stack, sent before the first event that names it.
    Stack(Stack),
    /// A user stack that is still to be walked, sent before the first event that names it.
    RawStack(Box<RawStack>),
    /// A counter moved while no fault was under way.
    Rss(Rss),
    /// Pages of a mapped file became dirty, or left the page cache.
    File(FileChange),
    /// An allocator's block was picked or freed (`--malloc`).
    Malloc(MallocCall),
    /// Frames or code of a language runtime.
    Runtime(Box<Runtime>),
    /// Events were lost, the last of them at [`Event::time_ns`].
    Missing(Missing),
}

/// Faults of one thread, one after the other, that differ in nothing but their addresses and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRun {
    /// The first event; its body is [`Body::Fault`].
    pub first: Event,
    /// From each address to the next one, in bytes.
    pub stride: i64,
    /// When each of them happened.
    pub times_ns: Vec<u64>,
}

/// Bytes of a page: runs go from one to the next.
const PAGE: u64 = 4096;

impl FaultRun {
    /// Most faults of a run that is still to be applied.
    const MOST: usize = 4096;

    /// Begins with an event, if it is the first write to a page, and tells of no neighbours. `times`
    /// is memory to be used again.
    #[must_use]
    pub fn begin(event: &Event, times: &mut Vec<u64>) -> Option<Self> {
        let Body::Fault(fault) = &event.body else { return None };
        let writes = fault.access.is_some_and(|access| access.write && !access.present);
        let alone = fault.entry.is_none_or(|entry| entry.window.is_none());
        (writes && alone).then(|| {
            let mut times_ns = std::mem::take(times);
            times_ns.clear();
            times_ns.push(event.time_ns);
            Self { first: event.clone(), stride: 0, times_ns }
        })
    }

    /// Takes the next event, if it goes on in the same way, page by page; false, and nothing is done,
    /// if not.
    pub fn take(&mut self, event: &Event) -> bool {
        let (Body::Fault(first), Body::Fault(next)) = (&self.first.body, &event.body) else {
            return false;
        };
        let of = |event: &Event| (event.pid, event.tid, event.mm);
        let count = self.times_ns.len();
        if of(event) != of(&self.first) || count >= Self::MOST {
            return false;
        }
        let distance = next.address.wrapping_sub(first.address) as i64;
        let goes_on = match count {
            1 => distance.unsigned_abs() == PAGE,
            _ => distance == self.stride.wrapping_mul(count as i64),
        };
        if !goes_on || (Fault { address: first.address, ..*next }) != *first {
            return false;
        }
        if count == 1 {
            self.stride = distance;
        }
        self.times_ns.push(event.time_ns);
        true
    }

    /// The events one by one.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        let mut next = self.first.clone();
        self.times_ns.iter().map(move |time_ns| {
            next.time_ns = *time_ns;
            let event = next.clone();
            if let Body::Fault(fault) = &mut next.body {
                fault.address = fault.address.wrapping_add_signed(self.stride);
            }
            event
        })
    }
}

/// What is known of events that were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Faults on these pages.
    Pages(Box<MissingPages>),
    /// Faults anywhere in the address space.
    Space {
        /// Not only faults: calls that change mappings, forks, execs or exits too.
        calls: bool,
    },
    /// Anything in any address space.
    Anywhere,
}

/// Pages in 2 MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissingPages {
    /// The first page's address, a multiple of 2 MiB.
    pub start: u64,
    /// One bit for each page, the lowest bit of the first number for the first page.
    pub pages: [u64; 8],
}

impl MissingPages {
    /// Notes the page of an address inside.
    pub const fn set(&mut self, address: u64) {
        let page = (address / 4096) as usize % 512;
        self.pages[page / 64] |= 1 << (page % 64);
    }

    /// The runs of neighbouring pages, by address.
    pub fn runs(&self) -> impl Iterator<Item = std::ops::Range<u64>> {
        let set = |page: usize| page < 512 && self.pages[page / 64] & (1 << (page % 64)) != 0;
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = (at..512).find(|page| set(*page))?;
            at = (first..512).find(|page| !set(*page)).unwrap_or(512);
            Some(self.start + first as u64 * 4096..self.start + at as u64 * 4096)
        })
    }
}

/// By how many pages the counters of `kmem:rss_stat` moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// `MM_FILEPAGES`; `None`: it did not move at all.
    pub file: Option<i32>,
    /// `MM_ANONPAGES`.
    pub anon: Option<i32>,
    /// `MM_SWAPENTS`.
    pub swap: Option<i32>,
    /// `MM_SHMEMPAGES`.
    pub shmem: Option<i32>,
}

/// A page fault that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address that faulted, not rounded.
    pub address: u64,
    /// Taken in kernel mode on the thread's behalf.
    pub kernel: bool,
    /// Waited for I/O.
    pub major: bool,
    /// The access, as the processor reported it; `None` if the fault's entry was not seen.
    pub access: Option<Access>,
    /// Which counters moved, and by how much.
    pub delta: Delta,
    /// The amounts in `delta` are the least that is sure; that they moved is sure.
    pub delta_inexact: bool,
    /// What the page table shows at the fault's end; `None` if it was not read.
    pub entry: Option<Entry>,
    /// Of a write to a page that was there: whether the same physical page is there as before, so
    /// that it was not copied; `None` if that is not known.
    pub same_page: Option<bool>,
    /// A write to a page that rmap had write-protected to see who writes again; `None` if the page
    /// table was not read, or the page was not protected.
    pub rewrite: Option<Rewrite>,
    /// The system call in which the thread was.
    pub syscall: Option<i64>,
    /// The thread's user stack.
    pub stack: Option<StackHash>,
}

/// A write to a page that was write-protected to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The page was dirty already, so the write changed nothing but its content.
    pub was_dirty: bool,
}

/// What the page table shows at a fault's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A huge page (2 MiB) maps the address.
    pub huge: bool,
    /// The dirty bit of the entry that maps the address.
    pub dirty: bool,
    /// Bit `n` is set if page `n` from the 64 KiB-aligned address below the faulting one on is
    /// mapped and has a page of its own; for anonymous memory, only pages of the same folio.
    /// `None` if the neighbours were not read.
    pub window: Option<u32>,
}

/// What a faulting access was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The page was present: a protection fault.
    pub present: bool,
    /// A write.
    pub write: bool,
    /// An instruction fetch.
    pub instruction: bool,
}

/// A system call that changes mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapCall {
    /// Its number on this machine.
    pub syscall: i64,
    /// Reported before it took effect; then `result` says nothing.
    pub entry: bool,
    /// An address, 0, or a negative errno.
    pub result: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// The caller's user stack.
    pub stack: Option<StackHash>,
    /// The file that `mmap` has mapped, if it is known.
    pub file: Option<FileId>,
}

/// A new thread or process. The event's `pid`, `tid` and `mm` are the parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The child's process (tgid).
    pub child_pid: u32,
    /// The child's thread id.
    pub child_tid: u32,
    /// The child's address space.
    pub child_mm: MmId,
    /// The child is a thread of the same process.
    pub thread: bool,
    /// The child shares its parent's address space (a thread or a vfork child).
    pub same_mm: bool,
    /// The caller's user stack.
    pub stack: Option<StackHash>,
}

/// A user stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its name in the same address space.
    pub hash: StackHash,
    /// How the walk ended.
    pub end: StackEnd,
    /// Instruction addresses, innermost first: the first one is the instruction itself, the
    /// others are return addresses.
    pub ips: Vec<u64>,
}

/// A user stack as registers and memory: the kernel side had no tables for its code yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// Its name.
    pub hash: StackHash,
    /// How the walk in the kernel ended.
    pub end: StackEnd,
    /// It was walked there under the same name, and this is sent to check that.
    pub check: bool,
    /// The registers in the order of the kernel's `struct pt_regs`, as
    /// `RawStackRecord::registers` of the wire records.
    pub registers: [u64; 21],
    /// The memory from the stack pointer upwards, beginning at the multiple of
    /// `RAW_STACK_ALIGN` below it.
    pub memory: Vec<u8>,
}

/// How the walk of a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StackEnd {
    /// At the outermost frame.
    Complete,
    /// Walked by frame pointers: callers may be missing where code keeps none.
    Approximate,
    /// Deeper than `MAX_FRAMES`.
    Truncated,
    /// A page of the stack could not be read.
    Unreadable,
    /// A frame lies in no known mapping.
    NoMapping,
    /// A frame has no unwind row.
    NoRow,
    /// A frame's rule is not supported.
    Unsupported,
    /// The stack pointer did not rise.
    Inconsistent,
    /// There were no user registers.
    None,
    /// A status that this version does not know.
    Unknown,
}

impl StackEnd {
    /// Every one. Its place is its number in a recording.
    pub const ALL: [Self; 10] = [
        Self::Complete,
        Self::Approximate,
        Self::Truncated,
        Self::Unreadable,
        Self::NoMapping,
        Self::NoRow,
        Self::Unsupported,
        Self::Inconsistent,
        Self::None,
        Self::Unknown,
    ];
}

/// A counter of an address space moved while no fault was under way: memory came with no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The acting thread's own address space; `None` for a thread of the kernel.
    pub actor: Option<MmId>,
    /// The process whose memory it is, if it is not the acting thread's own.
    pub owner: Option<u32>,
    /// The counter, one of the `MEMBER_` constants of the abi.
    pub member: u32,
    /// The system call in which the acting thread was.
    pub syscall: Option<i64>,
    /// The call's second argument.
    pub request: u64,
    /// The memory that the call names: first address, bytes. With none, each page is an event.
    pub ranges: Vec<(u64, u64)>,
    /// It names more than that.
    pub more: bool,
    /// The acting thread's user stack, in its own address space.
    pub stack: Option<StackHash>,
}

/// Pages of a mapped file changed in the page cache. The event's `pid`, `tid` and `mm` are those
/// who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The file.
    pub file: FileId,
    /// The first page's number in the file.
    pub index: u64,
    /// How many pages: those of the folio.
    pub pages: u32,
    /// They left the page cache; else they became dirty.
    pub gone: bool,
    /// By a process that is not traced.
    pub stranger: bool,
    /// In a page fault, which is told by an event of its own.
    pub fault: bool,
    /// The system call in which the acting thread was.
    pub syscall: Option<i64>,
    /// The acting thread's user stack.
    pub stack: Option<StackHash>,
}
