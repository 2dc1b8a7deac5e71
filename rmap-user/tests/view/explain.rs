//! The story of a segment: text at several widths, JSON.

use rmap::report::story::{Amount, Happening, MovedFrom, Pages, STORY_SCHEMA, State};
use rmap::report::{Address, Explanation, Report, Segment, Story};
use rmap::view::{Style, explain, text};

use crate::{assert_golden, cases};

const KIB: i64 = 1024;

fn render(explanation: &Explanation, style: Style) -> String {
    let mut out = Vec::new();
    explain::write(explanation, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The story that the paths of a segment make: mapped, then each path's pages one after the other.
fn story(report: &Report, process: usize, segment: usize) -> Story {
    let process = &report.processes[process];
    let segment = process.segments[segment].clone();
    let start = segment.start.0;
    let mut events = Vec::new();
    let mapped = Happening {
        what: "map".to_owned(),
        name: segment
            .mapped_by
            .as_ref()
            .map_or("exec".to_owned(), |by| by.call.as_str().to_owned()),
        stack: segment.mapped_by.as_ref().and_then(|by| by.stack),
        first_ns: 205_000,
        last_ns: 205_000,
        times: 1,
        mapped_bytes: segment.size_bytes as i64,
        start: Some(segment.start),
        end: Some(segment.end),
        tids: vec![4711],
        ..Happening::default()
    };
    events.push(mapped);
    let (mut pages, mut at) = (Vec::new(), start);
    for (number, path) in segment.paths.iter().enumerate() {
        let (place, number) = (u32::try_from(number).unwrap(), number as u64);
        events.push(Happening {
            what: "fault".to_owned(),
            name: path.cause.as_str().to_owned(),
            stack: path.stack,
            first_ns: 210_000 + number * 1000,
            last_ns: 940_000,
            times: path.faults,
            rss_bytes: path.rss_bytes as i64,
            dirty_bytes: path.dirty_bytes as i64,
            touched_bytes: path.touched_bytes,
            tids: path.tids.clone(),
            ..Happening::default()
        });
        let end = at + path.rss_bytes;
        pages.push(Pages {
            start: Address(at),
            end: Address(end),
            state: if path.dirty_bytes > 0 { "anonymous" } else { "file" }.to_owned(),
            huge: false,
            resident: Some(place),
            dirty: (path.dirty_bytes > 0).then_some(place),
            before: false,
        });
        at = end;
    }
    let explained =
        |of: fn(&rmap::report::Path) -> u64| segment.paths.iter().map(of).sum::<u64>() as i64;
    Story {
        pid: process.pid,
        command: process.command.clone(),
        exe: process.exe.clone(),
        ended_ns: process.ended_ns,
        snapshot: process.snapshot,
        snapshot_ns: process.snapshot_ns,
        start: segment.start,
        end: segment.end,
        name: segment.name.clone(),
        moved_from: Vec::new(),
        earlier_mappings: 0,
        events,
        states: vec![State {
            at_ns: 1_230_000,
            size_bytes: segment.size_bytes,
            rss_bytes: segment.rss_bytes.after,
            dirty_bytes: segment.dirty_bytes.after,
            swap_bytes: 0,
            explained: Amount {
                rss_bytes: explained(|path| path.rss_bytes),
                dirty_bytes: explained(|path| path.dirty_bytes),
            },
        }],
        since: Amount::default(),
        pages,
        segment: Some(segment),
    }
}

fn explanation(report: Report, stories: Vec<Story>) -> Explanation {
    Explanation {
        schema: STORY_SCHEMA.to_owned(),
        rmap_version: report.rmap_version,
        host: report.host,
        session: report.session,
        coverage: report.coverage,
        stories,
        left_out: 0,
        stacks: report.stacks,
    }
}

/// The heap of the article's program, with more in it than the program does: it was larger, part
/// of it was given back, and it was moved.
fn heap() -> Explanation {
    let report = cases::article();
    let segments = &report.processes[0].segments;
    let at = segments.iter().position(|segment| segment.name == "[heap]").unwrap();
    let mut story = story(&report, 0, at);
    let stack = story.events[0].stack;
    let more = |what: &str, name: &str, at: u64, [mapped, rss, dirty]: [i64; 3]| Happening {
        what: what.to_owned(),
        name: name.to_owned(),
        stack,
        first_ns: at,
        last_ns: at,
        times: 1,
        mapped_bytes: mapped * KIB,
        rss_bytes: rss * KIB,
        dirty_bytes: dirty * KIB,
        ..Happening::default()
    };
    story.events.extend([
        more("grow", "brk", 950_000, [64, 0, 0]),
        more("fault", "first-write", 960_000, [0, 32, 32]),
        more("fault", "first-write", 970_000, [0, 32, 32]),
        more("clean", "madv-free", 980_000, [0, 0, -16]),
        more("free", "brk", 990_000, [0, -64, -48]),
        more("unmap", "brk", 990_000, [-64, 0, 0]),
        more("protect", "r--", 995_000, [0, 0, 0]),
        more("fork", "fork", 996_000, [0, 0, 0]),
    ]);
    story.events.push(Happening { stack: None, ..more("missing", "snapshot", 1_230_000, [0; 3]) });
    story.states.insert(0, State { at_ns: 975_000, rss_bytes: 128 << 10, ..story.states[0] });
    story.moved_from.push(MovedFrom {
        start: Address(0x1000),
        end: Address(0x9000),
        until_ns: 206_000,
    });
    story.earlier_mappings = 2;
    let gone = Story {
        segment: None,
        states: Vec::new(),
        pages: Vec::new(),
        name: "/tmp/data".to_owned(),
        since: Amount { rss_bytes: 4096, dirty_bytes: 0 },
        ..story.clone()
    };
    explanation(report, vec![story, gone])
}

#[test]
fn stories_are_as_they_were_read_and_found_good() {
    let heap = heap();
    for (file, style) in [
        ("80", Style { width: Some(80), ..Style::default() }),
        ("120", Style { width: Some(120), ..Style::default() }),
        ("full", Style::default()),
        ("short", Style { width: Some(100), top: Some(4), ..Style::default() }),
    ] {
        assert_golden(&format!("heap.explain.{file}.txt"), &render(&heap, style));
    }
    let mut json = Vec::new();
    explain::write_json(&heap, &mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), heap);
    let mut more = heap.clone();
    more.left_out = 3;
    let text = render(&more, Style::default());
    assert!(text.ends_with("by an address.\n") && text.contains("\n3 more are meant"), "{text}");
    let mut small = heap;
    small.stories.truncate(1);
    small.stacks.truncate(1);
    let mut out = Vec::new();
    explain::write_json(&small, &mut out).unwrap();
    assert_golden("heap.explain.json", &String::from_utf8(out).unwrap());
}

#[test]
fn lines_fit_and_nothing_from_outside_reaches_the_terminal() {
    for (name, report) in cases::all() {
        let stories = report.processes.iter().enumerate().flat_map(|(at, process)| {
            let report = &report;
            (0..process.segments.len()).map(move |segment| story(report, at, segment))
        });
        let stories: Vec<Story> = stories.collect();
        let explanation = explanation(report.clone(), stories);
        for width in [40, 80, 133] {
            let style = Style { width: Some(width), ..Style::default() };
            for line in render(&explanation, style).lines() {
                assert!(text::width(line) <= width, "{name} at {width}: {line}");
                assert!(!line.contains(char::is_control), "{name}: {line:?}");
            }
        }
    }
}

/// The rows of the timeline add up whatever is summed up in them.
#[test]
fn every_number_of_rows_tells_the_same_sum() {
    let heap = heap();
    let sum = |top| {
        let text = render(&heap, Style { top, ..Style::default() });
        let line = text.lines().find(|line| line.starts_with("in all")).unwrap().to_owned();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let segment: &Segment = heap.stories[0].segment.as_ref().unwrap();
    let kib = |bytes: u64| (bytes / 1024).to_string();
    let all = ["in".to_owned(), "all".to_owned(), kib(segment.size_bytes)];
    for top in [None, Some(1), Some(3), Some(8)] {
        let sum = sum(top);
        assert_eq!(sum[..3], all, "{top:?}");
        assert_eq!(sum[3], kib(segment.rss_bytes.after), "{top:?}");
    }
}
