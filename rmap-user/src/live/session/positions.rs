//! How far a ring buffer has been written and read.
//!
//! A record is reserved, filled and committed, and the reader stops at one that is not committed yet,
//! whatever stands behind it. Since Linux 7.0 whoever fills one may be put aside in the middle (see
//! `rmap_ebpf`'s `PREEMPTED`); then the ring looks empty, though it holds the records of a thread that
//! stands still. The two positions tell.
//!
//! Comes in: the ring. Goes out: numbers of bytes since its beginning. Interface: kernel
//! `kernel/bpf/ringbuf.c`: the first page of the map holds the reader's position, the second one the
//! writers'.

use std::{
    io,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::{Mmap, MmapOptions};

/// The pages with the positions of one ring.
pub(super) struct Positions {
    reader: Mmap,
    writers: Mmap,
}

impl Positions {
    /// Those of a ring, of which this is the map.
    pub(super) fn of(ring: &impl AsRawFd) -> io::Result<Self> {
        let page = usize::try_from(procfs::page_size()).map_err(io::Error::other)?;
        let map = |offset: usize| {
            let mut options = MmapOptions::new();
            options.offset(offset as u64).len(page);
            // SAFETY: the kernel's own pages, which stay as long as the mapping; what changes in them
            // is read as atomic values alone.
            unsafe { options.map(ring.as_raw_fd()) }
        };
        Ok(Self { reader: map(0)?, writers: map(page)? })
    }

    /// How far it has been read.
    pub(super) fn read(&self) -> u64 {
        position(&self.reader)
    }

    /// How far it has been reserved.
    pub(super) fn written(&self) -> u64 {
        position(&self.writers)
    }
}

fn position(page: &Mmap) -> u64 {
    // SAFETY: a page begins with the position, is aligned to more than it, and lives as long as the
    // reference; nobody in this process reads it otherwise.
    let position = unsafe { AtomicU64::from_ptr(page.as_ptr().cast_mut().cast()) };
    position.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn the_reader_has_the_first_page_and_the_writers_the_second() {
        // In place of a ring: what the kernel shows of one are two pages as well.
        let ring = tempfile::tempfile().unwrap();
        let page = procfs::page_size();
        ring.set_len(2 * page).unwrap();
        let positions = Positions::of(&ring).unwrap();
        assert_eq!((positions.read(), positions.written()), (0, 0));
        ring.write_all_at(&(3_u64 << 32 | 8).to_ne_bytes(), page).unwrap();
        ring.write_all_at(&16_u64.to_ne_bytes(), 0).unwrap();
        assert_eq!(positions.read(), 16);
        assert_eq!(positions.written(), 3 << 32 | 8, "moves meanwhile");
    }
}
