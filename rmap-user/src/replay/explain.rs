//! A recording becomes the story of a segment.
//!
//! Comes in: a recording, and which segments are meant. Goes out: an [`Explanation`]. The recording
//! is read twice: its report tells which segments there are, and its events where they were before
//! and which are gone; then it is played with somebody watching them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Loaded, Plan, Reading, guarded, play, play_beside};
use crate::model::{Arch, MapOp, page_up};
use crate::recording::Error;
use crate::recording::read::arch;
use crate::report::story::STORY_SCHEMA;
use crate::report::{Explanation, Process, Segment, StackId};
use crate::session::{Findings, Piece, Question, Target};
use crate::trace::{Body, Event, Input, Snapshot};

/// So many stories are told at once, of the largest segments: more nobody reads, and everything
/// that happens is held against each of them.
const MOST: usize = 64;
/// A mapping is followed back through so many moves.
const MOVES_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Which processes.
    pub process: &'a dyn Fn(&Process) -> bool,
    /// Which of their segments. Of one that no snapshot showed only the addresses are known.
    pub segment: &'a dyn Fn(&Segment) -> bool,
}

/// The stories, and whether the recording was cut off.
#[derive(Debug)]
pub struct Explained {
    /// The stories.
    pub explanation: Explanation,
    /// The recording ends at this byte, before the session did.
    pub cut_at: Option<u64>,
    /// What a person should know of how symbols were looked for.
    pub notes: Vec<String>,
}

/// Tells the stories of the segments that are meant, or of the largest of them. They are of the
/// state at the end.
///
/// # Errors
/// What is wrong with the file, and where; or no segment is meant.
pub fn explain(path: &Path, wanted: Wanted<'_>, reading: &Reading) -> Result<Explained, Error> {
    if !File::open(path)?.metadata()?.is_file() {
        let why = "a story needs a recording that can be read twice: give a regular file";
        return Err(Error::NotThere(why.to_owned()));
    }
    explain_from(&|| Ok(BufReader::new(File::open(path)?)), wanted, reading)
}

/// The same from any bytes that can be read again and again.
///
/// # Errors
/// As [`explain`].
pub fn explain_from<R: Read>(
    open: &dyn Fn() -> Result<R, Error>,
    wanted: Wanted<'_>,
    reading: &Reading,
) -> Result<Explained, Error> {
    let mut search = Search::default();
    let first = guarded(|at| {
        play_beside(open()?, Plan::default(), at, |input, opening| {
            search.add(input, arch(opening), wanted.segment);
        })
    })?;
    let mut targets = targets(&first.findings, &search, wanted)?;
    drop(search);
    let left_out = keep_largest(&mut targets);
    let targets = targets.into_iter().map(|(_, target)| target).collect();
    drop(first);
    let symbols = Arc::clone(&reading.symbols);
    let question = Question { targets, ..Question::default() };
    let plan = Plan { question, symbols, ..Plan::default() };
    let played = guarded(|at| play(open()?, plan, at))?;
    let stories = played.findings.stories.clone();
    let Loaded { report, cut_at, notes, .. } = played.load();
    let mut stacks = report.stacks;
    let named: HashSet<StackId> = stories
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
        left_out,
        stacks,
    };
    Ok(Explained { explanation, cut_at, notes })
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

/// Which segments are meant.
type Means<'a> = &'a dyn Fn(&Segment) -> bool;

/// Goes through all inputs once. Which processes are meant is not known before the end.
#[derive(Default)]
struct Search {
    traces: HashMap<u32, Traces>,
}

impl Search {
    fn add(&mut self, input: &Input, arch: Arch, wanted: Means<'_>) {
        match input {
            Input::Event(event) => self.event(event, arch, wanted),
            Input::Snapshot(snapshot) => self.snapshot(snapshot, wanted),
            Input::Faults(_)
            | Input::Heap(_)
            | Input::Process(..)
            | Input::Lost(_)
            | Input::Code(..)
            | Input::Rewrites(_)
            | Input::Written(..)
            | Input::Mark(..) => {}
        }
    }

    fn event(&mut self, event: &Event, arch: Arch, wanted: Means<'_>) {
        let traces = self.traces.entry(event.pid).or_default();
        let call = match &event.body {
            Body::Exec { .. } => {
                *traces = Traces::default();
                return;
            }
            Body::Map(call) => call,
            _ => return,
        };
        match MapOp::of(call, arch) {
            Some(MapOp::MremapExit(mremap, Some(to))) if to != mremap.old.start => {
                let to = to..to.saturating_add(mremap.new_size);
                traces.moves.push(Move { time_ns: event.time_ns, from: mremap.old, to });
            }
            Some(MapOp::BrkExit(to)) => traces.heap_end = traces.heap_end.max(page_up(to)),
            Some(MapOp::Mmap(new)) => {
                // A name would be a guess.
                let segment = Segment::of_addresses(&new.range, "\0");
                self.saw(event.pid, &segment, new.range, event.time_ns, wanted);
            }
            _ => {}
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot, wanted: Means<'_>) {
        for shown in &snapshot.segments {
            let range = shown.start..shown.end;
            let segment = Segment::of_addresses(&range, &shown.name);
            self.saw(snapshot.pid, &segment, range, snapshot.time_ns, wanted);
        }
    }

    fn saw(
        &mut self,
        pid: u32,
        segment: &Segment,
        range: Range<u64>,
        last_ns: u64,
        wanted: Means<'_>,
    ) {
        if !wanted(segment) {
            return;
        }
        let seen = &mut self.traces.entry(pid).or_default().seen;
        let name = segment.name.trim_matches('\0');
        // The latest of a name is enough.
        seen.retain(|seen| seen.name != name);
        seen.push(Seen { range, name: name.to_owned(), last_ns });
    }
}

/// What is asked of, each with its size; those that are gone if none is there.
fn targets(
    findings: &Findings,
    search: &Search,
    wanted: Wanted<'_>,
) -> Result<Vec<(u64, Target)>, Error> {
    let none = Traces::default();
    let mut there = Vec::new();
    let mut gone = Vec::new();
    let processes = findings.report.processes.iter().zip(&findings.spaces).enumerate();
    for (place, (process, space)) in processes {
        let Some(space) = space.filter(|_| (wanted.process)(process)) else { continue };
        let traces = search.traces.get(&process.pid).unwrap_or(&none);
        for segment in process.segments.iter().filter(|segment| (wanted.segment)(segment)) {
            let (start, end) = (segment.start.0, segment.end.0);
            let heap = segment.name == "[heap]";
            let end = if heap { end.max(traces.heap_end) } else { end };
            let size = segment.rss_bytes.after.saturating_add(segment.dirty_bytes.after);
            let target = Target {
                space,
                process: place,
                pieces: pieces(start..end, &traces.moves),
                name: segment.name.clone(),
                gone_after_ns: None,
            };
            there.push((size, target));
        }
        if let Some(seen) = traces.seen.iter().max_by_key(|seen| seen.last_ns) {
            let target = Target {
                space,
                process: place,
                pieces: pieces(seen.range.clone(), &[]),
                name: seen.name.clone(),
                gone_after_ns: Some(seen.last_ns),
            };
            gone.push((0, target));
        }
    }
    let targets = if there.is_empty() { gone } else { there };
    if targets.is_empty() {
        return Err(Error::NotThere("no process has or had such a segment".to_owned()));
    }
    Ok(targets)
}

/// Leaves the largest, in their order, and says how many went.
fn keep_largest(targets: &mut Vec<(u64, Target)>) -> u64 {
    let left_out = targets.len().saturating_sub(MOST);
    let mut places: Vec<usize> = (0..targets.len()).collect();
    places.sort_by_key(|place| std::cmp::Reverse(targets[*place].0));
    let stay: HashSet<usize> = places.into_iter().take(MOST).collect();
    let mut place = 0..;
    targets.retain(|_| place.next().is_some_and(|place| stay.contains(&place)));
    left_out as u64
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
    fn of_many_segments_the_largest_are_told_in_their_order() {
        let target = |number: usize| Target {
            space: crate::trace::MmKey(0),
            process: number,
            pieces: Vec::new(),
            name: String::new(),
            gone_after_ns: None,
        };
        // 0, 1, 2, 0, 1, 2, …: the large ones stay, and the first of those that are in between.
        let many = 3 * 40;
        let mut targets: Vec<_> =
            (0..many).map(|number| ((number % 3) as u64, target(number))).collect();
        assert_eq!(keep_largest(&mut targets), (many - MOST) as u64);
        let stay: Vec<usize> = targets.iter().map(|(_, target)| target.process).collect();
        let large = |number: &usize| number % 3 == 2;
        let expected: Vec<usize> =
            (0..many).filter(|n| large(n) || (n % 3 == 1 && n / 3 < MOST - 40)).collect();
        assert_eq!(stay, expected);
        assert_eq!(keep_largest(&mut targets), 0);
        assert_eq!(targets.len(), MOST);
    }

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
