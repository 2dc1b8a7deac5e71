//! One process whose memory is watched.
//!
//! Comes in: its userfaultfd, its `/proc/PID/maps` and `pagemap`. Goes out: what was written since the
//! last look, and which memory is watched.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::mappings::{self, Mapping};
use super::scan::{Scanner, Wanted};
use super::userfault::Userfault;
use crate::live::procfs::read_text;

/// A process whose memory is watched.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    userfault: Userfault,
    scanner: Scanner,
    /// What is registered.
    known: Vec<Mapping>,
    /// What cannot be, so that it is not tried again each time.
    refused: Vec<Mapping>,
}

impl Watch {
    /// Begins with a process; nothing is watched yet. `huge`: huge pages are protected too, which
    /// splits them.
    ///
    /// # Errors
    /// The kernel cannot protect memory asynchronously, or the process is gone.
    pub fn begin(pid: u32, fd: OwnedFd, huge: bool) -> io::Result<Self> {
        let userfault = Userfault::new(fd)?;
        let scanner = Scanner::new(File::open(format!("/proc/{pid}/pagemap"))?, huge);
        Ok(Self { pid, userfault, scanner, known: Vec::new(), refused: Vec::new() })
    }

    /// Registers what has been mapped since the last time, and forgets what is there no longer.
    ///
    /// # Errors
    /// The process is gone.
    pub fn register(&mut self) -> io::Result<()> {
        let maps = read_text(format!("/proc/{}/maps", self.pid))?;
        let now = mappings::writable(&maps);
        self.refused.retain(|mapping| now.contains(mapping));
        let mut known = Vec::with_capacity(now.len());
        for mapping in now {
            if self
                .known
                .binary_search_by_key(&mapping.range.start, |m| m.range.start)
                .is_ok_and(|at| self.known[at] == mapping)
            {
                known.push(mapping);
            } else if !self.refused.contains(&mapping) {
                match self.userfault.register(&mapping.range) {
                    Ok(()) => known.push(mapping),
                    // Its memory is gone; a mapping alone may be one that cannot be watched.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(error),
                    Err(_) => self.refused.push(mapping),
                }
            }
        }
        self.known = known;
        Ok(())
    }

    /// The memory that is watched, in the order of the addresses.
    #[must_use]
    pub fn watched(&self) -> Vec<Range<u64>> {
        joined(self.known.iter().map(|mapping| mapping.range.clone()))
    }

    /// The pages that were written since they were protected last, or have come since. They are
    /// protected again. Mappings that were replaced meanwhile are no longer watched.
    ///
    /// # Errors
    /// The process is gone.
    pub fn written(&mut self) -> io::Result<Vec<Range<u64>>> {
        let mut written = Vec::new();
        let mut lost = Vec::new();
        for (at, mapping) in self.known.iter().enumerate() {
            let range = mapping.range.clone();
            match self.scanner.scan(range, Wanted::Written, &mut written) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => lost.push(at),
                Err(error) => return Err(error),
            }
        }
        for at in lost.into_iter().rev() {
            self.known.remove(at);
        }
        Ok(written)
    }

    /// The pages that are there in watched memory, mapping by mapping.
    ///
    /// # Errors
    /// The process is gone.
    pub fn present(&mut self) -> io::Result<Vec<Vec<Range<u64>>>> {
        let mut all = Vec::with_capacity(self.known.len());
        for mapping in &self.known {
            let mut pages = Vec::new();
            self.scanner.scan(mapping.range.clone(), Wanted::Present, &mut pages)?;
            all.push(pages);
        }
        Ok(all)
    }

    /// Protects pages. False if they are not watched any more.
    #[must_use]
    pub fn protect(&self, pages: &Range<u64>) -> bool {
        self.userfault.protect(pages).is_ok()
    }

    /// Takes all protection away. So does the end of the process, or of rmap, by itself.
    pub fn end(self) {
        for mapping in &self.known {
            // It may have been unmapped meanwhile.
            let _ = self.userfault.unregister(&mapping.range);
        }
    }
}

/// Ranges with neighbours joined.
fn joined(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}
