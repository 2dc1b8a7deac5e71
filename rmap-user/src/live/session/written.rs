//! The names that programs write for code that they make at run time, for one session.
//!
//! Comes in: processes that begin a program, and those that are looked at for the last time. Goes
//! out: the names of their perf map files, read by the worker. A file that was there before the
//! program began is another's. Equal names are kept once for all processes, and all files together
//! have a budget of time and of bytes: a process can end as often as it likes, with 64 MiB each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::live::worker::Worker;
use crate::live::worker::protocol::{Answer, Request};
use crate::symbol::{PerfMap, Stamp};
use crate::trace::MmKey;

/// Bytes of one file that are read.
const FILE_MAX: u64 = 64 << 20;
/// Time to look for one file, and to read it.
const FIND_TIME: Duration = Duration::from_millis(500);
const READ_TIME: Duration = Duration::from_millis(2500);
/// Time that all files of a session may take, and bytes that their names may take.
const TIME_MAX: Duration = Duration::from_secs(3);
const BYTES_MAX: usize = 96 << 20;

/// The names of a session.
#[derive(Debug, Default)]
pub(super) struct WrittenNames {
    /// For each process, its program and the perf map file that was there when that began, which
    /// is not of its own.
    programs: HashMap<u32, (MmKey, Option<Stamp>)>,
    /// All that were read, each once.
    known: Vec<Arc<PerfMap>>,
    bytes: usize,
    spent: Duration,
    /// Processes whose files were left out for want of time or room.
    left_out: u64,
}

impl WrittenNames {
    /// A process begins a program.
    pub(super) fn begin(&mut self, worker: &mut Worker, pid: u32, tid: u32, instance: MmKey) {
        let found = worker.ask(&Request::PerfMapStamp { tid }, None, FIND_TIME);
        let there = match found.map(|reply| reply.answer) {
            Ok(Answer::Stamps(stamps)) => stamps.into_iter().flatten().next(),
            _ => None,
        };
        self.programs.insert(pid, (instance, there));
    }

    /// A program that ran before: a file that is there is its own.
    pub(super) fn begin_with_none(&mut self, pid: u32, instance: MmKey) {
        self.programs.insert(pid, (instance, None));
    }

    /// A process has ended.
    pub(super) fn forget(&mut self, pid: u32) {
        self.programs.remove(&pid);
    }

    /// The names that the program of a process has written so far; `None` if it has not.
    ///
    /// # Errors
    /// One line that says what is not used, and why.
    pub(super) fn read(
        &mut self,
        worker: &mut Worker,
        pid: u32,
        tid: u32,
    ) -> Result<Option<(MmKey, Arc<PerfMap>)>, String> {
        let Some(&(instance, not)) = self.programs.get(&pid) else { return Ok(None) };
        if self.spent >= TIME_MAX || self.bytes >= BYTES_MAX {
            return self.left_out();
        }
        let request = Request::PerfMap { tid, not, most: FILE_MAX };
        let begun = Instant::now();
        let reply = worker.ask(&request, None, READ_TIME.min(TIME_MAX - self.spent));
        self.spent += begun.elapsed();
        let reply = reply.map_err(|failure| format!("perf map of process {pid}: {failure}"))?;
        if reply.answer == Answer::Nothing {
            return Ok(None);
        }
        let names = PerfMap::decode(&reply.body)
            .ok_or_else(|| format!("perf map of process {pid}: its reader sent none"))?;
        Ok(Some((instance, self.keep(names))))
    }

    fn keep(&mut self, names: PerfMap) -> Arc<PerfMap> {
        if let Some(known) = self.known.iter().find(|known| ***known == names) {
            return Arc::clone(known);
        }
        self.bytes += names.bytes();
        let names = Arc::new(names);
        self.known.push(Arc::clone(&names));
        names
    }

    fn left_out(&mut self) -> Result<Option<(MmKey, Arc<PerfMap>)>, String> {
        self.left_out += 1;
        if self.left_out > 1 {
            return Ok(None);
        }
        Err(format!(
            "perf maps took {} ms and {} MiB: those of processes that ended later are not read",
            self.spent.as_millis(),
            self.bytes >> 20
        ))
    }
}
