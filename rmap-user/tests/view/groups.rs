//! Groups and trees over random reports: every view adds up to the total, to the byte.

use proptest::prelude::*;
use rmap::insight::group::KEYS;
use rmap::insight::tree::{Direction, Node, tree};
use rmap::insight::{By, Bytes, Group, Parts, Rules};
use rmap::report::{
    Address, BeforeAfter, Frame, Path, Process, Reason, Report, Segment, Stack, StackId,
    Unexplained, check_identity,
};
use rmap::view::flame::{self, Boxes};
use rmap::view::samples::Of;
use rmap::view::screen::{self, Ask};
use rmap::view::{Style, text};

use crate::cases;

const MODULES: &[&str] = &[
    "/usr/lib/libc.so.6",
    "/opt/app",
    "/usr/lib64/ld-linux-x86-64.so.2",
    "/usr/bin/python3.11",
    "[perf map]",
    "[incomplete: no unwind row]",
    "",
];
const FUNCTIONS: &[&str] = &[
    "malloc",
    "memset",
    "fill",
    "main",
    "_start",
    "_dl_relocate_object",
    "std::vector<int>::push_back",
    "_PyEval_EvalFrameDefault",
    "load(std::string const&)",
    "a\nb",
];
const CAUSES: &[&str] = &["first-write", "file-read", "file-cow", "exec", "fork-copy", "odd\x1b"];
const NAMES: &[&str] = &["", "[heap]", "[stack]", "/usr/lib/libc.so.6", "/srv/data.db", "/memfd:x"];

fn frame() -> impl Strategy<Value = Frame> {
    let function = proptest::option::of(proptest::sample::select(FUNCTIONS));
    let place = proptest::option::of((proptest::sample::select(&["a.c", "b.c"]), 0u32..4));
    (function, proptest::sample::select(MODULES), 0u64..4, place).prop_map(
        |(function, module, offset, place)| Frame {
            function: function.map(str::to_owned),
            module: module.to_owned(),
            offset: Address(offset),
            file: place.map(|(file, _)| file.to_owned()),
            line: place.map(|(_, line)| line),
            ..Frame::default()
        },
    )
}

/// Stacks with the ids 0 to 5; paths may name a sixth, which is missing.
fn stacks() -> impl Strategy<Value = Vec<Stack>> {
    proptest::collection::vec((proptest::collection::vec(frame(), 0..6), any::<bool>()), 6)
        .prop_map(|stacks| {
            let stack = |(id, (frames, complete)): (u32, (Vec<_>, bool))| Stack {
                id: StackId(id),
                complete,
                frames: frames.into(),
            };
            (0..).zip(stacks).map(stack).collect()
        })
}

fn segment() -> impl Strategy<Value = Segment> {
    let bytes = || 0u64..1 << 40;
    let path = (
        proptest::option::of((0u32..7).prop_map(StackId)),
        proptest::sample::select(CAUSES),
        (bytes(), bytes()),
        proptest::collection::vec(1u32..4, 0..3),
    );
    let rest = (
        proptest::sample::select(&["before-attach", "unknown", "lost-events"]),
        (-(1i64 << 40)..1 << 40, -(1i64 << 40)..1 << 40),
    );
    (
        proptest::sample::select(NAMES),
        proptest::sample::select(&["rw-p", "r-xp", "r--p", "rw-s"]),
        0u64..4,
        proptest::collection::vec(path, 0..5),
        proptest::collection::vec(rest, 0..3),
    )
        .prop_map(|(name, perms, page, paths, rests)| {
            let paths: Vec<Path> = paths
                .into_iter()
                .map(|(stack, cause, (rss_bytes, dirty_bytes), tids)| Path {
                    stack,
                    cause: cause.into(),
                    rss_bytes,
                    dirty_bytes,
                    touched_bytes: rss_bytes,
                    faults: 1,
                    first_ns: 0,
                    last_ns: 0,
                    tids,
                    retained_bytes: None,
                    growth: None,
                    rewrites: 0,
                    rewritten_bytes: 0,
                })
                .collect();
            let mut unexplained: Vec<Unexplained> = rests
                .into_iter()
                .map(|(reason, (rss_bytes, dirty_bytes))| Unexplained {
                    reason: reason.into(),
                    rss_bytes,
                    dirty_bytes,
                    candidates: Vec::new(),
                })
                .collect();
            let sum = |path: fn(&Path) -> u64, rest: fn(&Unexplained) -> i64| {
                paths.iter().map(|p| i64::try_from(path(p)).unwrap()).sum::<i64>()
                    + unexplained.iter().map(rest).sum::<i64>()
            };
            let (rss, dirty) =
                (sum(|p| p.rss_bytes, |u| u.rss_bytes), sum(|p| p.dirty_bytes, |u| u.dirty_bytes));
            // What the kernel says is not negative.
            if rss < 0 || dirty < 0 {
                unexplained.push(Unexplained {
                    reason: Reason::Unknown.into(),
                    rss_bytes: (-rss).max(0),
                    dirty_bytes: (-dirty).max(0),
                    candidates: Vec::new(),
                });
            }
            let after =
                |bytes: i64| BeforeAfter { before: 0, after: u64::try_from(bytes.max(0)).unwrap() };
            Segment {
                start: Address(page * 4096),
                end: Address((page + 1) * 4096),
                size_bytes: 4096,
                perms: perms.to_owned(),
                name: name.to_owned(),
                rss_bytes: after(rss),
                dirty_bytes: after(dirty),
                paths,
                unexplained,
                ..Segment::default()
            }
        })
}

fn report() -> impl Strategy<Value = Report> {
    let process = proptest::collection::vec(segment(), 0..5);
    let exes = proptest::sample::select(&["/opt/app", "/usr/bin/dash", "/usr/bin/python3.11", ""]);
    (proptest::collection::vec((process, exes), 0..4), stacks()).prop_map(|(processes, stacks)| {
        let mut report = cases::empty();
        let like = report.processes[0].clone();
        report.processes = (1..)
            .zip(processes)
            .map(|(pid, (segments, exe))| {
                let sum = |size: fn(&Segment) -> u64| BeforeAfter {
                    before: 0,
                    after: segments.iter().map(size).sum(),
                };
                Process {
                    pid,
                    exe: exe.to_owned(),
                    snapshot: rmap::report::SnapshotKind::AtExit,
                    rss_bytes: sum(|s| s.rss_bytes.after),
                    dirty_bytes: sum(|s| s.dirty_bytes.after),
                    segments,
                    ..like.clone()
                }
            })
            .collect();
        report.stacks = stacks;
        report
    })
}

fn sizes(report: &Report) -> Bytes {
    let sum =
        |size: fn(&Process) -> u64| report.processes.iter().map(|p| i128::from(size(p))).sum();
    Bytes { rss: sum(|p| p.rss_bytes.after), dirty: sum(|p| p.dirty_bytes.after) }
}

/// Groups add up to what they were made of, and so do those inside of them.
fn adds_up(groups: &[Group], whole: Bytes, keys: &[By]) -> Result<(), TestCaseError> {
    let Some((by, inner)) = keys.split_first() else { return Ok(()) };
    prop_assert_eq!(groups.iter().map(|group| group.bytes).sum::<Bytes>(), whole, "{:?}", by);
    for group in groups {
        prop_assert!(*by == By::Function || group.bytes == group.inclusive);
        if !inner.is_empty() {
            adds_up(&group.groups, group.inclusive, inner)?;
        }
    }
    Ok(())
}

fn tree_adds_up(nodes: &[Node], whole: Bytes) -> Result<(), TestCaseError> {
    prop_assert_eq!(nodes.iter().map(|node| node.bytes).sum::<Bytes>(), whole);
    for node in nodes {
        tree_adds_up(&node.children, node.bytes - node.own)?;
    }
    Ok(())
}

fn key() -> impl Strategy<Value = By> {
    proptest::sample::select(KEYS).prop_map(|(by, _)| by)
}

fn render(report: &Report, ask: &Ask, width: Option<usize>) -> String {
    let mut out = Vec::new();
    let style = Style { width, ..Style::default() };
    screen::write(report, &Rules::built_in(), ask, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_view_adds_up_to_the_total(report in report(), second in key(), third in key()) {
        prop_assert_eq!(check_identity(&report), Ok(()));
        let parts = Parts::of(&report, &Rules::built_in());
        let whole = sizes(&report);
        prop_assert_eq!(parts.total(), whole);
        for (first, _) in KEYS {
            let keys = [*first, second, third];
            adds_up(&parts.by(&keys), whole, &keys)?;
        }
        for direction in [Direction::FromRoot, Direction::FromLeaf] {
            tree_adds_up(&tree(&parts, direction), whole)?;
        }
    }

    #[test]
    fn screens_of_any_report_fit_and_no_two_rows_are_alike(report in report(), by in key(), width in 60usize..160) {
        let first = render(&report, &Ask::default(), Some(width));
        let all = Ask { by: vec![by], top: Some(None), ..Ask::default() };
        let all = render(&report, &all, Some(width));
        for line in first.lines().chain(all.lines()) {
            prop_assert!(text::width(line) <= width, "{line:?}");
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        prop_assert!(first.lines().count() <= screen::USUAL_HEIGHT, "{first}");
        let names: Vec<&str> = all
            .lines()
            .skip_while(|line| !line.trim_start().starts_with("RSS"))
            .skip(1)
            .take_while(|line| !line.ends_with("  total"))
            .collect();
        let distinct: std::collections::BTreeSet<&&str> = names.iter().collect();
        prop_assert_eq!(distinct.len(), names.len(), "{}", all);
    }
}

#[test]
fn flame_graphs_stand_on_groups_and_from_the_leaf() {
    let draw = |by: &[By], reverse| {
        let boxes = Boxes { by: by.to_vec(), reverse };
        let mut svg = Vec::new();
        let (report, rules) = (cases::article(), Rules::built_in());
        flame::write_grouped(&report, &rules, Of::Resident, &boxes, &mut svg).unwrap();
        String::from_utf8(svg).unwrap()
    };
    let by_kind = draw(&[By::Kind], false);
    assert!(by_kind.contains("<title>heap (65,536 bytes"), "{by_kind}");
    let from_leaf = draw(&[], true);
    assert!(from_leaf.contains("<title>memset (61,440 bytes"), "{from_leaf}");
}
