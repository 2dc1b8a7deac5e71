//! What happened, as owned and typed events.
//!
//! Comes in: bytes of one ring-buffer record ([`rmap_ebpf::abi`]). Goes out: an [`Event`], or a
//! [`DecodeError`] that the caller counts. Nothing is trusted: lengths and kinds are checked, and
//! numbers without a meaning here stay numbers.

use rmap_ebpf::abi;
use zerocopy::FromBytes;

/// Names one address space. The kernel uses the same value again after the space is gone, so it
/// means something only between the fork or exec that made it and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MmId(pub u64);

/// Names one user stack by the hash of its addresses: the same addresses have the same name in
/// every address space, and are sent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackHash(pub u64);

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
    /// The system call in which the thread was.
    pub syscall: Option<i64>,
    /// The thread's user stack.
    pub stack: Option<StackHash>,
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
    /// [`abi::RawStackRecord::registers`].
    pub registers: [u64; 21],
    /// The memory from the stack pointer upwards, beginning at the multiple of
    /// [`abi::RAW_STACK_ALIGN`] below it.
    pub memory: Vec<u8>,
}

/// How the walk of a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StackEnd {
    /// At the outermost frame.
    Complete,
    /// Walked by frame pointers: callers may be missing where code keeps none.
    Approximate,
    /// Deeper than [`abi::MAX_FRAMES`].
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
    /// What one of the `STACK_` constants of the abi says.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            abi::STACK_COMPLETE => Self::Complete,
            abi::STACK_APPROXIMATE => Self::Approximate,
            abi::STACK_TRUNCATED => Self::Truncated,
            abi::STACK_UNREADABLE => Self::Unreadable,
            abi::STACK_NO_MAPPING => Self::NoMapping,
            abi::STACK_NO_ROW => Self::NoRow,
            abi::STACK_UNSUPPORTED => Self::Unsupported,
            abi::STACK_INCONSISTENT => Self::Inconsistent,
            abi::STACK_NONE => Self::None,
            _ => Self::Unknown,
        }
    }
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

/// Why bytes did not become an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its kind demands.
    #[error("a record of kind {kind} has {got} bytes, fewer than its {need}")]
    Short {
        /// The kind, 0 if not even the header is whole.
        kind: u16,
        /// Bytes there are.
        got: usize,
        /// Bytes that it takes.
        need: usize,
    },
    /// A kind that this version does not know.
    #[error("a record of the unknown kind {0}")]
    Kind(u16),
}

impl Event {
    /// Reads one record as the probes wrote it.
    ///
    /// # Errors
    /// The record is too short, or of a kind that is not known.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: abi::Header = read(bytes, 0)?;
        let kind = header.kind;
        let body = match kind {
            abi::KIND_FAULT => Body::Fault(fault(&read(bytes, kind)?)),
            abi::KIND_MAP => {
                let r: abi::MapRecord = read(bytes, kind)?;
                Body::Map(MapCall {
                    syscall: r.syscall,
                    entry: r.header.flags & abi::MAP_ENTRY != 0,
                    result: r.result,
                    args: r.args,
                    stack: stack_hash(r.stack),
                    file: (r.inode != 0).then(|| file_id(r.device, r.inode)),
                })
            }
            abi::KIND_FORK => {
                let r: abi::ForkRecord = read(bytes, kind)?;
                Body::Fork(Fork {
                    child_pid: r.child_pid,
                    child_tid: r.child_tid,
                    child_mm: MmId(r.child_mm),
                    thread: r.header.flags & abi::FORK_THREAD != 0,
                    same_mm: r.header.flags & abi::FORK_SAME_MM != 0,
                    stack: stack_hash(r.stack),
                })
            }
            abi::KIND_EXEC => {
                let r: abi::ExecRecord = read(bytes, kind)?;
                Body::Exec { old_tid: r.old_tid }
            }
            abi::KIND_EXIT => {
                let r: abi::ExitRecord = read(bytes, kind)?;
                Body::Exit { group_dead: r.header.flags & abi::EXIT_GROUP_DEAD != 0, code: r.code }
            }
            abi::KIND_STACK => Body::Stack(stack(bytes)?),
            abi::KIND_RAW_STACK => Body::RawStack(Box::new(raw_stack(bytes)?)),
            abi::KIND_RSS => {
                let r: abi::RssRecord = read(bytes, kind)?;
                let ranges = r.ranges.iter().take(r.count as usize);
                Body::Rss(Rss {
                    actor: (r.actor_mm != 0).then_some(MmId(r.actor_mm)),
                    owner: (r.owner != 0).then_some(r.owner),
                    member: r.member,
                    syscall: syscall(r.syscall),
                    request: r.request,
                    ranges: ranges.map(|[start, bytes]| (*start, *bytes)).collect(),
                    more: r.header.flags & abi::RSS_MORE != 0,
                    stack: stack_hash(r.stack),
                })
            }
            abi::KIND_FILE => {
                let r: abi::FileRecord = read(bytes, kind)?;
                let flag = |bit| r.header.flags & bit != 0;
                Body::File(FileChange {
                    file: file_id(r.device, r.inode),
                    index: r.index,
                    pages: r.pages,
                    gone: flag(abi::FILE_GONE),
                    stranger: flag(abi::FILE_STRANGER),
                    fault: flag(abi::FILE_FAULT),
                    syscall: syscall(r.syscall),
                    stack: stack_hash(r.stack),
                })
            }
            other => return Err(DecodeError::Kind(other)),
        };
        Ok(Self {
            time_ns: header.time_ns,
            pid: header.pid,
            tid: header.tid,
            mm: MmId(header.mm),
            body,
        })
    }
}

/// Takes any bytes as records, each behind its length in two bytes. For fuzzing: it must not panic.
pub fn fuzz_entry(mut bytes: &[u8]) {
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (record, rest) = rest.split_at(length);
        let _ = Event::decode(record);
        bytes = rest;
    }
}

/// A record's struct from the start of its bytes; more bytes than it needs are padding.
fn read<T: FromBytes>(bytes: &[u8], kind: u16) -> Result<T, DecodeError> {
    T::read_from_prefix(bytes).map(|(record, _)| record).map_err(|_| DecodeError::Short {
        kind,
        got: bytes.len(),
        need: size_of::<T>(),
    })
}

fn fault(r: &abi::FaultRecord) -> Fault {
    let flag = |bit| r.header.flags & bit != 0;
    let entry_seen = !flag(abi::FAULT_NO_ENTRY);
    Fault {
        address: r.address,
        kernel: flag(abi::FAULT_KERNEL),
        major: flag(abi::FAULT_MAJOR),
        access: entry_seen.then_some(Access {
            present: r.error_code & abi::ERROR_PRESENT != 0,
            write: r.error_code & abi::ERROR_WRITE != 0,
            instruction: r.error_code & abi::ERROR_INSTRUCTION != 0,
        }),
        delta: delta(r.members, r.delta),
        delta_inexact: flag(abi::FAULT_DELTA_INEXACT) || !entry_seen,
        entry: flag(abi::FAULT_ENTRY).then_some(Entry {
            huge: r.entry & abi::ENTRY_HUGE != 0,
            dirty: r.entry & abi::ENTRY_DIRTY != 0,
            window: flag(abi::FAULT_WINDOW).then_some(r.window),
        }),
        same_page: flag(abi::FAULT_COMPARED).then_some(flag(abi::FAULT_SAME_PAGE)),
        syscall: syscall(r.syscall),
        stack: stack_hash(r.stack),
    }
}

/// The stack is written with only as many addresses as it has, so it is read by hand.
fn stack(bytes: &[u8]) -> Result<Stack, DecodeError> {
    let fixed = size_of::<abi::StackRecord>() - 8 * abi::MAX_FRAMES;
    let short = |need| DecodeError::Short { kind: abi::KIND_STACK, got: bytes.len(), need };
    let rest = bytes.get(size_of::<abi::Header>()..).ok_or(short(fixed))?;
    let (hash, rest) = u64::read_from_prefix(rest).map_err(|_| short(fixed))?;
    let (status, rest) = u16::read_from_prefix(rest).map_err(|_| short(fixed))?;
    let (count, rest) = u16::read_from_prefix(rest).map_err(|_| short(fixed))?;
    let count = usize::from(count).min(abi::MAX_FRAMES);
    let addresses = rest.get(4..4 + 8 * count).ok_or(short(fixed + 8 * count))?;
    let ips =
        addresses.chunks_exact(8).filter_map(|chunk| u64::read_from_bytes(chunk).ok()).collect();
    let end = StackEnd::of_status(status);
    Ok(Stack { hash: StackHash(hash), end, ips })
}

/// Written with only as much memory as was read, so it is read by hand as well.
fn raw_stack(bytes: &[u8]) -> Result<RawStack, DecodeError> {
    let fixed = size_of::<abi::RawStackRecord>() - abi::RAW_STACK_BYTES;
    let short = |need| DecodeError::Short { kind: abi::KIND_RAW_STACK, got: bytes.len(), need };
    let rest = bytes.get(size_of::<abi::Header>()..).ok_or(short(fixed))?;
    let (hash, rest) = u64::read_from_prefix(rest).map_err(|_| short(fixed))?;
    let (registers, rest) = <[u64; 21]>::read_from_prefix(rest).map_err(|_| short(fixed))?;
    let (status, rest) = u16::read_from_prefix(rest).map_err(|_| short(fixed))?;
    let (_, rest) = u16::read_from_prefix(rest).map_err(|_| short(fixed))?;
    let (length, rest) = u32::read_from_prefix(rest).map_err(|_| short(fixed))?;
    let length = (length as usize).min(abi::RAW_STACK_BYTES);
    let memory = rest.get(..length).ok_or(short(fixed + length))?.to_vec();
    let header: abi::Header = read(bytes, abi::KIND_RAW_STACK)?;
    Ok(RawStack {
        hash: StackHash(hash),
        end: StackEnd::of_status(status),
        check: header.flags & abi::RAW_CHECK != 0,
        registers,
        memory,
    })
}

/// The kernel's `dev_t`: twelve bits of the major number over twenty of the minor one
/// (`include/linux/kdev_t.h`).
const fn file_id(device: u32, inode: u64) -> FileId {
    FileId { device: (device >> 20, device & 0xf_ffff), inode }
}

fn delta(members: u32, pages: [i32; abi::MEMBERS]) -> Delta {
    let of = |member: usize| (members & (1 << member) != 0).then_some(pages[member]);
    Delta {
        file: of(abi::MEMBER_FILE),
        anon: of(abi::MEMBER_ANON),
        swap: of(abi::MEMBER_SWAP),
        shmem: of(abi::MEMBER_SHMEM),
    }
}

fn stack_hash(hash: u64) -> Option<StackHash> {
    (hash != 0).then_some(StackHash(hash))
}

fn syscall(number: i64) -> Option<i64> {
    (number >= 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    #[test]
    fn a_fault_without_entry_says_nothing_of_the_access() {
        let record = abi::FaultRecord {
            header: abi::Header {
                kind: abi::KIND_FAULT,
                flags: abi::FAULT_NO_ENTRY,
                ..Default::default()
            },
            error_code: 7,
            syscall: -1,
            ..Default::default()
        };
        let event = Event::decode(record.as_bytes()).unwrap();
        let Body::Fault(fault) = event.body else { panic!("{event:?}") };
        assert_eq!(fault.access, None);
        assert!(fault.delta_inexact);
        assert_eq!(fault.syscall, None);
        assert_eq!(fault.stack, None);
    }

    #[test]
    fn a_stack_may_be_as_short_as_its_count() {
        let record = abi::StackRecord {
            header: abi::Header { kind: abi::KIND_STACK, ..Default::default() },
            hash: 9,
            status: abi::STACK_TRUNCATED,
            count: 2,
            reserved: 0,
            ips: [5; abi::MAX_FRAMES],
        };
        let event = Event::decode(&record.as_bytes()[..64]).unwrap();
        let stack = Stack { hash: StackHash(9), end: StackEnd::Truncated, ips: vec![5, 5] };
        assert_eq!(event.body, Body::Stack(stack));
        assert!(Event::decode(&record.as_bytes()[..63]).is_err());
    }

    #[test]
    fn an_unknown_kind_is_told_by_its_number() {
        let header = abi::Header { kind: 999, ..Default::default() };
        assert_eq!(Event::decode(header.as_bytes()), Err(DecodeError::Kind(999)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
            let _ = Event::decode(&bytes);
        }

        #[test]
        fn any_body_of_a_known_kind_is_an_event_or_an_error(
            kind in 0u16..10,
            mut bytes in proptest::collection::vec(any::<u8>(), 2..1200),
        ) {
            bytes[..2].copy_from_slice(&kind.to_ne_bytes());
            let _ = Event::decode(&bytes);
        }
    }
}
