//! pprof's `profile.proto` (<https://github.com/google/pprof/blob/main/proto/profile.proto>),
//! compressed by gzip: sample types `resident_space`, `dirty_space`, `touched_space` in bytes.
//!
//! An address is that of the instruction in its file, since a report has no other. What no code
//! path explains is there too, negative parts included, so that the sums are those of smaps.

use std::collections::HashMap;
use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};

use crate::report::{Frame, Report};
use crate::view::order::Listing;
use crate::view::samples::{KINDS, Sample, Stacks, frame_name, segment_name};

use super::proto::Message;

/// Writes the compressed profile.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, listing: Listing, out: &mut dyn io::Write) -> io::Result<()> {
    // No time of writing: equal reports are equal files.
    let mut gzip = GzBuilder::new().mtime(0).write(out, Compression::default());
    gzip.write_all(&profile(report, listing))?;
    gzip.finish().map(|_| ())
}

/// Mapping, address, and the functions there with their lines.
type Place = (u64, u64, Vec<(u64, u32)>);

/// The tables that samples point into; ids start at 1.
struct Tables<'a> {
    strings: Vec<String>,
    string_at: HashMap<String, u64>,
    mappings: HashMap<(&'a str, Option<&'a str>), u64>,
    functions: HashMap<(String, Option<&'a str>), u64>,
    locations: HashMap<Place, u64>,
    last_location: u64,
    body: Message,
}

impl<'a> Tables<'a> {
    fn string(&mut self, text: &str) -> u64 {
        if let Some(at) = self.string_at.get(text) {
            return *at;
        }
        let at = self.strings.len() as u64;
        self.strings.push(text.to_owned());
        self.string_at.insert(text.to_owned(), at);
        at
    }

    fn mapping(&mut self, frame: &'a Frame) -> u64 {
        let next = self.mappings.len() as u64 + 1;
        let key = (frame.module.as_str(), frame.build_id.as_deref());
        if let Some(id) = self.mappings.get(&key) {
            return *id;
        }
        self.mappings.insert(key, next);
        let mut message = Message::default();
        message.number(1, next);
        let (file, build_id) = (self.string(key.0), self.string(key.1.unwrap_or_default()));
        message.number(5, file);
        message.number(6, build_id);
        for has in [7, 8, 9, 10] {
            message.number(has, 1);
        }
        self.body.bytes(3, &message.0);
        next
    }

    fn function(&mut self, name: String, file: Option<&'a str>) -> u64 {
        let next = self.functions.len() as u64 + 1;
        let key = (name, file);
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let (name, source) = (self.string(&key.0), self.string(file.unwrap_or_default()));
        self.functions.insert(key, next);
        let mut message = Message::default();
        for (field, value) in [(1, next), (2, name), (3, name), (4, source)] {
            message.number(field, value);
        }
        self.body.bytes(5, &message.0);
        next
    }

    fn location(&mut self, mapping: u64, address: u64, lines: Vec<(u64, u32)>) -> u64 {
        let next = self.last_location + 1;
        let id = *self.locations.entry((mapping, address, lines.clone())).or_insert(next);
        if id < next {
            return id;
        }
        self.last_location = next;
        let mut message = Message::default();
        message.number(1, id);
        message.number(2, mapping);
        message.number(3, address);
        for (function, line) in lines {
            let mut inner = Message::default();
            inner.number(1, function);
            inner.number(2, line.into());
            message.bytes(4, &inner.0);
        }
        self.body.bytes(4, &message.0);
        id
    }

    /// The locations of a sample, the innermost first; inlined functions are lines of the location
    /// that they were inlined into.
    fn locations_of(&mut self, sample: &Sample<'a>) -> Vec<u64> {
        let mut ids = Vec::new();
        if sample.frames.is_empty() {
            let function = self.function(sample.reason(), None);
            ids.push(self.location(0, 0, vec![(function, 0)]));
        }
        let mut lines = Vec::new();
        for (at, frame) in sample.frames.iter().enumerate() {
            let function = self.function(frame_name(frame), frame.file.as_deref());
            lines.push((function, frame.line.unwrap_or(0)));
            if frame.inlined && at + 1 < sample.frames.len() {
                continue;
            }
            let mapping = self.mapping(frame);
            ids.push(self.location(mapping, frame.offset.0, std::mem::take(&mut lines)));
        }
        ids
    }
}

/// The message `Profile`.
fn profile(report: &Report, listing: Listing) -> Vec<u8> {
    let mut tables = Tables {
        strings: Vec::new(),
        string_at: HashMap::new(),
        mappings: HashMap::new(),
        functions: HashMap::new(),
        locations: HashMap::new(),
        last_location: 0,
        body: Message::default(),
    };
    // The format asks for an empty first string.
    tables.string("");
    let bytes = tables.string("bytes");
    // Most sessions watch no memory for writes.
    let kinds = if report.session.rewrites.is_some() { KINDS } else { KINDS - 1 };
    let names = ["resident_space", "dirty_space", "touched_space", "rewritten_space"];
    for name in names.into_iter().take(kinds) {
        let mut kind = Message::default();
        kind.number(1, tables.string(name));
        kind.number(2, bytes);
        tables.body.bytes(1, &kind.0);
    }
    // Readers take the first mapping for the program itself.
    let program = report.processes.first().map(|process| process.exe.as_str());
    let mut frames = report.stacks.iter().flat_map(|stack| &stack.frames);
    if let Some(own) = frames.find(|frame| Some(frame.module.as_str()) == program) {
        tables.mapping(own);
    }
    let stacks = Stacks::of(report, listing, None);
    for sample in stacks.rows.iter().flat_map(|row| &row.samples) {
        let mut message = Message::default();
        message.packed(1, tables.locations_of(sample));
        message.packed(2, sample.bytes.into_iter().take(kinds).map(i64::cast_unsigned));
        let mut labels = vec![("cause", sample.why.name().to_owned())];
        labels.push(("process", sample.process.command.clone()));
        labels.extend(sample.segment.map(|segment| ("segment", segment_name(segment))));
        for (key, value) in labels {
            let mut label = Message::default();
            label.number(1, tables.string(key));
            label.number(2, tables.string(&value));
            message.bytes(3, &label.0);
        }
        let mut label = Message::default();
        label.number(1, tables.string("pid"));
        label.number(3, sample.process.pid.into());
        message.bytes(3, &label.0);
        tables.body.bytes(2, &message.0);
    }
    if let Some((many, bytes)) = stacks.rest {
        let mut message = Message::default();
        let function = tables.function(Stacks::rest_name(many), None);
        message.packed(1, [tables.location(0, 0, vec![(function, 0)])]);
        let clamp = |bytes: i128| bytes.clamp(i64::MIN.into(), i64::MAX.into());
        let fitting = |bytes: i128| i64::try_from(clamp(bytes)).unwrap_or(0);
        let bytes = bytes.into_iter().take(kinds);
        message.packed(2, bytes.map(|bytes| fitting(bytes).cast_unsigned()));
        tables.body.bytes(2, &message.0);
    }
    tables.body.number(10, report.session.duration_ns);
    for text in &tables.strings {
        tables.body.bytes(6, text.as_bytes());
    }
    tables.body.0
}
