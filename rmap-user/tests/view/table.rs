//! The table, at several widths, with and without colour.

use proptest::prelude::*;
use rmap::report::{
    Address, BeforeAfter, Breakdown, Curves, Frame, Gone, Path, Process, Released, Report, Segment,
    SnapshotKind, Stack, StackId, Unexplained, check_identity,
};
use rmap::view::order::Sort;
use rmap::view::{Style, table, text};

use crate::{assert_golden, cases};

fn render(report: &Report, style: Style) -> String {
    let mut out = Vec::new();
    table::write(report, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const SORTS: [Sort; 6] =
    [Sort::Total, Sort::Rss, Sort::Dirty, Sort::Growth, Sort::Address, Sort::Name];

/// Takes the colours off.
fn without_colour(text: &str) -> String {
    let mut text = text.to_owned();
    for sgr in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[36m"] {
        text = text.replace(sgr, "");
    }
    text
}

#[test]
fn tables_are_as_they_were_read_and_found_good() {
    for (name, report) in cases::all() {
        for (file, style) in [
            ("80", Style { width: Some(80), ..Style::default() }),
            ("120", Style { width: Some(120), ..Style::default() }),
            ("170", Style { width: Some(170), ..Style::default() }),
            ("full", Style::default()),
            ("colour", Style { width: Some(120), colour: true, ..Style::default() }),
        ] {
            assert_golden(&format!("{name}.{file}.txt"), &render(&report, style));
        }
    }
    let style = Style {
        width: Some(100),
        top: Some(4),
        verbose: true,
        processes: None,
        ..Style::default()
    };
    assert_golden("article.verbose.txt", &render(&cases::article(), style));
    assert_golden("residuals.verbose.txt", &render(&cases::residuals(), style));
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    for (name, report) in cases::all() {
        let style = Style { width: Some(100), ..Style::default() };
        let plain = render(&report, style);
        let colour = render(&report, Style { colour: true, ..style });
        assert_eq!(without_colour(&colour), plain, "{name}");
    }
}

#[test]
fn the_cases_fulfil_the_identity() {
    for (name, report) in cases::all() {
        assert_eq!(check_identity(&report), Ok(()), "{name}");
    }
}

#[test]
fn the_totals_are_those_of_all_segments_however_few_are_shown() {
    let total = |top| {
        let text = render(&cases::article(), Style { top, ..Style::default() });
        let line = text.lines().find(|line| line.starts_with("total kB")).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(total(Some(1)), total(None));
    assert_eq!(total(Some(1))[2..5], ["1916", "1252", "84"]);
}

#[test]
fn a_report_that_contradicts_itself_says_so() {
    let mut report = cases::article();
    report.processes[0].segments[0].paths[0].rss_bytes += 4096;
    let text = render(&report, Style::default());
    assert!(text.contains("contradicts itself"), "{text}");
    report.processes[0].rss_bytes.after += 4096;
    let text = render(&report, Style::default());
    assert!(text.contains("are not those of its segments"), "{text}");
}

#[test]
fn a_merged_code_path_names_every_line_of_it() {
    let text = render(&cases::article(), Style::default());
    assert!(text.contains("__memset_avx2_unaligned_erms ← main (demo.c:12,14)"), "{text}");
}

/// Short text with everything in it that could hurt.
fn outside() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/.:]{0,12}",
        "[\\x00-\\x{a0}\u{200b}-\u{202e}\u{2066}-\u{2069}\u{5d0}\u{301}日]{0,12}",
        "\\PC{0,40}",
    ]
}

fn sizes() -> impl Strategy<Value = BeforeAfter> {
    let size = prop_oneof![(0u64..5000).prop_map(|n| n * 4096), any::<u64>()];
    (size.clone(), size).prop_map(|(before, after)| BeforeAfter { before, after })
}

fn segment() -> impl Strategy<Value = Segment> {
    let path =
        (proptest::option::of((0u32..4).prop_map(StackId)), outside(), any::<u64>(), any::<u64>());
    let rest = (outside(), any::<i64>(), any::<i64>());
    (
        (any::<u64>(), outside(), outside(), any::<u64>()),
        (sizes(), sizes(), sizes()),
        proptest::collection::vec(path, 0..3),
        proptest::collection::vec(rest, 0..3),
    )
        .prop_map(|((start, perms, name, size_bytes), (rss, dirty, swap), paths, rest)| {
            Segment {
                start: Address(start),
                end: Address(start),
                device: name.clone(),
                perms,
                offset: 0,
                inode: 0,
                name,
                size_bytes,
                rss_bytes: rss,
                dirty_bytes: dirty,
                swap_bytes: swap,
                paths: paths
                    .into_iter()
                    .map(|(stack, cause, rss_bytes, dirty_bytes)| Path {
                        stack,
                        cause: cause.as_str().into(),
                        rss_bytes,
                        dirty_bytes,
                        touched_bytes: u64::MAX,
                        faults: u64::MAX,
                        first_ns: rss_bytes,
                        last_ns: dirty_bytes,
                        tids: vec![1],
                        retained_bytes: None,
                        growth: None,
                        rewrites: 0,
                        rewritten_bytes: 0,
                    })
                    .collect(),
                unexplained: rest
                    .into_iter()
                    .map(|(reason, rss_bytes, dirty_bytes)| Unexplained {
                        reason: reason.as_str().into(),
                        rss_bytes,
                        dirty_bytes,
                        candidates: Vec::new(),
                    })
                    .collect(),
                ..Segment::default()
            }
        })
}

fn stack(id: u32) -> impl Strategy<Value = Stack> {
    let frame = (
        (proptest::option::of(outside()), any::<u64>()),
        outside(),
        proptest::option::of(outside()),
        proptest::option::of(any::<u32>()),
    );
    (any::<bool>(), proptest::collection::vec(frame, 0..30)).prop_map(move |(complete, frames)| {
        let frames = frames
            .into_iter()
            .map(|((function, offset), module, file, line)| Frame {
                function,
                offset: Address(offset),
                module,
                file,
                line,
                ..Frame::default()
            })
            .collect();
        Stack { id: StackId(id), complete, frames }
    })
}

fn process() -> impl Strategy<Value = Process> {
    let kind = prop_oneof![
        Just(SnapshotKind::AtExit),
        Just(SnapshotKind::None),
        Just(SnapshotKind::LastPeriodic)
    ];
    (
        (outside(), outside(), kind),
        (sizes(), sizes(), sizes()),
        proptest::collection::vec(segment(), 0..4),
        proptest::collection::vec((outside(), any::<u64>()), 0..3),
    )
        .prop_map(|((command, exe, snapshot), (rss, dirty, swap), segments, more)| Process {
            pid: 1,
            parent_pid: u32::MAX,
            command,
            exe,
            started_ns: 0,
            ended_ns: None,
            snapshot,
            snapshot_ns: None,
            rss_bytes: rss,
            dirty_bytes: dirty,
            swap_bytes: swap,
            trim_would_return_bytes: None,
            malloc: None,
            breakdown: Breakdown::default(),
            threads: Vec::new(),
            peak_rss_bytes: rss.after,
            peak: None,
            window: None,
            timeline: Vec::new(),
            growth: Vec::new(),
            curves: Curves::default(),
            segments,
            gone: more
                .iter()
                .map(|(cause, bytes)| Gone {
                    stack: Some(StackId(1)),
                    cause: cause.as_str().into(),
                    touched_bytes: *bytes,
                    segments: *bytes,
                })
                .collect(),
            released: more
                .iter()
                .map(|(how, bytes)| Released {
                    stack: None,
                    how: how.as_str().into(),
                    rss_bytes: *bytes,
                })
                .collect(),
        })
}

fn any_report() -> impl Strategy<Value = Report> {
    (
        proptest::collection::vec(process(), 0..4),
        (stack(0), stack(1), stack(2)),
        proptest::collection::vec(outside(), 0..4),
        0usize..5,
    )
        .prop_map(|(processes, (a, b, c), words, case)| {
            let (_, mut report) = cases::all().swap_remove(case);
            report.processes = processes;
            report.stacks = vec![a, b, c];
            report.coverage.unwind.reasons = words.iter().map(|word| (word.clone(), 1)).collect();
            report.session.command = (words.len() > 1).then_some(words);
            report
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_report_is_lines_that_are_safe_and_fit(
        report in any_report(),
        width in proptest::option::of(1usize..200),
        top in proptest::option::of(0usize..3),
        (verbose, colour) in (any::<bool>(), any::<bool>()),
        sort in proptest::sample::select(&SORTS[..]),
    ) {
        let style = Style { width, colour, sort, top, short: top, processes: top, verbose };
        let text = without_colour(&render(&report, style));
        for line in text.lines() {
            prop_assert!(!line.contains(char::is_control), "{line:?}");
            let invisible = |c| {
                matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            };
            prop_assert!(!line.contains(invisible), "{line:?}");
            prop_assert!(width.is_none_or(|width| text::width(line) <= width), "{line}");
            prop_assert!(!line.ends_with(' '), "{line:?}");
        }
    }
}
