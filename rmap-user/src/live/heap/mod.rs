//! Reads the structures of allocators in a process that stands still.
//!
//! Comes in: a snapshot of the process, taken at the same stop, and how long it may stand. Goes out:
//! what [`crate::heap`] makes of it. Only pages that the snapshot shows are read: others would be
//! brought in, from swap for one.

mod look;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::heap::{Gathered, Memory, Resident, gather};
use crate::trace::{Heap, Snapshot};

pub use look::{Error, Look, look};

/// How long a process stands for this at most, if nobody says otherwise.
pub const LIMIT: Duration = Duration::from_secs(5);

/// What was read of a process while it stood.
#[derive(Debug)]
pub struct Read {
    gathered: Gathered,
    walk_ns: u64,
}

/// Reads what thread `tid` has as memory. Nothing, if it may not be read.
#[must_use]
pub fn read(tid: u32, snapshot: &Snapshot, limit: Duration) -> Option<Read> {
    let begun = Instant::now();
    let file = File::open(format!("/proc/{tid}/mem")).ok()?;
    let mut memory = Present { file, resident: Resident::of(snapshot) };
    let gathered = gather(snapshot, &mut memory, &mut || begun.elapsed() > limit);
    let walk_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Some(Read { gathered, walk_ns })
}

impl Read {
    /// Adds up. The process may run again.
    #[must_use]
    pub fn finish(self, snapshot: &Snapshot) -> Heap {
        Heap { walk_ns: self.walk_ns, ..self.gathered.finish(snapshot) }
    }
}

/// The resident pages of a process.
struct Present {
    file: File,
    resident: Resident,
}

impl Memory for Present {
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> usize {
        let Some(end) = self.resident.end_of(at) else { return 0 };
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let mut got = 0;
        while let Some(rest) = buffer.get_mut(got..most).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at + got as u64) {
                Ok(0) | Err(_) => break,
                Ok(more) => got += more,
            }
        }
        got
    }
}
