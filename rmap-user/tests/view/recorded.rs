//! Every view and format of the recordings in `tests/recordings`, against golden files, and each
//! that is not text read by a parser that is not rmap's.
//!
//! What is held by which golden file, of each recording unless it says otherwise:
//!
//! | View or format | Files in `golden/recorded/` |
//! |---|---|
//! | table | `table.txt`, `full.txt` (no terminal), `options.txt` (`--sort --top -v`), `part.txt` (`--segment`) |
//! | JSON report | `part.json`; of `plain` whole: `plain.report.json` |
//! | `explain` | `explain-program` (a file's segments, by name) and `explain-address`: `.txt`, `.full.txt`, `.short.txt` (`--top`), `.json` |
//! | `report --at` | `plain.at-peak.txt`, `plain.at-peak.json` |
//! | `diff` | `plain-more.diff.txt`, `plain-more.diff.json` |
//! | `flame` | `resident.svg`, `dirty.svg`, `touched.svg` |
//! | folded | `resident.folded`, `dirty.folded`, `touched.folded` |
//! | pprof | `pprof.txt`, in words |
//! | speedscope | `speedscope.json` |
//! | Perfetto | `perfetto.txt`, in words |
//!
//! `cargo xtask golden` writes the golden files anew, `cargo xtask golden --record` the recordings
//! too, as root: after a change of the recording's format, or of the programs beside them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use rmap::insight::Rules;
use rmap::insight::json::Schema;
use rmap::replay::{self, Explained, Reading, Wanted};
use rmap::report::course::Course;
use rmap::report::{Asked, At, Explanation, Report, check_identity};
use rmap::symbol::Folders;
use rmap::view::diff::{self, Difference};
use rmap::view::export::{folded, speedscope};
use rmap::view::order::{Listing, Sort};
use rmap::view::select::Selection;
use rmap::view::{Style, explain, flame, json, table};

use crate::{assert_golden, export, perfetto};

/// The recordings.
pub const NAMES: [&str; 3] = ["plain", "more", "forked"];

/// Where a recording is.
fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    folder.join(name).with_extension("rmap")
}

/// With the names that the recording has, and none that this machine adds.
fn reading() -> Reading {
    Reading { symbols: Arc::new(Folders::alone()), ..Reading::default() }
}

/// A recording's report and course. The kernel's own version is no matter of these tests.
pub fn load(name: &str) -> (Report, Course) {
    let read = rmap::input::load_course(&path(name), &reading());
    let (loaded, course) = read.unwrap_or_else(|error| {
        panic!("{error:#}; if the format has changed, run as root: cargo xtask golden --record")
    });
    let mut report = loaded.report;
    assert_eq!(check_identity(&report), Ok(()), "{name}");
    report.host.kernel = "6.18".to_owned();
    (report, course)
}

/// A recording's report at a moment.
pub fn load_at(name: &str, at: At) -> Report {
    let mut report =
        rmap::input::load(&path(name), &Reading { asked: Asked::State(at), ..reading() })
            .unwrap()
            .report;
    report.host.kernel = "6.18".to_owned();
    report
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn recordings_are_small() {
    for name in NAMES {
        let bytes = std::fs::metadata(path(name)).unwrap().len();
        assert!(bytes < 32 << 10, "{name}: {bytes} bytes");
    }
}

#[test]
fn views_of_recordings_are_as_they_were() {
    for name in NAMES {
        let (report, _) = load(name);
        let golden =
            |kind: &str, text: &str| assert_golden(&format!("recorded/{name}.{kind}"), text);
        let table = |report: &Report, style| text(|out| table::write(report, style, out));
        let narrow = Style { width: Some(100), ..Style::default() };
        golden("table.txt", &table(&report, narrow));
        golden("full.txt", &table(&report, Style::default()));
        let options = Style {
            width: Some(100),
            sort: Sort::Dirty,
            top: Some(3),
            short: Some(3),
            processes: None,
            verbose: true,
            colour: false,
        };
        golden("options.txt", &table(&report, options));
        let chosen = Selection { segments: vec!["[anon]".into()], ..Selection::default() };
        let part = chosen.of(report.clone()).unwrap();
        golden("part.txt", &table(&part, narrow));
        golden(
            "part.json",
            &text(|out| json::write(&part, &Rules::built_in(), Schema::First, out)),
        );
    }
}

#[test]
fn exports_of_recordings_are_as_they_were() {
    for name in NAMES {
        let (report, course) = load(name);
        let golden =
            |kind: &str, text: &str| assert_golden(&format!("recorded/{name}.{kind}"), text);
        let listing = Listing::default();
        for (kind, of) in export::KINDS {
            golden(
                &format!("{kind}.folded"),
                &text(|out| folded::write(&report, of, listing, out)),
            );
        }
        golden("pprof.txt", &export::pprof_text(&report, listing));
        golden("speedscope.json", &text(|out| speedscope::write(&report, listing, out)));
        golden("perfetto.txt", &perfetto_text(&report, &course));
        for (kind, of) in export::KINDS {
            golden(&format!("{kind}.svg"), &text(|out| flame::write(&report, of, listing, out)));
        }
    }
}

/// The state at another moment, and one JSON report as a whole.
#[test]
fn reports_of_recordings_are_as_they_were() {
    let golden = |kind: &str, text: &str| assert_golden(&format!("recorded/plain.{kind}"), text);
    let whole = text(|out| json::write(&load("plain").0, &Rules::built_in(), Schema::First, out));
    golden("report.json", &whole);
    let reading = Reading { asked: Asked::State(At::Peak), ..reading() };
    let mut report = replay::load(&path("plain"), &reading).unwrap().report;
    assert_eq!(check_identity(&report), Ok(()));
    assert!(report.session.at_ns.is_some());
    report.host.kernel = "6.18".to_owned();
    let style = Style { width: Some(100), ..Style::default() };
    golden("at-peak.txt", &text(|out| table::write(&report, style, out)));
    golden(
        "at-peak.json",
        &text(|out| json::write(&report, &Rules::built_in(), Schema::First, out)),
    );
}

/// The stories of a segment in a recording.
fn told(name: &str, segment: &str) -> Explanation {
    let selection = Selection { segments: vec![segment.to_owned()], ..Selection::default() };
    let wanted = Wanted {
        process: &|process| selection.means_process(process),
        segment: &|segment| selection.means_segment(segment),
    };
    let explained = replay::explain(&path(name), wanted, &reading()).unwrap();
    let Explained { mut explanation, cut_at, notes } = explained;
    assert_eq!((cut_at, notes.is_empty(), explanation.left_out), (None, true, 0), "{name}");
    explanation.host.kernel = "6.18".to_owned();
    explanation
}

/// By name, and by an address in what the program itself wrote.
#[test]
fn stories_from_recordings_are_as_they_were() {
    for name in NAMES {
        let golden =
            |kind: &str, text: &str| assert_golden(&format!("recorded/{name}.{kind}"), text);
        let (report, _) = load(name);
        let written = report.processes[0].segments.iter().max_by_key(|s| s.dirty_bytes.after);
        let address = &written.unwrap().start.to_string();
        for (kind, segment) in [("program", name_of_program(name)), ("address", address)] {
            let explanation = told(name, segment);
            for (form, style) in [
                ("", Style { width: Some(100), ..Style::default() }),
                (".full", Style::default()),
                (".short", Style { width: Some(80), top: Some(3), ..Style::default() }),
            ] {
                let text = text(|out| explain::write(&explanation, style, out));
                golden(&format!("explain-{kind}{form}.txt"), &text);
            }
            let json = text(|out| explain::write_json(&explanation, out));
            golden(&format!("explain-{kind}.json"), &json);
        }
    }
}

/// The program's own file, of which several segments are.
fn name_of_program(recording: &str) -> &str {
    if recording == "forked" { "forked" } else { "plain" }
}

/// A recording of the first version of the format is read by every later rmap.
#[test]
fn recordings_of_the_first_version_are_read() {
    let path = path("version-1");
    assert_eq!(std::fs::read(&path).unwrap()[8..10], [1, 0]);
    let loaded = rmap::input::load(&path, &reading()).unwrap();
    assert_eq!((loaded.cut_at, loaded.skipped), (None, 0));
    assert_eq!(check_identity(&loaded.report), Ok(()));
    let functions = loaded.report.stacks.iter().flat_map(|stack| &stack.frames);
    let mut functions = functions.filter_map(|frame| frame.function.as_deref());
    assert!(functions.any(|function| function == "fill_rows"));
}

/// The second version holds no Pss; that is not known then, and not 0.
#[test]
fn recordings_of_the_second_version_leave_open_what_they_do_not_hold() {
    let path = path("version-2");
    assert_eq!(std::fs::read(&path).unwrap()[8..10], [2, 0]);
    let loaded = rmap::input::load(&path, &reading()).unwrap();
    assert_eq!((loaded.cut_at, loaded.skipped), (None, 0));
    assert_eq!(check_identity(&loaded.report), Ok(()));
    let totals = loaded.report.totals;
    assert_eq!((totals.breakdown.pss_bytes, totals.breakdown.locked_bytes), (None, None));
    assert!(totals.breakdown.anonymous_bytes > Some(0) && totals.rss_bytes > 0);
}

#[test]
fn the_difference_of_recordings_is_as_it_was() {
    let (a, b) = (load("plain").0, load("more").0);
    let difference = Difference::of(&a, &b);
    let style = Style { width: Some(100), ..Style::default() };
    let own = Difference::of(&a, &a);
    assert!(own.segments.is_empty() && own.paths.is_empty());
    assert_golden("recorded/plain-more.diff.txt", &text(|o| diff::write(&difference, style, o)));
    assert_golden("recorded/plain-more.diff.json", &text(|o| diff::write_json(&difference, o)));
    // 16 pages more were written, and nothing else is known to differ.
    let fill = difference.paths.iter().find(|path| path.names.iter().any(|n| n == "fill_rows"));
    let fill = fill.unwrap();
    assert_eq!(fill.dirty_bytes.b - fill.dirty_bytes.a, 16 * 4096);
    assert_eq!(difference.paths[0], *fill);
}

/// A trace in words: tracks and what is on them.
fn perfetto_text(report: &Report, course: &Course) -> String {
    let bytes = perfetto::written(report, course, Listing::default());
    let mut words = String::new();
    for track in perfetto::tracks(&bytes) {
        let descriptor = &track.descriptor;
        let parent = descriptor.parent_uuid.map(|id| format!(" of {id}")).unwrap_or_default();
        let name = descriptor.name.as_deref().unwrap_or_default();
        write!(words, "track {}{parent} {name}", descriptor.uuid.unwrap()).unwrap();
        if let Some(process) = &descriptor.process {
            write!(words, "process {} {:?}", process.pid.unwrap(), process.cmdline).unwrap();
        }
        words.push('\n');
        for (time, event) in &track.events {
            write!(words, "  {time} {}", event.kind.unwrap()).unwrap();
            if let Some(value) = event.counter_value {
                write!(words, " {value}").unwrap();
            }
            for text in event.categories.iter().chain(&event.name) {
                write!(words, " {text}").unwrap();
            }
            words.push('\n');
            for annotation in &event.debug_annotations {
                let name = annotation.name.as_deref().unwrap_or_default();
                write!(words, "    {name}:").unwrap();
                let numbers = [annotation.uint_value, annotation.pointer_value];
                for number in numbers.into_iter().flatten() {
                    write!(words, " {number}").unwrap();
                }
                if let Some(number) = annotation.int_value {
                    write!(words, " {number}").unwrap();
                }
                writeln!(words, " {}", annotation.string_value.as_deref().unwrap_or_default())
                    .unwrap();
            }
        }
    }
    words
}
