//! Who may look at whom, as ARCHITECTURE.md tells it: read from the sources.
//!
//! Comes in: the files of `src/`. Goes out: every mention of a room by a room that may not know
//! it, and of every call that creates a file outside of `output`, with file and line. A room is a
//! module of the crate's root.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

mod sources;
use sources::files;

/// Room by room: the other rooms that it may name. `*` is every room.
const MAY_SEE: &[(&str, &[&str])] = &[
    ("terms", &[]),
    ("trace", &["terms"]),
    ("report", &["terms"]),
    ("output", &[]),
    ("input", &["report", "recording", "replay", "insight"]),
    ("pclntab", &[]),
    ("unwind", &["trace", "pclntab"]),
    ("runtime", &["trace", "unwind"]),
    ("model", &["trace", "terms"]),
    ("symbol", &["trace", "pclntab", "report", "runtime"]),
    ("attribution", &["model", "trace", "terms"]),
    ("heap", &["trace"]),
    ("session", &["trace", "model", "attribution", "symbol", "report", "terms", "runtime"]),
    // Names of code are a part of a recording; its limits know which calls change mappings.
    ("recording", &["trace", "model", "symbol", "report"]),
    ("replay", &["trace", "model", "recording", "session", "symbol", "report"]),
    ("insight", &["report"]),
    ("view", &["report", "insight"]),
    ("tui", &["report", "insight", "view"]),
    (
        "live",
        &[
            "trace",
            "heap",
            "unwind",
            "runtime",
            "symbol",
            "report",
            "session",
            "model",
            "recording",
            "output",
        ],
    ),
    ("cli", &["*"]),
];

/// Rooms whose files may name the wire records of the probes.
const SEE_THE_RECORDS: &[&str] = &["trace", "live", "unwind", "runtime"];

/// Modules below `src/` that are no rooms: the roots of the library and of the binary.
const ROOTS: &[&str] = &["lib", "main"];

#[test]
fn no_room_names_one_that_it_may_not_know() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed: BTreeMap<&str, &[&str]> = MAY_SEE.iter().copied().collect();
    let mut broken = Vec::new();
    for file in files(&source) {
        let place = file.strip_prefix(&source).unwrap();
        let room = place.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ROOTS.contains(&room) {
            continue;
        }
        let Some(may) = allowed.get(room) else {
            broken.push(format!("{}: the room {room} is not in the list", place.display()));
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        for (line, seen) in mentions(&text) {
            let known = allowed.contains_key(seen.as_str());
            let right = match seen.as_str() {
                "rmap_ebpf" => SEE_THE_RECORDS.contains(&room),
                seen => seen == room || may.contains(&"*") || may.contains(&seen) || !known,
            };
            if !right {
                broken.push(format!("{}:{line}: {room} must not know {seen}", place.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn mentions_are_found_in_every_form() {
    let text = "use crate::{trace::{A, B},\n    report, model as m};\n/// [`crate::view`]\n\
                let x = crate::live::probe(); // crate::cli\nuse rmap_ebpf::abi;\n";
    let found: Vec<(usize, String)> = mentions(text);
    let expected = [(1, "trace"), (1, "report"), (1, "model"), (4, "live"), (5, "rmap_ebpf")];
    assert_eq!(found, expected.map(|(line, room)| (line, room.to_owned())));
}

/// The rooms (and `rmap_ebpf`) that the code names, with their lines. Comments may name anybody.
fn mentions(text: &str) -> Vec<(usize, String)> {
    let code: String =
        text.lines().flat_map(|line| [line.split("//").next().unwrap_or_default(), "\n"]).collect();
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::").chain(code.match_indices("rmap_ebpf::")) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + path.len()..];
        if path == "rmap_ebpf::" {
            found.push((line, "rmap_ebpf".to_owned()));
        } else if let Some(group) = rest.strip_prefix('{') {
            found.extend(heads(group).into_iter().map(|room| (line, room)));
        } else {
            found.push((line, first_name(rest)));
        }
    }
    found.sort_by_key(|(line, _)| *line);
    found
}

/// The first name of every path in a `{…}` group of a `use`, its opening brace already read.
fn heads(group: &str) -> Vec<String> {
    let mut heads = vec![String::new()];
    let mut depth = 1;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(String::new()),
            _ if depth == 1 => heads.last_mut().unwrap().push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads.iter().map(|path| first_name(path.trim())).filter(|name| !name.is_empty()).collect()
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What creates a file, or opens one for writing.
const CREATES: &[&str] = &[
    "File::create",
    ".create(true)",
    ".create_new(",
    ".write(true)",
    ".append(true)",
    "fs::write(",
    "fs::copy(",
    "fs::rename(",
    "fs::hard_link(",
    "symlink(",
    "mkfifo(",
    "O_CREAT",
    "O_WRONLY",
    "O_RDWR",
    "O_TMPFILE",
    "NamedTempFile",
    "tempdir(",
];

/// Who else may, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("output", "the creator"),
    ("live/malloc.rs", "the allocator's shim, in a folder of its own that nobody else can change"),
    ("unwind/cache.rs", "tables, in a folder that must be the user's own (`Cache::open`)"),
];

#[test]
fn outputs_are_created_by_the_creator_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in files(&source) {
        let place = file.strip_prefix(&source).unwrap().to_str().unwrap();
        if place.contains("tests") || EXCEPTIONS.iter().any(|(room, _)| place.starts_with(room)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            if CREATES.iter().any(|call| line.contains(call)) {
                found.push(format!("{place}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "files are created outside of src/output:\n{}", found.join("\n"));
}
