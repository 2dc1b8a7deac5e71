//! Many like processes stated once: `rmap.report/2`.
//!
//! Comes in: processes. Goes out: the first of each program in full, and of the others what is
//! their own, with their segments as places in a list of distinct ones; and back. Lost on the way
//! are the times of call paths inside of those others, which become the times of the process.
//! Sizes stay to the byte, so the identity holds.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    Address, BeforeAfter, Curves, Gone, Malloc, MappedBy, Path, Process, Released, Segment,
    SnapshotKind,
};

/// The `schema` of a report whose like processes are stated once.
pub const SCHEMA_2: &str = "rmap.report/2";

/// Processes, the like ones stated once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grouped {
    /// The first process of each program, and all that have no like; in full.
    pub processes: Vec<Process>,
    /// The others.
    pub others: Vec<Other>,
    /// Segments of the others, each once, without their addresses.
    pub shapes: Vec<Segment>,
    /// What the others freed, each list once.
    pub tails: Vec<Tail>,
}

/// A process like one that is stated in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// Its place among all processes of the session, counted from 0.
    pub place: usize,
    /// Its program and command line are those of this process, by its place in `processes`.
    pub like: usize,
    /// Its process id.
    pub pid: u32,
    /// Its parent's.
    pub parent_pid: u32,
    /// Its command line, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its start.
    pub started_ns: u64,
    /// Its end.
    pub ended_ns: Option<u64>,
    /// Which snapshot the sizes are of.
    pub snapshot: SnapshotKind,
    /// When that was taken.
    pub snapshot_ns: Option<u64>,
    /// As of a process.
    pub rss_bytes: BeforeAfter,
    /// As of a process.
    pub dirty_bytes: BeforeAfter,
    /// As of a process.
    pub swap_bytes: BeforeAfter,
    /// As of a process.
    pub peak_rss_bytes: u64,
    /// The first byte of each segment.
    pub starts: Vec<Address>,
    /// The place of each segment in `shapes`.
    pub shapes: Vec<usize>,
    /// The place of what it freed in `tails`.
    pub tail: usize,
    /// As of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malloc: Option<Box<Malloc>>,
}

/// What a process freed, and what touched memory of which nothing is left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// As of a process.
    pub gone: Vec<Gone>,
    /// As of a process.
    pub released: Vec<Released>,
}

/// What is wrong with processes that were stated once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfoldError {
    /// A place that is not there.
    #[error("process {pid} names a {what} that the report lacks")]
    Missing {
        /// The process.
        pid: u32,
        /// What is missing.
        what: &'static str,
    },
    /// A small file must not become a large report.
    #[error("its processes in full would take more than {} MiB", MOST >> 20)]
    TooLarge,
}

/// Processes in full take no more bytes than this, about.
const MOST: usize = 1 << 30;

/// About the bytes that a segment takes.
fn weight(segment: &Segment) -> usize {
    let tids: usize = segment.paths.iter().map(|path| path.tids.len()).sum();
    let rows = segment.paths.len() + segment.unexplained.len() + 4;
    rows * 128 + tids * 4 + segment.name.len() + segment.vm_flags.len() + segment.device.len()
}

/// No segment with this end can be put at another address.
const LOWEST: Address = Address(0);

/// States like processes once: those of one program.
#[must_use]
pub fn fold(processes: &[Process]) -> Grouped {
    let mut grouped = Grouped::default();
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut shapes: HashMap<String, usize> = HashMap::new();
    let mut tails: HashMap<String, usize> = HashMap::new();
    for (place, process) in processes.iter().enumerate() {
        let next = grouped.processes.len();
        let like = *first.entry(&process.exe).or_insert(next);
        if like == next {
            grouped.processes.push(process.clone());
            continue;
        }
        let tail = Tail { gone: process.gone.clone(), released: process.released.clone() };
        let segments = process.segments.iter().map(|segment| shape(segment, process));
        let shapes =
            segments.map(|segment| placed(&mut grouped.shapes, &mut shapes, segment)).collect();
        let command = grouped.processes.get(like).map(|like| &like.command);
        grouped.others.push(Other {
            place,
            like,
            pid: process.pid,
            parent_pid: process.parent_pid,
            command: (command != Some(&process.command)).then(|| process.command.clone()),
            started_ns: process.started_ns,
            ended_ns: process.ended_ns,
            snapshot: process.snapshot,
            snapshot_ns: process.snapshot_ns,
            rss_bytes: process.rss_bytes,
            dirty_bytes: process.dirty_bytes,
            swap_bytes: process.swap_bytes,
            peak_rss_bytes: process.peak_rss_bytes,
            starts: process.segments.iter().map(|segment| segment.start).collect(),
            shapes,
            tail: placed(&mut grouped.tails, &mut tails, tail),
            malloc: process.malloc.clone(),
        });
    }
    grouped
}

/// The place of a value in a list that has each once.
fn placed<T: Serialize>(list: &mut Vec<T>, known: &mut HashMap<String, usize>, value: T) -> usize {
    // Values of the report can always be written as JSON; one that could not is never shared.
    let key = serde_json::to_string(&value).unwrap_or_else(|_| format!("#{}", list.len()));
    let next = list.len();
    let place = *known.entry(key).or_insert(next);
    if place == next {
        list.push(value);
    }
    place
}

/// A segment without its address, its times and its process.
fn shape(segment: &Segment, process: &Process) -> Segment {
    let own = |tid: u32| if tid == process.pid { 0 } else { tid };
    let mapped_by = segment.mapped_by.clone().map(|by| MappedBy {
        pid: own(by.pid),
        tid: own(by.tid),
        at_ns: 0,
        ..by
    });
    let path = |path: &Path| Path {
        first_ns: 0,
        last_ns: 0,
        tids: path.tids.iter().map(|tid| own(*tid)).collect(),
        ..path.clone()
    };
    Segment {
        start: LOWEST,
        end: Address(segment.end.0.saturating_sub(segment.start.0)),
        mapped_by,
        paths: segment.paths.iter().map(path).collect(),
        ..segment.clone()
    }
}

/// The processes as they were.
///
/// # Errors
/// A place that is not there.
pub fn unfold(grouped: Grouped) -> Result<Vec<Process>, UnfoldError> {
    let Grouped { processes, others, shapes, tails } = grouped;
    let mut all = Vec::with_capacity(processes.len() + others.len());
    let mut full = processes.iter();
    let mut taken = 0_usize;
    for other in others {
        let missing = |what| UnfoldError::Missing { pid: other.pid, what };
        while all.len() < other.place {
            all.push(full.next().ok_or_else(|| missing("place"))?.clone());
        }
        let like = processes.get(other.like).ok_or_else(|| missing("process"))?;
        let tail = tails.get(other.tail).ok_or_else(|| missing("list of what was freed"))?;
        if other.starts.len() != other.shapes.len() {
            return Err(missing("segment"));
        }
        let mut segments = Vec::with_capacity(other.starts.len());
        for (start, place) in other.starts.iter().zip(&other.shapes) {
            let shape = shapes.get(*place).ok_or_else(|| missing("segment"))?;
            taken = taken.saturating_add(weight(shape));
            if taken > MOST {
                return Err(UnfoldError::TooLarge);
            }
            segments.push(at(shape, *start, &other));
        }
        let rows = tail.gone.len() + tail.released.len() + 4;
        taken = taken.saturating_add(rows * 64 + like.command.len() + like.exe.len());
        if taken > MOST {
            return Err(UnfoldError::TooLarge);
        }
        let mut process = Process {
            pid: other.pid,
            parent_pid: other.parent_pid,
            command: other.command.unwrap_or_else(|| like.command.clone()),
            started_ns: other.started_ns,
            ended_ns: other.ended_ns,
            snapshot: other.snapshot,
            snapshot_ns: other.snapshot_ns,
            rss_bytes: other.rss_bytes,
            dirty_bytes: other.dirty_bytes,
            swap_bytes: other.swap_bytes,
            peak_rss_bytes: other.peak_rss_bytes,
            segments,
            gone: tail.gone.clone(),
            released: tail.released.clone(),
            malloc: other.malloc,
            // What is stated of the first one alone.
            peak: None,
            timeline: Vec::new(),
            growth: Vec::new(),
            curves: Curves::default(),
            threads: Vec::new(),
            ..like.clone()
        };
        process.sum_up();
        all.push(process);
    }
    all.extend(full.cloned());
    Ok(all)
}

/// A shape at its address in a process, with the process's times.
fn at(shape: &Segment, start: Address, other: &Other) -> Segment {
    let own = |tid: u32| if tid == 0 { other.pid } else { tid };
    let last = other.snapshot_ns.or(other.ended_ns).unwrap_or(other.started_ns);
    let mapped_by = shape.mapped_by.clone().map(|by| MappedBy {
        pid: own(by.pid),
        tid: own(by.tid),
        at_ns: other.started_ns,
        ..by
    });
    let path = |path: &Path| Path {
        first_ns: other.started_ns,
        last_ns: last,
        tids: path.tids.iter().map(|tid| own(*tid)).collect(),
        ..path.clone()
    };
    Segment {
        start,
        end: Address(start.0.saturating_add(shape.end.0)),
        mapped_by,
        paths: shape.paths.iter().map(path).collect(),
        ..shape.clone()
    }
}
