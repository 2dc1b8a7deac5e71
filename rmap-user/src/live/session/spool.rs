//! The inputs of a live session, kept so that it can be played again when it has ended.
//!
//! Comes in: inputs, in their order. Goes out: the same inputs, as often as wanted. They are kept as
//! bytes of the recording's codec: in memory up to [`MEMORY_MAX`], behind that in a file that has
//! no name and so ends with rmap. A session of more than [`ALL_MAX`] is not kept: its moments are not
//! known then, and its end is.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use crate::recording::codec::{Batch, Unbatch};
use crate::recording::frame::VERSION;
use crate::trace::Input;

/// Bytes of a batch.
const BATCH: usize = 256 << 10;
/// Bytes that are kept in memory.
const MEMORY_MAX: usize = 48 << 20;
/// Bytes that are kept at all.
const ALL_MAX: u64 = 2 << 30;

/// Inputs that are kept.
#[derive(Default)]
pub(super) struct Spool {
    batch: Batch,
    /// Whole batches in memory, the oldest first.
    memory: Vec<Vec<u8>>,
    in_memory: usize,
    /// Batches behind those, each behind its length in four bytes.
    file: Option<File>,
    in_file: u64,
    /// Why it keeps nothing any more.
    failed: Option<String>,
}

impl Spool {
    /// Keeps the next input.
    pub(super) fn add(&mut self, input: &Input) {
        if self.failed.is_some() {
            return;
        }
        self.batch.add(input);
        if self.batch.len() >= BATCH {
            let full = self.batch.take();
            if let Err(why) = self.keep(full) {
                *self = Self { failed: Some(why), ..Self::default() };
            }
        }
    }

    /// Why the session cannot be played again, if it cannot.
    pub(super) fn why_not(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Gives every input in its order, faults of one run at once.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn play(&mut self, mut each: impl FnMut(&Input)) -> io::Result<()> {
        let last = self.batch.take();
        let mut play = |bytes: &[u8]| -> io::Result<()> {
            let mut from = Unbatch::new(bytes, VERSION);
            while let Some(input) = from.next().map_err(|bad| io::Error::other(bad.0))? {
                each(&input);
            }
            Ok(())
        };
        self.memory.iter().try_for_each(|bytes| play(bytes))?;
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            let mut bytes = Vec::new();
            let mut length = [0; 4];
            let mut left = self.in_file;
            while left > 0 {
                file.read_exact(&mut length)?;
                bytes.resize(u32::from_le_bytes(length) as usize, 0);
                file.read_exact(&mut bytes)?;
                left = left.saturating_sub(4 + bytes.len() as u64);
                play(&bytes)?;
            }
        }
        play(&last)?;
        if !last.is_empty() {
            self.keep(last).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        if self.file.is_none() && self.in_memory + bytes.len() <= MEMORY_MAX {
            self.in_memory += bytes.len();
            self.memory.push(bytes);
            return Ok(());
        }
        if self.in_file + bytes.len() as u64 > ALL_MAX {
            return Err(format!("the session has more than {} MiB of events", ALL_MAX >> 20));
        }
        let cannot = |error: io::Error| format!("cannot keep the session's events: {error}");
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile().map_err(cannot)?),
        };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        file.write_all(&length.to_le_bytes())
            .and_then(|()| file.write_all(&bytes))
            .map_err(cannot)?;
        self.in_file += 4 + u64::from(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Body, Event, MmId, ProcessFacts};

    fn inputs() -> impl Iterator<Item = Input> {
        (0..2000_u32).map(|pid| match pid % 2 {
            0 => {
                let command = "x".repeat(40_000);
                Input::Process(pid, ProcessFacts { command, ..ProcessFacts::default() })
            }
            _ => Input::Event(Event {
                time_ns: pid.into(),
                pid,
                tid: pid,
                mm: MmId(7),
                body: Body::Exec { old_tid: pid },
            }),
        })
    }

    #[test]
    fn inputs_come_again_from_memory_and_from_the_file() {
        let mut spool = Spool::default();
        // 40 MB, and the same once more, do not fit into memory.
        inputs().chain(inputs()).for_each(|input| spool.add(&input));
        assert!(spool.file.is_some() && spool.in_memory <= MEMORY_MAX);
        for _ in 0..2 {
            let mut expected = inputs().chain(inputs());
            spool.play(|input| assert_eq!(Some(input), expected.next().as_ref())).unwrap();
            assert_eq!(expected.next(), None);
        }
        assert_eq!(spool.why_not(), None);
    }
}
