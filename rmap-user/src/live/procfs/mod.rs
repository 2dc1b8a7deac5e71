//! Takes snapshots of a process's memory from `/proc`.
//!
//! Comes in: a process, one of its threads, and what to read. Goes out: a
//! [`Snapshot`] or an [`Error`] that says which file failed and what
//! to do.
//!
//! The files are read below `/proc/PID/task/TID`, never `/proc/PID`: those of a leader that
//! already exited are empty while its threads still run on the same memory.
//!
//! A snapshot is exact for a process that stands still. Of one that runs, each segment is true
//! for the moment at which it was read: the kernel gives smaps in pieces.

mod entry;
mod error;
mod folios;
mod frame;
mod mapped;
mod pagemap;
pub(super) mod pagemap_scan;
mod pages;
mod scan;
mod smaps;
mod status;
mod threads;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::live::release::maps_whole_folios;
use crate::trace::{Moment, Segment, Snapshot};

pub use error::Error;
pub use folios::KnownFolios;
pub use mapped::{frames, page_bytes};
pub use scan::is_supported as pagemap_scan_is_supported;
pub use status::Status;

/// How often smaps is read again if the segments of a running process moved meanwhile.
const ATTEMPTS: u32 = 4;

/// Takes a snapshot of the address space that thread `tid` of process `pid` runs in.
///
/// With `want_pages` it holds which pages are there, too; that needs the right to read the
/// other's `pagemap`.
///
/// # Errors
/// The thread is gone, has no memory (a kernel thread, or it already exited), may not be read, or
/// the kernel's text is not understood.
pub fn take(tid: u32, pid: u32, moment: Moment, want_pages: bool) -> Result<Snapshot, Error> {
    take_knowing(tid, pid, moment, want_pages, &mut KnownFolios::default())
}

/// The same, with what is known of folios from processes that were looked at before.
///
/// # Errors
/// As [`take`].
pub fn take_knowing(
    tid: u32,
    pid: u32,
    moment: Moment,
    want_pages: bool,
    known: &mut KnownFolios,
) -> Result<Snapshot, Error> {
    let time_ns = monotonic_ns();
    let task = Task { pid, tid };
    let segments = segments(&task)?;
    let pages = if want_pages { Some(pages::read(&task, &segments)?) } else { None };
    // Of memory that is given up meanwhile the kernel shows no pages, and no error either.
    if pages.is_some() && !has_memory(&task) {
        return Err(Error::NoMemory { pid, tid, path: task.path("pagemap") });
    }
    // What is there when tracing begins, or was copied, nobody's fault has mapped.
    let faulted = !moment.begins() && !matches!(moment, Moment::Forked | Moment::Executed);
    let folios = match &pages {
        Some(pages) if faulted && maps_whole_folios() => {
            folios::find(&task, &segments, pages, known)?
        }
        _ => Vec::new(),
    };
    // A process that was just forked, or runs another program, has one thread.
    let threads = match moment {
        Moment::Forked | Moment::Executed => Vec::new(),
        _ => threads::read(pid),
    };
    let peak_rss = peak_rss(&task);
    Ok(Snapshot { time_ns, pid, moment, segments, pages, folios, threads, peak_rss })
}

/// The segments alone, for callers that need no times and no pages.
///
/// # Errors
/// As [`take`].
pub fn read_segments(tid: u32, pid: u32) -> Result<Vec<Segment>, Error> {
    segments(&Task { pid, tid })
}

/// Takes any bytes as the text of smaps. For fuzzing: it must not panic.
pub fn fuzz_entry(bytes: &[u8]) {
    let mut parser = smaps::Parser::default();
    if bytes.split(|byte| *byte == b'\n').try_for_each(|line| parser.line(line)).is_ok()
        && let Ok(mut segments) = parser.finish()
    {
        smaps::keep_newest(&mut segments);
        assert!(smaps::is_ordered(&segments), "segments overlap: {segments:?}");
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds, the clock of the probes.
#[must_use]
pub fn monotonic_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| {
        let seconds = u64::try_from(t.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(t.tv_nsec()).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    })
}

/// One thread of one process, and its directory in `/proc`.
struct Task {
    pid: u32,
    tid: u32,
}

impl Task {
    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/task/{}/{file}", self.pid, self.tid))
    }

    fn open(&self, file: &str) -> Result<File, Error> {
        let path = self.path(file);
        File::open(&path).map_err(|e| self.error(file, e))
    }

    fn error(&self, file: &str, source: io::Error) -> Error {
        Error::from_io(self.pid, self.tid, self.path(file), source)
    }
}

/// Bytes of one file that are read: the maps of some 600 000 mappings.
const MOST: usize = 64 << 20;

/// A small file of `/proc`, of which the kernel does not tell the size: the standard library would ask
/// for it, and begin with reads of 32 bytes. What is beyond 64 MiB is left out: a traced program
/// chooses how much it has to show.
///
/// # Errors
/// It cannot be opened or read.
pub fn read_file(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut text = vec![0; 4096];
    let mut length = 0;
    while length < MOST {
        match file.read(&mut text[length..]) {
            Ok(0) => break,
            Ok(got) => length += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length == text.len() {
            text.resize(2 * length, 0);
        }
    }
    text.truncate(length);
    Ok(text)
}

/// The same as text; bytes that are none are replaced.
///
/// # Errors
/// As [`read_file`].
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = read_file(path)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn segments(task: &Task) -> Result<Vec<Segment>, Error> {
    let mut attempt = 1;
    loop {
        let mut segments = read_smaps(task)?;
        if smaps::is_ordered(&segments) {
            return Ok(segments);
        }
        if attempt == ATTEMPTS {
            smaps::keep_newest(&mut segments);
            return Ok(segments);
        }
        attempt += 1;
    }
}

fn read_smaps(task: &Task) -> Result<Vec<Segment>, Error> {
    let file = task.open("smaps")?;
    // The kernel gives about a page per read, whatever the buffer is.
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut parser = smaps::Parser::default();
    let mut line = Vec::with_capacity(256);
    loop {
        line.clear();
        let got = reader.read_until(b'\n', &mut line).map_err(|e| task.error("smaps", e))?;
        if got == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        parser.line(&line).map_err(|e| Error::Text { path: task.path("smaps"), source: e })?;
    }
    let segments =
        parser.finish().map_err(|e| Error::Text { path: task.path("smaps"), source: e })?;
    if segments.is_empty() {
        return Err(Error::NoMemory { pid: task.pid, tid: task.tid, path: task.path("smaps") });
    }
    Ok(segments)
}

/// Whether the thread's address space is there still: the first number of `statm`, its size, is 0
/// from the moment at which an exiting thread gives it up (kernel `exit_mm`), and what has been
/// reaped cannot be read.
fn has_memory(task: &Task) -> bool {
    read_file(task.path("statm")).is_ok_and(|text| !text.starts_with(b"0 "))
}

/// `VmHWM` of `status`, in bytes, 0 where it is missing: the process may have ended since.
fn peak_rss(task: &Task) -> u64 {
    Status::of_thread(task.pid, task.tid).ok().and_then(|s| s.bytes("VmHWM")).unwrap_or(0)
}

#[cfg(test)]
mod tests;
