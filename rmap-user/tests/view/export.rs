//! Flame graphs and exports, each read by a parser that is not rmap's, and held by golden files.

use std::collections::HashMap;
use std::io::Read as _;

use prost::Message;
use rmap::report::Report;
use rmap::view::export::folded::{self, Folded};
use rmap::view::export::{pprof, speedscope};
use rmap::view::flame;
use rmap::view::order::Listing;
use rmap::view::samples::Of;

use crate::{assert_golden, cases, recorded};

pub const KINDS: [(&str, Of); 3] =
    [("resident", Of::Resident), ("dirty", Of::Dirty), ("touched", Of::Touched)];

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    out
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    String::from_utf8(written(write)).unwrap()
}

fn sizes(report: &Report) -> [i64; 2] {
    let sum = |size: fn(&rmap::report::Process) -> u64| {
        report.processes.iter().map(size).sum::<u64>().cast_signed()
    };
    [sum(|p| p.rss_bytes.after), sum(|p| p.dirty_bytes.after)]
}

#[test]
fn folded_stacks_add_up_to_the_sizes() {
    for (name, report) in cases::all() {
        for ((kind, of), size) in KINDS.into_iter().zip(sizes(&report)) {
            let folded = Folded::of(&report, of, Listing::default());
            let weight = |line: String| line.rsplit_once(' ').unwrap().1.parse::<i128>().unwrap();
            let sum: i128 = folded.lines().map(weight).sum();
            assert_eq!(sum + folded.left_out, size.into(), "{name} {kind}");
        }
        assert_golden(
            &format!("{name}.dirty.folded"),
            &text(|out| folded::write(&report, Of::Dirty, Listing::default(), out)),
        );
    }
}

#[test]
fn the_flame_graph_is_svg_with_its_names() {
    for (name, report) in cases::all() {
        for (kind, of) in KINDS {
            let mut out = Vec::new();
            if let Err(error) = flame::write(&report, of, Listing::default(), &mut out) {
                assert_eq!((name, error.kind()), ("empty", std::io::ErrorKind::InvalidInput));
                continue;
            }
            let svg = String::from_utf8(out).unwrap();
            let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
            let document = roxmltree::Document::parse_with_options(&svg, options).unwrap();
            let titles: Vec<&str> = document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "title")))
                .filter_map(|node| node.text())
                .collect();
            assert!(titles.iter().any(|title| title.contains(" bytes, 100")), "{titles:?}");
            let texts: Vec<&str> = document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")))
                .filter_map(|node| node.text())
                .collect();
            let bottom = format!("all {kind} memory, ");
            assert!(texts.iter().any(|text| text.starts_with(&bottom)), "{name}: {texts:?}");
            assert!(titles.iter().any(|title| title.starts_with(&bottom)), "{name}: {titles:?}");
            assert!(texts.iter().any(|text| text.starts_with("Widths are bytes ")), "{texts:?}");
            if name == "article" {
                assert!(titles.iter().any(|title| title.starts_with("main (")), "{titles:?}");
                assert_golden(&format!("article.{kind}.svg"), &svg);
            }
        }
    }
}

#[test]
fn speedscope_has_what_its_schema_asks_for() {
    for (name, report) in cases::all() {
        let text = text(|out| speedscope::write(&report, Listing::default(), out));
        let whole: schema::File = serde_json::from_str(&text).unwrap();
        for profile in &whole.profiles {
            assert_eq!((profile.kind.as_str(), profile.unit.as_str()), ("sampled", "bytes"));
            assert!(profile.samples.len() == profile.weights.len() && !profile.name.is_empty());
            assert!(profile.start_value <= profile.end_value);
        }
        assert!(whole.shared.frames.iter().all(|frame| !frame.name.is_empty()));
        assert!(whole.exporter.is_some() && whole.schema.contains("file-format-schema"));
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let frames = file["shared"]["frames"].as_array().unwrap();
        assert!(frames.iter().all(|frame| frame["name"].is_string()));
        assert_eq!(file["$schema"], "https://www.speedscope.app/file-format-schema.json");
        assert_eq!(file["profiles"].as_array().unwrap().len(), 3);
        for profile in file["profiles"].as_array().unwrap() {
            assert_eq!((&profile["type"], &profile["unit"]), (&"sampled".into(), &"bytes".into()));
            let samples = profile["samples"].as_array().unwrap();
            let weights = profile["weights"].as_array().unwrap();
            assert_eq!(samples.len(), weights.len());
            let sum: u64 = weights.iter().map(|weight| weight.as_u64().unwrap()).sum();
            assert_eq!(profile["endValue"], sum);
            let mut ids = samples.iter().flat_map(|stack| stack.as_array().unwrap());
            assert!(ids.all(|id| id.as_u64().unwrap() < frames.len() as u64), "{name}");
        }
        if name == "article" {
            assert_golden("article.speedscope.json", &text);
        }
    }
}

/// What the JSON schema of speedscope's file format asks for and allows, of sampled profiles.
mod schema {
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct File {
        #[serde(rename = "$schema")]
        pub schema: String,
        pub shared: Shared,
        pub profiles: Vec<Profile>,
        pub exporter: Option<String>,
        #[serde(rename = "name")]
        pub _name: Option<String>,
        #[serde(rename = "activeProfileIndex")]
        pub _active_profile_index: Option<u64>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Shared {
        pub frames: Vec<Frame>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Frame {
        pub name: String,
        #[serde(rename = "file")]
        pub _file: Option<String>,
        #[serde(rename = "line")]
        pub _line: Option<u64>,
        #[serde(rename = "col")]
        pub _col: Option<u64>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct Profile {
        #[serde(rename = "type")]
        pub kind: String,
        pub name: String,
        pub unit: String,
        pub start_value: u64,
        pub end_value: u64,
        pub samples: Vec<Vec<usize>>,
        pub weights: Vec<u64>,
    }
}

/// A profile in words: each sample with its weights, functions and labels.
pub fn pprof_text(report: &Report, listing: Listing) -> String {
    let mut bytes = Vec::new();
    let packed = written(|out| pprof::write(report, listing, out));
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    let profile = proto::Profile::decode(&bytes[..]).unwrap();
    let string = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
    let function = |id: u64| profile.function.iter().find(|f| f.id == id).unwrap();
    let mut words = String::new();
    for mapping in &profile.mapping {
        let (file, build_id) = (string(mapping.filename), string(mapping.build_id));
        words.push_str(&format!("mapping {} {file} {build_id}\n", mapping.id));
    }
    for sample in &profile.sample {
        words.push_str(&format!("{:?}\n", sample.value));
        for id in &sample.location_id {
            let location = profile.location.iter().find(|l| l.id == *id).unwrap();
            let lines: Vec<String> = location
                .line
                .iter()
                .map(|line| format!("{}:{}", string(function(line.function_id).name), line.line))
                .collect();
            let (mapping, address) = (location.mapping_id, location.address);
            words.push_str(&format!("  {mapping} {address:#x} {}\n", lines.join(" in ")));
        }
        for label in &sample.label {
            let value =
                if label.str == 0 { label.num.to_string() } else { string(label.str).into() };
            words.push_str(&format!("  {}={value}\n", string(label.key)));
        }
    }
    words
}

/// The messages of profile.proto, as far as they are used.
pub mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub sample: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub mapping: Vec<Mapping>,
        #[prost(message, repeated, tag = "4")]
        pub location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub string_table: Vec<String>,
        #[prost(int64, tag = "10")]
        pub duration_nanos: i64,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct ValueType {
        #[prost(int64, tag = "1")]
        pub kind: i64,
        #[prost(int64, tag = "2")]
        pub unit: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub label: Vec<Label>,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Label {
        #[prost(int64, tag = "1")]
        pub key: i64,
        #[prost(int64, tag = "2")]
        pub str: i64,
        #[prost(int64, tag = "3")]
        pub num: i64,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Mapping {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(int64, tag = "5")]
        pub filename: i64,
        #[prost(int64, tag = "6")]
        pub build_id: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Location {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(uint64, tag = "2")]
        pub mapping_id: u64,
        #[prost(uint64, tag = "3")]
        pub address: u64,
        #[prost(message, repeated, tag = "4")]
        pub line: Vec<Line>,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Line {
        #[prost(uint64, tag = "1")]
        pub function_id: u64,
        #[prost(int64, tag = "2")]
        pub line: i64,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Function {
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(int64, tag = "2")]
        pub name: i64,
    }
}

#[test]
fn pprof_is_whole_and_adds_up_to_the_sizes() {
    for (name, report) in cases::all() {
        let mut bytes = Vec::new();
        let packed = written(|out| pprof::write(&report, Listing::default(), out));
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
        let profile = proto::Profile::decode(&bytes[..]).unwrap();
        let string = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
        assert_eq!(string(0), "");
        let types: Vec<_> =
            profile.sample_type.iter().map(|t| (string(t.kind), string(t.unit))).collect();
        let kinds = ["resident_space", "dirty_space", "touched_space"];
        assert_eq!(types, kinds.map(|kind| (kind, "bytes")));
        let locations: HashMap<u64, _> = profile.location.iter().map(|l| (l.id, l)).collect();
        let functions: HashMap<u64, _> = profile.function.iter().map(|f| (f.id, f)).collect();
        let mappings: HashMap<u64, _> = profile.mapping.iter().map(|m| (m.id, m)).collect();
        assert_eq!(locations.len(), profile.location.len());
        assert!(!locations.contains_key(&0) && !functions.contains_key(&0));
        let mut sums = [0; 2];
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), 3);
            sums = [sums[0] + sample.value[0], sums[1] + sample.value[1]];
            assert!(!sample.location_id.is_empty());
            for id in &sample.location_id {
                let location = locations[id];
                assert!(location.line.iter().all(|l| functions.contains_key(&l.function_id)));
                assert!(location.mapping_id == 0 || mappings.contains_key(&location.mapping_id));
            }
            assert!(sample.label.iter().any(|label| string(label.key) == "cause"));
        }
        assert_eq!(sums, sizes(&report), "{name}");
        if name == "article" {
            let names: Vec<_> = profile.function.iter().map(|f| string(f.name)).collect();
            assert!(names.contains(&"main"), "{names:?}");
            assert!(profile.mapping.iter().any(|m| string(m.build_id) == "6f0d1e2c"));
            assert!(profile.mapping.iter().all(|m| !string(m.filename).is_empty()));
            assert_eq!(string(profile.mapping[0].filename), report.processes[0].exe);
        }
    }
}

/// The tool that the format is for, where it is installed.
#[test]
fn go_tool_pprof_reads_the_profile_and_has_its_sums() {
    let Ok(version) = std::process::Command::new("go").args(["tool", "pprof", "-h"]).output()
    else {
        eprintln!("SKIP go_tool_pprof_reads_the_profile_and_has_its_sums: go is not installed");
        return;
    };
    let usage = String::from_utf8_lossy(&version.stderr);
    assert!(usage.contains("pprof"), "{usage}");
    let directory = tempfile::tempdir().unwrap();
    for (name, report) in [("plain", recorded::load("plain").0), ("article", cases::article())] {
        let path = directory.path().join(name);
        std::fs::write(&path, written(|o| pprof::write(&report, Listing::default(), o))).unwrap();
        for ((kind, _), size) in KINDS.into_iter().zip(sizes(&report)) {
            let mut go = std::process::Command::new("go");
            go.args(["tool", "pprof", "-symbolize=none", "-unit=B", "-top"]);
            go.arg(format!("-sample_index={kind}_space")).arg(&path);
            // It keeps what it draws in a folder of its own.
            go.env("HOME", directory.path()).env("PPROF_TMPDIR", directory.path());
            let done = go.output().unwrap();
            let text = String::from_utf8(done.stdout).unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            let exe = report.processes[0].exe.rsplit('/').next().unwrap();
            assert!(text.starts_with(&format!("File: {exe}\n")), "{text}");
            assert!(text.contains(&format!("Total samples = {size}B")), "{name}: {text}");
        }
    }
}
