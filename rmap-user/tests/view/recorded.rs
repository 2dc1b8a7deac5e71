//! Every view and format of the recordings in `tests/recordings`, against golden files, and each
//! that is not text read by a parser that is not rmap's.
//!
//! `cargo xtask golden` writes the golden files anew, `cargo xtask golden --record` the recordings
//! too, as root: after a change of the recording's format, or of the programs beside them.

use std::fmt::Write as _;
use std::path::PathBuf;

use rmap::report::course::Course;
use rmap::report::{Report, check_identity};
use rmap::view::diff::{self, Difference};
use rmap::view::export::{folded, speedscope};
use rmap::view::order::{Listing, Sort};
use rmap::view::samples::Of;
use rmap::view::select::Selection;
use rmap::view::{Style, flame, json, table};

use crate::{assert_golden, export, perfetto};

/// The recordings.
pub const NAMES: [&str; 3] = ["plain", "more", "forked"];

/// A recording's report and course. The kernel's own version is no matter of these tests.
pub fn load(name: &str) -> (Report, Course) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    let path = folder.join(name).with_extension("rmap");
    let (mut report, course) = rmap::input::load_course(&path).unwrap_or_else(|error| {
        panic!("{error:#}; if the format has changed, run as root: cargo xtask golden --record")
    });
    assert_eq!(check_identity(&report), Ok(()), "{name}");
    report.host.kernel = "6.18".to_owned();
    (report, course)
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn recordings_are_small() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    for name in NAMES {
        let bytes = std::fs::metadata(folder.join(name).with_extension("rmap")).unwrap().len();
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
        golden("part.json", &text(|out| json::write(&part, out)));
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
        golden("dirty.svg", &text(|out| flame::write(&report, Of::Dirty, listing, out)));
    }
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
