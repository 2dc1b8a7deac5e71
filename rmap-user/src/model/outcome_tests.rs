//! Every mapping call with every outcome: what the model holds afterwards is what the kernel did,
//! not what was asked.
//!
//! The space has, in pages from [`AT`]: 0 to 8 anonymous and written; 8 to 10 a gap; 10 to 14 a
//! private file, read; 14 to 18 a shared file, written; 18 to 22 anonymous, written and locked;
//! 22 to 24 readable anonymous memory, locked.

use std::ops::Range;

use super::*;
use crate::trace::{MapCall, MmKey};

const AT: u64 = 0x7f00_0000_0000;
const ANON: Range<u64> = 0..8;
const FILE: Range<u64> = 10..14;
const SHARED: Range<u64> = 14..18;
const LOCKED: Range<u64> = 18..22;
const LOCKED_READ: Range<u64> = 22..24;
const ALL: Range<u64> = 0..24;
/// Far from all of it.
const FREE: u64 = 100;

const MMAP: i64 = 9;
const MPROTECT: i64 = 10;
const MUNMAP: i64 = 11;
const BRK: i64 = 12;
const MREMAP: i64 = 25;
const MADVISE: i64 = 28;
const SHMAT: i64 = 30;
const SHMDT: i64 = 67;
const MLOCK: i64 = 149;
const MUNLOCK: i64 = 150;
const MLOCKALL: i64 = 151;
const MUNLOCKALL: i64 = 152;
const MLOCK2: i64 = 325;

const DONTNEED: u64 = 4;
const FREE_ADVICE: u64 = 8;
const REMOVE: u64 = 9;
const GUARD: u64 = 102;

const EPERM: i64 = -1;
const EAGAIN: i64 = -11;
const ENOMEM: i64 = -12;
const EACCES: i64 = -13;
const EFAULT: i64 = -14;
const EINVAL: i64 = -22;
const EOPNOTSUPP: i64 = -95;

const FIXED: u64 = 0x32;

fn pages(numbers: &Range<u64>) -> Range<u64> {
    AT + numbers.start * PAGE..AT + numbers.end * PAGE
}

fn actor(tid: u32) -> Actor {
    Actor { pid: 1, tid, time_ns: 5, stack: Some(StackRef(tid)) }
}

struct Case {
    space: AddressSpace,
}

impl Case {
    fn new() -> Self {
        let mut space = AddressSpace::new(MmKey(0));
        let mut map = |numbers: Range<u64>, file, shared, prot| {
            let base = if file || shared { AT } else { 0 };
            let vma = Vma {
                instance: space.mappings.new_instance(),
                origin: Origin { call: Call::Mmap, actor: actor(1) },
                file,
                shared,
                grows_down: false,
                inherited: false,
                prot,
                base,
                id: None,
            };
            space.mappings.map(pages(&numbers), vma);
        };
        map(ANON, false, false, 3);
        map(FILE, true, false, 1);
        map(SHARED, true, true, 3);
        map(LOCKED, false, false, 3);
        map(LOCKED_READ, false, false, 1);
        let mut claim = |numbers: Range<u64>, cause, dirty: bool| {
            let path = space.paths.intern(Some(StackRef(0)), cause);
            space.owners.claim(pages(&numbers), Some(path), dirty.then_some(path));
        };
        claim(ANON, Cause::FirstWrite, true);
        claim(FILE, Cause::FileRead, false);
        claim(SHARED, Cause::SharedWrite, true);
        claim(LOCKED, Cause::FirstWrite, true);
        space.lock(pages(&LOCKED), Lock::OnFault, actor(1));
        space.lock(pages(&LOCKED_READ), Lock::Resident, actor(1));
        space.populated = RangeMap::default();
        Self { space }
    }

    fn one(&mut self, tid: u32, syscall: i64, args: &[u64], entry: bool, result: i64) {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let call = MapCall { syscall, entry, result, args: all, stack: None, file: None };
        if let Some(op) = MapOp::of(&call, Arch::X86_64) {
            self.space.remap(op, actor(tid));
        }
    }

    /// A call of a thread as the probes report it: those that give memory back at their beginning,
    /// and at their end only if they fail; some at both; all others at their end.
    fn call(mut self, syscall: i64, args: &[u64], result: i64) -> Self {
        let early = matches!(syscall, MUNMAP | MADVISE | SHMDT);
        if early || matches!(syscall, MREMAP | BRK) {
            self.one(2, syscall, args, true, 0);
        }
        if !early || result < 0 {
            self.one(2, syscall, args, false, result);
        }
        self
    }

    /// Numbers of the pages of which `of` is true.
    fn which(&self, of: impl Fn(Owner) -> bool) -> Vec<u64> {
        (0..200).filter(|page| of(self.space.owners.get(AT + page * PAGE))).collect()
    }

    fn resident(&self) -> Vec<u64> {
        self.which(|owner| owner.resident.is_some())
    }

    fn dirty(&self) -> Vec<u64> {
        self.which(|owner| owner.dirty.is_some())
    }

    fn mapped(&self) -> Vec<u64> {
        let vmas = self.space.mappings.vmas();
        (0..200).filter(|page| vmas.find(AT + page * PAGE).is_some()).collect()
    }

    fn released(&self) -> Vec<(How, u64)> {
        let mut all: Vec<_> =
            self.space.released().map(|(_, how, bytes)| (how, bytes / PAGE)).collect();
        all.sort();
        all
    }

    fn populated(&self) -> Vec<(u64, bool)> {
        let of = |page: u64| self.space.populated.find(AT + page * PAGE).map(|(_, p)| p.write);
        (0..200).filter_map(|page| Some((page, of(page)?))).collect()
    }

    fn doubted(&self) -> Vec<u64> {
        (0..200).filter(|page| self.space.doubts.find(AT + page * PAGE).is_some()).collect()
    }
}

fn numbers(ranges: &[Range<u64>]) -> Vec<u64> {
    ranges.iter().cloned().flatten().collect()
}

fn without(gone: Range<u64>) -> Vec<u64> {
    let there = [ANON, FILE, SHARED, LOCKED];
    there.into_iter().flatten().filter(|page| !gone.contains(page)).collect()
}

fn range_args(range: &Range<u64>) -> [u64; 2] {
    [AT + range.start * PAGE, (range.end - range.start) * PAGE]
}

#[test]
fn munmap_takes_all_or_nothing() {
    let [start, size] = range_args(&(4..16));
    let done = Case::new().call(MUNMAP, &[start, size], 0);
    assert_eq!(done.resident(), without(4..16));
    assert_eq!(done.mapped(), numbers(&[0..4, 16..24]));
    assert_eq!(done.released(), [(How::Munmap, 10)]);
    for error in [EINVAL, ENOMEM, EPERM] {
        let failed = Case::new().call(MUNMAP, &[start, size], error);
        assert_eq!(failed.resident(), without(0..0));
        assert_eq!(failed.dirty(), numbers(&[ANON, SHARED, LOCKED]));
        assert_eq!(failed.mapped(), numbers(&[ANON, FILE, SHARED, LOCKED, LOCKED_READ]));
        assert_eq!(failed.released(), []);
        assert!(failed.space.locks.ranges.find(AT + 20 * PAGE).is_some());
    }
}

#[test]
fn a_length_that_wraps_or_leaves_user_space_is_nothing() {
    let unchanged = |case: &Case| {
        assert_eq!(case.resident(), without(0..0));
        assert_eq!(case.released(), []);
        assert_eq!(case.populated(), []);
    };
    for size in [u64::MAX, u64::MAX - 0x100, 1 << 63, u64::MAX - AT + 1, 1 << 58] {
        for start in [0, AT] {
            unchanged(&Case::new().call(MUNMAP, &[start, size], EINVAL));
            unchanged(&Case::new().call(MADVISE, &[start, size, DONTNEED], EINVAL));
            unchanged(&Case::new().call(MPROTECT, &[start, size, 3], ENOMEM));
        }
        unchanged(&Case::new().call(MUNLOCK, &[0, size], 0));
    }
    for size in [u64::MAX, u64::MAX - 0x100] {
        unchanged(&Case::new().call(MLOCK, &[0, size], 0));
        unchanged(&Case::new().call(MLOCK2, &[0, size, 0], 0));
    }
    unchanged(&Case::new().call(MADVISE, &[1 << 62, 0, DONTNEED], 0));
    unchanged(&Case::new().call(MUNMAP, &[AT + 1, PAGE], EINVAL));
}

#[test]
fn a_call_that_fails_does_not_undo_what_another_thread_did_meanwhile() {
    let mut case = Case::new();
    let [start, size] = range_args(&ANON);
    case.one(2, MUNMAP, &[start, size], true, 0);
    let path = case.space.paths.intern(Some(StackRef(9)), Cause::FirstWrite);
    case.space.owners.claim(pages(&(3..4)), Some(path), Some(path));
    case.one(3, MLOCK, &[start, size], false, 0);
    case.one(2, MUNMAP, &[start, size], false, EPERM);
    assert_eq!(case.resident(), without(0..0));
    assert_eq!(case.space.owners.get(AT + 3 * PAGE).resident, path);
    // And one that went well is not undone by the failure of a later one.
    case.one(2, MUNMAP, &[start, size], true, 0);
    case.one(2, MUNMAP, &[start + 1, size], false, EINVAL);
    let case = case.call(MUNMAP, &[AT + 16 * PAGE, PAGE], EPERM);
    assert_eq!(case.resident(), without(ANON));
}

#[test]
fn madvise_goes_over_gaps_and_up_to_what_it_does_not_suit() {
    let [start, size] = range_args(&(4..22));
    let dontneed = [start, size, DONTNEED];
    // Gaps are an error, and the rest was done.
    let case = Case::new().call(MADVISE, &dontneed, ENOMEM);
    assert_eq!(case.resident(), without(4..22));
    assert_eq!(case.released(), [(How::Dontneed, 16)]);
    assert_eq!(case.dirty(), numbers(&[0..4, SHARED]), "the dirt of a file is the folio's");
    // Locked memory is refused, and nothing behind it was done.
    let case = Case::new().call(MADVISE, &dontneed, EINVAL);
    assert_eq!(case.resident(), without(4..18));
    assert_eq!(case.released(), [(How::Dontneed, 12)]);
    assert!(case.doubted().is_empty());
    // MADV_DONTNEED_LOCKED takes that too.
    let case = Case::new().call(MADVISE, &[start, size, 24], 0);
    assert_eq!(case.resident(), without(4..22));
    // Sealed memory: how far it went is not known before a snapshot shows it.
    let case = Case::new().call(MADVISE, &dontneed, EPERM);
    assert_eq!(case.resident(), without(0..0));
    assert_eq!(case.released(), []);
    assert_eq!(case.doubted(), (4..22).collect::<Vec<u64>>());
}

#[test]
fn madv_free_suits_private_anonymous_memory_alone() {
    let [start, size] = range_args(&(4..22));
    let case = Case::new().call(MADVISE, &[start, size, FREE_ADVICE], EINVAL);
    assert_eq!(case.resident(), without(0..0));
    assert_eq!(case.dirty(), numbers(&[0..4, SHARED, LOCKED]));
    let given_up: Vec<_> = case.space.lazy_free.iter().map(|(range, _)| range).collect();
    assert_eq!(given_up, [pages(&(4..8))]);
    let case = Case::new().call(MADVISE, &[start, size, FREE_ADVICE], EPERM);
    assert_eq!(case.dirty(), numbers(&[ANON, SHARED, LOCKED]));
    assert!(case.space.lazy_free.is_empty());
}

#[test]
fn madv_remove_suits_shared_files_that_may_be_written() {
    let [start, size] = range_args(&(14..20));
    let case = Case::new().call(MADVISE, &[start, size, REMOVE], EINVAL);
    assert_eq!(case.resident(), without(SHARED));
    assert_eq!(case.released(), [(How::Remove, 4)]);
    let [start, size] = range_args(&SHARED);
    let case = Case::new().call(MADVISE, &[start, size, REMOVE], EOPNOTSUPP);
    assert_eq!(case.resident(), without(0..0));
    assert_eq!((case.released(), case.doubted()), (vec![], numbers(&[SHARED])));
    let [start, size] = range_args(&ANON);
    let case = Case::new().call(MADVISE, &[start, size, REMOVE], EINVAL);
    assert_eq!((case.resident(), case.released()), (without(0..0), vec![]));
}

#[test]
fn guards_take_pages_away() {
    let [start, size] = range_args(&(2..4));
    let case = Case::new().call(MADVISE, &[start, size, GUARD], 0);
    assert_eq!((case.resident(), case.released()), (without(2..4), vec![(How::Guard, 2)]));
    let case = Case::new().call(MADVISE, &[start, size, GUARD], EINVAL);
    assert_eq!((case.resident(), case.released()), (without(0..0), vec![]));
}

#[test]
fn advice_that_takes_nothing_away_takes_nothing_away() {
    for advice in [0, 3, 10, 12, 13, 14, 20, 21, 22, 23, 25, 103] {
        for result in [0, EINVAL, ENOMEM, EFAULT, EAGAIN] {
            let [start, size] = range_args(&ALL);
            let case = Case::new().call(MADVISE, &[start, size, advice], result);
            assert_eq!(case.resident(), without(0..0), "advice {advice}: {result}");
            assert_eq!(case.dirty(), numbers(&[ANON, SHARED, LOCKED]));
            assert_eq!(case.released(), []);
        }
    }
}

#[test]
fn a_doubt_is_decided_by_the_next_fault_or_snapshot() {
    let [start, size] = range_args(&ANON);
    let mut case = Case::new().call(MADVISE, &[start, size, DONTNEED], EPERM);
    case.space.doubt_confirmed(pages(&(0..3)));
    assert_eq!(case.resident(), without(0..3));
    assert_eq!(case.released(), [(How::Dontneed, 3)]);
    assert_eq!(case.doubted(), (3..8).collect::<Vec<u64>>());
}

#[test]
fn mprotect_goes_up_to_a_gap_and_populates_locked_memory_that_becomes_writable() {
    let [start, size] = range_args(&(0..14));
    let case = Case::new().call(MPROTECT, &[start, size, 1], ENOMEM);
    let prot = |case: &Case, page: u64| {
        case.space.mappings.vmas().find(AT + page * PAGE).map(|(_, vma)| vma.prot)
    };
    assert_eq!((prot(&case, 0), prot(&case, 12)), (Some(1), Some(1)));
    assert_eq!(prot(&Case::new().call(MPROTECT, &[start, size, 0], ENOMEM), 12), Some(1));
    assert_eq!(prot(&Case::new().call(MPROTECT, &[start, size, 0], EACCES), 0), Some(3));
    let [start, size] = range_args(&(18..24));
    let case = Case::new().call(MPROTECT, &[start, size, 3], 0);
    assert_eq!(case.populated(), [(22, true), (23, true)], "the others could be written before");
    let case = Case::new().call(MPROTECT, &[start, size, 1], 0);
    assert_eq!(case.populated(), []);
}

#[test]
fn mlock_brings_in_what_is_mapped_as_its_protection_allows() {
    let [start, size] = range_args(&(10..24));
    let case = Case::new().call(MLOCK, &[start, size], 0);
    let write = |page: &u64| LOCKED.contains(page);
    let all: Vec<_> = (10..24).map(|page| (page, write(&page))).collect();
    assert_eq!(case.populated(), all);
    let case = Case::new().call(MLOCK2, &[start, size, 1], 0);
    assert_eq!(case.populated(), []);
    // Up to a gap it locks, and brings nothing in; what it locked comes with a later mprotect.
    let [start, size] = range_args(&(7..12));
    let case = Case::new().call(MLOCK, &[start, size], ENOMEM);
    assert_eq!(case.populated(), []);
    assert!(case.space.locks.ranges.find(AT + 7 * PAGE).is_some());
    assert!(case.space.locks.ranges.find(AT + 11 * PAGE).is_none());
    let [start, size] = range_args(&FILE);
    let case = Case::new().call(MLOCK, &[start, size], EAGAIN);
    assert_eq!(case.populated().len(), 4, "as far as it came");
}

#[test]
fn mlockall_locks_the_past_the_future_or_both() {
    const CURRENT: u64 = 1;
    const FUTURE: u64 = 2;
    const ONFAULT: u64 = 4;
    let case = Case::new().call(MLOCKALL, &[CURRENT], 0);
    assert_eq!(case.populated().len(), 22);
    assert_eq!(Case::new().call(MLOCKALL, &[CURRENT], EPERM).populated(), []);
    assert_eq!(Case::new().call(MLOCKALL, &[CURRENT | ONFAULT], 0).populated(), []);
    let new = [0, PAGE, 3, 0x22, u64::MAX, 0];
    let at = (AT + FREE * PAGE) as i64;
    let future = |flags: &[u64]| {
        let case = flags.iter().fold(Case::new(), |case, flags| case.call(MLOCKALL, &[*flags], 0));
        case.call(MMAP, &new, at).populated().contains(&(FREE, true))
    };
    assert!(future(&[FUTURE]));
    assert!(future(&[CURRENT | FUTURE]));
    assert!(!future(&[CURRENT]));
    assert!(!future(&[FUTURE, CURRENT]), "a later call without the future ends it");
    assert!(!future(&[FUTURE | ONFAULT]));
    let unlocked = Case::new().call(MLOCKALL, &[FUTURE], 0).call(MUNLOCKALL, &[], 0);
    assert_eq!(unlocked.call(MMAP, &new, at).populated(), []);
}

#[test]
fn locked_memory_that_grows_is_brought_in() {
    let [start, size] = range_args(&LOCKED_READ);
    let grown = Case::new().call(MREMAP, &[start, size, 4 * PAGE, 1], start as i64);
    assert_eq!(grown.populated(), [(24, false), (25, false)]);
    let to = AT + FREE * PAGE;
    let moved = Case::new().call(MREMAP, &[start, size, 4 * PAGE, 1], to as i64);
    assert_eq!(moved.populated(), [(FREE + 2, false), (FREE + 3, false)]);
    assert!(moved.space.locks.ranges.find(to).is_some());
    assert!(moved.space.locks.ranges.find(start).is_none());
    let [start, size] = range_args(&ANON);
    let other = Case::new().call(MREMAP, &[start, size, 12 * PAGE, 1], to as i64);
    assert_eq!(other.populated(), [], "not locked");
}

#[test]
fn mremap_that_fails_moves_nothing_and_leaves_its_target_in_doubt() {
    let [start, size] = range_args(&ANON);
    let case = Case::new().call(MREMAP, &[start, size, 16 * PAGE, 1], ENOMEM);
    assert_eq!(case.resident(), without(0..0));
    assert_eq!((case.released(), case.doubted()), (vec![], vec![]));
    let to = AT + SHARED.start * PAGE;
    let case = Case::new().call(MREMAP, &[start, size, 4 * PAGE, 3, to], EFAULT);
    assert_eq!(case.resident(), without(0..0));
    assert_eq!(case.doubted(), numbers(&[4..8, SHARED]));
}

#[test]
fn mmap_over_what_is_mapped_releases_it_if_it_succeeds() {
    let [start, size] = range_args(&(2..4));
    let done = Case::new().call(MMAP, &[start, size, 3, FIXED, u64::MAX, 0], start as i64);
    assert_eq!((done.resident(), done.released()), (without(2..4), vec![(How::MmapFixed, 2)]));
    let failed = Case::new().call(MMAP, &[start, size, 3, FIXED, u64::MAX, 0], ENOMEM);
    assert_eq!((failed.resident(), failed.released()), (without(0..0), vec![]));
    assert_eq!(failed.doubted(), (2..4).collect::<Vec<u64>>(), "it may have been unmapped before");
    let hint = Case::new().call(MMAP, &[start, size, 3, 0x22, u64::MAX, 0], ENOMEM);
    assert!(hint.doubted().is_empty());
}

#[test]
fn a_break_that_cannot_be_lowered_stays() {
    let heap = || {
        let mut case = Case::new();
        let start = AT + FREE * PAGE;
        case.space.brk = Some(start);
        case = case.call(BRK, &[start + 8 * PAGE], (start + 8 * PAGE) as i64);
        let path = case.space.paths.intern(Some(StackRef(0)), Cause::FirstWrite);
        case.space.owners.claim(start..start + 8 * PAGE, Some(path), Some(path));
        (case, start)
    };
    let (case, start) = heap();
    let done = case.call(BRK, &[start + 2 * PAGE], (start + 2 * PAGE) as i64);
    assert_eq!(done.released(), [(How::Brk, 6)]);
    assert_eq!(done.space.owners.count_not_resident(start..start + 8 * PAGE), 6);
    let (case, start) = heap();
    let refused = case.call(BRK, &[start + 2 * PAGE], (start + 8 * PAGE) as i64);
    assert_eq!(refused.released(), []);
    assert_eq!(refused.space.owners.count_not_resident(start..start + 8 * PAGE), 0);
}

#[test]
fn shmdt_gives_back_only_what_it_detaches() {
    let at = AT + FREE * PAGE;
    let attached = || {
        let mut case = Case::new().call(SHMAT, &[7, 0, 0], at as i64);
        let path = case.space.paths.intern(Some(StackRef(0)), Cause::SharedMemory);
        case.space.owners.claim(at..at + PAGE, Some(path), Some(path));
        case
    };
    let done = attached().call(SHMDT, &[at], 0);
    assert_eq!(done.released(), [(How::Shmdt, 1)]);
    assert!(!done.mapped().contains(&FREE));
    let failed = attached().call(SHMDT, &[at], EINVAL);
    assert_eq!(failed.released(), []);
    assert!(failed.mapped().contains(&FREE));
}
