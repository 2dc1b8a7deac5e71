//! What segments are: their kinds and names, and how their memory divides, of a program that made
//! one of each and says which is which.

use ::rmap::report::{Kind, Segment};
use rmap_tests::begin;
use rmap_tests::job::{Job, PAGE};

/// Kind, name to show, and whether it is a conclusion.
fn named<'a>(job: &'a Job, region: &str) -> (Option<Kind>, &'a str, bool) {
    let segment = job.segment(region);
    (segment.kind, segment.label.as_deref().unwrap_or(""), segment.inferred)
}

#[test]
fn kinds_and_names_are_those_of_the_program() {
    let machine = begin!();
    let job = machine.job("segments", &[]);
    for thread in ["0", "1"] {
        let region = format!("stack {thread}");
        let tid = job.truth.tids.iter().find(|tid| tid.function == region).unwrap().tid;
        // The mark depends on whether it still ran when its process was looked at.
        let (kind, label, _) = named(&job, &region);
        let name = format!("[thread stack {tid} \"worker {thread}\"]");
        assert_eq!((kind, label), (Some(Kind::ThreadStack), name.as_str()));
        let (kind, label, inferred) = named(&job, &format!("arena {thread}"));
        assert_eq!((kind, inferred), (Some(Kind::MallocArena), false), "{label}");
        assert!(["[malloc arena 1]", "[malloc arena 2]"].contains(&label), "{label}");
    }
    let sure = |region| {
        let (kind, label, inferred) = named(&job, region);
        assert!(!inferred, "{region}: {label}");
        (kind.unwrap(), label)
    };
    assert_eq!(sure("memfd"), (Kind::Memfd, "[memfd workload, by make_pool]"));
    assert_eq!(sure("shared"), (Kind::SharedMemory, "[shared memory, by make_shared]"));
    assert_eq!(sure("block"), (Kind::MallocBlock, "[malloc block]"));
    assert_eq!(sure("code").0, Kind::JitCode);
    assert_eq!(sure("locked"), (Kind::Anonymous, ""));
    let segments = || &job.process("memfd").segments;
    let with = |kind| segments().iter().filter(move |segment| segment.kind == Some(kind));
    for kind in [Kind::Heap, Kind::Stack, Kind::Vdso, Kind::Bss, Kind::FileData] {
        assert!(with(kind).count() > 0, "{}", kind.as_str());
    }
    // The program's and each library's: written by the loader, then made read-only.
    for segment in with(Kind::Relro) {
        assert!(segment.perms == "r--p" && segment.dirty_bytes.after > 0, "{segment:?}");
    }
    assert!(with(Kind::Relro).count() >= 3, "the program, libc and the loader");
    assert!(job.traced.table.contains("[memfd workload, by make_pool]"), "{}", job.traced.table);
}

#[test]
fn memory_given_up_is_of_who_gave_it_up() {
    let machine = begin!();
    let job = machine.job("lazy_free", &[]);
    job.expect_kernel_sizes();
    // Of 32 pages that were given up, 8 were written since.
    job.expect_pages("freed", "free_lazily", "given-up", 24, 0);
    assert_eq!(job.owned("freed", "fill").rss, 8 * PAGE, "{}", job.show("freed"));
    assert_eq!(job.segment("freed").breakdown.lazyfree_bytes, Some(24 * PAGE));
    job.expect("cold", "fill", "first-write");
}

#[test]
fn memory_divides_as_the_kernel_counts_it() {
    let machine = begin!();
    let job = machine.job("segments", &[]);
    let of = |region: &str| job.segment(region).breakdown;
    let bytes = |pages: u64| Some(pages * PAGE);
    assert_eq!(of("locked").locked_bytes, bytes(40));
    assert_eq!(of("memfd").locked_bytes, Some(0));
    assert_eq!(of("given").lazyfree_bytes, bytes(20));
    assert_eq!((of("given").private_clean_bytes, of("given").pss_bytes), (bytes(20), bytes(40)));
    let huge = job.truth.region("huge").anon_huge;
    assert_eq!(of("huge").anonhuge_bytes, Some(huge));
    for segment in &job.process("memfd").segments {
        let parts = [
            segment.breakdown.private_clean_bytes,
            segment.breakdown.private_dirty_bytes,
            segment.breakdown.shared_clean_bytes,
            segment.breakdown.shared_dirty_bytes,
        ];
        let sum = parts.iter().map(|part| part.unwrap()).sum::<u64>();
        assert_eq!(sum, segment.rss_bytes.after, "{}", segment.start);
    }
    let report = job.report();
    let pss = |segments: &[Segment]| {
        segments.iter().filter_map(|segment| segment.breakdown.pss_bytes).sum::<u64>()
    };
    let all: u64 = report.processes.iter().map(|process| pss(&process.segments)).sum();
    assert_eq!(report.totals.breakdown.pss_bytes, Some(all));
}
