//! Each rule speaks from its threshold on and is silent below it; the document has each rule.

use super::*;
use crate::insight::{Rules, naming, samples};
use crate::report::heap::{HeapBytes, HeapState, SegmentHeap};
use crate::report::{BeforeAfter, Frame, Package, Pattern, Report, Segment, Stack, StackId};

const MIB: u64 = 1 << 20;

/// What the rules say of some processes, each with its program and its segments.
fn advice_on(processes: Vec<(&str, Vec<Segment>)>) -> Vec<Advice> {
    advice(&Parts::of(&report_on(processes), &Rules::built_in()))
}

fn report_on(processes: Vec<(&str, Vec<Segment>)>) -> Report {
    let mut report = samples::report();
    report.processes = (100..)
        .zip(processes)
        .map(|(pid, (exe, segments))| {
            let mut process = samples::process(pid, 0);
            process.parent_pid = if pid == 100 { 1 } else { 100 };
            process.exe = exe.to_owned();
            process.segments = segments;
            process
        })
        .collect();
    let frame = |function: &str, module: &str| Frame {
        function: Some(function.to_owned()),
        module: module.to_owned(),
        ..Frame::default()
    };
    report.stacks = vec![
        Stack { id: StackId(1), complete: true, frames: vec![frame("grow", "/opt/app")].into() },
        Stack {
            id: StackId(2),
            complete: true,
            frames: vec![frame("_dl_relocate_object", "/lib64/ld-linux-x86-64.so.2")].into(),
        },
    ];
    naming::name_segments(&mut report);
    report
}

fn segment(name: &str, stack: u32, cause: &str, mib: u64, dirty_mib: u64) -> Segment {
    let bytes = |mib: u64| BeforeAfter { before: 0, after: mib * MIB };
    Segment {
        name: name.to_owned(),
        inode: u64::from(name.starts_with('/')),
        perms: "rw-p".to_owned(),
        rss_bytes: bytes(mib),
        dirty_bytes: bytes(dirty_mib),
        paths: vec![samples::path(stack, cause, mib * MIB, dirty_mib * MIB)],
        ..Segment::default()
    }
}

/// The only piece of advice; none where the figure is below the threshold.
fn only(found: &[Advice]) -> Option<(&'static str, String)> {
    assert!(found.len() <= 1, "{found:?}");
    found.first().map(|advice| (advice.rule, advice.evidence.clone()))
}

#[test]
fn nothing_is_said_where_nothing_matters() {
    let heap = segment("[heap]", 1, "first-write", 500, 500);
    assert_eq!(only(&advice_on(vec![("/opt/app", vec![heap])])), None);
}

#[test]
fn copies_after_fork_name_the_writer_and_the_side() {
    let copied = |exe, mib| {
        only(&advice_on(vec![(exe, vec![]), (exe, vec![segment("", 1, "fork-cow", mib, mib)])]))
    };
    assert_eq!(copied("/opt/app", 15), None);
    let (rule, evidence) = copied("/opt/app", 20).unwrap();
    assert_eq!(rule, "fork-copies");
    assert_eq!(
        evidence,
        "20.0 MiB were copied by writes after fork, in 1 child, most of it by grow"
    );
    assert_eq!(copied("/usr/bin/python3.11", 20).unwrap().0, "fork-copies-python");
}

#[test]
fn arenas_are_those_of_glibc() {
    let is = |kind, label: Option<&str>| {
        let label = label.map(str::to_owned);
        let segment = segment("", 1, "first-write", 8, 8);
        find::is_glibcs_arena(&Segment { kind: Some(kind), label, ..segment })
    };
    use crate::report::Kind;
    assert!(is(Kind::MallocArena, Some("[malloc arena 3]")) && is(Kind::MallocArena, None));
    assert!(!is(Kind::MallocArena, Some("[jemalloc]")) && !is(Kind::Heap, None));
}

#[test]
fn relocations_count_in_many_processes_only() {
    let relocated = |processes| {
        let of = || vec![segment("/usr/lib/libbig.so", 2, "file-cow", 4, 4)];
        only(&advice_on((0..processes).map(|_| ("/opt/app", of())).collect()))
    };
    assert_eq!(relocated(7), None);
    assert_eq!(relocated(8).unwrap().0, "relocations");
}

#[test]
fn memory_given_up_by_madv_free_is_named() {
    let given_up = |mib: u64| {
        let mut segment = segment("", 1, "first-write", 64, 64 - mib);
        segment.breakdown.lazyfree_bytes = Some(mib * MIB);
        only(&advice_on(vec![("/opt/app", vec![segment])]))
    };
    assert_eq!(given_up(15), None);
    assert!(given_up(48).unwrap().1.starts_with("48.0 MiB were given up by MADV_FREE"));
}

#[test]
fn memory_populated_and_page_cache_dirt_and_huge_pages_have_their_thresholds() {
    for (cause, below, above, dirty, rule) in [
        ("populate", 31, 32, 0, "populated"),
        ("page-cache-write", 31, 32, 1, "page-cache-dirt"),
        ("huge-page", 63, 64, 1, "huge-pages"),
    ] {
        let of = |mib| {
            let segment = segment("/srv/data", 1, cause, mib, mib * dirty);
            only(&advice_on(vec![("/opt/app", vec![segment])]))
        };
        assert_eq!(of(below), None, "{rule}");
        assert_eq!(of(above).unwrap().0, rule);
    }
}

#[test]
fn memory_that_malloc_keeps_is_named_with_who_touched_it_first() {
    let kept = |mib: u64| {
        let mut segment = segment("[heap]", 1, "first-write", 64, 64);
        segment.paths[0].retained_bytes = Some(mib * MIB);
        let sums = HeapBytes {
            live_bytes: (64 - mib) * MIB,
            free_bytes: mib * MIB,
            whole_free_resident_bytes: mib * MIB,
            ..HeapBytes::default()
        };
        segment.heap = Some(Box::new(SegmentHeap {
            allocator: "glibc".to_owned(),
            arena: Some(0),
            state: HeapState::Consistent,
            stopped_at: None,
            resident_bytes: 64 * MIB,
            sums: Some(sums),
        }));
        let mut report = report_on(vec![("/opt/app", vec![segment])]);
        report.processes[0].trim_would_return_bytes = Some(mib * MIB);
        only(&advice(&Parts::of(&report, &Rules::built_in())))
    };
    assert_eq!(kept(15), None);
    let (rule, evidence) = kept(48).unwrap();
    assert_eq!(rule, "heap-free");
    assert_eq!(
        evidence,
        "48.0 MiB of 64.0 MiB of the heaps are free, 48.0 MiB of that in whole pages, most of it \
         first touched by grow"
    );
}

#[test]
fn files_without_names_are_said_where_they_own_much() {
    let said = |name: Option<&str>, rss: u64| {
        let named = segment("[heap]", 2, "first-write", 100, 100);
        let mut report = report_on(vec![(
            "/opt/app",
            vec![named, segment("[anon]", 1, "first-write", rss, rss)],
        )]);
        let frame = |build_id: Option<&str>, offset| Frame {
            build_id: build_id.map(str::to_owned),
            ..Frame::at("/usr/lib/libc.so.6", offset)
        };
        let caller = Frame { function: Some("main".to_owned()), ..frame(None, 2) };
        report.stacks[0].frames = vec![frame(Some("ab001f"), 1)].into();
        report.stacks[1].frames = vec![caller].into();
        report.coverage.packages = name
            .map(|name| Package { build_id: "ab001f".to_owned(), name: name.to_owned() })
            .into_iter()
            .collect();
        advice(&Parts::of(&report, &Rules::built_in()))
    };
    assert_eq!(only(&said(None, 11)), None, "less than a tenth of RSS");
    let file = "12.0 MiB are owned by code without names, all of it in libc.so.6, whose debug file is \
                /usr/lib/debug/.build-id/ab/001f.debug";
    assert_eq!(only(&said(None, 12)), Some(("no-names", file.to_owned())));
    let found = said(Some("libc6"), 12);
    assert_eq!(only(&found), Some(("no-names", format!("{file}, package libc6-dbg"))));
    let [module] = &found[0].modules[..] else { panic!("{found:?}") };
    assert_eq!((module.bytes, module.debug_package.as_deref()), (12 * MIB, Some("libc6-dbg")));
}

#[test]
fn growth_is_said_of_segments_that_rose() {
    let rose = |pattern| {
        let segment = Segment { pattern, ..segment("[heap]", 1, "first-write", 9, 9) };
        only(&advice_on(vec![("/opt/app", vec![segment])]))
    };
    assert_eq!(rose(None), None);
    let (rule, evidence) = rose(Some(Pattern::Growing.into())).unwrap();
    assert_eq!((rule, evidence.contains("by grow")), ("growth", true));
}

#[test]
fn the_document_has_every_rule_with_its_texts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/advice.md");
    let document = std::fs::read_to_string(path).unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let headings = document.lines().filter(|line| line.starts_with("## `")).count();
    assert_eq!(headings, RULES.len(), "each rule has one heading");
    for rule in RULES {
        let heading = format!("## `{}`\n", rule.name);
        let section = document.split_once(&heading).map(|(_, rest)| rest);
        let section = section.unwrap_or_else(|| panic!("no section of {}", rule.name));
        let section = words(section.split("\n## ").next().unwrap());
        for text in [rule.threshold, rule.remedy, rule.harmless_when] {
            assert!(section.contains(text), "{}: {text:?} is not in its section", rule.name);
        }
        assert!(section.contains("Source:"), "{} has no source", rule.name);
    }
}
