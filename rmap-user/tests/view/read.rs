//! Reports read from files, sound and otherwise, and parts of them.

use std::sync::Arc;

use proptest::prelude::*;
use rmap::input;
use rmap::replay::Reading;
use rmap::report::{Address, StackId, check_identity};
use rmap::symbol::Folders;
use rmap::view::select::Selection;

use crate::cases;

fn error(bytes: &[u8]) -> String {
    format!("{:#}", input::parse(bytes).unwrap_err())
}

fn text() -> String {
    serde_json::to_string(&cases::article()).unwrap()
}

#[test]
fn what_was_written_is_read() {
    for name in ["article", "pipeline", "residuals", "empty"] {
        let (_, report) = cases::all().into_iter().find(|(n, _)| *n == name).unwrap();
        let text = serde_json::to_vec(&report).unwrap();
        assert_eq!(input::parse(&text).unwrap(), report, "{name}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    assert_eq!(error(b" \n"), "it is empty");
    assert!(error(b"\x7fELF").contains("neither a recording nor a JSON report"));
    assert!(error(b"{}").contains("without a schema"));
    assert!(error(&text().as_bytes()[..900]).contains("line 1 column 900"));
    let newer = text().replacen("rmap.report/1", "rmap.report/2", 1);
    assert!(error(newer.as_bytes()).contains("rmap.report/2"));
    assert!(error(&b"{\"x\":".repeat(100_000)).contains("no whole JSON"));

    let mut report = cases::article();
    report.processes[0].segments[0].paths[0].rss_bytes += 1;
    assert!(error(&serde_json::to_vec(&report).unwrap()).contains("contradicts itself"));
    let mut report = cases::article();
    report.processes[0].segments[0].paths[0].stack = Some(StackId(4_000_000));
    assert!(error(&serde_json::to_vec(&report).unwrap()).contains("stack 4000000"));
    let mut report = cases::article();
    report.processes[0].segments[0].end = Address(0);
    assert!(error(&serde_json::to_vec(&report).unwrap()).contains("cannot have"));
    let error = format!("{:#}", input::load("/no/such".as_ref(), &Reading::default()).unwrap_err());
    assert!(error.starts_with("cannot read a report from /no/such: No such file"), "{error}");
}

#[test]
fn a_file_without_end_and_one_too_large_are_told() {
    let error = |path: &std::path::Path| {
        format!("{:#}", input::load(path, &Reading::default()).unwrap_err())
    };
    assert!(error("/dev/zero".as_ref()).contains("neither a recording nor a JSON report"));
    assert!(error("/".as_ref()).contains("it is a directory"));
    let course = |path: &str| {
        format!("{:#}", input::load_course(path.as_ref(), &Reading::default()).unwrap_err())
    };
    assert!(course("/dev/zero").contains("it is no recording"));
    assert!(course("/no/such").starts_with("cannot read a recording from /no/such: No such"));
    let json = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(json.path(), text()).unwrap();
    assert!(course(json.path().to_str().unwrap()).contains("a report does not tell how"));
    let symbols = Arc::new(Folders::new(vec!["/".into()]).unwrap());
    let reading = Reading { symbols, ..Reading::default() };
    let refused = format!("{:#}", input::load(json.path(), &reading).unwrap_err());
    assert!(refused.contains("--symbols needs the recording"), "{refused}");
    assert!(input::load(json.path(), &Reading::default()).is_ok());
    // A report of a sparse file that is larger than any: nothing is parsed.
    json.as_file().set_len((1 << 30) + 1).unwrap();
    assert!(error(json.path()).contains("larger than 1024 MiB"));
}

#[test]
fn a_part_of_a_report_is_a_sound_report() {
    let whole = cases::article();
    let first = &whole.processes[0];
    for asked in ["libc.so.6", &first.segments[3].start.to_string(), "[stack]"] {
        let selection = Selection { segments: vec![asked.into()], ..Selection::default() };
        let part = selection.of(whole.clone()).unwrap();
        assert_eq!(check_identity(&part), Ok(()));
        let segments = &part.processes[0].segments;
        assert!(!segments.is_empty() && segments.len() < first.segments.len(), "{asked}");
        let rss: u64 = segments.iter().map(|s| s.rss_bytes.after).sum();
        assert_eq!(part.processes[0].rss_bytes.after, rss);
    }
    let none = Selection { processes: vec!["nobody".into()], ..Selection::default() };
    assert!(none.of(whole).unwrap_err().to_string().contains("no process"));
}

proptest! {
    #[test]
    fn a_changed_byte_is_no_panic(at in 0usize..4000, byte in any::<u8>()) {
        let mut bytes = text().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = input::parse(&bytes);
    }
}
