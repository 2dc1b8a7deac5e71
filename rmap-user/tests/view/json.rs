//! The JSON report.

use rmap::insight::Rules;
use rmap::insight::json::Schema;
use rmap::report::Report;
use rmap::view::json;

use crate::{assert_golden, cases};

fn render(report: &Report) -> String {
    let mut out = Vec::new();
    json::write(report, &Rules::built_in(), Schema::First, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_report_survives_json() {
    for (name, report) in cases::all() {
        let text = render(&report);
        assert!(text.ends_with("}\n"), "{name}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report, "{name}");
    }
}

#[test]
fn json_is_as_it_was() {
    assert_golden("article.json", &render(&cases::article()));
    assert_golden("empty.json", &render(&cases::empty()));
}

/// Every object of `rmap.report/1` with its fields, as the schema fixes them.
const FIELDS: &[(&str, &str)] = &[
    ("", "schema rmap_version host session coverage totals processes stacks groups advice"),
    ("/totals", "rss_bytes dirty_bytes swap_bytes"),
    ("/host", "kernel arch page_bytes cpus"),
    ("/session", "mode command pids started_at duration_ns exit"),
    ("/session/exit", "code"),
    ("/coverage", "probes lost unwind"),
    ("/coverage/probes/0", "name attached why_not"),
    ("/coverage/lost", "events stacks snapshots"),
    ("/coverage/unwind", "complete incomplete reasons bytes"),
    ("/coverage/unwind/bytes", "complete incomplete reasons"),
    (
        "/processes/0",
        "pid parent_pid command exe started_ns ended_ns snapshot snapshot_ns rss_bytes dirty_bytes \
         swap_bytes peak_rss_bytes segments gone released",
    ),
    ("/processes/0/rss_bytes", "before after"),
    ("/processes/0/dirty_bytes", "before after"),
    ("/processes/0/swap_bytes", "before after"),
    (
        "/processes/0/segments/3",
        "start end perms offset device inode name size_bytes rss_bytes dirty_bytes swap_bytes kind \
         pattern mapped_by paths unexplained",
    ),
    ("/processes/0/segments/3/mapped_by", "call stack pid tid at_ns"),
    (
        "/processes/0/segments/3/paths/0",
        "stack cause rss_bytes dirty_bytes touched_bytes faults first_ns last_ns tids",
    ),
    ("/processes/0/gone/0", "stack cause touched_bytes segments"),
    ("/processes/0/released/0", "stack how rss_bytes"),
    ("/stacks/0", "id complete owner frames"),
    ("/stacks/0/frames/0", "function module build_id offset file line inlined class"),
];

fn fields(value: &serde_json::Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn sorted(names: &str) -> Vec<&str> {
    let mut names: Vec<&str> = names.split_whitespace().collect();
    names.sort_unstable();
    names
}

#[test]
fn the_fields_are_those_of_the_schema() {
    let value: serde_json::Value = serde_json::from_str(&render(&cases::article())).unwrap();
    for (at, names) in FIELDS {
        assert_eq!(fields(value.pointer(at).unwrap()), sorted(names), "{at}");
    }
    assert_eq!(value["schema"], "rmap.report/1");
    assert_eq!(value["session"]["mode"], "run");
    assert_eq!(value["session"]["exit"], serde_json::json!({"code": 0}));
    assert_eq!(value["processes"][0]["snapshot"], "at-exit");
    assert_eq!(value["processes"][0]["segments"][3]["pattern"], "reserved");

    let value: serde_json::Value = serde_json::from_str(&render(&cases::residuals())).unwrap();
    assert_eq!(value["session"]["mode"], "attach");
    assert_eq!(value["session"]["exit"], serde_json::Value::Null);
    assert_eq!(value["processes"][0]["snapshot"], "live");
    let rest = value.pointer("/processes/0/segments/3/unexplained/0").unwrap();
    assert_eq!(fields(rest), sorted("reason rss_bytes dirty_bytes"));
    let value: serde_json::Value = serde_json::from_str(&render(&cases::hostile())).unwrap();
    assert_eq!(value["session"]["exit"], serde_json::json!({"signal": "SIG\u{1b}KILL"}));
}

#[test]
fn every_field_is_described() {
    let described = include_str!("../../../docs/report.md");
    for (_, names) in FIELDS {
        for name in names.split_whitespace() {
            assert!(described.contains(&format!("`{name}`")), "docs/report.md lacks `{name}`");
        }
    }
}
