//! Which packages of the system have the files whose functions have no names.
//!
//! Comes in: a report. Goes out: the packages of such files, by dpkg's own lists below the root of the
//! process, where much of the memory came through them; nothing of a file that is another one than
//! what was mapped, or where there is no dpkg. The worker's opener reads the lists: whoever owns that
//! root wrote them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::worker::Worker;
use super::worker::protocol::{Answer, Request};
use crate::report::{Frame, Package, Report, StackId};

/// The lists of a system have ten megabytes, which takes a tenth of a second where they are not
/// cached.
const TIME: Duration = Duration::from_millis(800);
/// From so many dirty bytes on it is asked, if they are also [`SHARE`] of all.
const BYTES: u64 = 1 << 20;
/// One part in so many.
const SHARE: u64 = 10;
/// Files that are asked about.
const FILES_MAX: usize = 64;

/// A file: its path as maps showed it, and its build id.
type Unnamed<'a> = (&'a str, &'a str);

/// The packages of the files without names that matter in a report.
#[must_use]
pub fn of(report: &Report) -> Vec<Package> {
    let mut pid = None;
    let (mut build_ids, mut files) = (Vec::new(), Vec::new());
    for (path, build_id) in that_matter(report).into_iter().take(FILES_MAX) {
        let mapped = report.processes.iter().find_map(|process| {
            let mut segments = process.segments.iter();
            let segment = segments.find(|one| one.name == path && one.inode > 0)?;
            Some((process.pid, segment.inode))
        });
        if let Some((process, inode)) = mapped {
            // The root is that of the first: in another one, the other files have other inodes.
            pid.get_or_insert(process);
            build_ids.push(build_id);
            files.push((path.to_owned(), inode));
        }
    }
    let Some(pid) = pid else { return Vec::new() };
    let request = Request::Packages { pid, files };
    let Ok(reply) = Worker::default().ask(&request, None, TIME) else { return Vec::new() };
    let Answer::Packages(names) = reply.answer else { return Vec::new() };
    let named = build_ids.into_iter().zip(names);
    named.filter_map(|(id, name)| Some(Package { build_id: id.to_owned(), name: name? })).collect()
}

/// The files without names through which most dirty memory came, the largest first.
fn that_matter(report: &Report) -> Vec<Unnamed<'_>> {
    let stacks: HashMap<StackId, BTreeSet<Unnamed<'_>>> = report
        .stacks
        .iter()
        .map(|stack| (stack.id, stack.frames.iter().filter_map(file_without_names).collect()))
        .collect();
    let mut bytes: BTreeMap<Unnamed<'_>, u64> = BTreeMap::new();
    let mut all = 0;
    let segments = report.processes.iter().flat_map(|process| &process.segments);
    for path in segments.flat_map(|segment| &segment.paths) {
        all += path.dirty_bytes;
        let files = path.stack.and_then(|stack| stacks.get(&stack)).into_iter().flatten();
        files.for_each(|file| *bytes.entry(*file).or_default() += path.dirty_bytes);
    }
    let matters = |of: u64| of >= BYTES && of.saturating_mul(SHARE) >= all;
    let mut found: Vec<(Unnamed<'_>, u64)> =
        bytes.into_iter().filter(|(_, bytes)| matters(*bytes)).collect();
    found.sort_by_key(|(_, bytes)| Reverse(*bytes));
    found.into_iter().map(|(file, _)| file).collect()
}

fn file_without_names(frame: &Frame) -> Option<Unnamed<'_>> {
    let nameless = frame.function.is_none() && frame.language.is_none();
    let build_id = frame.build_id.as_deref()?;
    (nameless && frame.module.starts_with('/')).then_some((frame.module.as_str(), build_id))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::report::{Path, Segment, Stack};

    /// Of this process: `bytes` are dirty by code without names in `file`, and 20 MiB by other code.
    fn report(file: &str, inode: u64, bytes: u64) -> Report {
        let empty = include_str!("../../tests/view/golden/empty.json");
        let mut report: Report = serde_json::from_str(empty).unwrap();
        let path = |id, dirty_bytes| Path {
            stack: Some(StackId(id)),
            cause: "first-write".into(),
            rss_bytes: dirty_bytes,
            dirty_bytes,
            touched_bytes: dirty_bytes,
            faults: 1,
            first_ns: 0,
            last_ns: 0,
            tids: Vec::new(),
            retained_bytes: None,
            growth: None,
            rewrites: 0,
            rewritten_bytes: 0,
        };
        let nameless = Frame { build_id: Some("ab01".to_owned()), ..Frame::at(file, 1) };
        let named = Frame { function: Some("main".to_owned()), ..nameless.clone() };
        let stack = |id, frames: Vec<Frame>| Stack {
            id: StackId(id),
            complete: true,
            frames: frames.into(),
        };
        report.stacks = vec![stack(1, vec![nameless, named.clone()]), stack(2, vec![named])];
        let process = &mut report.processes[0];
        process.pid = std::process::id();
        let paths = vec![path(1, bytes), path(2, 20 * BYTES)];
        let mapped = Segment { name: file.to_owned(), inode, ..Segment::default() };
        process.segments = vec![Segment { paths, ..Segment::default() }, mapped];
        report
    }

    #[test]
    fn files_without_names_matter_from_a_tenth_of_dirty_on() {
        for (bytes, matters) in [(BYTES - 1, false), (2 * BYTES, false), (3 * BYTES, true)] {
            let report = report("/usr/bin/app", 1, bytes);
            let expected = if matters { vec![("/usr/bin/app", "ab01")] } else { vec![] };
            assert_eq!(that_matter(&report), expected, "{bytes}");
        }
    }

    #[test]
    fn dpkg_knows_its_own_programs_and_no_others() {
        let is_debian = std::fs::exists("/var/lib/dpkg/info/dpkg.list").unwrap();
        let inode = std::fs::metadata("/usr/bin/dpkg").map_or(0, |meta| meta.ino());
        let names = |inode| {
            let found = of(&report("/usr/bin/dpkg", inode, 9 * BYTES));
            found.into_iter().map(|package| package.name).collect::<Vec<_>>()
        };
        if is_debian {
            assert_eq!(names(inode), ["dpkg"]);
        } else {
            println!("SKIP dpkg_knows_its_own_programs: there is no dpkg");
        }
        assert!(names(inode + 1).is_empty(), "another file at that path");
    }
}
