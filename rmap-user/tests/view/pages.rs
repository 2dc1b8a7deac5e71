//! The page: what is embedded in it, and pages for the browser of `cargo xtask page --test`.
//!
//! With `RMAP_PAGES=FOLDER` every page is written there, with the JSON of each of its moments beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rmap::insight::Rules;
use rmap::insight::json::Schema;
use rmap::report::{Address, At, Frame, Report, Stack, StackId};
use rmap::view::diff::Difference;
use rmap::view::json;
use rmap::view::page::{self, Moment};

use crate::{cases, recorded};

/// A page of 100,000 call paths is no larger than this.
const LARGE_MOST: usize = 6 << 20;
/// A page of a recording of the tests.
const RECORDED_MOST: usize = 1_500_000;

/// The moments of a session, the first shown first.
type Session = Vec<(&'static str, Report)>;

fn page_of(session: &Session) -> String {
    let moments: Vec<Moment<'_>> =
        session.iter().map(|(name, report)| Moment { name, report }).collect();
    let mut out = Vec::new();
    page::write(&moments, Some("prog.rmap"), &Rules::built_in(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json_of(report: &Report) -> String {
    let mut out = Vec::new();
    json::write(report, &Rules::built_in(), Schema::First, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// What stands in the element that holds the data.
fn embedded(page: &str) -> &str {
    let start = page.find("id=\"rmap-data\"").unwrap();
    let start = start + page[start..].find('>').unwrap() + 1;
    &page[start..start + page[start..].find("</script>").unwrap()]
}

/// Names that try to be more than names.
const ATTACKS: &[&str] = &[
    "</script><script>window.attacked=1</script>",
    "<img src=x onerror=\"window.attacked=1\">",
    "\"><svg onload=window.attacked=1>",
    "<!--<script>",
    "javascript:window.attacked=1",
    "\u{202e}lmth\u{2066}\u{2028}\u{2029}\0\x1b]0;attacked\x07",
    "</title><h1>attacked</h1>",
    "%RMAP-DATA%",
    "__proto__",
    "constructor",
];

/// A report in which every name is an attack.
fn attack() -> Report {
    let mut report = cases::pipeline();
    let mut names = ATTACKS.iter().cycle().map(|name| (*name).to_owned());
    let mut next = move || names.next().unwrap();
    report.session.command = Some(vec![next(), next()]);
    report.session.started_at = next();
    report.session.notes = ATTACKS.iter().map(|name| (*name).to_owned()).collect();
    report.host.kernel = next();
    for probe in &mut report.coverage.probes {
        (probe.name, probe.attached, probe.why_not) = (next(), false, Some(next()));
    }
    for process in &mut report.processes {
        (process.command, process.exe) = (next(), next());
        for segment in &mut process.segments {
            (segment.name, segment.label, segment.perms) = (next(), Some(next()), next());
            (segment.device, segment.vm_flags) = (next(), next());
            for path in &mut segment.paths {
                path.cause = next().as_str().into();
            }
            for rest in &mut segment.unexplained {
                rest.reason = next().as_str().into();
            }
        }
    }
    report.sum_up();
    for stack in &mut report.stacks {
        let mut frames = stack.frames.to_vec();
        for frame in &mut frames {
            (frame.function, frame.module, frame.file) = (Some(next()), next(), Some(next()));
        }
        stack.frames = frames.into();
    }
    report
}

/// A report of 100,000 call paths.
fn large() -> Report {
    let mut report = cases::article();
    let process = report.processes.first_mut().unwrap();
    let segment = process.segments.iter_mut().find(|segment| segment.paths.len() == 1).unwrap();
    let path = segment.paths.first().unwrap().clone();
    let (rss, dirty) = (segment.rss_bytes.after, segment.dirty_bytes.after);
    let mut stacks = Vec::new();
    segment.paths = (0..100_000_u32)
        .map(|number| {
            let id = StackId(1000 + number);
            let frames = (0..16)
                .map(|depth| Frame {
                    // A tree: the outer functions have few callees, the inner ones many.
                    function: Some(format!("function_{depth}_{}", (number >> (depth + 4)) & 0xff)),
                    ..Frame::at("/opt/large", u64::from(number))
                })
                .collect();
            stacks.push(Stack { id, complete: true, frames });
            rmap::report::Path {
                stack: Some(id),
                rss_bytes: 4096,
                dirty_bytes: 4096,
                ..path.clone()
            }
        })
        .collect();
    let grown = 100_000 * 4096;
    for (size, was) in [(&mut segment.rss_bytes, rss), (&mut segment.dirty_bytes, dirty)] {
        size.after = size.after - was + grown;
    }
    segment.size_bytes = grown;
    segment.end = Address(segment.start.0 + grown);
    process.rss_bytes.after = process.rss_bytes.after - rss + grown;
    process.dirty_bytes.after = process.dirty_bytes.after - dirty + grown;
    report.stacks.extend(stacks);
    report.sum_up();
    report
}

/// A session at moments before its end too, as `rmap report --html` has them.
fn between() -> Session {
    let end = recorded::load("plain").0;
    let at = |eighth| At::Time(end.session.duration_ns / 8 * eighth);
    let (early, late) = (recorded::load_at("plain", at(6)), recorded::load_at("plain", at(7)));
    vec![("end", end), ("between-6", early), ("between-7", late)]
}

/// Every page that the browser looks at.
fn sessions() -> BTreeMap<&'static str, Session> {
    let mut sessions = BTreeMap::new();
    for (name, mut report) in cases::all() {
        report.sum_up();
        sessions.insert(name, vec![("end", report)]);
    }
    for name in recorded::NAMES {
        sessions.insert(name, vec![("end", recorded::load(name).0)]);
    }
    let (mut peak, mut end) = (cases::residuals(), cases::article());
    peak.session.at_ns = Some(700_000);
    peak.sum_up();
    end.sum_up();
    sessions.insert("two-moments", vec![("peak", peak), ("end", end)]);
    sessions.insert("attack", vec![("end", attack())]);
    sessions.insert("between", between());
    sessions
}

#[test]
fn pages_of_recordings_are_small_and_hold_their_figures() {
    let folder = std::env::var_os("RMAP_PAGES").map(PathBuf::from);
    for (name, session) in sessions() {
        let page = page_of(&session);
        assert!(page.len() <= RECORDED_MOST, "{name}: {} bytes", page.len());
        let data = embedded(&page);
        if data.starts_with('{') {
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            for ((_, report), state) in session.iter().zip(data["states"].as_array().unwrap()) {
                assert_eq!(state["report"]["totals"]["rss_bytes"], report.totals.rss_bytes);
                assert!(state["report"]["stacks"].as_array().unwrap().is_empty());
            }
        }
        if let Some(folder) = &folder {
            keep(folder, name, &page, &session);
        }
    }
    if let Some(folder) = folder {
        let session = vec![("end", large())];
        let page = page_of(&session);
        assert!(page.len() <= LARGE_MOST, "{} bytes", page.len());
        std::fs::write(folder.join("large.html"), page).unwrap();
        let difference = Difference::of(&recorded::load("plain").0, &attack());
        let mut out = Vec::new();
        page::write_difference(&difference, ["a.rmap", ATTACKS[0]], &mut out).unwrap();
        std::fs::write(folder.join("difference.html"), out).unwrap();
        let json = serde_json::to_string(&difference).unwrap();
        std::fs::write(folder.join("difference.diff.json"), json).unwrap();
    }
}

fn keep(folder: &Path, name: &str, page: &str, session: &Session) {
    std::fs::write(folder.join(name).with_extension("html"), page).unwrap();
    for (moment, report) in session {
        std::fs::write(folder.join(format!("{name}.{moment}.json")), json_of(report)).unwrap();
    }
}

#[test]
fn hostile_names_are_data_and_no_markup() {
    let page = page_of(&vec![("end", attack())]);
    let data = embedded(&page);
    assert!(!data.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{data}");
    // Beside the data the page is the built one.
    assert_eq!(page.matches("<script").count(), 2);
    let names: serde_json::Value = serde_json::from_str(data).unwrap();
    let text = names.to_string();
    assert!(text.contains("window.attacked=1"));
    let notes = names["states"][0]["report"]["session"]["notes"].as_array().unwrap();
    assert!(notes.iter().zip(ATTACKS).all(|(note, attack)| note == attack), "{notes:?}");
}

#[test]
fn a_page_of_a_difference_holds_it() {
    let difference = Difference::of(&cases::article(), &cases::residuals());
    let mut out = Vec::new();
    page::write_difference(&difference, ["a.rmap", "b.rmap"], &mut out).unwrap();
    let page = String::from_utf8(out).unwrap();
    let data: serde_json::Value = serde_json::from_str(embedded(&page)).unwrap();
    let back: Difference = serde_json::from_value(data["difference"].clone()).unwrap();
    assert_eq!(back, difference);
    assert_eq!(data["names"], serde_json::json!(["a.rmap", "b.rmap"]));
}
