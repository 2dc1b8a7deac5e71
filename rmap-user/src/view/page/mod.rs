//! The page: a report as one HTML file that opens anywhere, with no network.
//!
//! Comes in: the reports of a session's moments, or a difference. Goes out: the built page of `rmap-user/page/built`
//! with the reports embedded as JSON. The page computes every figure from that JSON; what it is not
//! to decide by itself (owners, readable names) stands beside it, see `answers`. Stacks are there as
//! places in a list of functions: with all their frames they would be most of the page.

mod answers;
mod embed;

use std::io;

use serde::Serialize;

use crate::insight::Rules;
use crate::insight::json::{Document, Schema};
use crate::report::Report;

use super::diff::Difference;
use answers::Answers;

/// The built page. `cargo xtask page` makes it of the sources beside it.
const BUILT: &str = include_str!("../../../page/built/page.html");

/// Where the data goes in [`BUILT`], and how it is encoded.
const DATA: &str = "%RMAP-DATA%";
const ENCODING: &str = "%RMAP-ENCODING%";

/// Data beyond this is compressed.
const PLAIN_MOST: usize = 256 << 10;

/// A moment of a session, with its report.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// `peak` or `end`.
    pub name: &'a str,
    /// Its report.
    pub report: &'a Report,
}

/// What the page reads.
#[derive(Default, Serialize)]
struct Data<'a> {
    schema: &'static str,
    /// The recording, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    states: Vec<State<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<&'a Difference>,
    /// What the two reports of a difference are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<[&'a str; 2]>,
}

/// The `schema` of what the page reads. Page and data come from one build: it is no contract.
const SCHEMA: &str = "rmap.page/1";

/// One moment of it.
#[derive(Serialize)]
struct State<'a> {
    name: &'a str,
    report: Document<'a>,
    answers: Answers,
}

/// Writes the page of a session. The first moment is shown first. `source` is the recording that the
/// page's commands name.
///
/// # Errors
/// The writer's.
pub fn write(
    moments: &[Moment<'_>],
    source: Option<&str>,
    rules: &Rules,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let states = moments.iter().map(|Moment { name, report }| State {
        name,
        report: Document::of(report, rules, Schema::Fitting).without_stacks(),
        answers: Answers::of(report, rules),
    });
    write_data(&Data { schema: SCHEMA, source, states: states.collect(), ..Data::default() }, out)
}

/// Writes the page of a difference between two reports that are called so.
///
/// # Errors
/// The writer's.
pub fn write_difference(
    difference: &Difference,
    names: [&str; 2],
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let (difference, names) = (Some(difference), Some(names));
    write_data(&Data { schema: SCHEMA, difference, names, ..Data::default() }, out)
}

fn write_data(data: &Data<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    fill(BUILT, &serde_json::to_vec(data).map_err(io::Error::from)?, out)
}

/// Puts data into a page.
fn fill(page: &str, json: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
    let (head, rest) = page.split_once(ENCODING).ok_or_else(damaged)?;
    let (middle, tail) = rest.split_once(DATA).ok_or_else(damaged)?;
    out.write_all(head.as_bytes())?;
    if json.len() <= PLAIN_MOST {
        out.write_all(b"json")?;
        out.write_all(middle.as_bytes())?;
        embed::write_json(json, out)?;
    } else {
        out.write_all(b"gzip")?;
        out.write_all(middle.as_bytes())?;
        embed::write_compressed(json, out)?;
    }
    out.write_all(tail.as_bytes())
}

fn damaged() -> io::Error {
    io::Error::other("the built page has no place for data: cargo xtask page")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_page_has_one_place_for_data() {
        assert_eq!(BUILT.matches(DATA).count(), 1);
        assert_eq!(BUILT.matches(ENCODING).count(), 1);
    }

    #[test]
    fn the_built_page_forbids_the_network_and_foreign_scripts() {
        let policy = BUILT.split_once("Content-Security-Policy").unwrap().1;
        let policy = policy.split_once('>').unwrap().0;
        for part in ["default-src 'none'", "script-src 'sha256-", "style-src 'sha256-"] {
            assert!(policy.contains(part), "{policy}");
        }
        for allowed in ["unsafe", "http", "*", "data:", "blob:", "'self'"] {
            assert!(!policy.contains(allowed), "{policy}");
        }
    }

    #[test]
    fn data_fills_its_place_plain_or_compressed() {
        let page = "<a %RMAP-ENCODING%>%RMAP-DATA%</a>";
        let filled = |json: &[u8]| {
            let mut out = Vec::new();
            fill(page, json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(filled(br#"{"a":1}"#), r#"<a json>{"a":1}</a>"#);
        let long = format!("\"{}\"", "x".repeat(PLAIN_MOST));
        let packed = filled(long.as_bytes());
        assert!(packed.starts_with("<a gzip>H4sI"), "{packed:.40}");
        assert!(packed.len() < 2000);
    }
}
