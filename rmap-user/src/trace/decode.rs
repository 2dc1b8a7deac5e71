//! The probes' records become events.
//!
//! Comes in: bytes of one ring-buffer record ([`rmap_ebpf::abi`]). Goes out: an [`Event`], or a
//! [`DecodeError`] that the caller counts. Nothing is trusted: lengths and kinds are checked.

pub use super::error::DecodeError;
use rmap_ebpf::abi;
use zerocopy::FromBytes;

use super::event::{
    Access, Body, Delta, Entry, Event, Fault, FileChange, FileId, Fork, MapCall, MmId, RawStack,
    Rewrite, Rss, Stack, StackEnd, StackHash,
};
use super::malloc::{MallocCall, MallocStep};

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
            abi::KIND_MALLOC => {
                let r: abi::MallocRecord = read(bytes, kind)?;
                let step = usize::try_from(r.what).ok().and_then(|at| MallocStep::ALL.get(at));
                Body::Malloc(MallocCall {
                    step: *step.ok_or(DecodeError::Kind(kind))?,
                    address: r.address,
                    size: r.size,
                    mean: r.mean,
                    stack: stack_hash(r.stack),
                })
            }
            other => match super::python::decode(other, bytes) {
                Some(runtime) => Body::Runtime(Box::new(runtime?)),
                None => return Err(DecodeError::Kind(other)),
            },
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
        rewrite: flag(abi::FAULT_REWRITE)
            .then_some(Rewrite { was_dirty: flag(abi::FAULT_WAS_DIRTY) }),
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
            kind in 0u16..20,
            mut bytes in proptest::collection::vec(any::<u8>(), 2..1200),
        ) {
            bytes[..2].copy_from_slice(&kind.to_ne_bytes());
            let _ = Event::decode(&bytes);
        }
    }
}
