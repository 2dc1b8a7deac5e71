//! A recording becomes the story of a segment.
//!
//! Comes in: a recording, and which segments are meant. Goes out: an [`Explanation`]. The recording
//! is read three times: its report tells which segments there are; then it is searched for where
//! they were before, and for those that are gone; then it is played with somebody watching them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;

use super::batch::Input;
use super::load::{Plan, guarded, play, walk};
use super::{Error, Opening};
use crate::event::{Body, Event};
use crate::investigate::{Findings, Piece, Target};
use crate::model::{Arch, MapOp, page_up};
use crate::report::story::STORY_SCHEMA;
use crate::report::{Explanation, Process, Segment};
use crate::snapshot::Snapshot;

/// More segments than this are no answer to a question.
const MOST: usize = 64;
/// A mapping is followed back through so many moves.
const MOVES_MAX: usize = 64;

/// What is asked for, of a process and one of its segments. Of a segment that no snapshot showed
/// only the addresses are known.
pub type Wanted<'a> = &'a dyn Fn(&Process, &Segment) -> bool;

/// The stories, and whether the recording was cut off.
#[derive(Debug)]
pub struct Explained {
    /// The stories.
    pub explanation: Explanation,
    /// The recording ends at this byte, before the session did.
    pub cut_at: Option<u64>,
}

/// Tells the stories of the segments that are meant.
///
/// # Errors
/// What is wrong with the file, and where; or no segment is meant, or too many.
pub fn explain(path: &Path, wanted: Wanted<'_>) -> Result<Explained, Error> {
    if !File::open(path)?.metadata()?.is_file() {
        let why = "a story needs a recording that can be read three times: give a regular file";
        return Err(Error::NotThere(why.to_owned()));
    }
    explain_from(&|| Ok(BufReader::new(File::open(path)?)), wanted)
}

/// The same from any bytes that can be read again and again.
///
/// # Errors
/// As [`explain`].
pub fn explain_from<R: Read>(
    open: &dyn Fn() -> Result<R, Error>,
    wanted: Wanted<'_>,
) -> Result<Explained, Error> {
    let first = guarded(|at| play(open()?, Plan::default(), at))?;
    let search = guarded(|at| {
        let begin = |opening: &Opening| Search::new(opening, &first.findings.report.processes);
        let look = |search: &mut Search<'_>, _, input: Input| search.add(&input, wanted);
        Ok(walk(open()?, at, begin, look, |_, _| Ok(()))?.0)
    })?;
    let targets = targets(&first.findings, &search, wanted)?;
    drop(search);
    drop(first);
    let played = guarded(|at| play(open()?, Plan { targets, ..Plan::default() }, at))?;
    let cut_at = played.cut_at;
    let stories = played.findings.stories.clone();
    let report = played.name();
    let mut stacks = report.stacks;
    let named: std::collections::HashSet<u32> = stories
        .iter()
        .flat_map(|story| {
            let paths = story.segment.iter().flat_map(|segment| &segment.paths);
            let mapped = story.segment.iter().filter_map(|segment| segment.mapped_by.as_ref());
            let events = story.events.iter().map(|event| event.stack);
            events.chain(paths.map(|path| path.stack)).chain(mapped.map(|by| by.stack))
        })
        .flatten()
        .collect();
    stacks.retain(|stack| named.contains(&stack.id));
    let explanation = Explanation {
        schema: STORY_SCHEMA.to_owned(),
        rmap_version: report.rmap_version,
        host: report.host,
        session: report.session,
        coverage: report.coverage,
        stories,
        stacks,
    };
    Ok(Explained { explanation, cut_at })
}

/// A mapping that is no longer there, or was larger.
struct Seen {
    range: Range<u64>,
    name: String,
    last_ns: u64,
}

/// A move by `mremap`.
struct Move {
    time_ns: u64,
    from: Range<u64>,
    to: Range<u64>,
}

/// What the events and snapshots of a process's last program tell of its mappings.
#[derive(Default)]
struct Traces {
    moves: Vec<Move>,
    /// The highest end of the heap.
    heap_end: u64,
    seen: Vec<Seen>,
}

/// Goes through all inputs once.
struct Search<'a> {
    arch: Arch,
    processes: HashMap<u32, &'a Process>,
    traces: HashMap<u32, Traces>,
}

impl<'a> Search<'a> {
    fn new(opening: &Opening, processes: &'a [Process]) -> Self {
        let processes = processes.iter().map(|process| (process.pid, process)).collect();
        Self { arch: super::load::arch(opening), processes, traces: HashMap::new() }
    }

    fn add(&mut self, input: &Input, wanted: Wanted<'_>) {
        match input {
            Input::Event(event) => self.event(event, wanted),
            Input::Snapshot(snapshot) => self.snapshot(snapshot, wanted),
            Input::Process(..) | Input::Lost(_) | Input::Code(..) | Input::Written(..) => {}
        }
    }

    fn event(&mut self, event: &Event, wanted: Wanted<'_>) {
        let traces = self.traces.entry(event.pid).or_default();
        let call = match &event.body {
            Body::Exec { .. } => {
                *traces = Traces::default();
                return;
            }
            Body::Map(call) => call,
            _ => return,
        };
        match MapOp::of(call, self.arch) {
            Some(MapOp::MremapExit(mremap, Some(to))) if to != mremap.old.start => {
                let to = to..to.saturating_add(mremap.new_size);
                traces.moves.push(Move { time_ns: event.time_ns, from: mremap.old, to });
            }
            Some(MapOp::BrkExit(to)) => traces.heap_end = traces.heap_end.max(page_up(to)),
            Some(MapOp::Mmap(new)) => {
                // A name would be a guess.
                let segment = of_addresses(&new.range, "\0");
                self.saw(event.pid, &segment, new.range, event.time_ns, wanted);
            }
            _ => {}
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot, wanted: Wanted<'_>) {
        for shown in &snapshot.segments {
            let range = shown.start..shown.end;
            let segment = of_addresses(&range, &shown.name);
            self.saw(snapshot.pid, &segment, range, snapshot.time_ns, wanted);
        }
    }

    fn saw(
        &mut self,
        pid: u32,
        segment: &Segment,
        range: Range<u64>,
        last_ns: u64,
        wanted: Wanted<'_>,
    ) {
        if !self.processes.get(&pid).is_some_and(|process| wanted(process, segment)) {
            return;
        }
        let seen = &mut self.traces.entry(pid).or_default().seen;
        let name = segment.name.trim_matches('\0');
        // The latest of a name is enough.
        seen.retain(|seen| seen.name != name);
        seen.push(Seen { range, name: name.to_owned(), last_ns });
    }
}

/// A segment of which nothing but the place and the name is known.
fn of_addresses(range: &Range<u64>, name: &str) -> Segment {
    Segment {
        start: format!("{:#x}", range.start),
        end: format!("{:#x}", range.end),
        name: name.to_owned(),
        perms: String::new(),
        offset: 0,
        device: String::new(),
        inode: 0,
        size_bytes: range.end.saturating_sub(range.start),
        rss_bytes: crate::report::BeforeAfter::default(),
        dirty_bytes: crate::report::BeforeAfter::default(),
        swap_bytes: crate::report::BeforeAfter::default(),
        hugetlb_bytes: 0,
        pattern: None,
        mapped_by: None,
        paths: Vec::new(),
        unexplained: Vec::new(),
    }
}

fn targets(
    findings: &Findings,
    search: &Search<'_>,
    wanted: Wanted<'_>,
) -> Result<Vec<Target>, Error> {
    let none = Traces::default();
    let mut there = Vec::new();
    let mut gone = Vec::new();
    let processes = findings.report.processes.iter().zip(&findings.spaces).enumerate();
    for (place, (process, space)) in processes {
        let Some(space) = *space else { continue };
        let traces = search.traces.get(&process.pid).unwrap_or(&none);
        for segment in process.segments.iter().filter(|segment| wanted(process, segment)) {
            let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
            let Some((start, end)) = number(&segment.start).zip(number(&segment.end)) else {
                continue;
            };
            let heap = segment.name == "[heap]";
            let end = if heap { end.max(traces.heap_end) } else { end };
            there.push(Target {
                space,
                process: place,
                pieces: pieces(start..end, &traces.moves),
                name: segment.name.clone(),
                gone_after_ns: None,
            });
        }
        if let Some(seen) = traces.seen.iter().max_by_key(|seen| seen.last_ns) {
            gone.push(Target {
                space,
                process: place,
                pieces: pieces(seen.range.clone(), &[]),
                name: seen.name.clone(),
                gone_after_ns: Some(seen.last_ns),
            });
        }
    }
    let targets = if there.is_empty() { gone } else { there };
    match targets.len() {
        0 => Err(Error::NotThere("no process has or had such a segment".to_owned())),
        1..=MOST => Ok(targets),
        many => Err(Error::NotThere(format!(
            "{many} segments are meant, too many for stories: name one by an address in it"
        ))),
    }
}

/// Where a mapping was, the last place first: back through the moves that brought it there.
fn pieces(range: Range<u64>, moves: &[Move]) -> Vec<Piece> {
    let mut pieces = vec![Piece { range, from_ns: 0, until_ns: u64::MAX }];
    for moved in moves.iter().rev() {
        let Some(last) = pieces.last_mut() else { break };
        let meets = last.range.start < moved.to.end && moved.to.start < last.range.end;
        if !meets || moved.time_ns >= last.until_ns || moved.from.is_empty() {
            continue;
        }
        last.from_ns = moved.time_ns;
        let range = moved.from.clone();
        pieces.push(Piece { range, from_ns: 0, until_ns: moved.time_ns });
        if pieces.len() > MOVES_MAX {
            break;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_followed_back_through_its_moves() {
        let moved = |time_ns, from: Range<u64>, to| Move { time_ns, from, to };
        let moves = [
            moved(10, 0x1000..0x2000, 0x5000..0x7000),
            moved(15, 0x9000..0xa000, 0xb000..0xc000),
            moved(20, 0x5000..0x7000, 0x20000..0x24000),
        ];
        let piece = |range, from_ns, until_ns| Piece { range, from_ns, until_ns };
        assert_eq!(
            pieces(0x20000..0x24000, &moves),
            [
                piece(0x20000..0x24000, 20, u64::MAX),
                piece(0x5000..0x7000, 10, 20),
                piece(0x1000..0x2000, 0, 10),
            ]
        );
        assert_eq!(pieces(0x9000..0xa000, &moves), [piece(0x9000..0xa000, 0, u64::MAX)]);
    }
}
