//! Batches go to the file on a thread of their own.
//!
//! Comes in: inputs, from the session's thread. Goes out: frames, appended to the file. The
//! session never waits: batches are queued up to a limit. Where the disk fails or stays behind,
//! recording ends there with the reason, and the session goes on.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::codec::Batch;
use super::names::{FileNames, encode};
use super::{Ending, Opening, frame};
use crate::trace::Input;

/// A batch of this many bytes goes to the file.
const BATCH: usize = 512 << 10;
/// So does a smaller one after this time.
const PERIOD: Duration = Duration::from_millis(300);
/// The first batch has so many bytes at most, each further one twice as many as the one before:
/// of a short session that is killed something is there.
const FIRST_BATCH: usize = 8 << 10;
/// And it waits so long at most, each further one twice as long.
const FIRST_PERIOD: Duration = Duration::from_millis(5);
/// Bytes that may wait for the disk.
const WAITING_MAX: usize = 64 << 20;
/// At the end a disk may do nothing for so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Shared by the session and the thread that writes.
struct Shared {
    batch: Batch,
    /// At so many bytes the batch is full.
    full: usize,
    waiting: usize,
    written: u64,
    error: Option<io::Error>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { batch: Batch::default(), full: FIRST_BATCH, waiting: 0, written: 0, error: None }
    }
}

/// Writes a recording.
pub struct Recorder {
    shared: Arc<Mutex<Shared>>,
    frames: Sender<(u16, Vec<u8>)>,
    done: mpsc::Receiver<io::Result<()>>,
}

impl Recorder {
    /// Begins a recording in an empty file. It will hold paths and names of functions, so nobody
    /// but its owner should be able to read it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(mut file: File, opening: &Opening) -> io::Result<Self> {
        file.write_all(&frame::head())?;
        file.write_all(&frame::encode(frame::OPENING, 0, &serde_json::to_vec(opening)?)?)?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (frames, queue) = mpsc::channel();
        let (tell, done) = mpsc::channel();
        let state = Arc::clone(&shared);
        thread::Builder::new().name("rmap-record".into()).spawn(move || {
            // Nobody listens any more if the session was given up.
            let _ = tell.send(write(&file, &queue, &state));
        })?;
        Ok(Self { shared, frames, done })
    }

    /// Adds an input to the batch, and hands a full one over.
    pub fn add(&self, input: &Input) {
        let mut shared = lock(&self.shared);
        if shared.error.is_some() {
            return;
        }
        shared.batch.add(input);
        if shared.batch.len() < shared.full {
            return;
        }
        shared.full = (2 * shared.full).min(BATCH);
        let full = shared.batch.take();
        shared.waiting += full.len();
        if shared.waiting > WAITING_MAX && shared.waiting > full.len() {
            shared.error = Some(io::Error::other("the disk is too slow"));
            return;
        }
        // An error of the other side is in `error` already.
        let _ = self.frames.send((frame::BATCH, full));
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// What kept it from being whole.
    pub fn finish(self, names: &[FileNames], ending: &Ending) -> io::Result<()> {
        let Self { shared, frames, done } = self;
        let last = lock(&shared).batch.take();
        let _ = frames.send((frame::BATCH, last));
        for part in encode(names) {
            let _ = frames.send((frame::NAMES, part));
        }
        let _ = frames.send((frame::ENDING, serde_json::to_vec(ending)?));
        drop(frames);
        let (mut written, mut since) = (0, Instant::now());
        loop {
            match done.recv_timeout(PERIOD) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the thread that writes has ended"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = lock(&shared).written;
            if now != written {
                (written, since) = (now, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(io::Error::other("the disk does not answer"));
            }
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread: frames go to the file until there are no more, or one fails.
fn write(
    mut file: &File,
    queue: &mpsc::Receiver<(u16, Vec<u8>)>,
    shared: &Mutex<Shared>,
) -> io::Result<()> {
    let mut number = 1;
    let mut period = FIRST_PERIOD;
    loop {
        let (kind, raw, queued) = match queue.recv_timeout(period) {
            Ok((kind, raw)) => (kind, raw, true),
            Err(RecvTimeoutError::Timeout) => {
                let mut shared = lock(shared);
                // A batch that was queued meanwhile comes first.
                match queue.try_recv() {
                    Ok((kind, raw)) => (kind, raw, true),
                    Err(_) => (frame::BATCH, shared.batch.take(), false),
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                if let Some(error) = lock(shared).error.take() {
                    return Err(error);
                }
                return if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) };
            }
        };
        if raw.is_empty() {
            continue;
        }
        period = (2 * period).min(PERIOD);
        let stopped = lock(shared).error.is_some();
        if !stopped {
            let done = frame::encode(kind, number, &raw).and_then(|bytes| file.write_all(&bytes));
            if let Err(error) = done {
                lock(shared).error = Some(error);
            }
            number += 1;
        }
        let mut shared = lock(shared);
        if queued && kind == frame::BATCH {
            shared.waiting = shared.waiting.saturating_sub(raw.len());
        }
        shared.written += 1;
    }
}
