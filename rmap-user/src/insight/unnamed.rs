//! Files whose code has no names, where that leaves much of the memory without an owner's name.
//!
//! Comes in: the parts of a report. Goes out: [`Unnamed`] files with their build ids and the places
//! of their debug files, the largest first; none where named owners hold nearly everything.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::Frame;

use super::part::Parts;

/// From so many bytes on it matters, if they are also [`SHARE`] of RSS.
const BYTES: i128 = 1 << 20;
/// One part in so many of RSS.
const SHARE: i128 = 10;

/// A file whose functions have no names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unnamed {
    /// The file, as it was mapped.
    pub module: String,
    /// Lower-case hex.
    pub build_id: String,
    /// Resident bytes whose owner is a place in it.
    pub bytes: u64,
    /// Where gdb, perf and rmap look for its debug file.
    pub debug_file: String,
    /// Debian's package of that file, where dpkg knows the file's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug_package: Option<String>,
}

/// What names are missing of, the largest first; empty where that does not matter.
#[must_use]
pub fn unnamed(parts: &Parts<'_>) -> Vec<Unnamed> {
    let mut bytes: BTreeMap<(&str, &str), i128> = BTreeMap::new();
    for part in parts.all.iter().filter(|part| part.attributed && !part.code) {
        let owner = part.stack.and_then(|stack| parts.owners.owner_frame(stack));
        if let Some(file) = owner.and_then(|(_, frame)| file_without_names(frame)) {
            *bytes.entry(file).or_default() += part.bytes.rss;
        }
    }
    let sum: i128 = bytes.values().sum();
    if sum < BYTES || sum.saturating_mul(SHARE) < parts.total().rss {
        return Vec::new();
    }
    let package = |build_id: &str| {
        let known = &parts.report.coverage.packages;
        let package = known.iter().find(|package| package.build_id == build_id)?;
        Some(debug_package(&package.name))
    };
    let mut found: Vec<Unnamed> = bytes
        .into_iter()
        .filter_map(|((module, build_id), bytes)| {
            Some(Unnamed {
                module: module.to_owned(),
                build_id: build_id.to_owned(),
                bytes: u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)?,
                debug_file: debug_file(build_id)?,
                debug_package: package(build_id),
            })
        })
        .collect();
    found.sort_by_key(|file| Reverse(file.bytes));
    found
}

/// The file of a frame of which only the place is known, and its build id.
fn file_without_names(frame: &Frame) -> Option<(&str, &str)> {
    let nameless = frame.function.is_none() && frame.language.is_none();
    let build_id = frame.build_id.as_deref()?;
    (nameless && frame.module.starts_with('/')).then_some((frame.module.as_str(), build_id))
}

/// `None`: it is no build id, as a recording may have it.
fn debug_file(build_id: &str) -> Option<String> {
    let hex = build_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (first, rest) = build_id.split_at_checked(2).filter(|(_, rest)| hex && !rest.is_empty())?;
    Some(format!("/usr/lib/debug/.build-id/{first}/{rest}.debug"))
}

/// Debian makes `PACKAGE-dbgsym` by itself; the C library's is older than that.
fn debug_package(package: &str) -> String {
    match package {
        "libc6" => "libc6-dbg".to_owned(),
        package => format!("{package}-dbgsym"),
    }
}

#[cfg(test)]
mod tests {
    use super::{debug_file, debug_package};

    #[test]
    fn debug_files_have_gdbs_places_and_debians_packages() {
        let place = "/usr/lib/debug/.build-id/ab/001f.debug";
        assert_eq!(debug_file("ab001f").as_deref(), Some(place));
        for none in ["", "a", "ab", "../../etc", "ab/../001f", "äb001f"] {
            assert_eq!(debug_file(none), None, "{none}");
        }
        assert_eq!(debug_package("libc6"), "libc6-dbg");
        assert_eq!(debug_package("perl-base"), "perl-base-dbgsym");
    }
}
