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

use aya::maps::{MapData, RingBuf};
use memmap2::{Mmap, MmapOptions};

/// The pages with the positions of one ring.
pub(super) struct Positions {
    reader: Mmap,
    writers: Mmap,
}

impl Positions {
    /// Those of a ring.
    pub(super) fn of(ring: &RingBuf<MapData>) -> io::Result<Self> {
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
