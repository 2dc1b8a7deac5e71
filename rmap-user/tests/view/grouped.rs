//! Reports of many processes: like processes are stated once, and read back.

use rmap::input;
use rmap::insight::Rules;
use rmap::insight::json::Schema;
use rmap::report::{Report, check_identity};
use rmap::view::screen::{self, Ask};
use rmap::view::{Style, json};

use crate::cases;

fn render(report: &Report, schema: Schema) -> String {
    let mut out = Vec::new();
    json::write(report, &Rules::built_in(), schema, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A command that runs a program so many times: each has addresses, times and process ids of its
/// own, and every third one more page.
fn many(programs: u32) -> Report {
    let mut report = cases::article();
    let like = report.processes[0].clone();
    report.processes.extend((0..programs).map(|n| {
        let mut process = like.clone();
        process.pid = 5000 + n;
        process.parent_pid = like.pid;
        process.started_ns = u64::from(n) * 1000;
        process.ended_ns = Some(process.started_ns + 900);
        process.snapshot_ns = process.ended_ns;
        for segment in &mut process.segments {
            segment.start.0 += u64::from(n) << 12;
            segment.end.0 += u64::from(n) << 12;
            for path in &mut segment.paths {
                path.first_ns = process.started_ns;
                path.last_ns = process.started_ns + 900;
                path.tids = vec![process.pid];
            }
            if let Some(mapped_by) = &mut segment.mapped_by {
                (mapped_by.pid, mapped_by.tid) = (process.pid, process.pid);
                mapped_by.at_ns = process.started_ns;
            }
        }
        if n % 3 == 0 {
            let heap = &mut process.segments[3];
            heap.paths[0].rss_bytes += 4096;
            heap.rss_bytes.after += 4096;
            process.rss_bytes.after += 4096;
        }
        process.sum_up();
        process
    }));
    report.sum_up();
    report
}

#[test]
fn five_hundred_processes_of_one_program_are_small_and_read_back_the_same() {
    let report = many(500);
    assert_eq!(check_identity(&report), Ok(()));
    let text = render(&report, Schema::Fitting);
    assert!(text.starts_with("{\"schema\":\"rmap.report/2\""), "{}", &text[..60]);
    assert!(text.len() < 2_000_000, "{} bytes", text.len());
    let read = input::parse(text.as_bytes()).unwrap();
    assert_eq!(read, report);
    let first = render(&report, Schema::First);
    assert_eq!(input::parse(first.as_bytes()).unwrap(), report);
    assert!(first.len() > 10 * text.len());
}

#[test]
fn few_processes_are_written_in_full_unless_asked_otherwise() {
    let report = many(3);
    assert!(render(&report, Schema::Fitting).contains("\"rmap.report/1\""));
    let second = render(&report, Schema::Second);
    assert!(second.contains("\"rmap.report/2\""));
    assert_eq!(input::parse(second.as_bytes()).unwrap(), report);
    for case in [cases::pipeline(), cases::empty(), cases::residuals()] {
        let read = input::parse(render(&case, Schema::Second).as_bytes()).unwrap();
        assert_eq!(check_identity(&read), Ok(()));
        assert_eq!(read.processes.len(), case.processes.len());
    }
}

#[test]
fn places_that_are_not_there_are_refused() {
    let text = render(&many(3), Schema::Second);
    for (part, wrong, said) in [
        ("\"like\":0", "\"like\":9", "names a process that the report lacks"),
        ("\"tail\":0", "\"tail\":9", "names a list of what was freed that the report lacks"),
        ("\"place\":3", "\"place\":30", "names a place that the report lacks"),
    ] {
        assert!(text.contains(part), "{part}");
        let error = input::parse(text.replace(part, wrong).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn five_hundred_processes_of_one_program_are_one_row() {
    let mut out = Vec::new();
    let report = many(499);
    let style = Style { width: Some(100), ..Style::default() };
    screen::write(&report, &Rules::built_in(), &Ask::default(), style, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("500 processes of 1 program or role"), "{text}");
    let rows = text.lines().filter(|line| line.split_whitespace().next() == Some("500"));
    assert!(rows.filter(|row| row.ends_with("  demo")).count() == 1, "{text}");
    assert!(text.lines().count() <= screen::USUAL_HEIGHT, "{text}");
}
