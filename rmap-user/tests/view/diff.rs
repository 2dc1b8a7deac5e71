//! Differences of reports.

use rmap::report::Address;
use rmap::view::Style;
use rmap::view::diff::{self, Difference};

use crate::{assert_golden, cases};

fn render(difference: &Difference, width: Option<usize>) -> String {
    let mut out = Vec::new();
    diff::write(difference, Style { width, ..Style::default() }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_report_does_not_differ_from_itself_wherever_it_was_loaded() {
    for (name, report) in cases::all() {
        let mut moved = report.clone();
        for segment in moved.processes.iter_mut().flat_map(|p| &mut p.segments) {
            segment.start = Address(0x7000_0000_0000);
        }
        moved.processes.iter_mut().for_each(|process| process.pid += 1000);
        let difference = Difference::of(&report, &moved);
        assert!(difference.segments.is_empty() && difference.paths.is_empty(), "{name}");
        assert!(difference.owners.is_empty(), "{name}");
        assert_eq!(render(&difference, None), "No difference.\n");
    }
}

#[test]
fn what_grew_and_what_came_is_told() {
    let a = cases::article();
    let mut b = a.clone();
    let segment = b.processes[0].segments.iter_mut().find(|s| s.dirty_bytes.after > 0).unwrap();
    segment.rss_bytes.after += 8192;
    segment.dirty_bytes.after += 4096;
    segment.paths[0].rss_bytes += 8192;
    segment.paths[0].dirty_bytes += 4096;
    b.processes[0].segments.pop();
    let difference = Difference::of(&a, &b);
    let back = Difference::of(&b, &a);
    assert_eq!(difference.rss_bytes.a, back.rss_bytes.b);
    assert_eq!(difference.segments.len(), back.segments.len());
    for changes in [&difference.segments, &difference.paths, &difference.owners] {
        let rss: i64 = changes.iter().map(|c| c.rss_bytes.b - c.rss_bytes.a).sum();
        assert_eq!(rss, difference.rss_bytes.b - difference.rss_bytes.a);
    }
    assert_golden("article.diff.txt", &render(&difference, None));
    assert_golden("article.diff.80.txt", &render(&difference, Some(80)));
    assert!(render(&difference, Some(80)).lines().all(|line| line.chars().count() <= 80));
    let mut json = Vec::new();
    diff::write_json(&difference, &mut json).unwrap();
    assert_eq!(serde_json::from_slice::<Difference>(&json).unwrap(), difference);
    assert_golden("article.diff.json", &String::from_utf8(json).unwrap());
}
