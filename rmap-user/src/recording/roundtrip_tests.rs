//! Whatever a live session takes comes back from a recording as it was, and is read: the limits
//! refuse what no kernel does, and nothing that one can do.

use std::ops::Range;

use proptest::option::of;
use proptest::prelude::*;

use super::codec::{Batch, Unbatch};
use super::frame;
use super::limits::Limits;
use crate::model::Arch;
use crate::trace::{
    Access, Body, Breakdown, Code, Delta, Entry, Event, Fault, FileChange, FileId, Fork, Input,
    Losses, MallocCall, MallocStep, MapCall, Measure, Missing, MissingPages, MmId, MmKey, Moment,
    PageKind, PageRun, PageState, ProcessFacts, RawStack, Rewrite, RewriteStep, Rewrites, Rss,
    Segment, Snapshot, Stack, StackEnd, StackHash, Thread, VmFlags,
};

/// Where user space ends with five levels of page tables.
const USER_END: u64 = 1 << 56;
const P: u64 = 4096;
/// No file is longer (`MAX_LFS_FILESIZE`), in pages.
const FILE_PAGES: u64 = 1 << 51;

fn stack() -> impl Strategy<Value = Option<StackHash>> {
    of((1_u64..).prop_map(StackHash))
}

fn syscall() -> impl Strategy<Value = Option<i64>> {
    of(prop_oneof![0_i64..470, Just(i64::MAX)])
}

fn file() -> impl Strategy<Value = FileId> {
    ((0_u32..4096, 0_u32..1 << 20), any::<u64>())
        .prop_map(|(device, inode)| FileId { device, inode })
}

fn access() -> impl Strategy<Value = Access> {
    any::<(bool, bool, bool)>().prop_map(|(present, write, instruction)| Access {
        present,
        write,
        instruction,
    })
}

fn fault() -> impl Strategy<Value = Body> {
    let delta = any::<[Option<i32>; 4]>().prop_map(|[file, anon, swap, shmem]| Delta {
        file,
        anon,
        swap,
        shmem,
    });
    let entry = any::<(bool, bool, Option<u32>)>().prop_map(|(huge, dirty, window)| Entry {
        huge,
        dirty,
        window,
    });
    let address = prop_oneof![0..USER_END, Just(0), Just(USER_END - 1)];
    (address, any::<[bool; 3]>(), of(access()), delta, of(entry), any::<Option<bool>>())
        .prop_flat_map(|(address, [kernel, major, delta_inexact], access, delta, entry, same)| {
            (syscall(), stack()).prop_map(move |(syscall, stack)| {
                let same_page = same;
                // A write that is one is also known to be a write.
                let rewrite = same.filter(|_| major).map(|was_dirty| Rewrite { was_dirty });
                Body::Fault(Fault {
                    address,
                    kernel,
                    major,
                    access,
                    delta,
                    delta_inexact,
                    entry,
                    same_page,
                    rewrite,
                    syscall,
                    stack,
                })
            })
        })
}

/// An argument of a call: whatever a program may pass, and near to where it matters.
fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..64,
        (0_u64..1 << 44).prop_map(|page| page * P),
        (0_u64..3 * P).prop_map(|down| u64::MAX - down),
        (0_u64..3 * P).prop_map(|up| USER_END - P + up),
        (0_u64..3 * P).prop_map(|up| (1 << 47) - P + up),
        (0_u32..64).prop_map(|bit| 1 << bit),
    ]
}

/// What the kernel returns for a call with these arguments, if it does what is asked.
fn succeeds(number: i64, args: &[u64; 6], free: u64) -> i64 {
    const SUCCEEDS_WITH_ADDRESS: [i64; 4] = [9, 12, 25, 30];
    let size = if number == 25 { args[2] } else { args[1] };
    let fits = size != 0 && size <= USER_END - free - P;
    match (SUCCEEDS_WITH_ADDRESS.contains(&number), number) {
        (false, _) => 0,
        (true, 9 | 25) if !fits => -12,
        // It moves only what is mapped.
        (true, 25) if args[0].checked_add(args[1]).is_none_or(|end| end > USER_END - P) => -14,
        (true, _) => free as i64,
    }
}

/// Whether the kernel refuses a call of which the range leaves user space: only lengths that wrap
/// to nothing succeed.
fn refused(number: i64, args: &[u64; 6]) -> bool {
    let aligned = |size: u64| size.wrapping_add(P - 1) & !(P - 1);
    let (start, size) = match number {
        10 | 329 => (args[0], aligned(args[1])),
        149 | 150 | 325 => (args[0] & !(P - 1), aligned(args[1].wrapping_add(args[0] % P))),
        _ => return false,
    };
    size != 0 && start.checked_add(size).is_none_or(|end| end > USER_END - P)
}

fn call() -> impl Strategy<Value = Body> {
    const NUMBERS: [i64; 14] = [9, 10, 11, 12, 25, 28, 30, 67, 149, 150, 151, 152, 325, 329];
    let numbers = prop_oneof![4 => proptest::sample::select(&NUMBERS), 1 => 0_i64..500];
    let args = proptest::array::uniform6(argument());
    let outcome = (any::<[bool; 2]>(), 1_i64..134, (0..USER_END / P).prop_map(|page| page * P));
    (numbers, args, outcome, stack(), of(file())).prop_map(
        |(syscall, args, ([entry, fails], error, free), stack, file)| {
            let result = match (entry, fails || refused(syscall, &args)) {
                (true, _) => 0,
                (false, true) => -error,
                (false, false) => succeeds(syscall, &args, free),
            };
            Body::Map(MapCall { syscall, entry, result, args, stack, file })
        },
    )
}

fn other() -> impl Strategy<Value = Body> {
    let fork = (any::<[u32; 2]>(), any::<u64>(), any::<[bool; 2]>(), stack()).prop_map(
        |([child_pid, child_tid], mm, [thread, same_mm], stack)| {
            let child_mm = MmId(mm);
            Body::Fork(Fork { child_pid, child_tid, child_mm, thread, same_mm, stack })
        },
    );
    let ips = proptest::collection::vec(any::<u64>(), 0..255);
    let walked = (1_u64.., proptest::sample::select(StackEnd::ALL.to_vec()), ips)
        .prop_map(|(hash, end, ips)| Body::Stack(Stack { hash: StackHash(hash), end, ips }));
    let ranges = proptest::collection::vec(any::<(u64, u64)>(), 0..4);
    let rss = (any::<[Option<u32>; 2]>(), 0_u32..4, syscall(), any::<u64>(), ranges, stack())
        .prop_flat_map(|([actor, owner], member, syscall, request, ranges, stack)| {
            any::<bool>().prop_map(move |more| {
                let (actor, ranges) = (actor.map(|mm| MmId(mm.into())), ranges.clone());
                Body::Rss(Rss { actor, owner, member, syscall, request, ranges, more, stack })
            })
        });
    let change = (file(), 0..FILE_PAGES, 1_u32..=512, any::<[bool; 3]>(), syscall(), stack())
        .prop_map(|(file, index, pages, [gone, stranger, fault], syscall, stack)| {
            Body::File(FileChange { file, index, pages, gone, stranger, fault, syscall, stack })
        });
    let step = proptest::sample::select(MallocStep::ALL.to_vec());
    let malloc =
        (step, any::<[u64; 3]>(), stack()).prop_map(|(step, [address, size, mean], stack)| {
            Body::Malloc(MallocCall { step, address, size, mean, stack })
        });
    let missing = prop_oneof![
        (0..USER_END >> 21, any::<[u64; 8]>()).prop_map(|(block, pages)| {
            Missing::Pages(Box::new(MissingPages { start: block << 21, pages }))
        }),
        any::<bool>().prop_map(|calls| Missing::Space { calls }),
        Just(Missing::Anywhere),
    ];
    prop_oneof![
        fork,
        any::<u32>().prop_map(|old_tid| Body::Exec { old_tid }),
        any::<(bool, i32)>().prop_map(|(group_dead, code)| Body::Exit { group_dead, code }),
        walked,
        rss,
        change,
        malloc,
        missing.prop_map(Body::Missing),
    ]
}

fn event() -> impl Strategy<Value = Input> {
    let time = 0..i64::MAX as u64;
    (time, any::<[u32; 2]>(), any::<u64>(), prop_oneof![fault(), call(), other()]).prop_map(
        |(time_ns, [pid, tid], mm, body)| {
            Input::Event(Event { time_ns, pid, tid, mm: MmId(mm), body })
        },
    )
}

fn page_kind() -> impl Strategy<Value = PageKind> {
    let states = [PageState::Anonymous, PageState::File, PageState::Zero, PageState::Swapped];
    let state = proptest::sample::select(states.to_vec());
    (state, any::<bool>(), any::<[Option<bool>; 3]>()).prop_map(
        |(state, huge, [folio_dirty, large_folio, entry_dirty])| PageKind {
            state,
            huge,
            folio_dirty,
            large_folio,
            entry_dirty,
        },
    )
}

/// Ranges one behind the other, of so many pages at most.
fn ranges(most: u64, count: usize) -> impl Strategy<Value = Vec<Range<u64>>> {
    proptest::collection::vec((0_u64..1 << 20, 1..=most), 0..count).prop_map(|steps| {
        let mut at = 0;
        let next = |(gap, pages): (u64, u64)| {
            let start = at + gap * P;
            at = start + pages * P;
            start..at
        };
        steps.into_iter().map(next).collect()
    })
}

fn segment() -> impl Strategy<Value = Segment> {
    let sizes = any::<[u32; 6]>();
    let breakdown = any::<([Option<u32>; 12], Option<bool>)>().prop_map(|(sizes, eligible)| {
        let mut breakdown = Breakdown::default();
        for (measure, bytes) in Measure::ALL.into_iter().zip(sizes) {
            if let Some(bytes) = bytes {
                breakdown.set(measure, bytes.into());
            }
        }
        if let Some(eligible) = eligible {
            breakdown.set_thp_eligible(eligible);
        }
        breakdown
    });
    let names = ("[r-][w-][x-][ps]", ".{0,40}", "([a-z]{2}( [a-z]{2}){0,9})?");
    (any::<u64>(), file(), sizes, breakdown, names).prop_map(
        |(offset, file, sizes, breakdown, (perms, name, flags))| {
            let [rss, dirty, swap, anonymous, lazy_free, hugetlb] = sizes.map(u64::from);
            Segment {
                start: 0,
                end: P,
                perms,
                offset,
                device: file.device,
                inode: file.inode,
                name,
                rss,
                dirty,
                swap,
                anonymous,
                lazy_free,
                hugetlb,
                breakdown,
                vm_flags: VmFlags::parse(&flags),
            }
        },
    )
}

fn snapshot() -> impl Strategy<Value = Input> {
    let moments = [
        Moment::Start,
        Moment::StartRunning,
        Moment::Forked,
        Moment::Executed,
        Moment::Periodic,
        Moment::Live,
        Moment::Left,
        Moment::AtExit,
    ];
    let moment = proptest::sample::select(moments.to_vec());
    let kinds = proptest::collection::vec(page_kind(), 20);
    let pages = (ranges(1000, 20), kinds, ranges(512, 8)).prop_map(|(ranges, kinds, folios)| {
        let runs = ranges.into_iter().zip(kinds).map(|(range, kind)| PageRun { range, kind });
        (runs.collect::<Vec<_>>(), folios)
    });
    let threads = (any::<u32>(), ".{0,15}", any::<Option<u64>>())
        .prop_map(|(tid, name, stack_pointer)| Thread { tid, name, stack_pointer });
    let threads = proptest::collection::vec(threads, 0..4);
    let segments = (ranges(1 << 16, 5), proptest::collection::vec(segment(), 5)).prop_map(
        |(ranges, segments)| {
            let placed = ranges.into_iter().zip(segments);
            placed
                .map(|(Range { start, end }, segment)| Segment { start, end, ..segment })
                .collect::<Vec<_>>()
        },
    );
    (any::<u32>(), moment, segments, of(pages), threads, 0_u64..1 << 50).prop_map(
        |(pid, moment, segments, pages, threads, peak_rss)| {
            let (pages, folios) = pages.map_or((None, vec![]), |(pages, f)| (Some(pages), f));
            let time_ns = u64::from(pid);
            Input::Snapshot(Snapshot {
                time_ns,
                pid,
                moment,
                segments,
                pages,
                folios,
                threads,
                peak_rss,
            })
        },
    )
}

fn fact() -> impl Strategy<Value = Input> {
    let facts = (any::<u32>(), ".{0,60}", ".{0,60}", any::<Option<u32>>()).prop_map(
        |(pid, command, exe, parent_pid)| {
            Input::Process(pid, ProcessFacts { command, exe, parent_pid })
        },
    );
    let losses = any::<[u32; 3]>().prop_map(|lost| {
        let [events, stacks, snapshots] = lost.map(u64::from);
        Input::Lost(Losses { events, stacks, snapshots })
    });
    let code = (0..USER_END / P, 1_u64..1000, ".{0,40}", file(), of(-1_i64 << 62..1 << 62))
        .prop_flat_map(|(page, pages, path, id, bias)| {
            (any::<(u64, Option<u32>)>(), of("[0-9a-f]{2,40}")).prop_map(
                move |((offset, file), build_id)| Code {
                    start: page * P,
                    end: (page + pages) * P,
                    offset,
                    path: path.clone(),
                    device: id.device,
                    inode: id.inode,
                    file,
                    build_id,
                    bias,
                },
            )
        });
    let code = (any::<[u32; 2]>(), proptest::collection::vec(code, 0..4))
        .prop_map(|([pid, time], code)| Input::Code(pid, time.into(), code));
    let written = (any::<u32>(), proptest::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(key, text)| Input::Written(MmKey(key), text));
    prop_oneof![facts.boxed(), losses.boxed(), code.boxed(), written.boxed(), rewrites().boxed()]
}

fn rewrites() -> impl Strategy<Value = Input> {
    let ranges = || {
        proptest::collection::vec((1_u64..1000, 1_u64..1000), 0..6).prop_map(|gaps| {
            let mut last = 0;
            let range = |(gap, size)| {
                let start = last + gap * P;
                last = start + size * P;
                start..last
            };
            gaps.into_iter().map(range).collect::<Vec<_>>()
        })
    };
    let begin = (any::<bool>(), 1..u64::MAX, any::<u64>())
        .prop_map(|(exact, period_ns, stood_ns)| RewriteStep::Begin { exact, period_ns, stood_ns });
    let pages = proptest::collection::vec((0..USER_END / P).prop_map(|page| page * P), 0..9);
    let step = prop_oneof![
        begin,
        ranges().prop_map(RewriteStep::Watched),
        ranges().prop_map(RewriteStep::Written),
        ranges().prop_map(RewriteStep::Present),
        pages.prop_map(RewriteStep::Armed),
        Just(RewriteStep::End),
    ];
    (any::<u32>(), 0..i64::MAX as u64, step)
        .prop_map(|(pid, time_ns, step)| Input::Rewrites(Rewrites { pid, time_ns, step }))
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![8 => event().boxed(), 2 => snapshot().boxed(), 1 => fact().boxed()]
}

/// The inputs, each fault for itself.
fn singly(input: Input) -> Vec<Input> {
    match input {
        Input::Faults(run) => run.events().map(Input::Event).collect(),
        other => vec![other],
    }
}

fn read_back(inputs: &[Input]) -> Vec<Input> {
    let mut batch = Batch::default();
    inputs.iter().for_each(|input| batch.add(input));
    let bytes = batch.take();
    let mut from = Unbatch::new(&bytes, frame::VERSION);
    let mut back = Vec::new();
    while let Some(input) = from.next().expect("what was written is read") {
        back.extend(singly(input));
    }
    back
}

proptest! {
    #[test]
    fn each_input_comes_back_as_it_was(input in input()) {
        prop_assert_eq!(read_back(std::slice::from_ref(&input)), [input]);
    }

    #[test]
    fn what_a_session_takes_comes_back_as_it_was(
        inputs in proptest::collection::vec(input(), 1..20),
    ) {
        prop_assert_eq!(read_back(&inputs), inputs);
    }

    #[test]
    fn the_limits_refuse_nothing_that_a_kernel_does(input in input()) {
        let checked = Limits::new(Arch::X86_64).check(&input, 1 << 20);
        prop_assert!(checked.is_ok(), "{:?}: {:?}", checked, input);
    }

    #[test]
    fn raw_stacks_come_back_as_they_were(
        hash in 1_u64..,
        check in any::<bool>(),
        registers in proptest::collection::vec(any::<u64>(), 21),
        memory in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let registers = registers.try_into().expect("as many as there are");
        let (hash, end) = (StackHash(hash), StackEnd::NoRow);
        let stack = RawStack { hash, end, check, registers, memory };
        let body = Body::RawStack(Box::new(stack));
        // Whoever records it walks it first: nothing of it may reach a file unwalked.
        let event = Event { time_ns: 1, pid: 2, tid: 3, mm: MmId(4), body };
        let back = read_back(&[Input::Event(event.clone())]);
        prop_assert!(back.is_empty() || back == [Input::Event(event)]);
    }
}

#[test]
fn every_kind_of_page_comes_back_as_it_was() {
    let three = [None, Some(false), Some(true)];
    let states = [PageState::Anonymous, PageState::File, PageState::Zero, PageState::Swapped];
    let mut runs = Vec::new();
    for state in states {
        for huge in [false, true] {
            for folio_dirty in three {
                for large_folio in three {
                    for entry_dirty in three {
                        let kind = PageKind { state, huge, folio_dirty, large_folio, entry_dirty };
                        let start = runs.len() as u64 * 2 * P;
                        runs.push(PageRun { range: start..start + P, kind });
                    }
                }
            }
        }
    }
    let snapshot = Input::Snapshot(Snapshot {
        time_ns: 1,
        pid: 1,
        moment: Moment::AtExit,
        segments: Vec::new(),
        pages: Some(runs),
        folios: Vec::new(),
        threads: Vec::new(),
        peak_rss: 0,
    });
    assert_eq!(read_back(std::slice::from_ref(&snapshot)), [snapshot]);
}
