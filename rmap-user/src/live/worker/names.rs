//! Names at the end of a session.
//!
//! Comes in: files (a path and what the file was, or a copy of its symbols) and offsets in them.
//! Goes out: frames. Each thread that asks has a worker of its own, so several files are read at
//! once. What is one of the system's own has the time that it needs; all other files together have
//! a few seconds, and a file that is too much with its debug information is read once more without.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::{Answer, Request, Wanted};
use super::{Failure, Worker};
use crate::live::hurry;
use crate::report::{Address, Frame};
use crate::symbol::{Binary, Resolved, Resolver, debug_files};

/// Time for one file of the system's.
const SYSTEMS_TIME: Duration = Duration::from_secs(30);
/// Time for one other file, and without its debug information.
const TIME: Duration = Duration::from_millis(2500);
const TIME_WITHOUT: Duration = Duration::from_millis(1000);
/// When all other files together have taken so long, debug information is left aside, and then files.
const HURRY: Duration = Duration::from_millis(2500);
const LAST: Duration = Duration::from_millis(4000);
/// Files that are named in one line.
const NAMED: usize = 3;

thread_local! {
    static WORKER: RefCell<Worker> = RefCell::default();
}

/// Finds names by workers.
#[derive(Debug, Default)]
pub struct Names {
    begun: OnceLock<Instant>,
    /// Files of which names are missing because they were too much, and why.
    refused: Mutex<BTreeSet<String>>,
}

impl Names {
    fn refuse(&self, module: &str, why: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(format!("{module}: {why}"));
    }

    /// How long a file may take, with its debug information (true) or without; `None`: no time is left.
    fn time(&self, binary: &Binary) -> Option<(Duration, bool)> {
        if binary.is_systems {
            return Some((SYSTEMS_TIME, true));
        }
        let passed = self.begun.get_or_init(Instant::now).elapsed();
        match passed {
            passed if passed >= LAST => None,
            passed if passed >= HURRY => Some(((LAST - passed).min(TIME_WITHOUT), false)),
            _ => Some((TIME, true)),
        }
    }
}

impl Resolver for Names {
    fn resolve(&self, binary: &Binary, module: &str, offsets: &[u64]) -> Resolved {
        let mut wanted = Wanted {
            own: binary.path.clone(),
            stamp: binary.stamp,
            build_id: binary.build_id.clone(),
            separate: separate(binary, module),
            offsets: offsets.to_vec(),
            dwarf: true,
            copy_has_debug: binary.file_has_debug,
        };
        let mut problem = None;
        if binary.path.is_none() && binary.file.is_none() {
            problem.clone_from(&binary.why_no_file);
        } else {
            for attempt in 0..2 {
                if hurry::asked() {
                    break;
                }
                let Some((time, dwarf)) = self.time(binary) else {
                    let why = "reading the files before it took too long";
                    self.refuse(module, why);
                    problem = Some(why.to_owned());
                    break;
                };
                wanted.dwarf = dwarf && attempt == 0;
                let time = if wanted.dwarf { time } else { time.min(TIME_WITHOUT) };
                match ask(binary, &wanted, time) {
                    Ok((frames, why)) => {
                        let problem = problem.or(why);
                        return Resolved {
                            frames: frames.map(|(at, f)| (at, owned(binary, module, f))).collect(),
                            problem,
                            ..Resolved::default()
                        };
                    }
                    Err(failure) => {
                        if failure.is_lasting() {
                            let part = if wanted.dwarf { "its debug information: " } else { "" };
                            self.refuse(module, &format!("{part}{failure}"));
                        }
                        problem = Some(failure.to_string());
                        if !failure.is_lasting() || !wanted.dwarf {
                            break;
                        }
                    }
                }
            }
        }
        let frames = offsets.iter().map(|&at| (at, bare(binary, module, at)));
        Resolved { frames: frames.collect(), problem, ..Resolved::default() }
    }

    fn trouble(&self) -> Option<String> {
        if hurry::asked() {
            return Some("names are missing: a second signal asked for the end".to_owned());
        }
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let first: Vec<&str> = refused.iter().take(NAMED).map(String::as_str).collect();
        let more = refused.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more files") } else { String::new() };
        (!first.is_empty()).then(|| format!("names are missing: {}{more}", first.join("; ")))
    }
}

type Frames = std::vec::IntoIter<(u64, Vec<Frame>)>;

fn ask(
    binary: &Binary,
    wanted: &Wanted,
    time: Duration,
) -> Result<(Frames, Option<String>), Failure> {
    let copy = binary.file.as_ref().map(|file| file.as_fd());
    let request = Request::Names(wanted.clone());
    let reply = WORKER.with_borrow_mut(|worker| worker.ask(&request, copy, time))?;
    match reply.answer {
        Answer::Names { frames, problem } => Ok((frames.into_iter(), problem)),
        _ => Err(Failure::Malformed(super::protocol::Malformed::Limit)),
    }
}

/// Where the debug file may be, if the file itself may have none.
fn separate(binary: &Binary, module: &str) -> Vec<String> {
    let Some(build_id) = &binary.build_id else { return Vec::new() };
    let candidates = debug_files(build_id, binary.debug_link.as_deref(), module);
    candidates.iter().filter_map(|path| path.to_str()).map(str::to_owned).collect()
}

/// Frames as the report has them.
fn owned(binary: &Binary, module: &str, frames: Vec<Frame>) -> Vec<Frame> {
    let own = |frame: Frame| Frame {
        module: module.to_owned(),
        build_id: binary.build_id.clone(),
        ..frame
    };
    frames.into_iter().map(own).collect()
}

/// The place alone.
fn bare(binary: &Binary, module: &str, offset: u64) -> Vec<Frame> {
    let address = binary.headers.as_ref().and_then(|headers| headers.address_of(offset));
    let offset = Address(address.unwrap_or(offset));
    owned(binary, module, vec![Frame { offset, ..Frame::default() }])
}
